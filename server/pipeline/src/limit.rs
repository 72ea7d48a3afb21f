//! Rate limits and queues: whether a call may begin now, and who goes first at a deployment.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use dashmap::DashMap;
use tokio::time::Instant;
use tollgate_domain::{CallId, Error, Retry};
use tollgate_limits::{Asking, Expected, Full, Limited, Limiter, Pool, PoolState, Quota, Slot, Subject, Ticket};
use tollgate_proto::v1::{ErrorReason, Priority, RateLimits};
use tollgate_router::Deployment;

use crate::{Call, Pipeline, bound, permit::Permit};

/// Limits are not asked more often than this by whoever waits for them.
const LEAST_WAIT: Duration = Duration::from_millis(2);

/// So long before its deadline a call gives up waiting.
const MARGIN: Duration = Duration::from_millis(250);

/// How a call's caller stands, for whoever answers it: each set when the call was admitted.
#[derive(Debug, Default)]
pub struct Standings {
    /// Its limits.
    pub limits: OnceLock<Quota>,
    /// What the key had spent by then, in nano-dollars, in the window of its own budget. Unset: it has none, so nobody counts.
    pub key_spent: OnceLock<i64>,
    /// The call's id, where its answer opens before the first event says it.
    pub opened_as: OnceLock<CallId>,
}

/// The same, shared by the call and its door.
pub type QuotaCell = Arc<Standings>;

/// Limits and queues of all calls.
pub struct Gates {
    limiter: Limiter,
    expected: Expected,
    pools: DashMap<String, Pool>,
    /// Where calls wait for deployments that are at their rate: who is in looks for room, the others queue.
    turnstiles: DashMap<String, Pool>,
}

/// What a call passed, and is expected to use.
pub(crate) struct Passed {
    ticket: Option<Ticket>,
    asking: Asking,
    /// Expected of the prompt.
    input: i64,
}

/// How a call waits for a place.
enum Wait {
    No,
    /// Until then for a slot, not for the rate.
    ForSlot(Instant),
    /// It is its turn to wait for the rate.
    InTurn(Instant),
}

/// A call's place at a deployment. Dropped, it is free.
pub(crate) struct Place {
    _slot: Option<Slot>,
    ticket: Option<Ticket>,
}

impl Gates {
    /// With nothing used.
    pub fn new(limiter: Limiter) -> Arc<Self> {
        Arc::new(Self { limiter, expected: Expected::default(), pools: DashMap::new(), turnstiles: DashMap::new() })
    }

    /// How the queue before a deployment stands, those who wait for its rate included; `None`: it has none, or nobody has asked yet.
    pub fn queue(&self, deployment: &str) -> Option<PoolState> {
        let slots = self.pools.get(deployment).map(|pool| pool.state());
        // Who is in the turnstile waits too.
        let waiting = self.turnstiles.get(deployment).map(|turnstile| turnstile.state());
        let Some(rate) = waiting else { return slots };
        let slots = slots.unwrap_or_default();
        Some(PoolState {
            waiting: std::array::from_fn(|class| slots.waiting[class] + rate.waiting[class] + rate.in_use[class]),
            longest_wait: slots.longest_wait.max(rate.longest_wait),
            ..slots
        })
    }

    /// A place at `deployment` for a call that waits: for one of its slots, and until it is below its rate again, in turn with others. Fails
    /// with the time to wait where that is longer than the call waits.
    pub(crate) async fn place_in_turn(
        &self,
        deployment: &Deployment,
        passed: &Passed,
        call: &str,
        deadline: Option<Instant>,
        mut full: Error,
    ) -> Result<Place, Error> {
        let now = Instant::now();
        let until = match deadline {
            // A little before it: the caller shall hear for how long to wait.
            Some(deadline) => deadline - (deadline.saturating_duration_since(now) / 20).min(MARGIN),
            None => now + passed.asking.patience(),
        };
        if full.reason != ErrorReason::RateLimited {
            match self.place(deployment, passed, call, Wait::ForSlot(until.min(now + passed.asking.patience()))).await {
                Err(error) if error.reason == ErrorReason::RateLimited => full = error,
                done => return done,
            }
        }
        let turnstile = self.turnstiles.entry(deployment.name.clone()).or_insert_with(|| Pool::new(1)).clone();
        let Ok(_turn) = turnstile.enter_until(&passed.asking, until).await else { return Err(full) };
        loop {
            match self.place(deployment, passed, call, Wait::InTurn(until)).await {
                Ok(place) => return Ok(place),
                Err(error) => full = error,
            }
            match full.retry {
                Retry::After(wait) if Instant::now() + wait < until => tokio::time::sleep(wait.max(LEAST_WAIT)).await,
                _ => return Err(full),
            }
        }
    }

    fn pool(&self, deployment: &Deployment) -> Option<Pool> {
        let capacity = usize::try_from(deployment.limits.as_ref()?.concurrent_requests?).ok()?;
        let pool = self.pools.entry(deployment.name.clone()).or_insert_with(|| Pool::new(capacity)).clone();
        if pool.state().capacity != capacity {
            pool.resize(capacity);
        }
        Some(pool)
    }

    /// A place at `deployment`, if it has one.
    pub(crate) async fn place_now(&self, deployment: &Deployment, passed: &Passed, call: &str) -> Result<Place, Error> {
        self.place(deployment, passed, call, Wait::No).await
    }

    async fn place(&self, deployment: &Deployment, passed: &Passed, call: &str, wait: Wait) -> Result<Place, Error> {
        // Whose turn it is may pass those who wait; who comes now may not.
        let others = || self.turnstiles.get(&deployment.name).is_some_and(|turnstile| !turnstile.is_idle());
        if !matches!(wait, Wait::InTurn(_)) && others() {
            return Err(others_wait(deployment));
        }
        let slot = match (self.pool(deployment), &wait) {
            (None, _) => None,
            (Some(pool), Wait::No) => match pool.try_enter(&passed.asking) {
                Some(slot) => Some(slot),
                None => {
                    let waiting = pool.state().waiting.iter().sum();
                    return Err(crowded(deployment, Full { waited: Duration::ZERO, waiting }));
                }
            },
            (Some(pool), Wait::ForSlot(until) | Wait::InTurn(until)) => {
                Some(pool.enter_until(&passed.asking, *until).await.map_err(|full| crowded(deployment, full))?)
            }
        };
        let ticket = match deployment.limits.filter(|l| *l != RateLimits::default()) {
            Some(limits) => {
                let subject = Subject { kind: "deployment", id: deployment.name.clone() };
                // Its slots are counted by the queue.
                let limits = RateLimits { concurrent_requests: None, ..limits };
                let limited = [Limited { subject, limits }];
                Some(self.limiter.admit(&limited, passed.asking.tokens, call, None).await?)
            }
            None => None,
        };
        Ok(Place { _slot: slot, ticket })
    }
}

fn others_wait(deployment: &Deployment) -> Error {
    let message = format!("the deployment {:?} is at its limits, and other calls wait for room", deployment.name);
    Error::new(ErrorReason::RateLimited, message)
        .retry(Retry::After(Duration::from_secs(1)))
        .with("scope", format!("deployment {:?}", deployment.name))
}

fn crowded(deployment: &Deployment, full: Full) -> Error {
    let message = format!(
        "the deployment {:?} has no free slot: waited {:.1} s, {} others wait; try again",
        deployment.name,
        full.waited.as_secs_f64(),
        full.waiting
    );
    Error::new(ErrorReason::Overloaded, message)
        .retry(Retry::After(Duration::from_secs(1)))
        .with("deployment", &deployment.name)
        .with("waiting", full.waiting.to_string())
}

impl Place {
    /// What the attempt has used.
    pub(crate) fn used(&mut self, tokens: i64) {
        if let Some(ticket) = &mut self.ticket {
            ticket.used(tokens);
        }
    }
}

impl Passed {
    /// Corrects what was charged: the call has ended, or used this much so far.
    pub(crate) fn used(&mut self, tokens: i64) {
        if let Some(ticket) = &mut self.ticket {
            ticket.used(tokens);
        }
    }

    /// Corrects it while the answer streams, once more was written than was expected.
    pub(crate) fn written(&mut self, output: i64) {
        if self.input + output > self.asking.tokens {
            // Ahead by a tranche, so that this is seldom.
            self.asking.tokens = self.input + output + 256;
            self.used(self.asking.tokens);
        }
    }
}

impl Gates {
    /// Learns what a call has written.
    pub(crate) fn learn(&self, key_id: &str, model: &str, output: i64) {
        self.expected.learn(key_id, model, output);
    }
}

impl Pipeline {
    /// Lets the call pass the limits of its key, user, team, organization and model, all or none.
    pub(crate) async fn pass(&self, permit: &Permit, call: &Call) -> Result<Passed, Error> {
        let key = permit.caller.key();
        let team = self.directory.team(&key.team_id);
        let user = self.directory.user(&key.user_id);
        let organization = self.directory.organization(&key.organization_id);
        let subjects = [
            ("key", &key.id, key.limits),
            ("user", &key.user_id, user.and_then(|u| u.limits)),
            ("team", &key.team_id, team.as_ref().and_then(|t| t.limits)),
            ("organization", &key.organization_id, organization.and_then(|o| o.limits)),
            ("model", &call.model().to_owned(), permit.routes.own().and_then(|g| g.limits)),
        ];
        let limited: Vec<_> = subjects
            .into_iter()
            .filter_map(|(kind, id, limits)| {
                let limits = limits.filter(|l| *l != RateLimits::default())?;
                Some(Limited { subject: Subject { kind, id: id.clone() }, limits })
            })
            .collect();
        let (input, most) = expected_of(call);
        let output = if most == 0 { 0 } else { self.gates.expected.output(&key.id, call.model(), most) };
        let tokens = input.saturating_add(output);
        let team_priority = team.map_or(Priority::Unspecified, |t| t.priority());
        let wished = call.options().map_or(Priority::Unspecified, |o| o.priority());
        let asking = Asking {
            priority: lower(lower(team_priority, key.priority()), wished),
            team_id: key.team_id.clone(),
            key_id: key.id.clone(),
            tokens,
        };
        if limited.is_empty() {
            return Ok(Passed { ticket: None, asking, input });
        }
        let ticket = self.gates.limiter.admit(&limited, tokens, &call.id.to_string(), call.time_left()).await?;
        // Nobody else sets it: a call is admitted once.
        let _ = call.quota.limits.set(ticket.quota());
        Ok(Passed { ticket: Some(ticket), asking, input })
    }
}

/// Tokens to expect of the prompt, and the most that the answer may have.
fn expected_of(call: &Call) -> (i64, i64) {
    let tokens = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let most = bound::most(&call.request);
    let output = most.output.map_or(u64::MAX, |output| output.saturating_mul(most.choices));
    (tokens(bound::estimate(most.input)), tokens(output))
}

/// The one of two classes that goes later; not given is standard, and gives way to nothing.
fn lower(a: Priority, b: Priority) -> Priority {
    match (a, b) {
        (Priority::Unspecified, other) | (other, Priority::Unspecified) => other,
        (a, b) => {
            if (a as i32) >= (b as i32) {
                a
            } else {
                b
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_only_ever_lowered() {
        use Priority::*;
        assert_eq!(lower(Unspecified, Interactive), Interactive);
        assert_eq!(lower(Interactive, Batch), Batch);
        assert_eq!(lower(Batch, Interactive), Batch);
        assert_eq!(lower(Standard, Unspecified), Standard);
    }
}
