//! The two ways of offering load.
//!
//! *Closed loop*: so many callers, each makes its next call when the last one is answered; tells capacity.
//! *Open loop*: calls arrive at a constant rate whether or not earlier ones are answered; tells latency. It is counted
//! from the moment a call was *meant* to start: a stall is felt by all calls it delays, not by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::calls::Call;
use crate::client::{Connection, Timing};
use crate::measure::Cpu;
use crate::servers::Target;

/// Open calls beyond this are not made but counted as failed: the target has been overrun.
const MOST_OPEN: usize = 2_000;

/// What one drive saw. Times are in microseconds.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) error: Option<String>,
    pub(crate) seconds: f64,
    /// CPU time of the target's processes; zero when they are not known.
    pub(crate) cpu_us: f64,
    pub(crate) latency: Histogram<u64>,
    pub(crate) first: Histogram<u64>,
    pub(crate) gap: Histogram<u64>,
}

/// Where a drive ends: whichever comes first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) calls: u64,
    pub(crate) time: Duration,
}

impl Default for Sample {
    fn default() -> Self {
        let minute = 60_000_000;
        let histogram = || Histogram::new_with_max(minute, 3).expect("three digits are a valid precision");
        Sample {
            done: 0,
            failed: 0,
            error: None,
            seconds: 0.0,
            cpu_us: 0.0,
            latency: histogram(),
            first: histogram(),
            gap: histogram(),
        }
    }
}

impl Sample {
    fn note(&mut self, meant: Instant, made: Result<Timing>) {
        match made {
            Ok(timing) => {
                self.done += 1;
                record(&mut self.latency, meant.elapsed());
                timing.first.into_iter().for_each(|first| record(&mut self.first, first - meant));
                timing.gaps.into_iter().for_each(|gap| record(&mut self.gap, gap));
            }
            Err(error) => {
                self.failed += 1;
                self.error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(time.as_micros() as u64);
}

/// So many callers, each calling again as soon as it is answered.
pub(crate) async fn closed(target: &Target, call: &Call, callers: usize, limit: Limit) -> Result<Sample> {
    let (call, sample) = (Arc::new(call.clone()), Arc::new(Mutex::new(Sample::default())));
    let mut connections = Vec::with_capacity(callers);
    for _ in 0..callers {
        connections.push(Connection::open(target.address).await?);
    }
    let begun = Arc::new(AtomicU64::new(0));
    let (cpu, start) = (Cpu::of(target.pid), Instant::now());
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let (call, sample, begun) = (Arc::clone(&call), Arc::clone(&sample), Arc::clone(&begun));
        let address = target.address;
        tasks.spawn(async move {
            while start.elapsed() < limit.time && begun.fetch_add(1, Ordering::Relaxed) < limit.calls {
                let meant = Instant::now();
                let made = connection.make(&call).await;
                let broken = made.is_err();
                sample.lock().note(meant, made);
                if broken {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    match Connection::open(address).await {
                        Ok(fresh) => connection = fresh,
                        Err(_) => break,
                    }
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(close(sample, start, Cpu::of(target.pid).us_since(&cpu)))
}

/// Calls at a constant rate.
pub(crate) async fn open(target: &Target, call: &Call, per_second: f64, limit: Limit) -> Result<Sample> {
    let (call, sample) = (Arc::new(call.clone()), Arc::new(Mutex::new(Sample::default())));
    let idle = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..16 {
        let connection = Connection::open(target.address).await?;
        idle.lock().push(connection);
    }
    let (cpu, start) = (Cpu::of(target.pid), Instant::now());
    let mut arrivals = arrivals(per_second, limit);
    let mut tasks = JoinSet::new();
    while let Some(meant) = arrivals.recv().await {
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= MOST_OPEN {
            sample.lock().note(meant, Err(anyhow::anyhow!("{MOST_OPEN} calls are open")));
            continue;
        }
        let (call, sample, idle) = (Arc::clone(&call), Arc::clone(&sample), Arc::clone(&idle));
        let address = target.address;
        tasks.spawn(async move {
            let spare = idle.lock().pop();
            let connection = match spare {
                Some(connection) => Ok(connection),
                None => Connection::open(address).await,
            };
            let made = match connection {
                Ok(mut connection) => {
                    let made = connection.make(&call).await;
                    if made.is_ok() {
                        idle.lock().push(connection);
                    }
                    made
                }
                Err(error) => Err(error),
            };
            sample.lock().note(meant, made);
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(close(sample, start, Cpu::of(target.pid).us_since(&cpu)))
}

/// Moments at which calls are meant to start, from a thread of its own: the runtime's clock ticks in milliseconds only.
fn arrivals(per_second: f64, limit: Limit) -> mpsc::UnboundedReceiver<Instant> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let start = Instant::now();
        let calls = limit.calls.min((limit.time.as_secs_f64() * per_second) as u64);
        for call in 0..calls {
            let meant = start + Duration::from_secs_f64(call as f64 / per_second);
            std::thread::sleep(meant.saturating_duration_since(Instant::now()));
            if sender.send(meant).is_err() {
                return;
            }
        }
    });
    receiver
}

fn close(sample: Arc<Mutex<Sample>>, start: Instant, cpu_us: f64) -> Sample {
    let mut sample = std::mem::take(&mut *sample.lock());
    sample.seconds = start.elapsed().as_secs_f64();
    sample.cpu_us = cpu_us;
    sample
}
