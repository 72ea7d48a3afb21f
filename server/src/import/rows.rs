//! Rows of LiteLLM's tables, as JSON: a column that a version does not have is absent, and one that is not named here is not read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::amount::Amount;

/// A row of one of its tables.
pub(super) struct Row<T> {
    /// The columns that only this table has.
    pub(super) it: T,
    /// Those of money and limits, which many have.
    pub(super) terms: Terms,
    /// All of them, to tell which are left out.
    pub(super) all: Value,
}

impl<T: for<'de> Deserialize<'de>> Row<T> {
    /// Reads a row; the reason holds no value, which could be a secret.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let wrong = |_| "cannot be read: a column has another type than in the versions that are known".to_owned();
        Ok(Self {
            it: serde_json::from_str(text).map_err(wrong)?,
            terms: serde_json::from_str(text).map_err(wrong)?,
            all: serde_json::from_str(text).map_err(wrong)?,
        })
    }
}

/// What may be spent and asked for.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Terms {
    pub(super) max_budget: Option<Amount>,
    pub(super) soft_budget: Option<Amount>,
    pub(super) budget_duration: Option<String>,
    pub(super) budget_reset_at: Option<String>,
    budget_limits: Option<Box<RawValue>>,
    model_max_budget: Option<Box<RawValue>>,
    pub(super) rpm_limit: Option<i64>,
    pub(super) tpm_limit: Option<i64>,
    pub(super) max_parallel_requests: Option<i64>,
    spend: Option<Amount>,
    model_spend: Option<Box<RawValue>>,
}

/// One of several budgets in a column of JSON.
#[derive(Deserialize)]
pub(super) struct Part {
    #[serde(alias = "budget_limit")]
    pub(super) max_budget: Option<Amount>,
    #[serde(alias = "time_period")]
    pub(super) budget_duration: Option<String>,
    #[serde(alias = "reset_at")]
    pub(super) budget_reset_at: Option<String>,
}

/// A column of JSON; some versions keep it as text within JSON.
fn json<T: for<'de> Deserialize<'de>>(raw: Option<&RawValue>) -> serde_json::Result<Option<T>> {
    let Some(text) = raw.map(RawValue::get) else { return Ok(None) };
    let inner: Option<String> = serde_json::from_str(text).ok();
    serde_json::from_str(inner.as_deref().unwrap_or(text))
}

impl Terms {
    /// What was spent in the current window.
    pub(super) fn spent(&self) -> i64 {
        self.spend.map_or(0, Amount::spent)
    }

    /// The same of one model; `None`: it is not told.
    pub(super) fn spent_of(&self, model: &str) -> Option<i64> {
        let by_model: BTreeMap<String, Amount> = json(self.model_spend.as_deref()).ok()??;
        by_model.get(model).map(|amount| amount.spent())
    }

    /// Budgets beside `max_budget`, each with a window of its own.
    pub(super) fn parts(&self) -> serde_json::Result<Vec<Part>> {
        Ok(json(self.budget_limits.as_deref())?.unwrap_or_default())
    }

    /// Budgets of single models: an amount, or an amount and a window.
    pub(super) fn of_models(&self) -> serde_json::Result<Vec<(String, Part)>> {
        let all: BTreeMap<String, Box<RawValue>> = json(self.model_max_budget.as_deref())?.unwrap_or_default();
        let part = |raw: &RawValue| match serde_json::from_str::<Amount>(raw.get()) {
            Ok(amount) => Ok(Part { max_budget: Some(amount), budget_duration: None, budget_reset_at: None }),
            Err(_) => serde_json::from_str(raw.get()),
        };
        all.into_iter().map(|(model, raw)| Ok((model, part(&raw)?))).collect()
    }
}

/// A row of `LiteLLM_BudgetTable`.
#[derive(Deserialize)]
pub(super) struct BudgetRow {
    pub(super) budget_id: String,
}

/// A row of `LiteLLM_OrganizationTable`.
#[derive(Deserialize)]
pub(super) struct OrganizationRow {
    pub(super) organization_id: String,
    pub(super) organization_alias: Option<String>,
    pub(super) budget_id: Option<String>,
    pub(super) models: Option<Vec<String>>,
    pub(super) metadata: Option<Value>,
}

/// A row of `LiteLLM_TeamTable`.
#[derive(Deserialize)]
pub(super) struct TeamRow {
    pub(super) team_id: String,
    pub(super) team_alias: Option<String>,
    pub(super) organization_id: Option<String>,
    pub(super) models: Option<Vec<String>>,
    pub(super) blocked: Option<bool>,
    pub(super) metadata: Option<Value>,
    /// Its row of model aliases.
    pub(super) model_id: Option<i64>,
    members: Option<Vec<String>>,
    admins: Option<Vec<String>>,
    members_with_roles: Option<Value>,
}

impl TeamRow {
    /// Ids of its members, each once, and whether they are its admins.
    pub(super) fn members(&self) -> BTreeMap<String, bool> {
        let mut all = BTreeMap::new();
        for (ids, admin) in [(&self.members, false), (&self.admins, true)] {
            all.extend(ids.iter().flatten().map(|id| (id.clone(), admin)));
        }
        for member in self.members_with_roles.iter().filter_map(Value::as_array).flatten() {
            if let Some(id) = member["user_id"].as_str() {
                all.insert(id.to_owned(), member["role"] == "admin");
            }
        }
        all
    }
}

/// A row of `LiteLLM_ModelTable`: what models are called in one team.
#[derive(Deserialize)]
pub(super) struct AliasesRow {
    pub(super) id: i64,
    aliases: Option<Box<RawValue>>,
}

impl AliasesRow {
    /// The model that each name means.
    pub(super) fn aliases(&self) -> serde_json::Result<BTreeMap<String, String>> {
        Ok(json(self.aliases.as_deref())?.unwrap_or_default())
    }
}

/// A row of `LiteLLM_ProjectTable`.
#[derive(Deserialize)]
pub(super) struct ProjectRow {
    pub(super) project_id: String,
    pub(super) project_alias: Option<String>,
    pub(super) budget_id: Option<String>,
    pub(super) models: Option<Vec<String>>,
    pub(super) blocked: Option<bool>,
}

/// A row of `LiteLLM_UserTable`.
#[derive(Deserialize)]
pub(super) struct UserRow {
    pub(super) user_id: String,
    pub(super) user_alias: Option<String>,
    pub(super) user_email: Option<String>,
    pub(super) user_role: Option<String>,
    pub(super) organization_id: Option<String>,
    pub(super) models: Option<Vec<String>>,
    pub(super) metadata: Option<Value>,
}

/// A row of `LiteLLM_TeamMembership`.
#[derive(Deserialize)]
pub(super) struct MembershipRow {
    pub(super) user_id: String,
    pub(super) team_id: String,
    pub(super) budget_id: Option<String>,
}

/// A row of `LiteLLM_OrganizationMembership`.
#[derive(Deserialize)]
pub(super) struct OrganizationMembershipRow {
    pub(super) user_id: String,
    pub(super) organization_id: String,
}

/// A row of `LiteLLM_EndUserTable`.
#[derive(Deserialize)]
pub(super) struct CustomerRow {
    pub(super) user_id: String,
    pub(super) budget_id: Option<String>,
    pub(super) blocked: Option<bool>,
}

/// A row of `LiteLLM_TagTable`.
#[derive(Deserialize)]
pub(super) struct TagRow {
    pub(super) tag_name: String,
    pub(super) budget_id: Option<String>,
}

/// A row of `LiteLLM_DeprecatedVerificationToken`: what a key was known by before it was regenerated.
#[derive(Deserialize)]
pub(super) struct OldSecretRow {
    pub(super) token: String,
    /// The key that it opens: what that is known by now.
    pub(super) active_token_id: String,
    pub(super) revoke_at: String,
}

/// A row of `LiteLLM_VerificationToken`.
#[derive(Deserialize)]
pub(super) struct KeyRow {
    pub(super) token: String,
    pub(super) key_name: Option<String>,
    pub(super) key_alias: Option<String>,
    pub(super) expires: Option<String>,
    pub(super) models: Option<Vec<String>>,
    pub(super) user_id: Option<String>,
    pub(super) team_id: Option<String>,
    pub(super) organization_id: Option<String>,
    pub(super) project_id: Option<String>,
    pub(super) budget_id: Option<String>,
    pub(super) blocked: Option<bool>,
    pub(super) allowed_routes: Option<Vec<String>>,
    pub(super) metadata: Option<Value>,
}
