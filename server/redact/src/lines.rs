//! What a process writes to standard error, whoever in it does: lines of the log, and panics.

use std::{
    io::{self, Write},
    panic::{self, PanicHookInfo},
};

use rustix::process::{Resource, Rlimit, setrlimit};

/// A line on its way out, without secrets: it comes in one piece.
pub struct Hidden<W>(pub W);

impl<W: Write> Write for Hidden<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(crate::redact(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// From now on a panic is a line of the log like any other, and what is in memory is left on no disk. Left alone, Rust writes panics to
/// standard error as they are, past whatever hides secrets; and a core dump has every prompt and every key in it.
pub fn keep_crashes_quiet() {
    panic::set_hook(Box::new(tell));
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "core dumps cannot be switched off: RLIMIT_CORE");
    }
}

fn tell(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    // On its own line it is found by what it hides; a message of several lines stays one.
    let said = crate::redact(panic.payload_as_str().unwrap_or("of something that is no text")).replace('\n', " ");
    tracing::error!(target: "tollgate::panic", at, "panic: {said}");
}
