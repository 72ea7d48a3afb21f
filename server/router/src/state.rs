//! How deployments do: what strategies prefer by, and which of them are left alone for a while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use parking_lot::Mutex;
use tollgate_domain::{Class, Failure, Headroom};

use crate::{headroom::LastHeadroom, recent::Recent, retry::RetryBudget};

/// How much a new latency weighs in the mean.
const WEIGHT: f64 = 0.2;
/// A probe that fails doubles the next cooldown, up to so many times.
const DOUBLINGS: u32 = 5;
/// A provider that asks for more is not believed.
const LONGEST: Duration = Duration::from_secs(600);

/// A failure counts as a first content after so long, microseconds, or as long as it took.
const FAILURE_TAKES: u64 = 10_000_000;

/// When a deployment is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CooldownPolicy {
    /// Failures that are still allowed: more in a row, or more within a minute that are half of its attempts, and it is left alone.
    pub allowed_fails: u32,
    /// How long it is left alone; doubles with each probe that fails. Zero: it never is, whatever it says.
    pub time: Duration,
    /// How long after a refusal of its credential, which nobody has repaired a second later.
    pub credential_time: Duration,
}

impl Default for CooldownPolicy {
    fn default() -> Self {
        Self { allowed_fails: 3, time: Duration::from_secs(5), credential_time: Duration::from_secs(60) }
    }
}

/// Whether a deployment takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// It does.
    Closed,
    /// Not before then: microseconds on the router's clock.
    Open {
        /// The end of the cooldown.
        until_us: u64,
    },
    /// The cooldown is over: one call at a time tries whether it is back.
    HalfOpen {
        /// One is under way.
        probing: bool,
    },
}

/// How one deployment does, at this replica. Kept over reloads of the configuration. Times are microseconds on one clock that only
/// moves on.
#[derive(Debug, Default)]
pub struct DeploymentState {
    in_flight: AtomicU32,
    /// Mean time to the first content, microseconds, as bits of an `f64`; 0: none yet.
    latency: AtomicU64,
    requests: Recent,
    tokens: Recent,
    failures: Recent,
    in_a_row: AtomicU32,
    /// Until when it is left alone; 0: it is not.
    until_us: AtomicU64,
    /// Cooldowns in a row.
    opened: AtomicU32,
    /// Cooldowns since the start, those that other replicas told of left out.
    cooldowns: AtomicU64,
    probing: AtomicBool,
    /// Whether the provider itself said until when: then it is back, and nobody needs to try.
    stated: AtomicBool,
    /// The cooldown that was ended last, by its end: what is heard of it afterwards is old.
    ended_us: AtomicU64,
    why: Mutex<Option<Class>>,
    headroom: LastHeadroom,
}

/// What `GetRouteState` tells of a deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Whether it takes calls.
    pub circuit: Circuit,
    /// Attempts under way.
    pub in_flight: u32,
    /// Mean time to the first content.
    pub latency: Option<Duration>,
    /// Attempts of the last minute.
    pub requests: u64,
    /// Of them failed.
    pub failures: u64,
    /// Tokens of the last minute.
    pub tokens: u64,
    /// Why it was left alone last.
    pub why: Option<Class>,
    /// What its provider said last is left of its limits.
    pub headroom: Headroom,
}

impl DeploymentState {
    /// Whether it takes calls.
    pub fn circuit(&self, now_us: u64) -> Circuit {
        match self.until_us.load(Ordering::Acquire) {
            0 => Circuit::Closed,
            until_us if now_us < until_us => Circuit::Open { until_us },
            _ if self.stated.load(Ordering::Acquire) => Circuit::Closed,
            _ => Circuit::HalfOpen { probing: self.probing.load(Ordering::Acquire) },
        }
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Mean time to the first content, microseconds; `None`: nobody knows yet.
    pub fn latency_us(&self) -> Option<f64> {
        Some(f64::from_bits(self.latency.load(Ordering::Relaxed))).filter(|us| *us > 0.0)
    }

    /// Attempts of this minute, and tokens of it.
    pub fn used(&self, now_us: u64) -> (u64, u64) {
        (self.requests.this_minute(now_us), self.tokens.this_minute(now_us))
    }

    /// How often it was left alone since the start because of what this replica saw.
    pub fn cooldowns(&self) -> u64 {
        self.cooldowns.load(Ordering::Relaxed)
    }

    /// Why it was left alone last.
    pub fn why(&self) -> Option<Class> {
        *self.why.lock()
    }

    /// All of it.
    pub fn standing(&self, now_us: u64) -> Standing {
        Standing {
            circuit: self.circuit(now_us),
            in_flight: self.in_flight(),
            latency: self.latency_us().map(|us| Duration::from_secs_f64(us / 1e6)),
            requests: self.requests.last_minute(now_us),
            failures: self.failures.last_minute(now_us),
            tokens: self.tokens.last_minute(now_us),
            why: *self.why.lock(),
            headroom: self.headroom.left(now_us),
        }
    }

    /// Its provider said what is left of its limits.
    pub fn told(&self, headroom: &Headroom, now_us: u64) {
        self.headroom.note(headroom, now_us);
    }

    /// Until when its provider said that it has nothing left; `None`: it has, as far as is known.
    pub fn spent_until(&self, now_us: u64) -> Option<u64> {
        self.headroom.spent_until(now_us)
    }

    /// An attempt begins. `None`: it is left alone, or its cooldown is over and another call tries already whether it is back.
    pub fn begin(self: &Arc<Self>, now_us: u64) -> Option<Trial> {
        let until_us = self.until_us.load(Ordering::Acquire);
        let probe = match self.circuit(now_us) {
            Circuit::Open { .. } => return None,
            Circuit::HalfOpen { .. } => Some(until_us),
            Circuit::Closed => {
                if until_us > 0 {
                    self.close(until_us);
                }
                None
            }
        };
        if probe.is_some() && self.probing.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(self.trial(probe, now_us))
    }

    /// An attempt begins although the deployment is left alone: nothing else is there.
    pub fn begin_anyway(self: &Arc<Self>, now_us: u64) -> Trial {
        self.trial(None, now_us)
    }

    fn trial(self: &Arc<Self>, probe: Option<u64>, now_us: u64) -> Trial {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.requests.add(1, now_us);
        Trial { state: self.clone(), begun_us: now_us, probe, told: false }
    }

    /// Left alone from now on, as another replica has found.
    pub fn cool_until(&self, until_us: u64, why: Option<Class>) {
        // What this replica has found itself, it has told: a few milliseconds of the way are no news.
        const SAME_US: u64 = 250_000;
        let known_us = self.until_us.load(Ordering::Acquire).max(self.ended_us.load(Ordering::Acquire));
        if until_us > known_us.saturating_add(SAME_US) {
            self.until_us.fetch_max(until_us, Ordering::AcqRel);
            self.stated.store(false, Ordering::Release);
            *self.why.lock() = why;
        }
    }

    /// A check found the provider well: what was left alone for failures of its server, or for its credential, may be tried again.
    pub fn may_be_back(&self, now_us: u64) {
        let until_us = self.until_us.load(Ordering::Acquire);
        let waits = matches!(self.why(), Some(Class::RateLimit | Class::Overloaded | Class::QuotaExceeded));
        if until_us > now_us && !waits {
            // One call at a time then tries whether it is. Who has opened it anew meanwhile knows better.
            let back = now_us.max(1);
            if self.until_us.compare_exchange(until_us, back, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.ended_us.fetch_max(until_us, Ordering::AcqRel);
            }
        }
    }

    fn open(&self, now_us: u64, time: Duration, why: Class, stated: bool) {
        let until_us = now_us.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        if self.until_us.fetch_max(until_us, Ordering::AcqRel) < until_us {
            self.stated.store(stated, Ordering::Release);
        }
        *self.why.lock() = Some(why);
    }

    fn close(&self, until_us: u64) {
        // Who has opened it anew meanwhile knows better.
        if self.until_us.compare_exchange(until_us, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.ended_us.fetch_max(until_us, Ordering::AcqRel);
            self.stated.store(false, Ordering::Release);
            self.opened.store(0, Ordering::Relaxed);
            self.failures.clear();
        }
    }
}

/// An attempt at a deployment, which is told how it went. Dropped untold it counts neither way.
#[derive(Debug)]
pub struct Trial {
    state: Arc<DeploymentState>,
    begun_us: u64,
    /// Tries whether it is back from the cooldown that ended then.
    probe: Option<u64>,
    told: bool,
}

impl Trial {
    /// Its first content came: it is back, however long the rest takes.
    pub fn first_content(&mut self, now_us: u64) {
        self.took(now_us.saturating_sub(self.begun_us));
        if let Some(until_us) = self.probe.take() {
            self.state.in_a_row.store(0, Ordering::Relaxed);
            self.state.close(until_us);
            self.state.probing.store(false, Ordering::Release);
        }
    }

    /// A sample of how long the first content takes.
    fn took(&self, us: u64) {
        let took = us.max(1) as f64;
        let mean = &self.state.latency;
        let mut old = mean.load(Ordering::Relaxed);
        loop {
            let known = f64::from_bits(old);
            let new = if known > 0.0 { known + WEIGHT * (took - known) } else { took };
            match mean.compare_exchange_weak(old, new.to_bits(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => old = newer,
            }
        }
    }

    /// It answered well.
    pub fn succeeded(&mut self) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        self.state.in_a_row.store(0, Ordering::Relaxed);
        if let Some(until_us) = self.probe {
            self.state.close(until_us);
        }
    }

    /// What it used.
    pub fn used(&self, tokens: u64, now_us: u64) {
        self.state.tokens.add(tokens, now_us);
    }

    /// It failed. `Some`: it is left alone until then because of that, which other replicas should know.
    pub fn failed(&mut self, failure: &Failure, policy: &CooldownPolicy, now_us: u64) -> Option<u64> {
        if std::mem::replace(&mut self.told, true) || failure.class.is_callers() {
            return None;
        }
        // Whoever fails fast is not fast.
        self.took(now_us.saturating_sub(self.begun_us).max(FAILURE_TAKES));
        let state = &self.state;
        state.failures.add(1, now_us);
        if policy.time.is_zero() {
            return None;
        }
        let in_a_row = state.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        let failures = state.failures.last_minute(now_us);
        let too_many = in_a_row > policy.allowed_fails
            || (failures > u64::from(policy.allowed_fails) && failures * 2 >= state.requests.last_minute(now_us));
        // Those that were under way when it was left alone say nothing new.
        let known = self.probe.is_none() && state.until_us.load(Ordering::Acquire) > now_us;
        let doubled = policy.time.saturating_mul(1 << state.opened.load(Ordering::Relaxed).min(DOUBLINGS));
        let states = matches!(failure.class, Class::RateLimit | Class::Overloaded);
        let stated = failure.retry_after.filter(|after| states && !after.is_zero());
        let time = match (failure.class, stated) {
            (Class::Authentication | Class::Permission | Class::NotFound | Class::QuotaExceeded, _) if !known => {
                policy.credential_time.max(doubled)
            }
            (_, Some(after)) => after.min(LONGEST),
            _ if known => return None,
            _ if self.probe.is_some() || too_many => doubled,
            _ => return None,
        };
        if time.is_zero() {
            return None;
        }
        if !known {
            state.opened.fetch_add(1, Ordering::Relaxed);
            state.cooldowns.fetch_add(1, Ordering::Relaxed);
        }
        state.open(now_us, time, failure.class, stated.is_some());
        Some(state.until_us.load(Ordering::Acquire))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.state.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.probe.is_some() {
            self.state.probing.store(false, Ordering::Release);
        }
    }
}

/// States by name of deployment and of group: what a reload does not forget.
#[derive(Debug, Default)]
pub struct States {
    deployments: DashMap<String, Arc<DeploymentState>>,
    budgets: DashMap<String, Arc<RetryBudget>>,
}

impl States {
    /// That of a deployment.
    pub fn of(&self, deployment: &str) -> Arc<DeploymentState> {
        match self.deployments.get(deployment) {
            Some(known) => known.clone(),
            None => self.deployments.entry(deployment.to_owned()).or_default().clone(),
        }
    }

    /// The retry budget of a group.
    pub fn budget(&self, group: &str) -> Arc<RetryBudget> {
        match self.budgets.get(group) {
            Some(known) => known.clone(),
            None => self.budgets.entry(group.to_owned()).or_default().clone(),
        }
    }
}

#[cfg(test)]
mod tests;
