//! Sinks as their receivers see them: every receiver checks what the real one requires.

#![allow(clippy::unwrap_used)] // a test says by panicking

mod objects;
mod receivers;
mod stalls;
mod support;
