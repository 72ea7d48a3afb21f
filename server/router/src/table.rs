use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tollgate_domain::Price;
use tollgate_proto::v1;
use tollgate_providers::exchange::Endpoint;

/// One model at one provider with one credential.
pub struct Deployment {
    /// Unique name.
    pub name: String,
    /// The provider's name in the configuration.
    pub provider: String,
    /// How to reach it.
    pub endpoint: Endpoint,
    /// Its share in the group; 0: only when nothing else is left.
    pub weight: u32,
    /// List price; `None`: refused under hard budgets.
    pub price: Option<Price>,
    /// Most tokens of prompt and answer together.
    pub context_window: Option<u64>,
    /// Most tokens of an answer.
    pub max_output_tokens: Option<u64>,
    /// What the model can do.
    pub capabilities: Vec<String>,
    /// Limits that the gateway keeps towards it.
    pub limits: Option<v1::RateLimits>,
}

impl Deployment {
    /// The contract's form.
    pub fn to_proto(&self) -> v1::Deployment {
        let limit = |n: Option<u64>| n.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        v1::Deployment {
            name: self.name.clone(),
            provider: self.provider.clone(),
            provider_model: self.endpoint.target.model.clone(),
            context_window: limit(self.context_window),
            max_output_tokens: limit(self.max_output_tokens),
            price: self.price.as_ref().map(Price::to_proto),
            capabilities: self.capabilities.clone(),
            queue: None,
        }
    }

    /// Whether it serves this kind of call.
    pub fn serves(&self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Chat => self.endpoint.provider.chat().is_some(),
            Wanted::Embedding => self.endpoint.provider.embed().is_some(),
        }
    }
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A completion.
    Chat,
    /// Embeddings.
    Embedding,
}

/// How often and how patiently to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Further attempts in the group after each of its deployments was tried once.
    pub retries: u32,
    /// First pause; doubles, with full jitter.
    pub base: Duration,
    /// Longest pause; a provider that asks for more is not waited for.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { retries: 2, base: Duration::from_millis(250), cap: Duration::from_secs(10) }
    }
}

/// A model alias and what serves it.
pub struct ModelGroup {
    /// The alias.
    pub name: String,
    /// Its deployments.
    pub deployments: Vec<Arc<Deployment>>,
    /// Aliases to try in order when every deployment failed.
    pub fallbacks: Vec<String>,
    /// How often to try again.
    pub retry: RetryPolicy,
    /// Limits of the alias, over all callers.
    pub limits: Option<v1::RateLimits>,
}

impl ModelGroup {
    /// The contract's form.
    pub fn to_proto(&self) -> v1::Model {
        v1::Model {
            name: self.name.clone(),
            deployments: self.deployments.iter().map(|d| d.to_proto()).collect(),
            fallbacks: self.fallbacks.clone(),
        }
    }
}

/// The router's view of a configuration.
#[derive(Default)]
pub struct Table {
    /// Model groups by alias.
    pub groups: BTreeMap<String, Arc<ModelGroup>>,
    /// SHA-256 of the configuration, hex.
    pub config_hash: String,
}

impl Table {
    /// The groups that may serve a call for `model`, in the order of trial: its own, then its fallbacks, each once. A fallback's own
    /// fallbacks are not followed, so that no cycle exists.
    pub fn groups_for<'a>(&'a self, model: &str) -> impl Iterator<Item = &'a Arc<ModelGroup>> {
        let own = self.groups.get(model);
        let fallbacks = own.into_iter().flat_map(|g| &g.fallbacks).filter(move |f| own.is_some_and(|g| g.name != **f));
        let mut seen = Vec::new();
        let fallbacks = fallbacks.filter_map(|f| self.groups.get(f)).filter(move |group| {
            let first = !seen.contains(&group.name.as_str());
            seen.push(group.name.as_str());
            first
        });
        own.into_iter().chain(fallbacks)
    }
}
