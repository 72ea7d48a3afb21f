use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{Afterwards, Program, end, free_port, program, wait_for};

/// A PostgreSQL server with a data directory of its own.
pub struct Postgres {
    dir: tempfile::TempDir,
    port: u16,
    process: Option<(Child, Afterwards)>,
    _leftovers: Afterwards,
    databases: AtomicU32,
}

/// A fresh database of a server.
pub struct Database {
    /// Connection URL.
    pub url: String,
    /// Its name.
    pub name: String,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary directory: {e}"));
        // PostgreSQL runs as nobody's root: its directory belongs to the user that it runs as.
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap_or_else(|e| panic!("{}: {e}", data.display()));
        own(dir.path());
        own(&data);
        let made = as_user(&program("initdb"))
            .args(["--auth=trust", "--username=tollgate", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.is_ok_and(|status| status.success()), "initdb failed");
        let leftovers = Afterwards::remove(dir.path());
        let mut server =
            Self { dir, port: free_port(), process: None, _leftovers: leftovers, databases: AtomicU32::new(0) };
        server.run();
        server
    }

    /// Starts the server again after [`Postgres::stop`] or [`Postgres::kill`].
    pub fn run(&mut self) {
        let log = fs::File::create(self.dir.path().join("log")).unwrap_or_else(|e| panic!("log: {e}"));
        let process = as_user(&program("postgres"))
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            // A test's data may go with the machine, but not with the process: only fsync is left out.
            .args(["-c", "fsync=off", "-c", "max_connections=200", "-c", "shared_buffers=64MB"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let process = process.unwrap_or_else(|e| panic!("postgres: {e}"));
        let afterwards = Afterwards::end(&process);
        self.process = Some((process, afterwards));
        wait_for("PostgreSQL", || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.sql("postgres", "SELECT 1").is_some()
        });
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new, empty database.
    pub fn database(&self) -> Database {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        assert!(self.sql("postgres", &format!("CREATE DATABASE {name}")).is_some(), "CREATE DATABASE failed");
        Database { url: self.url(&name), name }
    }

    /// Connection URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://tollgate@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs a statement with `psql` and returns what it prints; `None`: it failed.
    pub fn sql(&self, database: &str, statement: &str) -> Option<String> {
        let output = program("psql")
            .command()
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-c", statement])
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Immediate shutdown: what a crash of the server looks like.
    pub fn kill(&mut self) {
        let _ = as_user(&program("pg_ctl"))
            .args(["-s", "-m", "immediate", "-w", "-D"])
            .arg(self.data())
            .arg("stop")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if let Some((mut process, _afterwards)) = self.process.take() {
            end(&mut process);
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// A command as a user that PostgreSQL may run as: it refuses root.
fn as_user(program: &Program) -> Command {
    if !is_root() {
        return program.command();
    }
    let mut command = program.with_libraries(Command::new("setpriv"));
    command.args([format!("--reuid={}", user()), "--regid=nogroup".into(), "--clear-groups".into(), "--".into()]);
    command.arg(&program.path).current_dir("/");
    command
}

/// `initdb` asks for a user that has a name: the package's own, or the one that every system has.
fn user() -> &'static str {
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    if known.lines().any(|line| line.starts_with("postgres:")) { "postgres" } else { "nobody" }
}

fn own(path: &Path) {
    if is_root() {
        let done = Command::new("chown").arg(format!("{}:nogroup", user())).arg(path).status();
        assert!(done.is_ok_and(|status| status.success()), "chown {} failed", path.display());
    }
}
