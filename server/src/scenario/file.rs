//! A scenario as people write it: YAML, strict, with the line of every mistake.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use tollgate_proto::v1::ErrorReason;
use tollgate_router::pattern::matches;

use crate::config::{OnMidstreamFailure, Span};

/// What happens, and what must hold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The question it answers, for people.
    pub name: String,
    /// Configuration under test, relative to this file; absent: that of the command line.
    pub config: Option<PathBuf>,
    /// Chooses everything that is random: same seed, same result.
    #[serde(default = "one")]
    pub seed: u64,
    /// How deployments behave, by name; those that are not named answer after 200 ms.
    #[serde(default)]
    pub deployments: BTreeMap<String, Vec<Phase>>,
    /// Virtual keys by name; the key `default` may use every model and has no budget.
    #[serde(default)]
    pub keys: BTreeMap<String, ScenarioKey>,
    /// What arrives.
    pub load: Vec<Load>,
    /// What must hold.
    pub expect: Vec<Expectation>,
    /// Where it was read from.
    #[serde(skip)]
    pub file: String,
    /// As it was read.
    #[serde(skip)]
    pub text: String,
}

fn one() -> u64 {
    1
}

/// How a deployment behaves from a moment on.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Phase {
    /// From when on; absent: from the start.
    pub from: Option<Span>,
    /// HTTP status; absent: 200.
    pub status: Option<u16>,
    /// `retry-after` of a refusal.
    pub retry_after: Option<Span>,
    /// The body of a refusal, or of a whole answer: a file, relative to the scenario's.
    pub body: Option<PathBuf>,
    /// The provider's error code, where it decides the class: `context_length_exceeded`, `content_filter`, `insufficient_quota`.
    pub code: Option<String>,
    /// Until the head of the answer.
    pub latency: Option<Latency>,
    /// Between two tokens.
    pub between: Option<Span>,
    /// Tokens of the answer.
    pub tokens: Option<u64>,
    /// The line cannot be had.
    pub refuse: bool,
    /// No answer comes at all.
    pub hang: bool,
    /// The answer breaks after so many tokens.
    pub break_after: Option<u64>,
    /// How many of a hundred calls get `status` (500 where none is given); the others are answered.
    pub error_percent: Option<f64>,
    /// Calls per minute that it takes: beyond, 429 with the time that is left of the minute.
    pub requests_per_minute: Option<u64>,
    /// Calls at once that it takes: beyond, 429.
    pub concurrent_requests: Option<u64>,
}

/// A time, or a distribution of times: `200ms`, or `{ p50: 200ms, p99: 2s }` (log-normal).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Latency {
    /// Always the same.
    Fixed(Span),
    /// Log-normal.
    Spread {
        /// Half of the answers take at most this long.
        p50: Span,
        /// All but one in a hundred.
        p99: Span,
    },
}

/// A virtual key of the scenario.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScenarioKey {
    /// Models that it may use; absent: all.
    pub models: Option<Vec<String>>,
    /// Hard budget, dollars.
    pub budget_usd: Option<String>,
    /// Labels of all its calls.
    pub tags: Vec<String>,
    /// Its calls' class: `interactive`, `standard`, `batch`.
    pub priority: Option<PriorityName>,
}

/// A class of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriorityName {
    /// People wait for it.
    Interactive,
    /// The rest.
    Standard,
    /// Whenever there is room.
    Batch,
}

/// Calls that arrive: one, several, or a rate for a while.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// A name by which expectations choose its calls.
    pub name: Option<String>,
    /// The model alias.
    pub model: String,
    /// When the first comes; absent: at the start.
    pub at: Option<Span>,
    /// How many come at once; absent: one, or what `rate` gives.
    pub calls: Option<u64>,
    /// How many come a second, evenly, for `for`.
    pub rate: Option<f64>,
    /// For how long `rate` lasts; absent: ten seconds.
    #[serde(rename = "for")]
    pub lasts: Option<Span>,
    /// Name of a key of the scenario.
    pub key: Option<String>,
    /// Labels of the calls.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Only deployments of this region.
    pub region: Option<String>,
    /// Size of the prompt; absent: 100.
    pub prompt_tokens: Option<u64>,
    /// Output limit; absent: none.
    pub max_output_tokens: Option<i64>,
    /// Streamed; absent: yes.
    #[serde(default = "yes")]
    pub stream: bool,
    /// The request's `user`: `{n}` in it is the call's number.
    pub user: Option<String>,
    /// The caller's patience.
    pub deadline: Option<Span>,
    /// Only this deployment.
    pub deployment: Option<String>,
    /// Fallbacks of the call, in place of the configured ones.
    #[serde(default)]
    pub fallbacks: Vec<String>,
    /// What becomes of answers that break in the middle: `fail`, `continue`, `restart`; absent: as the model says.
    pub on_midstream_failure: Option<OnMidstreamFailure>,
    /// What the request uses besides text: `vision`, `audio_input`, `pdf`, `tools`, `json_schema`.
    #[serde(default)]
    pub uses: Vec<String>,
}

fn yes() -> bool {
    true
}

/// What must hold of some calls.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expectation {
    /// Only calls of the load with this name.
    pub load: Option<String>,
    /// Only calls that arrived from then on.
    pub from: Option<Span>,
    /// Only calls that arrived before then.
    pub to: Option<Span>,
    /// Only calls with this label.
    pub tag: Option<String>,
    /// How many calls those are.
    pub calls: Option<Bound>,
    /// Share of them that were answered, percent.
    pub answered: Option<Bound>,
    /// How many ended with each HTTP status.
    pub status: BTreeMap<u16, Bound>,
    /// How many ended with each reason of the contract: `BUDGET_EXHAUSTED`, `RATE_LIMITED`, `NO_ROUTE`, ...
    pub reasons: BTreeMap<String, Bound>,
    /// Share of the answered that each deployment served, percent.
    pub share: BTreeMap<String, Bound>,
    /// Deployments that got no attempt of theirs at all.
    pub never: Vec<String>,
    /// Attempts at each deployment.
    pub attempts_at: BTreeMap<String, Bound>,
    /// Attempts of a call: mean.
    pub attempts: Option<Bound>,
    /// Attempts of a call: most.
    pub most_attempts: Option<Bound>,
    /// Answers that broke and that another attempt took over.
    pub restarted: Option<Bound>,
    /// Time to the last frame of the answered ones, milliseconds, by percentile: `p50`, `p90`, `p99`, `max`.
    pub latency_ms: BTreeMap<String, Bound>,
    /// Time to their first content, milliseconds, by percentile.
    pub first_content_ms: BTreeMap<String, Bound>,
    /// What they cost together, dollars.
    pub cost_usd: Option<Bound>,
}

/// A figure and how it is compared: `3`, `">= 99"`, `"< 1.5"`, `"1..4"`.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema)]
#[schemars(with = "BoundText")]
pub struct Bound {
    low: f64,
    high: f64,
    /// Whether the ends themselves are out.
    open: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum BoundText {
    Figure(f64),
    Compared(String),
}

impl Bound {
    /// This and nothing else.
    pub fn exactly(figure: f64) -> Self {
        Self { low: figure, high: figure, open: false }
    }

    /// One or more.
    pub fn at_least_one() -> Self {
        Self { low: 1.0, high: f64::INFINITY, open: false }
    }

    /// Whether a figure is within.
    pub fn holds(&self, figure: f64) -> bool {
        match self.open {
            true => self.low < figure && figure < self.high,
            false => self.low <= figure && figure <= self.high,
        }
    }

    fn read(text: &str) -> Option<Self> {
        let number = |text: &str| text.trim().trim_end_matches('%').trim().parse::<f64>().ok();
        let bound = |low, high, open| Some(Self { low, high, open });
        let text = text.trim();
        if let Some((low, high)) = text.split_once("..") {
            return bound(number(low)?, number(high)?, false);
        }
        match text {
            t if t.starts_with(">=") => bound(number(&t[2..])?, f64::INFINITY, false),
            t if t.starts_with("<=") => bound(f64::NEG_INFINITY, number(&t[2..])?, false),
            t if t.starts_with('>') => bound(number(&t[1..])?, f64::INFINITY, true),
            t if t.starts_with('<') => bound(f64::NEG_INFINITY, number(&t[1..])?, true),
            t => number(t).and_then(|exact| bound(exact, exact, false)),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_equal = if self.open { "" } else { "=" };
        match (self.low, self.high) {
            (low, high) if low == high => write!(f, "{low}"),
            (low, f64::INFINITY) => write!(f, ">{or_equal} {low}"),
            (f64::NEG_INFINITY, high) => write!(f, "<{or_equal} {high}"),
            (low, high) => write!(f, "{low}..{high}"),
        }
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match BoundText::deserialize(deserializer)? {
            BoundText::Figure(exact) => Ok(Self::exactly(exact)),
            BoundText::Compared(text) => Self::read(&text).ok_or_else(|| {
                de::Error::custom(format!("{text:?} is no bound: write 3, \">= 99\", \"< 1.5\" or \"1..4\""))
            }),
        }
    }
}

/// Reads a scenario. Errors name the file and the line.
pub fn read(path: &Path) -> anyhow::Result<Scenario> {
    let text = std::fs::read_to_string(path).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    let scenario: Scenario = serde_yaml_ng::from_str(&text).map_err(|error| match error.location() {
        Some(at) => anyhow::anyhow!("{}:{}:{}: {error}", path.display(), at.line(), at.column()),
        None => anyhow::anyhow!("{}: {error}", path.display()),
    })?;
    check(&scenario).map_err(|message| anyhow::anyhow!("{}: {message}", path.display()))?;
    Ok(Scenario { file: path.display().to_string(), text, ..scenario })
}

impl Scenario {
    /// Whether what it names is in the configuration: a deployment that is not there is never called, and proves nothing.
    pub(super) fn fits(&self, deployments: &[String], models: &[String]) -> anyhow::Result<()> {
        let wrong = |path: String, what: &str, name: &str, known: &[String]| {
            let near = known.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
            let meant = near.map(|near| format!("; is {near:?} meant?")).unwrap_or_default();
            anyhow::anyhow!(
                "{}:{}: {path}: there is no {what} {name:?} in the configuration{meant}",
                self.file,
                self.line_of(name)
            )
        };
        let deployed = |path: String, name: &String| match deployments.contains(name) {
            true => Ok(()),
            false => Err(wrong(path, "deployment", name, deployments)),
        };
        for name in self.deployments.keys() {
            deployed("deployments".into(), name)?;
        }
        for (at, load) in self.load.iter().enumerate() {
            if let Some(model) =
                [&load.model].into_iter().chain(&load.fallbacks).find(|m| !models.iter().any(|known| matches(known, m)))
            {
                return Err(wrong(format!("load[{at}]"), "model", model, models));
            }
            load.deployment.iter().try_for_each(|name| deployed(format!("load[{at}].deployment"), name))?;
        }
        for (at, expectation) in self.expect.iter().enumerate() {
            let named = expectation.share.keys().chain(&expectation.never).chain(expectation.attempts_at.keys());
            named.into_iter().try_for_each(|name| deployed(format!("expect[{at}]"), name))?;
        }
        Ok(())
    }

    /// The first line with this word, from 1.
    fn line_of(&self, word: &str) -> usize {
        let is_part = |c: char| c.is_alphanumeric() || "-_./:".contains(c);
        let has = |line: &str| line.split(|c| !is_part(c)).any(|found| found.trim_end_matches(':') == word);
        self.text.lines().position(has).map_or(1, |at| at + 1)
    }
}

fn check(scenario: &Scenario) -> Result<(), String> {
    for (at, load) in scenario.load.iter().enumerate() {
        if let Some(key) = load.key.as_ref().filter(|key| !scenario.keys.contains_key(*key)) {
            return Err(format!("load[{at}].key: {key:?} is not under `keys`"));
        }
        if load.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 100_000.0)) {
            return Err(format!("load[{at}].rate: must be above 0 and at most 100000 calls a second"));
        }
        if load.rate.is_some() && load.calls.is_some() {
            return Err(format!("load[{at}]: `calls` and `rate` exclude each other"));
        }
    }
    for (at, expectation) in scenario.expect.iter().enumerate() {
        let known = |name: &String| scenario.load.iter().any(|load| load.name.as_ref() == Some(name));
        let tagged = |tag: &String| {
            let of_keys = scenario.keys.values().flat_map(|key| &key.tags);
            scenario.load.iter().flat_map(|load| &load.tags).chain(of_keys).any(|known| known == tag)
        };
        if let Some(tag) = expectation.tag.as_ref().filter(|tag| !tagged(tag)) {
            return Err(format!("expect[{at}].tag: no load and no key has the label {tag:?}"));
        }
        if let Some(bad) = expectation.reasons.keys().find(|name| ErrorReason::from_wire_name(name).is_none()) {
            return Err(format!("expect[{at}].reasons: {bad:?} is no reason of error.proto, such as BUDGET_EXHAUSTED"));
        }
        if let Some(name) = expectation.load.as_ref().filter(|name| !known(name)) {
            return Err(format!("expect[{at}].load: no load is named {name:?}"));
        }
        let percentiles = expectation.latency_ms.keys().chain(expectation.first_content_ms.keys());
        if let Some(bad) = percentiles.into_iter().find(|p| percentile(p).is_none()) {
            return Err(format!("expect[{at}]: {bad:?} is no percentile: write p50, p90, p99 or max"));
        }
    }
    Ok(())
}

/// `p50`, `p99.9`, `max` as a share.
pub(super) fn percentile(name: &str) -> Option<f64> {
    match name {
        "max" => Some(1.0),
        _ => name.strip_prefix('p')?.parse::<f64>().ok().filter(|p| (0.0..=100.0).contains(p)).map(|p| p / 100.0),
    }
}
