use std::sync::Arc;

use tollgate_domain::{Error, NanoUsd};
use tollgate_ledger::{Hold, Scopes};
use tollgate_proto::v1::ErrorReason;
use tollgate_router::{Deployment, Plan, Wanted};

use crate::{Call, Pipeline, bound, call::Request, permit::Permit};

/// Proof that the worst case of a call is held.
pub(crate) struct Reservation {
    pub(crate) permit: Permit,
    pub(crate) hold: Hold,
    pub(crate) plan: Plan,
    pub(crate) seed: u64,
    pub(crate) bound: Bound,
}

/// What a call can consume at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Tokens of the prompt.
    pub(crate) input: u64,
    /// Tokens per choice, where call or budget names a limit.
    output: Option<u64>,
    /// Choices.
    choices: u64,
    /// Whether a hard budget or a ceiling makes the gateway set the limit upstream.
    pub(crate) capped: bool,
    /// The limit where nothing else names one.
    default_cap: u64,
    asked: bool,
}

impl Bound {
    /// The output limit that the gateway must set upstream: only where money depends on it and the call names none.
    pub(crate) fn cap_for(&self, deployment: &Deployment) -> Option<u64> {
        (self.capped && !self.asked).then(|| self.per_choice(deployment))
    }

    fn per_choice(&self, deployment: &Deployment) -> u64 {
        let cap = deployment.max_output_tokens.map_or(self.default_cap, |max| max.min(self.default_cap));
        self.output.unwrap_or(if self.capped { cap } else { deployment.max_output_tokens.unwrap_or(self.default_cap) })
    }

    /// The most tokens that the answer can be.
    pub(crate) fn output(&self, deployment: &Deployment) -> u64 {
        self.per_choice(deployment).saturating_mul(self.choices)
    }

    /// The most that an attempt at `deployment` can cost; unpriced ones cost nothing that we know of.
    pub(crate) fn cost(&self, deployment: &Deployment) -> NanoUsd {
        deployment.price.as_ref().map_or(NanoUsd(0), |p| p.worst_case(self.input, self.output(deployment)))
    }
}

impl Pipeline {
    /// Holds the worst case: what is sent at most, at the dearest deployment that may serve it.
    pub(crate) async fn reserve(&self, permit: Permit, call: &Call, wanted: Wanted) -> Result<Reservation, Error> {
        let key = &permit.caller.stored().key;
        let account = self.ledger.account(&key.id);
        let scopes: Scopes = account.into_iter().collect::<Vec<_>>().into();
        let ceiling = call.options().and_then(|o| o.max_cost_nano_usd);
        let capped = ceiling.is_some() || scopes.iter().any(|a| a.balance().hard);
        let key_cap = key.default_output_cap.and_then(|cap| u64::try_from(cap).ok());

        let seed = (self.seeds)();
        let plan = Plan::new(permit.groups.clone(), wanted, seed);
        let bound = match &call.request {
            Request::Completion(request, _) => {
                let asked = request.max_output_tokens.and_then(|n| u64::try_from(n).ok());
                Bound {
                    input: bound::completion_input(request),
                    output: asked,
                    choices: request.n.and_then(|n| u64::try_from(n).ok()).unwrap_or(1),
                    capped,
                    default_cap: key_cap.unwrap_or(self.settings.default_output_cap),
                    asked: asked.is_some(),
                }
            }
            Request::Embedding(request) => Bound {
                input: bound::embedding_input(request),
                output: Some(0),
                choices: 1,
                capped,
                default_cap: 0,
                asked: true,
            },
        };
        let reachable: Vec<&Arc<Deployment>> = plan.reachable().collect();
        if reachable.is_empty() {
            let message = format!("no deployment of {:?} offers this operation", call.model());
            return Err(Error::new(ErrorReason::UnsupportedField, message).with("field", "model"));
        }
        if capped && let Some(unpriced) = reachable.iter().find(|d| d.price.is_none()) {
            let message = format!(
                "a hard budget applies and the deployment {:?} has no price; give it one in the configuration",
                unpriced.name
            );
            return Err(Error::new(ErrorReason::PriceUnknown, message)
                .with("model", call.model())
                .with("deployment", &unpriced.name));
        }
        let worst = reachable.iter().map(|d| bound.cost(d)).max().unwrap_or_default();
        if let Some(ceiling) = ceiling.filter(|c| worst.0 > *c) {
            let message = format!(
                "the call may cost up to ${worst}, more than its ceiling of ${}; ask for less output",
                NanoUsd(ceiling)
            );
            return Err(Error::new(ErrorReason::CallCostCeiling, message)
                .with("maxCostNanoUsd", ceiling.to_string())
                .with("neededNanoUsd", worst.0.to_string()));
        }
        let hold = Hold::reserve(&scopes, worst, self.settings.hold_wait).await?;
        Ok(Reservation { permit, hold, plan, seed, bound })
    }
}
