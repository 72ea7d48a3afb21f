use std::sync::Arc;

use tollgate_domain::Error;
use tollgate_proto::v1::{ErrorReason, Key, KeyRole};
use tollgate_router::{ModelGroup, Table};

use crate::{Call, Caller, Pipeline};

/// Proof that a caller may make this call, and where it may go.
pub(crate) struct Permit {
    pub(crate) caller: Caller,
    /// The model's group, then the fallbacks that the key may use.
    pub(crate) groups: Vec<Arc<ModelGroup>>,
    pub(crate) table: Arc<Table>,
}

/// Whether the rights of `key` include a model alias.
pub fn may_use(key: &Key, model: &str) -> bool {
    key.models.iter().any(|m| m == "*" || m == model)
}

impl Pipeline {
    /// Model rights. They bind on every path: a fallback that the key may not use is not tried.
    pub(crate) fn permit(&self, caller: Caller, call: &Call) -> Result<Permit, Error> {
        if caller.role() != KeyRole::Caller {
            let message = "an admin key makes no completions; make a key with the role CALLER for that";
            return Err(Error::new(ErrorReason::RoleNotAllowed, message)
                .with("action", call.action)
                .with("role", caller.role().as_str_name()));
        }
        let table = self.table();
        let model = call.model();
        if !table.groups.contains_key(model) {
            let message =
                format!("there is no model {model:?}; `ListModels` or `GET /v1/models` lists those that exist");
            return Err(Error::new(ErrorReason::ModelNotFound, message).with("model", model));
        }
        let key = &caller.stored().key;
        if !may_use(key, model) {
            let message = format!("this key may not use the model {model:?}");
            return Err(Error::new(ErrorReason::ModelNotAllowed, message).with("model", model).with("keyId", &key.id));
        }
        let groups = table.groups_for(model).filter(|g| may_use(key, &g.name)).cloned().collect();
        Ok(Permit { caller, groups, table })
    }
}
