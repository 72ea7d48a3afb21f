//! The verifier in Python, kept running: it is shown what differs from the whole export, and answers with what it finds wrong.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::{Case, Damage};

/// A process that plays `tests/audit_log/judge.py`.
pub struct Judge {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Judge {
    /// Starts one with this interpreter, for this case.
    pub fn start(python: &Path, case: &Case) -> anyhow::Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/judge.py");
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| python.display().to_string())?;
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().context("a piped standard output")?);
        let mut judge = Self { child, to, from };
        let files: Map<String, Value> =
            case.whole.files.0.iter().map(|(path, bytes)| (path.clone(), json!(STANDARD.encode(bytes)))).collect();
        judge.write(&json!({"key": case.key, "since": STANDARD.encode(&case.since), "files": files}))?;
        Ok(judge)
    }

    /// What it finds wrong first with a damaged export of its case; `None`: nothing.
    pub fn judge(&mut self, case: &Case, damage: &Damage) -> anyhow::Result<Option<String>> {
        let whole = &case.whole.files.0;
        let changed = damage.files.0.iter().filter(|(path, bytes)| whole.get(*path) != Some(bytes));
        let set: Map<String, Value> =
            changed.map(|(path, bytes)| (path.clone(), json!(STANDARD.encode(bytes)))).collect();
        let gone: Vec<_> = whole.keys().filter(|path| !damage.files.0.contains_key(*path)).collect();
        self.write(&json!({"set": set, "gone": gone, "ledger": STANDARD.encode(&damage.dump)}))?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        serde_json::from_str(&line).context("the judge's answer")
    }

    fn write(&mut self, message: &Value) -> anyhow::Result<()> {
        let to = self.to.as_mut().context("the judge was dismissed")?;
        writeln!(to, "{message}")?;
        Ok(to.flush()?)
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // It ends with its input.
        self.to = None;
        let _ = self.child.wait();
    }
}
