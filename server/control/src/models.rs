use tollgate_domain::Error;
use tollgate_limits::PoolState;
use tollgate_pipeline::Caller;
use tollgate_proto::v1::{ErrorReason, KeyRole, Model, Priority, QueueClass, QueueState};
use tollgate_router::ModelGroup;

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
        let Some(group) = table.groups.get(name) else {
            let message =
                format!("there is no model {name:?}; `ListModels` or `GET /v1/models` lists those that exist");
            return Err(Error::new(ErrorReason::ModelNotFound, message).with("model", name));
        };
        if !self.sees(authorized.caller(), name) {
            let message = format!("this key may not use the model {name:?}");
            return Err(Error::new(ErrorReason::ModelNotAllowed, message)
                .with("model", name)
                .with("keyId", authorized.caller().key_id()));
        }
        Ok(self.model(group))
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
