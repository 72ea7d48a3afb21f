//! Sinks as their receivers see them: every receiver checks what the real one requires.

mod objects;
mod receivers;
mod stalls;
mod support;
