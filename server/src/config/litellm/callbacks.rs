//! `success_callback`, `failure_callback`, `callbacks` and `alerting`: sinks and channels, where the variables that they need are set.

use serde_json::{Map, Value, json};

use super::{node::Node, section::Section};

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

const KNOWN: [Callback; 7] = [
    Callback {
        names: &["langfuse", "langfuse_otel"],
        sink: "langfuse",
        needs: &["LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"],
        make: langfuse,
    },
    Callback { names: &["helicone"], sink: "helicone", needs: &["HELICONE_API_KEY"], make: helicone },
    Callback { names: &["datadog"], sink: "datadog", needs: &["DD_API_KEY"], make: datadog },
    Callback { names: &["s3", "s3_v2"], sink: "s3", needs: &[], make: s3 },
    Callback { names: &["gcs_bucket"], sink: "gcs", needs: &["GCS_BUCKET_NAME"], make: gcs },
    Callback { names: &["sentry"], sink: "sentry", needs: &["SENTRY_DSN"], make: sentry },
    Callback { names: &["generic_api"], sink: "webhook", needs: &["GENERIC_LOGGER_ENDPOINT"], make: webhook },
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

/// The sinks by name.
pub(super) fn sinks(litellm: &Section<'_>) -> Map<String, Value> {
    let mut sinks: Map<String, Value> = Map::new();
    for (list, sees_successes) in LISTS {
        let mut told = Vec::new();
        for name in names(litellm, list) {
            told.push(match sink(litellm, &name) {
                Ok((called, mut sink)) => {
                    let known = sinks.get(called).is_some_and(|known| known.get("filter").is_none());
                    if !sees_successes && !known {
                        sink["filter"] = json!({ "only_failures": true });
                    }
                    if sees_successes || !sinks.contains_key(called) {
                        sinks.insert(called.to_owned(), sink);
                    }
                    (true, format!("{name} is sinks.{called}, without prompts and answers"))
                }
                Err(why) => (false, format!("{name}: {why}")),
            });
        }
        let all = || told.iter().map(|(_, told)| told.as_str()).collect::<Vec<_>>().join("; ");
        match told.iter().any(|(is_made, _)| *is_made) {
            true => litellm.differently(list, all()),
            false if !told.is_empty() => litellm.ignored(list, all()),
            false => {}
        }
    }
    if sinks.contains_key("s3") {
        litellm.differently("s3_callback_params", "objects of many records by date and hour; see sinks.s3");
    }
    sinks
}

fn sink(litellm: &Section<'_>, name: &str) -> Result<(&'static str, Value), String> {
    if name == "prometheus" {
        return Err("nothing to set: /metrics is always there".into());
    }
    let callback = KNOWN.iter().find(|callback| callback.names.contains(&name));
    let callback = callback.ok_or("nothing is sent there; docs/sinks.md names where records can go")?;
    let environment = &litellm.context.environment;
    if let Some(missing) = callback.needs.iter().find(|name| environment.get(name).is_none()) {
        return Err(format!("the environment variable {missing} is not set"));
    }
    let made = (callback.make)(litellm).ok_or("s3_callback_params.s3_bucket_name is not given")?;
    Ok((callback.sink, made))
}

/// The variable as a reference.
fn secret(litellm: &Section<'_>, name: &str) -> Value {
    litellm.context.environment.reference_to(name).into()
}

/// The variable's value.
fn value(litellm: &Section<'_>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| litellm.context.environment.get(name))
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
    let keys = [("access_key_id", "s3_aws_access_key_id"), ("secret_access_key", "s3_aws_secret_access_key")];
    let keys: Vec<_> = keys.into_iter().filter_map(|(setting, param)| Some((setting, params.secret(param)?))).collect();
    // One without the other is no key: the machine's own is used, as there.
    for (setting, key) in keys.into_iter().filter(|_| params.has("s3_aws_secret_access_key")) {
        s3[setting] = key.into();
    }
    Some(json!({ "s3": s3 }))
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
