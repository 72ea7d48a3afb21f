//! Logs: structured, to standard error, never a secret, a prompt or an answer.
//!
//! Every line passes [`Hidden`], which takes out what looks like a secret: whoever wrote the line, and whatever its level. A panic is a
//! line like any other.

use std::io;

use tollgate_redact::Hidden;
use tracing_subscriber::{
    EnvFilter,
    filter::{Directive, ParseError},
};

use crate::config::{Log, LogFormat};

/// Events under this target tell of calls: one each, at its end.
const CALLS: &str = "tollgate::call";

/// Sends logs, panics among them, to standard error for the rest of the process.
pub fn start(log: &Log) -> Result<(), String> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(log)?).with_writer(|| Hidden(io::stderr()));
    // A pipe that is read by a machine gets no colours, and what is hidden is found between none.
    let builder = builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    // It would be told to standard error, by a macro that panics where nothing can be written: and so would end the call that is logged.
    let builder = builder.log_internal_errors(false);
    let started = match log.format {
        LogFormat::Human => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // A second start in one process (tests) keeps the first.
    if started.is_ok() {
        tollgate_redact::keep_crashes_quiet();
    }
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

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::Command,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// Set for the process in which a test panics.
    const PANICS: &str = "TOLLGATE_TEST_PANICS";

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
            .with_writer(move || Hidden(of_lines.clone()))
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
    #[test]
    fn a_panic_is_a_line_like_any_other_and_leaves_no_core() {
        if std::env::var_os(PANICS).is_some() {
            start(&Log { format: LogFormat::Json, ..Log::default() }).unwrap();
            let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
            tracing::info!("{}", limits.lines().find(|line| line.starts_with("Max core file size")).unwrap());
            panic!("no row for password=hunter2hunter2\nin the table");
        }
        // In a process of its own: what is set there is set for all of it.
        let name = "telemetry::tests::a_panic_is_a_line_like_any_other_and_leaves_no_core";
        let mut itself = Command::new(std::env::current_exe().unwrap());
        let ended = itself.args([name, "--exact", "--nocapture"]).env(PANICS, "1").output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success() && !told.contains("hunter2"), "{told}");
        let lines: Vec<serde_json::Value> =
            told.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
        let panic = lines.iter().find(|line| line["target"] == "tollgate::panic").unwrap();
        assert_eq!(panic["level"], "ERROR");
        assert_eq!(panic["message"], "panic: no row for password=<hidden> in the table");
        assert!(panic["at"].as_str().unwrap().contains("telemetry.rs:"), "{panic}");
        let limit = lines[0]["message"].as_str().unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(limit[4..6], ["0", "0"], "{limit:?}");
    }
}
