//! What the ledger is tried with: a model of it, a bench that runs both side by side, and stores that fail as real ones do.

#![allow(clippy::unwrap_used)] // test code says by panicking

pub mod appending;
pub mod bench;
pub mod faulty;
pub mod model;
