//! What the router is told of a call, and what a call is told of the router.

use tollgate_domain::{Class, Error, Retry};
use tollgate_proto::v1::{
    Candidate, CompletionRequest, ErrorReason, Part, RouteNeeds, part::Content, response_format::Format,
};
use tollgate_redact::redact;
use tollgate_router::{Deployment, Needs, Plan, Step, Sticky, stable_hash};

use crate::{Call, Caller, Pipeline, bound, call::Request, permit::Permit, tokens};

impl Pipeline {
    /// Microseconds on the router's clock, which only moves on.
    pub fn route_now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The walk of a call through the groups that it may use.
    pub(crate) async fn plan(&self, permit: &Permit, call: &Call, seed: u64) -> Plan {
        let needs = needs(permit, call).await;
        let now_us = self.route_now_us();
        let until =
            call.time_left().map(|left| now_us.saturating_add(u64::try_from(left.as_micros()).unwrap_or(u64::MAX)));
        Plan::new(permit.routes.clone(), needs, permit.table.tags.clone(), seed, now_us).until(until)
    }

    /// Where a call would go now, in the order of trial, and what would be left out. Nothing is sent and nothing held.
    pub async fn explain(
        &self,
        caller: &Caller,
        call: &Call,
    ) -> Result<(Vec<Candidate>, Vec<Candidate>, String), Error> {
        let permit = self.route(caller.clone(), call)?;
        let mut plan = self.plan(&permit, call, (self.seeds)(call.id)).await;
        if plan.reachable().next().is_none() {
            return Err(no_route(&plan, call));
        }
        let now_us = self.route_now_us();
        let mut order = Vec::new();
        // As if each refused the gateway's credential: nothing is tried twice, everything is tried.
        while let Step::Try { deployment, .. } = plan.next(None, now_us) {
            order.push(deployment.name.clone());
        }
        let (tried, left_out): (Vec<_>, Vec<_>) = plan.candidates().into_iter().partition(|c| c.chosen);
        let mut tried = tried;
        tried.sort_by_key(|c| order.iter().position(|name| *name == c.deployment));
        Ok((tried, left_out, permit.table.config_hash.clone()))
    }
}

/// What the router was told, for the record.
pub(crate) fn told(needs: &Needs, call: &Call) -> RouteNeeds {
    let options = call.options();
    RouteNeeds {
        input_tokens: needs.input_tokens,
        output_tokens: needs.output_tokens,
        capabilities: needs.capabilities.iter().map(|used| (*used).to_owned()).collect(),
        tags: needs.tags.clone(),
        region: needs.region.as_deref().map(|region| redact(region).into()).unwrap_or_default(),
        fallbacks: options.map(|o| o.fallbacks.clone()).unwrap_or_default(),
        no_fallbacks: options.is_some_and(|o| o.no_fallbacks),
        sticky: needs.sticky,
        deployment: needs.pinned.as_deref().map(|pinned| redact(pinned).into()).unwrap_or_default(),
    }
}

async fn needs(permit: &Permit, call: &Call) -> Needs {
    let options = call.options();
    let mut needs = Needs {
        tags: permit.account.tags.clone(),
        region: options.map(|o| o.region.clone()).filter(|region| !region.is_empty()),
        pinned: options.map(|o| o.deployment.clone()).filter(|name| !name.is_empty()),
        sticky: permit.routes.own().and_then(|own| stick(own.sticky.as_ref()?, permit, call)),
        ..Needs::only(call.request.wanted())
    };
    match &call.request {
        Request::Completion(request, _) => {
            let bytes = bound::least_input(request);
            needs.input_tokens = match call.again.is_none() && tokens::are_in_doubt(bytes, &permit.routes) {
                true => tokens::count(request, bytes).await,
                false => bound::estimate(bytes),
            };
            needs.output_tokens = request.max_output_tokens.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            needs.capabilities = capabilities(request);
        }
        request => {
            needs.input_tokens = bound::estimate(bound::longest(request));
            let most = bound::most(request);
            needs.queries = most.queries;
            needs.characters = most.characters;
            needs.audio_ms = most.audio_ms;
        }
    }
    if let Some(again) = call.again {
        needs.input_tokens = again.input_tokens;
        // Only where its group still sticks.
        needs.sticky = again.sticky.filter(|_| permit.routes.own().is_some_and(|own| own.sticky.is_some()));
    }
    needs
}

/// What a request uses, in the catalogue's words.
fn capabilities(request: &CompletionRequest) -> Vec<&'static str> {
    let mut used = Vec::new();
    let parts = || request.messages.iter().flat_map(|m| &m.parts);
    let any = |wanted: fn(&Content) -> bool| parts().any(|Part { content, .. }| content.as_ref().is_some_and(wanted));
    if any(|content| matches!(content, Content::Image(_))) {
        used.push("vision");
    }
    if any(|content| matches!(content, Content::Audio(_))) {
        used.push("audio_input");
    }
    if any(|content| matches!(content, Content::File(_))) {
        used.push("pdf");
    }
    if !request.tools.is_empty() {
        used.push("tools");
    }
    if matches!(request.response_format.as_ref().and_then(|f| f.format.as_ref()), Some(Format::JsonSchema(_))) {
        used.push("json_schema");
    }
    used
}

/// A hash of what the group sticks to; `None`: the call does not say.
fn stick(by: &Sticky, permit: &Permit, call: &Call) -> Option<u64> {
    let value = match by {
        Sticky::User => call.user().map(str::to_owned),
        Sticky::Key => Some(permit.caller.key_id().to_owned()),
        Sticky::Customer => Some(permit.account.customer.clone()),
        Sticky::Metadata(key) => call.options().and_then(|o| o.metadata.get(key).cloned()),
    };
    value.filter(|value| !value.is_empty()).map(|value| stable_hash(&value))
}

/// Nothing may serve the call: why, for each deployment.
pub(crate) fn no_route(plan: &Plan, call: &Call) -> Error {
    let refusals = plan.refusals();
    let message = format!("no deployment can serve this call of {:?}: {}", call.model(), refusals.join("; "));
    let all = |what: &str| !refusals.is_empty() && refusals.iter().all(|refusal| refusal.contains(what));
    let reason = match () {
        () if all("does not offer") => {
            return Error::new(ErrorReason::UnsupportedField, message).with("field", "model");
        }
        () if all("fit its window of") => ErrorReason::ContextWindowExceeded,
        () => ErrorReason::NoRoute,
    };
    Error::new(reason, message).with("model", call.model())
}

/// Everything is left alone for a while.
pub(crate) fn all_cooling(deployment: &Deployment, wait: std::time::Duration) -> Error {
    let why = deployment.state().why();
    let reason = match why {
        Some(Class::RateLimit) => ErrorReason::ProviderRateLimited,
        Some(Class::QuotaExceeded) => ErrorReason::ProviderQuotaExceeded,
        Some(Class::Authentication | Class::Permission) => ErrorReason::ProviderCredential,
        Some(Class::NotFound) => ErrorReason::ProviderModelUnavailable,
        _ => ErrorReason::Overloaded,
    };
    let message = format!(
        "every deployment that could serve is left alone for a while, {:?} for {:.1} s more ({})",
        deployment.name,
        wait.as_secs_f64(),
        why.map_or("its failures", Class::name)
    );
    Error::new(reason, message).retry(Retry::After(wait)).with("deployment", &deployment.name)
}
