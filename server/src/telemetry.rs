//! Logs: structured, to standard error, never a secret, a prompt or an answer.
//!
//! Every line passes [`Hiding`], which takes out what looks like a secret: whoever wrote the line, and whatever its level.

use std::io::{self, Write};

use tracing_subscriber::{
    EnvFilter,
    filter::{Directive, ParseError},
    fmt::MakeWriter,
};

use crate::config::{Log, LogFormat};

/// Events under this target tell of calls: one each, at its end.
const CALLS: &str = "tollgate::call";

/// Sends logs to standard error for the rest of the process.
pub fn start(log: &Log) -> Result<(), String> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(log)?).with_writer(Hiding(io::stderr));
    // A pipe that is read by a machine gets no colours, and what is hidden is found between none.
    let builder = builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    // It would be told to standard error, by a macro that panics where nothing can be written: and so would end the call that is logged.
    let builder = builder.log_internal_errors(false);
    let started = match log.format {
        LogFormat::Human => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // A second start in one process (tests) keeps the first.
    let _ = started;
    Ok(())
}

fn filter(log: &Log) -> Result<EnvFilter, String> {
    let told = |e: &dyn std::fmt::Display| format!("log.level: {e}");
    let filter = EnvFilter::try_new(&log.level).map_err(|e| told(&e))?;
    match log.calls {
        true => Ok(filter),
        false => {
            let none: Directive = format!("{CALLS}=off").parse().map_err(|e: ParseError| told(&e))?;
            Ok(filter.add_directive(none))
        }
    }
}

/// Writes without secrets.
struct Hiding<M>(M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Hiding<M> {
    type Writer = Hidden<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Hidden(self.0.make_writer())
    }
}

/// A line on its way out: it comes in one piece.
struct Hidden<W>(W);

impl<W: Write> Write for Hidden<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(tollgate_redact::redact(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: &Log, act: impl FnOnce()) -> String {
        let written = Written::default();
        let of_lines = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(log).unwrap())
            .with_ansi(false)
            .with_writer(Hiding(move || of_lines.clone()))
            .finish();
        tracing::subscriber::with_default(subscriber, act);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn no_line_has_a_secret_in_it_whoever_wrote_it() {
        let log = Log { level: "trace".into(), ..Log::default() };
        let text = logged(&log, || {
            tracing::debug!(headers = ?["authorization: Bearer sk-proj-a1B2c3D4e5F6g7H8"], "sent to postgres://u:p4ss@h/x");
        });
        assert!(text.contains("Bearer <hidden>") && text.contains("postgres://<hidden>@h/x"), "{text}");
    }

    #[test]
    fn calls_can_be_left_out_of_the_log() {
        let act = || tracing::info!(target: CALLS, call = "c-1", "call");
        assert!(logged(&Log::default(), act).contains("c-1"));
        assert_eq!(logged(&Log { calls: false, ..Log::default() }, act), "");
        assert_eq!(logged(&Log { level: "warn".into(), ..Log::default() }, act), "");
    }
}
