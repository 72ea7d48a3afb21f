//! Real PostgreSQL, Redis and Prometheus for tests: a server of its own for each, on a free port of loopback, gone with the value.
//!
//! `./scripts/test` installs them where they are missing. A server that is asked for and not installed is a failure, never a skip.

mod postgres;
mod prometheus;
mod redis;

use std::{
    ffi::OsString,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub use postgres::{Database, Postgres};
pub use prometheus::{Prometheus, promtool};
pub use redis::Redis;

/// A port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no port is free: {e}"));
    listener.local_addr().unwrap_or_else(|e| panic!("a listener has an address: {e}")).port()
}

/// A command that runs a server's program, wherever it is installed.
fn program(name: &str) -> Program {
    let path = std::env::var_os("PATH");
    let mut places: Vec<PathBuf> = path.iter().flat_map(std::env::split_paths).collect();
    places.extend(versions("/usr/lib/postgresql".as_ref()));
    if let Some(found) = places.iter().map(|p| p.join(name)).find(|p| p.is_file()) {
        return Program { path: found, libraries: None };
    }
    // Unpacked by `./scripts/test` where it may not install: with its libraries beside it.
    let root = PathBuf::from(std::env::var_os("TOLLGATE_SERVICES").unwrap_or_default());
    let mut places = vec![root.join("usr/bin")];
    places.extend(versions(&root.join("usr/lib/postgresql")));
    let found = places.iter().map(|p| p.join(name)).find(|p| p.is_file());
    let path = found.unwrap_or_else(|| panic!("{name} is not installed; `./scripts/test` installs it"));
    let libraries = std::env::join_paths(
        subdirectories(&root.join("usr/lib")).filter(|d| d.to_string_lossy().ends_with("-linux-gnu")),
    );
    Program { path, libraries: libraries.ok() }
}

/// A command that runs a program under `strace`, wherever that is installed.
///
/// # Panics
/// When it is not.
pub fn strace() -> Command {
    program("strace").command()
}

/// A shared library, wherever it is installed: `faketime/libfaketimeMT.so.1`.
///
/// # Panics
/// When it is not.
pub fn library(name: &str) -> PathBuf {
    let unpacked = PathBuf::from(std::env::var_os("TOLLGATE_SERVICES").unwrap_or_default()).join("usr/lib");
    let mut places = ["/usr/lib".as_ref(), unpacked.as_path()].into_iter().flat_map(subdirectories);
    let found = places.find_map(|dir| Some(dir.join(name)).filter(|path| path.is_file()));
    found.unwrap_or_else(|| panic!("{name} is not installed; `./scripts/test` installs it"))
}

fn subdirectories(dir: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn versions(dir: &Path) -> impl Iterator<Item = PathBuf> {
    subdirectories(dir).map(|version| version.join("bin"))
}

/// An installed program.
struct Program {
    path: PathBuf,
    libraries: Option<OsString>,
}

impl Program {
    fn command(&self) -> Command {
        self.with_libraries(Command::new(&self.path))
    }

    fn with_libraries(&self, mut command: Command) -> Command {
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}

/// Waits for at most fifteen seconds.
fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < Duration::from_secs(15), "{what} did not come up within fifteen seconds");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a shell command once this process has ended, however it ends, or the value is dropped. Statics are never dropped, and a test may
/// be killed: servers must not outlive either.
struct Afterwards(Child);

impl Afterwards {
    fn run(command: &str, argument: &str) -> Self {
        let waiting = Command::new("sh")
            .args(["-c", &format!("read -r _; {command}"), "afterwards", argument])
            .stdin(Stdio::piped()) // ends with this process
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        Self(waiting.unwrap_or_else(|e| panic!("sh: {e}")))
    }

    fn end(process: &Child) -> Self {
        Self::run("kill -QUIT \"$1\"", &process.id().to_string())
    }

    fn remove(dir: &Path) -> Self {
        // A server that is ending may still write.
        Self::run(
            "for _ in 1 2 3 4 5; do rm -rf \"$1\"; [ -e \"$1\" ] || break; sleep 0.3; done",
            &dir.display().to_string(),
        )
    }
}

impl Drop for Afterwards {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Ends a process at once and waits for it.
fn end(process: &mut Child) {
    let _ = process.kill(); // it may have ended by itself
    let _ = process.wait();
}
