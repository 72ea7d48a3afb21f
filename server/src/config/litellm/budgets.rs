//! Budgets of deployments, providers and the gateway.

use serde_json::{Map, Value};

use super::{
    models::Models,
    node::Node,
    section::{Section, span},
};

/// The shortest window.
const LEAST_MS: u64 = 1_000;
const ONCE: &str =
    "a hard budget, made once and changed by BudgetService; an attempt that it might not afford goes elsewhere";

/// A budget of these settings; `None`: there is none.
pub(super) fn budget(section: &Section<'_>, limit: &str, every: &str) -> Option<Map<String, Value>> {
    let window = section.milliseconds(every);
    let Some(amount) = section.decimal(limit) else {
        if window.is_some() {
            section.ignored(every, format!("there is no {limit} that it could be of"));
        }
        return None;
    };
    let Some(text) = amount.plain(9) else {
        section.ignored(limit, "is too large");
        return None;
    };
    section.differently(limit, ONCE);
    let mut budget = Map::new();
    budget.insert("limit_usd".into(), text.into());
    if let Some(window) = window {
        if window < LEAST_MS {
            section.differently(every, "windows have at least a second");
        }
        budget.insert("every".into(), span(window.max(LEAST_MS)).into());
    }
    Some(budget)
}

/// `provider_budget_config`: a budget for each account that rows of the provider have made.
pub(super) fn of_providers(models: &mut Models, router: &Section<'_>) {
    const KEY: &str = "provider_budget_config";
    let Some(node) = router.node(KEY) else { return };
    let Node::Map(entries) = node else { return router.ignored(KEY, "must be a map of provider to budget") };
    router.honoured(KEY);
    for (provider, given) in entries {
        let key = format!("{KEY}.{provider}");
        let section = Section::new(router.context, router.path(&key), Some(given));
        let (limit, every) = match section.has("budget_limit") {
            true => ("budget_limit", "time_period"),
            false => ("max_budget", "budget_duration"),
        };
        let Some(budget) = budget(&section, limit, every) else {
            router.ignored(&key, "has no budget_limit");
            continue;
        };
        let names: Vec<_> = models.accounts.iter().filter(|(of, _)| of == provider).map(|(_, name)| name).collect();
        match names.len() {
            0 => router.ignored(&key, "no deployment is of this provider"),
            1 => {}
            several => router.differently(&key, format!("each of its {several} accounts has this budget by itself")),
        }
        for (_, settings) in models.providers.iter_mut().filter(|(name, _)| names.contains(&name)) {
            settings.insert("budget".into(), budget.clone().into());
        }
    }
}
