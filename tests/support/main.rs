//! The gateway's keeper, tried on a stand-in: the scripted provider behind a script that takes the gateway's arguments.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tollgate_tests::provider::ScriptedProvider;
use tollgate_tests::support::http::Caller;
use tollgate_tests::support::{Gateway, GatewayBuilder};

/// A program that is called like the gateway and listens where it is told.
fn stand_in() -> (TempDir, PathBuf) {
    let load = env!("CARGO_BIN_EXE_tollgate-load");
    script(&format!("echo \"called with $*\"\nexec {load} provider --listen \"$5\"\n"))
}

fn script(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tollgate");
    std::fs::write(&path, text).expect("writing the stand-in");
    (directory, path)
}

/// The stand-in is read by a shell, not executed: a file just written is busy while a fork elsewhere has it open.
fn over(provider: &ScriptedProvider, binary: PathBuf) -> GatewayBuilder {
    Gateway::over(provider).budget_usd("2.50").binary(binary).wrapped_in(["sh"])
}

async fn alive(gateway: &Gateway) -> bool {
    Caller::default().get(&format!("{}/health/readiness", gateway.url())).await.is_ok()
}

#[tokio::test]
async fn a_gateway_gets_its_configuration_and_its_arguments() {
    let (provider, (_directory, binary)) = (ScriptedProvider::start().await, stand_in());

    let gateway = over(&provider, binary).set("/keys/0/models", vec!["scripted"]).start().await;

    let config: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(gateway.config_file()).unwrap()).unwrap();
    assert_eq!(config["providers"]["scripted"]["base_url"], provider.base_url());
    assert_eq!(config["models"][0]["deployments"][0]["model"], "scripted-upstream");
    assert_eq!(config["keys"][0]["secret"], gateway.key());
    assert_eq!(config["keys"][0]["budget_usd"], "2.50");
    assert_eq!(config["keys"][0]["models"][0], "scripted");
    assert_eq!(config["data_dir"], gateway.data_dir().display().to_string());
    assert!(gateway.logs().contains("called with serve --config"), "{}", gateway.logs());
}

#[tokio::test]
async fn a_killed_gateway_comes_back_on_its_port_and_data() {
    let (provider, (_directory, binary)) = (ScriptedProvider::start().await, stand_in());
    let mut gateway = over(&provider, binary).start().await;
    let (url, pid) = (gateway.url(), gateway.pid());
    std::fs::write(gateway.data_dir().join("journal"), "kept").unwrap();

    gateway.kill9();
    assert!(!alive(&gateway).await);
    gateway.restart().await;

    assert!(alive(&gateway).await);
    assert_eq!(gateway.url(), url);
    assert_ne!(gateway.pid(), pid);
    assert_eq!(std::fs::read_to_string(gateway.data_dir().join("journal")).unwrap(), "kept");
    assert_eq!(gateway.logs().matches("called with").count(), 2);
}

#[tokio::test]
async fn a_gateway_ends_when_asked_to_and_when_forgotten() {
    let (provider, (_directory, binary)) = (ScriptedProvider::start().await, stand_in());
    let mut gateway = over(&provider, binary.clone()).start().await;
    gateway.sigterm(Duration::from_secs(2)).await.unwrap();
    assert!(!alive(&gateway).await);

    let forgotten = over(&provider, binary).start().await;
    let (url, data) = (forgotten.url(), forgotten.data_dir());
    drop(forgotten);
    assert!(Caller::default().get(&url).await.is_err());
    assert!(!data.exists());
}

#[tokio::test]
async fn a_gateway_that_does_not_start_says_what_it_wrote() {
    let provider = ScriptedProvider::start().await;
    let (_directory, binary) = script("echo 'unknown setting: bugdet' >&2\nexit 2\n");

    let error = over(&provider, binary).try_start().await.unwrap_err();

    assert!(error.to_string().contains("exit status: 2"), "{error}");
    assert!(error.to_string().contains("unknown setting: bugdet"));
}
