//! The command line does at a gateway elsewhere what its admin has to do.

mod tasks;

use std::{path::PathBuf, process::Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};
use tollgate_tests::support::{gateway::locate, http::Caller};

use crate::support::{World, hello};

/// An administrator at a desk of their own: no configuration, no store, an address and a key in a profile.
struct Desk {
    home: TempDir,
}

/// How a command ended.
struct Done {
    status: i32,
    out: String,
    err: String,
}

impl Desk {
    async fn at(world: &World) -> Self {
        let desk = Self { home: TempDir::new().unwrap() };
        let key = desk.file("admin.key", &world.admin);
        let address = world.gateway.grpc();
        let args = ["profiles", "set", "work", "--address", &address, "--key-file", key.to_str().unwrap()];
        assert_eq!(desk.run(&args).await.status, 0);
        desk
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(locate().unwrap());
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, args: &[&str]) -> Done {
        self.run_with(args, "").await
    }

    async fn run_with(&self, args: &[&str], input: &str) -> Done {
        let mut child = self.command(args).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done { status: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs a command that must succeed, and reads what it prints for programs.
    async fn json(&self, args: &[&str]) -> Value {
        let done = self.run(&[args, &["--output", "json"]].concat()).await;
        assert_eq!(done.status, 0, "{args:?}: {}", done.err);
        serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", done.out))
    }
}

#[tokio::test]
async fn a_team_gets_a_key_with_a_budget_and_its_spend_is_seen() {
    let world = World::start().await;
    let desk = Desk::at(&world).await;
    let org = desk.json(&["orgs", "create", "Acme", "--model", "*"]).await;
    let org = org["id"].as_str().unwrap();
    let team = desk.json(&["teams", "create", "research", "--org", org, "--model", "*", "--rpm", "600"]).await;
    assert_eq!(team["limits"]["requestsPerMinute"], "600");
    let team = team["id"].as_str().unwrap();
    let user = desk.json(&["users", "create", "Ada", "--org", org, "--email", "ada@example.com"]).await;
    let member = desk.json(&["teams", "add-member", team, user["id"].as_str().unwrap()]).await;
    assert_eq!(member["memberIds"], json!([user["id"]]));

    let made = desk.json(&["keys", "create", "notebook", "--team", team, "--budget", "5.00", "--tag", "lab"]).await;
    let (secret, id) = (made["secret"].as_str().unwrap(), made["key"]["id"].as_str().unwrap());
    let budget = ["budgets", "create", "100", "--team", team, "--window", "month:Europe/Berlin", "--alerts", "50,90"];
    let budget = desk.json(&budget).await;
    assert_eq!(budget["limitNanoUsd"], "100000000000");
    assert_eq!(budget["window"]["calendar"], json!({"unit": "CALENDAR_UNIT_MONTH", "timeZone": "Europe/Berlin"}));

    let caller = Caller::bearer(secret);
    for _ in 0..2 {
        assert_eq!(caller.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap().status, 200);
    }
    let spent = desk.json(&["spend", "--by", "team", "--since", "1d"]).await;
    assert_eq!((&spent[0]["group"], &spent[0]["entries"]), (&json!(team), &json!("2")));
    let chart = desk.run(&["spend", "--by", "team"]).await.out;
    assert!(
        chart.contains(team) && chart.contains("2 calls") && chart.contains('█') && chart.contains("total"),
        "{chart}"
    );
    let listed = desk.json(&["keys", "list", "--team", team]).await;
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let csv = desk.run(&["keys", "list", "--team", team, "--output", "csv"]).await.out;
    assert!(csv.starts_with("id,name,prefix,role,state,") && csv.contains(&format!("{id},notebook,")), "{csv}");
    assert!(!csv.contains(secret));
    let yaml = desk.run(&["budgets", "list", "--team", team, "--output", "yaml"]).await.out;
    assert!(yaml.contains("limitNanoUsd: '100000000000'"), "{yaml}");
}

#[tokio::test]
async fn a_key_is_changed_rotated_blocked_and_revoked() {
    let world = World::start().await;
    let desk = Desk::at(&world).await;
    let only = desk.run(&["keys", "create", "app", "--secret-only"]).await;
    let first = only.out.trim().to_owned();
    assert!(first.starts_with("tg-") && !first.contains('\n'), "{}", only.out);
    let listed = desk.json(&["keys", "list"]).await;
    let id = listed.as_array().unwrap().iter().find(|key| key["displayName"] == "app").unwrap()["id"].clone();
    let id = id.as_str().unwrap();
    let changed =
        desk.json(&["keys", "update", id, "--name", "app two", "--rpm", "7", "--metadata", "owner=ada"]).await;
    assert_eq!(changed["displayName"], "app two");
    assert_eq!((&changed["limits"]["requestsPerMinute"], &changed["metadata"]["owner"]), (&json!("7"), &json!("ada")));
    let second = desk.run(&["keys", "rotate", id, "--secret-only"]).await.out.trim().to_owned();
    assert_ne!(first, second);
    let answered = async |secret: &str| {
        let caller = Caller::bearer(secret);
        caller.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap().status.as_u16()
    };
    assert_eq!((answered(&first).await, answered(&second).await), (401, 200));
    assert_eq!(desk.json(&["keys", "block", id]).await["state"], "KEY_STATE_BLOCKED");
    assert_eq!(answered(&second).await, 403);
    assert_eq!(desk.json(&["keys", "unblock", id]).await["state"], "KEY_STATE_ACTIVE");
    assert_eq!(answered(&second).await, 200);
    assert_eq!(desk.json(&["keys", "revoke", id]).await["state"], "KEY_STATE_REVOKED");
    assert_eq!(answered(&second).await, 401);
}

#[tokio::test]
async fn a_question_is_answered_as_it_comes_and_its_record_is_found() {
    let world = World::start().await;
    let desk = Desk::at(&world).await;
    let key = desk.file("caller.key", world.gateway.key());
    let address = world.gateway.grpc();
    let with_key = ["--address", &address, "--key-file", key.to_str().unwrap()];
    let said = desk.run(&[&["chat", "scripted", "say hello"], &with_key[..]].concat()).await;
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(!said.out.trim().is_empty() && said.err.contains("tokens, $"), "{} {}", said.out, said.err);
    let piped = desk.run_with(&[&["chat", "scripted", "-", "-o", "json"], &with_key[..]].concat(), "say more").await;
    let answer: Value = serde_json::from_str(&piped.out).unwrap();
    let call = answer["started"]["callId"].as_str().unwrap();

    let found = desk.json(&["audit", "query", "--call", call]).await;
    assert_eq!(found[0]["action"], "completion.stream");
    let tail =
        desk.run(&["audit", "tail", "--after", "0", "--action", "completion.", "--take", "2", "-o", "json"]).await;
    assert_eq!(tail.out.lines().count(), 2, "{}", tail.out);
    let explained = desk.run(&[&["route", "explain", "scripted"], &with_key[..]].concat()).await;
    assert!(explained.out.starts_with("1. scripted:"), "{}", explained.out);
    let explained = desk.run(&[&["route", "explain", "scripted", "-o", "yaml"], &with_key[..]].concat()).await;
    assert!(explained.out.starts_with("order:\n- deployment: scripted:"), "{}", explained.out);
    let models = desk.run(&[&["models", "list"], &with_key[..]].concat()).await;
    assert!(models.out.contains("scripted"), "{}", models.out);
    let top = desk.run(&["top", "--once", "0"]).await;
    assert!(top.out.contains("calls per second") && top.out.contains("scripted:"), "{} {}", top.out, top.err);
}

#[tokio::test]
async fn what_goes_wrong_is_told_by_words_and_status() {
    let world = World::start().await;
    let desk = Desk::at(&world).await;
    let key = desk.file("wrong.key", "tg-nonsense");
    let free = tollgate_tests::support::gateway::free_port().unwrap();
    let nobody = format!("http://127.0.0.1:{free}");
    let address = world.gateway.grpc();
    let wrong_key = ["keys", "list", "--address", &address, "--key-file", key.to_str().unwrap()];
    let unreachable = ["keys", "list", "--address", &nobody, "--key-file", key.to_str().unwrap()];
    let made = desk.json(&["keys", "create", "poor", "--budget", "0"]).await;
    let poor = desk.file("poor.key", made["secret"].as_str().unwrap());
    let penniless = ["chat", "scripted", "hi", "--address", &address, "--key-file", poor.to_str().unwrap()];
    for (args, status, words) in [
        (&["keys", "show", "key_nobody"][..], 4, "key_nobody"),
        (&["budgets", "create", "1e3", "--gateway"], 2, "12.50"),
        (&["budgets", "create", "5"], 2, "--team"),
        (&["keys", "update", "key_nobody"], 4, "key_nobody"),
        (&["keys", "list", "--profile", "home"], 2, "there are: work"),
        (&wrong_key, 3, "key"),
        (&unreachable, 7, "onnect"),
        (&penniless, 6, "budget"),
        (&["chat", "scripted"], 2, "terminal"),
        (&["chat", "scripted", "hi", "--output", "csv"], 2, "json"),
        (&["keys", "import", "old", "--sha256", "abc"], 2, "64"),
        (&["keys", "move", "key_nobody"], 2, "--team"),
        (&["audit", "export"], 1, "--profile"),
    ] {
        let done = desk.run(args).await;
        assert_eq!(done.status, status, "{args:?}: {} {}", done.out, done.err);
        assert!(done.err.contains(words) && !done.err.contains("tg-"), "{args:?}: {}", done.err);
    }
}

#[tokio::test]
async fn a_shell_learns_to_complete_and_the_manual_has_a_page_for_each_command() {
    let world = World::start().await;
    let desk = Desk::at(&world).await;
    for shell in ["bash", "zsh", "fish"] {
        let script = desk.run(&["completions", shell]).await;
        assert!(script.status == 0 && script.out.contains("rotate"), "{shell}");
    }
    assert_eq!(desk.run(&["man", "pages"]).await.status, 0);
    let page = std::fs::read_to_string(desk.home.path().join("pages/tollgate-keys-create.1")).unwrap();
    assert!(page.contains("\\-\\-budget"), "{page}");
}
