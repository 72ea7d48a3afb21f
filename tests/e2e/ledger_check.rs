//! `tollgate ledger check` finds what somebody did to the ledger behind the gateway's back.

use std::{path::Path, process::Command, time::Duration};

use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use tollgate_tests::{provider::Step, support::gateway::locate};

use crate::support::{World, hello};

/// A gateway that has served three calls and is no more.
async fn left_behind() -> World {
    let mut world = World::start().await;
    for _ in 0..3 {
        let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
        assert_eq!(reply.status, 200);
    }
    world.gateway.sigterm(Duration::from_secs(10)).await.unwrap();
    world
}

/// Exit status and what was printed.
fn check(world: &World) -> (bool, String) {
    let output = Command::new(locate().unwrap())
        .args(["ledger", "check", "--config"])
        .arg(world.gateway.config_file())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

async fn tamper(world: &World, statements: &[&'static str]) {
    let file = world.gateway.data_dir().join("tollgate.db");
    let mut database = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    for statement in statements {
        sqlx::query(*statement).execute(&mut database).await.unwrap();
    }
    database.close().await.unwrap();
}

fn found(world: &World, invariant: &str) {
    let (clean, text) = check(world);
    assert!(!clean && text.contains(&format!("{invariant} ")), "{text}");
}

#[tokio::test]
async fn a_ledger_that_nobody_touched_is_clean() {
    let world = left_behind().await;
    let (clean, text) = check(&world);
    assert!(clean && text.contains("3 entries") && text.contains("every invariant holds"), "{text}");
}

#[tokio::test]
async fn a_row_is_deleted_only_by_force_and_then_missed() {
    let world = left_behind().await;
    let file = world.gateway.data_dir().join("tollgate.db");
    let mut database = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    assert!(sqlx::query("DELETE FROM ledger_entry WHERE sequence = 2").execute(&mut database).await.is_err());
    database.close().await.unwrap();
    tamper(&world, &["DROP TRIGGER ledger_entry_is_never_deleted", "DELETE FROM ledger_entry WHERE sequence = 2"])
        .await;
    found(&world, "I5");
    found(&world, "I1");
}

#[tokio::test]
async fn a_changed_amount_is_found() {
    let world = left_behind().await;
    let change = "UPDATE ledger_entry SET cost_nano_usd = 1 WHERE sequence = 2";
    tamper(&world, &["DROP TRIGGER ledger_entry_is_never_changed", change]).await;
    found(&world, "I11");
}

#[tokio::test]
async fn a_changed_balance_is_found() {
    let world = left_behind().await;
    tamper(&world, &["UPDATE balance SET spent_nano_usd = spent_nano_usd - 1"]).await;
    found(&world, "I1");
    tamper(&world, &["UPDATE spend_cell SET cost_nano_usd = cost_nano_usd - 1"]).await;
    found(&world, "I7");
}

#[tokio::test]
async fn a_hold_without_an_end_is_found() {
    let mut world = World::start().await;
    world.provider.always("scripted-upstream", [Step::streams(1_000).every_ms(20)]);
    let caller = world.gateway.caller();
    let mut stream = caller.stream(&world.v1("chat/completions"), &hello(json!({"stream": true}))).await.unwrap();
    stream.next().await.unwrap();
    world.gateway.kill9();
    found(&world, "I4");
    // The next start settles it.
    world.gateway.restart().await;
    world.gateway.sigterm(Duration::from_secs(10)).await.unwrap();
    let (clean, text) = check(&world);
    assert!(clean, "{text}");
}

#[tokio::test]
async fn journal_records_that_the_store_lacks_are_found() {
    let mut world = World::start().await;
    let url = world.v1("chat/completions");
    assert_eq!(world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap().status, 200);
    world.gateway.sigterm(Duration::from_secs(10)).await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_database(&world.gateway.data_dir(), copy.path());
    world.gateway.restart().await;
    assert_eq!(world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap().status, 200);
    world.gateway.sigterm(Duration::from_secs(10)).await.unwrap();
    // As if the database had been restored from a backup.
    copy_database(copy.path(), &world.gateway.data_dir());
    let (clean, text) = check(&world);
    assert!(!clean && text.contains("I5 journal records"), "{text}");
    // The next start applies them.
    world.gateway.restart().await;
    assert_eq!(world.entries().await.len(), 2);
}

fn copy_database(from: &Path, to: &Path) {
    for file in ["tollgate.db", "tollgate.db-wal", "tollgate.db-shm"] {
        let _ = std::fs::remove_file(to.join(file));
        if from.join(file).exists() {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_running_gateway_is_asked_instead() {
    let world = World::start().await;
    let reply = world.gateway.caller().post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 200);
    let (clean, text) = check(&world);
    assert!(!clean && text.contains("--url"), "{text}");
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), &world.admin).unwrap();
    let output = Command::new(locate().unwrap())
        .args(["ledger", "check", "--url", &world.gateway.url(), "--key-file"])
        .arg(key.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
