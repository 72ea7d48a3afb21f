//! From the configuration to the router's table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};
use tollgate_proto::v1::MidstreamPolicy;
use tollgate_providers::{
    catalogue::{Catalogue, Entry},
    exchange::Endpoint,
    registry,
    transport::{InProcess, Transport},
};
use tollgate_router::{
    CooldownPolicy, Deployment, HealthCheck, Mirror, ModelGroup, RetryPolicy, Sticky, Strategy, Table, Tags,
    pattern::{Make, Patterns, filled},
    stable_hash,
};

use crate::{
    config::{self, Config},
    endpoint, price, scenario,
};

/// The table, and what the operator should know about it at a time of day, in microseconds since the epoch.
pub fn build(config: &Config, now_us: i64) -> anyhow::Result<(Table, Vec<String>)> {
    let (table, mut warnings) = build_with(config, None)?;
    warnings.extend(price::retirements(config, now_us));
    Ok((table, warnings))
}

/// Names of all deployments, in the order of the configuration.
pub(crate) fn deployment_names(config: &Config) -> Vec<String> {
    config.models.iter().flat_map(|model| model.deployments.iter().map(|d| name_of(d, &model.name))).collect()
}

pub(crate) fn name_of(deployment: &config::Deployment, alias: &str) -> String {
    let default = || format!("{alias}:{}/{}", deployment.provider, deployment.model);
    deployment.name.clone().unwrap_or_else(default)
}

/// The same with simulated providers: nothing leaves the process, and no credential is read.
pub(crate) fn build_with(
    config: &Config,
    simulated: Option<Arc<dyn InProcess>>,
) -> anyhow::Result<(Table, Vec<String>)> {
    let transport = simulated.map(|providers| Transport::new().with_in_process(scenario::SCHEME, providers));
    let mut warnings = Vec::new();
    let mut endpoints = BTreeMap::new();
    if let Some(budget) = &config.budgets.gateway {
        budget.read().context("budgets.gateway")?;
    }
    for (name, provider) in &config.providers {
        if let Some(budget) = &provider.budget {
            budget.read().with_context(|| format!("providers.{name}.budget"))?;
        }
        let built = endpoint::build(provider, transport.as_ref(), config.missing_secrets);
        let (endpoint, missing) = built.with_context(|| format!("providers.{name}"))?;
        warnings
            .extend(missing.map(|missing| format!("providers.{name}: {missing}; its calls fail until it is there")));
        let url = "https://images.example.com/a.png";
        let fetches = |model: &str| endpoint.provider.chat().is_none_or(|chat| chat.fetches(model, url));
        let mut deployments = config.models.iter().flat_map(|model| &model.deployments).filter(|d| d.provider == *name);
        if provider.fetch_urls.is_some() && deployments.all(|d| fetches(&d.model)) {
            warnings.push(format!(
                "providers.{name}.fetch_urls: is not used, for a provider of the kind {:?} fetches URLs itself",
                provider.kind
            ));
        }
        endpoints.insert(name.clone(), (provider.kind.clone(), endpoint));
    }
    let common = Arc::new(Common {
        endpoints,
        cooldown: config.routing.cooldown.clone(),
        drop_params: config.drop_params,
        optional_tag: config.routing.default_tag.clone().filter(|_| config.routing.default_tag_optional),
        simulated: transport.is_some(),
    });
    let mut groups = BTreeMap::new();
    let mut patterns = Vec::new();
    let mut names = BTreeSet::new();
    for (i, model) in config.models.iter().enumerate() {
        let at = format!("models[{i}] ({:?})", model.name);
        let group = Arc::new(common.group(model).with_context(|| at.clone())?);
        for (j, deployment) in group.deployments.iter().enumerate() {
            let name = &deployment.name;
            if !names.insert(name.clone()) {
                bail!("{at}.deployments[{j}].name: {name:?} is used twice; give one of the two a name of its own");
            }
            // What a pattern stands for has its prices by its own name.
            if deployment.price.is_none() && !model.name.contains('*') {
                warnings.push(format!(
                    "{at}.deployments[{j}]: {name:?} has no price; calls are counted at no cost and refused under \
                     hard budgets"
                ));
            }
        }
        for alias in &model.aliases {
            if alias.contains('*') {
                bail!("{at}.aliases: {alias:?} must not have a `*`; the name may");
            }
            // A name of its own before the very same deployments.
            let named = Arc::new(ModelGroup { name: alias.clone(), ..(*group).clone() });
            if groups.insert(alias.clone(), named).is_some() {
                bail!("{at}.aliases: the model {alias:?} is configured twice");
            }
        }
        if groups.insert(model.name.clone(), group).is_some() {
            bail!("{at}.name: the model {:?} is configured twice", model.name);
        }
        if model.name.contains('*') {
            patterns.push((model.name.clone(), pattern(model.clone(), common.clone())));
        }
    }
    let table = Table {
        groups,
        patterns: Patterns::new(patterns),
        default_fallbacks: config.routing.default_fallbacks.clone(),
        tags: Arc::new(tags(config)?),
        checks: Vec::new(),
        config_hash: hash(config),
    };
    for model in &config.models {
        let lists = [&model.fallbacks, &model.context_window_fallbacks, &model.content_policy_fallbacks];
        if let Some(missing) = model.mirror.iter().map(|m| &m.model).find(|m| !table.has(m)) {
            bail!("the model {:?} is mirrored to {missing:?}, which is not configured", model.name);
        }
        if let Some(missing) = lists.into_iter().flatten().find(|f| !table.has(f)) {
            bail!("the model {:?} falls back to {missing:?}, which is not configured", model.name);
        }
    }
    if let Some(missing) = table.default_fallbacks.iter().find(|f| !table.has(f)) {
        bail!("routing.default_fallbacks: {missing:?} is not configured");
    }
    let checks = checks(config, &table.groups);
    Ok((Table { checks, ..table }, warnings))
}

/// What groups are made of besides their own settings.
struct Common {
    /// By the provider's name, with its kind.
    endpoints: BTreeMap<String, (String, Endpoint)>,
    cooldown: config::Cooldown,
    drop_params: bool,
    /// What calls without labels are kept to, where a model has such deployments.
    optional_tag: Option<String>,
    simulated: bool,
}

impl Common {
    fn group(&self, model: &config::Model) -> anyhow::Result<ModelGroup> {
        if model.deployments.is_empty() {
            bail!("deployments: needs at least one");
        }
        // A model that knows no default serves calls without labels by all of its deployments.
        let knows = |tag: &&String| model.deployments.iter().any(|deployment| deployment.tags.contains(tag));
        let unknown = self.optional_tag.as_ref().filter(|tag| !knows(tag));
        let mut deployments = Vec::new();
        for (j, deployment) in model.deployments.iter().enumerate() {
            let Some((kind, endpoint)) = self.endpoints.get(&deployment.provider) else {
                let known: Vec<_> = self.endpoints.keys().collect();
                bail!(
                    "deployments[{j}].provider: there is no provider {:?}; configured are {known:?}",
                    deployment.provider
                );
            };
            let cooldown = model.cooldown.as_ref().unwrap_or(&self.cooldown);
            let built = build_deployment(deployment, kind, endpoint, &model.name, cooldown, self.drop_params);
            let mut built = built.with_context(|| format!("deployments[{j}]"))?;
            built.tags.extend(unknown.cloned());
            if self.simulated {
                built.endpoint.target.base_url = scenario::base_url(&built.name);
            }
            deployments.push(Arc::new(built));
        }
        let retry = RetryPolicy {
            retries: model.retries,
            by_class: model.retries_by_class.iter().map(|(class, n)| ((*class).into(), *n)).collect(),
            budget_percent: model.retry_budget.percent,
            budget_per_second: model.retry_budget.per_second,
            ..RetryPolicy::default()
        };
        Ok(ModelGroup {
            name: model.name.clone(),
            deployments,
            strategy: strategy(model.strategy),
            fallbacks: model.fallbacks.clone(),
            context_window_fallbacks: model.context_window_fallbacks.clone(),
            content_policy_fallbacks: model.content_policy_fallbacks.clone(),
            retry,
            limits: model.limits.as_ref().map(config::RateLimits::to_proto).transpose().context("limits")?,
            sticky: model.sticky.clone().map(sticky),
            mirror: model.mirror.as_ref().map(|m| mirror(m, &model.name)).transpose().context("mirror")?,
            on_midstream_failure: midstream(model.on_midstream_failure),
            budget: Default::default(),
        })
    }
}

/// Makes the group of a name that a pattern matches: the same deployments, for the model that is called.
fn pattern(model: config::Model, common: Arc<Common>) -> Make {
    Box::new(move |name, captured| {
        let mut one = model.clone();
        one.name = name.to_owned();
        for deployment in &mut one.deployments {
            // Limits are those of the deployment, whatever models are called there.
            deployment.name = Some(name_of(deployment, &model.name));
            deployment.model = filled(&deployment.model, captured);
        }
        common.group(&one).inspect_err(|error| tracing::error!("the model {name:?} cannot be called: {error:#}")).ok()
    })
}

/// Who is looked at while nobody calls. A provider without deployments need not be.
fn checks(config: &Config, groups: &BTreeMap<String, Arc<ModelGroup>>) -> Vec<HealthCheck> {
    let check = |(name, provider): (&String, &config::Provider)| {
        let wanted = provider.health_check.as_ref()?;
        let of_provider = groups.values().flat_map(|g| &g.deployments).filter(|d| d.provider == *name);
        let deployments: Vec<_> = of_provider.cloned().collect();
        Some(HealthCheck {
            provider: name.clone(),
            endpoint: deployments.first()?.endpoint.clone(),
            interval: wanted.interval.duration(),
            allowed_fails: wanted.allowed_fails,
            deployments,
        })
    };
    config.providers.iter().filter_map(check).collect()
}

/// Labels that bind: those that the configuration names, and those of any deployment; none, where it says so.
fn tags(config: &Config) -> anyhow::Result<Tags> {
    let default = config.routing.default_tag.clone();
    let of_deployments = || config.models.iter().flat_map(|m| &m.deployments).flat_map(|d| &d.tags);
    let needed = default.as_ref().filter(|_| !config.routing.default_tag_optional);
    if let Some(tag) = needed.filter(|tag| !of_deployments().any(|t| t == *tag)) {
        bail!("routing.default_tag: no deployment is tagged {tag:?}, so that calls without a label would go nowhere");
    }
    let is_on = config.routing.tags_match != config::TagsMatch::None;
    let named = of_deployments().chain(&config.routing.tags).filter(|_| is_on);
    let binding: BTreeSet<_> = named.filter(|t| Some(*t) != default.as_ref()).collect();
    let any = config.routing.tags_match == config::TagsMatch::Any;
    Ok(Tags { binding: binding.into_iter().cloned().collect(), default, any })
}

pub(crate) fn midstream(policy: config::OnMidstreamFailure) -> MidstreamPolicy {
    match policy {
        config::OnMidstreamFailure::Fail => MidstreamPolicy::Fail,
        config::OnMidstreamFailure::Continue => MidstreamPolicy::Continue,
        config::OnMidstreamFailure::Restart => MidstreamPolicy::Restart,
    }
}

fn strategy(strategy: config::Strategy) -> Strategy {
    match strategy {
        config::Strategy::Shuffle => Strategy::Shuffle,
        config::Strategy::LeastBusy => Strategy::LeastBusy,
        config::Strategy::Latency => Strategy::Latency,
        config::Strategy::Usage => Strategy::Usage,
        config::Strategy::Cost => Strategy::Cost,
    }
}

fn mirror(mirror: &config::Mirror, of: &str) -> anyhow::Result<Mirror> {
    if mirror.model == of {
        bail!("model: {of:?} cannot mirror itself");
    }
    if !(0.0..=100.0).contains(&mirror.percent) {
        bail!("percent: must be from 0 to 100");
    }
    Ok(Mirror { model: mirror.model.clone(), basis_points: (mirror.percent * 100.0).round() as u32 })
}

fn sticky(sticky: config::Sticky) -> Sticky {
    match sticky {
        config::Sticky::User => Sticky::User,
        config::Sticky::Key => Sticky::Key,
        config::Sticky::Customer => Sticky::Customer,
        config::Sticky::Metadata(name) => Sticky::Metadata(name),
    }
}

/// SHA-256 over what decides routing; secrets are hidden in it.
fn hash(config: &Config) -> String {
    let text = format!("{:?} {:?} {:?} {:?}", config.providers, config.models, config.routing, config.budgets);
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

/// What the catalogue says of a deployment's model.
pub(crate) fn listed(deployment: &config::Deployment, kind: &str) -> anyhow::Result<Option<&'static Entry>> {
    let Some(base) = &deployment.base_model else { return Ok(Catalogue::embedded().find(kind, &deployment.model)) };
    let found = base.split_once('/').and_then(|(provider, model)| Catalogue::embedded().find(provider, model));
    let found = found.with_context(|| {
        format!("base_model: {base:?} is not listed; `tollgate models` lists PROVIDER/MODEL of all that are")
    })?;
    Ok(Some(found))
}

fn build_deployment(
    deployment: &config::Deployment,
    kind: &str,
    endpoint: &Endpoint,
    alias: &str,
    cooldown: &config::Cooldown,
    drop_params: bool,
) -> anyhow::Result<Deployment> {
    let listed = listed(deployment, kind)?;
    let price = match &deployment.price {
        Some(price) => Some(price::build(price).context("price")?),
        None => listed.and_then(|entry| entry.price.clone()),
    };
    if let Some(budget) = &deployment.budget {
        budget.read().context("budget")?;
        // What a pattern stands for has its prices by its own name, and is refused without one.
        ensure!(price.is_some() || deployment.model.contains('*'), "budget: needs a price; give the deployment one");
    }
    let mut endpoint = endpoint.clone();
    endpoint.target.model.clone_from(&deployment.model);
    // Some models are only served by OpenAI's other API.
    if kind == "openai" && listed.is_some_and(|entry| entry.mode == "responses") {
        endpoint.provider = registry::registry("openai_responses").context("the adapter of OpenAI's Responses")?;
    }
    let name = name_of(deployment, alias);
    Ok(Deployment {
        name_hash: stable_hash(&name),
        name,
        provider: deployment.provider.clone(),
        endpoint,
        weight: deployment.weight,
        order: deployment.order,
        tags: deployment.tags.clone(),
        region: deployment.region.clone(),
        price,
        context_window: deployment.context_window.or_else(|| listed.and_then(|e| e.context_window)),
        max_output_tokens: deployment.max_output_tokens.or_else(|| listed.and_then(|e| e.max_output)),
        capabilities: deployment
            .capabilities
            .clone()
            .unwrap_or_else(|| listed.map(|e| e.capabilities.clone()).unwrap_or_default()),
        drop_params: deployment.drop_params.unwrap_or(drop_params),
        defaults: deployment.defaults.build().context("defaults")?,
        limits: deployment.limits.as_ref().map(config::RateLimits::to_proto).transpose().context("limits")?,
        cooldown: CooldownPolicy {
            allowed_fails: cooldown.allowed_fails,
            time: cooldown.time.duration(),
            credential_time: cooldown.credential_time.duration(),
        },
        state: Default::default(),
    })
}
