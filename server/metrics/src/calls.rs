//! What calls did: counted once, where their records are closed.

use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_domain::Error;
use tollgate_proto::v1::{Attempt, AuditRecord, Candidate, ErrorReason, Routing, Usage};

use crate::{OTHER, Page, about::About, histogram::Histogram, names, series::Series};

/// Bounds of whole calls and attempts, microseconds.
const DURATION: &[u64] = &[
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    20_000_000,
    40_000_000,
    80_000_000,
    160_000_000,
    320_000_000,
    600_000_000,
];
/// Bounds of first contents.
const FIRST: &[u64] =
    &[50_000, 100_000, 200_000, 400_000, 800_000, 1_500_000, 3_000_000, 5_000_000, 10_000_000, 20_000_000, 40_000_000];
/// Bounds of the time between tokens.
const BETWEEN: &[u64] = &[2_000, 5_000, 10_000, 20_000, 40_000, 60_000, 100_000, 200_000, 500_000, 1_000_000];
/// Bounds of waiting in queues.
const WAIT: &[u64] =
    &[1_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000];

/// How finely calls are counted.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Sets of labels that each metric has at most; what is new beyond goes under `other`.
    pub max_series: usize,
    /// Whether the virtual key is a label.
    pub by_key: bool,
    /// Whether the user is one.
    pub by_user: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_series: 2_000, by_key: false, by_user: false }
    }
}

/// Whose call it was: ids, each empty where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Payer<'a> {
    /// The team.
    pub team: &'a str,
    /// The virtual key.
    pub key: &'a str,
    /// The user.
    pub user: &'a str,
}

/// The name of the configuration that a model goes by; `None`: by none, so that the caller's word is no label.
pub type KnownAs<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

/// A call that has ended.
#[derive(Clone, Copy)]
pub struct Ended<'a> {
    /// Its record, as it is journalled.
    pub record: &'a AuditRecord,
    /// Why it failed, if it did.
    pub error: Option<&'a Error>,
    /// What models are called in labels.
    pub known_as: KnownAs<'a>,
    /// Whose it was; of a call that was let in by no key nobody's.
    pub payer: Payer<'a>,
    /// When it was let pass by limits and budgets, in microseconds since it began; `None`: it was not.
    pub admitted_us: Option<i64>,
    /// Whether it got the answer of an earlier call, under an idempotency key.
    pub replayed: bool,
}

/// Stands for the class of a failure where nothing failed: the deployments before rested, were full or cannot serve the call.
const PASSED_OVER: &str = "passed_over";

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Route {
    duration: Histogram,
    wait: Histogram,
}

struct Place {
    first_token: Histogram,
    between_tokens: Histogram,
    duration: Histogram,
    estimated: Counter,
}

/// Classes of tokens, disjoint: together all that were billed.
const CLASSES: [&str; 5] = ["input", "cached_read", "cache_write", "output", "reasoning"];

#[derive(Default)]
struct Spent {
    tokens: [Counter; CLASSES.len()],
    nano_usd: Counter,
}

/// What calls did since the start of the process. One for all; every method takes a shared reference.
pub struct Metrics {
    settings: Settings,
    requests: Series<6, Counter>,
    routes: Series<2, Route>,
    places: Series<3, Place>,
    attempts: Series<4, Counter>,
    spent: Series<6, Spent>,
    overruns: Series<1, Counter>,
    cache_hits: Series<4, Counter>,
    retries: Series<2, Counter>,
    fallbacks: Series<3, Counter>,
    refusals: Series<4, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Metrics {
    /// With nothing counted.
    pub fn new(settings: Settings) -> Self {
        let most = settings.max_series.max(1);
        let route = || Route { duration: Histogram::new(DURATION), wait: Histogram::new(WAIT) };
        let place = || Place {
            first_token: Histogram::new(FIRST),
            between_tokens: Histogram::new(BETWEEN),
            duration: Histogram::new(DURATION),
            estimated: Counter::default(),
        };
        Self {
            settings,
            // Operation and reason come from closed lists, as do classes.
            requests: Series::new([false, true, true, false, true, true], most, Counter::default),
            routes: Series::new([false, true], most, route),
            places: Series::new([true, true, true], most, place),
            attempts: Series::new([true, true, true, false], most, Counter::default),
            spent: Series::new([true; 6], most, Spent::default),
            overruns: Series::new([true], most, Counter::default),
            cache_hits: Series::new([false, true, true, true], most, Counter::default),
            retries: Series::new([true, false], most, Counter::default),
            fallbacks: Series::new([true, true, false], most, Counter::default),
            refusals: Series::new([false, false, true, true], most, Counter::default),
        }
    }

    /// Counts a call. Acts of admins are no calls.
    pub fn ended(&self, call: &Ended<'_>) {
        let record = call.record;
        let model = (call.known_as)(&record.model).unwrap_or(OTHER);
        let Payer { team, key, user } = self.named(call.payer);
        let reason = call.error.map_or("OK", |error| error.reason.wire_name());
        let operation = record.action.as_str();
        self.requests.at([operation, model, team, reason, key, user], |n| n.add(1));
        let attempts = record.routing.as_ref().map_or(&[][..], |routing| &routing.attempts);
        let waited = call.admitted_us.map(|admitted| match attempts.first() {
            Some(first) => first.start_us,
            None => record.duration_us - admitted,
        });
        self.routes.at([operation, model], |route| {
            route.duration.observe(record.duration_us);
            if let Some(waited) = waited {
                route.wait.observe(waited);
            }
        });
        if let Some(error) = call.error {
            self.refused(error, model, team);
        }
        if call.replayed {
            self.cache_hits.at(["replay", model, "", ""], |n| n.add(1));
        }
        let Some(routing) = &record.routing else { return };
        self.moved_on(routing, &record.model, call.known_as);
        for attempt in attempts {
            self.attempt(attempt, model, Payer { team, key, user });
        }
        if let Some(last) = attempts.last().filter(|_| operation.ends_with(".stream")) {
            self.streamed(last, model, call.admitted_us.unwrap_or(0), record.usage.as_ref());
        }
    }

    /// The labels that are switched on.
    fn named<'a>(&self, payer: Payer<'a>) -> Payer<'a> {
        Payer {
            team: payer.team,
            key: if self.settings.by_key { payer.key } else { "" },
            user: if self.settings.by_user { payer.user } else { "" },
        }
    }

    fn refused(&self, error: &Error, model: &str, team: &str) {
        use ErrorReason::{BudgetExhausted, BudgetHeld, CallCostCeiling, Overloaded, PriceUnknown, RateLimited};
        let refuses = [BudgetExhausted, BudgetHeld, CallCostCeiling, Overloaded, PriceUnknown, RateLimited];
        if refuses.contains(&error.reason) {
            let scope = error.value("scope").map_or("", kind_of);
            self.refusals.at([error.reason.wire_name(), scope, model, team], |n| n.add(1));
        }
    }

    /// Counts what followed a failure, and calls that began at another model than was asked for.
    fn moved_on(&self, routing: &Routing, asked: &str, known_as: KnownAs<'_>) {
        let model = known_as(asked).unwrap_or(OTHER);
        let mut before = (asked, None);
        for attempt in &routing.attempts {
            let own = |candidate: &&Candidate| candidate.deployment == attempt.deployment;
            let group = routing.candidates.iter().find(own).map_or(before.0, |candidate| candidate.model.as_str());
            match before.1 {
                _ if group != before.0 => {
                    let to = known_as(group).unwrap_or(OTHER);
                    self.fallbacks.at([model, to, before.1.unwrap_or(PASSED_OVER)], |n| n.add(1));
                }
                Some(class) => self.retries.at([model, class], |n| n.add(1)),
                None => {}
            }
            before = (group, Some(attempt.class.as_str()));
        }
    }

    fn attempt(&self, attempt: &Attempt, model: &str, payer: Payer<'_>) {
        let (provider, deployment) = (attempt.provider.as_str(), attempt.deployment.as_str());
        self.attempts.at([model, provider, deployment, &attempt.class], |n| n.add(1));
        let billed = attempt.usage.as_ref();
        self.places.at([model, provider, deployment], |place| {
            place.duration.observe(attempt.end_us - attempt.start_us);
            if billed.is_some_and(|usage| usage.estimated) {
                place.estimated.add(1);
            }
        });
        let Some(usage) = billed else { return };
        if usage.input.is_some_and(|input| input.cached_read > 0) {
            self.cache_hits.at(["prompt", model, provider, deployment], |n| n.add(1));
        }
        // Also where there is none: a counter that begins with its first overrun shows no increase of it.
        let overrun = usage.cost_nano_usd.saturating_sub(usage.held_nano_usd);
        self.overruns.at([provider], |n| n.add(u64::try_from(overrun).unwrap_or(0)));
        let tokens = by_class(usage);
        self.spent.at([model, provider, deployment, payer.team, payer.key, payer.user], |spent| {
            for (counter, n) in spent.tokens.iter().zip(tokens).filter(|(_, n)| *n > 0) {
                counter.add(n);
            }
            spent.nano_usd.add(u64::try_from(usage.cost_nano_usd).unwrap_or(0));
        });
    }

    /// How an answer that reached the caller in pieces came. Attempts count from when the call was admitted, its caller from the beginning.
    fn streamed(&self, last: &Attempt, model: &str, admitted_us: i64, usage: Option<&Usage>) {
        let Some(first_us) = last.first_content_us else { return };
        let written = last.usage.as_ref().or(usage).and_then(|usage| usage.output).map_or(0, |output| output.total);
        let gaps = i64::try_from(written.saturating_sub(1)).unwrap_or(i64::MAX);
        self.places.at([model, &last.provider, &last.deployment], |place| {
            place.first_token.observe(admitted_us.saturating_add(first_us));
            if gaps > 0 {
                place.between_tokens.observe((last.end_us - first_us) / gaps);
            }
        });
    }

    /// Adds all of it.
    pub fn put(&self, page: &mut Page) {
        put(page, names::REQUESTS, &self.requests);
        for (labels, route) in self.routes.read() {
            page.histogram(names::REQUEST_SECONDS, labels.clone(), route.duration.read());
            page.histogram(names::QUEUE_SECONDS, labels, route.wait.read());
        }
        for (labels, place) in self.places.read() {
            page.histogram(names::FIRST_TOKEN, labels.clone(), place.first_token.read());
            page.histogram(names::BETWEEN_TOKENS, labels.clone(), place.between_tokens.read());
            page.histogram(names::ATTEMPT_SECONDS, labels.clone(), place.duration.read());
            page.whole(names::ESTIMATED, labels, place.estimated.get());
        }
        for (labels, spent) in self.spent.read() {
            for (class, tokens) in CLASSES.iter().zip(&spent.tokens) {
                let labels = [&[(*class).to_owned()], labels.as_slice()].concat();
                page.whole(names::TOKENS, labels, tokens.get());
            }
            // The nearest number of dollars, which is what Prometheus keeps: no money is computed from it.
            page.number(names::COST, labels, spent.nano_usd.get() as f64 / 1e9);
        }
        for (labels, overrun) in self.overruns.read() {
            page.number(names::OVERRUN, labels, overrun.get() as f64 / 1e9);
        }
        put(page, names::CACHE_HITS, &self.cache_hits);
        put(page, names::ATTEMPTS, &self.attempts);
        put(page, names::RETRIES, &self.retries);
        put(page, names::FALLBACKS, &self.fallbacks);
        put(page, names::REFUSALS, &self.refusals);
        self.put_overflow(page);
    }

    fn put_overflow(&self, page: &mut Page) {
        let mut overflow = |about: &About, n| page.whole(names::OVERFLOW, vec![about.exposed()], n);
        overflow(names::REQUESTS, self.requests.overflowed());
        overflow(names::REQUEST_SECONDS, self.routes.overflowed());
        overflow(names::ATTEMPT_SECONDS, self.places.overflowed());
        overflow(names::ATTEMPTS, self.attempts.overflowed());
        overflow(names::COST, self.spent.overflowed());
        overflow(names::OVERRUN, self.overruns.overflowed());
        overflow(names::CACHE_HITS, self.cache_hits.overflowed());
        overflow(names::RETRIES, self.retries.overflowed());
        overflow(names::FALLBACKS, self.fallbacks.overflowed());
        overflow(names::REFUSALS, self.refusals.overflowed());
    }
}

fn put<const N: usize>(page: &mut Page, about: &'static About, series: &Series<N, Counter>) {
    for (labels, counter) in series.read() {
        page.whole(about, labels, counter.get());
    }
}

/// The kind of what a limit or budget is on: `team` of `team x` and of `team:x model:y`, `provider` of `gateway provider:x`.
fn kind_of(scope: &str) -> &str {
    match scope {
        _ if scope.contains(" deployment:") => "deployment",
        _ if scope.contains(" provider:") => "provider",
        _ => scope.split([' ', ':']).next().unwrap_or_default(),
    }
}

/// Tokens by class, in the order of [`CLASSES`].
fn by_class(usage: &Usage) -> [u64; CLASSES.len()] {
    let (input, output) = (usage.input.unwrap_or_default(), usage.output.unwrap_or_default());
    let written = input.cache_write_5m.saturating_add(input.cache_write_1h);
    let fresh = input.total.saturating_sub(input.cached_read).saturating_sub(written);
    [fresh, input.cached_read, written, output.total.saturating_sub(output.reasoning), output.reasoning]
}

#[cfg(test)]
mod tests;
