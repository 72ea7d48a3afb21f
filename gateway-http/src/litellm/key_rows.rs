//! A key as LiteLLM shows it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tollgate_proto::v1::{BudgetScope, GetSpendRequest, Key, KeyState, RateLimits, ScopeKind};

use crate::litellm::{desk::Desk, failure::Failure, labels, purse::Standing, times};

/// Rates as LiteLLM shows them.
#[derive(Default, Serialize)]
pub(crate) struct RateRow {
    tpm_limit: Option<i64>,
    rpm_limit: Option<i64>,
    max_parallel_requests: Option<i64>,
}

impl RateRow {
    pub(crate) fn of(limits: Option<&RateLimits>) -> Self {
        limits.map_or_else(Self::default, |limits| Self {
            tpm_limit: limits.tokens_per_minute,
            rpm_limit: limits.requests_per_minute,
            max_parallel_requests: limits.concurrent_requests,
        })
    }
}

/// The row of a key. `token` is its id: the gateway keeps no hash that somebody else could compute.
#[derive(Serialize)]
pub(crate) struct KeyRow {
    pub(crate) token: String,
    token_id: String,
    key_name: String,
    key_alias: Option<String>,
    #[serde(flatten)]
    standing: Standing,
    expires: Option<String>,
    models: Vec<String>,
    user_id: Option<String>,
    team_id: Option<String>,
    organization_id: Option<String>,
    #[serde(flatten)]
    rates: RateRow,
    metadata: BTreeMap<String, Value>,
    tags: Vec<String>,
    aliases: BTreeMap<String, String>,
    config: BTreeMap<String, String>,
    permissions: BTreeMap<String, String>,
    blocked: bool,
    status: &'static str,
    created_at: Option<String>,
    updated_at: Option<String>,
}

/// The scope of a key's budgets.
pub(crate) fn scope(id: &str) -> BudgetScope {
    BudgetScope { kind: ScopeKind::Key as i32, id: id.to_owned(), ..BudgetScope::default() }
}

impl KeyRow {
    /// With its money as it stands this moment.
    pub(crate) async fn of(desk: &Desk, key: &Key) -> Result<Self, Failure> {
        let budgets = desk.budgets_on(&scope(&key.id)).await?;
        let (_, total) = desk.spend(GetSpendRequest { key_id: key.id.clone(), ..Default::default() }).await?;
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Self {
            token: key.id.clone(),
            token_id: key.id.clone(),
            key_name: format!("{}...", key.prefix),
            key_alias: given(&key.display_name),
            standing: Standing::of(&budgets, total.cost_nano_usd),
            expires: times::text(key.expire_time.as_ref()),
            models: models(&key.models),
            user_id: desk.user_named(&key.user_id).await,
            team_id: desk.team_named(&key.team_id).await,
            organization_id: desk.organization_named(&key.organization_id).await,
            rates: RateRow::of(key.limits.as_ref()),
            metadata: labels::read(&key.metadata),
            tags: key.tags.clone(),
            aliases: BTreeMap::new(),
            config: BTreeMap::new(),
            permissions: BTreeMap::new(),
            blocked: key.state() == KeyState::Blocked,
            status: match key.state() {
                KeyState::Expired => "expired",
                KeyState::Revoked => "deleted",
                KeyState::Blocked => "blocked",
                KeyState::Active | KeyState::Unspecified => "active",
            },
            created_at: times::text(key.create_time.as_ref()),
            updated_at: times::text(key.update_time.as_ref()),
        })
    }
}

/// A key's models in LiteLLM's words: an empty list for all, a name of its own for none.
fn models(models: &[String]) -> Vec<String> {
    match models {
        [] => vec!["no-default-models".to_owned()],
        [all] if all == "*" => Vec::new(),
        some => some.to_vec(),
    }
}

/// How a caller names a place that a key belongs to: by the id of its own where it chose one. Who may not see the place sees our id.
impl Desk {
    pub(crate) async fn team_named(&self, id: &str) -> Option<String> {
        if id.is_empty() || !self.sees_places().await {
            return (!id.is_empty()).then(|| id.to_owned());
        }
        let team = self.team(id).await;
        Some(team.map_or_else(|_| id.to_owned(), |team| labels::shown_id(&team.metadata, labels::TEAM_ID, id)))
    }

    pub(crate) async fn user_named(&self, id: &str) -> Option<String> {
        if id.is_empty() || !self.sees_places().await {
            return (!id.is_empty()).then(|| id.to_owned());
        }
        let user = self.user(id).await;
        Some(user.map_or_else(|_| id.to_owned(), |user| labels::shown_id(&user.metadata, labels::USER_ID, id)))
    }

    pub(crate) async fn organization_named(&self, id: &str) -> Option<String> {
        if id.is_empty() || !self.sees_places().await {
            return (!id.is_empty()).then(|| id.to_owned());
        }
        let organization = self.organization(id).await;
        Some(
            organization
                .map_or_else(|_| id.to_owned(), |it| labels::shown_id(&it.metadata, labels::ORGANIZATION_ID, id)),
        )
    }
}
