//! `success_callback`, `failure_callback`, `callbacks` and `alerting`: sinks, traces and channels, where the variables that they need are
//! set.

use serde_json::{Map, Value, json};

use super::{known::Kind, node::Node, section::Section};

/// The lists of callbacks, and whether what stands there sees successes.
const LISTS: [(&str, bool); 3] = [("callbacks", true), ("success_callback", true), ("failure_callback", false)];

/// A callback that is a sink here.
struct Callback {
    names: &'static [&'static str],
    /// Name of the sink.
    sink: &'static str,
    /// Variables that it cannot do without.
    needs: &'static [&'static str],
    make: fn(&Section<'_>) -> Option<Value>,
}

const KNOWN: [Callback; 8] = [
    Callback {
        names: &["langfuse", "langfuse_otel"],
        sink: "langfuse",
        needs: &["LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"],
        make: langfuse,
    },
    Callback { names: &["helicone"], sink: "helicone", needs: &["HELICONE_API_KEY"], make: helicone },
    Callback { names: &["datadog"], sink: "datadog", needs: &["DD_API_KEY"], make: datadog },
    Callback { names: &["s3", "s3_v2"], sink: "s3", needs: &[], make: s3 },
    Callback {
        names: &["azure_storage"],
        sink: "azure",
        needs: &["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_FILE_SYSTEM"],
        make: azure,
    },
    Callback { names: &["gcs_bucket"], sink: "gcs", needs: &["GCS_BUCKET_NAME"], make: gcs },
    Callback { names: &["sentry"], sink: "sentry", needs: &["SENTRY_DSN"], make: sentry },
    Callback { names: &["generic_api"], sink: "webhook", needs: &["GENERIC_LOGGER_ENDPOINT"], make: webhook },
];

/// Settings of the file that say what a variable says, and come before it.
const SETTINGS: [(&str, &[&str]); 3] = [
    ("LANGFUSE_PUBLIC_KEY", &["langfuse_public_key"]),
    ("LANGFUSE_SECRET_KEY", &["langfuse_secret_key", "langfuse_secret"]),
    ("LANGFUSE_HOST", &["langfuse_host"]),
];

fn names(section: &Section<'_>, key: &str) -> Vec<String> {
    match section.node(key) {
        Some(Node::List(items)) => {
            let text = |node: &Node| match node {
                Node::Text(text) => Some(text.clone()),
                _ => None,
            };
            items.iter().filter_map(text).collect()
        }
        Some(Node::Text(text)) => vec![text.clone()],
        _ => Vec::new(),
    }
}

/// What becomes of a callback.
enum Became {
    /// What it did there, `/metrics` does here.
    Metrics,
    /// A sink of this name.
    Sink(&'static str, Value),
    /// Traces, which are no sink: [`tracing`] makes them.
    Traces,
    /// Nothing, and why.
    Nothing(String),
}

/// The sinks by name.
pub(super) fn sinks(litellm: &Section<'_>) -> Map<String, Value> {
    let mut sinks: Map<String, Value> = Map::new();
    for (list, sees_successes) in LISTS {
        let (mut told, mut is_any, mut is_all) = (Vec::new(), false, true);
        for name in names(litellm, list) {
            let (is_made, is_same, what) = match became(litellm, &name) {
                Became::Metrics => {
                    (false, true, "GET /metrics tells it, under the names of docs/metrics.md".to_owned())
                }
                Became::Traces => (true, false, "calls are traced (tracing), without prompts and answers".to_owned()),
                Became::Sink(called, mut sink) => {
                    let known = sinks.get(called).is_some_and(|known| known.get("filter").is_none());
                    if !sees_successes && !known {
                        sink["filter"] = json!({ "only_failures": true });
                    }
                    if sees_successes || !sinks.contains_key(called) {
                        sinks.insert(called.to_owned(), sink);
                    }
                    (true, false, format!("is sinks.{called}, without prompts and answers"))
                }
                Became::Nothing(why) => (false, false, why),
            };
            is_any |= is_made;
            is_all &= is_same;
            told.push(format!("{name}: {what}"));
        }
        match (told.is_empty(), is_all, is_any) {
            (true, ..) => {}
            (_, true, _) => litellm.honoured(list),
            (_, _, true) => litellm.differently(list, told.join("; ")),
            (_, _, false) => litellm.ignored(list, told.join("; ")),
        }
    }
    if sinks.contains_key("s3") {
        litellm.differently("s3_callback_params", "objects of many records by date and hour; see sinks.s3");
    }
    sinks
}

fn became(litellm: &Section<'_>, name: &str) -> Became {
    let environment = &litellm.context.environment;
    match name {
        "prometheus" => return Became::Metrics,
        "otel" => {
            return match collector(litellm) {
                Some(_) => Became::Traces,
                None => Became::Nothing(format!("the environment variable {} is not set", COLLECTOR[0])),
            };
        }
        _ => {}
    }
    let Some(callback) = KNOWN.iter().find(|callback| callback.names.contains(&name)) else {
        return Became::Nothing("nothing is sent there; docs/sinks.md names where records can go".into());
    };
    let is_missing = |name: &&&str| setting(litellm, name).is_none() && environment.get(name).is_none();
    if let Some(missing) = callback.needs.iter().find(is_missing) {
        return Became::Nothing(format!("the environment variable {missing} is not set"));
    }
    match (callback.make)(litellm) {
        Some(sink) => Became::Sink(callback.sink, sink),
        None => Became::Nothing("s3_callback_params.s3_bucket_name is not given".into()),
    }
}

/// Where a collector is said to be.
const COLLECTOR: [&str; 2] = ["OTEL_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

fn collector(litellm: &Section<'_>) -> Option<String> {
    value(litellm, &COLLECTOR)
}

/// `tracing`, where `otel` is one of the callbacks. Headers are read from `OTEL_EXPORTER_OTLP_HEADERS`, where they are secret.
pub(super) fn tracing(litellm: &Section<'_>) -> Option<Value> {
    let is_wanted = LISTS.iter().any(|(list, _)| names(litellm, list).iter().any(|name| name == "otel"));
    let endpoint = collector(litellm).filter(|_| is_wanted)?;
    let exporter = value(litellm, &["OTEL_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL"]).unwrap_or_default();
    let protocol = if exporter.contains("grpc") { "grpc" } else { "http" };
    let mut tracing = json!({ "enabled": true, "endpoint": endpoint, "protocol": protocol });
    if let Some(service) = value(litellm, &["OTEL_SERVICE_NAME"]) {
        tracing["service_name"] = service.into();
    }
    Some(tracing)
}

/// The setting that says what a variable says, where the file has one with a value.
fn setting(section: &Section<'_>, variable: &str) -> Option<&'static str> {
    let (_, settings) = SETTINGS.iter().find(|(name, _)| *name == variable)?;
    settings.iter().copied().find(|setting| section.peek(setting).is_some())
}

/// The variable, or the setting in its place, as a reference.
fn secret(section: &Section<'_>, name: &str) -> Value {
    let written = setting(section, name).and_then(|setting| section.secret(setting));
    written.unwrap_or_else(|| section.context.environment.reference_to(name)).into()
}

/// The same as a value.
fn value(section: &Section<'_>, names: &[&str]) -> Option<String> {
    let of_file = |name: &str| section.text(setting(section, name)?);
    names.iter().find_map(|name| of_file(name).or_else(|| section.context.environment.get(name)))
}

fn langfuse(litellm: &Section<'_>) -> Option<Value> {
    let mut langfuse = json!({
        "public_key": secret(litellm, "LANGFUSE_PUBLIC_KEY"),
        "secret_key": secret(litellm, "LANGFUSE_SECRET_KEY"),
    });
    if let Some(host) = value(litellm, &["LANGFUSE_HOST", "LANGFUSE_BASE_URL"]) {
        langfuse["host"] = host.into();
    }
    Some(json!({ "langfuse": langfuse }))
}

fn helicone(litellm: &Section<'_>) -> Option<Value> {
    Some(json!({ "helicone": { "api_key": secret(litellm, "HELICONE_API_KEY") } }))
}

fn datadog(litellm: &Section<'_>) -> Option<Value> {
    let mut datadog = json!({ "api_key": secret(litellm, "DD_API_KEY") });
    for (setting, variable) in [("site", "DD_SITE"), ("service", "DD_SERVICE")] {
        if let Some(value) = value(litellm, &[variable]) {
            datadog[setting] = value.into();
        }
    }
    Some(json!({ "datadog": datadog }))
}

fn s3(litellm: &Section<'_>) -> Option<Value> {
    let params = litellm.section("s3_callback_params");
    let mut s3 = json!({ "bucket": params.text("s3_bucket_name")? });
    let plain = [("region", "s3_region_name"), ("endpoint", "s3_endpoint_url"), ("prefix", "s3_path")];
    for (setting, param) in plain {
        if let Some(value) = params.text(param) {
            s3[setting] = value.into();
        }
    }
    let keys = [
        ("access_key_id", "s3_aws_access_key_id"),
        ("secret_access_key", "s3_aws_secret_access_key"),
        ("session_token", "s3_aws_session_token"),
    ];
    let keys: Vec<_> = keys.into_iter().filter_map(|(setting, param)| Some((setting, params.secret(param)?))).collect();
    // One without the other is no key: the machine's own is used, as there.
    for (setting, key) in keys.into_iter().filter(|_| params.has("s3_aws_secret_access_key")) {
        s3[setting] = key.into();
    }
    params.finish(Kind::S3);
    Some(json!({ "s3": s3 }))
}

fn azure(litellm: &Section<'_>) -> Option<Value> {
    let mut azure = json!({
        "account": value(litellm, &["AZURE_STORAGE_ACCOUNT_NAME"])?,
        "container": value(litellm, &["AZURE_STORAGE_FILE_SYSTEM"])?,
    });
    if value(litellm, &["AZURE_STORAGE_ACCOUNT_KEY"]).is_some() {
        azure["access_key"] = secret(litellm, "AZURE_STORAGE_ACCOUNT_KEY");
    }
    Some(json!({ "azure": azure }))
}

fn gcs(litellm: &Section<'_>) -> Option<Value> {
    let mut gcs = json!({ "bucket": value(litellm, &["GCS_BUCKET_NAME"])? });
    if let Some(path) = value(litellm, &["GCS_PATH_SERVICE_ACCOUNT"]) {
        gcs["service_account"] = format!("file:{path}").into();
    }
    Some(json!({ "gcs": gcs }))
}

fn sentry(litellm: &Section<'_>) -> Option<Value> {
    Some(json!({ "sentry": { "dsn": secret(litellm, "SENTRY_DSN") } }))
}

fn webhook(litellm: &Section<'_>) -> Option<Value> {
    Some(json!({ "webhook": { "url": secret(litellm, "GENERIC_LOGGER_ENDPOINT") } }))
}

/// The channels of alerts by name.
pub(super) fn alerts(general: &Section<'_>) -> Map<String, Value> {
    let mut channels = Map::new();
    let mut told = Vec::new();
    for name in names(general, "alerting") {
        let is_set = general.context.environment.get("SLACK_WEBHOOK_URL").is_some();
        match name.as_str() {
            "slack" if is_set => {
                channels.insert(
                    "slack".into(),
                    json!({ "slack": { "webhook_url": secret(general, "SLACK_WEBHOOK_URL") } }),
                );
                told.push("slack is alerts.channels.slack, with the rules of docs/alerts.md".to_owned());
            }
            "slack" => told.push("slack: the environment variable SLACK_WEBHOOK_URL is not set".to_owned()),
            _ => told.push(format!("{name}: write alerts.channels in the native file; docs/alerts.md names the kinds")),
        }
    }
    match (channels.is_empty(), told.is_empty()) {
        (_, true) => {}
        (true, false) => general.ignored("alerting", told.join("; ")),
        (false, false) => general.differently("alerting", told.join("; ")),
    }
    channels
}
