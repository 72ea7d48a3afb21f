//! Alerts as those who are told see them: every receiver checks what the real one requires.

mod channels;
mod conditions;
mod support;
