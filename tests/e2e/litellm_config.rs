//! LiteLLM's configurations, as they are: started, called, checked, converted.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_client::{Client, v1};
use tollgate_services::{Postgres, Redis};
use tollgate_tests::{
    provider::{ScriptedProvider, Step, UPSTREAM_KEY},
    support::{Gateway, gateway::locate, http::Caller},
};

use crate::support::hello;

pub(crate) const MASTER_KEY: &str = "sk-a-master-key-that-nobody-guesses";

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/litellm").join(name)
}

/// A gateway that was started from a file of LiteLLM's, with the variables that such a file names.
pub(crate) struct Started {
    pub(crate) provider: ScriptedProvider,
    pub(crate) gateway: Gateway,
    data: TempDir,
}

impl Started {
    async fn example(name: &str, more: &[(&str, &str)]) -> Self {
        Self::text(&std::fs::read_to_string(example(name)).unwrap(), more).await
    }

    pub(crate) async fn text(text: &str, more: &[(&str, &str)]) -> Self {
        let (provider, data) = (ScriptedProvider::start().await, tempfile::tempdir().unwrap());
        let mut builder = Gateway::builder().yaml(text).environment("TOLLGATE__DATA_DIR", data.path());
        for (name, value) in variables(&provider) {
            builder = builder.environment(name, value);
        }
        for (name, value) in more {
            builder = builder.environment(name, value);
        }
        Self { gateway: builder.start().await, provider, data }
    }

    pub(crate) async fn ask(&self, body: Value) -> (u16, Value) {
        self.ask_as(MASTER_KEY, &[], body).await
    }

    async fn ask_as(&self, key: &str, tags: &[&str], body: Value) -> (u16, Value) {
        let caller = Caller::bearer(key).with("x-tollgate-tags", tags.join(","));
        let reply = caller.post(&self.gateway.v1("chat/completions"), &hello(body)).await.unwrap();
        (reply.status.as_u16(), reply.json())
    }

    /// How many calls for a model have reached the provider.
    pub(crate) fn served(&self, model: &str) -> usize {
        self.provider.log().records().iter().filter(|record| record.model == model).count()
    }

    /// Makes a model by the admin route, at the provider.
    async fn make(&self, name: &str, model: &str, tags: &[&str]) {
        let (model, base) = (format!("openai/{model}"), self.provider.base_url());
        let params = json!({"model": model, "api_base": base, "api_key": UPSTREAM_KEY, "tags": tags});
        let url = format!("{}/model/new", self.gateway.v1("").trim_end_matches("/v1/"));
        let asked = json!({"model_name": name, "litellm_params": params});
        let reply = Caller::bearer(MASTER_KEY).post(&url, &asked).await.unwrap();
        assert_eq!(reply.status, 200, "{:?}", reply.json());
    }

    async fn admin(&self) -> Client {
        Client::connect(&self.gateway.grpc(), MASTER_KEY).await.unwrap()
    }

    /// The secret of a key that may use these models.
    async fn key_for(&self, models: &[&str]) -> String {
        let models = models.iter().map(|model| (*model).to_owned()).collect();
        let key = v1::Key { display_name: "made by the master key".into(), models, ..Default::default() };
        let asked = v1::CreateKeyRequest { key: Some(key), ..Default::default() };
        self.admin().await.keys().create_key(asked).await.unwrap().into_inner().secret
    }
}

fn variables(provider: &ScriptedProvider) -> Vec<(&'static str, String)> {
    vec![
        ("LITELLM_MASTER_KEY", MASTER_KEY.into()),
        ("OPENAI_API_KEY", UPSTREAM_KEY.into()),
        ("OPENAI_BASE_URL", provider.base_url()),
        ("ANTHROPIC_API_KEY", UPSTREAM_KEY.into()),
        ("ANTHROPIC_API_BASE", provider.root_url()),
        ("VLLM_API_KEY", UPSTREAM_KEY.into()),
    ]
}

#[tokio::test]
async fn the_multi_provider_example_starts_unchanged_falls_back_and_is_administered_by_the_master_key() {
    let world = Started::example("elestio-style.yaml", &[]).await;
    assert_eq!(world.ask(json!({"model": "gpt-5.5"})).await.0, 200);
    assert_eq!((world.served("gpt-5.5"), world.served("claude-sonnet-5")), (1, 0));
    world.provider.always("gpt-5.5", [Step::fails(500)]);
    assert_eq!(world.ask(json!({"model": "gpt-5.5"})).await.0, 200);
    assert_eq!(world.served("claude-sonnet-5"), 1, "the fallback serves");

    let secret = world.key_for(&["claude-sonnet"]).await;
    assert_eq!(world.ask_as(&secret, &[], json!({"model": "claude-sonnet"})).await.0, 200);
    assert_eq!(world.ask_as(&secret, &[], json!({"model": "gpt-5.5"})).await.0, 403);
    assert_eq!(world.ask_as("sk-a-master-key-that-somebody-guesses", &[], json!({"model": "gpt-5.5"})).await.0, 401);
    // Kept as a keyed hash, told nowhere.
    for file in walk(world.data.path()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(MASTER_KEY.len()).any(|w| w == MASTER_KEY.as_bytes()), "{}", file.display());
    }
    assert!(!world.gateway.logs().contains(MASTER_KEY));
}

fn walk(dir: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn the_production_example_starts_unchanged_over_postgres_and_redis() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let (database, redis_url) = (postgres.database(), redis.url());
    // The file fixes Redis's port, which a test cannot have.
    let shared = [
        ("DATABASE_URL", database.url.as_str()),
        ("REDIS_HOST", "127.0.0.1"),
        ("TOLLGATE__STORE__REDIS_URL", &redis_url),
    ];
    let world = Started::example("production-style.yaml", &shared).await;
    assert_eq!(world.ask(json!({"model": "gpt-4-prod"})).await.0, 200);
    world.provider.always("gpt-4-turbo", [Step::fails(429)]);
    assert_eq!(world.ask(json!({"model": "gpt-4-prod"})).await.0, 200);
    assert_eq!(world.served("claude-opus-4-7"), 1);
    let logs = world.gateway.logs();
    for path in ["litellm_settings.guardrails", "litellm_settings.success_callback", "general_settings.alerting"] {
        assert!(logs.contains(&format!("{path}: not honoured: ")), "{path} in {logs}");
    }
    let keys = postgres.sql(&database.name, "select count(*) from object where kind = 'key'");
    assert_ne!(keys.as_deref().map(str::trim), Some("0"), "{keys:?}: keys lie in PostgreSQL");
    // Another replica of the same file knows the keys that the first one made.
    let secret = world.key_for(&["*"]).await;
    let second = Started::example("production-style.yaml", &shared).await;
    crate::support::eventually("the second replica knows the key", async || {
        second.ask_as(&secret, &[], json!({"model": "gpt-4-prod"})).await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn the_local_and_cloud_example_starts_unchanged_falls_back_and_keeps_labels_apart() {
    // Addresses of somebody's network are not here: one server is away, the other is the scripted one.
    let provider = ScriptedProvider::start().await;
    let url = provider.base_url();
    let world = Started::example(
        "local-cloud-style.yaml",
        &[
            ("TOLLGATE__PROVIDERS__OLLAMA__BASE_URL", "http://127.0.0.1:9"),
            ("TOLLGATE__PROVIDERS__OPENAI_COMPATIBLE__BASE_URL", &url),
            ("TOLLGATE__PROVIDERS__OPENAI_COMPATIBLE__API_KEY", UPSTREAM_KEY),
        ],
    )
    .await;
    assert!(world.gateway.logs().contains("the embedded database is used"), "without DATABASE_URL: it is told");
    assert_eq!(world.ask(json!({"model": "fast-local"})).await.0, 200);
    assert_eq!(provider.log().stats().calls, 1, "heavy-local serves what fast-local cannot");
    let tagged = async |model: &str, tags: &[&str]| {
        let (status, reply) = world.ask_as(MASTER_KEY, tags, json!({ "model": model })).await;
        (status, reply["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_ne!(tagged("fast-local", &["pii"]).await.0, 200, "rather nowhere than to a deployment without the label");
    assert_eq!(tagged("smart-cloud", &["pii"]).await, (400, "no_route".into()));
    assert_eq!(tagged("smart-cloud", &["of-nobody"]).await, (400, "no_route".into()));
    assert_eq!((provider.log().stats().calls, world.provider.log().stats().calls), (1, 0));
    for _ in 0..8 {
        assert_eq!(tagged("smart-cloud", &["public", "team-a"]).await.0, 200);
    }
    assert_eq!((world.served("gpt-4o"), world.provider.log().stats().calls), (8, 8));
    let (status, _) = world.ask(json!({"model": "smart-cloud"})).await;
    assert_eq!(status, 200, "calls without labels go anywhere, as nothing is tagged `default`");
}

#[tokio::test]
async fn models_made_later_are_under_the_rules_of_the_file_for_labels() {
    let text = |on: bool| {
        format!(
            "
model_list:
  - {{model_name: of-the-file, litellm_params: {{model: openai/filed, tags: [default]}}}}
router_settings: {{enable_tag_filtering: {on}}}
general_settings: {{master_key: os.environ/LITELLM_MASTER_KEY}}
"
        )
    };
    let world = Started::text(&text(true), &[]).await;
    world.make("new", "made", &[]).await;
    world.make("new", "made-for-some", &["paid"]).await;
    world.make("of-the-file", "made-beside", &[]).await;
    for _ in 0..8 {
        assert_eq!(world.ask(json!({"model": "new"})).await.0, 200, "it knows no `default`");
        assert_eq!(world.ask(json!({"model": "of-the-file"})).await.0, 200);
    }
    assert_eq!((world.served("made") + world.served("made-for-some"), world.served("filed")), (8, 8));
    assert_eq!(world.ask_as(MASTER_KEY, &["paid"], json!({"model": "new"})).await.0, 200);
    assert_eq!(world.ask_as(MASTER_KEY, &["paid"], json!({"model": "of-the-file"})).await.0, 400);

    let world = Started::text(&text(true).replace(", tags: [default]", ""), &[]).await;
    world.make("new", "for-all", &["default"]).await;
    world.make("new", "for-some", &["paid"]).await;
    for _ in 0..8 {
        assert_eq!(world.ask(json!({"model": "new"})).await.0, 200);
    }
    assert_eq!((world.served("for-all"), world.served("for-some")), (8, 0), "`default` need not stand in the file");

    let world = Started::text(&text(false), &[]).await;
    world.make("new", "made", &["prod"]).await;
    assert_eq!(world.ask_as(MASTER_KEY, &["prod"], json!({"model": "of-the-file"})).await.0, 200, "it binds nobody");
    assert_eq!(world.ask(json!({"model": "new"})).await.0, 200);
    assert_eq!((world.served("filed"), world.served("made")), (1, 1));
}

const MIXED: &str = "
model_list:
  - {model_name: 'openai/*', litellm_params: {model: 'openai/*', rpm: 1000}}
  - {model_name: exact, litellm_params: {model: openai/gpt-4o, input_cost_per_token: 3e-06, output_cost_per_token: 1.5e-05}}
  - {model_name: keyless, litellm_params: {model: openai/never, api_key: os.environ/A_KEY_THAT_IS_NOT_SET}}
  - {model_name: alone, litellm_params: {model: openai/never, api_key: os.environ/A_KEY_THAT_IS_NOT_SET}}
  - {model_name: tagged, litellm_params: {model: openai/for-some, tags: [paid]}}
  - {model_name: tagged, litellm_params: {model: openai/for-all, tags: [default]}}
  - {model_name: nowhere, litellm_params: {model: watsonx/granite}}
router_settings: {enable_tag_filtering: true, model_group_alias: {short: exact}, fallbacks: [{keyless: [exact]}], frobnicate: 1}
litellm_settings: {frobnicate: {deeply: [wrong]}}
general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}
frobnicate: true
";

#[tokio::test]
async fn names_with_stars_aliases_prices_and_what_nobody_knows() {
    let world = Started::text(MIXED, &[]).await;
    assert_eq!(world.ask(json!({"model": "openai/some-new-model"})).await.0, 200);
    assert_eq!(world.served("some-new-model"), 1, "the provider is asked for what was called");
    assert_eq!(world.ask(json!({"model": "other/some-new-model"})).await.0, 404);
    assert_eq!(world.ask(json!({"model": "openai/*"})).await.0, 404, "a pattern is no model");
    // What one provider's model lacks is not held against the others.
    world.provider.always("unknown", [Step::fails(404)]);
    assert_ne!(world.ask(json!({"model": "openai/unknown"})).await.0, 200);
    assert_eq!(world.ask(json!({"model": "openai/some-new-model"})).await.0, 200);
    assert_eq!(world.ask(json!({"model": "openai/gpt-4o-mini"})).await.0, 200);
    let secret = world.key_for(&["openai/*"]).await;
    assert_eq!(world.ask_as(&secret, &[], json!({"model": "openai/gpt-x"})).await.0, 200);
    assert_eq!(world.ask_as(&secret, &[], json!({"model": "exact"})).await.0, 403);

    let (status, reply) = world.ask(json!({"model": "short"})).await;
    assert_eq!(status, 200);
    let asked = v1::ListLedgerEntriesRequest { page_size: 100, ..Default::default() };
    let entries = world.admin().await.budgets().list_ledger_entries(asked).await.unwrap().into_inner().entries;
    let of = |model: &str| entries.iter().find(|entry| entry.model == model).unwrap();
    assert!(of("openai/gpt-4o-mini").cost_nano_usd > 0, "by the catalogue's price of the name that was called");
    let entry = of("short");
    let tokens = |name: &str| reply["usage"][name].as_i64().unwrap();
    assert_eq!(entry.cost_nano_usd, tokens("prompt_tokens") * 3_000 + tokens("completion_tokens") * 15_000);

    assert_eq!(world.ask_as(MASTER_KEY, &["paid"], json!({"model": "tagged"})).await.0, 200);
    assert_eq!(world.ask(json!({"model": "tagged"})).await.0, 200);
    assert_eq!((world.served("for-some"), world.served("for-all")), (1, 1));
}

#[tokio::test]
async fn the_budget_of_the_whole_proxy_holds() {
    let text = "
model_list:
  - {model_name: dear, litellm_params: {model: openai/dear, input_cost_per_token: 0, output_cost_per_token: 0.001}}
litellm_settings: {max_budget: 0.5, budget_duration: 30d}
";
    let world = Started::text(text, &[]).await;
    let (status, reply) = world.ask(json!({"model": "dear", "max_tokens": 100})).await;
    assert_eq!(status, 200, "{reply}");
    let (status, reply) = world.ask(json!({"model": "dear", "max_tokens": 1_000})).await;
    assert_eq!((status, &reply["error"]["code"]), (429, &json!("budget_exceeded")), "{reply}");
    let budgets = world.admin().await.budgets().list_budgets(v1::ListBudgetsRequest::default()).await.unwrap();
    let budget = budgets.into_inner().budgets.pop().unwrap();
    assert_eq!((budget.scope.unwrap().kind(), budget.limit_nano_usd), (v1::ScopeKind::Gateway, 500_000_000));
    assert!(budget.spent_nano_usd > 0 && budget.reset_time.is_some());
}

#[tokio::test]
async fn a_key_that_is_not_set_fails_its_calls_and_stops_nothing() {
    let world = Started::text(MIXED, &[]).await;
    assert_eq!(world.ask(json!({"model": "keyless"})).await.0, 200, "the fallback serves");
    let (status, reply) = world.ask(json!({"model": "alone"})).await;
    assert!(status >= 500, "{status} {reply}");
    assert!(!reply.to_string().contains("A_KEY_THAT_IS_NOT_SET"), "callers hear nothing of variables: {reply}");
    assert_eq!(world.served("never"), 0, "nothing was sent");
    let logs = world.gateway.logs();
    assert!(logs.contains("the environment variable A_KEY_THAT_IS_NOT_SET is not set; its calls fail"), "{logs}");
    assert!(logs.contains("frobnicate: not honoured: is not a setting"), "{logs}");
}

/// Runs the program with the variables that the examples name.
fn tollgate(arguments: &[&str], variables: &[(&'static str, String)]) -> (bool, String, String) {
    let mut command = Command::new(locate().unwrap());
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_check_tells_what_became_of_each_setting_and_a_conversion_is_the_same_configuration() {
    let provider = ScriptedProvider::start().await;
    let variables = variables(&provider);
    let dir = tempfile::tempdir().unwrap();
    let mixed = dir.path().join("mixed.yaml");
    std::fs::write(&mixed, MIXED).unwrap();
    let examples = ["elestio-style.yaml", "production-style.yaml", "local-cloud-style.yaml"].map(example);
    for (at, file) in examples.into_iter().chain([mixed]).enumerate() {
        let file = file.display().to_string();
        let (fine, told, errors) = tollgate(&["check", "--config", &file], &variables);
        assert!(fine, "{told}{errors}");
        assert!(told.contains("settings of LiteLLM's are honoured as they stand"), "{told}");
        assert!(!told.contains(UPSTREAM_KEY) && !told.contains(MASTER_KEY), "{told}");

        let native = dir.path().join(format!("native-{at}.yaml")).display().to_string();
        let (done, _, report) = tollgate(&["config", "convert", &file, "--output", &native], &variables);
        assert!(done, "{report}");
        let converted = std::fs::read_to_string(&native).unwrap();
        assert!(!converted.contains(UPSTREAM_KEY) && !converted.contains(MASTER_KEY), "{converted}");
        let (fine, of_native, errors) = tollgate(&["check", "--config", &native], &variables);
        assert!(fine && !of_native.contains("LiteLLM"), "{of_native}{errors}");
        let summary = |told: &str| told.lines().last().unwrap().split_once("fine; ").unwrap().1.to_owned();
        assert_eq!(
            summary(&of_native),
            summary(&told),
            "models, deployments, providers, keys and the hash are the same"
        );
        let (again, _, errors) = tollgate(&["config", "convert", &file, "--output", &native], &variables);
        assert!(!again && errors.contains("native-"), "never over a file that is there: {errors}");
    }
    let (fine, told, _) =
        tollgate(&["check", "--config", &dir.path().join("mixed.yaml").display().to_string()], &variables);
    assert!(
        fine && told.contains("  model_list[6] (nowhere): the row is left out: the provider \"watsonx\""),
        "{told}"
    );
    assert!(told.contains("warning: providers.openai_2: "), "{told}");
    let ours = example("../tollgate.yaml").display().to_string();
    let (done, _, errors) = tollgate(&["config", "convert", &ours], &variables);
    assert!(!done && errors.contains("is not in LiteLLM's dialect"), "{errors}");
}
