//! Idempotency keys: same key and same request join the call in flight or replay its answer, and are never billed twice.
//!
//! A call that has a key runs in a task of its own and writes its events to a log that any number of readers follow from the start.
//! When the last reader goes, the task goes on for [`LINGER`], so that a client that timed out and repeats finds its call still
//! running; then it is cancelled and settled like any other. Only answers that were completed are kept; after a failure the key is
//! free again.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::{DashMap, mapref::entry::Entry as MapEntry};
use futures::{FutureExt, StreamExt};
use moka::sync::Cache;
use parking_lot::Mutex;
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{Error, Retry};
use tollgate_ledger::End;
use tollgate_proto::v1::{CompletionEvent, ErrorReason};
use tollgate_store::{Claims, Idempotency};

use crate::{Billed, Call, Reply, permit::Permit, record::Record};

/// How long a call runs on without a reader: longer than the first pause of the SDKs (half a second at most), well below the second
/// within which a hang-up must reach the provider.
const LINGER: Duration = Duration::from_millis(600);

type Key = [u8; 16];

/// The hashes of a call's idempotency key and request; `None` when it has no key.
pub(crate) fn of(permit: &Permit, call: &Call) -> Option<Idempotency> {
    let key = call.options()?.idempotency_key.as_deref().filter(|k| !k.is_empty())?;
    let short = |hash: Sha256| hash.finalize()[..16].to_vec();
    let scope = Sha256::new().chain_update(permit.caller.key_id()).chain_update([0]).chain_update(key);
    let fingerprint = Sha256::new().chain_update(call.request.mark()).chain_update(call.body());
    Some(Idempotency { key: short(scope), fingerprint: short(fingerprint) })
}

/// A piece of an answer, as it is kept for repetitions.
pub(crate) trait Kept: Clone + Send + Sync + 'static {
    /// Bytes that it takes, or thereabouts.
    fn size(&self) -> usize;
}

impl Kept for CompletionEvent {
    fn size(&self) -> usize {
        self.encoded_len()
    }
}

/// What a call finds under its idempotency key.
pub(crate) enum Entry<T> {
    /// It has none.
    Alone,
    /// Nothing: it is the first.
    Lead(Lead<T>),
    /// The same call, in flight or answered.
    Follow(Arc<Flight<T>>),
}

/// The first of its key: it drives the flight.
pub(crate) struct Lead<T> {
    flight: Arc<Flight<T>>,
    flights: Flights<T>,
    key: Key,
    billed: Billed,
}

/// One call and everybody who reads it.
pub(crate) struct Flight<T> {
    fingerprint: Vec<u8>,
    call_id: String,
    log: Mutex<Log<T>>,
    grown: Notify,
    readers: AtomicUsize,
    left: Notify,
}

struct Log<T> {
    items: Vec<T>,
    end: Option<Result<(), Error>>,
}

/// An answered call: its flight, or only the knowledge of it.
enum Known<T> {
    Kept(Arc<Flight<T>>),
    Gone { fingerprint: Vec<u8>, call_id: String },
}

impl<T> Clone for Known<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Kept(flight) => Self::Kept(flight.clone()),
            Self::Gone { fingerprint, call_id } => {
                Self::Gone { fingerprint: fingerprint.clone(), call_id: call_id.clone() }
            }
        }
    }
}

/// All calls that have a key.
pub(crate) struct Flights<T> {
    in_flight: Arc<DashMap<Key, Arc<Flight<T>>>>,
    answered: Cache<Key, Known<T>>,
    /// Outlives `answered` where size evicted an answer: its key is still never billed again.
    billed: Cache<Key, (Vec<u8>, String)>,
    claims: Option<Arc<dyn Claims>>,
}

impl<T> Clone for Flights<T> {
    fn clone(&self) -> Self {
        Self {
            in_flight: self.in_flight.clone(),
            answered: self.answered.clone(),
            billed: self.billed.clone(),
            claims: self.claims.clone(),
        }
    }
}

/// Claims the call's idempotency key over all replicas. What another replica has, in flight or answered, is not done again.
pub(crate) async fn claim(
    claims: Option<&dyn Claims>,
    permit: &Permit,
    call: &Call,
    retention: Duration,
) -> Result<(), Error> {
    let (Some(claims), Some(idempotency)) = (claims, of(permit, call)) else { return Ok(()) };
    match claims.claim(&idempotency, &call.id.to_string(), retention).await {
        Ok(None) => Ok(()),
        Ok(Some(other)) => {
            check(&other.fingerprint, &idempotency.fingerprint, &other.call_id)?;
            let message = "the same request is in flight or was answered at another replica, which alone can replay it; send it \
                           under a new idempotency key to have it done again";
            Err(Error::new(ErrorReason::IdempotencyReplayUnavailable, message).with("callId", other.call_id))
        }
        Err(error) => {
            let message = format!("whether this idempotency key came before cannot be told now ({error}); retry");
            Err(Error::new(ErrorReason::LedgerUnavailable, message).retry(Retry::After(Duration::from_secs(1))))
        }
    }
}

impl<T: Kept> Flights<T> {
    pub(crate) fn new(retention: Duration, bytes: u64, claims: Option<Arc<dyn Claims>>) -> Self {
        let weigh = |_: &Key, known: &Known<T>| match known {
            Known::Kept(flight) => {
                let log = flight.log.lock();
                let size: usize = log.items.iter().map(|i| i.size() + 64).sum();
                u32::try_from(size).unwrap_or(u32::MAX)
            }
            Known::Gone { .. } => 64,
        };
        Self {
            in_flight: Arc::default(),
            answered: Cache::builder().max_capacity(bytes).weigher(weigh).time_to_live(retention).build(),
            billed: Cache::builder().max_capacity(1_000_000).time_to_live(retention).build(),
            claims,
        }
    }

    /// Remembers a call whose answer is not kept.
    pub(crate) fn remember(&self, idempotency: &Idempotency, call_id: &str) {
        if let Ok(key) = Key::try_from(idempotency.key.as_slice()) {
            self.billed.insert(key, (idempotency.fingerprint.clone(), call_id.to_owned()));
        }
    }

    /// Finds the call under this key, or makes this one the first.
    pub(crate) fn enter(&self, permit: &Permit, call: &Call) -> Result<Entry<T>, Error> {
        let Some(idempotency) = of(permit, call) else { return Ok(Entry::Alone) };
        if tollgate_planted::bug("idempotency_ignored") {
            return Ok(Entry::Alone);
        }
        let Ok(key) = Key::try_from(idempotency.key.as_slice()) else { return Ok(Entry::Alone) };
        match self.in_flight.entry(key) {
            MapEntry::Occupied(flying) => {
                let flight = flying.get().clone();
                flight.check(&idempotency.fingerprint)?;
                Ok(Entry::Follow(flight))
            }
            MapEntry::Vacant(vacant) => {
                let known = self.answered.get(&key).or_else(|| {
                    let (fingerprint, call_id) = self.billed.get(&key)?;
                    Some(Known::Gone { fingerprint, call_id })
                });
                match known {
                    Some(Known::Kept(flight)) => {
                        flight.check(&idempotency.fingerprint)?;
                        return Ok(Entry::Follow(flight));
                    }
                    Some(Known::Gone { fingerprint, call_id }) => {
                        check(&fingerprint, &idempotency.fingerprint, &call_id)?;
                        let message = "the same request was completed and billed, but its answer is no longer kept; \
                                       send it under a new idempotency key to have it done again";
                        return Err(
                            Error::new(ErrorReason::IdempotencyReplayUnavailable, message).with("callId", call_id)
                        );
                    }
                    None => {}
                }
                let flight = Arc::new(Flight {
                    fingerprint: idempotency.fingerprint,
                    call_id: call.id.to_string(),
                    log: Mutex::new(Log { items: Vec::new(), end: None }),
                    grown: Notify::new(),
                    readers: AtomicUsize::new(0),
                    left: Notify::new(),
                });
                vacant.insert(flight.clone());
                Ok(Entry::Lead(Lead { flight, flights: self.clone(), key, billed: call.billed.clone() }))
            }
        }
    }

    fn land(&self, key: Key, flight: &Arc<Flight<T>>) {
        let completed = matches!(flight.log.lock().end, Some(Ok(())));
        if completed {
            self.billed.insert(key, (flight.fingerprint.clone(), flight.call_id.clone()));
            self.answered.insert(key, Known::Kept(flight.clone()));
        }
        // Last: whoever comes in between still finds the flight.
        self.in_flight.remove(&key);
    }
}

fn check(known: &[u8], given: &[u8], call_id: &str) -> Result<(), Error> {
    if known == given {
        return Ok(());
    }
    let message = "this idempotency key came before with another request; use a new key for a new request";
    Err(Error::new(ErrorReason::IdempotencyMismatch, message).with("callId", call_id))
}

impl<T: Kept> Lead<T> {
    /// The call, which is to run in a task of its own, and what its first caller reads of it.
    pub(crate) fn lead(
        self,
        run: impl Future<Output = Result<Reply<T>, Error>> + Send + 'static,
        cut: CancellationToken,
    ) -> (impl Future<Output = ()> + Send + 'static, Reply<T>) {
        let Self { flight, flights, key, billed } = self;
        let reply = flight.read();
        let leading = async move {
            // Whoever waits for a call that panicked would wait for ever.
            let recording = AssertUnwindSafe(flight.record(run)).catch_unwind();
            let mut recording = Box::pin(recording.map(|ended| ended.unwrap_or_else(|_| Err(Error::defect()))));
            let unneeded = tokio::select! {
                end = &mut recording => Err(end),
                () = flight.forsaken() => Ok("every reader of the call went away"),
                () = cut.cancelled() => Ok("the gateway was stopped"),
            };
            let end = match unneeded {
                Err(end) => end,
                // What is billed is an answer, also for whoever asks again.
                Ok(_) if billed.get() => recording.await,
                Ok(why) => {
                    // First of all it hands over what it holds.
                    drop(recording);
                    Err(Error::new(ErrorReason::Cancelled, why))
                }
            };
            if end.is_err() && billed.get() {
                flights.billed.insert(key, (flight.fingerprint.clone(), flight.call_id.clone()));
            } else if let (Err(_), Some(claims)) = (&end, &flights.claims) {
                // The key is free again, here and everywhere.
                if let Err(error) = claims.release(&key, &flight.call_id).await {
                    tracing::debug!(%error, "a claim cannot be released now; it lapses");
                }
            }
            flight.log.lock().end = Some(end);
            flights.land(key, &flight);
            flight.grown.notify_waiters();
        };
        (leading, reply)
    }
}

impl<T: Kept> Flight<T> {
    fn check(&self, fingerprint: &[u8]) -> Result<(), Error> {
        check(&self.fingerprint, fingerprint, &self.call_id)
    }

    /// Reads along with a call that somebody else pays for.
    pub(crate) fn follow(self: &Arc<Self>, mut record: Record) -> Reply<T> {
        record.replays(&self.call_id);
        record.close_with(End::default(), None);
        self.read()
    }

    async fn record(&self, run: impl Future<Output = Result<Reply<T>, Error>>) -> Result<(), Error> {
        let mut reply = run.await?;
        while let Some(item) = reply.next().await {
            self.log.lock().items.push(item?);
            self.grown.notify_waiters();
        }
        Ok(())
    }

    /// Resolves once nobody has read for [`LINGER`].
    async fn forsaken(&self) {
        loop {
            let left = self.left.notified();
            if self.readers.load(Ordering::Acquire) == 0 {
                tokio::time::sleep(LINGER).await;
                if self.readers.load(Ordering::Acquire) == 0 {
                    return;
                }
            }
            left.await;
        }
    }

    fn read(self: &Arc<Self>) -> Reply<T> {
        self.readers.fetch_add(1, Ordering::AcqRel);
        let reader = Reader(self.clone());
        async_stream::stream! {
            let flight = &reader.0;
            let mut at = 0;
            loop {
                let grown = flight.grown.notified();
                tokio::pin!(grown);
                grown.as_mut().enable();
                let (new, end) = {
                    let log = flight.log.lock();
                    (log.items[at..].to_vec(), log.end.clone())
                };
                at += new.len();
                for item in new {
                    yield Ok(item);
                }
                match end {
                    Some(Ok(())) => return,
                    Some(Err(error)) => {
                        yield Err(error);
                        return;
                    }
                    None => grown.await,
                }
            }
        }
        .boxed()
    }
}

struct Reader<T>(Arc<Flight<T>>);

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::AcqRel);
        self.0.left.notify_waiters();
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = [7; 16];

    fn lead(flights: &Flights<CompletionEvent>) -> Lead<CompletionEvent> {
        let flight = Arc::new(Flight {
            fingerprint: vec![1],
            call_id: "call_1".into(),
            log: Mutex::new(Log { items: Vec::new(), end: None }),
            grown: Notify::new(),
            readers: AtomicUsize::new(0),
            left: Notify::new(),
        });
        flights.in_flight.insert(KEY, flight.clone());
        Lead { flight, flights: flights.clone(), key: KEY, billed: Billed::default() }
    }

    async fn panics() -> Result<Reply<CompletionEvent>, Error> {
        panic!("as the test wants it")
    }

    async fn panics_at_its_second_piece() -> Result<Reply<CompletionEvent>, Error> {
        let pieces = futures::stream::iter(0..2).map(|n| match n {
            0 => Ok(CompletionEvent::default()),
            _ => panic!("as the test wants it"),
        });
        Ok(pieces.boxed())
    }

    /// Whoever reads it is told of its end, and its key is free.
    async fn ends_for_all(run: impl Future<Output = Result<Reply<CompletionEvent>, Error>> + Send + 'static) {
        let flights = Flights::new(Duration::from_secs(60), 1_000, None);
        let lead = lead(&flights);
        let follower = lead.flight.read();
        let (leading, first) = lead.lead(run, CancellationToken::new());
        tokio::spawn(leading);
        for reader in [first, follower] {
            let told = tokio::time::timeout(Duration::from_secs(20), reader.collect::<Vec<_>>()).await.unwrap();
            let end = told.last().unwrap().as_ref().unwrap_err();
            assert_eq!(end.reason, ErrorReason::Internal);
        }
        assert!(flights.in_flight.is_empty(), "the key is free again");
    }

    #[tokio::test]
    async fn a_call_that_panics_when_it_is_billed_is_not_made_again() {
        let flights = Flights::new(Duration::from_secs(60), 1_000, None);
        let lead = lead(&flights);
        lead.billed.set();
        let (leading, _reply) = lead.lead(panics(), CancellationToken::new());
        leading.await;
        assert!(flights.billed.contains_key(&KEY) && flights.in_flight.is_empty());
    }

    #[tokio::test]
    async fn a_call_that_is_cut_ends_for_all_who_wait_for_it_and_frees_its_key() {
        let flights = Flights::new(Duration::from_secs(60), 1_000, None);
        let (cut, lead) = (CancellationToken::new(), lead(&flights));
        let (leading, reply) = lead.lead(std::future::pending(), cut.clone());
        cut.cancel();
        let ((), told) = tokio::join!(leading, reply.collect::<Vec<_>>());
        assert_eq!(told.last().unwrap().as_ref().unwrap_err().reason, ErrorReason::Cancelled);
        assert!(flights.in_flight.is_empty() && !flights.billed.contains_key(&KEY));
    }

    #[tokio::test]
    async fn a_call_that_panics_ends_for_all_who_wait_for_it() {
        ends_for_all(panics()).await;
        ends_for_all(panics_at_its_second_piece()).await;
    }
}
