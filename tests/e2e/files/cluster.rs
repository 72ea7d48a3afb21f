//! Two replicas over PostgreSQL that look at the same batches.

use serde_json::json;
use tollgate_client::{Client, v1};
use tollgate_services::Postgres;
use tollgate_tests::{
    provider::ScriptedProvider,
    support::{Gateway, http::Caller, keys::virtual_key},
};

use super::{begin, lines, ok, quick};
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_settle_each_batch_once() {
    let postgres = Postgres::start();
    let provider = ScriptedProvider::start().await;
    let (admin, secret, url) = (virtual_key(), virtual_key(), postgres.database().url);
    let mut replicas = Vec::new();
    for name in ["r1", "r2"] {
        let store = json!({ "postgres_url": url, "replica_id": name,
                            "secret": "a secret that all replicas of this test share" });
        let builder = quick(Gateway::over(&provider))
            .key(json!({ "name": "admin", "secret": admin, "role": "platform_admin" }))
            .key(json!({ "name": "shared", "secret": secret, "models": ["*"], "budget_usd": "1" }))
            .set("/store", store);
        replicas.push(builder.start().await);
    }
    let caller = Caller::bearer(&secret);
    let mut batches = Vec::new();
    for n in 0..6 {
        // What is uploaded at one replica is there at the other.
        let fields = [("purpose", "batch"), ("file", "input.jsonl")];
        let file = caller.upload(&replicas[n % 2].v1("files"), &fields, &lines(2, "shared")).await.unwrap();
        batches.push(ok(begin(&replicas[(n + 1) % 2].v1("batches"), &caller, &ok(file)).await));
    }
    provider.end_batches("shared", "completed", usize::MAX);
    let mut entries = Vec::new();
    let client = Client::connect(&replicas[0].grpc(), &secret).await.unwrap();
    eventually("all are settled", async || {
        for (batch, replica) in batches.iter().flat_map(|batch| replicas.iter().map(move |replica| (batch, replica))) {
            let url = replica.v1(&format!("batches/{}", batch["id"].as_str().unwrap()));
            ok(caller.get(&url).await.unwrap());
        }
        let asked = v1::ListLedgerEntriesRequest { page_size: 1_000, ..Default::default() };
        entries = client.budgets().list_ledger_entries(asked).await.unwrap().into_inner().entries;
        entries.len() >= 12
    })
    .await;
    let asked = v1::ListBatchesRequest::default();
    let listed = client.batches().list_batches(asked).await.unwrap().into_inner().batches;
    eventually("all are marked so", async || {
        let listed =
            client.batches().list_batches(v1::ListBatchesRequest::default()).await.unwrap().into_inner().batches;
        listed.iter().all(|batch| batch.cost_nano_usd.is_some())
    })
    .await;
    assert_eq!((listed.len(), entries.len()), (6, 12), "a charge and a correction of each");
    let listed = client.batches().list_batches(v1::ListBatchesRequest::default()).await.unwrap().into_inner().batches;
    let cost: i64 = listed.iter().filter_map(|batch| batch.cost_nano_usd).sum();
    assert_eq!(entries.iter().map(|entry| entry.cost_nano_usd).sum::<i64>(), cost);
    let charged: i64 = listed.iter().map(|batch| batch.held_nano_usd).sum();
    assert!((1..charged).contains(&cost), "{cost} of {charged}");
    let admin = Client::connect(&replicas[1].grpc(), &admin).await.unwrap();
    let checked = admin.budgets().check_ledger(v1::CheckLedgerRequest {}).await.unwrap().into_inner();
    assert_eq!(checked.findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_charge_of_a_batch_is_corrected_in_one_journal() {
    let postgres = Postgres::start();
    let provider = ScriptedProvider::start().await;
    let (admin, secret, url) = (virtual_key(), virtual_key(), postgres.database().url);
    let store = json!({ "postgres_url": url, "replica_id": "r1",
                        "secret": "a secret that all replicas of this test share" });
    let builder = quick(Gateway::over(&provider))
        .key(json!({ "name": "admin", "secret": admin, "role": "platform_admin" }))
        .key(json!({ "name": "shared", "secret": secret, "models": ["*"], "budget_usd": "1" }))
        .set("/store", store);
    let gateway = builder.start().await;
    let caller = Caller::bearer(&secret);
    let fields = [("purpose", "batch"), ("file", "input.jsonl")];
    let file = caller.upload(&gateway.v1("files"), &fields, &lines(2, "journal")).await.unwrap();
    ok(begin(&gateway.v1("batches"), &caller, &ok(file)).await);

    // Another replica has taken it on, and may have it in its journal.
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    sqlx::query("UPDATE batch SET corrected_by = 'r9'").execute(&pool).await.unwrap();
    provider.end_batches("journal", "completed", usize::MAX);
    let due = async || sqlx::query_scalar::<_, i64>("SELECT look_us FROM batch").fetch_one(&pool).await.unwrap();
    let corrections = async || {
        let count = "SELECT count(*) FROM ledger_entry WHERE attempt_id LIKE 'adj_%'";
        sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await.unwrap()
    };
    for _ in 0..3 {
        let before = due().await;
        eventually("it is looked at again", async || due().await > before).await;
    }
    assert_eq!(corrections().await, 0, "it is the other replica's");
    // That one is given up: it died before it left anything on record.
    let admin = Client::connect(&gateway.grpc(), &admin).await.unwrap();
    let close = async || admin.budgets().close_replica(v1::CloseReplicaRequest { replica: "r9".into() }).await;
    assert_eq!(close().await.unwrap_err().code(), tonic::Code::InvalidArgument, "nobody has heard of it yet");
    let known = "INSERT INTO replica (id, incarnation, applied, epoch, sees_redis, seen_time)
                 VALUES ('r9', 1, 0, 0, false, clock_timestamp() - interval '2 minutes')";
    sqlx::query(known).execute(&pool).await.unwrap();
    close().await.unwrap();
    eventually("it is corrected", async || corrections().await == 1).await;
    let told = crate::audit_log::Export::of(&admin).await.root_entries();
    let ended =
        |entry: &v1::root_entry::Entry| matches!(entry, v1::root_entry::Entry::ReplicaClosed(c) if c.replica == "r9");
    assert!(told.iter().any(ended), "its log has ended, though there is nothing in it: {told:?}");
    assert_eq!(crate::audit_log::Export::of(&admin).await.intact().entries, 2, "a charge and a correction");
}
