//! Sinks: closed call records on their way to whoever watches, off the path of the calls.
//!
//! Publishing is a push into a queue that never waits. One thread with a runtime of its own takes the records from there, for all sinks:
//! what is slow or broken here slows no call. A sink sends in batches and tries again; once its receiver stalls, records go to segment
//! files (`spill.rs`) and are sent in order when it is back, after a restart too. What finds no room there is counted, never waited for.
//!
//! Delivery is at least once: each event has an id by which a receiver tells repetitions.

mod buffer;
mod event;
mod json;
mod kinds;
mod options;
mod rules;
mod runner;
mod spill;
mod stats;
mod target;

use std::{
    path::PathBuf,
    sync::{Arc, mpsc as threads},
    thread,
    time::Duration,
};

pub use event::{Event, Owner};
pub use kinds::{Datadog, Form, Helicone, Kind, Langfuse, Objects, Otlp, Sentry, Stdout, Webhook, WriteTo};
pub use options::{Batching, SinkOptions};
pub use rules::{Act, Field, Filter, Redaction, Sampling};
use stats::Counters;
pub use stats::{Dropped, SinkStats};
use tokio::sync::{mpsc, watch};
use tollgate_proto::v1::AuditRecord;

/// Records that wait to be looked at; each is a pointer.
const QUEUE: usize = 65_536;

/// Tells who a key belongs to: called on the sinks' thread, not on the path of a call.
pub type Owners = Arc<dyn Fn(&str) -> Owner + Send + Sync>;

/// How to open the sinks.
pub struct Options {
    /// Where each sink spills to, in a directory of its name.
    pub dir: PathBuf,
    /// Names this replica.
    pub replica: String,
    /// Tells who a key belongs to.
    pub owners: Owners,
    /// Keys the hashes that stand in for redacted values.
    pub hash_key: Vec<u8>,
    /// The sinks.
    pub sinks: Vec<SinkOptions>,
}

/// Why the sinks do not open.
#[derive(Debug, thiserror::Error)]
#[error("sinks.{name}: {message}")]
pub struct OpenError {
    /// The sink.
    pub name: String,
    /// What is wrong, and the way out.
    pub message: String,
}

struct Inlet {
    records: mpsc::Sender<Arc<AuditRecord>>,
    counters: Arc<Counters>,
}

/// All sinks of a gateway.
pub struct Sinks {
    inlets: Vec<Inlet>,
    give_up: watch::Sender<Option<tokio::time::Instant>>,
    ended: threads::Receiver<()>,
}

/// Publishes to the sinks; cheap to clone, and it holds nothing open once they are closed.
#[derive(Clone, Default)]
pub struct Publisher(Arc<parking_lot::RwLock<Vec<Inlet>>>);

impl Publisher {
    /// Pushes a record to each sink. Waits for nothing; a queue that is full counts it as dropped.
    pub fn publish(&self, record: &Arc<AuditRecord>) {
        for inlet in self.0.read().iter() {
            if inlet.records.try_send(record.clone()).is_err() {
                inlet.counters.drop_at_queue();
            }
        }
    }

    /// What the sinks have done so far.
    pub fn stats(&self) -> Vec<SinkStats> {
        self.0.read().iter().map(|inlet| inlet.counters.read()).collect()
    }
}

impl Sinks {
    /// Opens what earlier runs have spilled, and starts the thread; records that `publisher` is given go to these sinks from now on.
    pub fn start(options: Options, publisher: &Publisher) -> Result<Self, OpenError> {
        let (give_up, told) = watch::channel(None);
        let (end, ended) = threads::channel();
        let mut inlets = Vec::new();
        let mut runners = Vec::new();
        let around = runner::Around {
            owners: options.owners,
            replica: options.replica.into(),
            hash_key: options.hash_key.into(),
            give_up: told,
        };
        for sink in options.sinks {
            let counters = Arc::new(Counters::new(&sink.name, sink.kind.name()));
            let name = sink.name.clone();
            let failed = |message: String| OpenError { name: name.clone(), message };
            let dir = options.dir.join(&sink.name);
            let (records, inbox) = mpsc::channel(QUEUE);
            runners.push((runner::Runner::open(sink, dir, counters.clone(), around.clone()).map_err(failed)?, inbox));
            inlets.push(Inlet { records, counters });
        }
        if !runners.is_empty() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| OpenError { name: String::new(), message: e.to_string() })?;
            let run = move || {
                let set = runners.into_iter().map(|(runner, inbox)| runner.run(inbox));
                runtime.block_on(futures::future::join_all(set));
                // Nobody may wait for it any more.
                let _ = end.send(());
            };
            let started = thread::Builder::new().name("sinks".into()).spawn(run);
            started.map_err(|e| OpenError { name: String::new(), message: e.to_string() })?;
        }
        let own = inlets.iter().map(|i| Inlet { records: i.records.clone(), counters: i.counters.clone() }).collect();
        *publisher.0.write() = own;
        Ok(Self { inlets, give_up, ended })
    }

    /// What the sinks have done so far.
    pub fn stats(&self) -> Vec<SinkStats> {
        self.inlets.iter().map(|inlet| inlet.counters.read()).collect()
    }

    /// Takes no more, sends what waits for at most `grace`, and keeps the rest on disk for the next start. Blocks: not for a runtime's thread.
    pub fn close(self, publisher: &Publisher, grace: Duration) {
        publisher.0.write().clear();
        let any = !self.inlets.is_empty();
        self.give_up.send_replace(Some(tokio::time::Instant::now() + grace));
        drop(self.inlets);
        if any {
            // Writing what is left takes a moment beyond the grace.
            let _ = self.ended.recv_timeout(grace + Duration::from_secs(10));
        }
    }
}
