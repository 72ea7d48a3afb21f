//! LiteLLM Proxy's `config.yaml`, read as it is: it becomes a native configuration, and a report of what became of each setting.
//!
//! Lenient where our own file is strict: a row that cannot be used is left out, a setting that nobody knows is listed, and the gateway
//! starts. What comes out goes through the same checks as a native file. Secrets stay references and are read where they are needed.

mod accounts;
mod budgets;
mod callbacks;
mod clouds;
mod convert;
mod decimal;
mod defaults;
mod environment;
mod known;
mod models;
mod node;
mod prices;
mod report;
mod router;
mod section;
mod settings;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, fs, path::Path};

use serde_json::{Map, Value};

pub use self::convert::convert;
pub use self::report::{Note, Report, Verdict};
use self::{
    environment::Environment,
    known::Kind,
    node::Node,
    section::{Context, Section},
};

/// What only LiteLLM's files have at their top.
const MARKS: [&str; 4] = ["model_list", "litellm_settings", "router_settings", "general_settings"];
/// Where LiteLLM listens.
const LISTEN: &str = "0.0.0.0:4000";

/// A native configuration and what was lost on the way to it.
pub struct Translated {
    /// The native configuration; its secrets are references wherever they were.
    pub native: Map<String, Value>,
    /// What became of each setting.
    pub report: Report,
}

/// Whether a text is in LiteLLM's dialect: it has one of its marks at the top, and nothing of ours.
pub fn is_litellm(text: &str) -> bool {
    let marked = |key: &str| MARKS.contains(&key);
    let ours = |key: &str| key == "providers" || key == "models";
    if !MARKS.iter().any(|mark| text.contains(mark)) {
        return false;
    }
    match serde_yaml_ng::from_str::<serde_yaml_ng::Mapping>(text) {
        Ok(top) => {
            let has = |wanted: &dyn Fn(&str) -> bool| top.keys().filter_map(|key| key.as_str()).any(wanted);
            has(&marked) && !has(&ours)
        }
        // Broken: whoever reads it says where.
        Err(_) => {
            let has = |wanted: &dyn Fn(&str) -> bool| {
                text.lines().filter_map(|l| l.split_once(':')).any(|(key, _)| wanted(key))
            };
            has(&marked) && !has(&ours)
        }
    }
}

/// Translates a file that lies in `dir`. `process` is the environment.
pub fn translate(text: &str, dir: &Path, process: &dyn Fn(&str) -> Option<String>) -> Result<Translated, String> {
    let mut root = Node::read(text).map_err(|error| error.to_string())?;
    let included = include(&mut root, dir)?;
    let environment = Environment::new(root.get("environment_variables"), process);
    let context = Context { environment, report: RefCell::new(Report::default()) };
    let native = native(&context, &root);
    if included {
        context.note(
            "include",
            Verdict::Differently("read with the file; only a change of the file itself is noticed".into()),
        );
    }
    let report = context.report.into_inner();
    Ok(Translated { native, report })
}

/// What other files say besides: lists go on, anything else is theirs.
fn include(root: &mut Node, dir: &Path) -> Result<bool, String> {
    let Some(Node::List(files)) = root.get("include").cloned() else { return Ok(false) };
    let Node::Map(entries) = root else { return Ok(false) };
    for file in files {
        let Node::Text(name) = file else { return Err("include: must be a list of files".into()) };
        let path = dir.join(&name);
        let text = fs::read_to_string(&path).map_err(|error| format!("include: {}: {error}", path.display()))?;
        let more = Node::read(&text).map_err(|error| format!("include: {}: {error}", path.display()))?;
        let Node::Map(more) = more else { continue };
        for (key, node) in more {
            match (entries.iter_mut().find(|(known, _)| *known == key), node) {
                (Some((_, Node::List(items))), Node::List(others)) => items.extend(others),
                (Some((_, known)), node) => *known = node,
                (None, node) => entries.push((key, node)),
            }
        }
    }
    Ok(true)
}

fn native(context: &Context<'_>, root: &Node) -> Map<String, Value> {
    let top = Section::new(context, "", Some(root));
    let [router, litellm, general] =
        ["router_settings", "litellm_settings", "general_settings"].map(|name| top.section(name));
    if top.node("include").is_some() {
        top.honoured("include");
    }
    let times = router::times(&router, &litellm);
    let mut rows = models::read(context, &top, &router, times);
    budgets::of_providers(&mut rows, &router);
    let models = router::models(&rows, &router, &litellm);
    let tagged = rows.groups.iter().flat_map(|group| &group.rows).any(|row| !row.tags.is_empty());
    let routing = router::routing(&models, &router, &litellm);
    if tagged && !routing.contains_key("tags") {
        for row in rows.groups.iter().flat_map(|group| &group.rows).filter(|row| !row.tags.is_empty()) {
            let note = "tags bind nobody while router_settings.enable_tag_filtering is off";
            context.note(format!("{}.tags", row.path), Verdict::Ignored(note.into()));
        }
    }
    if router.flag("enable_pre_call_checks") == Some(false) {
        router.differently("enable_pre_call_checks", "a prompt that is known not to fit a window is not sent there");
    }
    let master_key = settings::master_key(&general);
    let store = settings::store(&general, &litellm, &router, master_key.as_ref());

    let mut native = Map::new();
    let mut put = |key: &str, value: Value| {
        let is_empty = value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
        if !is_empty {
            native.insert(key.to_owned(), value);
        }
    };
    put("listen", LISTEN.into());
    put("log", settings::log(&litellm).into());
    put("limits", settings::limits(&general).unwrap_or_else(|| Map::new().into()));
    put("missing_secrets", "go_without".into());
    put("store", store.map_or_else(|| Map::new().into(), Value::from));
    if let Some(budget) = settings::budget(&litellm) {
        put("budgets", serde_json::json!({ "gateway": budget }));
    }
    put(
        "providers",
        rows.providers
            .iter()
            .cloned()
            .map(|(name, settings)| (name, settings.into()))
            .collect::<Map<_, Value>>()
            .into(),
    );
    put("models", models.into_iter().map(Value::from).collect::<Vec<_>>().into());
    put("drop_params", litellm.flag("drop_params").unwrap_or(false).into());
    put("routing", routing.into());
    // The master key calls models there.
    put("admin_completions", true.into());
    if let Some(secret) = master_key {
        put("keys", serde_json::json!([{ "name": "master key", "secret": secret, "role": "platform_admin" }]));
    }
    put("sinks", callbacks::sinks(&litellm).into());
    if let Some(tracing) = callbacks::tracing(&litellm) {
        put("tracing", tracing);
    }
    let channels = callbacks::alerts(&general);
    if !channels.is_empty() {
        put("alerts", serde_json::json!({ "channels": channels }));
    }
    variables(&top);
    router.finish(Kind::Router);
    litellm.finish(Kind::Litellm);
    general.finish(Kind::General);
    top.finish(Kind::Top);
    native
}

/// `environment_variables`: which of them reached something. Called when everything else is read.
fn variables(top: &Section<'_>) {
    const KEY: &str = "environment_variables";
    let entries = match top.node(KEY) {
        None => return,
        Some(Node::Map(entries)) => entries,
        Some(other) => return top.ignored(KEY, format!("must be a map of variable to text, not {}", other.what())),
    };
    top.honoured(KEY);
    for (name, node) in entries {
        let key = format!("{KEY}.{name}");
        match node {
            Node::Null => {}
            Node::List(_) | Node::Map(_) => top.ignored(&key, format!("must be text, not {}", node.what())),
            _ if top.context.environment.is_asked(name) => {}
            _ => top.ignored(&key, "nothing here reads it from the file: set it in the environment of the process"),
        }
    }
}
