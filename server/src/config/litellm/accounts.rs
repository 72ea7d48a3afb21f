//! From a row's parameters to the account that it uses: kind, address, credential, time limits.

use serde_json::{Map, Value, json};
use tollgate_http::litellm::providers::Meant;

use super::{
    clouds,
    node::Node,
    section::{Section, span},
};

/// Where a deployment is whose address stands in a variable that is not set: nowhere, so that its calls fail and go elsewhere.
const NOWHERE: &str = "http://address-is-not-set.invalid";

/// Time limits that hold where a row has none, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub(super) timeout: Option<u64>,
    pub(super) stream_timeout: Option<u64>,
}

/// An account, and the model in its words.
pub(super) struct Account {
    pub(super) settings: Map<String, Value>,
    pub(super) model: String,
    /// The catalogue's name of the model, where the kind tells nothing.
    pub(super) base_model: Option<String>,
}

/// The account of a row; the error says why there is none.
pub(super) fn account(params: &Section<'_>, meant: Meant, times: Times) -> Result<Account, String> {
    let (base, is_given) = address(params, meant.known.bases);
    let served = meant.served(base.as_deref(), is_given);
    let lacks_address = served.lacks_address();
    let mut of_row = Account { settings: Map::new(), model: served.model, base_model: served.base_model };
    of_row.settings.insert("kind".into(), served.kind.into());
    match served.kind {
        "bedrock" => clouds::bedrock(params, &mut of_row),
        "vertex" => clouds::vertex(params, &mut of_row)?,
        "azure" => clouds::azure(params, &mut of_row, meant.is_foundry()),
        _ => {}
    }
    if let Some(base) = served.base_url {
        of_row.settings.insert("base_url".into(), base.into());
    } else if lacks_address {
        return Err("api_base: is required for this provider".to_owned());
    }
    let by_cloud = ["aws", "entra", "google"].iter().any(|way| of_row.settings.contains_key(*way));
    if let Some(key) = key(params, &meant, is_given || meant.known.keyless).filter(|_| !by_cloud) {
        of_row.settings.insert("api_key".into(), key.into());
    }
    if let Some(headers) = headers(params) {
        of_row.settings.insert("headers".into(), headers);
    }
    if let Some(timeouts) = timeouts(params, times) {
        of_row.settings.insert("timeouts".into(), timeouts);
    }
    if let Some(difference) = meant.difference {
        params.differently("model", difference);
    }
    Ok(of_row)
}

/// The address, and whether the row itself gives it.
fn address(params: &Section<'_>, variables: &[&str]) -> (Option<String>, bool) {
    for key in ["api_base", "base_url"] {
        if params.has(key) {
            let text = params.text(key);
            if text.is_none() {
                params.ignored(key, "its environment variable is not set; calls of this deployment fail until it is");
            }
            return (Some(text.unwrap_or_else(|| NOWHERE.to_owned())), true);
        }
    }
    (variables.iter().find_map(|name| params.context.environment.get(name)), false)
}

/// The row's key, else the variable's that LiteLLM looks at. Servers of one's own are called without where it is not set.
fn key(params: &Section<'_>, meant: &Meant, keyless: bool) -> Option<String> {
    if params.has("api_key") {
        return params.secret("api_key");
    }
    let environment = &params.context.environment;
    let name = environment.preferred(meant.known.keys)?;
    (!keyless || environment.get(name).is_some()).then(|| environment.reference_to(name))
}

fn headers(params: &Section<'_>) -> Option<Value> {
    let mut headers = Map::new();
    match params.node("extra_headers") {
        Some(Node::Map(entries)) => {
            params.honoured("extra_headers");
            for (name, value) in entries {
                match value {
                    Node::Text(text) | Node::Number(text) => {
                        headers.insert(name.clone(), params.context.environment.reference(text).into());
                    }
                    other => params.ignored("extra_headers", format!("{name:?} must be text, not {}", other.what())),
                }
            }
        }
        Some(other) => {
            params.ignored("extra_headers", format!("must be a map of header to text, not {}", other.what()))
        }
        None => {}
    }
    if let Some(organization) = params.secret("organization") {
        headers.insert("OpenAI-Organization".into(), organization.into());
    }
    (!headers.is_empty()).then(|| headers.into())
}

fn timeouts(params: &Section<'_>, times: Times) -> Option<Value> {
    let own = (params.milliseconds("timeout"), params.milliseconds("stream_timeout"));
    let timeout = own.0.or(times.timeout).filter(|ms| *ms > 0);
    let stream = own.1.or(times.stream_timeout).filter(|ms| *ms > 0);
    if timeout.is_none() && stream.is_none() {
        return None;
    }
    if own.0.is_some() {
        params.differently(
            "timeout",
            "as there, until the head of an answer and between two reads; not the length of a stream",
        );
    }
    if own.1.is_some_and(|stream| timeout.is_some_and(|timeout| stream > timeout)) {
        params
            .differently("stream_timeout", "until the first content of a stream; its head must come within `timeout`");
    }
    let mut limits = Map::new();
    if let Some(ms) = timeout {
        limits.insert("first_byte".into(), span(ms).into());
        if ms < 5_000 {
            limits.insert("connect".into(), span(ms).into());
        }
        if ms > 1_800_000 {
            limits.insert("total".into(), span(ms).into());
        }
    }
    if let Some(ms) = stream.or(timeout) {
        limits.insert("first_token".into(), span(ms).into());
        limits.insert("idle".into(), span(ms).into());
    }
    Some(json!(limits))
}
