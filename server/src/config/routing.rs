//! How calls are routed.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use tollgate_domain::Class;

use super::Span;

/// Rules of routing over all models.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingSettings {
    /// Aliases to try in order where a model names no fallbacks.
    pub default_fallbacks: Vec<String>,
    /// Labels that bind a call to deployments that have them too, `*` for every label; those of any deployment bind besides.
    pub tags: Vec<String>,
    /// How many of a call's binding labels a deployment must have.
    pub tags_match: TagsMatch,
    /// Calls without a binding label go only to deployments with this one; absent: anywhere.
    pub default_tag: Option<String>,
    /// A model of which no deployment has `default_tag` serves calls without a binding label all the same, by all of its deployments.
    pub default_tag_optional: bool,
    /// When deployments are left alone for a while.
    pub cooldown: Cooldown,
}

/// How many of a call's binding labels a deployment must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TagsMatch {
    /// All of them.
    #[default]
    All,
    /// One of them.
    Any,
    /// None: no label binds, those of deployments neither.
    None,
}

/// When a deployment is left alone for a while.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cooldown {
    /// Failures that are allowed: more in a row, or more within a minute that are half of its attempts, and it is left alone.
    pub allowed_fails: u32,
    /// For how long; doubles with each attempt to return that fails. `0s`: never.
    pub time: Span,
    /// For how long after it refused its credential, its account or its model.
    pub credential_time: Span,
}

impl Default for Cooldown {
    fn default() -> Self {
        Self { allowed_fails: 3, time: Span::seconds(5), credential_time: Span::seconds(60) }
    }
}

/// How many retries a group may make of its calls.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBudget {
    /// Retries for a hundred calls.
    pub percent: u32,
    /// And so many a second in any case.
    pub per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, per_second: 10 }
    }
}

/// How an attempt failed, as `Attempt.class` and audit records name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The provider finds the request wrong.
    InvalidRequest,
    /// It refuses the credential.
    Authentication,
    /// The credential may not do this.
    Permission,
    /// It does not know the model.
    NotFound,
    /// Its content policy refused.
    ContentFilter,
    /// Too many requests or tokens for now.
    RateLimit,
    /// The account is out of money.
    QuotaExceeded,
    /// Out of capacity.
    Overloaded,
    /// No answer in time.
    Timeout,
    /// The connection failed.
    Connection,
    /// The provider failed.
    ServerError,
    /// Its answer is not well-formed.
    UpstreamProtocol,
    /// Its answer broke.
    UpstreamTruncated,
}

impl From<FailureClass> for Class {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::InvalidRequest => Self::InvalidRequest,
            FailureClass::Authentication => Self::Authentication,
            FailureClass::Permission => Self::Permission,
            FailureClass::NotFound => Self::NotFound,
            FailureClass::ContentFilter => Self::ContentFilter,
            FailureClass::RateLimit => Self::RateLimit,
            FailureClass::QuotaExceeded => Self::QuotaExceeded,
            FailureClass::Overloaded => Self::Overloaded,
            FailureClass::Timeout => Self::Timeout,
            FailureClass::Connection => Self::Connection,
            FailureClass::ServerError => Self::ServerError,
            FailureClass::UpstreamProtocol => Self::UpstreamProtocol,
            FailureClass::UpstreamTruncated => Self::UpstreamTruncated,
        }
    }
}

/// Where a share of a model's calls is made a second time, apart from their callers: nothing of it reaches them or their budgets.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The alias.
    pub model: String,
    /// How many of a hundred calls, in steps of a hundredth.
    #[serde(default = "all")]
    pub percent: f64,
}

fn all() -> f64 {
    100.0
}

/// What becomes of an answer that breaks after its first content was passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMidstreamFailure {
    /// The call ends with the error.
    #[default]
    Fail,
    /// Another deployment with the capability `assistant_prefill` goes on from the text, behind a `restarted` event.
    Continue,
    /// Another deployment starts over, behind a `restarted` event that says so.
    Restart,
}

/// How a model chooses among its deployments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// At random, by weight.
    #[default]
    Shuffle,
    /// Fewest calls under way for its weight.
    LeastBusy,
    /// Shortest time to the first content of late.
    Latency,
    /// Most left of its limits in this minute.
    Usage,
    /// Cheapest for the call.
    Cost,
}

/// By what callers stay at a deployment: `user`, `key`, `customer`, or `metadata.NAME` of the call.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum Sticky {
    /// The request's `user`.
    User,
    /// The virtual key.
    Key,
    /// The end customer.
    Customer,
    /// An entry of the request's metadata.
    Metadata(String),
}

impl<'de> Deserialize<'de> for Sticky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "user" => Ok(Self::User),
            "key" => Ok(Self::Key),
            "customer" => Ok(Self::Customer),
            other => match other.strip_prefix("metadata.").filter(|name| !name.is_empty()) {
                Some(name) => Ok(Self::Metadata(name.into())),
                None => Err(de::Error::custom(format!(
                    "{other:?}: callers can stick by `user`, `key`, `customer` or `metadata.NAME`"
                ))),
            },
        }
    }
}
