//! What requests say of a key, in the contract's words.

use std::collections::{BTreeMap, HashMap};

use prost_types::Timestamp;
use serde_json::Value;
use tollgate_proto::v1::{Key, KeyRole, RateLimits};

use crate::litellm::{desk::Desk, failure::Failure, fields::Fields, labels, times};

/// Never ends, in LiteLLM's words.
const NEVER: &str = "-1";

/// Rates that a request asks for; `None` where it says nothing, inside `None` where it takes one away.
#[derive(Default)]
pub(crate) struct Rates {
    requests: Option<Option<i64>>,
    tokens: Option<Option<i64>>,
    parallel: Option<Option<i64>>,
}

impl Rates {
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, Failure> {
        let rates = Self {
            requests: fields.count("rpm_limit")?,
            tokens: fields.count("tpm_limit")?,
            parallel: fields.count("max_parallel_requests")?,
        };
        let named =
            [("rpm_limit", rates.requests), ("tpm_limit", rates.tokens), ("max_parallel_requests", rates.parallel)];
        match named.iter().find(|(_, rate)| rate.flatten().is_some_and(|rate| rate < 1)) {
            Some((name, _)) => Err(Failure::field(name, "must be 1 or more; to let nothing pass, block the key")),
            None => Ok(rates),
        }
    }

    /// Whether they change anything.
    pub(crate) fn are_given(&self) -> bool {
        self.requests.is_some() || self.tokens.is_some() || self.parallel.is_some()
    }

    /// The limits that were there, changed. As in LiteLLM the whole minute's worth may pass at once.
    pub(crate) fn over(&self, before: Option<RateLimits>) -> Option<RateLimits> {
        let mut limits = before.unwrap_or_default();
        for (given, limit) in [
            (self.requests, &mut limits.requests_per_minute),
            (self.tokens, &mut limits.tokens_per_minute),
            (self.parallel, &mut limits.concurrent_requests),
        ] {
            *limit = given.unwrap_or(*limit);
        }
        limits.full_burst = true;
        let limited = [limits.requests_per_minute, limits.requests_per_day, limits.tokens_per_minute];
        (limited.iter().any(Option::is_some) || limits.concurrent_requests.is_some()).then_some(limits)
    }
}

/// LiteLLM's metadata as labels.
pub(crate) fn metadata(fields: &mut Fields) -> Result<Option<HashMap<String, String>>, Failure> {
    let given = fields.patch::<BTreeMap<String, Value>>("metadata", "an object")?;
    given.map(|metadata| labels::written(metadata.unwrap_or_default())).transpose()
}

/// Models of a team or an organization: none means all.
pub(crate) fn models_of_place(models: Vec<String>) -> Vec<String> {
    let all = models.iter().any(|m| m == "all-proxy-models" || m == "*");
    if all { Vec::new() } else { models }
}

/// What a request says of a key itself.
pub(crate) struct KeyWish {
    pub(crate) alias: Option<String>,
    /// Outside `None`: as it is; inside `None`: never.
    pub(crate) expires: Option<Option<Timestamp>>,
    pub(crate) models: Option<Vec<String>>,
    pub(crate) rates: Rates,
    pub(crate) metadata: Option<HashMap<String, String>>,
    tags: Option<Vec<String>>,
    pub(crate) blocked: Option<bool>,
}

impl KeyWish {
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, Failure> {
        let expires = match fields.patch::<String>("duration", "a duration such as 30d")? {
            None => fields.text("expires")?.map(|text| times::moment(&text).map(Some)),
            Some(None) => Some(Ok(None)),
            Some(Some(text)) if text == NEVER => Some(Ok(None)),
            Some(Some(text)) => Some(super::duration::seconds(&text).map(|seconds| Some(times::after(seconds)))),
        };
        let expires = expires.transpose().map_err(|what| Failure::field("duration", what))?;
        // LiteLLM counts the tags of a key's metadata as the key's.
        let metadata = fields.patch::<BTreeMap<String, Value>>("metadata", "an object")?.map(Option::unwrap_or_default);
        let tagged = metadata.as_ref().and_then(|m| serde_json::from_value::<Vec<String>>(m.get("tags")?.clone()).ok());
        Ok(Self {
            alias: fields.text("key_alias")?,
            expires,
            models: fields.patch::<Vec<String>>("models", "a list of strings")?.map(Option::unwrap_or_default),
            rates: Rates::take(fields)?,
            metadata: metadata.map(labels::written).transpose()?,
            tags: fields.texts("tags")?.or(tagged),
            blocked: fields.flag("blocked")?,
        })
    }

    /// A new key.
    pub(crate) async fn key(self, desk: &Desk, place: Key) -> Result<Key, Failure> {
        let models = models_of_key(desk, self.models.unwrap_or_default(), &place).await?;
        Ok(Key {
            display_name: self.alias.unwrap_or_default(),
            expire_time: self.expires.flatten(),
            models,
            limits: self.rates.over(None),
            metadata: self.metadata.unwrap_or_default(),
            tags: self.tags.unwrap_or_default(),
            ..place
        })
    }

    /// The key changed, and the names of what changes.
    pub(crate) async fn over(self, desk: &Desk, mut key: Key) -> Result<(Key, Vec<String>), Failure> {
        let mut paths = Vec::new();
        let mut path = |name: &str| paths.push(name.to_owned());
        if let Some(alias) = self.alias {
            key.display_name = alias;
            path("display_name");
        }
        // What does not change is not checked again: a key that has ended may still be renamed.
        key.expire_time = self.expires.flatten();
        if self.expires.is_some() {
            path("expire_time");
        }
        if let Some(models) = self.models {
            key.models = models_of_key(desk, models, &key).await?;
            path("models");
        }
        if self.rates.are_given() {
            key.limits = self.rates.over(key.limits);
            path("limits");
        }
        if let Some(metadata) = self.metadata {
            key.metadata = metadata;
            path("metadata");
        }
        if let Some(tags) = self.tags {
            key.tags = tags;
            path("tags");
        }
        Ok((key, paths))
    }
}

/// The models of a key. None means all that its place allows: `*`, or, where the caller may only hand on what is listed, that list.
async fn models_of_key(desk: &Desk, models: Vec<String>, place: &Key) -> Result<Vec<String>, Failure> {
    if models.iter().any(|m| m == "no-default-models") {
        return Ok(models.into_iter().filter(|m| m != "no-default-models").collect());
    }
    let all =
        models.is_empty() || models.iter().any(|m| ["all-team-models", "all-proxy-models", "*"].contains(&m.as_str()));
    if !all {
        return Ok(models);
    }
    let everything = vec!["*".to_owned()];
    let own = desk.key("").await?;
    match own.role() {
        KeyRole::PlatformAdmin => return Ok(everything),
        KeyRole::Member => return Ok(own.models),
        _ => {}
    }
    let team_id = if place.team_id.is_empty() { &own.team_id } else { &place.team_id };
    if !team_id.is_empty() {
        let team = desk.team(team_id).await?;
        if !team.models.is_empty() {
            return Ok(team.models);
        }
    }
    let bound = if own.organization_id.is_empty() { Vec::new() } else { desk.organization("").await?.models };
    Ok(if bound.is_empty() { everything } else { bound })
}

/// The role that a `key_type` means for a key at this place.
pub(crate) fn role(key_type: Option<&str>, place: &Key) -> Result<KeyRole, Failure> {
    match key_type {
        None | Some("default" | "llm_api") => Ok(KeyRole::Caller),
        Some("read_only") => Ok(KeyRole::Auditor),
        Some("management") if !place.user_id.is_empty() => Ok(KeyRole::Member),
        Some("management") if !place.team_id.is_empty() => Ok(KeyRole::TeamAdmin),
        Some("management") if !place.organization_id.is_empty() => Ok(KeyRole::OrganizationAdmin),
        Some("management") => Err(Failure::field(
            "key_type",
            "management is of a user, a team or an organization: give user_id, team_id or organization_id",
        )),
        Some(_) => Err(Failure::field("key_type", "must be llm_api, read_only, management or default")),
    }
}
