use tollgate_domain::Error;
use tollgate_pipeline::Caller;
use tollgate_proto::v1::{ErrorReason, KeyRole, Model};

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
        let models: Vec<_> = visible.by_ref().take(size).map(|g| g.to_proto()).collect();
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
        Ok(group.to_proto())
    }

    fn sees(&self, caller: &Caller, model: &str) -> bool {
        let governs = matches!(caller.role(), KeyRole::PlatformAdmin | KeyRole::Finance | KeyRole::Auditor);
        governs || self.directory().may_use(caller.key(), model)
    }
}
