use std::{collections::VecDeque, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::Candidate;

use crate::{Deployment, ModelGroup, RetryPolicy, Wanted};

/// What to do next.
pub enum Step {
    /// Try this deployment, after a pause.
    Try {
        /// How long to wait first; zero for the first look at a deployment.
        pause: Duration,
        /// Which.
        deployment: Arc<Deployment>,
    },
    /// Nothing is left to try.
    GiveUp,
}

/// One call's walk through its groups. Same seed and same failures: same walk.
pub struct Plan {
    rng: SmallRng,
    /// What is left of the current group's first round.
    fresh: VecDeque<Arc<Deployment>>,
    /// Deployments of the current group that failed in a way that may pass.
    again: Vec<(Arc<Deployment>, Option<Duration>)>,
    policy: RetryPolicy,
    retries_left: u32,
    retried: u32,
    groups: VecDeque<Arc<ModelGroup>>,
    wanted: Wanted,
    candidates: Vec<Candidate>,
}

impl Plan {
    /// A walk through `groups` in order: the model's own group, then the fallbacks that the caller may use.
    pub fn new(groups: Vec<Arc<ModelGroup>>, wanted: Wanted, seed: u64) -> Self {
        let mut plan = Self {
            rng: SmallRng::seed_from_u64(seed),
            fresh: VecDeque::new(),
            again: Vec::new(),
            policy: RetryPolicy::default(),
            retries_left: 0,
            retried: 0,
            groups: groups.into(),
            wanted,
            candidates: Vec::new(),
        };
        plan.next_group();
        plan
    }

    /// Every deployment that this walk may still reach: what the hold must cover.
    pub fn reachable(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        let later = self.groups.iter().flat_map(|g| &g.deployments).filter(|d| d.serves(self.wanted));
        self.fresh.iter().chain(self.again.iter().map(|(d, _)| d)).chain(later)
    }

    /// What was looked at so far, and why it was taken or not.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The next step, given what became of the last attempt.
    pub fn next(&mut self, last: Option<(&Arc<Deployment>, &Failure)>) -> Step {
        if let Some((deployment, failure)) = last {
            if !failure.class.worth_elsewhere() {
                self.leave_out("not tried: the failure would be the same everywhere");
                return Step::GiveUp;
            }
            if failure.retryable() {
                self.again.push((deployment.clone(), failure.retry_after));
            }
            if failure.class == Class::ContextLength {
                self.keep_larger_windows(deployment.context_window);
            }
        }
        loop {
            if let Some(deployment) = self.fresh.pop_front() {
                self.chosen(&deployment);
                return Step::Try { pause: Duration::ZERO, deployment };
            }
            if let Some(step) = self.retry() {
                return step;
            }
            if !self.next_group() {
                return Step::GiveUp;
            }
        }
    }

    /// A second round over what may have recovered, the soonest first.
    fn retry(&mut self) -> Option<Step> {
        if self.retries_left == 0 || self.again.is_empty() {
            return None;
        }
        self.again.sort_by_key(|(_, after)| after.unwrap_or_default());
        let (deployment, after) = self.again.remove(0);
        let pause = match after {
            Some(after) if after > self.policy.cap => return None,
            Some(after) => after,
            None => {
                let ceiling = self.policy.base.saturating_mul(1 << self.retried.min(16)).min(self.policy.cap);
                ceiling.mul_f64(self.rng.random::<f64>())
            }
        };
        self.retries_left -= 1;
        self.retried += 1;
        Some(Step::Try { pause, deployment })
    }

    fn next_group(&mut self) -> bool {
        let Some(group) = self.groups.pop_front() else { return false };
        self.again.clear();
        self.policy = group.retry;
        self.retries_left = group.retry.retries;
        let mut left: Vec<_> = Vec::new();
        for deployment in &group.deployments {
            let serves = deployment.serves(self.wanted);
            self.candidates.push(Candidate {
                deployment: deployment.name.clone(),
                model: group.name.clone(),
                chosen: false,
                reason: if serves { "not reached" } else { "does not offer this operation" }.into(),
            });
            if serves {
                left.push(deployment.clone());
            }
        }
        // Weighted shuffle: drawing without replacement.
        while !left.is_empty() {
            let total: u64 = left.iter().map(|d| u64::from(d.weight)).sum();
            let index = match total {
                0 => self.rng.random_range(0..left.len()),
                _ => {
                    let mut draw = self.rng.random_range(0..total);
                    left.iter()
                        .position(|d| {
                            let hit = draw < u64::from(d.weight);
                            draw = draw.saturating_sub(u64::from(d.weight));
                            hit
                        })
                        .unwrap_or(0)
                }
            };
            self.fresh.push_back(left.remove(index));
        }
        true
    }

    fn keep_larger_windows(&mut self, than: Option<u64>) {
        let larger = |d: &Arc<Deployment>| d.context_window.is_none_or(|w| than.is_none_or(|t| w > t));
        self.fresh.retain(larger);
        self.again.retain(|(d, _)| larger(d));
    }

    fn chosen(&mut self, deployment: &Deployment) {
        if let Some(candidate) = self.candidates.iter_mut().rev().find(|c| c.deployment == deployment.name) {
            candidate.chosen = true;
            candidate.reason = "next in the weighted draw".into();
        }
    }

    fn leave_out(&mut self, reason: &str) {
        for candidate in self.candidates.iter_mut().filter(|c| !c.chosen) {
            candidate.reason = reason.into();
        }
    }
}
