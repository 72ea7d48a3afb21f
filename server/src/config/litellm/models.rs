//! `model_list`: rows become deployments, rows of one name a model, equal accounts one provider.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use tollgate_http::litellm::providers::{listings, meant, reached, with_mode};
use tollgate_providers::catalogue::Catalogue;

use super::{
    accounts::{Account, Times, account},
    budgets::budget,
    decimal::Decimal,
    defaults::defaults,
    known::Kind,
    node::Node,
    prices::price,
    report::Verdict,
    section::{Context, Section},
};

/// How a row names what it has of `credential_list`.
const CREDENTIAL: &str = "litellm_credential_name";
/// What becomes of a row that names nothing, here as there.
const WITHOUT: &str = "the row goes on with what it says itself, else with the variable of its provider";

/// What rows became.
#[derive(Default)]
pub(super) struct Models {
    /// Providers of the native file, by name, in the order of their first row.
    pub(super) providers: Vec<(String, Map<String, Value>)>,
    pub(super) groups: Vec<Group>,
    /// Which of the providers are of which of LiteLLM's.
    pub(super) accounts: Vec<(&'static str, String)>,
}

/// Rows of one name.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) rows: Vec<Row>,
}

/// One row, still with what only its group can settle.
pub(super) struct Row {
    pub(super) path: String,
    pub(super) deployment: Map<String, Value>,
    id: Option<String>,
    weight: Option<Decimal>,
    rpm: Option<u64>,
    tpm: Option<u64>,
    order: Option<u64>,
    pub(super) tags: Vec<String>,
    pub(super) retries: Option<u64>,
    pub(super) cooldown: Option<u64>,
}

/// Reads every row; those that cannot be used are left out, and noted.
pub(super) fn read(context: &Context<'_>, root: &Section<'_>, router: &Section<'_>, times: Times) -> Models {
    let mut models = Models::default();
    let credentials = root.node("credential_list");
    let rows: &[Node] = match root.node("model_list") {
        Some(Node::List(rows)) => rows,
        None => &[],
        Some(other) => {
            root.ignored("model_list", format!("must be a list, not {}", other.what()));
            &[]
        }
    };
    if credentials.is_some() {
        root.honoured("credential_list");
    }
    let common = router.node("default_litellm_params");
    if common.is_some() {
        router.honoured("default_litellm_params");
    }
    let common: &[_] = match common {
        Some(Node::Map(entries)) => entries,
        _ => &[],
    };
    for (at, row) in rows.iter().enumerate() {
        let row = filled(with_credential(context, row.clone(), credentials), common);
        // Its name may stand among what all rows have.
        let row = with_credential(context, row, credentials);
        let path = format!("model_list[{at}]");
        let name = row.get("model_name");
        let shown = match name {
            Some(Node::Text(name)) => format!("{path} ({name})"),
            _ => path,
        };
        let all = match every_provider(context, &row) {
            Some(rows) => rows,
            None => vec![row],
        };
        if all.is_empty() {
            let why = "the row is left out: no variable with the key of a provider is set, so that `*` stands for none";
            context.note(&shown, Verdict::Ignored(why.into()));
        }
        for row in &all {
            if let Err(why) = models.take(context, &shown, row, credentials, times) {
                context.note(&shown, Verdict::Ignored(format!("the row is left out: {why}")));
            }
        }
        if all.len() > 1 {
            let why = "for PROVIDER/MODEL and known names of the providers whose keys are set, as of the start";
            context.note(format!("{shown}.litellm_params.model"), Verdict::Differently(why.into()));
        }
    }
    let mut taken = HashSet::new();
    models.groups.iter_mut().for_each(|group| group.settle(&mut taken));
    models
}

/// The row, with the parameters that it does not have itself.
fn filled(mut row: Node, more: &[(String, Node)]) -> Node {
    if let Node::Map(entries) = &mut row
        && let Some((_, Node::Map(params))) = entries.iter_mut().find(|(key, _)| key == "litellm_params")
    {
        let own: Vec<_> = params.iter().map(|(key, _)| key.clone()).collect();
        params.extend(more.iter().filter(|(key, _)| !own.contains(key)).cloned());
    }
    row
}

/// A row that maps `*` to `*` stands for every provider whose key is there; `None`: it is another row.
fn every_provider(context: &Context<'_>, row: &Node) -> Option<Vec<Node>> {
    let is = |node: Option<&Node>| matches!(node, Some(Node::Text(text)) if text == "*");
    let params = row.get("litellm_params")?;
    let tells = ["api_key", "api_base", "base_url", "custom_llm_provider"].iter().any(|key| params.get(key).is_some());
    if !is(row.get("model_name")) || !is(params.get("model")) || tells {
        return None;
    }
    let names = reached(&|name| context.environment.get(name).is_some());
    Some(names.into_iter().map(|(name, model)| called(row, &name, &model)).collect())
}

/// The row with another name and model.
fn called(row: &Node, name: &str, model: &str) -> Node {
    let mut row = row.clone();
    let Node::Map(entries) = &mut row else { return row };
    for (key, node) in entries {
        match (key.as_str(), node) {
            ("model_name", node) => *node = Node::Text(name.to_owned()),
            ("litellm_params", Node::Map(params)) => {
                for (_, node) in params.iter_mut().filter(|(key, _)| key == "model") {
                    *node = Node::Text(model.to_owned());
                }
            }
            _ => {}
        }
    }
    row
}

/// What the named credential has and the row does not.
fn with_credential(context: &Context<'_>, row: Node, credentials: Option<&Node>) -> Node {
    let values = credential(context, &row, credentials).unwrap_or_default();
    filled(row, values)
}

/// What the credential has that a row names; nothing where it names none. The error says why there is nothing.
fn credential<'a>(
    context: &Context<'_>,
    row: &Node,
    credentials: Option<&'a Node>,
) -> Result<&'a [(String, Node)], String> {
    let text = |node: Option<&Node>| match node {
        Some(Node::Text(written) | Node::Number(written)) => context.environment.text(written).ok(),
        _ => None,
    };
    let Some(name) = text(row.get("litellm_params").and_then(|params| params.get(CREDENTIAL))) else { return Ok(&[]) };
    let listed: &'a [Node] = match credentials {
        Some(Node::List(all)) => all,
        _ => &[],
    };
    let found = listed.iter().find(|one| text(one.get("credential_name")).as_ref() == Some(&name));
    match found.map(|one| one.get("credential_values")) {
        Some(Some(Node::Map(values))) if !values.is_empty() => Ok(values.as_slice()),
        Some(_) => Err(format!("{name:?} in credential_list has no credential_values; {WITHOUT}")),
        None => Err(format!("credential_list has no {name:?}; {WITHOUT}")),
    }
}

impl Models {
    fn take(
        &mut self,
        context: &Context<'_>,
        path: &str,
        row: &Node,
        credentials: Option<&Node>,
        times: Times,
    ) -> Result<(), String> {
        let section = Section::new(context, path, Some(row));
        let (params, info) = (section.section("litellm_params"), section.section("model_info"));
        let name = section.text("model_name").ok_or("model_name: is required")?;
        let model = params.text("model").ok_or("litellm_params.model: is required")?;
        excluded(&info)?;
        let custom = params.text("custom_llm_provider");
        let has_base = params.has("api_base") || params.has("base_url");
        let meant = meant(&model, custom.as_deref(), has_base)?;
        if model.contains('*') && !name.contains('*') {
            return Err("litellm_params.model: has a `*`, and model_name has none to fill it with".to_owned());
        }
        if let (Some(_), Err(why)) = (params.text(CREDENTIAL), credential(context, row, credentials)) {
            params.ignored(CREDENTIAL, why);
        }
        let prefix = meant.known.prefix;
        let account = account(&params, meant, times)?;
        let drafted = self.draft(path, &params, &info, account);
        let provider = drafted.deployment.get("provider").and_then(Value::as_str).unwrap_or_default();
        if !self.accounts.iter().any(|(of, name)| *of == prefix && name == provider) {
            self.accounts.push((prefix, provider.to_owned()));
        }
        params.finish(Kind::Params);
        info.finish(Kind::Info);
        section.finish(Kind::Row);
        match self.groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.rows.push(drafted),
            None => self.groups.push(Group { name, rows: vec![drafted] }),
        }
        Ok(())
    }

    fn draft(&mut self, path: &str, params: &Section<'_>, info: &Section<'_>, account: Account) -> Row {
        let mut account = account;
        let kind = account.settings.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        account.settings.insert("kind".into(), with_mode(&kind, info.text("mode").as_deref()).into());
        let mut deployment = Map::new();
        deployment.insert("provider".into(), Value::Null);
        deployment.insert("model".into(), account.model.clone().into());
        let named = info.text("base_model").or_else(|| params.text("base_model"));
        let base_model = match &named {
            Some(named) => listed(&kind, named),
            None => account.base_model.as_deref().and_then(|named| listed(&kind, named)),
        };
        if let (Some(named), None) = (&named, &base_model) {
            let why = format!("the catalogue lists no {named:?}; give prices and limits yourself (`tollgate models`)");
            if info.has("base_model") { info.ignored("base_model", why) } else { params.ignored("base_model", why) }
        }
        let (found_kind, found_model) = match base_model.as_deref().and_then(|name| name.split_once('/')) {
            Some((provider, model)) => (provider, model),
            None => (kind.as_str(), account.model.as_str()),
        };
        let price = price([params, info], found_kind, found_model);
        let is_priced = price.is_some()
            || account.model.contains('*')
            || Catalogue::embedded().find(found_kind, found_model).is_some_and(|entry| entry.price.is_some());
        match budget(params, "max_budget", "budget_duration") {
            Some(_) if !is_priced => params.ignored("max_budget", "the deployment has no price, which a budget needs"),
            given => put(&mut deployment, "budget", given.map(Value::from)),
        }
        put(&mut deployment, "defaults", defaults(params));
        put(&mut deployment, "base_model", base_model.clone().map(Value::from));
        put(&mut deployment, "region", params.text("region_name").map(Value::from));
        put(&mut deployment, "price", price);
        let window = info.count("max_input_tokens", 1);
        if window.is_some() {
            info.differently("max_input_tokens", "taken as the window of prompt and answer together");
        }
        put(&mut deployment, "context_window", window.map(Value::from));
        let most = info.count("max_output_tokens", 1).or_else(|| info.count("max_tokens", 1));
        if info.has("max_tokens") && info.has("max_output_tokens") {
            info.count("max_tokens", 1);
        }
        put(&mut deployment, "max_output_tokens", most.map(Value::from));
        put(&mut deployment, "drop_params", params.flag("drop_params").map(Value::from));
        let (rpm, tpm) = (params.count("rpm", 1), params.count("tpm", 1));
        put(&mut deployment, "limits", limits(params, rpm, tpm));
        let provider = self.provider(account.settings);
        deployment.insert("provider".into(), provider.into());
        let mut tags = params.texts("tags").unwrap_or_default();
        tags.extend(info.texts("tags").unwrap_or_default());
        tags.dedup();
        Row {
            path: path.to_owned(),
            deployment,
            id: info.text("id").or_else(|| params.text("id")),
            weight: params.decimal("weight"),
            rpm,
            tpm,
            order: params.count("order", 0),
            tags,
            retries: retries(params),
            cooldown: params.milliseconds("cooldown_time").or_else(|| info.milliseconds("cooldown_time")),
        }
    }

    /// The name of the provider with these settings.
    fn provider(&mut self, settings: Map<String, Value>) -> String {
        if let Some((name, _)) = self.providers.iter().find(|(_, known)| *known == settings) {
            return name.clone();
        }
        let kind = settings.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let taken = |name: &String| self.providers.iter().any(|(known, _)| known == name);
        let numbered = (2..).map(|n| format!("{kind}_{n}"));
        let name = std::iter::once(kind.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or_default();
        self.providers.push((name.clone(), settings));
        name
    }
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

/// Rows that are not for this place, or are paused.
fn excluded(info: &Section<'_>) -> Result<(), String> {
    if info.flag("blocked") == Some(true) {
        return Err("model_info.blocked: says so".to_owned());
    }
    let Some(places) = info.texts("supported_environments") else { return Ok(()) };
    match info.context.environment.get("LITELLM_ENVIRONMENT") {
        Some(here) if !places.contains(&here) => Err(format!("model_info.supported_environments: has no {here:?}")),
        _ => Ok(()),
    }
}

/// LiteLLM's name of a model as the catalogue's `PROVIDER/MODEL`.
fn listed(kind: &str, named: &str) -> Option<String> {
    let mut names = listings(kind, named).into_iter();
    let found = names.find_map(|(kind, model)| Catalogue::embedded().find(&kind, &model));
    found.map(|entry| format!("{}/{}", entry.provider, entry.model))
}

fn limits(params: &Section<'_>, rpm: Option<u64>, tpm: Option<u64>) -> Option<Value> {
    let mut limits = Map::new();
    put(&mut limits, "requests_per_minute", rpm.map(Value::from));
    put(&mut limits, "tokens_per_minute", tpm.map(Value::from));
    put(&mut limits, "requests_per_day", params.count("rpd", 1).map(Value::from));
    put(&mut limits, "concurrent_requests", params.count("max_parallel_requests", 1).map(Value::from));
    if rpm.is_some() || tpm.is_some() {
        // A minute there is a minute's worth at once.
        limits.insert("full_burst".into(), true.into());
    }
    (!limits.is_empty()).then(|| limits.into())
}

fn retries(params: &Section<'_>) -> Option<u64> {
    let own = params.count("num_retries", 0);
    let of_client = params.count("max_retries", 0);
    for key in ["num_retries", "max_retries"] {
        if params.has(key) {
            params.differently(key, "retries are counted for the model: the largest of its deployments' counts");
        }
    }
    own.or(of_client)
}

impl Group {
    /// Weights, orders and names, which no row has by itself.
    fn settle(&mut self, taken: &mut HashSet<String>) {
        let weights = self.weights();
        let last = self.rows.iter().filter_map(|row| row.order).max();
        for (row, weight) in self.rows.iter_mut().zip(weights) {
            put(&mut row.deployment, "weight", weight.map(Value::from));
            // Those without an order come behind those that have one.
            let order = row.order.or(last.map(|last| last.saturating_add(1))).filter(|order| *order > 0);
            put(&mut row.deployment, "order", order.map(|order| order.min(u64::from(u32::MAX)).into()));
        }
        for row in &mut self.rows {
            let own = row.id.clone();
            let plain = own.clone().unwrap_or_else(|| {
                let text = |key: &str| row.deployment.get(key).and_then(Value::as_str).unwrap_or_default();
                format!("{}:{}/{}", self.name, text("provider"), text("model"))
            });
            let numbered = (2..).map(|n| format!("{plain}#{n}"));
            let name = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name));
            let name = name.unwrap_or_default();
            if own.is_some() || name != plain {
                row.deployment.insert("name".into(), name.clone().into());
            }
            taken.insert(name);
        }
        for row in self.rows.iter_mut().filter(|row| !row.tags.is_empty()) {
            row.deployment.insert("tags".into(), json!(row.tags));
        }
    }

    /// By `weight`, else by `rpm`, else by `tpm`, whichever some row has; rows without it then come last.
    fn weights(&self) -> Vec<Option<u32>> {
        let of = |figure: fn(&Row) -> Option<Decimal>| self.rows.iter().map(figure).collect::<Vec<_>>();
        let count = |n: Option<u64>| n.and_then(|n| Decimal::parse(&n.to_string()));
        let by_rpm: Vec<_> = self.rows.iter().map(|row| count(row.rpm)).collect();
        let by_tpm: Vec<_> = self.rows.iter().map(|row| count(row.tpm)).collect();
        let source = [of(|row| row.weight), by_rpm, by_tpm].into_iter().find(|all| all.iter().any(Option::is_some));
        let Some(source) = source.filter(|_| self.rows.len() > 1) else { return vec![None; self.rows.len()] };
        let places = source.iter().flatten().map(|figure| figure.places()).max().unwrap_or_default().min(9);
        let whole =
            |figure: &Option<Decimal>| figure.and_then(|f| f.shifted(places as i32).ceiling()).unwrap_or_default();
        let all: Vec<u64> = source.iter().map(whole).collect();
        let common = all.iter().copied().fold(0, divisor).max(1);
        // Weights beyond 32 bits lose their last digits.
        let scale = all.iter().max().map_or(1, |most| most.div_ceil(common).div_ceil(1_000_000).max(1));
        all.iter().map(|n| u32::try_from((n / common).div_ceil(scale)).ok()).collect()
    }
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}
