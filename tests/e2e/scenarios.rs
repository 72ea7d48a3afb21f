//! Routing rules as tests, the way CI runs them.

use std::{path::PathBuf, process::Command};

use tollgate_tests::support::gateway::locate;

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
        let file = dir.path().join(name);
        assert!(!test(&["--seed", seed, "--json", &file.display().to_string(), "."]).1.is_empty());
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
        ("name: x\ndeployments: { gone: [] }\nload: []\nexpect: []\n", "there is no \"gone\" in the configuration"),
    ] {
        std::fs::write(&scenario, text).unwrap();
        let config = examples().join("config/gateway.yaml").display().to_string();
        let (holds, told) = test(&["--config", &config, &scenario.display().to_string()]);
        assert!(!holds && told.contains(wanted), "{told}");
    }
}
