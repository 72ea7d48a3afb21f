//! `tollgate.yaml`: strict, documented by a JSON Schema, overridable by environment, secrets by reference.
//!
//! Every setting can be given as `TOLLGATE__PATH__TO__SETTING`; the environment wins over the file.

mod alerts;
mod audit;
mod credentials;
mod defaults;
mod duration;
mod export;
mod fetch;
pub mod litellm;
mod load;
mod missing;
mod price;
mod reference;
mod routing;
mod sinks;
mod tracing;

use std::{collections::BTreeMap, path::PathBuf};

pub use self::tracing::{MetricsOtlp, Tracing, TracingProtocol};
pub use alerts::Alerts;
use anyhow::Context;
pub use audit::{AuditSettings, KeptBodies, KeptPeer, RedactPattern};
pub use credentials::{Aws, Entra, Google};
pub use defaults::Defaults;
pub use duration::Span;
pub use export::AuditExport;
pub use fetch::{FetchUrls, Scheme, Size};
pub use load::{ConfigError, convert, json_schema, load};
pub use price::{Price, PriceTier};
pub use reference::SecretRef;
pub use routing::{
    Cooldown, FailureClass, Mirror, OnMidstreamFailure, RetryBudget, RoutingSettings, Sticky, Strategy, TagsMatch,
};
use schemars::JsonSchema;
use serde::Deserialize;
pub use sinks::Sink;
use tollgate_domain::NanoUsd;

/// The whole configuration. Every setting has a default: an empty file is a valid one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the one port for gRPC, gRPC-Web and REST.
    pub listen: String,
    /// Directory of the embedded database, the journal and the gateway's own secrets; made where it is missing.
    pub data_dir: PathBuf,
    /// TLS of the port; absent: plain text.
    pub tls: Option<Tls>,
    /// Limits on what comes in.
    pub limits: Limits,
    /// The ledger of record for several replicas; absent: the embedded database, for one.
    pub store: Option<StoreSettings>,
    /// When a ledger record counts.
    pub journal: Journal,
    /// How budgets behave.
    pub budgets: Budgets,
    /// How long answers are kept for the repetition of an idempotency key.
    pub idempotency: IdempotencySettings,
    /// What is kept of responses, so that conversations can go on from them.
    pub responses: ResponseSettings,
    /// Files at providers, and the batches that read them.
    pub batches: BatchSettings,
    /// The audit log.
    pub audit: AuditSettings,
    /// Origins that browsers may call from; `*` for all.
    pub cors_origins: Vec<String>,
    /// How long calls in flight may go on after SIGTERM.
    pub drain_timeout: Span,
    /// What is logged.
    pub log: Log,
    /// Traces of calls.
    pub tracing: Tracing,
    /// What `GET /metrics` tells, and to whom.
    pub metrics: MetricsSettings,
    /// Providers by name.
    pub providers: BTreeMap<String, Provider>,
    /// Model aliases.
    pub models: Vec<Model>,
    /// Parameters that a provider cannot heed are left out, and named in the header `x-tollgate-dropped-params`, instead of refused.
    pub drop_params: bool,
    /// What becomes of a secret whose reference leads nowhere.
    pub missing_secrets: MissingSecrets,
    /// Rules of routing over all models.
    pub routing: RoutingSettings,
    /// Whether keys of the role `platform_admin` may make completions too.
    pub admin_completions: bool,
    /// Virtual keys that exist from the start; others are made by `KeyAdminService`.
    pub keys: Vec<ProvisionedKey>,
    /// Where closed call records go besides the audit log, by name.
    pub sinks: BTreeMap<String, Sink>,
    /// What is told when something goes wrong, and to whom.
    pub alerts: Alerts,
    /// What became of the settings of a file in LiteLLM's dialect; `None`: it is in our own.
    #[serde(skip)]
    pub translation: Option<litellm::Report>,
    /// What it goes without, because secrets lead nowhere.
    #[serde(skip)]
    pub without: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:4000".into(),
            data_dir: "tollgate-data".into(),
            tls: None,
            limits: Limits::default(),
            store: None,
            journal: Journal::default(),
            budgets: Budgets::default(),
            idempotency: IdempotencySettings::default(),
            responses: ResponseSettings::default(),
            batches: BatchSettings::default(),
            audit: AuditSettings::default(),
            cors_origins: vec!["*".into()],
            drain_timeout: Span::seconds(30),
            log: Log::default(),
            tracing: Tracing::default(),
            metrics: MetricsSettings::default(),
            providers: BTreeMap::new(),
            models: Vec::new(),
            drop_params: false,
            missing_secrets: MissingSecrets::default(),
            routing: RoutingSettings::default(),
            admin_completions: false,
            keys: Vec::new(),
            sinks: BTreeMap::new(),
            alerts: Alerts::default(),
            translation: None,
            without: Vec::new(),
        }
    }
}

/// What becomes of a secret whose reference leads nowhere: a variable that is not set, a file that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissingSecrets {
    /// The gateway does not start.
    #[default]
    RefuseStart,
    /// It starts, says so, and goes without: calls of that provider fail and go elsewhere, a virtual key is not made, a sink is not
    /// opened, a channel of alerts is not used, Redis is not used, and without PostgreSQL's URL the embedded database is.
    GoWithout,
}

/// Where several replicas meet.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// PostgreSQL 14 or later: `postgres://user:password@host/database`, by reference or as text.
    pub postgres_url: SecretRef,
    /// Redis 6.2 or later, `redis://host:6379` or `rediss://`: hands out leases of budgets and shares of rate limits. Absent: PostgreSQL
    /// does the former, and each replica keeps an equal share of the latter.
    pub redis_url: Option<SecretRef>,
    /// What all replicas share and nobody else knows, at least 32 bytes: virtual keys are kept hashed with it.
    pub secret: SecretRef,
    /// Names this replica: fixed over restarts, and its own. Absent: made once, kept in the data directory.
    pub replica_id: Option<String>,
    /// A replica that starts while PostgreSQL is away serves from a signed snapshot in its data directory, if that is no older.
    #[serde(default = "snapshot_max_age")]
    pub snapshot_max_age: Span,
}

const fn snapshot_max_age() -> Span {
    Span::seconds(24 * 3_600)
}

/// TLS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// File of the certificate chain, PEM.
    pub certificate: PathBuf,
    /// File of the private key, PEM.
    pub private_key: PathBuf,
    /// File of the authorities whose client certificates are required, PEM; absent: none are asked for.
    pub client_ca: Option<PathBuf>,
}

/// Limits on what comes in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest request, in bytes, over REST and gRPC alike.
    pub max_body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_body_bytes: 50_000_000 }
    }
}

/// When a ledger record counts.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// `process`: once it is written, so that `kill -9` loses nothing. `disk`: once it is synced; a call waits for that before its
    /// first byte and before its last frame. `replicated`: once the store has it; a call waits for that before its last frame.
    pub durability: Durability,
}

/// When a ledger record counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Once it is written to the file.
    #[default]
    Process,
    /// Once the file is synced.
    Disk,
    /// Once the store has it.
    Replicated,
}

/// How budgets behave.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// How long a call waits for money that other calls only hold, before it is refused with BUDGET_HELD.
    pub hold_wait: Span,
    /// Output limit set upstream, in tokens, where a hard budget applies and neither call nor key names one.
    pub default_output_cap: u64,
    /// What a replica that reaches neither PostgreSQL nor Redis may spend of each hard budget beyond the leases it has, in dollars, as a
    /// decimal string: the bound of an overspend is this times the replicas.
    pub degraded_allowance_usd: String,
    /// A hard budget on everything that goes through the gateway, made once at the start; later changes are made by `BudgetService`.
    pub gateway: Option<HardBudget>,
}

/// A hard budget, made once at the start; later changes are made by `BudgetService`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HardBudget {
    /// In dollars, as a decimal string.
    pub limit_usd: String,
    /// How long until spend begins anew, from 1 second to 10 years; absent: it never does.
    pub every: Option<Span>,
}

impl HardBudget {
    /// The limit in nano-dollars, and the seconds of a window.
    pub fn read(&self) -> anyhow::Result<(i64, Option<i64>)> {
        let limit: NanoUsd = self.limit_usd.parse().context("limit_usd")?;
        anyhow::ensure!(limit.0 >= 0, "limit_usd: must not be negative");
        let every = self.every.map(|every| i64::try_from(every.duration().as_secs()).unwrap_or(i64::MAX));
        let fits = every.is_none_or(|seconds| (1..=10 * 366 * 24 * 3_600).contains(&seconds));
        anyhow::ensure!(fits, "every: must be from 1 second to 10 years");
        Ok((limit.0, every))
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            hold_wait: Span::seconds(2),
            default_output_cap: 4_096,
            degraded_allowance_usd: "0".into(),
            gateway: None,
        }
    }
}

/// How long answers are kept for the repetition of an idempotency key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdempotencySettings {
    /// How long.
    pub retention: Span,
    /// How many bytes of answers at most; the least used go first, and their keys are still never billed again.
    pub max_bytes: u64,
}

impl Default for IdempotencySettings {
    fn default() -> Self {
        Self { retention: Span::seconds(600), max_bytes: 64 << 20 }
    }
}

/// What is kept of responses (`POST /v1/responses`, `ResponseService`), so that conversations can go on from them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResponseSettings {
    /// For how long, from when each was made; `0s`: nothing is kept, whatever callers ask.
    pub retention: Span,
    /// Largest conversation that is gone on from, in bytes; a response alone may be no larger.
    pub max_bytes: u64,
}

impl Default for ResponseSettings {
    fn default() -> Self {
        Self { retention: Span::seconds(30 * 24 * 3_600), max_bytes: 16 << 20 }
    }
}

/// Files at providers, and the batches that read them (`FileService`, `BatchService`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// How often the gateway asks by itself whether a batch has ended, at least every 50 ms: then it is settled.
    pub poll: Span,
    /// Largest file that is uploaded, in bytes.
    pub max_file_bytes: u64,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self { poll: Span::seconds(60), max_file_bytes: 512 << 20 }
    }
}

/// What is logged. Never a secret, a prompt or an answer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `human` or `json`.
    pub format: LogFormat,
    /// A filter such as `info` or `tollgate=debug,warn`.
    pub level: String,
    /// Whether every call is told of in one line at its end, at the level `info`.
    pub calls: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: "info".into(), calls: true }
    }
}

/// What `GET /metrics` tells, and to whom. Counts begin anew with a start; who reads and how finely is counted is fixed until the next.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSettings {
    /// Whether `GET /metrics` and `GET /version` ask for a key that may read metrics (`metrics.read`: platform admins and auditors).
    /// Otherwise whoever reaches the port reads them.
    pub require_key: bool,
    /// Labels of calls and money beside team, model, provider and deployment; and budgets of such things, too.
    pub labels: Vec<MetricLabel>,
    /// Sets of labels that each metric has at most, from 1; what is new beyond is counted under `other`.
    #[schemars(range(min = 1))]
    pub max_series: usize,
    /// The same metrics sent to an OpenTelemetry collector.
    pub otlp: MetricsOtlp,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self { require_key: false, labels: Vec::new(), max_series: 2_000, otlp: MetricsOtlp::default() }
    }
}

/// A label that there may be very many values of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricLabel {
    /// The id of the virtual key.
    Key,
    /// The id of its user.
    User,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// One account at a provider.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Which adapter: `openai`, `anthropic`, `demo`, `openai_compatible`, `vllm`, `groq`, ...
    pub kind: String,
    /// Base URL up to but without `/chat/completions` or `/messages`; absent: the provider's own.
    pub base_url: Option<String>,
    /// The credential: `env:NAME`, `file:PATH`, or the text itself. Absent for servers that ask for none.
    pub api_key: Option<SecretRef>,
    /// Azure: the version of the API, such as `2024-10-21`; absent: the v1 API, which has none.
    pub api_version: Option<String>,
    /// Azure: an application of Entra ID, in place of `api_key`.
    pub entra: Option<Entra>,
    /// Bedrock: the region, such as `us-east-1`.
    pub region: Option<String>,
    /// Bedrock: keys for AWS, in place of `api_key`.
    pub aws: Option<Aws>,
    /// Vertex AI: the project's id.
    pub project: Option<String>,
    /// Vertex AI: a region, `global`, or a multi-region (`us`, `eu`).
    pub location: Option<String>,
    /// Vertex AI: an account of Google Cloud, in place of `api_key`; absent: the account of the machine.
    pub google: Option<Google>,
    /// Headers sent with every request; their values may be references as secrets are.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretRef>,
    /// A hard budget on everything that is spent at it; once it is used up, its deployments are passed over.
    pub budget: Option<HardBudget>,
    /// Time limits.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Looks at it while nobody calls, by its list of models, which costs nothing; absent: no.
    pub health_check: Option<HealthCheck>,
    /// Fetches images and files that callers name by URL, where the provider does not do it itself; absent: such calls are refused.
    pub fetch_urls: Option<FetchUrls>,
}

/// How a provider is looked at while nobody calls.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// How often.
    pub interval: Span,
    /// So many checks may fail in a row; more, and its deployments are left alone until one succeeds.
    pub allowed_fails: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { interval: Span::seconds(30), allowed_fails: 1 }
    }
}

/// Time limits of one attempt.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// TCP and TLS.
    pub connect: Span,
    /// From sending to the first byte of the answer.
    pub first_byte: Span,
    /// From sending to the first content of a stream: pings keep no caller waiting for ever.
    pub first_token: Span,
    /// Between two reads of the answer; comments and pings count as life.
    pub idle: Span,
    /// The whole attempt.
    pub total: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span::seconds(5),
            first_byte: Span::seconds(120),
            first_token: Span::seconds(300),
            idle: Span::seconds(120),
            total: Span::seconds(1_800),
        }
    }
}

/// A model alias.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The name that callers use. With `*`, which stands for anything, all names that it matches and no other model has; see `model` of
    /// its deployments.
    pub name: String,
    /// More names for the same deployments. Each is a name of its own to rights, limits and budgets.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What serves it.
    pub deployments: Vec<Deployment>,
    /// How it chooses among them.
    #[serde(default)]
    pub strategy: Strategy,
    /// Aliases to try in order when every deployment fails.
    #[serde(default)]
    pub fallbacks: Vec<String>,
    /// Aliases to try when the prompt is too long for its deployments; absent: larger windows among them, then `fallbacks`.
    #[serde(default)]
    pub context_window_fallbacks: Vec<String>,
    /// Aliases to try when a content policy refused; absent: the refusal stands.
    #[serde(default)]
    pub content_policy_fallbacks: Vec<String>,
    /// When its deployments are left alone for a while; absent: as in `routing`.
    pub cooldown: Option<Cooldown>,
    /// How many retries it may make of its calls.
    #[serde(default)]
    pub retry_budget: RetryBudget,
    /// What becomes of answers that break after their first content was passed on; a call may say otherwise.
    #[serde(default)]
    pub on_midstream_failure: OnMidstreamFailure,
    /// Another model that a share of its calls is sent to as well.
    pub mirror: Option<Mirror>,
    /// Callers stay at a deployment by `user`, `key`, `customer` or `metadata.NAME`; absent: they do not.
    pub sticky: Option<Sticky>,
    /// Further attempts in the group once each of its deployments was tried.
    #[serde(default = "two")]
    pub retries: u32,
    /// In place of `retries`, after failures of these classes, each counted by itself: `{rate_limit: 5, timeout: 0}`. A class that is named is
    /// tried again even where nothing speaks for it (`invalid_request`), unless its provider asks not to be.
    #[serde(default)]
    pub retries_by_class: BTreeMap<FailureClass, u32>,
    /// Rate limits of the alias, over all callers.
    pub limits: Option<RateLimits>,
}

/// Rate limits. A limit that is not given is none.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// Calls per minute.
    pub requests_per_minute: Option<i64>,
    /// Calls per day of 24 hours.
    pub requests_per_day: Option<i64>,
    /// Tokens read and written per minute.
    pub tokens_per_minute: Option<i64>,
    /// Calls in flight at once. At a deployment: its slots, before which calls queue by priority and team.
    pub concurrent_requests: Option<i64>,
    /// Let the whole minute's worth pass at once, instead of half of its requests and a sixth of its tokens.
    pub full_burst: bool,
}

impl RateLimits {
    /// The contract's form.
    pub fn to_proto(&self) -> anyhow::Result<tollgate_proto::v1::RateLimits> {
        for (name, limit) in [
            ("requests_per_minute", self.requests_per_minute),
            ("requests_per_day", self.requests_per_day),
            ("tokens_per_minute", self.tokens_per_minute),
            ("concurrent_requests", self.concurrent_requests),
        ] {
            anyhow::ensure!(limit.is_none_or(|limit| limit > 0), "{name}: must be positive; leave it out for no limit");
        }
        Ok(tollgate_proto::v1::RateLimits {
            requests_per_minute: self.requests_per_minute,
            requests_per_day: self.requests_per_day,
            tokens_per_minute: self.tokens_per_minute,
            concurrent_requests: self.concurrent_requests,
            full_burst: self.full_burst,
        })
    }
}

fn two() -> u32 {
    2
}

/// One model at one provider.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Unique name; absent: `<provider>/<model>`.
    pub name: Option<String>,
    /// Name of the provider above.
    pub provider: String,
    /// The model in the provider's words. A `*` is what the same one of the name stands for.
    pub model: String,
    /// `PROVIDER/MODEL` of the catalogue whose price, window and capabilities it has; absent: found by `model`, which tells nothing where the
    /// provider or its server lets people choose names.
    pub base_model: Option<String>,
    /// Its share of the group's calls.
    #[serde(default = "one")]
    pub weight: u32,
    /// Which it is in line: those of a lower order come first, whatever the strategy.
    #[serde(default)]
    pub order: u32,
    /// Labels of calls that it may serve, where they bind: see `routing.tags`.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Where it runs, for calls that name a region.
    pub region: Option<String>,
    /// Price, in place of the catalogue's; absent: the catalogue's.
    pub price: Option<Price>,
    /// Most tokens of prompt and answer together; absent: the catalogue's.
    pub context_window: Option<u64>,
    /// Most tokens of an answer; absent: the catalogue's.
    pub max_output_tokens: Option<u64>,
    /// What the model can do; absent: the catalogue's list.
    pub capabilities: Option<Vec<String>>,
    /// Parameters that its provider cannot heed are left out instead of refused; absent: as `drop_params` says.
    pub drop_params: Option<bool>,
    /// A hard budget on what is spent at it; once it is used up, it is passed over. It needs a price.
    pub budget: Option<HardBudget>,
    /// Parameters of completions where the caller says nothing of them.
    #[serde(default)]
    pub defaults: Defaults,
    /// Limits that the gateway keeps towards it: what its provider allows.
    pub limits: Option<RateLimits>,
}

fn one() -> u32 {
    1
}

/// A virtual key that exists from the start. It is made once; later changes are made by `KeyAdminService`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProvisionedKey {
    /// A name for people.
    pub name: String,
    /// The secret, `tg-...` or, brought along from another gateway, `sk-...`: `env:NAME`, `file:PATH`, or the text itself. Kept only as a
    /// keyed hash.
    pub secret: SecretRef,
    /// Model aliases it may use, `*` for all.
    #[serde(default)]
    pub models: Vec<String>,
    /// Hard budget in dollars, as a decimal string; absent: none.
    pub budget_usd: Option<String>,
    /// What it may do.
    #[serde(default)]
    pub role: Role,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Completions, embeddings, rankings, moderations and images.
    #[default]
    Caller,
    /// Every admin RPC; no completions.
    PlatformAdmin,
}
