//! Admission: a call passes all limits of all its subjects, or takes nothing of any.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use parking_lot::Mutex;
use tollgate_domain::{Clock, Error, Retry};
use tollgate_proto::v1::{ErrorReason, RateLimits};

use crate::{
    meter::{self, Dimension, Meter, Quota, Standing, Subject},
    rate::Wait,
    shared::{Gone, Shared, Take},
};

/// For how long a slice of a shared limit may be used: what was taken ahead and not used lapses.
const SLICE_US: i64 = 1_000_000;
/// A count of calls in flight outlives a replica that dies by this much at most.
const SLACK: Duration = Duration::from_secs(5);
/// Shared limits that take longer to answer are as good as gone: no call waits for them.
const PROMPT: Duration = Duration::from_millis(50);
/// How often they are looked for then.
const LOOK: Duration = Duration::from_millis(250);
/// A call without deadline is counted for this long at most.
const LONGEST: Duration = Duration::from_secs(3_600);

/// A subject and what limits it.
#[derive(Clone, Debug)]
pub struct Limited {
    /// Who.
    pub subject: Subject,
    /// By what.
    pub limits: RateLimits,
}

/// All limits of a gateway.
pub struct Limiter {
    meters: DashMap<Subject, Arc<Mutex<Meter>>>,
    clock: Clock,
    shared: Option<Arc<dyn Shared>>,
    /// Whether the shared limits answer.
    there: Arc<AtomicBool>,
    /// How many replicas there are.
    replicas: Box<dyn Fn() -> usize + Send + Sync>,
}

/// A call that has passed. Dropped, it is no longer in flight.
pub struct Ticket {
    inside: Vec<(Subject, Arc<Mutex<Meter>>)>,
    charged: i64,
    /// Counts that are kept elsewhere.
    away: Option<Away>,
    corrections: Vec<(String, crate::rate::Rate)>,
    shared: Option<Arc<dyn Shared>>,
    quota: Quota,
}

struct Away {
    counts: Vec<String>,
    call: String,
}

/// What limits one call.
struct Asked<'a> {
    limited: &'a Limited,
    meter: Arc<Mutex<Meter>>,
}

impl Limiter {
    /// Limits of one gateway, or of one of several replicas.
    pub fn new(clock: Clock, shared: Option<Arc<dyn Shared>>, replicas: Box<dyn Fn() -> usize + Send + Sync>) -> Self {
        Self { meters: DashMap::new(), clock, shared, there: Arc::new(AtomicBool::new(true)), replicas }
    }

    /// Lets `call` pass, which is expected to use so many tokens, or says which limit it waits for, and how long.
    pub async fn admit(
        &self,
        limited: &[Limited],
        tokens: i64,
        call: &str,
        within: Option<Duration>,
    ) -> Result<Ticket, Error> {
        let mut asked: Vec<_> = limited.iter().map(|l| Asked { limited: l, meter: self.meter(&l.subject) }).collect();
        // One order of locks everywhere.
        asked.sort_by(|a, b| a.limited.subject.cmp(&b.limited.subject));
        asked.dedup_by(|a, b| a.limited.subject == b.limited.subject);
        if let Some(shared) = self.shared.as_ref().filter(|_| self.there.load(Ordering::Relaxed)) {
            let admitting = self.admit_shared(shared, &asked, tokens, call, within);
            match tokio::time::timeout(PROMPT, admitting).await {
                Ok(Ok(admitted)) => return admitted,
                Ok(Err(Gone(why))) => self.gone(shared, &why),
                Err(_) => self.gone(shared, "no answer"),
            }
        }
        self.admit_here(&asked, tokens)
    }

    /// From now on this replica keeps to an equal part, until the shared limits are back.
    fn gone(&self, shared: &Arc<dyn Shared>, why: &str) {
        if !self.there.swap(false, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(why, "shared rate limits cannot be reached; each replica keeps to an equal part of them");
        let (shared, there) = (shared.clone(), Arc::downgrade(&self.there));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(there) = there.upgrade() else { return };
                if matches!(tokio::time::timeout(LOOK, shared.take(&[])).await, Ok(Ok(_))) {
                    there.store(true, Ordering::Relaxed);
                    tracing::info!("shared rate limits are back");
                    return;
                }
            }
        });
    }

    fn meter(&self, subject: &Subject) -> Arc<Mutex<Meter>> {
        if let Some(meter) = self.meters.get(subject) {
            return meter.clone();
        }
        self.meters.entry(subject.clone()).or_default().clone()
    }

    /// Within this replica: alone the whole limit, else an equal part of it, so that all parts together keep it.
    fn admit_here(&self, asked: &[Asked<'_>], tokens: i64) -> Result<Ticket, Error> {
        let share = i64::try_from((self.replicas)()).unwrap_or(1).max(1);
        let now_us = self.clock.now_us();
        let mut locked: Vec<_> = asked.iter().map(|a| a.meter.lock()).collect();
        let mut quota = Quota::default();
        for (meter, asked) in locked.iter_mut().zip(asked) {
            let Limited { subject, limits } = asked.limited;
            meter.set(limits, share, now_us);
            if let Some(limit) = limits.concurrent_requests
                && meter.in_flight >= (limit / share).max(1)
            {
                return Err(refusal(subject, Dimension::ConcurrentRequests, limit, 0, Wait::Micros(1_000_000)));
            }
            if let Err((dimension, rate, wait)) = meter.check(tokens, now_us) {
                return Err(refusal(subject, dimension, rate.limit, dimension.amount(tokens), wait));
            }
        }
        for meter in &mut locked {
            meter.take(tokens, now_us);
            meter.in_flight += 1;
            for (dimension, standing) in meter.standings(now_us) {
                quota.note(dimension, standing);
            }
        }
        drop(locked);
        let inside = asked.iter().map(|a| (a.limited.subject.clone(), a.meter.clone())).collect();
        Ok(Ticket { inside, charged: tokens, away: None, corrections: Vec::new(), shared: None, quota })
    }

    /// Within all replicas: out of slices taken ahead, which near the limit are no more than what the call needs.
    async fn admit_shared(
        &self,
        shared: &Arc<dyn Shared>,
        asked: &[Asked<'_>],
        tokens: i64,
        call: &str,
        within: Option<Duration>,
    ) -> Result<Result<Ticket, Error>, Gone> {
        let counts: Vec<_> = asked
            .iter()
            .filter_map(|a| {
                Some((name(&a.limited.subject, Dimension::ConcurrentRequests), a.limited.limits.concurrent_requests?))
            })
            .collect();
        let rated: Vec<_> = asked
            .iter()
            .flat_map(|a| Dimension::RATES.map(|d| (a, d)))
            .filter_map(|(a, d)| Some((a, d, meter::rate(&a.limited.limits, d, 1)?)))
            .collect();
        let mut quota = Quota::default();
        // Others may use up a slice between its taking and ours: then it is taken again.
        loop {
            let now_us = self.clock.now_us();
            let mut takes = Vec::new();
            for (asked, dimension, rate) in &rated {
                let needed = dimension.amount(tokens) - asked.meter.lock().slice(*dimension, now_us);
                if needed > 0 {
                    let replicas = i64::try_from((self.replicas)()).unwrap_or(1).max(1);
                    // A tenth of a limit at most is in slices: the bound of what may pass twice.
                    let ahead = rate.burst / (10 * replicas);
                    takes.push((
                        asked,
                        *dimension,
                        Take { name: name(&asked.limited.subject, *dimension), rate: *rate, needed, ahead },
                    ));
                }
            }
            if !takes.is_empty() {
                let wanted: Vec<_> = takes.iter().map(|(.., take)| take.clone()).collect();
                let taken = shared.take(&wanted).await?;
                let mut refused = None;
                for ((asked, dimension, take), taken) in takes.iter().zip(taken) {
                    let standing =
                        Standing { limit: take.rate.limit, remaining: taken.remaining, reset_us: taken.reset_us };
                    asked.meter.lock().hear(*dimension, standing);
                    if taken.amount == 0 {
                        let wait =
                            if take.needed > take.rate.limit { Wait::Never } else { Wait::Micros(taken.wait_us) };
                        let amount = dimension.amount(tokens);
                        refused.get_or_insert_with(|| {
                            refusal(&asked.limited.subject, *dimension, take.rate.limit, amount, wait)
                        });
                    } else {
                        asked.meter.lock().add_slice(*dimension, taken.amount, now_us, now_us + SLICE_US);
                    }
                }
                if let Some(refused) = refused {
                    return Ok(Err(refused));
                }
            }
            let mut locked: Vec<_> = asked.iter().map(|a| a.meter.lock()).collect();
            let enough = rated.iter().all(|(wanted, dimension, _)| {
                let at = asked.iter().position(|a| a.limited.subject == wanted.limited.subject);
                at.is_some_and(|at| locked[at].slice(*dimension, now_us) >= dimension.amount(tokens))
            });
            if enough {
                for (meter, asked) in locked.iter_mut().zip(asked) {
                    for (wanted, dimension, _) in &rated {
                        if wanted.limited.subject == asked.limited.subject {
                            meter.use_slice(*dimension, dimension.amount(tokens));
                        }
                    }
                    for (dimension, standing) in meter.heard() {
                        quota.note(dimension, standing);
                    }
                }
                break;
            }
        }
        let mut away = None;
        if !counts.is_empty() {
            let seconds = within.unwrap_or(LONGEST).saturating_add(SLACK).as_secs();
            if let Some(full) = shared.enter(&counts, call, seconds).await? {
                let full = counts.get(full).map_or("", |(name, _)| name.as_str());
                let of = asked.iter().find(|a| name(&a.limited.subject, Dimension::ConcurrentRequests) == full);
                let (subject, limit) = of.map_or_else(
                    || (Subject { kind: "key", id: String::new() }, 0),
                    |a| (a.limited.subject.clone(), a.limited.limits.concurrent_requests.unwrap_or(0)),
                );
                return Ok(Err(refusal(&subject, Dimension::ConcurrentRequests, limit, 0, Wait::Micros(1_000_000))));
            }
            away = Some(Away { counts: counts.into_iter().map(|(name, _)| name).collect(), call: call.to_owned() });
        }
        let corrections = rated
            .iter()
            .filter(|(_, dimension, _)| *dimension == Dimension::TokensPerMinute)
            .map(|(asked, dimension, rate)| (name(&asked.limited.subject, *dimension), *rate))
            .collect();
        Ok(Ok(Ticket { inside: Vec::new(), charged: tokens, away, corrections, shared: Some(shared.clone()), quota }))
    }
}

/// What a limit is called where it is shared.
fn name(subject: &Subject, dimension: Dimension) -> String {
    format!("{}:{}:{}", subject.kind, subject.id, dimension.name())
}

/// The refusal of a call that a limit does not let pass.
fn refusal(subject: &Subject, dimension: Dimension, limit: i64, amount: i64, wait: Wait) -> Error {
    let (what, unit) = (dimension.name(), dimension.unit());
    let error = match (dimension, wait) {
        (_, Wait::Never) => Error::new(
            ErrorReason::RateLimited,
            format!(
                "the call needs {amount} {unit}, and {subject} may use {limit} {what}: ask for less, or have the limit raised"
            ),
        ),
        (Dimension::ConcurrentRequests, _) => Error::new(
            ErrorReason::RateLimited,
            format!("{subject} has as many calls in flight as it may, {limit}; try again when one has ended"),
        )
        .retry(Retry::After(Duration::from_secs(1))),
        (_, Wait::Micros(wait)) => {
            let wait = Duration::from_micros(wait.max(0) as u64);
            let message =
                format!("{subject} has used its {limit} {what} for now; try again in {:.3} s", wait.as_secs_f64());
            Error::new(ErrorReason::RateLimited, message).retry(Retry::After(wait))
        }
    };
    error.with("scope", subject.to_string()).with("limit", limit.to_string()).with("dimension", what)
}

impl Ticket {
    /// How the tightest limits stand.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Corrects what was charged to what was used.
    pub fn used(&mut self, tokens: i64) {
        let more = tokens - std::mem::replace(&mut self.charged, tokens);
        if more == 0 {
            return;
        }
        for (_, meter) in &self.inside {
            meter.lock().correct(more);
        }
        if let Some(shared) = self.shared.clone().filter(|_| !self.corrections.is_empty()) {
            let corrections: Vec<_> = self.corrections.iter().map(|(name, rate)| (name.clone(), *rate, more)).collect();
            tokio::spawn(async move { shared.correct(&corrections).await });
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        for (_, meter) in self.inside.iter().filter(|_| !tollgate_planted::bug("places_kept")) {
            meter.lock().in_flight -= 1;
        }
        if let (Some(shared), Some(away)) = (self.shared.take(), self.away.take())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { shared.leave(&away.counts, &away.call).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        slice::from_ref,
        sync::atomic::{AtomicI64, Ordering},
    };

    use super::*;

    struct World {
        limiter: Limiter,
        now_us: Arc<AtomicI64>,
    }

    fn world(replicas: usize) -> World {
        let now_us = Arc::new(AtomicI64::new(1_000_000_000));
        let clock = Clock::new({
            let now_us = now_us.clone();
            move || now_us.load(Ordering::Relaxed)
        });
        World { limiter: Limiter::new(clock, None, Box::new(move || replicas)), now_us }
    }

    fn limited(kind: &'static str, limits: RateLimits) -> Limited {
        Limited { subject: Subject { kind, id: "x".into() }, limits }
    }

    impl World {
        async fn admit(&self, limited: &[Limited], tokens: i64) -> Result<Ticket, Error> {
            self.limiter.admit(limited, tokens, "call", None).await
        }
    }

    #[tokio::test]
    async fn a_call_that_one_limit_stops_takes_nothing_of_the_others() {
        let world = world(1);
        let wide = limited("team", RateLimits { requests_per_minute: Some(4), ..RateLimits::default() });
        let narrow = limited("key", RateLimits { tokens_per_minute: Some(600), ..RateLimits::default() });
        for _ in 0..10 {
            let error = world.admit(&[wide.clone(), narrow.clone()], 601).await.err().unwrap();
            assert_eq!((error.reason, error.retry), (ErrorReason::RateLimited, Retry::Never));
        }
        let _first = world.admit(from_ref(&wide), 0).await.unwrap();
        let second = world.admit(from_ref(&wide), 0).await.unwrap();
        assert_eq!(second.quota().requests, Some(Standing { limit: 4, remaining: 0, reset_us: 30_000_000 }));
        let error = world.admit(from_ref(&wide), 0).await.err().unwrap();
        assert_eq!(error.retry, Retry::After(Duration::from_secs(15)));
        assert_eq!(error.value("scope"), Some("team x"));
        world.now_us.fetch_add(15_000_000, Ordering::Relaxed);
        assert!(world.admit(&[wide], 0).await.is_ok());
    }

    #[tokio::test]
    async fn tokens_are_charged_as_expected_and_then_corrected() {
        let world = world(1);
        let key = [limited("key", RateLimits { tokens_per_minute: Some(600), ..RateLimits::default() })];
        let mut ticket = world.admit(&key, 100).await.unwrap();
        assert!(world.admit(&key, 10).await.is_err(), "a sixth of the minute at once");
        ticket.used(40);
        drop(ticket);
        assert_eq!(world.admit(&key, 60).await.unwrap().quota().tokens.unwrap().remaining, 0);
        world.now_us.fetch_add(10_000_000, Ordering::Relaxed);
        let mut ticket = world.admit(&key, 10).await.unwrap();
        ticket.used(610);
        let error = world.admit(&key, 1).await.err().unwrap();
        assert_eq!(error.retry, Retry::After(Duration::from_millis(51_100)), "what was used beyond is paid back");
    }

    #[tokio::test]
    async fn the_whole_minute_passes_at_once_where_that_is_asked_for() {
        let world = world(1);
        let full = RateLimits { requests_per_minute: Some(10), full_burst: true, ..RateLimits::default() };
        let key = [limited("key", full)];
        for _ in 0..10 {
            assert!(world.admit(&key, 0).await.is_ok());
        }
        assert!(world.admit(&key, 0).await.is_err());
    }

    #[tokio::test]
    async fn calls_in_flight_are_counted_until_their_ticket_is_dropped() {
        let world = world(1);
        let key = [limited("key", RateLimits { concurrent_requests: Some(2), ..RateLimits::default() })];
        let (first, _second) = (world.admit(&key, 0).await.unwrap(), world.admit(&key, 0).await.unwrap());
        let error = world.admit(&key, 0).await.err().unwrap();
        assert_eq!(error.value("dimension"), Some("concurrent_requests"));
        drop(first);
        assert!(world.admit(&key, 0).await.is_ok());
    }

    #[tokio::test]
    async fn replicas_that_cannot_share_keep_to_equal_parts() {
        let key = [limited("key", RateLimits { requests_per_minute: Some(12), ..RateLimits::default() })];
        let replicas: Vec<_> = (0..3).map(|_| world(3)).collect();
        let mut passed = 0;
        for replica in &replicas {
            while replica.admit(&key, 0).await.is_ok() {
                passed += 1;
            }
        }
        assert_eq!(passed, 6, "together the burst of one");
    }
}
