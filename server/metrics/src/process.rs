//! What the process itself is and uses.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{Page, names};

/// Which build this is.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The gateway's version.
    pub version: &'static str,
    /// The commit that it was built from; empty: it was built outside of a repository.
    pub commit: &'static str,
    /// The compiler.
    pub rustc: &'static str,
}

/// The process, from its start on.
#[derive(Debug)]
pub struct Process {
    started: f64,
}

impl Process {
    /// Starts now.
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: since.as_secs_f64() }
    }

    /// Adds what it uses; what the system does not tell is left out.
    pub fn put(&self, page: &mut Page) {
        page.put(names::STARTED, &[], self.started);
        if let Some(seconds) = cpu_seconds() {
            page.put(names::CPU, &[], seconds);
        }
        if let Some(bytes) = resident_bytes() {
            page.count(names::MEMORY, &[], bytes);
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // One of them is the listing itself.
            page.count(names::FILES, &[], files.count().saturating_sub(1) as u64);
        }
    }
}

/// Bytes that are free, for who is not root, on the file system of this directory; `None`: the system does not tell.
pub fn free_bytes(directory: &Path) -> Option<u64> {
    let told = rustix::fs::statvfs(directory).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

/// Linux counts it for user space in hundredths of a second, on every architecture.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the program's name, may have spaces and parentheses of its own.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}
