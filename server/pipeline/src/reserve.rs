use std::sync::Arc;

use tollgate_domain::{Error, NanoUsd, ServiceTier};
use tollgate_ledger::{Ask, At, Hold, Scopes};
use tollgate_proto::v1::{ErrorReason, HoldMode, OutputUsage, ScopeKind, WhenTight};
use tollgate_router::{Deployment, Plan};

use crate::{Call, Pipeline, bound, call::Request, permit::Permit, route::no_route};

/// Proof that the worst case of a call is held, or the first part of it.
pub(crate) struct Reservation {
    pub(crate) permit: Permit,
    pub(crate) hold: Hold,
    pub(crate) plan: Plan,
    pub(crate) seed: u64,
    pub(crate) bound: Bound,
}

/// An answer that is cut shorter than this is no use: where a budget affords less, it is exhausted.
const LEAST_OUTPUT: u64 = 16;
/// Output that a progressive hold begins with, and is extended by, in tokens.
pub(crate) const TRANCHE: u64 = 1_024;
/// What a provider may have written before a cut reaches it, in tokens.
pub(crate) const LAG: u64 = 256;
/// A call whose worst case is dearer is held progressively, unless its budgets say otherwise.
const DEAR: NanoUsd = NanoUsd(250_000_000);

/// What a call can consume at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Tokens of the prompt.
    pub(crate) input: u64,
    /// Tokens per choice, where the call names a limit.
    asked: Option<u64>,
    /// Choices.
    choices: u64,
    /// Queries of a ranking.
    pub(crate) queries: u64,
    /// Milliseconds of sound that is listened to; 0: none is.
    pub(crate) audio_ms: u64,
    /// Characters that are spoken.
    pub(crate) characters: u64,
    /// Whether all of the output is written, as far as one knows: what it is follows from the request.
    is_fixed: bool,
    /// Whether a hard budget or a ceiling makes the gateway set the limit upstream.
    pub(crate) capped: bool,
    /// The limit where nothing else names one.
    default_cap: u64,
    /// What the budgets afford, in tokens per choice, where that is less.
    afforded: Option<u64>,
    /// Output covered by the hold in all choices so far, while it is extended step by step.
    pub(crate) tranche: Option<u64>,
    /// Bytes of the answer that attempts before this one have written, where this one goes on from there.
    written: u64,
    /// What is left until the caller's deadline, in microseconds; the largest there is where it names none.
    left_us: u64,
    /// Service tiers that may serve what the call asks for.
    served_at: &'static [ServiceTier],
}

impl Bound {
    /// The next attempt goes on with an answer of which `bytes` are there. Returns how many more these are.
    pub(crate) fn go_on_from(&mut self, bytes: u64) -> u64 {
        let more = bytes.saturating_sub(self.written);
        self.input = self.input.saturating_add(more);
        self.written = bytes;
        more
    }

    /// Holding in tranches begins anew with an attempt.
    pub(crate) fn begin(&mut self) {
        self.tranche = self.tranche.map(|_| TRANCHE);
    }

    /// The output limit that the gateway must set upstream: only where money depends on it and the call names none, or more than its
    /// budgets afford.
    pub(crate) fn cap_for(&self, deployment: &Deployment) -> Option<u64> {
        if tollgate_planted::bug("clamp_ignored") && self.afforded.is_some() {
            return None;
        }
        let lowered = self.afforded.is_some_and(|afforded| self.asked.is_none_or(|asked| afforded < asked));
        let shortened = self.written > 0 && self.asked.is_some();
        (lowered || shortened || (self.capped && self.asked.is_none())).then(|| self.per_choice(deployment))
    }

    fn per_choice(&self, deployment: &Deployment) -> u64 {
        let cap = deployment.max_output_tokens.map_or(self.default_cap, |max| max.min(self.default_cap));
        let unnamed = if self.capped { cap } else { deployment.max_output_tokens.unwrap_or(self.default_cap) };
        let wanted = self.asked.or(self.given(deployment)).unwrap_or(unnamed);
        let wanted = self.afforded.map_or(wanted, |afforded| wanted.min(afforded));
        // How much is heard is a guess; how much a model writes at once is not.
        let wanted =
            if self.audio_ms > 0 { wanted.min(deployment.max_output_tokens.unwrap_or(wanted)) } else { wanted };
        if self.written > 0 { wanted.saturating_sub(bound::estimate(self.written)).max(1) } else { wanted }
    }

    /// The limit that the deployment gives to calls without one.
    fn given(&self, deployment: &Deployment) -> Option<u64> {
        deployment.defaults.as_ref().and_then(|defaults| defaults.max_output_tokens).filter(|_| !self.is_fixed)
    }

    /// Choices that are asked for.
    pub(crate) fn choices(&self) -> u64 {
        self.choices
    }

    /// The most tokens that the answer can be.
    pub(crate) fn output(&self, deployment: &Deployment) -> u64 {
        self.per_choice(deployment).saturating_mul(self.choices)
    }

    /// What an answer has that does not tell all of it: `bytes` came, and this much is known.
    pub(crate) fn unsaid(&self, deployment: &Deployment, known: OutputUsage, bytes: u64) -> OutputUsage {
        if !self.is_fixed || self.audio_ms > 0 {
            return OutputUsage { total: known.total.max(bound::estimate(bytes)), ..known };
        }
        if self.characters > 0 {
            // Some fifteen letters a second, at 21 tokens.
            let total = known.total.max(self.characters.saturating_mul(3) / 2);
            return OutputUsage { total, audio: total, ..known };
        }
        // Only images are written without a word.
        let total = known.total.max(self.output(deployment));
        OutputUsage { total, image: total, ..known }
    }

    /// The most that an attempt at `deployment` can cost; unpriced ones cost nothing that we know of.
    pub(crate) fn cost(&self, deployment: &Deployment) -> NanoUsd {
        self.cost_of(deployment, self.output(deployment))
    }

    fn cost_of(&self, deployment: &Deployment, output: u64) -> NanoUsd {
        let Some(price) = &deployment.price else { return NanoUsd(0) };
        // Sound is paid by tokens or by its length: by the dearer of both.
        let tokens = price.worst_case(self.input, output, self.served_at).max(price.sound(self.audio_ms));
        let others =
            [price.queries(self.queries), price.characters(self.characters), price.time(self.longest_us(deployment))];
        NanoUsd(others.iter().fold(tokens.0, |sum, other| sum.saturating_add(other.0)))
    }

    /// The longest that an attempt at `deployment` can take, in microseconds: it is given up by then.
    pub(crate) fn longest_us(&self, deployment: &Deployment) -> u64 {
        u64::try_from(deployment.endpoint.timeouts.total.as_micros()).unwrap_or(u64::MAX).min(self.left_us)
    }

    /// What must be held for an attempt at `deployment` now.
    pub(crate) fn held(&self, deployment: &Deployment) -> NanoUsd {
        let output = self.output(deployment);
        self.cost_of(deployment, self.tranche.map_or(output, |tranche| output.min(tranche.saturating_add(LAG))))
    }

    /// The least that is of any use.
    fn least(&self, deployment: &Deployment) -> NanoUsd {
        let output = self.output(deployment).min(LEAST_OUTPUT.saturating_mul(self.choices));
        self.cost_of(deployment, output)
    }

    /// Lowers the output to what `amount` affords at every deployment that may serve.
    fn afford(&mut self, amount: NanoUsd, reachable: &[&Arc<Deployment>]) {
        let prices = reachable.iter().filter_map(|d| Some((d.price.as_ref()?, self.longest_us(d))));
        let tokens = prices.map(|(price, us)| {
            price.affordable_output(self.input, NanoUsd(amount.0.saturating_sub(price.time(us).0)), self.served_at)
        });
        self.afforded = tokens.min().map(|tokens| tokens / self.choices.max(1));
    }
}

impl Pipeline {
    /// Holds the worst case: what is sent at most, at the dearest deployment that may serve it.
    pub(crate) async fn reserve(&self, permit: Permit, call: &Call) -> Result<Reservation, Error> {
        let key = permit.caller.key();
        let scopes = self.ledger.scopes(&permit.payer(call.model()));
        self.tell_spent(&scopes, call);
        let ceiling = call.options().and_then(|o| o.max_cost_nano_usd);
        let policies: Vec<_> = scopes.iter().map(|a| a.policy()).filter(|p| p.is_hard()).collect();
        let capped = ceiling.is_some() || !policies.is_empty();
        let key_cap = key.default_output_cap.and_then(|cap| u64::try_from(cap).ok());

        let seed = (self.seeds)(call.id);
        let plan = self.plan(&permit, call, seed).await;
        let most = bound::most(&call.request);
        let mut bound = Bound {
            input: most.input,
            asked: most.output,
            choices: most.choices,
            queries: most.queries,
            audio_ms: most.audio_ms,
            characters: most.characters,
            is_fixed: !matches!(call.request, Request::Completion(..)),
            capped,
            default_cap: key_cap.unwrap_or(self.settings.default_output_cap),
            afforded: None,
            tranche: None,
            written: 0,
            left_us: call.time_left().map_or(u64::MAX, |left| u64::try_from(left.as_micros()).unwrap_or(u64::MAX)),
            served_at: ServiceTier::reachable(match &call.request {
                Request::Completion(request, _) => request.service_tier_native.as_deref(),
                _ => None,
            }),
        };
        let reachable: Vec<&Arc<Deployment>> = plan.reachable().collect();
        if reachable.is_empty() {
            return Err(no_route(&plan, call));
        }
        // Where a deployment or its provider has a hard budget, money depends on it as well.
        let payer = permit.payer(call.model());
        let has_own = |d: &Arc<Deployment>| {
            let at = At { provider: &d.provider, deployment: &d.name };
            self.ledger.scopes_at(&payer, at).iter().any(|account| account.policy().is_hard())
        };
        bound.capped = capped || reachable.iter().any(|d| has_own(d));
        if let Some(unpriced) = reachable.iter().find(|d| d.price.is_none() && (capped || has_own(d))) {
            let message = format!(
                "a hard budget applies and the deployment {:?} has no price; give it one in the configuration",
                unpriced.name
            );
            return Err(Error::new(ErrorReason::PriceUnknown, message)
                .with("model", call.model())
                .with("deployment", &unpriced.name));
        }
        let most = |cost: &dyn Fn(&Deployment) -> NanoUsd| reachable.iter().map(|d| cost(d)).max().unwrap_or_default();
        let worst = most(&|d| bound.cost(d));
        if let Some(ceiling) = ceiling.filter(|c| worst.0 > *c) {
            let message = format!(
                "the call may cost up to ${worst}, more than its ceiling of ${}; ask for less output",
                NanoUsd(ceiling)
            );
            return Err(Error::new(ErrorReason::CallCostCeiling, message)
                .with("maxCostNanoUsd", ceiling.to_string())
                .with("neededNanoUsd", worst.0.to_string()));
        }
        if self.is_progressive(&scopes, worst, call, &reachable) {
            bound.tranche = Some(TRANCHE);
        }
        let want = most(&|d| bound.held(d));
        // A call that names no limit gets what its budgets afford; one that does, only where all of them say so. Only completions can
        // be cut short.
        let may_clamp = bound.asked.is_none() || policies.iter().all(|p| p.when_tight == WhenTight::Clamp);
        let is_completion = matches!(call.request, Request::Completion(..));
        let min = if may_clamp && is_completion { most(&|d| bound.least(d)) } else { want };
        let ask = Ask { min: min.min(want), want, wait: self.hold_wait(call) };
        tollgate_planted::step("before_hold");
        let hold = self.ledger.hold(&scopes, ask).await?;
        tollgate_planted::step("held");
        if hold.amount() < want {
            bound.tranche = None;
            bound.afford(hold.amount(), &reachable);
        }
        Ok(Reservation { permit, hold, plan, seed, bound })
    }

    /// How long a call may wait for money: never past its deadline.
    fn hold_wait(&self, call: &Call) -> std::time::Duration {
        call.time_left().map_or(self.settings.hold_wait, |left| left.min(self.settings.hold_wait))
    }

    /// Whether output is held in tranches. What a model writes unseen cannot be held step by step.
    /// What the key has spent, as far as that is in memory anyway: by its budget for all models.
    fn tell_spent(&self, scopes: &Scopes, call: &Call) {
        let policies = scopes.iter().map(|account| (account, account.policy()));
        let of_key =
            policies.filter(|(_, policy)| policy.scope.kind() == ScopeKind::Key && policy.scope.model.is_empty());
        // Of several the one that looks back furthest.
        let spent = of_key.map(|(account, _)| account.balance(self.ledger.now_us()).spent).max();
        if let Some(spent) = spent {
            let _ = call.quota.key_spent.set(spent); // a call is admitted once
        }
    }

    fn is_progressive(&self, scopes: &Scopes, worst: NanoUsd, call: &Call, reachable: &[&Arc<Deployment>]) -> bool {
        let unseen = || reachable.iter().any(|d| d.capabilities.iter().any(|c| c == "reasoning"));
        if scopes.is_empty() || !matches!(call.request, Request::Completion(..)) || unseen() {
            return false;
        }
        let now_us = self.ledger.now_us();
        scopes.iter().filter(|a| a.policy().is_hard()).any(|account| match account.policy().hold_mode {
            HoldMode::Strict => false,
            HoldMode::Progressive => true,
            HoldMode::Unspecified => {
                let balance = account.balance(now_us);
                let left = balance.limit.saturating_sub(balance.spent).saturating_sub(balance.held);
                worst > DEAR || worst.0 > left / 4
            }
        })
    }
}
