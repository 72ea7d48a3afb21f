use std::{sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::Candidate;

use crate::{Circuit, Deployment, ModelGroup, Needs, RetryPolicy, Routes, Tags};

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
    GiveUp {
        /// Where nothing was tried at all because everything is left alone for a while: the first to come back, and when, in
        /// microseconds on the router's clock.
        soonest: Option<(Arc<Deployment>, u64)>,
    },
}

/// Why a deployment was taken or not.
#[derive(Clone, Debug)]
enum Verdict {
    NotReached,
    Chosen(&'static str),
    /// Next by its strategy, once nothing was there that had more left.
    ChosenSpent(&'static str),
    /// Passed over, for its provider said that it has none left.
    Spent {
        until_us: u64,
    },
    /// Its group sticks, and it is the one.
    Sticky,
    Retried,
    /// Tried although it is left alone: nothing else was there.
    LastResort,
    Cooling {
        until_us: u64,
    },
    Probing,
    /// At the gateway's own limits for it.
    Full,
    /// A budget on it or its provider affords no more.
    UsedUp,
    Unlisted(&'static str),
    WindowTooSmall,
    Same,
    Refused(Box<str>),
}

/// A group that was looked at.
struct Looked {
    group: Arc<ModelGroup>,
    verdicts: Vec<Verdict>,
}

/// A deployment of the current group that may be tried again.
struct Again {
    place: u16,
    after: Option<Duration>,
    class: Class,
}

/// One call's walk through its groups. Same seed, same states and same failures: same walk.
pub struct Plan {
    rng: SmallRng,
    needs: Needs,
    tags: Arc<Tags>,
    routes: Routes,
    begun_us: u64,
    /// Groups that were looked at; the last is the current one.
    looked: Vec<Looked>,
    /// Deployments of the current group that were not tried yet, by place.
    fresh: Vec<u16>,
    /// Those that failed in a way that may pass, or that its group tries again all the same.
    again: Vec<Again>,
    retries_left: u32,
    /// Retries of the current group after failures of which it says how often, by their class.
    retried_after: Vec<Class>,
    /// The last step is a retry that its group asks for although the deployment is left alone since it failed.
    insists: bool,
    retried: u32,
    tried: u32,
    /// Whether the last step was the first look at a deployment.
    looked_first: bool,
    /// Nothing was there but what is left alone: one attempt, and no retry.
    resorted: bool,
    /// When the caller gives up, on the router's clock.
    deadline_us: Option<u64>,
    /// Whether the current group has earned its share of retries for this call.
    earned: bool,
    /// The largest window that was too small.
    least_window: Option<u64>,
    /// Left alone for a while: group, place, until when.
    cooling: Vec<(usize, u16, u64)>,
}

impl Plan {
    /// A walk along `routes`, begun at `now_us` on the router's clock.
    pub fn new(routes: Routes, needs: Needs, tags: Arc<Tags>, seed: u64, now_us: u64) -> Self {
        let mut plan = Self {
            rng: SmallRng::seed_from_u64(seed),
            needs,
            tags,
            routes,
            begun_us: now_us,
            looked: Vec::with_capacity(1),
            fresh: Vec::new(),
            again: Vec::new(),
            retries_left: 0,
            retried_after: Vec::new(),
            insists: false,
            retried: 0,
            tried: 0,
            looked_first: false,
            resorted: false,
            deadline_us: None,
            earned: false,
            least_window: None,
            cooling: Vec::new(),
        };
        plan.next_group(now_us);
        plan
    }

    /// The caller gives up then: no pause reaches beyond.
    #[must_use]
    pub fn until(mut self, deadline_us: Option<u64>) -> Self {
        self.deadline_us = deadline_us;
        self
    }

    /// Every deployment that this walk may still reach: what the hold must cover.
    pub fn reachable(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        let here = self.looked.last().into_iter().flat_map(|looked| {
            let places = self.fresh.iter().chain(self.again.iter().map(|again| &again.place));
            places.map(|place| &looked.group.deployments[usize::from(*place)])
        });
        let cooling =
            self.cooling.iter().map(|(group, place, _)| &self.looked[*group].group.deployments[usize::from(*place)]);
        let later = self.routes.groups().flat_map(|g| &g.deployments);
        here.chain(cooling).chain(later.filter(|d| self.needs.refuse(d, &self.tags).is_none()))
    }

    /// Why nothing can serve the call, where that is so before anything was tried.
    pub fn refusals(&self) -> Vec<String> {
        let of = |looked: &Looked| {
            let told = |(deployment, verdict): (&Arc<Deployment>, &Verdict)| match verdict {
                Verdict::Refused(reason) => Some(format!("{} {reason}", deployment.name)),
                _ => None,
            };
            looked.group.deployments.iter().zip(&looked.verdicts).filter_map(told).collect::<Vec<_>>()
        };
        self.looked.iter().flat_map(of).collect()
    }

    /// What was looked at so far, and why it was taken or not.
    pub fn candidates(&self) -> Vec<Candidate> {
        let of = |looked: &Looked| {
            let told = |(deployment, verdict): (&Arc<Deployment>, &Verdict)| Candidate {
                deployment: deployment.name.clone(),
                model: looked.group.name.clone(),
                chosen: verdict.is_chosen(),
                reason: verdict.reason(deployment, self.begun_us),
            };
            looked.group.deployments.iter().zip(&looked.verdicts).map(told).collect::<Vec<_>>()
        };
        self.looked.iter().flat_map(of).collect()
    }

    /// The model whose deployments are tried now.
    pub fn model(&self) -> &str {
        self.looked.last().map_or("", |looked| &looked.group.name)
    }

    /// What the walk was told of the call.
    pub fn needs(&self) -> &Needs {
        &self.needs
    }

    /// Whether the last step goes to a deployment that is left alone, because nothing else is there.
    pub fn is_last_resort(&self) -> bool {
        self.resorted
    }

    /// Whether the last step is taken although the deployment is left alone: nothing else is there, or its group wants it tried again after
    /// what it has just answered.
    pub fn begins_anyway(&self) -> bool {
        self.resorted || self.insists
    }

    /// From here on only models that go on with an answer of which `input_tokens` and so many more are given.
    pub fn needs_prefill(&mut self, more_tokens: u64) {
        self.needs.prefill = true;
        self.needs.input_tokens = self.needs.input_tokens.saturating_add(more_tokens);
        let Some(looked) = self.looked.last_mut() else { return };
        let (needs, tags) = (&self.needs, &self.tags);
        let mut serves = |place: u16| {
            let at = usize::from(place);
            let refusal = needs.refuse(&looked.group.deployments[at], tags);
            let serves = refusal.is_none();
            if let (Some(reason), Verdict::NotReached | Verdict::Spent { .. }) = (refusal, &looked.verdicts[at]) {
                looked.verdicts[at] = Verdict::Refused(reason.into());
            }
            serves
        };
        self.fresh.retain(|place| serves(*place));
        self.again.retain(|again| serves(again.place));
    }

    /// The last step was not taken: `deployment` takes no more calls for now.
    pub fn is_full(&mut self, deployment: &Arc<Deployment>) {
        let Some(place) = self.place(deployment) else { return };
        if let Some(looked) = self.looked.last_mut() {
            looked.verdicts[usize::from(place)] = Verdict::Full;
        }
    }

    /// The last step was not taken: the budget of `deployment` or of its provider affords no more.
    pub fn is_used_up(&mut self, deployment: &Arc<Deployment>) {
        let Some(place) = self.place(deployment) else { return };
        if std::mem::take(&mut self.looked_first) {
            self.tried = self.tried.saturating_sub(1);
        }
        if let Some(looked) = self.looked.last_mut() {
            looked.verdicts[usize::from(place)] = Verdict::UsedUp;
        }
    }

    /// The last step was not taken: `deployment` is left alone by now, or another call tries already whether it is back.
    pub fn passed_over(&mut self, deployment: &Arc<Deployment>, now_us: u64) {
        let Some(place) = self.place(deployment) else { return };
        if std::mem::take(&mut self.looked_first) {
            self.tried = self.tried.saturating_sub(1);
        }
        let (until_us, verdict) = match deployment.state().circuit(now_us) {
            Circuit::Open { until_us } => (until_us, Verdict::Cooling { until_us }),
            _ => (now_us, Verdict::Probing),
        };
        self.cooling.push((self.looked.len() - 1, place, until_us));
        if let Some(looked) = self.looked.last_mut() {
            looked.verdicts[usize::from(place)] = verdict;
        }
    }

    /// The next step, given what became of the last attempt.
    pub fn next(&mut self, last: Option<(&Arc<Deployment>, &Failure)>, now_us: u64) -> Step {
        let resorted = std::mem::take(&mut self.resorted);
        self.looked_first = false;
        self.insists = false;
        if let Some((deployment, failure)) = last {
            let own = self.own_count(failure);
            match failure.class {
                Class::ContextLength => {
                    self.least_window = self.least_window.max(deployment.context_window);
                    match self.routes.take_context_window() {
                        true => self.leave_group(),
                        false => self.drop_small_windows(),
                    }
                }
                Class::ContentFilter if self.routes.take_content_policy() => self.leave_group(),
                class if !class.worth_elsewhere() => {
                    // The same everywhere, unless its group wants it tried again.
                    if own.is_some() && !resorted {
                        self.may_follow(deployment, failure);
                        if let Some(step) = self.retry(now_us) {
                            return step;
                        }
                    }
                    self.leave_out();
                    return Step::GiveUp { soonest: None };
                }
                // Who was tried although it is left alone is not tried again.
                _ if resorted => {}
                _ if own.is_some() || failure.retryable() => self.may_follow(deployment, failure),
                _ => {}
            }
        }
        loop {
            if let Some(deployment) = self.first_look(now_us) {
                self.tried += 1;
                self.looked_first = true;
                self.earn();
                return Step::Try { pause: Duration::ZERO, deployment };
            }
            if let Some(step) = self.retry(now_us) {
                return step;
            }
            if !self.next_group(now_us) {
                return self.last_resort();
            }
        }
    }

    /// The next of those that were not tried: those that said they have none left come last, then by order, then by the group's strategy.
    fn first_look(&mut self, now_us: u64) -> Option<Arc<Deployment>> {
        while !self.fresh.is_empty() {
            let looked = self.looked.last_mut()?;
            let group = &looked.group;
            let at = |place: u16| &*group.deployments[usize::from(place)];
            let line = |place: &u16| (at(*place).spent_until(now_us).is_some(), at(*place).order);
            let (spent, order) = self.fresh.iter().map(line).min()?;
            let left: Vec<_> =
                self.fresh.iter().filter(|p| line(p) == (spent, order)).map(|place| (*place, at(*place))).collect();
            let sticky = self.needs.sticky;
            let chosen = group.strategy.choose(&left, &self.needs, sticky, &mut self.rng, now_us);
            let (place, deployment) = left[chosen];
            // It may have been left alone since the group was looked at.
            let verdict = match deployment.state().circuit(now_us) {
                Circuit::Open { until_us } => Verdict::Cooling { until_us },
                Circuit::HalfOpen { probing: true } => Verdict::Probing,
                _ if spent => Verdict::ChosenSpent(group.strategy.name()),
                _ if sticky.is_some() => Verdict::Sticky,
                _ => Verdict::Chosen(group.strategy.name()),
            };
            self.fresh.retain(|p| *p != place);
            let taken = verdict.is_chosen();
            looked.verdicts[usize::from(place)] = verdict;
            for passed in self.fresh.iter().map(|place| usize::from(*place)) {
                if let Some(until_us) = looked.group.deployments[passed].spent_until(now_us) {
                    looked.verdicts[passed] = Verdict::Spent { until_us };
                }
            }
            if taken {
                return Some(looked.group.deployments[usize::from(place)].clone());
            }
        }
        None
    }

    /// How often its group says to try again after such a failure; `None`: as after any. A provider that asks not to be asked again is not.
    fn own_count(&self, failure: &Failure) -> Option<u32> {
        let group = &self.looked.last()?.group;
        group.retry.by_class.of(failure.class).filter(|_| failure.should_retry != Some(false))
    }

    /// It may be tried again.
    fn may_follow(&mut self, deployment: &Arc<Deployment>, failure: &Failure) {
        if self.needs.refuse(deployment, &self.tags).is_none()
            && let Some(place) = self.place(deployment)
        {
            self.again.push(Again { place, after: failure.retry_after, class: failure.class });
        }
    }

    /// Whether one more retry after a failure of this class is left.
    fn has_left(&self, policy: &RetryPolicy, class: Class) -> bool {
        match policy.by_class.of(class) {
            Some(most) => self.retried_after.iter().filter(|of| **of == class).count() < most as usize,
            None => self.retries_left > 0,
        }
    }

    /// A second round over what may have recovered, the soonest first.
    fn retry(&mut self, now_us: u64) -> Option<Step> {
        let policy = self.looked.last()?.group.retry;
        self.again.sort_by_key(|again| again.after.unwrap_or_default());
        let at = self.again.iter().position(|again| self.has_left(&policy, again.class))?;
        let pause = match self.again[at].after {
            Some(after) if after > policy.cap => return None,
            Some(after) => after,
            None => {
                let ceiling = policy.base.saturating_mul(1 << self.retried.min(16)).min(policy.cap);
                ceiling.mul_f64(self.rng.random::<f64>())
            }
        };
        let back_us = now_us.saturating_add(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX));
        if self.deadline_us.is_some_and(|deadline_us| back_us >= deadline_us) {
            return None;
        }
        let looked = self.looked.last_mut()?;
        if !looked.group.budget().spend(&policy, now_us) {
            return None;
        }
        let Again { place, class, .. } = self.again.remove(at);
        match policy.by_class.of(class) {
            Some(_) => {
                self.retried_after.push(class);
                self.insists = class.is_lasting();
            }
            None => self.retries_left -= 1,
        }
        self.retried += 1;
        looked.verdicts[usize::from(place)] = Verdict::Retried;
        Some(Step::Try { pause, deployment: looked.group.deployments[usize::from(place)].clone() })
    }

    /// The group's share of retries for this call, once an attempt is made there.
    fn earn(&mut self) {
        if let Some(looked) = self.looked.last().filter(|_| !std::mem::replace(&mut self.earned, true)) {
            looked.group.budget().earn(&looked.group.retry);
        }
    }

    fn next_group(&mut self, now_us: u64) -> bool {
        let Some(group) = self.routes.next() else { return false };
        self.leave_group();
        self.retries_left = group.retry.retries;
        self.retried_after.clear();
        self.earned = false;
        let mut verdicts = Vec::with_capacity(group.deployments.len());
        // What is not listed may be there all the same: it speaks against a deployment only where another lists it.
        let listed = !self.needs.capabilities.is_empty()
            && group
                .deployments
                .iter()
                .chain(self.routes.groups().flat_map(|g| &g.deployments))
                .any(|d| self.needs.unlisted(d).is_none() && self.needs.refuse(d, &self.tags).is_none());
        for (place, deployment) in (0_u16..).zip(&group.deployments) {
            let small = self.least_window.is_some_and(|least| deployment.context_window.is_some_and(|w| w <= least));
            let verdict = match self.needs.refuse(deployment, &self.tags) {
                Some(reason) => Verdict::Refused(reason.into()),
                None if small => Verdict::WindowTooSmall,
                None => match self.needs.unlisted(deployment).filter(|_| listed) {
                    Some(missing) => Verdict::Unlisted(missing),
                    None => match deployment.state().circuit(now_us) {
                        Circuit::Open { until_us } => {
                            self.cooling.push((self.looked.len(), place, until_us));
                            Verdict::Cooling { until_us }
                        }
                        Circuit::HalfOpen { probing: true } => {
                            self.cooling.push((self.looked.len(), place, now_us));
                            Verdict::Probing
                        }
                        _ => {
                            self.fresh.push(place);
                            Verdict::NotReached
                        }
                    },
                },
            };
            verdicts.push(verdict);
        }
        // Known beforehand, a prompt that is too long goes the way of one that was refused for that.
        let nobody = verdicts.iter().all(|verdict| matches!(verdict, Verdict::Refused(_)));
        if nobody && group.deployments.iter().any(|deployment| self.needs.is_too_long_for(deployment)) {
            self.routes.take_context_window();
        }
        self.looked.push(Looked { group, verdicts });
        true
    }

    /// Everything that could serve is left alone: one whose server failed may be back, one that named a time or refused the credential
    /// is not.
    fn last_resort(&mut self) -> Step {
        if self.tried > 0 || self.cooling.is_empty() {
            return Step::GiveUp { soonest: None };
        }
        self.cooling.sort_by_key(|(.., until_us)| *until_us);
        let deployment =
            |(group, place, _): &(usize, u16, u64)| self.looked[*group].group.deployments[usize::from(*place)].clone();
        let hopeful = self.cooling.iter().position(|at| {
            !matches!(
                deployment(at).state().why(),
                Some(
                    Class::RateLimit
                        | Class::QuotaExceeded
                        | Class::Authentication
                        | Class::Permission
                        | Class::NotFound
                )
            )
        });
        match hopeful {
            Some(at) => {
                let (group, place, _) = self.cooling.remove(at);
                self.tried += 1;
                self.resorted = true;
                let looked = &mut self.looked[group];
                looked.verdicts[usize::from(place)] = Verdict::LastResort;
                Step::Try { pause: Duration::ZERO, deployment: looked.group.deployments[usize::from(place)].clone() }
            }
            None => {
                let soonest = self.cooling.first().map(|at| (deployment(at), at.2));
                Step::GiveUp { soonest }
            }
        }
    }

    fn place(&self, deployment: &Arc<Deployment>) -> Option<u16> {
        let place = self.looked.last()?.group.deployments.iter().position(|d| Arc::ptr_eq(d, deployment))?;
        u16::try_from(place).ok()
    }

    fn leave_group(&mut self) {
        self.fresh.clear();
        self.again.clear();
    }

    fn drop_small_windows(&mut self) {
        let Some(looked) = self.looked.last_mut() else { return };
        let least = self.least_window;
        let larger = |place: u16| {
            looked.group.deployments[usize::from(place)]
                .context_window
                .is_none_or(|w| least.is_none_or(|least| w > least))
        };
        let (larger_left, small): (Vec<_>, Vec<_>) = self.fresh.drain(..).partition(|place| larger(*place));
        self.fresh = larger_left;
        self.again.retain(|again| larger(again.place));
        for place in small {
            looked.verdicts[usize::from(place)] = Verdict::WindowTooSmall;
        }
    }

    fn leave_out(&mut self) {
        for verdict in self.looked.iter_mut().flat_map(|looked| &mut looked.verdicts) {
            if matches!(verdict, Verdict::NotReached | Verdict::Spent { .. }) {
                *verdict = Verdict::Same;
            }
        }
    }
}

impl Verdict {
    fn is_chosen(&self) -> bool {
        matches!(self, Self::Chosen(_) | Self::ChosenSpent(_) | Self::Sticky | Self::Retried | Self::LastResort)
    }

    fn reason(&self, deployment: &Deployment, now_us: u64) -> String {
        match self {
            Self::NotReached => "not reached".into(),
            Self::Chosen(strategy) => format!("next by {strategy}"),
            Self::ChosenSpent(strategy) => format!("next by {strategy}, although it said it has none left"),
            Self::Spent { until_us } => {
                let left = until_us.saturating_sub(now_us) as f64 / 1e6;
                format!("said it has none left for {left:.1} s more")
            }
            Self::Sticky => "the one that this caller sticks to".into(),
            Self::Retried => "tried again".into(),
            Self::LastResort => "left alone for its failures, but nothing else could serve".into(),
            Self::Cooling { until_us } => {
                let left = until_us.saturating_sub(now_us) as f64 / 1e6;
                let why = deployment.state().why().map_or("its failures", Class::name);
                format!("left alone for {left:.1} s more: {why}")
            }
            Self::Probing => "another call tries whether it is back".into(),
            Self::Full => "at its limits".into(),
            Self::UsedUp => "its budget, or its provider's, affords no more".into(),
            Self::Unlisted(missing) => format!("does not list {missing}, which others do"),
            Self::WindowTooSmall => "its context window is no larger than the one that was too small".into(),
            Self::Same => "not tried: the failure would be the same everywhere".into(),
            Self::Refused(reason) => reason.to_string(),
        }
    }
}
