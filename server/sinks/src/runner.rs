//! One sink at work: it takes records in while a batch is on its way.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tollgate_outbound::Backoff;
use tollgate_proto::v1::AuditRecord;

use crate::{
    Event, Owners, SinkOptions,
    buffer::Buffer,
    spill::Spill,
    stats::Counters,
    target::{Report, Target, Why},
};

/// Losses are told of no more often.
const TELL: Duration = Duration::from_secs(60);
/// Records that are taken in at once.
const AT_ONCE: usize = 512;
/// How long records gather before they are looked at: to be woken for each would cost calls more than all else that is done with it.
const GATHER: Duration = Duration::from_millis(10);

/// What all sinks share.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) owners: Owners,
    pub(crate) replica: Arc<str>,
    pub(crate) hash_key: Arc<[u8]>,
    /// Until when a sink that is closed may go on sending.
    pub(crate) give_up: watch::Receiver<Option<Instant>>,
}

pub(crate) struct Runner {
    options: SinkOptions,
    around: Around,
    target: Arc<dyn Target>,
    buffer: Buffer,
    counters: Arc<Counters>,
    backoff: Backoff,
    /// Left alone until then, after a failure.
    rests_until: Option<Instant>,
    /// Since when the oldest record in memory waits.
    waits_since: Option<Instant>,
    /// A batch was refused: smaller ones find out which record it is for.
    at_most: Option<usize>,
    open: bool,
    told: Option<Instant>,
    told_lost: u64,
}

impl Runner {
    pub(crate) fn open(
        options: SinkOptions,
        dir: PathBuf,
        counters: Arc<Counters>,
        around: Around,
    ) -> Result<Self, String> {
        let spill = Spill::open(&dir, options.spill_max_bytes).map_err(|e| format!("{}: {e}", dir.display()))?;
        let target = options.kind.open(&around.replica)?;
        let runner = Self {
            target,
            buffer: Buffer::new(spill, options.memory_records),
            counters,
            backoff: Backoff::new(options.first_retry, options.longest_retry),
            rests_until: None,
            waits_since: None,
            at_most: None,
            open: true,
            told: None,
            told_lost: 0,
            options,
            around,
        };
        runner.count();
        Ok(runner)
    }

    /// Until its records end and are sent, or are kept for the next start.
    pub(crate) async fn run(mut self, mut records: mpsc::Receiver<Arc<AuditRecord>>) {
        let mut fresh = Vec::with_capacity(AT_ONCE);
        let mut sending: Option<BoxFuture<'static, Report>> = None;
        let mut give_up = self.around.give_up.clone();
        let mut look_at = Instant::now();
        loop {
            if sending.is_none() {
                sending = self.begin();
            }
            if !self.open && (self.buffer.is_empty() || self.rests_until.is_some()) {
                break;
            }
            let wake = self.wake();
            tokio::select! {
                report = async { sending.as_mut()?.await.into() }, if sending.is_some() => {
                    sending = None;
                    let report: Option<Report> = report;
                    self.settle(report.unwrap_or_default());
                }
                taken = async { sleep_until(look_at).await; records.recv_many(&mut fresh, AT_ONCE).await }, if self.open => {
                    self.open = taken > 0;
                    if taken < AT_ONCE {
                        look_at = Instant::now() + GATHER;
                    }
                    fresh.drain(..).for_each(|record| self.take(&record));
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if sending.is_none() && wake.is_some() => {}
                () = over(&mut give_up) => {
                    while let Ok(record) = records.try_recv() {
                        self.take(&record);
                    }
                    break;
                }
            }
            self.count();
            self.tell();
        }
        self.buffer.close();
        self.count();
        self.tell_now();
    }

    fn take(&mut self, record: &AuditRecord) {
        let owner = (self.around.owners)(&record.key_id);
        let mut event = Event::of(record, &self.around.replica, owner);
        if !self.options.filter.takes(&event) || !self.options.sampling.takes(&event) || !self.target.wants(&event) {
            return;
        }
        self.options.redaction.apply(&mut event, &self.around.hash_key);
        self.buffer.push(event);
        self.waits_since.get_or_insert_with(Instant::now);
    }

    /// Begins to send, where a batch is full or old enough.
    fn begin(&mut self) -> Option<BoxFuture<'static, Report>> {
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        self.rests_until = None;
        let is_old = self.waits_since.is_some_and(|since| since.elapsed() >= self.options.batching.max_age);
        self.buffer.fill(&self.options.batching, is_old || !self.open);
        let batch: Vec<Event> = self.buffer.front().take(self.at_most.unwrap_or(usize::MAX)).cloned().collect();
        if batch.is_empty() {
            return None;
        }
        self.waits_since = (self.buffer.waiting() > self.buffer.front().len()).then(Instant::now);
        let (target, limit) = (self.target.clone(), self.options.timeout);
        Some(Box::pin(async move { target.send(&batch, limit).await }))
    }

    fn settle(&mut self, report: Report) {
        let sent = self.buffer.front().len().min(self.at_most.unwrap_or(usize::MAX));
        let mut refused = report.refused;
        let mut done = report.done;
        match report.why {
            None => {
                self.backoff.succeeded();
                // By and by back to whole batches.
                self.at_most =
                    self.at_most.map(|n| n.saturating_mul(2)).filter(|n| *n < self.options.batching.max_records);
            }
            Some(Why::Refused(reason)) if sent - done.min(sent) <= 1 => {
                done += 1;
                refused += 1;
                self.at_most = None;
                tracing::debug!(sink = self.options.name, reason, "the receiver refuses a record");
            }
            Some(Why::Refused(_)) => self.at_most = Some((sent - done).div_ceil(2)),
            Some(Why::Later { reason, after }) => {
                self.counters.fail();
                let wait = self.backoff.failed(after);
                self.rests_until = Some(Instant::now() + wait);
                tracing::debug!(sink = self.options.name, reason, ?wait, "the receiver takes nothing now");
            }
        }
        self.buffer.done(done);
        self.counters.deliver((done - refused.min(done)) as u64);
        self.counters.refuse(refused as u64);
        if self.rests_until.is_some() {
            self.buffer.keep();
        }
    }

    /// When there is something to do by itself.
    fn wake(&self) -> Option<Instant> {
        if self.buffer.is_empty() {
            return None;
        }
        let old = self.waits_since.map(|since| since + self.options.batching.max_age);
        self.rests_until.or(old)
    }

    fn count(&self) {
        let (records, bytes) = self.buffer.spilled();
        self.counters.hold(self.buffer.waiting(), records, bytes);
    }

    fn tell(&mut self) {
        self.count_lost();
        if self.told.is_none_or(|told| told.elapsed() >= TELL) {
            self.tell_now();
        }
    }

    fn count_lost(&mut self) {
        self.counters.drop_at_spill(std::mem::take(&mut self.buffer.lost));
    }

    fn tell_now(&mut self) {
        self.count_lost();
        let dropped = self.counters.read().dropped;
        let fresh = dropped.total() - self.told_lost;
        let fault = self.buffer.fault.take();
        if fresh == 0 && fault.is_none() {
            return;
        }
        self.told = Some(Instant::now());
        self.told_lost = dropped.total();
        tracing::warn!(
            sink = self.options.name,
            lost = fresh,
            queue_full = dropped.queue,
            spill_full = dropped.spill,
            refused = dropped.refused,
            disk = fault.map(|error| error.to_string()),
            "a sink loses records"
        );
    }
}

/// Ends when it is time to give up.
async fn over(give_up: &mut watch::Receiver<Option<Instant>>) {
    let until = give_up.wait_for(Option::is_some).await.ok().and_then(|until| *until);
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await, // nobody is left who could say so
    }
}
