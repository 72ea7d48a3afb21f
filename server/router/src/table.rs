use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tollgate_domain::{Price, ServiceTier};
use tollgate_proto::v1;
use tollgate_providers::exchange::Endpoint;
use tollgate_providers::media::MediaKind;

use crate::{
    CooldownPolicy, Defaults, DeploymentState, Needs, RetryBudget, RetryPolicy, Routes, States, Strategy, Tags,
    pattern::Patterns,
};

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
    /// Which it is in line: those of a lower order come first, whatever the strategy.
    pub order: u32,
    /// What it may serve: see [`Tags`].
    pub tags: Vec<String>,
    /// Where it runs.
    pub region: Option<String>,
    /// List price; `None`: refused under hard budgets.
    pub price: Option<Price>,
    /// Most tokens of prompt and answer together.
    pub context_window: Option<u64>,
    /// Most tokens of an answer.
    pub max_output_tokens: Option<u64>,
    /// What the model can do.
    pub capabilities: Vec<String>,
    /// Parameters that its provider cannot heed are left out, unless a call says otherwise.
    pub drop_params: bool,
    /// What completions get where their caller says nothing.
    pub defaults: Option<Arc<Defaults>>,
    /// Limits that the gateway keeps towards it.
    pub limits: Option<v1::RateLimits>,
    /// When it is left alone.
    pub cooldown: CooldownPolicy,
    /// Of its name: what rendezvous hashing needs.
    pub name_hash: u64,
    /// How it does.
    pub state: OnceLock<Arc<DeploymentState>>,
}

/// The same in every process and version.
pub fn stable_hash(text: &str) -> u64 {
    // FNV-1a.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Deployment {
    /// Whose reasoning it takes back, as in `ReasoningPart.format`; empty: nobody's.
    pub fn reasoning_format(&self) -> &'static str {
        self.endpoint.provider.chat().map_or("", |chat| chat.reasoning_format(&self.endpoint.target.model))
    }

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
            order: self.order,
            weight: self.weight,
            tags: self.tags.clone(),
            region: self.region.clone().unwrap_or_default(),
        }
    }

    /// Whether blocks of its reasoning carry a signature.
    pub fn signs_reasoning(&self) -> bool {
        self.endpoint.provider.chat().is_some_and(|chat| chat.signs_reasoning())
    }

    /// How it does.
    pub fn state(&self) -> &Arc<DeploymentState> {
        self.state.get_or_init(Arc::default)
    }

    /// Until when its provider said that it has nothing left; `None`: it has, or what it says does not count there.
    pub(crate) fn spent_until(&self, now_us: u64) -> Option<u64> {
        if self.cooldown.time.is_zero() { None } else { self.state().spent_until(now_us) }
    }

    /// The larger of the shares of its limits that are used in this minute; without limits, how much it is used at all.
    pub(crate) fn used_share(&self, now_us: u64) -> f64 {
        let (requests, tokens) = self.state().used(now_us);
        let share = |used: u64, limit: Option<i64>| limit.filter(|l| *l > 0).map(|limit| used as f64 / limit as f64);
        let limits = self.limits.unwrap_or_default();
        let shares = [share(requests, limits.requests_per_minute), share(tokens, limits.tokens_per_minute)];
        // Less than any share of a limit, so that what is not limited comes first.
        shares.into_iter().flatten().reduce(f64::max).unwrap_or(tokens as f64 / 1e18 + requests as f64 / 1e15)
    }

    /// What a call costs there; where nobody knows, more than anywhere else.
    pub(crate) fn price_of(&self, needs: &Needs) -> f64 {
        // An answer of unknown length is taken to be as long as most are.
        let output = if needs.output_tokens == 0 { 512 } else { needs.output_tokens };
        let Some(price) = &self.price else { return f64::MAX };
        price.worst_case(needs.input_tokens, output, &[ServiceTier::Standard]).0 as f64
            + price.queries(needs.queries).0 as f64
            // How long it will take nobody knows: as long as it takes to its first content, where that is known.
            + price.time(self.state().latency_us().map_or(1_000_000, |us| us as u64)).0 as f64
            + price.characters(needs.characters).0 as f64
            + price.sound(needs.audio_ms).0 as f64
    }

    /// Whether it serves this kind of call.
    pub fn serves(&self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Chat => self.endpoint.provider.chat().is_some(),
            Wanted::Embedding => self.endpoint.provider.embed().is_some(),
            Wanted::Rerank => self.endpoint.provider.rerank().is_some(),
            Wanted::Moderation => self.endpoint.provider.moderate().is_some(),
            Wanted::Image => self.endpoint.provider.images().is_some(),
            Wanted::Media(kind) => self.endpoint.provider.media(kind).is_some(),
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
    /// A ranking.
    Rerank,
    /// A moderation.
    Moderation,
    /// Images.
    Image,
    /// Sound, and images that are streamed or edited.
    Media(MediaKind),
}

/// A model alias and what serves it.
#[derive(Clone)]
pub struct ModelGroup {
    /// The alias.
    pub name: String,
    /// Its deployments.
    pub deployments: Vec<Arc<Deployment>>,
    /// How it chooses among them.
    pub strategy: Strategy,
    /// Aliases to try in order when every deployment failed.
    pub fallbacks: Vec<String>,
    /// Those for prompts that are too long here; empty: larger windows of the group, then the others.
    pub context_window_fallbacks: Vec<String>,
    /// Those for calls that a content policy refused; empty: the refusal stands.
    pub content_policy_fallbacks: Vec<String>,
    /// How often to try again.
    pub retry: RetryPolicy,
    /// Limits of the alias, over all callers.
    pub limits: Option<v1::RateLimits>,
    /// The request's field by whose value callers stick to a deployment.
    pub sticky: Option<Sticky>,
    /// Where a share of its calls is made a second time.
    pub mirror: Option<Mirror>,
    /// What becomes of answers that break in the middle, unless the call says so itself.
    pub on_midstream_failure: v1::MidstreamPolicy,
    /// What retries are paid from.
    pub budget: OnceLock<Arc<RetryBudget>>,
}

/// Where a share of a group's calls is made a second time, apart from their callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The alias.
    pub model: String,
    /// How many of ten thousand.
    pub basis_points: u32,
}

/// By what callers stick to a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// The request's `user`.
    User,
    /// The virtual key.
    Key,
    /// The end customer.
    Customer,
    /// A key of the request's metadata.
    Metadata(String),
}

impl ModelGroup {
    /// What retries are paid from.
    pub fn budget(&self) -> &RetryBudget {
        self.budget.get_or_init(Arc::default)
    }

    /// The contract's form.
    pub fn to_proto(&self) -> v1::Model {
        v1::Model {
            name: self.name.clone(),
            deployments: self.deployments.iter().map(|d| d.to_proto()).collect(),
            fallbacks: self.fallbacks.clone(),
            strategy: self.strategy.name().into(),
            context_window_fallbacks: self.context_window_fallbacks.clone(),
            content_policy_fallbacks: self.content_policy_fallbacks.clone(),
        }
    }
}

/// The router's view of a configuration.
#[derive(Default)]
pub struct Table {
    /// Model groups by alias; those whose alias has a `*` are here to be seen, and called by the names of `patterns`.
    pub groups: BTreeMap<String, Arc<ModelGroup>>,
    /// Aliases with `*`.
    pub patterns: Patterns,
    /// Aliases to try in order where a group names none.
    pub default_fallbacks: Vec<String>,
    /// Which labels bind calls to deployments.
    pub tags: Arc<Tags>,
    /// Providers that are looked at while nobody calls them.
    pub checks: Vec<HealthCheck>,
    /// SHA-256 of the configuration, hex.
    pub config_hash: String,
}

/// A provider that is looked at while nobody calls it.
pub struct HealthCheck {
    /// Its name in the configuration.
    pub provider: String,
    /// How to reach it.
    pub endpoint: Endpoint,
    /// How often.
    pub interval: Duration,
    /// So many checks may fail in a row; more, and its deployments are left alone.
    pub allowed_fails: u32,
    /// Its deployments.
    pub deployments: Vec<Arc<Deployment>>,
}

impl Table {
    /// Joins deployments and groups with how those of the same name have done so far.
    pub fn attach(&self, states: &States) {
        for group in self.groups.values() {
            // Of a table that was attached before, both stay as they are.
            let _ = group.budget.set(states.budget(&group.name));
            for deployment in &group.deployments {
                let _ = deployment.state.set(states.of(&deployment.name));
            }
        }
    }

    /// Whether there is a group of this name.
    pub fn has(&self, name: &str) -> bool {
        !name.contains('*') && (self.groups.contains_key(name) || self.patterns.has(name))
    }

    /// The name of the configuration that a call for `name` goes by: itself, or the one with `*` that stands for it.
    pub fn known_as(&self, name: &str) -> Option<&str> {
        if name.contains('*') {
            return None;
        }
        self.groups.get_key_value(name).map(|(known, _)| known.as_str()).or_else(|| self.patterns.of(name))
    }

    /// The group that a call for `name` goes to.
    pub fn group(&self, name: &str) -> Option<Arc<ModelGroup>> {
        // A pattern is no name: its providers would be asked for a model `*`.
        if name.contains('*') {
            return None;
        }
        self.groups.get(name).cloned().or_else(|| self.patterns.group(name))
    }

    /// The routes of a call for `model` along groups that pass `may`: its own, then fallbacks, and theirs, each once; `instead` replaces
    /// the configured ones, of every kind.
    pub fn routes(&self, model: &str, instead: Option<&[String]>, may: impl Fn(&ModelGroup) -> bool) -> Routes {
        let Some(own) = self.group(model).filter(|g| may(g)) else { return Routes::default() };
        let general = |group: &Arc<ModelGroup>| match (instead, group.fallbacks.is_empty()) {
            (Some(_), _) => Vec::new(),
            (None, true) => self.default_fallbacks.clone(),
            (None, false) => group.fallbacks.clone(),
        };
        let chain = |first: &[String]| {
            let (mut seen, mut found) = (vec![own.name.clone()], Vec::new());
            let mut queue: std::collections::VecDeque<String> = first.to_vec().into();
            while let Some(name) = queue.pop_front() {
                let Some(group) = self.group(&name).filter(|g| !seen.contains(&g.name)) else { continue };
                seen.push(group.name.clone());
                // A right that is missing ends the way through it too.
                if may(&group) {
                    queue.extend(general(&group));
                    found.push(group);
                }
            }
            found
        };
        match instead {
            Some(instead) => Routes::new(own.clone(), chain(instead), Vec::new(), Vec::new()),
            None => Routes::new(
                own.clone(),
                chain(&general(&own)),
                chain(&own.context_window_fallbacks),
                chain(&own.content_policy_fallbacks),
            ),
        }
    }
}
