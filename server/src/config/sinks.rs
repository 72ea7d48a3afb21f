//! `sinks:`, as they are written, and as the sinks want them.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use tollgate_domain::Secret;
use tollgate_objects::{ObjectPlace, S3};
use tollgate_sinks::{Batching, Filter, Form, Kind, Redaction, Sampling, SinkOptions};

use super::{SecretRef, Span};

/// Where closed call records go besides the audit log. Exactly one kind of receiver is given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sink {
    /// Langfuse.
    pub langfuse: Option<LangfuseSink>,
    /// Helicone.
    pub helicone: Option<HeliconeSink>,
    /// Datadog.
    pub datadog: Option<DatadogSink>,
    /// Objects in S3, or in what speaks its protocol.
    pub s3: Option<S3Sink>,
    /// Objects in Google Cloud Storage.
    pub gcs: Option<GcsSink>,
    /// Objects in Azure Blob Storage.
    pub azure: Option<AzureSink>,
    /// Objects in a directory of this machine.
    pub local: Option<LocalSink>,
    /// Sentry, for failures alone.
    pub sentry: Option<SentrySink>,
    /// Anything that takes arrays of JSON over HTTP.
    pub webhook: Option<WebhookSettings>,
    /// A collector of OpenTelemetry: logs over HTTP.
    pub otlp: Option<OtlpSink>,
    /// A line of JSON on standard output for each record.
    pub stdout: Option<StdoutSink>,
    /// Which records.
    pub filter: SinkFilter,
    /// What of them is left out or hashed, before anything leaves memory.
    pub redact: SinkRedaction,
    /// Of every hundred calls so many, from 0 to 100 with up to four decimals, as text or number: the same calls at every sink and replica.
    pub sample_percent: Percent,
    /// Failures are taken whatever the part is.
    pub sample_all_failures: bool,
    /// How records are put together.
    pub batch: SinkBatch,
    /// At most so many records wait in memory while a batch is on its way, from 1 to 1,000,000; more go to disk. Absent: 4,096.
    pub memory_records: Option<usize>,
    /// At most so many bytes of files under `data_dir/sinks/NAME`; what finds no room is dropped and counted. Absent: 256 MiB.
    pub spill_max_bytes: Option<u64>,
    /// Time for one request, or one object; absent: 30 seconds.
    pub timeout: Option<Span>,
}

/// A share in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(u32);

impl Default for Percent {
    fn default() -> Self {
        Self(1_000_000)
    }
}

impl Percent {
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || fraction.len() > 4 || !digits(whole) || !digits(fraction) {
            return None;
        }
        let parts: u32 = format!("{whole}{fraction:0<4}").parse().ok()?;
        (parts <= 1_000_000).then_some(Self(parts))
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_yaml_ng::Value::deserialize(deserializer)? {
            serde_yaml_ng::Value::Number(number) => number.to_string(),
            serde_yaml_ng::Value::String(text) => text,
            _ => String::new(),
        };
        // A whole number may come as 10.0.
        let shortened = text.strip_suffix(".0").unwrap_or(&text);
        Self::parse(shortened).ok_or_else(|| {
            serde::de::Error::custom(format!("{text:?} is no share from 0 to 100 with up to four decimals"))
        })
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["number", "string"], "minimum": 0, "maximum": 100, "pattern": "^[0-9]{1,3}(\\.[0-9]{1,4})?$" })
    }
}

/// Which records a sink takes: those that meet all of this.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkFilter {
    /// Only actions that begin with one of these: `completion.`, `embedding.create`; empty: all.
    pub actions: Vec<String>,
    /// Only calls of these teams, by id; empty: all.
    pub teams: Vec<String>,
    /// Only calls for these model aliases; empty: all.
    pub models: Vec<String>,
    /// Only what failed.
    pub only_failures: bool,
    /// Acts of admins too.
    pub admin_acts: bool,
}

/// What of a record is left out or hashed. Names: `peer`, `tags`, `metadata`, `metadata.KEY`, `key`, `user`, `team`, `organization`,
/// `subject`, `changes`, `native`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkRedaction {
    /// These are left out.
    pub drop: Vec<String>,
    /// Of these, 16 hex digits stand for each value: the same for the same value, and nothing can be read from them.
    pub hash: Vec<String>,
}

/// How records are put together.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkBatch {
    /// At most so many; absent: 100, of objects 5,000.
    pub max_records: Option<usize>,
    /// At most so many bytes; absent: 1 MiB, of objects 8 MiB.
    pub max_bytes: Option<usize>,
    /// No record waits longer for others; absent: 2 seconds, of objects 60.
    pub max_age: Option<Span>,
}

/// Langfuse's ingestion API.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LangfuseSink {
    /// Base URL; absent: `https://cloud.langfuse.com`.
    pub host: Option<String>,
    /// The project's public key.
    pub public_key: SecretRef,
    /// Its secret key.
    pub secret_key: SecretRef,
    /// What traces are marked with.
    pub environment: Option<String>,
}

/// Helicone's log of custom calls.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeliconeSink {
    /// The whole URL; absent: `https://api.worker.helicone.ai/custom/v1/log`.
    pub url: Option<String>,
    /// The API key.
    pub api_key: SecretRef,
}

/// Datadog's intake of logs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatadogSink {
    /// The site: `datadoghq.com`, `datadoghq.eu`, `us5.datadoghq.com`, ...; absent: `datadoghq.com`.
    pub site: Option<String>,
    /// Base URL of the intake, in place of the site's own.
    pub url: Option<String>,
    /// The API key.
    pub api_key: SecretRef,
    /// `service` of the logs; absent: `tollgate`.
    pub service: Option<String>,
    /// `ddtags` of the logs: `env:production`, ...
    #[serde(default)]
    pub tags: Vec<String>,
}

/// What objects look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectForm {
    /// A record a line, many in an object.
    #[default]
    Ndjson,
    /// The same, gzipped.
    NdjsonGz,
    /// An object for each record.
    Json,
}

/// S3.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Sink {
    /// The bucket.
    pub bucket: String,
    /// The region; absent: `us-east-1`.
    pub region: Option<String>,
    /// Where it is, for what is not AWS.
    pub endpoint: Option<String>,
    /// A key; goes with `secret_access_key`. Absent: as the machine is known (container, web identity, instance).
    pub access_key_id: Option<SecretRef>,
    /// Its secret.
    pub secret_access_key: Option<SecretRef>,
    /// Token of a session that the key belongs to.
    pub session_token: Option<SecretRef>,
    /// Before the date in the names of objects.
    #[serde(default)]
    pub prefix: String,
    /// What they look like.
    #[serde(default)]
    pub form: ObjectForm,
}

/// Google Cloud Storage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GcsSink {
    /// The bucket.
    pub bucket: String,
    /// JSON of a service account: `file:PATH` or `env:NAME`; absent: the machine's.
    pub service_account: Option<SecretRef>,
    /// Where an emulator is; it is asked without credentials.
    pub endpoint: Option<String>,
    /// Before the date in the names of objects.
    #[serde(default)]
    pub prefix: String,
    /// What they look like.
    #[serde(default)]
    pub form: ObjectForm,
}

/// Azure Blob Storage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureSink {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// The account's key; absent: the machine's identity.
    pub access_key: Option<SecretRef>,
    /// Where it is, for what is not Azure itself.
    pub endpoint: Option<String>,
    /// Before the date in the names of objects.
    #[serde(default)]
    pub prefix: String,
    /// What they look like.
    #[serde(default)]
    pub form: ObjectForm,
}

/// A directory.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalSink {
    /// The directory; made where it is missing.
    pub dir: PathBuf,
    /// Before the date in the names of files.
    #[serde(default)]
    pub prefix: String,
    /// What they look like.
    #[serde(default)]
    pub form: ObjectForm,
}

/// Sentry.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SentrySink {
    /// `https://PUBLIC_KEY@HOST/PROJECT`.
    pub dsn: SecretRef,
    /// `environment` of the events.
    pub environment: Option<String>,
}

/// Anything that takes JSON over HTTP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Where to.
    pub url: SecretRef,
    /// Signs each body: header `tollgate-signature: t=SECONDS,v1=HEX`, HMAC-SHA-256 over `SECONDS.BODY`. Absent: none.
    pub secret: Option<SecretRef>,
    /// Headers sent along; their values may be references as secrets are.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretRef>,
}

/// A collector of OpenTelemetry.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpSink {
    /// Base URL, up to but without `/v1/logs`: `http://localhost:4318`.
    pub endpoint: String,
    /// Headers sent along; their values may be references as secrets are.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretRef>,
    /// `service.name`; absent: `tollgate`.
    pub service: Option<String>,
}

/// Standard output.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StdoutSink {}

type Read<T> = Result<T, String>;

pub(super) fn secret(reference: &SecretRef, setting: &str) -> Read<Secret> {
    reference.resolve().map_err(|why| format!("{setting}: {why}"))
}

fn optional(reference: &Option<SecretRef>, setting: &str) -> Read<Option<Secret>> {
    reference.as_ref().map(|reference| secret(reference, setting)).transpose()
}

pub(super) fn headers(given: &BTreeMap<String, SecretRef>) -> Read<Vec<(String, Secret)>> {
    given.iter().map(|(name, value)| Ok((name.clone(), secret(value, &format!("headers.{name}"))?))).collect()
}

/// `key`: its id, its secret, and the token of a session.
pub(super) fn s3(
    bucket: &str,
    region: &Option<String>,
    endpoint: &Option<String>,
    key: [&Option<SecretRef>; 3],
) -> Read<ObjectPlace> {
    let [id, secret, token] = key;
    let id = optional(id, "s3.access_key_id")?;
    let key = match (id, optional(secret, "s3.secret_access_key")?) {
        (Some(id), Some(key)) => Some((id, key)),
        (None, None) => None,
        _ => return Err("s3: access_key_id and secret_access_key go together".into()),
    };
    Ok(ObjectPlace::S3(S3 {
        bucket: bucket.to_owned(),
        region: region.clone().unwrap_or_else(|| "us-east-1".into()),
        endpoint: endpoint.clone(),
        key,
        session_token: optional(token, "s3.session_token")?,
    }))
}

pub(super) fn gcs(bucket: &str, account: &Option<SecretRef>, endpoint: &Option<String>) -> Read<ObjectPlace> {
    let service_account = optional(account, "gcs.service_account")?;
    Ok(ObjectPlace::Gcs { bucket: bucket.to_owned(), service_account, endpoint: endpoint.clone() })
}

pub(super) fn azure(
    account: &str,
    container: &str,
    key: &Option<SecretRef>,
    endpoint: &Option<String>,
) -> Read<ObjectPlace> {
    Ok(ObjectPlace::Azure {
        account: account.to_owned(),
        container: container.to_owned(),
        access_key: optional(key, "azure.access_key")?,
        endpoint: endpoint.clone(),
    })
}

impl WebhookSettings {
    /// Every secret that it names.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        [&self.url].into_iter().chain(&self.secret).chain(self.headers.values())
    }
}

impl Sink {
    /// Every secret that it names.
    pub(super) fn secrets(&self) -> Vec<&SecretRef> {
        let mut secrets = Vec::new();
        secrets.extend(self.langfuse.iter().flat_map(|it| [&it.public_key, &it.secret_key]));
        secrets.extend(self.helicone.iter().map(|it| &it.api_key));
        secrets.extend(self.datadog.iter().map(|it| &it.api_key));
        secrets.extend(
            self.s3.iter().flat_map(|it| it.access_key_id.iter().chain(&it.secret_access_key).chain(&it.session_token)),
        );
        secrets.extend(self.gcs.iter().flat_map(|it| &it.service_account));
        secrets.extend(self.azure.iter().flat_map(|it| &it.access_key));
        secrets.extend(self.sentry.iter().map(|it| &it.dsn));
        secrets.extend(self.webhook.iter().flat_map(WebhookSettings::secrets));
        secrets.extend(self.otlp.iter().flat_map(|it| it.headers.values()));
        secrets
    }

    /// As the sinks want it; the error begins with the setting.
    pub fn read(&self, name: &str) -> Read<SinkOptions> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
            return Err("a sink's name has 1 to 64 letters, digits, `-` or `_`: its directory is called so".into());
        }
        let mut options = SinkOptions::new(name, self.kind()?);
        options.filter = Filter {
            actions: self.filter.actions.clone(),
            teams: self.filter.teams.clone(),
            models: self.filter.models.clone(),
            only_failures: self.filter.only_failures,
            admin_acts: self.filter.admin_acts,
        };
        options.redaction =
            Redaction::read(&self.redact.drop, &self.redact.hash).map_err(|why| format!("redact: {why}"))?;
        options.sampling = Sampling { per_million: self.sample_percent.0, all_failures: self.sample_all_failures };
        options.batching = self.batching(options.batching)?;
        match self.memory_records {
            Some(1..=1_000_000) | None => {}
            Some(_) => return Err("memory_records: must be from 1 to 1,000,000".into()),
        }
        options.memory_records = self.memory_records.unwrap_or(options.memory_records);
        options.spill_max_bytes = self.spill_max_bytes.unwrap_or(options.spill_max_bytes);
        if let Some(timeout) = self.timeout {
            options.timeout = timeout.duration();
        }
        Ok(options)
    }

    fn batching(&self, usual: Batching) -> Read<Batching> {
        let batching = Batching {
            max_records: self.batch.max_records.unwrap_or(usual.max_records),
            max_bytes: self.batch.max_bytes.unwrap_or(usual.max_bytes),
            max_age: self.batch.max_age.map_or(usual.max_age, Span::duration),
        };
        match (batching.max_records, batching.max_bytes) {
            (0, _) => Err("batch.max_records: must be at least 1".into()),
            (_, 0) => Err("batch.max_bytes: must be at least 1".into()),
            _ => Ok(batching),
        }
    }

    fn kind(&self) -> Read<Kind> {
        let mut kinds = self.observers()?;
        kinds.extend(self.objects()?);
        kinds.extend(self.generic()?);
        let only = kinds.pop();
        match (only, kinds.is_empty()) {
            (Some(kind), true) => Ok(kind),
            (Some(_), false) => Err("names several receivers; make a sink for each".into()),
            (None, _) => {
                Err("names no receiver: give one of langfuse, helicone, datadog, s3, gcs, azure, local, sentry, \
                              webhook, otlp, stdout"
                    .into())
            }
        }
    }

    fn observers(&self) -> Read<Vec<Kind>> {
        let mut kinds = Vec::new();
        if let Some(langfuse) = &self.langfuse {
            kinds.push(Kind::Langfuse(tollgate_sinks::Langfuse {
                host: langfuse.host.clone().unwrap_or_else(|| "https://cloud.langfuse.com".into()),
                public_key: secret(&langfuse.public_key, "langfuse.public_key")?,
                secret_key: secret(&langfuse.secret_key, "langfuse.secret_key")?,
                environment: langfuse.environment.clone(),
            }));
        }
        if let Some(helicone) = &self.helicone {
            let url = helicone.url.clone().unwrap_or_else(|| "https://api.worker.helicone.ai/custom/v1/log".into());
            let api_key = secret(&helicone.api_key, "helicone.api_key")?;
            kinds.push(Kind::Helicone(tollgate_sinks::Helicone { url, api_key }));
        }
        if let Some(datadog) = &self.datadog {
            let site = datadog.site.as_deref().unwrap_or("datadoghq.com");
            kinds.push(Kind::Datadog(tollgate_sinks::Datadog {
                url: datadog.url.clone().unwrap_or_else(|| format!("https://http-intake.logs.{site}")),
                api_key: secret(&datadog.api_key, "datadog.api_key")?,
                service: datadog.service.clone().unwrap_or_else(|| "tollgate".into()),
                tags: datadog.tags.clone(),
            }));
        }
        if let Some(sentry) = &self.sentry {
            let dsn = secret(&sentry.dsn, "sentry.dsn")?;
            kinds.push(Kind::Sentry(tollgate_sinks::Sentry { dsn, environment: sentry.environment.clone() }));
        }
        Ok(kinds)
    }

    fn objects(&self) -> Read<Vec<Kind>> {
        let mut kinds = Vec::new();
        let mut push = |place: ObjectPlace, prefix: &str, form: ObjectForm| {
            let form = match form {
                ObjectForm::Ndjson => Form::Ndjson,
                ObjectForm::NdjsonGz => Form::NdjsonGz,
                ObjectForm::Json => Form::Json,
            };
            kinds.push(Kind::Objects(tollgate_sinks::Objects { place, prefix: prefix.to_owned(), form }));
        };
        if let Some(s3) = &self.s3 {
            let key = [&s3.access_key_id, &s3.secret_access_key, &s3.session_token];
            push(self::s3(&s3.bucket, &s3.region, &s3.endpoint, key)?, &s3.prefix, s3.form);
        }
        if let Some(gcs) = &self.gcs {
            push(self::gcs(&gcs.bucket, &gcs.service_account, &gcs.endpoint)?, &gcs.prefix, gcs.form);
        }
        if let Some(azure) = &self.azure {
            let place = self::azure(&azure.account, &azure.container, &azure.access_key, &azure.endpoint)?;
            push(place, &azure.prefix, azure.form);
        }
        if let Some(local) = &self.local {
            push(ObjectPlace::Local { dir: local.dir.clone() }, &local.prefix, local.form);
        }
        Ok(kinds)
    }

    fn generic(&self) -> Read<Vec<Kind>> {
        let mut kinds = Vec::new();
        if let Some(webhook) = &self.webhook {
            kinds.push(Kind::Webhook(tollgate_sinks::Webhook {
                url: secret(&webhook.url, "webhook.url")?,
                secret: optional(&webhook.secret, "webhook.secret")?,
                headers: headers(&webhook.headers)?,
            }));
        }
        if let Some(otlp) = &self.otlp {
            kinds.push(Kind::Otlp(tollgate_sinks::Otlp {
                endpoint: otlp.endpoint.clone(),
                headers: headers(&otlp.headers)?,
                service: otlp.service.clone().unwrap_or_else(|| "tollgate".into()),
            }));
        }
        if self.stdout.is_some() {
            kinds.push(Kind::Stdout(tollgate_sinks::Stdout::default()));
        }
        Ok(kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Read<SinkOptions> {
        serde_yaml_ng::from_str::<Sink>(yaml).map_err(|e| e.to_string())?.read("calls")
    }

    #[test]
    fn a_sink_leads_to_exactly_one_receiver() {
        assert_eq!(read("stdout: {}").map(|o| o.kind.name().to_owned()), Ok("stdout".into()));
        assert_eq!(read("local: { dir: /tmp/x }").map(|o| o.kind.name().to_owned()), Ok("local".into()));
        assert!(read("filter: { only_failures: true }").is_err_and(|why| why.contains("names no receiver")));
        assert!(read("stdout: {}\nlocal: { dir: /tmp/x }").is_err_and(|why| why.contains("several receivers")));
    }

    #[test]
    fn a_secret_that_is_not_there_is_named_by_its_setting() {
        let read = read("datadog: { api_key: \"env:TOLLGATE_TEST_NO_SUCH_VARIABLE\" }");
        let why = read.err().unwrap_or_default();
        assert!(why.starts_with("datadog.api_key: the environment variable"), "{why}");
    }

    #[test]
    fn shares_have_up_to_four_decimals() {
        let per_million =
            |yaml: &str| read(&format!("stdout: {{}}\nsample_percent: {yaml}")).map(|o| o.sampling.per_million);
        assert_eq!(per_million("10"), Ok(100_000));
        assert_eq!(per_million("\"0.0001\""), Ok(1));
        assert_eq!(per_million("12.5"), Ok(125_000));
        assert_eq!(per_million("100"), Ok(1_000_000));
        for bad in ["101", "-1", "\"0.00001\"", "\"\"", "[]"] {
            assert!(per_million(bad).is_err(), "{bad}");
        }
    }
}
