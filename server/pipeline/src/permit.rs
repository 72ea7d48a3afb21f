use std::sync::Arc;

use tollgate_domain::Error;
use tollgate_ledger::Payer;
use tollgate_proto::v1::{ErrorReason, GatewayOptions, KeyRole};
use tollgate_redact::{clean, has_secret, redact};
use tollgate_router::{Routes, Table};

use crate::{Call, Caller, Pipeline, mirror::MIRROR};

/// Proof that a caller may make this call, where it may go and who pays.
pub(crate) struct Permit {
    pub(crate) caller: Caller,
    pub(crate) account: Payers,
    /// The model's group, then the fallbacks that the key may use.
    pub(crate) routes: Routes,
    pub(crate) table: Arc<Table>,
}

/// Who pays besides the key.
pub(crate) struct Payers {
    pub(crate) customer: String,
    /// Of the call and of the key.
    pub(crate) tags: Vec<String>,
}

impl Permit {
    /// Who pays, as the ledger asks.
    pub(crate) fn payer<'a>(&'a self, model: &'a str) -> Payer<'a> {
        let key = self.caller.key();
        Payer {
            key_id: &key.id,
            team_id: &key.team_id,
            user_id: &key.user_id,
            organization_id: &key.organization_id,
            customer: &self.account.customer,
            // Copies of calls are bound by their tags and spend nothing of the budgets on them.
            tags: if self.caller.key_id() == MIRROR { &[] } else { &self.account.tags },
            model,
        }
    }
}

impl Pipeline {
    /// Model rights. They bind on every path: a fallback that the key may not use is not tried.
    pub(crate) fn permit(&self, caller: Caller, call: &Call) -> Result<Permit, Error> {
        self.may_call_models(&caller, call.action)?;
        self.route(caller, call)
    }

    /// Whether the role makes completions.
    pub(crate) fn may_call_models(&self, caller: &Caller, action: &str) -> Result<(), Error> {
        let role = caller.role();
        let allowed = role == KeyRole::Caller || (role == KeyRole::PlatformAdmin && self.settings.admin_completions);
        if allowed {
            return Ok(());
        }
        let message = "an admin key makes no completions; make a key with the role CALLER for that";
        Err(Error::new(ErrorReason::RoleNotAllowed, message).with("action", action).with("role", role.as_str_name()))
    }

    /// Where a call may go, whoever asks.
    pub(crate) fn route(&self, caller: Caller, call: &Call) -> Result<Permit, Error> {
        let role = caller.role();
        let table = self.table();
        let model = call.model();
        // A model that is named like a secret is a secret in the wrong place, whatever patterns would take it.
        if !table.has(model) || has_secret(model) {
            let message =
                format!("there is no model {model:?}; `ListModels` or `GET /v1/models` lists those that exist");
            return Err(Error::new(ErrorReason::ModelNotFound, message).with("model", model));
        }
        let key = caller.key();
        let governs = matches!(role, KeyRole::PlatformAdmin | KeyRole::Finance | KeyRole::Auditor);
        let may_use = |model: &str| governs || self.directory.may_use(key, model);
        if !may_use(model) {
            let message = format!("this key may not use the model {model:?}");
            return Err(Error::new(ErrorReason::ModelNotAllowed, message).with("model", model).with("keyId", &key.id));
        }
        let options = call.options();
        let instead = instead_of_fallbacks(&table, options)?;
        let routes = table.routes(model, instead, |group| may_use(&group.name));
        let mut tags = key.tags.clone();
        // What looks like a secret is hidden before it is booked, limited by or recorded.
        tags.extend(options.into_iter().flat_map(|o| &o.tags).map(|tag| redact(tag).into_owned()));
        tags.sort_unstable();
        tags.dedup();
        let customer = options.and_then(|o| o.customer.clone()).or_else(|| call.user().map(str::to_owned));
        let mut customer = customer.unwrap_or_default();
        clean(&mut customer);
        let account = Payers { customer, tags };
        Ok(Permit { caller, account, routes, table })
    }
}

/// What the call names in place of the configured fallbacks.
fn instead_of_fallbacks<'a>(table: &Table, options: Option<&'a GatewayOptions>) -> Result<Option<&'a [String]>, Error> {
    let Some(options) = options else { return Ok(None) };
    if let Some(at) = options.fallbacks.iter().position(|name| !table.has(name) || has_secret(name)) {
        let message = format!("there is no model {:?}", options.fallbacks[at]);
        return Err(Error::invalid_field(format!("tollgate.fallbacks[{at}]"), message));
    }
    Ok(match options {
        options if options.no_fallbacks => Some(&[]),
        options if !options.fallbacks.is_empty() => Some(&options.fallbacks),
        _ => None,
    })
}
