use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};
use tollgate_trace::{Finished, Sink};

use crate::{Settings, Unusable, connect, convert};

/// What is lost is told of no more often.
const TELL: Duration = Duration::from_secs(60);

enum Work {
    Spans(Finished),
    /// Sends what is there, and tells when that is done.
    Flush(oneshot::Sender<()>),
}

/// The near end of the queue.
#[derive(Clone)]
pub struct Exporter {
    queue: mpsc::UnboundedSender<Work>,
    counts: Arc<Counts>,
    most: usize,
}

#[derive(Default)]
struct Counts {
    /// Spans that wait or are on their way: what bounds the queue.
    held: AtomicUsize,
    lost: AtomicUsize,
}

impl Exporter {
    /// Spans that were lost so far.
    pub fn lost(&self) -> usize {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Sends what is there, for at most `limit`.
    pub async fn flush(&self, limit: Duration) {
        let (done, sent) = oneshot::channel();
        if self.queue.send(Work::Flush(done)).is_ok() {
            // Whoever stops waits no longer than that; what is not sent by then is lost with the process.
            let _ = timeout(limit, sent).await;
        }
    }
}

impl Sink for Exporter {
    fn take(&self, finished: Finished) {
        let spans = finished.spans.len();
        let counts = &self.counts;
        let fits = counts.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
            held.checked_add(spans).filter(|held| *held <= self.most)
        });
        if fits.is_err() || self.queue.send(Work::Spans(finished)).is_err() {
            counts.lost.fetch_add(spans, Ordering::Relaxed);
        }
    }
}

/// Starts the task that sends; it ends when the last clone of the exporter is gone. Needs a runtime.
pub fn start(settings: &Settings) -> Result<Exporter, Unusable> {
    let exporter = connect::exporter(&settings.collector)?;
    let (queue, work) = mpsc::unbounded_channel();
    let counts = Arc::new(Counts::default());
    let sender = Sender {
        exporter,
        scope: InstrumentationScope::builder("tollgate")
            .with_version(settings.collector.service_version.clone())
            .build(),
        counts: counts.clone(),
        // Repetitions are within the exporter's own limit; this one is for what hangs.
        limit: connect::timeout(&settings.collector) * 2,
        most: settings.max_batch_spans.max(1),
        interval: settings.interval,
        told: 0,
        tell_at: Instant::now(),
        why: String::new(),
    };
    tokio::spawn(sender.run(work));
    Ok(Exporter { queue, counts, most: settings.max_queued_spans })
}

/// The far end.
struct Sender {
    exporter: SpanExporter,
    scope: InstrumentationScope,
    counts: Arc<Counts>,
    limit: Duration,
    most: usize,
    interval: Duration,
    /// Lost spans that the log knows of.
    told: usize,
    tell_at: Instant,
    why: String,
}

impl Sender {
    async fn run(mut self, mut work: mpsc::UnboundedReceiver<Work>) {
        let mut is_open = true;
        while is_open {
            let mut flushed = None;
            let mut batch = Vec::new();
            let mut until = Instant::now() + TELL;
            // The first waits for ever, but for what there is to tell; the others until the batch is due.
            while batch.len() < self.most {
                match timeout_at(until, work.recv()).await {
                    Ok(Some(Work::Spans(finished))) => {
                        if batch.is_empty() {
                            until = Instant::now() + self.interval;
                        }
                        batch.extend(convert::spans(finished, &self.scope));
                    }
                    Ok(Some(Work::Flush(done))) => {
                        flushed = Some(done);
                        break;
                    }
                    Ok(None) => {
                        is_open = false;
                        break;
                    }
                    Err(_) => break,
                }
            }
            self.send(batch).await;
            self.tell();
            if let Some(done) = flushed {
                let _ = done.send(()); // whoever asked may have gone
            }
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        if batch.is_empty() {
            return;
        }
        let spans = batch.len();
        let failed = match timeout(self.limit, self.exporter.export(batch)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the collector did not answer in time".to_owned()),
        };
        self.counts.held.fetch_sub(spans, Ordering::AcqRel);
        if let Some(why) = failed {
            self.counts.lost.fetch_add(spans, Ordering::Relaxed);
            self.why = why;
        }
    }

    fn tell(&mut self) {
        let lost = self.counts.lost.load(Ordering::Relaxed);
        if lost == self.told || Instant::now() < self.tell_at {
            return;
        }
        let since = lost - self.told;
        let why = if self.why.is_empty() { "the queue is full" } else { &self.why };
        tracing::warn!(lost = since, lost_in_all = lost, why, "spans are lost; calls go on");
        self.told = lost;
        self.tell_at = Instant::now() + TELL;
        self.why.clear();
    }
}
