//! Alerts as those who are told see them: every receiver checks what the real one requires.

#![allow(clippy::unwrap_used)] // a test says by panicking

mod channels;
mod conditions;
mod support;
