use std::{
    fs,
    io::Write,
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
};

use crate::{Afterwards, end, free_port, program, wait_for};

/// A Prometheus that scrapes and evaluates five times a second, with a directory of its own.
pub struct Prometheus {
    _dir: tempfile::TempDir,
    port: u16,
    process: Option<(Child, Afterwards)>,
    _leftovers: Afterwards,
}

impl Prometheus {
    /// Scrapes these `host:port` as the job `tollgate`, under these rules.
    ///
    /// # Panics
    /// When it does not come up: the rules cannot be read, most likely.
    pub fn start(targets: &[String], rules: &str) -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary directory: {e}"));
        let leftovers = Afterwards::remove(dir.path());
        let config = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\n\
             rule_files: [rules.yaml]\n\
             scrape_configs:\n- job_name: tollgate\n  static_configs:\n  - targets: {targets:?}\n"
        );
        for (name, text) in [("prometheus.yaml", config.as_str()), ("rules.yaml", rules)] {
            fs::write(dir.path().join(name), text).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        let port = free_port();
        let process = program("prometheus")
            .command()
            .arg(format!("--config.file={}", dir.path().join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap_or_else(|e| panic!("log: {e}")))
            .spawn();
        let process = process.unwrap_or_else(|e| panic!("prometheus: {e}"));
        let afterwards = Afterwards::end(&process);
        wait_for("Prometheus", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { _dir: dir, port, process: Some((process, afterwards)), _leftovers: leftovers }
    }

    /// The URL of its API: `http://127.0.0.1:PORT/api/v1`.
    pub fn api(&self) -> String {
        format!("http://127.0.0.1:{}/api/v1", self.port)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if let Some((mut process, _afterwards)) = self.process.take() {
            end(&mut process);
        }
    }
}

/// Runs `promtool` in a directory, with this as its standard input. `Err`: what it wrote.
pub fn promtool(directory: &Path, arguments: &[&str], input: &[u8]) -> Result<String, String> {
    let process = program("promtool")
        .command()
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut process = process.map_err(|error| format!("promtool: {error}"))?;
    if let Some(mut stdin) = process.stdin.take() {
        // It may have ended without reading.
        let _ = stdin.write_all(input);
    }
    let output = process.wait_with_output().map_err(|error| format!("promtool: {error}"))?;
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(told) } else { Err(told) }
}
