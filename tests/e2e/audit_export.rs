//! The audit log's copy elsewhere: whichever replica is there brings it up to date, and it is what was signed.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;
use tollgate_client::{Client, v1::ListLogsRequest};
use tollgate_services::Postgres;
use tollgate_tests::{
    provider::ScriptedProvider,
    support::{Gateway, keys::virtual_key},
};
use tollgate_tlog::{
    Dir, VerifierKey,
    verify::{Options, Report, verify},
};

use crate::{metrics::exposed, support::hello};

fn judge(copy: &Path, key: &VerifierKey) -> Report {
    verify(&Dir::new(copy), Options { keys: vec![key.clone()], ..Options::default() }).unwrap()
}

/// How many records the copy has of a replica; whatever it has is what was signed.
fn exported(copy: &Path, key: &VerifierKey, replica: &str) -> u64 {
    if !copy.join("root/checkpoints").is_dir() {
        return 0; // not even the first export is done
    }
    let report = judge(copy, key);
    assert!(report.intact, "{:#?}", report.findings);
    report.logs.iter().find(|log| log.log == replica).map_or(0, |log| log.size)
}

/// Logs are signed every five seconds, and exported every second.
async fn soon(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: not within thirty seconds");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn call(gateway: &Gateway) {
    let reply = gateway.caller().post(&gateway.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_export_all_their_logs_into_one_copy_and_one_goes_on_when_the_other_dies() {
    let (postgres, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let copy = folder.path().join("copy");
    let (database, admin) = (postgres.database().url, virtual_key());
    let provider = ScriptedProvider::start().await;
    let replica = async |id: &str| {
        let store = json!({ "postgres_url": database, "replica_id": id,
                            "secret": "a secret that all replicas of this test share" });
        let export = json!({ "local": { "dir": copy }, "every": "1s" });
        Gateway::over(&provider)
            .key(json!({ "name": "admin", "secret": admin, "role": "platform_admin" }))
            .set("/store", store)
            .set("/audit", json!({ "export": export }))
            .start()
            .await
    };
    let (mut first, mut second) = (replica("r1").await, replica("r2").await);
    let client = Client::connect(&first.grpc(), &admin).await.unwrap();
    let logs = client.audit().list_logs(ListLogsRequest {}).await.unwrap().into_inner();
    let key: VerifierKey = logs.verifier_key.parse().unwrap();
    for gateway in [&first, &second] {
        call(gateway).await;
    }
    soon("both logs are exported", || ["r1", "r2"].iter().all(|id| exported(&copy, &key, id) > 0)).await;
    first.kill9();
    let before = exported(&copy, &key, "r2");
    call(&second).await;
    soon("the other one goes on", || exported(&copy, &key, "r2") > before).await;
    let told = exposed(&second).await;
    assert!(told.contains("\ntollgate_audit_export_failures_total 0\n"), "{told}");
    assert!(second.sigterm(Duration::from_secs(20)).await.unwrap().success());
}
