use tollgate_domain::Error;
use tollgate_pipeline::may_use;
use tollgate_proto::v1::{ErrorReason, KeyRole, Model};

use crate::{Action, Authorized, Control, Principal, page};

impl Control {
    /// A page of the models that the caller may use, by name.
    pub async fn list_models(
        &self,
        principal: &Principal,
        size: i32,
        token: &str,
    ) -> Result<(Vec<Model>, String), Error> {
        let authorized = self.allowed(principal, Action::ReadModels)?;
        let size = page::size(size, 1_000)?;
        let after = page::cursor("models", token)?;
        let table = self.pipeline.table();
        let mut visible = table.groups.values().filter(|g| *g.name > *after && sees(&authorized, &g.name));
        let models: Vec<_> = visible.by_ref().take(size).map(|g| g.to_proto()).collect();
        let next = match (visible.next(), models.last()) {
            (Some(_), Some(last)) => page::token("models", &last.name),
            _ => String::new(),
        };
        Ok((models, next))
    }

    /// One model.
    pub async fn get_model(&self, principal: &Principal, name: &str) -> Result<Model, Error> {
        let authorized = self.allowed(principal, Action::ReadModels)?;
        let table = self.pipeline.table();
        let Some(group) = table.groups.get(name) else {
            let message =
                format!("there is no model {name:?}; `ListModels` or `GET /v1/models` lists those that exist");
            return Err(Error::new(ErrorReason::ModelNotFound, message).with("model", name));
        };
        if !sees(&authorized, name) {
            let message = format!("this key may not use the model {name:?}");
            return Err(Error::new(ErrorReason::ModelNotAllowed, message)
                .with("model", name)
                .with("keyId", authorized.caller().key_id()));
        }
        Ok(group.to_proto())
    }
}

fn sees(authorized: &Authorized, model: &str) -> bool {
    let caller = authorized.caller();
    caller.role() == KeyRole::PlatformAdmin || may_use(&caller.stored().key, model)
}
