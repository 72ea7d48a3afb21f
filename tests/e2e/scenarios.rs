//! Routing rules as tests, the way CI runs them.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};
use tollgate_client::{Client, v1};
use tollgate_tests::{
    provider::{Cut, ScriptedProvider, Step, UPSTREAM_KEY},
    support::{Gateway, gateway::locate, http::Caller, keys::virtual_key},
};

use crate::support::hello;

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/scenarios")
}

fn test(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(locate().unwrap()).arg("test").args(arguments).current_dir(examples()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn every_example_holds() {
    let (holds, text) = test(&["."]);
    assert!(holds, "{text}");
}

#[test]
fn the_same_seed_gives_the_same_result_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, seed: &str| {
        let file = dir.path().join(name).display().to_string();
        let chosen = ["05-a-batch-job-floods.yaml", "10-shares-by-weight.yaml", "12-the-fast-one-is-preferred.yaml"];
        let arguments = [["--seed", seed, "--json", &file].as_slice(), &chosen].concat();
        assert!(!test(&arguments).1.is_empty());
        std::fs::read(file).unwrap()
    };
    assert!(run("a", "7") == run("b", "7"));
}

#[test]
fn a_rule_that_does_not_hold_is_told_with_the_attempts_of_a_call() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("scenario.yaml");
    let config = examples().join("config/gateway.yaml");
    let text = "name: nobody falls back\ndeployments: { claude: [{ status: 500 }] }\nload: [{ model: assistant }]\n\
                expect: [{ share: { claude: 100 } }]\n";
    std::fs::write(&scenario, text).unwrap();
    let junit = dir.path().join("junit.xml");
    let (holds, told) = test(&[
        "--config",
        &config.display().to_string(),
        "--junit",
        &junit.display().to_string(),
        &scenario.display().to_string(),
    ]);
    assert!(!holds);
    assert!(told.contains("served by claude, %: 0, must be 100"), "{told}");
    assert!(told.contains("claude: server_error") && told.contains("llama-70b: ok"), "{told}");
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(xml.contains("<failure message=\"0, must be 100\">"), "{xml}");
}

#[test]
fn a_mistake_in_a_scenario_names_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("scenario.yaml");
    for (text, wanted) in [
        ("name: x\nload:\n  - { model: chat, rte: 5 }\nexpect: []\n", "scenario.yaml:3:"),
        ("name: x\nload: []\nexpect:\n  - { answered: many }\n", "is no bound"),
        ("name: x\nload: [{ model: chat, key: nobody }]\nexpect: []\n", "\"nobody\" is not under `keys`"),
        (
            "name: x\ndeployments: { gone: [] }\nload: []\nexpect: []\n",
            "scenario.yaml:2: deployments: there is no deployment \"gone\"",
        ),
        (
            "name: x\nload: [{ model: chat }]\nexpect:\n  - { never: [gpt-opnai] }\n",
            "scenario.yaml:4: expect[0]: there is no deployment \"gpt-opnai\" in the configuration; is \"gpt-openai\" meant?",
        ),
        ("name: x\nload: [{ model: chat }]\nexpect: [{ tag: pi, answered: 100 }]\n", "no key has the label \"pi\""),
        ("name: x\nload: [{ model: chta }]\nexpect: []\n", "there is no model \"chta\""),
        ("name: x\nload: [{ model: chat }]\nexpect: [{ from: 9s, most_attempts: 0 }]\n", "calls that this is about"),
    ] {
        std::fs::write(&scenario, text).unwrap();
        let config = examples().join("config/gateway.yaml").display().to_string();
        let (holds, told) = test(&["--config", &config, &scenario.display().to_string()]);
        assert!(!holds && told.contains(wanted), "{told}");
    }
}

#[test]
fn a_starter_for_a_configuration_holds() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("first.yaml").display().to_string();
    let config = examples().join("config/gateway.yaml").display().to_string();
    assert!(test(&["--config", &config, "--init", &scenario]).0);
    let (holds, told) = test(&[&scenario]);
    assert!(holds, "{told}");
    assert!(!test(&["--config", &config, "--init", &scenario]).0, "a file that is there is not written over");
}

/// What is changed in the configuration, and which example must notice.
const BROKEN: [(&str, &str, &str); 23] = [
    ("01-claude-is-limited", "fallbacks: [llama]", "fallbacks: [chat]"),
    ("02-both-clouds-down", "fallbacks: [llama]\n    context", "context"),
    ("03-a-long-prompt", "context_window_fallbacks: [long]", "context_window_fallbacks: []"),
    ("04-pii-never-leaves", "provider: anthropic,", "provider: anthropic, tags: [pii],"),
    ("05-a-batch-job-floods", "concurrent_requests: 8", "concurrent_requests: 1000"),
    ("06-how-fast-do-we-return", "fallbacks: [llama]", "cooldown: { time: 1h }\n    fallbacks: [llama]"),
    (
        "07-a-retry-storm",
        "retries: 2\n    cooldown: { time: 0s }",
        "retries: 2\n    retry_budget: { percent: 1000 }\n    cooldown: { time: 0s }",
    ),
    ("08-before-the-price-change", "strategy: cost", "strategy: shuffle"),
    ("10-shares-by-weight", "weight: 3", "weight: 1"),
    ("11-a-user-stays", "sticky: user", "sticky: key"),
    ("12-the-fast-one-is-preferred", "strategy: latency", "strategy: shuffle"),
    ("13-the-idle-one-is-preferred", "strategy: least-busy", "strategy: shuffle"),
    ("14-what-is-left-of-limits", "strategy: usage", "strategy: shuffle"),
    ("15-strictly-in-order", "order: 1", "order: 3"),
    ("16-a-region-binds", "order: 3, region: us", "order: 3, region: eu"),
    (
        "19-a-bad-credential",
        "fallbacks: [llama]",
        "cooldown: { credential_time: 0s, time: 0s }\n    fallbacks: [llama]",
    ),
    ("21-a-content-policy", "content_policy_fallbacks: [assistant]", "content_policy_fallbacks: []"),
    ("23-nobody-waits-for-ever", "first_byte: 10s", "first_byte: 100s"),
    (
        "24-a-limit-of-the-provider",
        "retries: 1\n    cooldown: { allowed_fails: 3, time: 5s }",
        "retries: 0\n    cooldown: { time: 0s }",
    ),
    ("27-an-answer-goes-on-elsewhere", "on_midstream_failure: continue", "on_midstream_failure: fail"),
    ("17-broken-before-the-first-token", "fallbacks: [llama]\n    retries: 1", "retries: 0"),
    (
        "25-cycles-end",
        "- name: left\n    fallbacks: [right]\n    retries: 0",
        "- name: left\n    fallbacks: [right]\n    retries: 2",
    ),
    (
        "28-all-at-their-limits",
        "limits: { requests_per_minute: 60 } }\n      - { name: account-b",
        "limits: { requests_per_minute: 80 } }\n      - { name: account-b",
    ),
];

#[test]
fn each_example_notices_when_its_rule_is_broken() {
    let config = std::fs::read_to_string(examples().join("config/gateway.yaml")).unwrap();
    for (example, from, to) in BROKEN {
        let dir = tempfile::tempdir().unwrap();
        assert!(config.contains(from), "{example}: {from:?} is not in the configuration");
        std::fs::create_dir(dir.path().join("config")).unwrap();
        std::fs::write(dir.path().join("config/gateway.yaml"), config.replacen(from, to, 1)).unwrap();
        let file = dir.path().join("scenario.yaml");
        std::fs::copy(examples().join(format!("{example}.yaml")), &file).unwrap();
        let (holds, told) = test(&[&file.display().to_string()]);
        assert!(!holds && told.contains("must be"), "{example} does not notice:\n{told}");
    }
}

/// A call: how it ended, and who was tried with what result.
type Decisions = Vec<(String, Vec<(String, String)>)>;

type Case = (&'static str, Vec<(&'static str, Step)>, &'static str);

/// Deployments that fail, as a scenario says it and as the provider of the tests does it, and the model that is called.
fn cases() -> Vec<Case> {
    vec![
        ("{}", vec![], "assistant"),
        ("{ claude: [{ status: 500 }] }", vec![("claude", Step::fails(500))], "assistant"),
        ("{ claude: [{ status: 401 }] }", vec![("claude", Step::fails(401))], "assistant"),
        ("{ claude: [{ status: 400 }] }", vec![("claude", Step::fails(400))], "assistant"),
        ("{ claude: [{ status: 529 }] }", vec![("claude", Step::fails(529))], "assistant"),
        (
            "{ claude: [{ status: 429, retry_after: 30s }] }",
            vec![("claude", Step::fails(429).retry_after(30))],
            "assistant",
        ),
        ("{ claude: [{ break_after: 0 }] }", vec![("claude", Step::streams(4).then_cuts(0, Cut::Rst))], "assistant"),
        ("{ claude: [{ break_after: 2 }] }", vec![("claude", Step::streams(4).then_cuts(2, Cut::Rst))], "assistant"),
        (
            "{ first-eu: [{ status: 503 }], second-eu: [{ status: 500 }] }",
            vec![("first-eu", Step::fails(503)), ("second-eu", Step::fails(500))],
            "ordered",
        ),
        (
            "{ left-1: [{ status: 500 }], right-1: [{ status: 503 }] }",
            vec![("left-1", Step::fails(500)), ("right-1", Step::fails(503))],
            "left",
        ),
    ]
}

/// The examples' configuration with deployments that the provider of the tests can tell apart.
fn told_apart() -> Value {
    let text = std::fs::read_to_string(examples().join("config/gateway.yaml")).unwrap();
    let mut config: Value = serde_yaml_ng::from_str(&text).unwrap();
    // However long the real calls take: nothing comes back meanwhile.
    config["routing"]["cooldown"] = json!({"time": "60s"});
    for model in config["models"].as_array_mut().unwrap() {
        for deployment in model["deployments"].as_array_mut().unwrap() {
            deployment["model"] = deployment["name"].clone();
        }
    }
    config
}

fn simulated(config: &Value, deployments: &str, model: &str, calls: usize) -> Decisions {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(at("config.yaml"), serde_yaml_ng::to_string(config).unwrap()).unwrap();
    // A second apart, as calls that are made one after the other are at least a little.
    let load: Vec<_> = (0..calls).map(|n| json!({"model": model, "at": format!("{n}s")})).collect();
    let scenario = format!("name: x\ndeployments: {deployments}\nload: {}\nexpect: []\n", json!(load));
    std::fs::write(at("scenario.yaml"), scenario).unwrap();
    let (holds, told) =
        test(&["--config", &at("config.yaml"), "--json", &at("out.json"), "--calls", &at("scenario.yaml")]);
    assert!(holds, "{told}");
    let out: Value = serde_json::from_slice(&std::fs::read(at("out.json")).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |outcome: &Value| {
        let attempts = outcome["attempts"].as_array().unwrap().iter();
        let tried = attempts.map(|a| (text(&a["deployment"]), text(&a["class"]))).collect();
        (text(&outcome["reason"]), tried)
    };
    out[0]["outcomes"].as_array().unwrap().iter().map(of).collect()
}

async fn over_sockets(config: &Value, steps: &[(&str, Step)], model: &str, calls: usize) -> Decisions {
    let (provider, admin, secret) = (ScriptedProvider::start().await, virtual_key(), virtual_key());
    for (deployment, step) in steps {
        provider.always(deployment, [step.clone()]);
    }
    let mut config = config.clone();
    for (_, one) in config["providers"].as_object_mut().unwrap() {
        one["base_url"] = provider.base_url().into();
        one["api_key"] = UPSTREAM_KEY.into();
    }
    config["keys"] = json!([
        {"name": "caller", "secret": secret, "models": ["*"]}, {"name": "admin", "secret": admin, "role": "platform_admin"}
    ]);
    let text = format!("listen: {{listen}}\ndata_dir: {{data_dir}}\n{}", serde_yaml_ng::to_string(&config).unwrap());
    let gateway = Gateway::builder().yaml(text).start().await;
    for _ in 0..calls {
        let body = hello(json!({"model": model, "stream": true}));
        let answer = Caller::bearer(&secret).stream(&gateway.v1("chat/completions"), &body).await.unwrap();
        let _ = answer.rest().await;
    }
    let client = Client::connect(&gateway.grpc(), &admin).await.unwrap();
    let mut records = client.audit().query_records(v1::QueryRecordsRequest::default()).await.unwrap().into_inner();
    let mut decisions = Vec::new();
    while let Some(response) = records.message().await.unwrap() {
        let Some(record) = response.record.filter(|r| r.action.starts_with("completion.")) else { continue };
        let reason = record.error_reason().as_str_name().trim_start_matches("ERROR_REASON_").to_owned();
        let reason = if reason == "UNSPECIFIED" { String::new() } else { reason };
        let attempts = record.routing.unwrap_or_default().attempts;
        decisions.push((reason, attempts.into_iter().map(|a| (a.deployment, a.class)).collect()));
    }
    decisions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulator_decides_as_the_gateway_does_over_real_sockets() {
    let config = told_apart();
    for (deployments, steps, model) in cases() {
        let simulated = simulated(&config, deployments, model, 6);
        let real = over_sockets(&config, &steps, model, 6).await;
        assert_eq!(simulated, real, "{deployments}");
    }
}
