//! The table of tasks in docs/cli.md: each of its commands does what it says at a gateway elsewhere.

use std::{collections::BTreeSet, sync::Mutex};

use serde_json::{Value, json};
use tollgate_tests::{provider::Invoice, support::http::Caller};

use super::{Desk, Done};
use crate::support::{World, hello};

const PAGE: &str = include_str!("../../../docs/cli.md");

/// What the scripted model costs, in pico-dollars per token.
const PRICES: (u64, u64) = (150_000, 600_000);

/// A desk that notes which commands were run there.
struct Admin {
    desk: Desk,
    done: Mutex<BTreeSet<String>>,
}

impl Admin {
    async fn at(world: &World) -> Self {
        Self { desk: Desk::at(world).await, done: Mutex::default() }
    }

    fn note(&self, args: &[&str]) {
        let words = args.iter().take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
        let words: Vec<_> = words.take(if args[0] == "spend" || args[0] == "top" { 1 } else { 2 }).copied().collect();
        self.done.lock().unwrap().insert(words.join(" "));
    }

    /// A command that must succeed; what it prints for programs.
    async fn json(&self, args: &[&str]) -> Value {
        self.note(args);
        self.desk.json(args).await
    }

    /// A command that must succeed and prints for people.
    async fn says(&self, args: &[&str]) -> String {
        let done = self.run(args).await;
        assert_eq!(done.status, 0, "{args:?}: {}", done.err);
        done.out + &done.err
    }

    async fn run(&self, args: &[&str]) -> Done {
        self.note(args);
        self.desk.run(args).await
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

async fn answered(world: &World, secret: &str) -> u16 {
    let caller = Caller::bearer(secret);
    caller.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap().status.as_u16()
}

#[tokio::test]
async fn each_task_of_an_admin_is_done_at_a_gateway_elsewhere() {
    let world = World::start().await;
    let admin = Admin::at(&world).await;
    let [org, team, user] = tenants(&admin).await;
    let key = keys(&world, &admin, &org, &team).await;
    money(&world, &admin, &team, &key).await;
    books(&world, &admin).await;
    what_is_on_record(&admin, &key).await;
    models(&world, &admin).await;
    admin.json(&["keys", "revoke", &key]).await;
    admin.says(&["users", "delete", &user]).await;
    admin.says(&["teams", "delete", &team]).await;
    admin.says(&["orgs", "delete", &org]).await;
    let left = admin.json(&["orgs", "list"]).await;
    assert!(left.as_array().unwrap().iter().all(|one| one["id"] != org.as_str()), "{left}");

    let table = PAGE.split("## Tasks").nth(1).unwrap().split("## top").next().unwrap();
    let named: BTreeSet<String> =
        table.split("`tollgate ").skip(1).map(|rest| command(rest.split('`').next().unwrap())).collect();
    let done = admin.done.lock().unwrap().clone();
    let missing: Vec<_> = named.iter().filter(|name| *name != "import litellm" && !done.contains(*name)).collect();
    assert!(missing.is_empty() && named.len() > 40, "the page names what this test does not do: {missing:?}");
}

fn command(line: &str) -> String {
    let count = if line.starts_with("spend") || line == "top" { 1 } else { 2 };
    line.split(' ').take(count).collect::<Vec<_>>().join(" ")
}

async fn tenants(admin: &Admin) -> [String; 3] {
    let org = text(&admin.json(&["orgs", "create", "Acme", "--model", "*"]).await["id"]).to_owned();
    let team = admin.json(&["teams", "create", "research", "--org", &org, "--model", "*", "--rpm", "600"]).await;
    let team = text(&team["id"]).to_owned();
    let user = text(&admin.json(&["users", "create", "Ada", "--org", &org]).await["id"]).to_owned();
    for (kind, id, name) in [("orgs", &org, "Acme Ltd"), ("teams", &team, "labs"), ("users", &user, "Ada L.")] {
        admin.json(&[kind, "update", id, "--name", name]).await;
        assert_eq!(admin.json(&[kind, "show", id]).await["displayName"], name);
        let listed = admin.json(&[kind, "list"]).await;
        assert!(listed.as_array().unwrap().iter().any(|one| one["id"] == id.as_str()), "{listed}");
    }
    assert_eq!(admin.json(&["teams", "add-member", &team, &user]).await["memberIds"], json!([user]));
    assert_eq!(admin.json(&["teams", "remove-member", &team, &user]).await["memberIds"], Value::Null);
    [org, team, user]
}

async fn keys(world: &World, admin: &Admin, org: &str, team: &str) -> String {
    let made = admin.json(&["keys", "create", "app", "--org", org, "--budget", "5"]).await;
    let key = text(&made["key"]["id"]).to_owned();
    assert_eq!(admin.json(&["keys", "move", &key, "--team", team]).await["teamId"], team);
    assert_eq!(admin.json(&["keys", "list", "--team", team]).await[0]["id"], key.as_str());
    admin.json(&["keys", "update", &key, "--rpm", "60"]).await;
    assert_eq!(admin.json(&["keys", "show", &key]).await["limits"]["requestsPerMinute"], "60");
    let rotated = admin.json(&["keys", "rotate", &key, "--grace", "24h"]).await;
    assert_eq!(answered(world, text(&made["secret"])).await, 200, "the old secret has its grace");
    for (act, status) in [("block", 403), ("unblock", 200)] {
        admin.json(&["keys", act, &key]).await;
        assert_eq!(answered(world, text(&rotated["secret"])).await, status, "{act}");
    }
    // SHA-256 of `sk-another-gateway-issued-this`.
    let hash = "944827616fbc606dfd2d9ea3065024e6d3cb24eb49b080f8225c0fb010d90e31";
    let imported = admin.json(&["keys", "import", "old", "--sha256", hash]).await;
    assert_eq!(admin.json(&["keys", "import", "old", "--sha256", hash]).await["id"], imported["id"], "once");
    key
}

async fn money(world: &World, admin: &Admin, team: &str, key: &str) {
    let budget = text(&admin.json(&["budgets", "create", "100", "--team", team]).await["id"]).to_owned();
    assert_eq!(admin.json(&["budgets", "list", "--team", team]).await[0]["id"], budget.as_str());
    admin.json(&["budgets", "update", &budget, "--limit", "200"]).await;
    assert_eq!(admin.json(&["budgets", "show", &budget]).await["limitNanoUsd"], "200000000000");
    let raised = admin.json(&["budgets", "increase", &budget, "50", "--until", "7d"]).await;
    assert_eq!(raised["increase"]["amountNanoUsd"], "50000000000");
    assert_eq!(admin.json(&["budgets", "alerts"]).await, json!([]));
    admin.says(&["budgets", "delete", &budget]).await;
    let by_team = admin.json(&["spend", "--by", "team", "--since", "7d"]).await;
    assert!(by_team.as_array().unwrap().iter().any(|one| one["group"] == team), "{by_team}");
    let entries = admin.json(&["ledger", "entries", "--key", key]).await;
    assert_eq!(entries.as_array().unwrap().len(), world.provider.log().stats().calls as usize, "{entries}");
    assert_eq!(admin.json(&["ledger", "holds"]).await, json!([]));
}

async fn books(world: &World, admin: &Admin) {
    assert!(admin.says(&["ledger", "check", "--profile", "work"]).await.contains("every invariant holds"));
    let calls = world.provider.log().stats().calls as usize;
    let records = world.provider.log().settled(calls).await;
    let invoice = Invoice::over(&records, PRICES.0, PRICES.1).csv(9);
    let invoice = admin.desk.file("costs.csv", &invoice);
    let told = admin.json(&["ledger", "reconcile", "scripted", invoice.to_str().unwrap(), "--format", "openai"]).await;
    assert_eq!((&told["clears"], &told["invoicedNanoUsd"]), (&json!(true), &told["bookedNanoUsd"]));

    // Corrections are proposed by a key of the role `finance`.
    let finance = admin.json(&["keys", "create", "books", "--role", "finance"]).await;
    let finance = admin.desk.file("finance.key", text(&finance["secret"]));
    let address = world.gateway.grpc();
    let attempt = admin.json(&["ledger", "entries"]).await[0]["attemptId"].clone();
    let adjust = async |amount: &str| {
        let args = ["ledger", "adjust", text(&attempt), amount, "--reason", "refund"];
        let at = ["--address", &address, "--key-file", finance.to_str().unwrap()];
        admin.json(&[&args[..], &at[..]].concat()).await
    };
    assert_eq!(adjust("-0.000000001").await["state"], "ADJUSTMENT_STATE_POSTED");
    let much = adjust("150").await;
    assert_eq!(much["state"], "ADJUSTMENT_STATE_PENDING");
    assert_eq!(admin.json(&["ledger", "approve", text(&much["id"])]).await["state"], "ADJUSTMENT_STATE_POSTED");
    assert_eq!(admin.json(&["ledger", "adjustments"]).await.as_array().unwrap().len(), 2);
    let closed = admin.run(&["ledger", "close-replica", "nobody"]).await;
    assert!(closed.status == 2 && closed.err.contains("no such replica"), "{} {}", closed.status, closed.err);
}

async fn what_is_on_record(admin: &Admin, key: &str) {
    let found = admin.json(&["audit", "query", "--since", "2h", "--action", "key.move"]).await;
    assert_eq!(found[0]["subject"], key, "{found}");
    let tail = admin.says(&["audit", "tail", "--after", "0", "--take", "1"]).await;
    assert_eq!(tail.lines().count(), 1, "{tail}");
    let file = admin.desk.file("export.jsonl", "");
    let said = admin.says(&["audit", "export", "--profile", "work", "--to", file.to_str().unwrap()]).await;
    let lines = std::fs::read_to_string(&file).unwrap().lines().count();
    assert!(lines > 10 && said.contains(&format!("{lines} records")), "{said}");
}

async fn models(world: &World, admin: &Admin) {
    let made =
        admin.json(&["models", "create", "new", "--provider", "scripted", "--provider-model", "new-upstream"]).await;
    let id = text(&made["id"]);
    assert_eq!(admin.json(&["models", "created"]).await[0]["id"], id);
    let listed = admin.json(&["models", "list"]).await;
    assert!(listed.as_array().unwrap().iter().any(|one| one["name"] == "new"), "{listed}");
    assert!(admin.says(&["route", "explain", "new"]).await.starts_with("1. "));
    assert!(admin.says(&["route", "state", "new"]).await.contains(id));
    assert!(admin.says(&["top", "--once", "0"]).await.contains("deployments"));
    admin.says(&["models", "delete", id]).await;
    assert_eq!(admin.json(&["models", "created"]).await, json!([]));
    assert!(!world.gateway.logs().contains("panicked"));
}

#[tokio::test]
async fn a_file_goes_up_a_batch_is_waited_for_and_its_answers_come_down() {
    let world = World::with(|builder| {
        builder.deployment(
            "bulk",
            json!({"provider": "scripted", "model": "bulk-upstream", "max_output_tokens": 4096, "context_window": 400_000,
                   "price": {"input": "2", "output": "10", "batch_input": "1", "batch_output": "5"}}),
        )
    })
    .await;
    let desk = Desk::at(&world).await;
    let key = desk.file("caller.key", world.gateway.key());
    let address = world.gateway.grpc();
    let at = ["profiles", "set", "mine", "--address", &address, "--key-file", key.to_str().unwrap()];
    assert_eq!(desk.run(&at).await.status, 0);
    assert_eq!(desk.run(&["profiles", "use", "mine"]).await.status, 0);
    let line = json!({"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body":
        {"model": "bulk", "max_completion_tokens": 50, "messages": [{"role": "user", "content": "by night"}]}});
    let input = desk.file("input.jsonl", &format!("{line}\n"));
    let file = desk.json(&["files", "upload", input.to_str().unwrap()]).await;
    assert_eq!((&file["filename"], &file["purpose"]), (&json!("input.jsonl"), &json!("batch")));
    let file = text(&file["id"]);
    assert_eq!(desk.json(&["files", "list"]).await[0]["id"], file);
    assert_eq!(desk.json(&["files", "show", file]).await["model"], "bulk");

    let batch = desk.json(&["batches", "create", file, "--metadata", "what=nightly"]).await;
    let batch = text(&batch["id"]);
    assert_eq!(desk.json(&["batches", "list"]).await[0]["id"], batch);
    let args = ["batches", "wait", batch, "--every", "1s"];
    let ended = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        world.provider.end_batches("by night", "completed", usize::MAX);
    };
    let (ended, ()) = tokio::join!(desk.json(&args), ended);
    assert_eq!(ended["status"], "completed");
    let to = desk.home.path().join("answers.jsonl");
    let content = ["files", "content", text(&ended["outputFileId"]), "--to", to.to_str().unwrap()];
    let done = desk.run(&content).await;
    assert_eq!((done.status, done.err.as_str()), (0, ""), "a bar is for terminals");
    assert!(std::fs::read_to_string(&to).unwrap().contains("\"custom_id\":\"one\""));
    assert!(desk.run(&["batches", "show", batch]).await.out.contains("completed"));
    assert_eq!(desk.run(&["batches", "cancel", "batch_nobody"]).await.status, 4);
    assert_eq!(desk.run(&["files", "delete", file]).await.status, 0);
    let gone = desk.run(&["files", "content", file, "--to", desk.home.path().join("none").to_str().unwrap()]).await;
    assert!(gone.status == 4 && !desk.home.path().join("none").exists(), "{}", gone.err);
}
