//! Accounts at clouds, whose credentials are more than a key.

use serde_json::{Map, Value};
use tollgate_http::litellm::providers::is_classic;

use super::{accounts::Account, section::Section};

/// The first of these settings that a row has, else the first of these variables that is set.
fn either(params: &Section<'_>, keys: &[&str], variables: &[&str]) -> Option<String> {
    let own = keys.iter().filter_map(|key| params.text(key)).collect::<Vec<_>>();
    own.into_iter().next().or_else(|| variables.iter().find_map(|name| params.context.environment.get(name)))
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<String>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value.into());
    }
}

/// A classic address has a version of the API in it; without one the v1 API is called, as Foundry's models always are.
pub(super) fn azure(params: &Section<'_>, account: &mut Account, foundry: bool) {
    let version = either(params, &["api_version"], &["AZURE_API_VERSION"]);
    if foundry {
        if version.is_some() && params.has("api_version") {
            params.differently("api_version", "the v1 API is called, which has none");
        }
    } else {
        put(&mut account.settings, "api_version", version.filter(|version| is_classic(version)));
    }
    let tenant = either(params, &["tenant_id"], &[]);
    let client = either(params, &["client_id"], &[]);
    let secret = params.secret("client_secret");
    let scope = either(params, &["azure_scope"], &[]);
    if let (Some(tenant), Some(client), Some(secret)) = (tenant, client, secret) {
        let mut entra = Map::new();
        put(&mut entra, "tenant_id", Some(tenant));
        put(&mut entra, "client_id", Some(client));
        put(&mut entra, "client_secret", Some(secret));
        put(&mut entra, "scope", scope);
        account.settings.insert("entra".into(), entra.into());
    }
}

/// `us-east-1`, `us-gov-west-1`.
fn is_region(word: &str) -> bool {
    let words: Vec<_> = word.split('-').collect();
    let letters = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    let Some((last, first)) = words.split_last() else { return false };
    first.len() >= 2 && first.iter().all(letters) && last.len() == 1 && last.bytes().all(|b| b.is_ascii_digit())
}

pub(super) fn bedrock(params: &Section<'_>, account: &mut Account) {
    for prefix in ["converse/", "converse_like/"] {
        if let Some(rest) = account.model.strip_prefix(prefix) {
            account.model = rest.to_owned();
        }
    }
    let (invoke, model) = match account.model.strip_prefix("invoke/") {
        Some(rest) => (true, rest.to_owned()),
        None => (false, account.model.clone()),
    };
    let (in_model, model) = match model.split_once('/') {
        Some((word, rest)) if is_region(word) => (Some(word.to_owned()), rest.to_owned()),
        _ => (None, model),
    };
    account.model = if invoke { format!("invoke/{model}") } else { model };
    let variables = ["AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"];
    let region = either(params, &["aws_region_name"], &variables);
    // What LiteLLM takes where nothing is said.
    let region = in_model.or(region).unwrap_or_else(|| "us-west-2".to_owned());
    put(&mut account.settings, "region", Some(region));
    put(&mut account.settings, "base_url", params.text("aws_bedrock_runtime_endpoint"));
    let mut aws = Map::new();
    for (ours, theirs) in [
        ("access_key_id", "aws_access_key_id"),
        ("secret_access_key", "aws_secret_access_key"),
        ("session_token", "aws_session_token"),
    ] {
        put(&mut aws, ours, params.secret(theirs));
    }
    for (ours, theirs) in [
        ("profile", "aws_profile_name"),
        ("role_arn", "aws_role_name"),
        ("role_session_name", "aws_session_name"),
        ("external_id", "aws_external_id"),
        ("sts_endpoint", "aws_sts_endpoint"),
    ] {
        put(&mut aws, ours, params.text(theirs));
    }
    let environment = &params.context.environment;
    let has_own =
        params.has("api_key") || ["access_key_id", "secret_access_key", "profile"].iter().any(|k| aws.contains_key(*k));
    if !has_own && aws.is_empty() && environment.get("AWS_BEARER_TOKEN_BEDROCK").is_some() {
        let key = environment.reference_to("AWS_BEARER_TOKEN_BEDROCK");
        account.settings.insert("api_key".into(), key.into());
    } else if !has_own {
        aws.extend(keys_of_the_file(params));
    }
    if !aws.is_empty() {
        account.settings.insert("aws".into(), aws.into());
    }
}

/// The pair of keys among the file's own variables. Those of the process are not looked for: AWS's default chain finds them.
fn keys_of_the_file(params: &Section<'_>) -> Map<String, Value> {
    let environment = &params.context.environment;
    let mut keys = Map::new();
    if ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].iter().all(|name| environment.has_own(name)) {
        for (ours, theirs) in [
            ("access_key_id", "AWS_ACCESS_KEY_ID"),
            ("secret_access_key", "AWS_SECRET_ACCESS_KEY"),
            ("session_token", "AWS_SESSION_TOKEN"),
        ] {
            put(&mut keys, ours, environment.has_own(theirs).then(|| environment.reference_to(theirs)));
        }
    }
    keys
}

pub(super) fn vertex(params: &Section<'_>, account: &mut Account) -> Result<(), String> {
    let credentials = credentials(params);
    let project = either(params, &["vertex_project", "vertex_ai_project"], &["VERTEXAI_PROJECT", "VERTEX_PROJECT"]);
    let project = project.or_else(|| project_of(credentials.as_deref()?));
    let location =
        either(params, &["vertex_location", "vertex_ai_location"], &["VERTEXAI_LOCATION", "VERTEX_LOCATION"]);
    let project = project.ok_or("vertex_project: is required, or the variable VERTEXAI_PROJECT")?;
    put(&mut account.settings, "project", Some(project));
    // What LiteLLM takes where nothing is said.
    put(&mut account.settings, "location", Some(location.unwrap_or_else(|| "us-central1".to_owned())));
    if let Some(credentials) = credentials.filter(|_| !params.has("api_key")) {
        let mut google = Map::new();
        put(&mut google, "credentials", Some(credentials));
        account.settings.insert("google".into(), google.into());
    }
    Ok(())
}

/// As our own reference: LiteLLM takes a path, or the file's JSON, in the setting or in a variable.
fn credentials(params: &Section<'_>) -> Option<String> {
    let environment = &params.context.environment;
    let by_value = |reference: String, value: Option<String>| match value {
        Some(value) if !value.trim_start().starts_with('{') => format!("file:{value}"),
        _ => reference,
    };
    for key in ["vertex_credentials", "vertex_ai_credentials"] {
        if let Some(super::node::Node::Map(_)) = params.node(key) {
            params.ignored(key, "must be the path of a credentials file, or its JSON as text");
            return None;
        }
        if let Some(written) = params.written(key) {
            let value = environment.text(&written).ok();
            return Some(by_value(environment.reference(&written), value));
        }
    }
    let path = environment.get("GOOGLE_APPLICATION_CREDENTIALS")?;
    Some(format!("file:{path}"))
}

/// A service account's file names its project.
fn project_of(credentials: &str) -> Option<String> {
    let text = match credentials.strip_prefix("file:") {
        Some(path) => std::fs::read_to_string(path).ok()?,
        None => credentials.to_owned(),
    };
    let file: Value = serde_json::from_str(&text).ok()?;
    Some(file.get("project_id")?.as_str()?.to_owned())
}
