//! `router_settings`, and what of `litellm_settings` means the same: strategies, retries, fallbacks, cooldowns, tags, aliases.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use tollgate_router::pattern;

use super::{
    accounts::Times,
    known::Kind,
    models::{Group, Models},
    node::Node,
    section::{Section, span},
};

/// The label that LiteLLM keeps calls without labels to.
const DEFAULT_TAG: &str = "default";
/// Retries where nothing is said, there as here.
const RETRIES: u64 = 2;
/// Kinds of fallbacks, as they are called on both sides.
const KINDS: [&str; 3] = ["fallbacks", "context_window_fallbacks", "content_policy_fallbacks"];

/// Time limits of rows that have none.
pub(super) fn times(router: &Section<'_>, litellm: &Section<'_>) -> Times {
    let first = |sections: [&Section<'_>; 2], keys: &[&str]| {
        let all: Vec<_> = sections.iter().flat_map(|s| keys.iter().filter_map(|key| s.milliseconds(key))).collect();
        all.into_iter().next()
    };
    for (section, key) in [(router, "timeout"), (router, "request_timeout"), (litellm, "request_timeout")] {
        if section.has(key) {
            section.differently(key, "for rows without `timeout`: until the head of an answer and between two reads");
        }
    }
    Times {
        timeout: first([router, litellm], &["timeout", "request_timeout"]),
        stream_timeout: first([router, litellm], &["stream_timeout"]),
    }
}

/// Models of the native file.
pub(super) fn models(models: &Models, router: &Section<'_>, litellm: &Section<'_>) -> Vec<Map<String, Value>> {
    let strategy = strategy(router);
    let retries = router.count("num_retries", 0);
    let retries = retries.or(litellm.count("num_retries", 0)).unwrap_or(RETRIES);
    let general = router.node("retry_policy").map(|_| policy(router.section("retry_policy"), router, "retry_policy"));
    let of_groups = policies_of_groups(models, router);
    let mut natives: Vec<_> = Vec::new();
    for group in &models.groups {
        let own = of_groups.iter().find(|(name, _)| *name == group.name).map(|(_, policy)| policy);
        natives.push(model(group, strategy, retries, own.or(general.as_ref()), router));
    }
    aliases(&mut natives, router);
    for section in [router, litellm] {
        for kind in KINDS {
            fallbacks(&mut natives, section, kind);
        }
    }
    // Those of the first kind are the native `default_fallbacks`; the others have no default of their own.
    for kind in &KINDS[1..] {
        fallbacks_of_all(&mut natives, [router, litellm], kind);
    }
    natives
}

fn strategy(router: &Section<'_>) -> &'static str {
    let Some(named) = router.text("routing_strategy") else { return "shuffle" };
    match named.as_str() {
        "simple-shuffle" => "shuffle",
        "least-busy" => "least-busy",
        "latency-based-routing" => {
            router.differently(
                "routing_strategy",
                "time to the first content, not the time of the whole answer by its length",
            );
            "latency"
        }
        "usage-based-routing" | "usage-based-routing-v2" => {
            router
                .differently("routing_strategy", "the largest share of its limits that is left, not the fewest tokens");
            "usage"
        }
        "cost-based-routing" => {
            router.differently("routing_strategy", "cheapest for the call's own prompt and output limit");
            "cost"
        }
        other => {
            router.ignored("routing_strategy", format!("{other:?} is not offered; the strategy is simple-shuffle"));
            "shuffle"
        }
    }
}

/// LiteLLM's names of failures, and the classes that they are here.
const FAILURES: &[(&str, &[&str])] = &[
    ("BadRequestErrorRetries", &["invalid_request"]),
    ("AuthenticationErrorRetries", &["authentication", "permission"]),
    ("TimeoutErrorRetries", &["timeout"]),
    ("RateLimitErrorRetries", &["rate_limit", "quota_exceeded"]),
    ("ContentPolicyViolationErrorRetries", &["content_filter"]),
    ("InternalServerErrorRetries", &["server_error", "upstream_protocol", "upstream_truncated"]),
    ("ServiceUnavailableErrorRetries", &["overloaded"]),
    ("NotFoundErrorRetries", &["not_found"]),
];

/// How often to try again, by the class of the failure.
struct Policy {
    default: Option<u64>,
    by_class: Map<String, Value>,
}

fn policy(given: Section<'_>, router: &Section<'_>, key: &str) -> Policy {
    router
        .differently(key, "counted besides one attempt at each deployment of the model, and for each class by itself");
    let mut by_class = Map::new();
    for (name, classes) in FAILURES {
        if let Some(retries) = given.count(name, 0) {
            by_class.extend(classes.iter().map(|class| ((*class).to_owned(), retries.min(100).into())));
        }
    }
    let default = given.count("DefaultRetries", 0);
    given.finish(Kind::Router);
    Policy { default, by_class }
}

/// `model_group_retry_policy`: a policy for each of some models.
fn policies_of_groups(models: &Models, router: &Section<'_>) -> Vec<(String, Policy)> {
    const KEY: &str = "model_group_retry_policy";
    let entries = match router.node(KEY) {
        Some(Node::Map(entries)) => entries,
        Some(_) => {
            router.ignored(KEY, "must be a map of model to policy");
            return Vec::new();
        }
        None => return Vec::new(),
    };
    router.honoured(KEY);
    let mut policies = Vec::new();
    for (name, given) in entries {
        let key = format!("{KEY}.{name}");
        match models.groups.iter().any(|group| group.name == *name) {
            true => {
                let section = Section::new(router.context, router.path(&key), Some(given));
                policies.push((name.clone(), policy(section, router, &key)));
            }
            false => router.ignored(&key, "there is no such model"),
        }
    }
    policies
}

fn model(
    group: &Group,
    strategy: &str,
    retries: u64,
    policy: Option<&Policy>,
    router: &Section<'_>,
) -> Map<String, Value> {
    let mut native = Map::new();
    native.insert("name".into(), group.name.clone().into());
    native.insert("strategy".into(), strategy.into());
    let own = group.rows.iter().filter_map(|row| row.retries).max();
    let retries = own.or(policy.and_then(|policy| policy.default)).unwrap_or(retries);
    native.insert("retries".into(), retries.min(100).into());
    if let Some(policy) = policy.filter(|policy| !policy.by_class.is_empty()) {
        native.insert("retries_by_class".into(), policy.by_class.clone().into());
    }
    let cooldowns: HashSet<_> = group.rows.iter().map(|row| row.cooldown).collect();
    if let Some(longest) = group.rows.iter().filter_map(|row| row.cooldown).max() {
        if cooldowns.len() > 1 {
            let note = super::report::Verdict::Differently(
                "the longest of the model's deployments holds for all of them".into(),
            );
            for row in group.rows.iter().filter(|row| row.cooldown.is_some()) {
                router.context.note(format!("{}.litellm_params.cooldown_time", row.path), note.clone());
            }
        }
        let mut cooldown = cooldown(router);
        cooldown.insert("time".into(), span(longest).into());
        native.insert("cooldown".into(), cooldown.into());
    }
    let deployments = group.rows.iter().map(|row| Value::from(row.deployment.clone()));
    native.insert("deployments".into(), deployments.collect());
    native
}

/// What holds for all deployments.
fn cooldown(router: &Section<'_>) -> Map<String, Value> {
    let mut cooldown = Map::new();
    if let Some(allowed) = router.count("allowed_fails", 0) {
        router.differently("allowed_fails", "more in a row, or more within a minute that are half of the attempts");
        cooldown.insert("allowed_fails".into(), allowed.min(u64::from(u32::MAX)).into());
    }
    if let Some(time) = router.milliseconds("cooldown_time") {
        router.differently("cooldown_time", "one call then tries whether it is back; each that fails doubles the time");
        cooldown.insert("time".into(), span(time).into());
    }
    if router.flag("disable_cooldowns") == Some(true) {
        cooldown.insert("time".into(), "0s".into());
    }
    cooldown
}

/// Whether there is a model of this name.
fn has(natives: &[Map<String, Value>], name: &str) -> bool {
    natives.iter().any(|native| {
        let is = |known: &Value| known.as_str().is_some_and(|known| pattern::matches(known, name));
        native.get("name").is_some_and(is)
            || native.get("aliases").and_then(Value::as_array).into_iter().flatten().any(is)
    })
}

fn name_of(native: &Map<String, Value>) -> &str {
    native.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// Whether a model or an alias is called so, patterns apart.
fn is_taken(natives: &[Map<String, Value>], name: &str) -> bool {
    natives.iter().any(|native| {
        let is = |known: &Value| known == name;
        native.get("name").is_some_and(is)
            || native.get("aliases").and_then(Value::as_array).into_iter().flatten().any(is)
    })
}

fn named<'n>(natives: &'n mut [Map<String, Value>], name: &str) -> Option<&'n mut Map<String, Value>> {
    natives.iter_mut().find(|native| name_of(native) == name)
}

fn push(native: &mut Map<String, Value>, key: &str, value: String) {
    let list = native.entry(key).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut().filter(|list| !list.contains(&Value::from(value.clone()))) {
        list.push(value.into());
    }
}

/// `alias: model`, or `alias: {model: model, hidden: true}`.
fn aliases(natives: &mut [Map<String, Value>], router: &Section<'_>) {
    let Some(node) = router.node("model_group_alias") else { return };
    let Node::Map(entries) = node else {
        return router.ignored("model_group_alias", "must be a map of alias to model");
    };
    router.honoured("model_group_alias");
    for (alias, target) in entries {
        let key = format!("model_group_alias.{alias}");
        let model = match target {
            Node::Text(model) => Some(model),
            other => match other.get("model") {
                Some(Node::Text(model)) => Some(model),
                _ => None,
            },
        };
        if is_taken(natives, alias) {
            router.ignored(&key, "there is a model of this name");
            continue;
        }
        match model.and_then(|model| named(natives, model)) {
            Some(native) if !alias.contains('*') => {
                push(native, "aliases", alias.clone());
                match target.get("hidden") {
                    Some(Node::Flag(true)) => {
                        router.differently(&key, "it is listed: a name of its own to keys and budgets")
                    }
                    _ => router.differently(&key, "a name of its own to the rights, limits and budgets of keys"),
                }
            }
            _ => router.ignored(&key, "there is no such model, or none whose name is free of `*`"),
        }
    }
}

/// `[{model: [other, ...]}, ...]`; the model `*` stands for all that name none.
fn fallbacks(natives: &mut Vec<Map<String, Value>>, section: &Section<'_>, kind: &str) {
    let maps: &[Node] = match section.node(kind) {
        None => return,
        Some(Node::List(maps)) => maps,
        Some(other) => {
            return section
                .ignored(kind, format!("must be a list of maps such as {{model: [other]}}, not {}", other.what()));
        }
    };
    section.honoured(kind);
    for other in maps.iter().filter(|map| !matches!(map, Node::Map(_))) {
        let what = other.what();
        section.ignored(kind, format!("must be a list of maps such as {{model: [other]}}; one entry is {what}"));
    }
    let entries = maps.iter().flat_map(|map| match map {
        Node::Map(entries) => entries.as_slice(),
        _ => &[],
    });
    for (model, targets) in entries.filter(|(model, _)| model != "*") {
        let key = format!("{kind}.{model}");
        if !materialised(natives, model) {
            section.ignored(&key, "there is no such model");
            continue;
        }
        let known = targets_of(targets, section, &key).into_iter().filter(|target| {
            let there = has(natives, target) && target != model;
            if !there {
                section.ignored(&format!("{key}.{target}"), "there is no such model to fall back to");
            }
            there
        });
        let known: Vec<_> = known.collect();
        if let Some(native) = named(natives, model) {
            known.into_iter().for_each(|target| push(native, kind, target));
        }
    }
}

/// What `*` has: the fallbacks of every model that names none of this kind.
fn fallbacks_of_all(natives: &mut [Map<String, Value>], sections: [&Section<'_>; 2], kind: &str) {
    let open: Vec<_> =
        natives.iter().filter(|native| !native.contains_key(kind)).map(|n| name_of(n).to_owned()).collect();
    let key = format!("{kind}.*");
    for section in sections {
        let Some(Node::List(maps)) = section.node(kind) else { continue };
        for targets in maps.iter().filter_map(|map| map.get("*")) {
            for target in targets_of(targets, section, &key) {
                if !has(natives, &target) {
                    section.ignored(&format!("{key}.{target}"), "there is no such model to fall back to");
                    continue;
                }
                let others = natives.iter_mut().filter(|native| name_of(native) != target);
                for native in others.filter(|native| open.iter().any(|name| name == name_of(native))) {
                    push(native, kind, target.clone());
                }
            }
        }
    }
}

/// Whether fallbacks can be written down for this name: one that only a pattern has is given an entry of its own.
fn materialised(natives: &mut Vec<Map<String, Value>>, name: &str) -> bool {
    if named(natives, name).is_some() {
        return true;
    }
    if name.contains('*') {
        return false;
    }
    let found =
        natives.iter().filter(|native| name_of(native).contains('*') && pattern::matches(name_of(native), name));
    let Some(found) = found.max_by_key(|native| name_of(native).len()) else { return false };
    let mut one = found.clone();
    let captured = pattern::captures(name_of(found), name).unwrap_or_default();
    one.insert("name".into(), name.into());
    for deployment in one.get_mut("deployments").and_then(Value::as_array_mut).into_iter().flatten() {
        let model = deployment.get("model").and_then(Value::as_str).unwrap_or_default();
        deployment["model"] = pattern::filled(model, &captured).into();
        // Another deployment than the pattern's, under a name of its own.
        if let Some(map) = deployment.as_object_mut() {
            map.remove("name");
        }
    }
    natives.push(one);
    true
}

fn targets_of(targets: &Node, section: &Section<'_>, key: &str) -> Vec<String> {
    let items = match targets {
        Node::List(items) => items.iter().collect(),
        one => vec![one],
    };
    let mut names = Vec::new();
    for item in items {
        match (item, item.get("model")) {
            (Node::Text(name), _) => names.push(name.clone()),
            (_, Some(Node::Text(name))) => {
                section.differently(key, "requests go along as they are: parameters of a fallback are not added");
                names.push(name.clone());
            }
            _ => section.ignored(key, "must be a list of models"),
        }
    }
    names
}

/// The native `routing`: defaults of fallbacks, cooldowns, tags.
pub(super) fn routing(
    natives: &[Map<String, Value>],
    router: &Section<'_>,
    litellm: &Section<'_>,
) -> Map<String, Value> {
    let mut routing = Map::new();
    let mut defaults: Vec<String> = Vec::new();
    for section in [router, litellm] {
        defaults.extend(section.texts("default_fallbacks").unwrap_or_default());
        let Some(Node::List(maps)) = section.node("fallbacks") else { continue };
        for targets in maps.iter().filter_map(|map| map.get("*")) {
            defaults.extend(targets_of(targets, section, "fallbacks"));
        }
    }
    let (known, unknown): (Vec<_>, Vec<_>) = defaults.into_iter().partition(|name| has(natives, name));
    for name in unknown {
        router.ignored(&format!("default_fallbacks.{name}"), "there is no such model to fall back to");
    }
    if !known.is_empty() {
        routing.insert("default_fallbacks".into(), json!(known));
    }
    let mut all = cooldown(litellm);
    all.extend(cooldown(router));
    if !all.is_empty() {
        routing.insert("cooldown".into(), all.into());
    }
    tags(&mut routing, router);
    routing
}

/// Where labels bind: every label, one of a call's is enough, and calls without are kept to `default` where a model has such deployments.
fn tags(routing: &mut Map<String, Value>, router: &Section<'_>) {
    let is_on = router.flag("enable_tag_filtering") == Some(true);
    let any = router.flag("tag_filtering_match_any").unwrap_or(true);
    if !is_on {
        // There they are only noted, of models that are made later too.
        routing.insert("tags_match".into(), "none".into());
        return;
    }
    let note = "a call with labels reaches only deployments that have one of them, never those for `default` instead";
    router.differently("enable_tag_filtering", note);
    routing.insert("tags".into(), json!(["*"]));
    routing.insert("tags_match".into(), if any { "any" } else { "all" }.into());
    // Models that are made later may have such deployments where those of the file have none.
    routing.insert("default_tag".into(), DEFAULT_TAG.into());
    routing.insert("default_tag_optional".into(), true.into());
}
