//! What batches ask of the stages of a call: who may make one, where it goes, and the most that each of its lines can cost.

use std::sync::Arc;

use tollgate_domain::{Error, NanoUsd, Secret, ServiceTier};
use tollgate_proto::v1::{ErrorReason, KeyRole};
use tollgate_router::Deployment;

use crate::{Caller, Pipeline, bound, call::Request};

/// What a line can cost.
#[derive(Clone, Copy, Debug)]
pub struct LineBound {
    /// At most this much.
    pub cost: NanoUsd,
    /// As long as this output limit is set in it.
    pub cap: Option<u64>,
}

impl Pipeline {
    /// Who holds this credential, if that may call models.
    pub fn model_caller(&self, credential: Option<&Secret>, action: &str) -> Result<Caller, Error> {
        let caller = self.authenticate(credential)?;
        self.may_call_models(&caller, action)?;
        Ok(caller)
    }

    /// Where files go that have to do with `model`: the first of its deployments that keeps files and is open to calls of these labels.
    pub fn file_home(&self, caller: &Caller, model: &str, tags: &[String]) -> Result<Arc<Deployment>, Error> {
        let table = self.table();
        let group = table.group(model).ok_or_else(|| {
            let message =
                format!("there is no model {model:?}; `ListModels` or `GET /v1/models` lists those that exist");
            Error::new(ErrorReason::ModelNotFound, message).with("model", model)
        })?;
        self.may_use_in_batch(caller, model)?;
        let keeps: Vec<_> = group.deployments.iter().filter(|d| d.endpoint.provider.files().is_some()).collect();
        if keeps.is_empty() {
            let message =
                format!("no deployment of the model {model:?} keeps files; name a model of a provider that does");
            return Err(Error::new(ErrorReason::UnsupportedField, message).with("field", "model"));
        }
        let open = keeps.iter().filter(|d| table.tags.refuse(tags, &d.tags).is_none());
        open.min_by_key(|d| d.order).map(|d| Arc::clone(d)).ok_or_else(|| {
            let message =
                format!("no deployment of the model {model:?} that keeps files has the labels of the call and its key");
            Error::new(ErrorReason::NoRoute, message).with("model", model)
        })
    }

    /// The first model whose files have a home, where a file has to do with none.
    pub fn any_file_home(&self, caller: &Caller, tags: &[String]) -> Result<(String, Arc<Deployment>), Error> {
        let names: Vec<String> = self.table().groups.keys().filter(|name| !name.contains('*')).cloned().collect();
        let found = names.into_iter().find_map(|name| Some((name.clone(), self.file_home(caller, &name, tags).ok()?)));
        found.ok_or_else(|| {
            let message = "no model that this key may use is at a provider that keeps files; name one in `model`";
            Error::new(ErrorReason::UnsupportedField, message).with("field", "model")
        })
    }

    /// Whether the key may have lines of a batch answered by `model`.
    pub fn may_use_in_batch(&self, caller: &Caller, model: &str) -> Result<(), Error> {
        if caller.role() == KeyRole::PlatformAdmin || self.directory().may_use(caller.key(), model) {
            return Ok(());
        }
        let message = format!("this key may not use the model {model:?}");
        Err(Error::new(ErrorReason::ModelNotAllowed, message).with("model", model).with("keyId", caller.key_id()))
    }

    /// A deployment by its name, in the group of `model` or wherever it stands now.
    pub fn deployment(&self, model: &str, name: &str) -> Option<Arc<Deployment>> {
        let table = self.table();
        let own = table.group(model);
        let all = own.iter().chain(table.groups.values()).flat_map(|group| &group.deployments);
        let mut named = all.filter(|deployment| deployment.name == name);
        named.next().cloned()
    }

    /// The most that a line can cost at the price of batches. `capped`: a hard budget applies, so that a line which names no output limit
    /// must get one.
    pub fn line_bound(&self, caller: &Caller, deployment: &Deployment, request: &Request, capped: bool) -> LineBound {
        let most = bound::most(request);
        let key_cap = caller.key().default_output_cap.and_then(|cap| u64::try_from(cap).ok());
        let default = key_cap.unwrap_or(self.settings.default_output_cap);
        let (output, cap) = match (most.output, capped) {
            (Some(asked), _) => (asked, None),
            (None, true) => {
                let cap = deployment.max_output_tokens.map_or(default, |max| max.min(default));
                (cap, Some(cap))
            }
            (None, false) => (deployment.max_output_tokens.unwrap_or(default), None),
        };
        let output = output.saturating_mul(most.choices.max(1));
        let cost = deployment
            .price
            .as_ref()
            .map_or(NanoUsd(0), |price| price.worst_case(most.input, output, &[ServiceTier::Batch]));
        LineBound { cost, cap }
    }

    /// How long a call may wait for money that others only hold.
    pub fn hold_wait_of_batches(&self) -> std::time::Duration {
        self.settings.hold_wait
    }
}
