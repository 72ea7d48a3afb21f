use std::path::Path;

use serde_json::{Value, json};

use super::{Translated, Verdict, convert, is_litellm, translate};
use crate::config::Config;

const ELESTIO: &str = include_str!("../../../../examples/litellm/elestio-style.yaml");
const PRODUCTION: &str = include_str!("../../../../examples/litellm/production-style.yaml");
const LOCAL_CLOUD: &str = include_str!("../../../../examples/litellm/local-cloud-style.yaml");

fn with(text: &str, variables: &[(&str, &str)]) -> Translated {
    let process = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
    let translated = translate(text, Path::new("."), &process).unwrap();
    // Whatever comes out is a valid native file.
    let yaml = serde_yaml_ng::to_string(&translated.native).unwrap();
    let config: Config = serde_yaml_ng::from_str(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    crate::table::build_with(&config, None).map(|_| ()).unwrap_or_else(|error| panic!("{error:#}\n{yaml}"));
    translated
}

fn native(text: &str, variables: &[(&str, &str)]) -> Value {
    Value::from(with(text, variables).native)
}

/// What became of a setting, in words; empty: it is honoured.
fn verdict(translated: &Translated, path: &str) -> String {
    let found = translated.report.notes().iter().find(|note| note.path == path);
    match found.map(|note| &note.verdict) {
        Some(Verdict::Honoured) => String::new(),
        Some(Verdict::Differently(why)) => format!("differently: {why}"),
        Some(Verdict::Ignored(why)) => format!("ignored: {why}"),
        None => panic!("nothing is said of {path}: {:#?}", translated.report.notes()),
    }
}

/// One row with these parameters, as JSON, which is YAML too.
fn row(params: Value) -> String {
    json!({"model_list": [{"model_name": "m", "litellm_params": params}]}).to_string()
}

fn provider(params: Value, variables: &[(&str, &str)]) -> Value {
    let native = native(&row(params), variables);
    let providers = native["providers"].as_object().unwrap_or_else(|| panic!("{native:#}"));
    providers.values().next().unwrap().clone()
}

fn deployment(params: Value) -> Value {
    native(&row(params), &[])["models"][0]["deployments"][0].clone()
}

#[test]
fn every_kind_is_one_of_ours() {
    for known in tollgate_http::litellm::providers::KNOWN {
        assert!(tollgate_providers::registry::registry(known.kind).is_some(), "{known:?}");
    }
}

#[test]
fn rows_of_a_file_and_requests_to_make_models_mean_the_same() {
    for (model, base) in [
        ("claude-sonnet-5", "https://host"),
        ("anthropic/claude-sonnet-5", "https://host/v1/messages"),
        ("openai/any", "https://host/v1"),
        ("openai/gpt-4o", "https://api.openai.com/v1"),
        ("gemini/gemini-2.5-pro", "https://host"),
        ("ollama_chat/llama3.1", "http://host:11434/api/chat"),
        ("azure/o_series/mine", "https://host/openai/v1"),
        ("azure_ai/claude-sonnet-5", "https://host/models"),
        ("cohere/command-r", "https://host/v2"),
        ("xinference/bge", "http://host/v1"),
    ] {
        let params = json!({"model": model, "api_base": base, "api_key": "sk-x"});
        let served = tollgate_http::litellm::providers::meant(model, None, true).unwrap().served(Some(base), true);
        let (of_file, row) = (provider(params.clone(), &[]), deployment(params));
        let of_file = (&of_file["kind"], &of_file["base_url"], &row["model"]);
        assert_eq!(of_file, (&json!(served.kind), &json!(served.base_url), &json!(served.model)), "{model}");
    }
}

#[test]
fn its_files_are_told_from_ours() {
    for text in [ELESTIO, PRODUCTION, LOCAL_CLOUD, "general_settings: {}\n", "{\"model_list\": []}"] {
        assert!(is_litellm(text), "{text}");
    }
    assert!(is_litellm("model_list: [\n"), "a broken file is told in its own words");
    for text in
        ["", "listen: 127.0.0.1:1\n", "# model_list\nlisten: x\n", include_str!("../../../../examples/tollgate.yaml")]
    {
        assert!(!is_litellm(text), "{text}");
    }
    assert!(!is_litellm("providers: {}\nmodel_list: []\n"), "a mixture is refused as ours");
}

#[test]
fn every_setting_of_the_examples_is_accounted_for() {
    let settings = |text: &str| {
        fn leaves(value: &serde_yaml_ng::Value) -> usize {
            match value {
                serde_yaml_ng::Value::Mapping(map) => map.len(),
                _ => 0,
            }
        }
        let top: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).unwrap();
        ["router_settings", "litellm_settings", "general_settings"]
            .map(|name| top.get(name).map_or(0, leaves))
            .iter()
            .sum::<usize>()
    };
    for text in [ELESTIO, PRODUCTION, LOCAL_CLOUD] {
        let translated = with(text, &[]);
        let said = translated.report.notes().iter().map(|n| n.path.split('.').take(2).collect::<Vec<_>>().join("."));
        let of_settings: std::collections::BTreeSet<_> = said.filter(|path| path.contains("_settings.")).collect();
        assert_eq!(of_settings.len(), settings(text), "{of_settings:#?}");
        let unknown = translated.report.rest().find(|note| note.to_string().contains("not a setting"));
        assert!(unknown.is_none(), "{unknown:?}");
    }
}

#[test]
fn the_multi_provider_example() {
    let native = native(ELESTIO, &[]);
    assert_eq!(native["providers"]["openai"], json!({"kind": "openai", "api_key": "env:OPENAI_API_KEY"}));
    assert_eq!(native["providers"]["ollama"], json!({"kind": "ollama", "base_url": "http://ollama:11434"}));
    assert_eq!(native["models"][0]["fallbacks"], json!(["claude-sonnet", "local-llama"]));
    assert_eq!(native["models"][1]["deployments"], json!([{"provider": "anthropic", "model": "claude-sonnet-5"}]));
    assert_eq!(
        native["keys"],
        json!([{"name": "master key", "secret": "env:LITELLM_MASTER_KEY", "role": "platform_admin"}])
    );
    assert!(native["store"].is_null() && native["missing_secrets"] == "go_without");
}

#[test]
fn the_production_example() {
    let translated = with(PRODUCTION, &[("DATABASE_URL", "postgresql://u:p@h/d?schema=public")]);
    let native = Value::from(translated.native.clone());
    assert_eq!(native["models"][0]["strategy"], "latency");
    let limits = json!({"requests_per_minute": 10_000, "tokens_per_minute": 2_000_000, "full_burst": true});
    assert_eq!(native["models"][0]["deployments"][0]["limits"], limits);
    assert_eq!(
        native["providers"]["openai"]["timeouts"],
        json!({"first_byte": "60s", "first_token": "60s", "idle": "60s"})
    );
    let of_vllm = &native["providers"]["openai_compatible"];
    assert_eq!(of_vllm["api_key"], "env:VLLM_API_KEY");
    assert_eq!(of_vllm["base_url"], "http://vllm.internal.svc:8000/v1");
    let store = json!({
        "postgres_url": "env:DATABASE_URL",
        "redis_url": "template:redis://{env:REDIS_HOST}:6379",
        "secret": "derive:env:LITELLM_MASTER_KEY"
    });
    assert_eq!(native["store"], store);
    assert_eq!(native["routing"]["cooldown"], json!({"allowed_fails": 3, "time": "30s"}));
    for (path, says) in [
        ("litellm_settings.success_callback", "LANGFUSE_PUBLIC_KEY is not set"),
        ("litellm_settings.guardrails", "not offered yet"),
        ("litellm_settings.cache", "not cached yet"),
        ("litellm_settings.cache_params.host", "beside PostgreSQL"),
        ("litellm_settings.langfuse_secret_key", "AuditService"),
        ("general_settings.alerting", "SLACK_WEBHOOK_URL is not set"),
        ("router_settings.request_timeout", "rows without `timeout`"),
    ] {
        assert!(verdict(&translated, path).contains(says), "{path}: {}", verdict(&translated, path));
    }
    assert_eq!(verdict(&translated, "model_list[0] (gpt-4-prod).litellm_params.rpm"), "");
}

#[test]
fn the_local_and_cloud_example() {
    let translated = with(LOCAL_CLOUD, &[]);
    let native = Value::from(translated.native.clone());
    let models = native["models"].as_array().unwrap();
    assert_eq!(
        models.iter().map(|m| m["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["fast-local", "heavy-local", "smart-cloud"]
    );
    assert_eq!(models[0]["context_window_fallbacks"], json!(["smart-cloud"]));
    assert_eq!(models[0]["strategy"], "usage");
    assert_eq!(models[0]["deployments"][0]["tags"], json!(["pii", "internal"]));
    assert_eq!(models[0]["deployments"][0]["context_window"], 8192);
    assert_eq!(models[2]["deployments"].as_array().unwrap().len(), 2);
    assert_eq!(models[2]["deployments"][0]["tags"], json!(["public"]));
    assert_eq!(native["routing"]["tags"], json!(["*"]));
    assert_eq!(native["routing"]["tags_match"], "any");
    assert_eq!(native["routing"]["default_tag_optional"], true, "nothing is tagged `default`: all serve calls without");
    assert_eq!(native["drop_params"], true);
    assert_eq!(native["log"], json!({"format": "json"}));
    let slow = &native["providers"]["ollama"]["timeouts"];
    assert_eq!(slow, &json!({"first_byte": "30s", "first_token": "60s", "idle": "60s"}));
    assert_eq!(native["providers"]["openai_compatible"]["api_key"], "dummy");
    assert!(verdict(&translated, "general_settings.store_model_in_db").contains("admin API"));
}

#[test]
fn accounts_at_providers() {
    let key = |params: Value| provider(params, &[])["api_key"].clone();
    assert_eq!(key(json!({"model": "groq/llama-3"})), "env:GROQ_API_KEY");
    assert_eq!(key(json!({"model": "anthropic/claude-x", "api_key": "os.environ/MINE"})), "env:MINE");
    assert_eq!(key(json!({"model": "hosted_vllm/x", "api_base": "http://h/v1"})), Value::Null);
    let base = |params: Value| provider(params, &[("URL", "http://from-env/v1")])["base_url"].clone();
    assert_eq!(base(json!({"model": "anthropic/claude-x", "api_base": "http://h"})), "http://h/v1");
    assert_eq!(base(json!({"model": "anthropic/claude-x", "api_base": "http://h/v1/messages"})), "http://h/v1");
    assert_eq!(base(json!({"model": "openai/x", "api_base": "os.environ/URL"})), "http://from-env/v1");
    assert_eq!(base(json!({"model": "openai/x", "api_base": "os.environ/UNSET"})), "http://address-is-not-set.invalid");
    let of_openai = provider(json!({"model": "openai/gpt-4o"}), &[("OPENAI_BASE_URL", "http://proxy/v1")]);
    assert_eq!((&of_openai["kind"], &of_openai["base_url"]), (&json!("openai"), &json!("http://proxy/v1")));
    let behind = native(&row(json!({"model": "openai/gpt-4o", "api_base": "http://h/v1"})), &[]);
    assert_eq!(behind["models"][0]["deployments"][0]["base_model"], "openai/gpt-4o", "its price goes along");
    let headers = json!({"model": "openai/x", "extra_headers": {"X-Team": "a", "X-Secret": "os.environ/S"}, "organization": "org-1"});
    let found = provider(headers, &[("S", "s")]);
    assert_eq!(found["headers"], json!({"X-Team": "a", "X-Secret": "env:S", "OpenAI-Organization": "org-1"}));
}

#[test]
fn accounts_at_clouds() {
    let azure = json!({"model": "azure/mine", "api_base": "https://r.openai.azure.com/", "api_version": "2024-10-21",
        "api_key": "os.environ/AZURE_API_KEY"});
    let expected = json!({"kind": "azure", "api_version": "2024-10-21", "base_url": "https://r.openai.azure.com",
        "api_key": "env:AZURE_API_KEY"});
    assert_eq!(provider(azure, &[]), expected);
    let entra = json!({"model": "azure/mine", "api_base": "https://r.openai.azure.com", "tenant_id": "t", "client_id": "c",
        "client_secret": "os.environ/S"});
    let found = provider(entra, &[]);
    assert_eq!(found["entra"], json!({"tenant_id": "t", "client_id": "c", "client_secret": "env:S"}));
    assert!(found["api_key"].is_null());
    let bedrock = json!({"model": "bedrock/converse/eu-west-1/anthropic.claude-x", "aws_access_key_id": "os.environ/A",
        "aws_secret_access_key": "os.environ/B", "aws_role_name": "arn:r"});
    let both = native(&row(bedrock), &[]);
    let aws = json!({"access_key_id": "env:A", "secret_access_key": "env:B", "role_arn": "arn:r"});
    assert_eq!(both["providers"]["bedrock"], json!({"kind": "bedrock", "region": "eu-west-1", "aws": aws}));
    assert_eq!(both["models"][0]["deployments"][0]["model"], "anthropic.claude-x");
    let vertex =
        json!({"model": "vertex_ai/gemini-2.5-pro", "vertex_project": "p", "vertex_credentials": "/etc/key.json"});
    let expected = json!({"kind": "vertex", "project": "p", "location": "us-central1", "google": {"credentials": "file:/etc/key.json"}});
    assert_eq!(provider(vertex, &[]), expected);
}

#[test]
fn rows_that_cannot_be_used_are_left_out_and_told() {
    let text = "
model_list:
  - {model_name: a, litellm_params: {model: watsonx/granite}}
  - {model_name: b, litellm_params: {model: openai/gpt-4o, frobnicate: 1, logit_bias: {}}}
  - {litellm_params: {model: openai/gpt-4o}}
  - {model_name: c}
  - just text
  - {model_name: d, litellm_params: {model: openai/gpt-4o, rpm: many}, model_info: {blocked: true}}
  - {model_name: e, litellm_params: {model: azure/x}}
litellm_settings: {fallbacks: [{b: [a, b2]}, {a: [b]}], frobnicate: {}}
frobnicate: []
";
    let translated = with(text, &[]);
    assert_eq!(translated.native["models"].as_array().unwrap().len(), 1);
    for (path, says) in [
        ("model_list[0] (a)", "\"watsonx\" is not offered"),
        ("model_list[1] (b).litellm_params.frobnicate", "not a setting"),
        ("model_list[1] (b).litellm_params.logit_bias", "defaults"),
        ("model_list[2]", "model_name: is required"),
        ("model_list[3] (c)", "litellm_params.model: is required"),
        ("model_list[5] (d)", "blocked"),
        ("model_list[6] (e)", "api_base"),
        ("litellm_settings.fallbacks.b.a", "no such model"),
        ("litellm_settings.fallbacks.a", "no such model"),
        ("litellm_settings.frobnicate", "not a setting"),
        ("frobnicate", "not a setting"),
    ] {
        assert!(verdict(&translated, path).contains(says), "{path}: {}", verdict(&translated, path));
    }
}

#[test]
fn prices_are_the_same_to_the_last_digit() {
    let price = |params: Value| {
        let mut with_model = json!({"model": "openai/some-model"});
        with_model.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        deployment(with_model)["price"].clone()
    };
    // As text, for JSON has no figures without a float here; YAML's own are tested below.
    assert_eq!(
        price(json!({"input_cost_per_token": "3e-06", "output_cost_per_token": "1.5e-05"})),
        json!({"input": "3", "output": "15"})
    );
    assert_eq!(price(json!({"input_cost_per_token": "0.00000015"})), json!({"input": "0.15", "output": "0"}));
    let more = price(
        json!({"input_cost_per_token": "1e-6", "output_cost_per_token": "2e-6", "cache_read_input_token_cost": "1e-7",
        "input_cost_per_token_above_200k_tokens": "2e-6", "input_cost_per_token_flex": "5e-7"}),
    );
    let tiers = json!([{"above_input_tokens": 200_000, "price": {"input": "2"}}]);
    assert_eq!(more, json!({"input": "1", "output": "2", "cached_read": "0.1", "flex_input": "0.5", "tiers": tiers}));
    let text = "model_list: [{model_name: m, litellm_params: {model: openai/x, input_cost_per_token: 3e-06, \
                output_cost_per_token: 0.000015, input_cost_per_second: 0.00420}}]";
    let translated = with(text, &[]);
    let native = Value::from(translated.native.clone());
    assert_eq!(native["models"][0]["deployments"][0]["price"], json!({"input": "3", "output": "15"}));
    let second = verdict(&translated, "model_list[0] (m).litellm_params.input_cost_per_second");
    assert!(second.contains("tokens have a price"), "{second}");
    // Reading and writing by the second are one figure; 0.00010 and 0.00032 dollars.
    let by_time = json!({"input_cost_per_second": "0.00010", "output_cost_per_second": "3.2e-4"});
    assert_eq!(price(by_time), json!({"per_second": "0.00042"}));
    let mixed =
        json!({"input_cost_per_second": "0.1", "output_cost_per_second": "0.2", "output_cost_per_token": "1e-6"});
    assert_eq!(price(mixed), json!({"per_second": "0.1", "output": "1"}));
    // Of a model that writes sound down, a second is one of sound, and of one that speaks a character is one that is spoken.
    let of = |model: &str, more: Value| {
        let mut params = json!({"model": model});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        deployment(params)["price"].clone()
    };
    for (model, given, meant) in [
        ("openai/whisper-1", json!({"input_cost_per_second": "0.0001"}), json!({"per_audio_second": "0.0001"})),
        (
            "openai/whisper-1",
            json!({"input_cost_per_second": "0.5", "output_cost_per_second": "1e-4"}),
            json!({"per_audio_second": "0.0001"}),
        ),
        (
            "openai/whisper-1",
            json!({"input_cost_per_second": "1e-4", "output_cost_per_second": "0"}),
            json!({"per_audio_second": "0.0001"}),
        ),
        ("openai/whisper-1", json!({"output_cost_per_second": "0"}), json!({"per_audio_second": "0"})),
        ("openai/mine", json!({"input_cost_per_audio_per_second": "2e-4"}), json!({"per_audio_second": "0.0002"})),
        ("openai/tts-1", json!({"input_cost_per_character": "1.5e-05"}), json!({"per_million_characters": "15"})),
        ("openai/mine", json!({"input_cost_per_character": "1.5e-05"}), json!({"per_million_characters": "15"})),
    ] {
        assert_eq!(of(model, given.clone()), meant, "{model} {given}");
    }
    assert_eq!(
        native_of_info(json!({"mode": "audio_transcription", "input_cost_per_second": "3e-4"}))["price"],
        json!({"per_audio_second": "0.0003"})
    );
    assert_eq!(of("openai/gpt-4o", json!({"input_cost_per_character": "1e-6"})), Value::Null);
    let of_info = native_of_info(
        json!({"input_cost_per_token": "2e-6", "output_cost_per_token": "4e-6", "base_model": "azure/gpt-4o"}),
    );
    assert_eq!(of_info["price"], json!({"input": "2", "output": "4"}));
    assert_eq!(of_info["base_model"], "azure/gpt-4o");
}

fn native_of_info(info: Value) -> Value {
    let text = json!({"model_list": [{"model_name": "m",
        "litellm_params": {"model": "azure/mine", "api_base": "https://r.openai.azure.com"}, "model_info": info}]});
    native(&text.to_string(), &[])["models"][0]["deployments"][0].clone()
}

#[test]
fn shares_follow_weights_then_requests_then_tokens() {
    let weights = |rows: &[Value]| {
        let rows: Vec<_> = rows
            .iter()
            .map(|more| {
                let mut params = json!({"model": "openai/x"});
                params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                json!({"model_name": "m", "litellm_params": params})
            })
            .collect();
        let native = native(&json!({ "model_list": rows }).to_string(), &[]);
        let all = native["models"][0]["deployments"].as_array().unwrap().clone();
        all.into_iter().map(|d| d["weight"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(weights(&[json!({"weight": 0.9}), json!({"weight": 0.1})]), [9, 1]);
    assert_eq!(weights(&[json!({"weight": 2, "rpm": 9}), json!({"rpm": 9})]), [1, 0]);
    assert_eq!(weights(&[json!({"rpm": 900}), json!({"rpm": 100, "tpm": 5})]), [9, 1]);
    assert_eq!(weights(&[json!({}), json!({})]), [Value::Null, Value::Null]);
}

#[test]
fn orders_names_and_counts() {
    let text = "
model_list:
  - {model_name: m, litellm_params: {model: openai/x, order: 1, num_retries: 5}, model_info: {id: one}}
  - {model_name: m, litellm_params: {model: openai/x, order: 2, cooldown_time: 0.5}}
  - {model_name: m, litellm_params: {model: openai/x}}
router_settings: {num_retries: 0, model_group_alias: {short: m, hid: {model: m, hidden: true}, none: nobody}}
";
    let translated = with(text, &[]);
    let native = Value::from(translated.native.clone());
    let model = &native["models"][0];
    let column =
        |key: &str| model["deployments"].as_array().unwrap().iter().map(|d| d[key].clone()).collect::<Vec<_>>();
    assert_eq!(column("order"), [1, 2, 3]);
    assert_eq!(column("name"), [json!("one"), Value::Null, json!("m:openai/x#2")]);
    assert_eq!((&model["retries"], &model["cooldown"]["time"]), (&json!(5), &json!("500ms")));
    assert_eq!(model["aliases"], json!(["short", "hid"]));
    assert!(verdict(&translated, "router_settings.model_group_alias.none").contains("no such model"));
}

#[test]
fn names_with_stars() {
    let text = "
model_list:
  - {model_name: openai/*, litellm_params: {model: openai/*}}
  - {model_name: '*', litellm_params: {model: openrouter/*}}
  - {model_name: plain, litellm_params: {model: openai/*}}
router_settings: {fallbacks: [{openai/gpt-4o: [anything]}, {'*': [openai/o3]}]}
";
    let translated = with(text, &[]);
    let native = Value::from(translated.native.clone());
    let names: Vec<_> = native["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["openai/*", "*", "openai/gpt-4o"], "fallbacks of one name make an entry of it");
    assert_eq!(native["models"][0]["deployments"][0]["model"], "*");
    assert_eq!(native["models"][2]["deployments"][0]["model"], "gpt-4o");
    assert_eq!(native["models"][2]["fallbacks"], json!(["anything"]));
    assert_eq!(native["routing"]["default_fallbacks"], json!(["openai/o3"]));
    assert!(verdict(&translated, "model_list[2] (plain)").contains("has a `*`"));
}

#[test]
fn default_fallbacks_may_have_a_name_that_a_star_covers() {
    for section in ["router_settings", "litellm_settings"] {
        let text = json!({
            "model_list": [
                {"model_name": "plain", "litellm_params": {"model": "openai/x"}},
                {"model_name": "*", "litellm_params": {"model": "openrouter/*"}}],
            section: {"default_fallbacks": ["anything"]},
        });
        assert_eq!(native(&text.to_string(), &[])["routing"]["default_fallbacks"], json!(["anything"]), "{section}");
    }
}

#[test]
fn included_files_go_on_with_lists_and_replace_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let more =
        "model_list: [{model_name: b, litellm_params: {model: openai/y}}]\nlitellm_settings: {drop_params: true}\n";
    std::fs::write(dir.path().join("more.yaml"), more).unwrap();
    let text = "include: [more.yaml]\nmodel_list: [{model_name: a, litellm_params: {model: openai/x}}]\n\
                litellm_settings: {drop_params: false}\n";
    let translated = translate(text, dir.path(), &|_| None).unwrap();
    let native = Value::from(translated.native.clone());
    let names: Vec<_> = native["models"].as_array().unwrap().iter().map(|model| &model["name"]).collect();
    assert_eq!(names, [&json!("a"), &json!("b")]);
    assert_eq!(native["drop_params"], true);
    assert!(verdict(&translated, "include").contains("only a change of the file itself"));
    let gone = translate("include: [gone.yaml]\nmodel_list: []\n", dir.path(), &|_| None);
    assert!(gone.is_err_and(|error| error.contains("gone.yaml")));
}

#[test]
fn rows_of_other_environments_are_left_out() {
    let text = "
model_list:
  - {model_name: a, litellm_params: {model: openai/x}, model_info: {supported_environments: [production]}}
  - {model_name: b, litellm_params: {model: openai/x}, model_info: {supported_environments: [staging, development]}}
";
    let staging = with(text, &[("LITELLM_ENVIRONMENT", "staging")]);
    let native = Value::from(staging.native.clone());
    assert_eq!((native["models"].as_array().unwrap().len(), &native["models"][0]["name"]), (1, &json!("b")));
    assert!(verdict(&staging, "model_list[0] (a)").contains("supported_environments"));
    assert_eq!(with(text, &[]).native["models"].as_array().unwrap().len(), 2, "nobody says where this is");
}

#[test]
fn cooldowns_may_be_switched_off_and_days_and_places_are_limited() {
    let params = json!({"model": "openai/x", "rpd": 1_000, "max_parallel_requests": 4});
    let text = json!({"model_list": [{"model_name": "m", "litellm_params": params}],
        "router_settings": {"disable_cooldowns": true, "cooldown_time": 30}});
    let native = native(&text.to_string(), &[]);
    assert_eq!(native["routing"]["cooldown"]["time"], "0s");
    let limits = json!({"requests_per_day": 1_000, "concurrent_requests": 4});
    assert_eq!(native["models"][0]["deployments"][0]["limits"], limits);
}

#[test]
fn fallbacks_of_every_kind_may_be_for_all_models() {
    let text = "
model_list:
  - {model_name: small, litellm_params: {model: openai/x}}
  - {model_name: large, litellm_params: {model: openai/y}}
  - {model_name: other, litellm_params: {model: openai/z}}
router_settings:
  context_window_fallbacks: [{small: [other]}, {'*': [large, gone]}]
litellm_settings:
  content_policy_fallbacks: [{'*': [other]}]
";
    let translated = with(text, &[]);
    let native = Value::from(translated.native.clone());
    let of = |kind: &str| (0..3).map(|at| native["models"][at][kind].clone()).collect::<Vec<_>>();
    assert_eq!(of("context_window_fallbacks"), [json!(["other"]), Value::Null, json!(["large"])]);
    assert_eq!(of("content_policy_fallbacks"), [json!(["other"]), json!(["other"]), Value::Null]);
    assert_eq!(of("fallbacks"), [Value::Null, Value::Null, Value::Null]);
    assert!(verdict(&translated, "router_settings.context_window_fallbacks.*.gone").contains("no such model"));
    assert_eq!(verdict(&translated, "litellm_settings.content_policy_fallbacks"), "");
}

#[test]
fn what_has_the_wrong_form_is_told() {
    let text = "
model_list:
  - {model_name: a, litellm_params: {model: openai/x, extra_headers: [X-Team]}}
  - {model_name: b, litellm_params: {model: openai/y}}
router_settings: {fallbacks: [a, {b: [a]}]}
litellm_settings:
  success_callback: [s3]
  s3_callback_params: {s3_bucket_name: calls, s3_aws_session_token: os.environ/T, s3_aws_secret_access_key: os.environ/S, s3_aws_access_key_id: os.environ/I, s3_frobnicate: 1}
";
    let translated = with(text, &[("T", "t"), ("S", "s"), ("I", "i")]);
    for (path, says) in [
        ("model_list[0] (a).litellm_params.extra_headers", "not a list"),
        ("router_settings.fallbacks", "one entry is text"),
        ("litellm_settings.s3_callback_params.s3_frobnicate", "not a setting"),
    ] {
        assert!(verdict(&translated, path).contains(says), "{path}: {}", verdict(&translated, path));
    }
    let native = Value::from(translated.native.clone());
    assert_eq!(native["models"][1]["fallbacks"], json!(["a"]), "the rest of the list holds");
    assert_eq!(native["sinks"]["s3"]["s3"]["session_token"], "env:T");
}

#[test]
fn labels_bind_where_they_are_switched_on() {
    let text = |on: bool| {
        format!(
            "
model_list:
  - {{model_name: a, litellm_params: {{model: openai/x, tags: [free, default]}}}}
  - {{model_name: a, litellm_params: {{model: openai/y, tags: [paid]}}}}
  - {{model_name: b, litellm_params: {{model: openai/x}}, model_info: {{tags: [pii]}}}}
router_settings: {{enable_tag_filtering: {on}}}
"
        )
    };
    let on = native(&text(true), &[]);
    let routing = json!({"tags": ["*"], "tags_match": "any", "default_tag": "default", "default_tag_optional": true});
    assert_eq!(on["routing"], routing);
    assert_eq!(on["models"][0]["deployments"][0]["tags"], json!(["free", "default"]));
    let config: Config = serde_json::from_value(on).unwrap();
    let (table, _) = crate::table::build_with(&config, None).unwrap();
    assert_eq!(table.groups["b"].deployments[0].tags, ["pii", "default"], "b knows no default");
    assert_eq!(table.groups["a"].deployments[1].tags, ["paid"]);
    let all = text(true).replace("tag_filtering: true", "tag_filtering: true, tag_filtering_match_any: false");
    assert_eq!(native(&all, &[])["routing"]["tags_match"], "all");
    let off = with(&text(false), &[]);
    let config: Config = serde_json::from_value(Value::from(off.native.clone())).unwrap();
    let (table, _) = crate::table::build_with(&config, None).unwrap();
    assert!(table.tags.binding.is_empty() && table.tags.default.is_none());
    assert!(verdict(&off, "model_list[2] (b).tags").contains("enable_tag_filtering"));
}

#[test]
fn the_store_needs_postgres_and_something_to_hash_with() {
    let store = |general: Value, variables: &[(&str, &str)]| {
        native(&json!({ "general_settings": general }).to_string(), variables)["store"].clone()
    };
    let url = "postgresql://u:p@h/d";
    assert_eq!(store(json!({"master_key": "sk-1"}), &[]), Value::Null);
    let own = store(json!({"database_url": url}), &[("LITELLM_SALT_KEY", "salt")]);
    assert_eq!(own, json!({"postgres_url": url, "secret": "derive:env:LITELLM_SALT_KEY"}));
    assert_eq!(store(json!({"database_url": url}), &[]), Value::Null);
    assert_eq!(store(json!({"database_url": "mysql://x", "master_key": "sk-1"}), &[]), Value::Null);
    let unasked = store(json!({}), &[("DATABASE_URL", url), ("LITELLM_MASTER_KEY", "sk-1")]);
    assert_eq!(unasked["secret"], "derive:env:LITELLM_MASTER_KEY");
    let redis = json!({"general_settings": {"database_url": url, "master_key": "sk-1"},
        "litellm_settings": {"cache_params": {"type": "redis", "host": "10.0.1.30", "port": 6380, "password": "os.environ/P", "ssl": true}}});
    let found = native(&redis.to_string(), &[]);
    assert_eq!(found["store"]["redis_url"], "template:rediss://:{env:P}@10.0.1.30:6380");
}

#[test]
fn budgets_logs_and_sizes() {
    let text = "litellm_settings: {max_budget: 100.5, budget_duration: 30d, set_verbose: true, json_logs: 'False'}\n\
                general_settings: {max_request_size_mb: 20, master_key: weak}\n";
    let translated = with(text, &[]);
    let native = Value::from(translated.native.clone());
    assert_eq!(native["budgets"], json!({"gateway": {"limit_usd": "100.5", "every": "30d"}}));
    assert_eq!(native["log"], json!({"format": "human", "level": "tollgate=debug,info"}));
    assert_eq!(native["limits"]["max_body_bytes"], 20_000_000);
    assert!(native["keys"].is_null() && verdict(&translated, "general_settings.master_key").contains("sk-"));
}

#[test]
fn the_gateways_budget_begins_anew_however_short_its_window_is() {
    let of = |litellm: Value| with(&json!({ "litellm_settings": litellm }).to_string(), &[]);
    let every = |translated: &Translated| translated.native["budgets"]["gateway"]["every"].clone();
    let short = of(json!({"max_budget": 1, "budget_duration": "30s"}));
    assert_eq!((every(&short), verdict(&short, "litellm_settings.budget_duration")), (json!("30s"), String::new()));
    let too_short = of(json!({"max_budget": 1, "budget_duration": "5ms"}));
    assert_eq!(every(&too_short), "1s");
    assert!(verdict(&too_short, "litellm_settings.budget_duration").contains("at least a second"));
    assert!(verdict(&too_short, "litellm_settings.max_budget").contains("without a price"));
    let alone = of(json!({"budget_duration": "30d"}));
    assert!(verdict(&alone, "litellm_settings.budget_duration").contains("no max_budget"));
}

#[test]
fn the_files_own_variables_count() {
    let text = "
environment_variables: {OPENAI_API_KEY: from-file, URL: os.environ/ELSEWHERE}
model_list:
  - {model_name: a, litellm_params: {model: openai/x, api_key: os.environ/OPENAI_API_KEY}}
  - {model_name: b, litellm_params: {model: hosted_vllm/x, api_base: os.environ/URL}}
";
    let native = native(text, &[("ELSEWHERE", "http://e/v1")]);
    assert_eq!(native["providers"]["openai"]["api_key"], "from-file");
    assert_eq!(native["providers"]["vllm"]["base_url"], "http://e/v1");
}

#[test]
fn variables_of_the_file_that_nothing_reads_are_told() {
    let text = "
environment_variables: {OPENAI_API_KEY: sk-1, HTTPS_PROXY: 'http://secret-proxy:3128', MANY: [a], NOTHING: null}
model_list: [{model_name: a, litellm_params: {model: openai/x}}]
";
    let translated = with(text, &[]);
    let said = |name: &str| verdict(&translated, &format!("environment_variables.{name}"));
    assert!(said("HTTPS_PROXY").contains("nothing here reads it"));
    assert!(said("MANY").contains("must be text"));
    assert_eq!(verdict(&translated, "environment_variables"), "");
    let told = translated.report.tell();
    assert!(!told.contains("OPENAI_API_KEY") && !told.contains("NOTHING") && !told.contains("secret-proxy"), "{told}");
    let no_map = with("environment_variables: [A]\nmodel_list: []\n", &[]);
    assert!(verdict(&no_map, "environment_variables").contains("must be a map"));
}

#[test]
fn keys_of_aws_among_the_files_variables_are_bedrocks() {
    let aws = |variables: Value, params: Value| {
        let mut all = json!({"model": "bedrock/anthropic.claude-x"});
        all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let text =
            json!({"environment_variables": variables, "model_list": [{"model_name": "m", "litellm_params": all}]});
        native(&text.to_string(), &[("ID", "AKIA"), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")])
            ["providers"]["bedrock"]
            .clone()
    };
    let pair = json!({"AWS_ACCESS_KEY_ID": "os.environ/ID", "AWS_SECRET_ACCESS_KEY": "of-the-file"});
    let of_file = json!({"access_key_id": "env:ID", "secret_access_key": "of-the-file"});
    assert_eq!(aws(pair.clone(), json!({}))["aws"], of_file);
    let role = aws(pair.clone(), json!({"aws_role_name": "arn:r"}));
    assert_eq!((&role["aws"]["role_arn"], &role["aws"]["access_key_id"]), (&json!("arn:r"), &json!("env:ID")));
    // What a row says itself comes first, and half a pair is none.
    let own = json!({"aws_access_key_id": "a", "aws_secret_access_key": "b"});
    assert_eq!(aws(pair.clone(), own)["aws"], json!({"access_key_id": "a", "secret_access_key": "b"}));
    assert_eq!(aws(pair.clone(), json!({"aws_profile_name": "p"}))["aws"], json!({"profile": "p"}));
    let by_key = aws(pair, json!({"api_key": "k"}));
    assert_eq!((&by_key["api_key"], &by_key["aws"]), (&json!("k"), &Value::Null));
    assert_eq!(aws(json!({"AWS_ACCESS_KEY_ID": "alone"}), json!({}))["aws"], Value::Null);
    assert_eq!(aws(json!({}), json!({}))["aws"], Value::Null, "the process's own are found by AWS's default chain");
}

#[test]
fn named_credentials_are_looked_up() {
    let text = "
credential_list: [{credential_name: prod, credential_values: {api_key: os.environ/PROD, api_base: 'http://h/v1'}}]
model_list: [{model_name: a, litellm_params: {model: hosted_vllm/x, litellm_credential_name: prod, api_base: 'http://own/v1'}}]
";
    let native = native(text, &[]);
    assert_eq!(
        native["providers"]["vllm"],
        json!({"kind": "vllm", "base_url": "http://own/v1", "api_key": "env:PROD"})
    );
}

#[test]
fn of_a_named_credential_only_what_is_not_there_is_told() {
    let text = "
credential_list:
  - {credential_name: aws, credential_values: {aws_access_key_id: os.environ/A, aws_secret_access_key: os.environ/B, aws_region_name: eu-west-1}}
  - {credential_name: gcp, credential_values: {vertex_project: p, vertex_location: europe-west4}}
  - {credential_name: bare}
model_list:
  - {model_name: a, litellm_params: {model: bedrock/anthropic.claude-x, litellm_credential_name: aws}}
  - {model_name: b, litellm_params: {model: vertex_ai/gemini-2.5-pro, litellm_credential_name: os.environ/WHICH}}
  - {model_name: c, litellm_params: {model: groq/llama-3, litellm_credential_name: aws-misspelt}}
  - {model_name: d, litellm_params: {model: groq/llama-3, litellm_credential_name: bare}}
";
    let translated = with(text, &[("WHICH", "gcp")]);
    let native = Value::from(translated.native.clone());
    let aws = json!({"access_key_id": "env:A", "secret_access_key": "env:B"});
    assert_eq!(native["providers"]["bedrock"], json!({"kind": "bedrock", "region": "eu-west-1", "aws": aws}));
    assert_eq!(native["providers"]["vertex"]["project"], "p");
    let said = |row: &str| verdict(&translated, &format!("model_list{row}.litellm_params.litellm_credential_name"));
    assert_eq!((said("[0] (a)"), said("[1] (b)")), (String::new(), String::new()));
    assert!(said("[2] (c)").starts_with("ignored: credential_list has no \"aws-misspelt\""), "{}", said("[2] (c)"));
    assert!(said("[3] (d)").contains("has no credential_values"), "{}", said("[3] (d)"));
    // As there, the row goes on without it.
    assert_eq!(native["providers"]["groq"]["api_key"], "env:GROQ_API_KEY");
    // What all rows have may name it, too.
    let text = "
credential_list: [{credential_name: prod, credential_values: {api_key: os.environ/PROD}}]
model_list: [{model_name: a, litellm_params: {model: groq/llama-3}}]
router_settings: {default_litellm_params: {litellm_credential_name: prod}}
";
    assert_eq!(self::native(text, &[])["providers"]["groq"]["api_key"], "env:PROD");
}

#[test]
fn a_cache_that_is_off_is_as_it_is_here() {
    let of = |value: bool| {
        let text = json!({"model_list": [], "litellm_settings": {"cache": value}});
        verdict(&with(&text.to_string(), &[]), "litellm_settings.cache")
    };
    assert_eq!(of(false), "");
    assert!(of(true).contains("not cached yet"), "{}", of(true));
}

#[test]
fn a_converted_file_is_the_same_configuration() {
    for text in [ELESTIO, PRODUCTION, LOCAL_CLOUD] {
        let translated = with(text, &[("DATABASE_URL", "postgres://h/d")]);
        let converted = convert(&translated, "litellm.yaml").unwrap();
        let read: Value = serde_yaml_ng::from_str(&converted).unwrap();
        assert_eq!(read, Value::from(translated.native.clone()));
        assert!(converted.contains("# Not as it was:"), "{converted}");
        assert!(!is_litellm(&converted));
        let config = |text: &str| serde_yaml_ng::from_str::<Config>(text).unwrap();
        let hash = |config: &Config| crate::table::build_with(config, None).unwrap().0.config_hash;
        let direct = config(&serde_yaml_ng::to_string(&translated.native).unwrap());
        assert_eq!(hash(&config(&converted)), hash(&direct));
    }
    // A secret that is a reference stays one; one that is text is told.
    let open = with(&row(json!({"model": "openai/x", "api_key": "sk-open"})), &[]);
    assert!(convert(&open, "f").unwrap().contains("Secrets that stood there as text"));
    assert!(!convert(&with(ELESTIO, &[]), "f").unwrap().contains("Secrets that stood"));
}

#[test]
fn no_secret_is_told() {
    let text = "
environment_variables: {K: secret-of-variable}
model_list:
  - {model_name: a, litellm_params: {model: openai/x, api_key: secret-of-row, azure_ad_token: secret-of-azure}}
litellm_settings: {langfuse_secret_key: secret-of-langfuse, cache_params: {type: redis, host: h, password: secret-of-redis}}
general_settings: {master_key: secret-of-master, database_url: 'mysql://secret-of-database'}
";
    let told = with(text, &[]).report.tell();
    assert!(!told.contains("secret-of"), "{told}");
}

#[test]
fn parameters_of_a_row_are_defaults_of_its_deployment() {
    let params = json!({"model": "openai/x", "temperature": 0.2, "max_tokens": 500, "stop": "END", "frequency_penalty": -0.5,
        "reasoning_effort": "low", "extra_body": {"guided": {"a": [1, true]}, "n": 5}, "top_p": 7});
    let translated = with(&row(params), &[]);
    let native = Value::from(translated.native.clone());
    let expected = json!({"temperature": 0.2, "max_tokens": 500, "stop": ["END"], "frequency_penalty": -0.5,
        "reasoning_effort": "low", "extra_body": {"guided": {"a": [1, true]}}});
    assert_eq!(native["models"][0]["deployments"][0]["defaults"], expected);
    let verdict = |key: &str| verdict(&translated, &format!("model_list[0] (m).litellm_params.{key}"));
    assert_eq!(verdict("temperature"), "");
    assert!(verdict("top_p").contains("from 0 to 1"));
    assert!(verdict("extra_body.n").starts_with("ignored"));
}

#[test]
fn parameters_for_all_rows_hold_where_a_row_has_none() {
    let text = json!({"model_list": [
        {"model_name": "a", "litellm_params": {"model": "openai/x", "temperature": 1}},
        {"model_name": "b", "litellm_params": {"model": "openai/x"}}],
        "router_settings": {"default_litellm_params": {"temperature": 0.5}}});
    let native = native(&text.to_string(), &[]);
    let temperature = |at: usize| native["models"][at]["deployments"][0]["defaults"]["temperature"].as_f64();
    assert_eq!((temperature(0), temperature(1)), (Some(1.0), Some(0.5)));
}

#[test]
fn retries_after_each_class_of_failure_are_the_models() {
    let text = json!({"model_list": [
        {"model_name": "a", "litellm_params": {"model": "openai/x"}}, {"model_name": "b", "litellm_params": {"model": "openai/y"}}],
        "router_settings": {
            "retry_policy": {"RateLimitErrorRetries": 4, "AuthenticationErrorRetries": 0, "SurpriseErrorRetries": 1},
            "model_group_retry_policy": {"b": {"TimeoutErrorRetries": 1, "DefaultRetries": 7}, "gone": {}}}});
    let translated = with(&text.to_string(), &[]);
    let native = Value::from(translated.native.clone());
    let of_a = json!({"rate_limit": 4, "quota_exceeded": 4, "authentication": 0, "permission": 0});
    assert_eq!((&native["models"][0]["retries_by_class"], &native["models"][0]["retries"]), (&of_a, &json!(2)));
    assert_eq!(
        (&native["models"][1]["retries_by_class"], &native["models"][1]["retries"]),
        (&json!({"timeout": 1}), &json!(7))
    );
    assert!(verdict(&translated, "router_settings.retry_policy.SurpriseErrorRetries").contains("not a setting"));
    assert!(verdict(&translated, "router_settings.model_group_retry_policy.gone").contains("no such model"));
}

#[test]
fn budgets_of_deployments_and_providers_are_native_ones() {
    let text = json!({"model_list": [
        {"model_name": "a", "litellm_params": {"model": "openai/gpt-4o", "max_budget": 0.000000001, "budget_duration": "1d"}},
        {"model_name": "a", "litellm_params": {"model": "openai/gpt-4o", "max_budget": 5, "budget_duration": "5ms"}},
        {"model_name": "a", "litellm_params": {"model": "openai/nobody-knows-it", "max_budget": 5}},
        {"model_name": "c", "litellm_params": {"model": "anthropic/claude-sonnet-4-5", "api_key": "one"}},
        {"model_name": "c", "litellm_params": {"model": "anthropic/claude-sonnet-4-5", "api_key": "two"}}],
        "router_settings": {"provider_budget_config": {"openai": {"budget_limit": 100, "time_period": "30d"},
            "anthropic": {"max_budget": 1}, "azure": {"budget_limit": 1, "time_period": "1d"}}}});
    let translated = with(&text.to_string(), &[]);
    let native = Value::from(translated.native.clone());
    let budget = |at: usize| &native["models"][0]["deployments"][at]["budget"];
    assert_eq!(*budget(0), json!({"limit_usd": "0.000000001", "every": "1d"}));
    assert_eq!(*budget(1), json!({"limit_usd": "5", "every": "1s"}));
    assert!(budget(2).is_null());
    let of_row = |at: usize, key: &str| verdict(&translated, &format!("model_list[{at}] (a).litellm_params.{key}"));
    assert!(of_row(1, "budget_duration").contains("at least a second"));
    assert!(of_row(2, "max_budget").contains("no price"));
    assert_eq!(native["providers"]["openai"]["budget"], json!({"limit_usd": "100", "every": "30d"}));
    for account in ["anthropic", "anthropic_2"] {
        assert_eq!(native["providers"][account]["budget"], json!({"limit_usd": "1"}));
    }
    let of = |provider: &str| verdict(&translated, &format!("router_settings.provider_budget_config.{provider}"));
    assert!(of("anthropic").contains("2 accounts") && of("azure").contains("no deployment"));
}

#[test]
fn a_star_for_everything_stands_for_the_providers_whose_keys_are_set() {
    let text = r#"{"model_list": [{"model_name": "*", "litellm_params": {"model": "*"}}]}"#;
    let keys = [("OPENAI_API_KEY", "sk-1"), ("ANTHROPIC_API_KEY", "sk-2")];
    let native = native(text, &keys);
    let models = native["models"].as_array().unwrap();
    let find = |name: &str| models.iter().find(|model| model["name"] == name).map(|model| &model["deployments"][0]);
    for (name, provider, model) in [
        ("openai/*", "openai", "*"),
        ("gpt-*", "openai", "gpt-*"),
        ("anthropic/*", "anthropic", "*"),
        ("claude*", "anthropic", "claude*"),
    ] {
        let deployment = find(name).unwrap_or_else(|| panic!("no {name} in {native:#}"));
        assert_eq!((&deployment["provider"], &deployment["model"]), (&json!(provider), &json!(model)), "{name}");
    }
    assert!(find("groq/*").is_none() && find("gemini*").is_none());
    let without = with(text, &[]);
    assert!(verdict(&without, "model_list[0] (*)").contains("no variable"));
}

#[test]
fn callbacks_become_sinks_where_the_environment_has_what_they_need() {
    let text = "litellm_settings:\n  success_callback: [langfuse, s3, lunary, prometheus]\n  failure_callback: [langfuse, sentry]\n  \
                s3_callback_params: { s3_bucket_name: calls, s3_region_name: eu-central-1, s3_path: gateway }\n\
                general_settings:\n  alerting: [slack, email]\n";
    let set = [
        ("LANGFUSE_PUBLIC_KEY", "pk"),
        ("LANGFUSE_SECRET_KEY", "sk"),
        ("LANGFUSE_HOST", "https://langfuse.example.org"),
        ("SENTRY_DSN", "https://key@sentry.example.org/1"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.example.org/x"),
    ];
    let translated = with(text, &set);
    let native = Value::from(translated.native.clone());
    assert_eq!(
        native["sinks"],
        json!({
            "langfuse": { "langfuse": {
                "public_key": "env:LANGFUSE_PUBLIC_KEY",
                "secret_key": "env:LANGFUSE_SECRET_KEY",
                "host": "https://langfuse.example.org",
            } },
            "s3": { "s3": { "bucket": "calls", "region": "eu-central-1", "prefix": "gateway" } },
            "sentry": { "sentry": { "dsn": "env:SENTRY_DSN" }, "filter": { "only_failures": true } },
        })
    );
    assert_eq!(
        native["alerts"],
        json!({ "channels": { "slack": { "slack": { "webhook_url": "env:SLACK_WEBHOOK_URL" } } } })
    );
    for (path, says) in [
        ("litellm_settings.success_callback", "lunary: nothing is sent there"),
        ("litellm_settings.success_callback", "langfuse: is sinks.langfuse"),
        ("litellm_settings.failure_callback", "sentry: is sinks.sentry"),
        ("general_settings.alerting", "email: write alerts.channels"),
    ] {
        assert!(verdict(&translated, path).contains(says), "{path}: {}", verdict(&translated, path));
    }
}

#[test]
fn what_langfuse_needs_may_stand_in_the_file() {
    let text = "
litellm_settings: {success_callback: [langfuse], langfuse_public_key: pk, langfuse_secret: os.environ/MINE, langfuse_host: 'https://l.example.org'}
";
    let translated = with(text, &[("MINE", "sk"), ("LANGFUSE_PUBLIC_KEY", "of-the-environment")]);
    let langfuse = json!({"public_key": "pk", "secret_key": "env:MINE", "host": "https://l.example.org"});
    assert_eq!(Value::from(translated.native.clone())["sinks"], json!({"langfuse": {"langfuse": langfuse}}));
    let said = |of: &Translated, key: &str| verdict(of, &format!("litellm_settings.{key}"));
    for key in ["langfuse_public_key", "langfuse_secret", "langfuse_host"] {
        assert_eq!(said(&translated, key), "", "{key}");
    }
    // Half of what it needs is none of it.
    let half = with(text, &[]);
    assert!(said(&half, "success_callback").contains("LANGFUSE_SECRET_KEY is not set"));
    assert!(said(&half, "langfuse_public_key").starts_with("ignored"));
    // A secret as text is told of where the file is converted.
    let open = with(&text.replace("os.environ/MINE", "open"), &[]);
    assert!(convert(&open, "f").unwrap().contains("Secrets that stood there as text"));
}

#[test]
fn callbacks_that_are_no_sinks_are_metrics_and_traces() {
    let text =
        "litellm_settings: { callbacks: [otel], success_callback: [prometheus], failure_callback: [azure_storage] }\n";
    let without = with(text, &[]);
    assert_eq!(verdict(&without, "litellm_settings.success_callback"), "", "/metrics is always there");
    assert!(verdict(&without, "litellm_settings.callbacks").contains("OTEL_ENDPOINT is not set"));
    assert!(verdict(&without, "litellm_settings.failure_callback").contains("AZURE_STORAGE_ACCOUNT_NAME is not set"));
    assert!(without.native.get("tracing").is_none());
    let set = [
        ("OTEL_EXPORTER", "otlp_grpc"),
        ("OTEL_ENDPOINT", "http://collector.example.org:4317"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "calls"),
        ("AZURE_STORAGE_FILE_SYSTEM", "llm"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "a key"),
    ];
    let translated = with(text, &set);
    let native = Value::from(translated.native.clone());
    let tracing = json!({ "enabled": true, "endpoint": "http://collector.example.org:4317", "protocol": "grpc" });
    assert_eq!(native["tracing"], tracing);
    let azure = json!({ "account": "calls", "container": "llm", "access_key": "env:AZURE_STORAGE_ACCOUNT_KEY" });
    assert_eq!(native["sinks"], json!({ "azure": { "azure": azure, "filter": { "only_failures": true } } }));
    assert!(verdict(&translated, "litellm_settings.callbacks").contains("otel: calls are traced"));
}
