//! From the configuration to the router's table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context, bail};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use tollgate_domain::Secret;
use tollgate_proto::v1::MidstreamPolicy;
use tollgate_providers::{
    Target,
    catalogue::Catalogue,
    credential::Credential,
    demo,
    exchange::Endpoint,
    fetch::Fetcher,
    registry,
    transport::{InProcess, Timeouts, Transport},
};
use tollgate_router::{
    CooldownPolicy, Deployment, HealthCheck, Mirror, ModelGroup, RetryPolicy, Sticky, Strategy, Table, Tags,
    stable_hash,
};

use crate::{
    config::{self, Config},
    price, scenario,
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
    for (name, provider) in &config.providers {
        let endpoint = endpoint(provider, transport.as_ref()).with_context(|| format!("providers.{name}"))?;
        let url = "https://images.example.com/a.png";
        let fetches = |model: &str| endpoint.provider.chat().is_none_or(|chat| chat.fetches(model, url));
        let mut deployments = config.models.iter().flat_map(|model| &model.deployments).filter(|d| d.provider == *name);
        if provider.fetch_urls.is_some() && deployments.all(|d| fetches(&d.model)) {
            warnings.push(format!(
                "providers.{name}.fetch_urls: is not used, for a provider of the kind {:?} fetches URLs itself",
                provider.kind
            ));
        }
        endpoints.insert(name.as_str(), (provider.kind.as_str(), endpoint));
    }
    let mut groups = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (i, model) in config.models.iter().enumerate() {
        let at = format!("models[{i}] ({:?})", model.name);
        if model.deployments.is_empty() {
            bail!("{at}: needs at least one deployment");
        }
        let mut deployments = Vec::new();
        for (j, deployment) in model.deployments.iter().enumerate() {
            let at = format!("{at}.deployments[{j}]");
            let Some((kind, endpoint)) = endpoints.get(deployment.provider.as_str()) else {
                let known: Vec<_> = endpoints.keys().collect();
                bail!("{at}.provider: there is no provider {:?}; configured are {known:?}", deployment.provider);
            };
            let cooldown = model.cooldown.as_ref().unwrap_or(&config.routing.cooldown);
            let mut built = build_deployment(deployment, kind, endpoint, &model.name, cooldown, config.drop_params)
                .with_context(|| at.clone())?;
            if transport.is_some() {
                built.endpoint.target.base_url = scenario::base_url(&built.name);
            }
            if !names.insert(built.name.clone()) {
                bail!("{at}.name: {:?} is used twice; give one of the two a name of its own", built.name);
            }
            if built.price.is_none() {
                let name = &built.name;
                warnings.push(format!(
                    "{at}: {name:?} has no price; calls are counted at no cost and refused under hard budgets"
                ));
            }
            deployments.push(Arc::new(built));
        }
        let retry = RetryPolicy {
            retries: model.retries,
            budget_percent: model.retry_budget.percent,
            budget_per_second: model.retry_budget.per_second,
            ..RetryPolicy::default()
        };
        let limits = model.limits.as_ref().map(config::RateLimits::to_proto).transpose();
        let limits = limits.with_context(|| format!("{at}.limits"))?;
        let group = ModelGroup {
            name: model.name.clone(),
            deployments,
            strategy: strategy(model.strategy),
            fallbacks: model.fallbacks.clone(),
            context_window_fallbacks: model.context_window_fallbacks.clone(),
            content_policy_fallbacks: model.content_policy_fallbacks.clone(),
            retry,
            limits,
            sticky: model.sticky.clone().map(sticky),
            mirror: model
                .mirror
                .as_ref()
                .map(|m| mirror(m, &model.name))
                .transpose()
                .with_context(|| format!("{at}.mirror"))?,
            on_midstream_failure: midstream(model.on_midstream_failure),
            budget: Default::default(),
        };
        if groups.insert(model.name.clone(), Arc::new(group)).is_some() {
            bail!("{at}.name: the model {:?} is configured twice", model.name);
        }
    }
    for model in &config.models {
        let lists = [&model.fallbacks, &model.context_window_fallbacks, &model.content_policy_fallbacks];
        if let Some(missing) = model.mirror.iter().map(|m| &m.model).find(|m| !groups.contains_key(*m)) {
            bail!("the model {:?} is mirrored to {missing:?}, which is not configured", model.name);
        }
        if let Some(missing) = lists.into_iter().flatten().find(|f| !groups.contains_key(*f)) {
            bail!("the model {:?} falls back to {missing:?}, which is not configured", model.name);
        }
    }
    if let Some(missing) = config.routing.default_fallbacks.iter().find(|f| !groups.contains_key(*f)) {
        bail!("routing.default_fallbacks: {missing:?} is not configured");
    }
    let tags = Arc::new(tags(config)?);
    let default_fallbacks = config.routing.default_fallbacks.clone();
    let checks = checks(config, &groups);
    Ok((Table { groups, default_fallbacks, tags, checks, config_hash: hash(config) }, warnings))
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

/// Labels that bind: those that the configuration names, and those of any deployment.
fn tags(config: &Config) -> anyhow::Result<Tags> {
    let default = config.routing.default_tag.clone();
    let of_deployments = || config.models.iter().flat_map(|m| &m.deployments).flat_map(|d| &d.tags);
    if let Some(tag) = default.as_ref().filter(|tag| !of_deployments().any(|t| t == *tag)) {
        bail!("routing.default_tag: no deployment is tagged {tag:?}, so that calls without a label would go nowhere");
    }
    let binding: BTreeSet<_> =
        of_deployments().chain(&config.routing.tags).filter(|t| Some(*t) != default.as_ref()).collect();
    Ok(Tags { binding: binding.into_iter().cloned().collect(), default })
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

fn endpoint(provider: &config::Provider, simulated: Option<&Transport>) -> anyhow::Result<Endpoint> {
    let Some(adapter) = registry::registry(&provider.kind) else {
        bail!("kind: {:?} is not known; known are {:?}", provider.kind, registry::kinds());
    };
    let base_url = provider.base_url.as_deref().or_else(|| adapter.base_url());
    let Some(base_url) = base_url else { bail!("base_url: is required for the kind {:?}", provider.kind) };
    let uri: http::Uri = base_url.parse().with_context(|| format!("base_url: {base_url:?} is not a URL"))?;
    if uri.scheme().is_none() || uri.authority().is_none() {
        bail!("base_url: {base_url:?} needs a scheme and a host, as in https://host/v1");
    }
    let credential = match simulated {
        Some(_) => Credential::Key(Secret::new("simulated")),
        None => {
            let key = provider.api_key.as_ref().map(|k| k.resolve()).transpose();
            key.map_err(anyhow::Error::msg).context("api_key")?.map_or(Credential::None, Credential::Key)
        }
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &provider.headers {
        let header = HeaderName::try_from(name).with_context(|| format!("headers: {name:?} is no header name"))?;
        let value = HeaderValue::try_from(value).with_context(|| format!("headers.{name}: is no header value"))?;
        headers.insert(header, value);
    }
    let t = &provider.timeouts;
    let timeouts = Timeouts {
        connect: t.connect.duration(),
        first_byte: t.first_byte.duration(),
        first_token: t.first_token.duration(),
        idle: t.idle.duration(),
        total: t.total.duration(),
    };
    let target = Target {
        base_url: base_url.trim_end_matches('/').to_owned(),
        api_version: None,
        credential,
        model: String::new(),
        headers,
    };
    let transport = simulated.cloned().unwrap_or_else(|| {
        Transport::with_connect_timeout(timeouts.connect).with_in_process(demo::SCHEME, demo::responder())
    });
    let rules = provider.fetch_urls.as_ref().map(config::FetchUrls::rules).transpose().context("fetch_urls")?;
    // A simulation asks nobody.
    let fetcher = rules.filter(|_| simulated.is_none()).map(Fetcher::new);
    Ok(Endpoint { provider: adapter, target, timeouts, transport, fetcher })
}

fn build_deployment(
    deployment: &config::Deployment,
    kind: &str,
    endpoint: &Endpoint,
    alias: &str,
    cooldown: &config::Cooldown,
    drop_params: bool,
) -> anyhow::Result<Deployment> {
    let listed = Catalogue::embedded().find(kind, &deployment.model);
    let price = match &deployment.price {
        Some(price) => Some(price::build(price).context("price")?),
        None => listed.and_then(|entry| entry.price.clone()),
    };
    let mut endpoint = endpoint.clone();
    endpoint.target.model.clone_from(&deployment.model);
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
        limits: deployment.limits.as_ref().map(config::RateLimits::to_proto).transpose().context("limits")?,
        cooldown: CooldownPolicy {
            allowed_fails: cooldown.allowed_fails,
            time: cooldown.time.duration(),
            credential_time: cooldown.credential_time.duration(),
        },
        state: Default::default(),
    })
}
