//! What the kernel says about a process and its children.

use std::collections::HashMap;
use std::fs;

/// Clock ticks per second in `/proc`: 100 on every Linux this runs on.
const TICKS: f64 = 100.0;

/// CPU time of a process tree up to a moment, read in two ways.
///
/// The accounts of processes are complete but move in steps of 10 ms; the scheduler's accounts of threads are exact but
/// forget threads that have ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    ticks: u64,
    scheduled_ns: u64,
}

impl Cpu {
    /// The time so far, user and system; nothing when the process is not known.
    pub(crate) fn of(pid: Option<u32>) -> Self {
        let tree = pid.map(tree).unwrap_or_default();
        Cpu {
            ticks: tree.iter().filter_map(|pid| stat(*pid)).map(|stat| stat.ticks).sum(),
            scheduled_ns: tree.iter().map(|pid| scheduled_ns(*pid)).sum(),
        }
    }

    /// Microseconds since an earlier moment: the exact account, unless threads have ended meanwhile.
    pub(crate) fn us_since(&self, before: &Cpu) -> f64 {
        let coarse = (self.ticks - before.ticks.min(self.ticks)) as f64 / TICKS * 1e6;
        let exact = self.scheduled_ns.saturating_sub(before.scheduled_ns) as f64 / 1e3;
        if exact + 25_000.0 < coarse { coarse } else { exact }
    }
}

fn scheduled_ns(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let account = |text: String| text.split_whitespace().next()?.parse::<u64>().ok();
    let read = |path: std::path::PathBuf| account(fs::read_to_string(path.join("schedstat")).ok()?);
    threads.filter_map(|thread| read(thread.path())).sum()
}

/// Resident memory of a process tree in KiB.
pub(crate) fn rss_kib(pid: Option<u32>) -> f64 {
    let Some(pid) = pid else { return 0.0 };
    tree(pid).iter().filter_map(|pid| resident(*pid)).sum::<u64>() as f64
}

struct Stat {
    parent: u32,
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold anything, brackets included.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat { parent: number(1)? as u32, ticks: number(11)? + number(12)? })
}

fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A process and all its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    for pid in names.filter_map(|name| name.to_str()?.parse::<u32>().ok()) {
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut all = vec![root];
    let mut at = 0;
    while at < all.len() {
        all.extend(children.remove(&all[at]).unwrap_or_default());
        at += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        let pid = Some(std::process::id());
        assert!(rss_kib(pid) > 100.0);
        let before = Cpu::of(pid);
        let spin = std::time::Instant::now();
        while spin.elapsed().as_millis() < 60 {}
        assert!(Cpu::of(pid).us_since(&before) > 5_000.0);
        assert!(tree(1).len() >= tree(std::process::id()).len());
    }
}
