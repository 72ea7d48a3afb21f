//! `general_settings` and `litellm_settings`: who administers, what replicas share, what is logged.

use serde_json::{Map, Value, json};

use super::{
    budgets,
    known::{CACHING, Kind},
    section::Section,
};

/// Names that LiteLLM reads unasked.
const MASTER_KEY: &str = "LITELLM_MASTER_KEY";
const SALT_KEY: &str = "LITELLM_SALT_KEY";
const DATABASE_URL: &str = "DATABASE_URL";

/// The admin's key, as a reference; `None`: there is none.
pub(super) fn master_key(general: &Section<'_>) -> Option<String> {
    let environment = &general.context.environment;
    let written = general.written("master_key");
    let Some(written) = written else {
        let is_set = environment.get(MASTER_KEY).is_some();
        return is_set.then(|| environment.reference_to(MASTER_KEY));
    };
    match environment.text(&written) {
        Ok(key) if !key.starts_with("sk-") && !key.starts_with("tg-") => {
            general.ignored("master_key", "must begin with sk-; without it an admin key is made at the first start");
            return None;
        }
        Ok(_) => {
            general.differently("master_key", "an admin key that is kept as a keyed hash; others are made with it")
        }
        Err(name) => general.ignored(
            "master_key",
            format!(
                "the environment variable {name} is not set; an admin key is made at the first start, nothing is open"
            ),
        ),
    }
    Some(environment.reference(&written))
}

/// What replicas share: PostgreSQL, and Redis beside it.
pub(super) fn store(
    general: &Section<'_>,
    litellm: &Section<'_>,
    router: &Section<'_>,
    master_key: Option<&String>,
) -> Option<Map<String, Value>> {
    let mut store = postgres(general, master_key);
    let redis = redis(litellm, router, store.is_some());
    if let (Some(store), Some(redis)) = (&mut store, redis) {
        store.insert("redis_url".into(), redis.into());
    }
    store
}

fn postgres(general: &Section<'_>, master_key: Option<&String>) -> Option<Map<String, Value>> {
    let environment = &general.context.environment;
    let written = general.written("database_url");
    let url = match &written {
        Some(written) => environment.reference(written),
        None if environment.get(DATABASE_URL).is_some() => environment.reference_to(DATABASE_URL),
        None => return None,
    };
    let is_postgres = |url: &String| url.starts_with("postgres://") || url.starts_with("postgresql://");
    let value = written.as_ref().map_or(environment.get(DATABASE_URL), |written| environment.text(written).ok());
    match value {
        Some(value) if !is_postgres(&value) => {
            general.ignored("database_url", "is not PostgreSQL's; the embedded database in `data_dir` is used");
            return None;
        }
        Some(_) => general.differently(
            "database_url",
            "the ledger of record, in tables of its own; use another database than LiteLLM's, whose migrations may drop them",
        ),
        None => general.ignored("database_url", "its environment variable is not set; the embedded database is used"),
    }
    let secret = match environment.get(SALT_KEY) {
        Some(_) => environment.reference_to(SALT_KEY),
        None => match master_key {
            Some(master_key) => master_key.clone(),
            None => {
                general.ignored(
                    "database_url",
                    format!("virtual keys are hashed with {SALT_KEY} or the master key, and there is neither; the embedded database is used"),
                );
                return None;
            }
        },
    };
    let mut store = Map::new();
    store.insert("postgres_url".into(), url.into());
    store.insert("secret".into(), format!("derive:{secret}").into());
    Some(store)
}

/// The address of Redis as a reference; nothing of it is read now.
fn redis(litellm: &Section<'_>, router: &Section<'_>, is_used: bool) -> Option<String> {
    // Without one is how it is here.
    if litellm.flag("cache") == Some(true) {
        litellm.ignored("cache", CACHING);
    }
    let cache = litellm.section("cache_params");
    let kind = cache.text("type").unwrap_or_else(|| "redis".to_owned());
    let of_cache = litellm.has("cache_params") && kind.starts_with("redis");
    if litellm.has("cache_params") && !of_cache {
        cache.ignored("type", "answers are not cached yet; each call reaches a provider");
    }
    let found = match of_cache {
        true => address(&cache, ""),
        false => None,
    };
    let of_router = address(router, "redis_");
    let told = |section: &Section<'_>, prefix: &str| {
        for key in ["type", "url", "host", "port", "password", "username", "ssl"] {
            let key = format!("{prefix}{key}");
            match section.has(&key) {
                true if is_used => section
                    .differently(&key, "used for what replicas share, beside PostgreSQL; answers are not cached yet"),
                true => {
                    section.ignored(&key, "Redis is used beside PostgreSQL only: set general_settings.database_url")
                }
                false => {}
            }
        }
    };
    if found.is_some() {
        told(&cache, "");
    }
    if of_router.is_some() {
        told(router, "redis_");
    }
    cache.finish(Kind::Cache);
    let environment = &litellm.context.environment;
    let by_variable = || environment.get("REDIS_URL").map(|_| environment.reference_to("REDIS_URL"));
    of_router.or(found).or_else(by_variable)
}

fn address(section: &Section<'_>, prefix: &str) -> Option<String> {
    let key = |name: &str| format!("{prefix}{name}");
    let environment = &section.context.environment;
    if section.node(&key("startup_nodes")).is_some() {
        section.ignored(&key("startup_nodes"), "write store.redis_url in the native file: redis+cluster://node,node");
    }
    if let Some(url) = section.secret(&key("url")) {
        return Some(url);
    }
    // A variable stays a variable; what stands in the file is written as URLs want it.
    let piece = |written: String| {
        let reference = environment.reference(&written);
        match reference.strip_prefix("env:") {
            Some(name) => format!("{{env:{name}}}"),
            None => {
                let text = reference.strip_prefix("text:").unwrap_or(&reference);
                percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
            }
        }
    };
    let unescaped = |text: String| text.replace("%2E", ".").replace("%2D", "-");
    let [host, port, password, username] =
        ["host", "port", "password", "username"].map(|name| section.written(&key(name)));
    let host =
        unescaped(piece(host.or_else(|| environment.get("REDIS_HOST").map(|_| "os.environ/REDIS_HOST".into()))?));
    let port = port.map_or("6379".to_owned(), piece);
    let login = match (username, password) {
        (None, None) => String::new(),
        (username, password) => {
            format!("{}:{}@", username.map(piece).unwrap_or_default(), password.map(piece).unwrap_or_default())
        }
    };
    let scheme = if section.flag(&key("ssl")) == Some(true) { "rediss" } else { "redis" };
    let url = format!("{scheme}://{login}{host}:{port}");
    Some(if url.contains('{') { format!("template:{url}") } else { url })
}

/// The whole gateway's budget.
pub(super) fn budget(litellm: &Section<'_>) -> Option<Map<String, Value>> {
    let budget = budgets::budget(litellm, "max_budget", "budget_duration")?;
    litellm
        .differently("max_budget", "a hard budget on the gateway, made once and changed by BudgetService; models without a price are refused under it");
    Some(budget)
}

/// What is logged.
pub(super) fn log(litellm: &Section<'_>) -> Map<String, Value> {
    let mut log = Map::new();
    if let Some(json) = litellm.flag("json_logs") {
        log.insert("format".into(), if json { "json" } else { "human" }.into());
    }
    if litellm.flag("set_verbose") == Some(true) {
        litellm.differently("set_verbose", "more is logged, but never prompts, answers or keys");
        log.insert("level".into(), "tollgate=debug,info".into());
    }
    log
}

/// The largest request.
pub(super) fn limits(general: &Section<'_>) -> Option<Value> {
    let bytes = general.decimal("max_request_size_mb")?.shifted(6).ceiling().filter(|bytes| *bytes > 0);
    if bytes.is_none() {
        general.ignored("max_request_size_mb", "must be a number of megabytes, more than 0");
    }
    bytes.map(|bytes| json!({ "max_body_bytes": bytes }))
}
