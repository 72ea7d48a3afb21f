//! Real PostgreSQL and Redis for tests: a server of its own for each, on a free port of loopback, gone with the value.
//!
//! `./scripts/test` installs both where they are missing. A server that is asked for and not installed is a failure, never a skip.

mod postgres;
mod redis;

use std::{
    ffi::OsString,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

pub use postgres::{Database, Postgres};
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

/// Ends a process at once and waits for it.
fn end(process: &mut Child) {
    let _ = process.kill(); // it may have ended by itself
    let _ = process.wait();
}
