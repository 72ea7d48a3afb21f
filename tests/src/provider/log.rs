//! The provider's own books: one [`Record`] per attempt, whatever became of it.
//!
//! A record is opened when a call's body has arrived and closed when its answer is written, cut, or the caller is
//! gone. With a log file each of the two moments is one line, written by a single `write` at that moment: a kill of any
//! process loses no line, and of the lines with the same `seq` the last one counts.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What became of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Still being answered; in a log file, the last word of a provider that was killed.
    #[default]
    Open,
    /// Answered to the end.
    Complete,
    /// The caller left before the end.
    CutByClient,
    /// Refused, or ended with an error event.
    Failed,
    /// Dropped by the provider because the script said so.
    ScriptedCut,
}

/// One attempt, as the provider saw it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Order of arrival, from 1.
    pub seq: u64,
    /// When the call's body had arrived, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// When the attempt ended; 0 while it is open.
    pub ended_at_ms: u64,
    /// The path called.
    pub path: String,
    /// The model asked for.
    pub model: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// `x-client-request-id` of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_request_id: Option<String>,
    /// `x-tollgate-attempt-id` of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_id: Option<String>,
    /// `x-request-id` of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The id the provider gave its answer (`x-request-id` or `request-id`).
    pub provider_request_id: String,
    /// The status answered; 0 when there was none.
    pub status: u16,
    /// Prompt tokens billed.
    pub prompt_tokens: u64,
    /// The part of them billed as read from a cache.
    pub cached_tokens: u64,
    /// Completion tokens billed, reasoning included: those of the deltas that were handed to the connection.
    pub completion_tokens: u64,
    /// Deltas handed to the connection.
    pub chunks: u32,
    /// What became of the attempt.
    pub outcome: Outcome,
    /// Whether usage was told to the caller.
    pub usage_sent: bool,
    /// Whether the caller hung up before the end.
    pub hung_up: bool,
    /// Milliseconds from arrival to the end of the attempt.
    pub ended_after_ms: u64,
    /// Names of headers that carried a virtual key. Anything here is a leak.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leaked_headers: Vec<String>,
    /// The call's headers, when bodies are kept. Credentials are as received.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The call's body, when bodies are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// Sums over all attempts since the start or the last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Attempts that arrived.
    pub calls: u64,
    /// Attempts not yet ended.
    pub open: u64,
    /// Of the open ones, those that asked for a stream.
    pub open_streams: u64,
    /// Prompt tokens billed by ended attempts.
    pub prompt_tokens: u64,
    /// Completion tokens billed by ended attempts.
    pub completion_tokens: u64,
    /// Ended attempts answered to the end.
    pub complete: u64,
    /// Ended attempts whose caller left.
    pub cut_by_client: u64,
    /// Ended attempts that failed.
    pub failed: u64,
    /// Ended attempts the script cut.
    pub scripted_cut: u64,
    /// Attempts that carried a virtual key in a header.
    pub leaks: u64,
}

/// All records, shared by the server and whoever reads them.
#[derive(Debug)]
pub struct Log {
    seq: AtomicU64,
    keep_bodies: AtomicBool,
    stopping: AtomicBool,
    capacity: usize,
    file: Option<Mutex<File>>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stats: Stats,
    ended: VecDeque<Record>,
    /// Grows on reset, so that an attempt from before it is not counted after it.
    generation: u64,
}

impl Log {
    pub(super) fn new(file: Option<&Path>, capacity: usize, keep_bodies: bool) -> std::io::Result<Arc<Self>> {
        let open = |path| File::options().create(true).append(true).open(path).map(Mutex::new);
        Ok(Arc::new(Log {
            seq: AtomicU64::new(0),
            keep_bodies: AtomicBool::new(keep_bodies),
            stopping: AtomicBool::new(false),
            capacity,
            file: file.map(open).transpose()?,
            inner: Mutex::default(),
        }))
    }

    /// Ended attempts in order of arrival.
    pub fn records(&self) -> Vec<Record> {
        let mut records: Vec<_> = self.inner.lock().ended.iter().cloned().collect();
        records.sort_by_key(|record| record.seq);
        records
    }

    /// The attempt that arrived last among those that ended.
    pub fn last(&self) -> Option<Record> {
        self.inner.lock().ended.iter().max_by_key(|record| record.seq).cloned()
    }

    /// Sums over all attempts.
    pub fn stats(&self) -> Stats {
        self.inner.lock().stats.clone()
    }

    /// Waits until so many attempts have ended and none is open, and returns the ended ones.
    ///
    /// Gives up after five seconds: a caller's hang-up is expected to be seen well before.
    pub async fn settled(&self, calls: usize) -> Vec<Record> {
        let patience = Instant::now() + Duration::from_secs(5);
        loop {
            let stats = self.stats();
            if (stats.open == 0 && stats.calls >= calls as u64) || Instant::now() > patience {
                return self.records();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Whether bodies and headers of calls are kept.
    pub fn keep_bodies(&self, keep: bool) {
        self.keep_bodies.store(keep, Ordering::Relaxed);
    }

    /// Forgets all records and sums. Attempts still open are forgotten too; `seq` goes on. The file is left alone.
    pub fn clear(&self) {
        let mut inner = self.inner.lock();
        *inner = Inner { generation: inner.generation + 1, ..Inner::default() };
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Opens the record of a call that has just arrived.
    pub(super) fn open(self: &Arc<Self>, path: &str, headers: &HeaderMap, call: Call<'_>) -> Attempt {
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let id = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let keep = self.keep_bodies.load(Ordering::Relaxed);
        let record = Record {
            seq,
            started_at_ms: unix_ms(),
            path: path.into(),
            model: call.model.into(),
            stream: call.stream,
            client_request_id: id("x-client-request-id"),
            attempt_id: id("x-tollgate-attempt-id"),
            request_id: id("x-request-id"),
            provider_request_id: format!("req_{seq:012}"),
            leaked_headers: leaks(headers),
            headers: if keep { flatten(headers) } else { BTreeMap::new() },
            body: call.body.filter(|_| keep).cloned(),
            ..Record::default()
        };
        let mut inner = self.inner.lock();
        inner.stats.calls += 1;
        inner.stats.open += 1;
        inner.stats.open_streams += u64::from(record.stream);
        inner.stats.leaks += u64::from(!record.leaked_headers.is_empty());
        let generation = inner.generation;
        drop(inner);
        self.write(&record);
        Attempt { record, log: Arc::clone(self), since: Instant::now(), generation, ended: false }
    }

    fn close(&self, record: Record, generation: u64) {
        self.write(&record);
        let mut inner = self.inner.lock();
        if inner.generation != generation {
            return;
        }
        let stats = &mut inner.stats;
        stats.open -= 1;
        stats.open_streams -= u64::from(record.stream);
        stats.prompt_tokens += record.prompt_tokens;
        stats.completion_tokens += record.completion_tokens;
        match record.outcome {
            Outcome::Open => {}
            Outcome::Complete => stats.complete += 1,
            Outcome::CutByClient => stats.cut_by_client += 1,
            Outcome::Failed => stats.failed += 1,
            Outcome::ScriptedCut => stats.scripted_cut += 1,
        }
        if inner.ended.len() >= self.capacity {
            inner.ended.pop_front();
        }
        if self.capacity > 0 {
            inner.ended.push_back(record);
        }
    }

    fn write(&self, record: &Record) {
        let Some(file) = &self.file else { return };
        let Ok(mut line) = serde_json::to_vec(record) else {
            return;
        };
        line.push(b'\n');
        if let Err(error) = file.lock().write_all(&line) {
            eprintln!("provider log: {error}");
        }
    }
}

/// What the log wants to know about a call.
pub(super) struct Call<'a> {
    pub(super) model: &'a str,
    pub(super) stream: bool,
    pub(super) body: Option<&'a Value>,
}

/// An open record. Dropped without [`Attempt::end`], it says that the caller left.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) record: Record,
    log: Arc<Log>,
    since: Instant,
    generation: u64,
    ended: bool,
}

impl Attempt {
    /// A delta was handed to the connection: it is billed from now on.
    pub(super) fn wrote(&mut self, tokens: u64, delta: bool) {
        self.record.completion_tokens += tokens;
        self.record.chunks += u32::from(delta);
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let record = &mut self.record;
        record.outcome = outcome;
        record.hung_up = outcome == Outcome::CutByClient;
        record.ended_at_ms = unix_ms();
        record.ended_after_ms = self.since.elapsed().as_millis() as u64;
        self.log.close(std::mem::take(record), self.generation);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let stopping = self.log.stopping.load(Ordering::Relaxed);
        self.end(if stopping { Outcome::Failed } else { Outcome::CutByClient });
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn flatten(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// Names of headers with a virtual key in them: `tg-` at the start of a word, and eight letters or digits.
fn leaks(headers: &HeaderMap) -> Vec<String> {
    let holds_key = |value: &[u8]| {
        value.windows(11).enumerate().any(|(at, window)| {
            window.starts_with(b"tg-")
                && window[3..].iter().all(u8::is_ascii_alphanumeric)
                && (at == 0 || !value[at - 1].is_ascii_alphanumeric())
        })
    };
    let leaking = headers.iter().filter(|(_, value)| holds_key(value.as_bytes()));
    leaking.map(|(name, _)| name.as_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_key_is_noticed_wherever_it_hides() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer tg-0123456789abcdef".parse().unwrap());
        headers.insert("x-original", "key=tg-abcdefghij;".parse().unwrap());
        headers.insert("x-fine", "nightg-0123456789 tg-short sk-0123456789".parse().unwrap());
        let mut found = leaks(&headers);
        found.sort();
        assert_eq!(found, ["authorization", "x-original"]);
    }
}
