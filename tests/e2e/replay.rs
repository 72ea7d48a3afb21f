//! Recorded calls made again under another configuration.

use std::path::Path;

use serde_json::{Value, json};
use tollgate_tests::provider::{Cut, Step};
use tollgate_tests::support::gateway::locate;

use crate::support::{World, hello};

/// A model at two providers by weight, with a fallback; the provider fails now and then.
async fn recorded() -> World {
    let deployment = |name: &str, weight: u32| {
        json!({"name": name, "provider": "scripted", "model": format!("{name}-upstream"), "weight": weight,
               "price": {"input": "0.15", "output": "0.60"}})
    };
    let model = json!({"name": "scripted", "deployments": [deployment("a", 3), deployment("b", 1)],
                       "fallbacks": ["spare"], "retries": 1, "sticky": "user", "cooldown": {"time": "0s"}});
    let world = World::with(|b| b.set("/models/0", model).model("spare", "scripted", "spare-upstream")).await;
    world.provider.always(
        "a-upstream",
        [
            Step::text("one two three"),
            Step::text("one two three four five six").every_ms(2),
            Step::fails(503),
            Step::streams(9).then_cuts(4, Cut::Rst),
            Step { cached_tokens: Some(8), ..Step::text("cached") },
        ],
    );
    world.provider.always("b-upstream", [Step::text("b speaks").after_ms(3), Step::fails(500)]);
    let (caller, url) = (world.gateway.caller(), world.v1("chat/completions"));
    for n in 0..60 {
        let user = (n % 3 > 0).then(|| format!("user-{}", n % 7));
        let mut body = hello(json!({"stream": n % 4 != 1, "max_completion_tokens": 40}));
        if let Some(user) = user {
            body["user"] = user.into();
        }
        caller.stream(&url, &body).await.unwrap().rest().await.1.ok();
    }
    world
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// What the gateway recorded, exported.
    async fn export(world: &World) -> Self {
        let files = Files { dir: tempfile::tempdir().unwrap() };
        std::fs::write(files.path("key"), &world.admin).unwrap();
        let asked = [
            "audit",
            "export",
            "--url",
            &world.gateway.url(),
            "--key-file",
            &files.path("key"),
            "--action-prefix",
            "completion.",
            "--to",
            &files.path("export.jsonl"),
        ];
        let (ok, told) = tollgate(&asked).await;
        assert!(ok, "{told}");
        files
    }

    /// Replays the export against the gateway's configuration as changed.
    async fn replay(&self, config: &Path, change: impl FnOnce(&mut Value)) -> (Value, String) {
        let mut config: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(config).unwrap()).unwrap();
        change(&mut config);
        std::fs::write(self.path("new.yaml"), config.to_string()).unwrap();
        let asked = [
            "replay",
            "--config",
            &self.path("new.yaml"),
            "--from",
            &self.path("export.jsonl"),
            "--json",
            &self.path("out.json"),
            "--calls",
        ];
        let (ok, told) = tollgate(&asked).await;
        assert!(ok, "{told}");
        (serde_json::from_slice(&std::fs::read(self.path("out.json")).unwrap()).unwrap(), told)
    }
}

async fn tollgate(arguments: &[&str]) -> (bool, String) {
    let ran = tokio::process::Command::new(locate().unwrap()).args(arguments).output().await.unwrap();
    let told = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    (ran.status.success(), told)
}

#[tokio::test]
async fn the_same_configuration_makes_the_same_choices_and_costs_the_same() {
    let world = recorded().await;
    let files = Files::export(&world).await;
    let (compared, told) = files.replay(&world.gateway.config_file(), |_| {}).await;
    assert_eq!(compared["calls"], 60, "{told}");
    assert_eq!(compared["elsewhere"], 0, "{told}");
    assert_eq!(compared["errors_before"], compared["errors_after"], "{told}");
    assert!(compared["errors_before"].as_u64().unwrap() > 0, "some streams broke: {told}");
    for call in compared["outcomes"].as_array().unwrap() {
        let (before, after) = (&call["before"], &call["after"]);
        assert_eq!((&before["served_by"], &before["attempts"]), (&after["served_by"], &after["attempts"]), "{call}");
        assert_eq!(before["error"], after["error"], "{call}");
        // What broke was estimated from the bytes that came; whole answers cost what they did, to the nano-dollar.
        if before["attempts"] == 1 && before["error"].is_null() {
            assert_eq!(before["cost_nano_usd"], after["cost_nano_usd"], "{call}");
        }
    }
}

#[tokio::test]
async fn a_change_is_told_by_who_goes_where_and_what_it_costs() {
    let world = recorded().await;
    let files = Files::export(&world).await;
    // `a` is given up, and `b` becomes ten times as dear.
    let (compared, told) = files
        .replay(&world.gateway.config_file(), |config| {
            let deployments = config["models"][0]["deployments"].as_array_mut().unwrap();
            deployments.remove(0);
            deployments[0]["price"] = json!({"input": "1.50", "output": "6.00"});
        })
        .await;
    let moves = compared["moves"].as_array().unwrap();
    let moved = moves.iter().find(|m| m["from"] == "a" && m["to"] == "b").unwrap_or_else(|| panic!("{told}"));
    assert!(moved["calls"].as_u64().unwrap() > 5, "{told}");
    let (before, after) =
        (moved["cost_before_nano_usd"].as_i64().unwrap(), moved["cost_after_nano_usd"].as_i64().unwrap());
    assert!(after > 8 * before, "{told}");
    assert!(compared["outcomes"].as_array().unwrap().iter().all(|call| call["after"]["served_by"] != "a"), "{told}");
    let row =
        told.lines().find(|line| line.contains(" a ") && line.contains(" b ")).unwrap_or_else(|| panic!("{told}"));
    assert!(row.starts_with("scripted"), "{told}");
}

#[tokio::test]
async fn a_deployment_that_was_never_called_is_assumed_and_told() {
    let world = recorded().await;
    let files = Files::export(&world).await;
    let (compared, told) = files
        .replay(&world.gateway.config_file(), |config| {
            config["models"][0]["deployments"] =
                json!([{"name": "new", "provider": "scripted", "model": "new-upstream"}]);
        })
        .await;
    assert_eq!(compared["assumed"], json!(["new"]), "{told}");
    assert_eq!(compared["errors_after"], 0, "{told}");
    assert!(told.contains("new is not in the record"), "{told}");
}

#[tokio::test]
async fn what_is_no_export_is_told_with_its_line() {
    let files = Files { dir: tempfile::tempdir().unwrap() };
    std::fs::write(files.path("export.jsonl"), "{}\nnot a record\n").unwrap();
    std::fs::write(files.path("config.yaml"), "{}\n").unwrap();
    let asked = ["replay", "--config", &files.path("config.yaml"), "--from", &files.path("export.jsonl")];
    let (ok, told) = tollgate(&asked).await;
    assert!(!ok && told.contains("export.jsonl:2"), "{told}");
}
