use tollgate_domain::{Error, Left};
use tollgate_limits::PoolState;
use tollgate_pipeline::{Call, Caller};
use tollgate_proto::v1::{
    Candidate, CircuitState, ErrorReason, KeyRole, LimitLeft, Model, Priority, QueueClass, QueueState, RouteState,
};
use tollgate_router::{Circuit, ModelGroup, Standing};

use crate::{Control, Principal, Resource, act, page};

impl Control {
    /// A page of the models that the caller may use, by name.
    pub async fn list_models(
        &self,
        principal: &Principal,
        size: i32,
        token: &str,
    ) -> Result<(Vec<Model>, String), Error> {
        let authorized = self.allowed::<act::ReadModels>(principal, |caller| Ok(Resource::of_key(caller.key())))?;
        let size = page::size(size, 1_000)?;
        let after = page::cursor("models", token)?;
        let table = self.pipeline.table();
        let mut visible = table.groups.values().filter(|g| *g.name > *after && self.sees(authorized.caller(), &g.name));
        let models: Vec<_> = visible.by_ref().take(size).map(|g| self.model(g)).collect();
        let next = match (visible.next(), models.last()) {
            (Some(_), Some(last)) => page::token("models", &last.name),
            _ => String::new(),
        };
        Ok((models, next))
    }

    /// One model.
    pub async fn get_model(&self, principal: &Principal, name: &str) -> Result<Model, Error> {
        let authorized = self.allowed::<act::ReadModels>(principal, |caller| Ok(Resource::of_key(caller.key())))?;
        let table = self.pipeline.table();
        let unknown = || {
            let message =
                format!("there is no model {name:?}; `ListModels` or `GET /v1/models` lists those that exist");
            Error::new(ErrorReason::ModelNotFound, message).with("model", name)
        };
        // What is listed can be got, names with `*` too.
        let listed = table.groups.get(name).cloned();
        if listed.is_none() && !table.has(name) {
            return Err(unknown());
        }
        if !self.sees(authorized.caller(), name) {
            let message = format!("this key may not use the model {name:?}");
            return Err(Error::new(ErrorReason::ModelNotAllowed, message)
                .with("model", name)
                .with("keyId", authorized.caller().key_id()));
        }
        let group = listed.or_else(|| table.group(name)).ok_or_else(unknown)?;
        Ok(self.model(&group))
    }

    /// How the deployments of a model do at this replica.
    pub async fn route_state(&self, principal: &Principal, name: &str) -> Result<Vec<RouteState>, Error> {
        self.get_model(principal, name).await?;
        let now_us = self.pipeline.route_now_us();
        let table = self.pipeline.table();
        let Some(group) = table.groups.get(name).cloned().or_else(|| table.group(name)) else { return Ok(Vec::new()) };
        let states = group.deployments.iter().map(|d| route_state(&d.name, &d.state().standing(now_us), now_us));
        Ok(states.collect())
    }

    /// Where a call would go now: the order of trial, what is left out, and the hash of the configuration.
    pub async fn explain_route(
        &self,
        principal: &Principal,
        call: &Call,
    ) -> Result<(Vec<Candidate>, Vec<Candidate>, String), Error> {
        let authorized = self.allowed::<act::ReadModels>(principal, |caller| Ok(Resource::of_key(caller.key())))?;
        self.pipeline.explain(authorized.caller(), call).await
    }

    /// A model with the queues before its deployments as they stand.
    fn model(&self, group: &ModelGroup) -> Model {
        let mut model = group.to_proto();
        for deployment in &mut model.deployments {
            deployment.queue = self.pipeline.gates().queue(&deployment.name).map(queue);
        }
        model
    }

    fn sees(&self, caller: &Caller, model: &str) -> bool {
        let governs = matches!(caller.role(), KeyRole::PlatformAdmin | KeyRole::Finance | KeyRole::Auditor);
        governs || self.directory().may_use(caller.key(), model)
    }
}

pub(crate) fn route_state(deployment: &str, standing: &Standing, now_us: u64) -> RouteState {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let (circuit, until_us) = match standing.circuit {
        Circuit::Closed => (CircuitState::Closed, None),
        Circuit::Open { until_us } => (CircuitState::Open, Some(until_us)),
        Circuit::HalfOpen { .. } => (CircuitState::HalfOpen, None),
    };
    RouteState {
        deployment: deployment.to_owned(),
        circuit: circuit as i32,
        cooldown_left_ms: until_us.map(|until_us| count(until_us.saturating_sub(now_us).div_ceil(1_000))),
        cooldown_class: standing.why.map_or("", |class| class.name()).to_owned(),
        in_flight: i64::from(standing.in_flight),
        requests: count(standing.requests),
        failures: count(standing.failures),
        tokens: count(standing.tokens),
        latency_us: standing.latency.map(|latency| i64::try_from(latency.as_micros()).unwrap_or(i64::MAX)),
        requests_left: standing.headroom.requests.map(limit_left),
        tokens_left: standing.headroom.tokens.map(limit_left),
    }
}

fn limit_left(left: Left) -> LimitLeft {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    LimitLeft {
        remaining: count(left.remaining),
        limit: left.limit.map(count),
        reset_ms: left.resets_in.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
    }
}

fn queue(state: PoolState) -> QueueState {
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let classes = [Priority::Interactive, Priority::Standard, Priority::Batch].into_iter().enumerate();
    QueueState {
        capacity: count(state.capacity),
        classes: classes
            .map(|(i, priority)| QueueClass {
                priority: priority as i32,
                in_use: count(state.in_use[i]),
                waiting: count(state.waiting[i]),
            })
            .collect(),
        longest_wait_ms: i64::try_from(state.longest_wait.as_millis()).unwrap_or(i64::MAX),
    }
}
