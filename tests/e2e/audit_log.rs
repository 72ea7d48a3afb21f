//! The audit log of a running gateway: whatever happened to it, its export is what was signed, and tells of every ledger entry once.

use std::{io::Cursor, time::Duration};

use prost::Message;
use serde_json::json;
use tollgate_client::{Client, v1};
use tollgate_tests::{
    provider::{Cut, Step},
    support::http::Caller,
};
use tollgate_tlog::{
    Checkpoint, Hash, Memory, VerifierKey, check_consistency, check_inclusion, split_bundle,
    verify::{Options, ReceiptVerdict, Report, check_receipt, verify},
};

use crate::support::{World, eventually, hello, request};

/// An export in memory, and the key that signed it.
pub(crate) struct Export {
    files: Memory,
    ledger: Vec<u8>,
    key: VerifierKey,
}

impl Export {
    pub(crate) async fn of(admin: &Client) -> Self {
        let logs = admin.audit().list_logs(v1::ListLogsRequest {}).await.unwrap().into_inner();
        let mut pieces =
            admin.audit().export_log(v1::ExportLogRequest { include_ledger: true }).await.unwrap().into_inner();
        let mut files = Memory::default();
        while let Some(piece) = pieces.message().await.unwrap() {
            files.0.entry(piece.path).or_default().extend_from_slice(&piece.data);
        }
        let ledger = files.0.remove("ledger.jsonl").unwrap();
        Self { files, ledger, key: logs.verifier_key.parse().unwrap() }
    }

    pub(crate) fn verified(&self, since: Vec<Vec<u8>>) -> Report {
        let ledger = self.ledger.clone();
        let open = move || Ok(Box::new(Cursor::new(ledger.clone())) as Box<dyn std::io::BufRead>);
        let options = Options { keys: vec![self.key.clone()], since, ledger: Some(&open), progress: None };
        verify(&self.files, options).unwrap()
    }

    /// What the verifier says, which is that all is well.
    pub(crate) fn intact(&self) -> Report {
        let report = self.verified(Vec::new());
        assert!(report.intact, "{:#?}", report.findings);
        report
    }

    /// How many records of a replica are signed.
    pub(crate) fn size_of(&self, replica: &str) -> u64 {
        self.intact().logs.into_iter().find(|log| log.log == replica).map_or(0, |log| log.size)
    }

    /// What the root log tells, in order.
    pub(crate) fn root_entries(&self) -> Vec<v1::root_entry::Entry> {
        let bundles = self.files.0.iter().filter(|(path, _)| path.starts_with("root/tile/entries/"));
        let leaves = bundles.flat_map(|(_, bytes)| split_bundle(bytes).0.into_iter().map(|range| &bytes[range]));
        leaves.map(|leaf| v1::RootEntry::decode(leaf).unwrap().entry.unwrap()).collect()
    }

    /// The key that signed it.
    pub(crate) fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// What was signed of the whole deployment.
    pub(crate) fn root_checkpoint(&self) -> Vec<u8> {
        self.files.0["root/checkpoint"].clone()
    }

    pub(crate) fn receipt(&self, receipt: &v1::Receipt) -> ReceiptVerdict {
        check_receipt(&self.files, std::slice::from_ref(&self.key), receipt).unwrap()
    }
}

async fn with_spare() -> World {
    let fallback = json!({"name": "scripted", "deployments": [
        {"provider": "scripted", "model": "scripted-upstream", "price": {"input": "0.15", "output": "0.60"}}
    ], "fallbacks": ["spare"], "retries": 0, "cooldown": {"time": "0s"}, "on_midstream_failure": "restart"});
    World::with(|b| b.set("/models/0", fallback).model("spare", "scripted", "spare-upstream")).await
}

/// Calls that end in every way, denials, and acts of an admin.
async fn traffic(world: &World) {
    let (caller, url) = (world.gateway.caller(), world.gateway.v1("chat/completions"));
    for _ in 0..5 {
        assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    }
    // Billed in part, then elsewhere: two entries for one call.
    world.provider.script("scripted-upstream", [Step::streams(8).then_cuts(3, Cut::Rst)]);
    caller.stream(&url, &hello(json!({"stream": true}))).await.unwrap().rest().await.1.unwrap();
    // Refused by the provider.
    world.provider.script("scripted-upstream", [Step::fails(400)]);
    assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 400);
    // Given up by the caller.
    world.provider.script("scripted-upstream", [Step::streams(500).every_ms(5)]);
    let mut stream = caller.stream(&url, &hello(json!({"stream": true}))).await.unwrap();
    stream.next().await.unwrap();
    drop(stream);
    // Denied.
    let stranger = Caller::bearer("tg-nobody");
    assert_eq!(stranger.post(&url, &hello(json!({}))).await.unwrap().status, 401);
    let denied = world.caller().await.keys().list_keys(v1::ListKeysRequest::default()).await;
    drop(denied);
    // Acts of an admin, one of which posts money.
    let admin = world.admin().await;
    let made = v1::Key { display_name: "made".into(), ..v1::Key::default() };
    let made = v1::CreateKeyRequest { key: Some(made), ..v1::CreateKeyRequest::default() };
    admin.keys().create_key(made).await.unwrap();
}

#[tokio::test]
async fn an_export_proves_itself_and_names_every_ledger_entry_once() {
    let world = with_spare().await;
    traffic(&world).await;
    eventually("the hang-up is settled", async || world.entries().await.len() >= 8).await;
    let export = Export::of(&world.admin().await).await;
    let report = export.intact();
    let entries = world.entries().await;
    assert_eq!(report.entries, entries.len() as u64);
    assert_eq!(report.cost_nano_usd, entries.iter().map(|e| i128::from(e.cost_nano_usd)).sum::<i128>());
    let ledger = report.ledger.unwrap();
    assert_eq!((ledger.entries, ledger.uncovered), (entries.len() as u64, 0));
    let records = world.records().await;
    let of_call = |id: &str| records.iter().filter(|r| r.call_id == id).map(|r| r.entries.len()).collect::<Vec<_>>();
    let twice = entries.iter().find(|e| e.attempt_id.ends_with("-2")).unwrap();
    assert_eq!(of_call(&twice.call_id), [1, 1], "each attempt in a record of its own");
    let called = records.iter().find(|r| r.action == "completion.create").unwrap();
    assert_eq!((called.replica.as_str(), called.role()), ("alone", v1::KeyRole::Caller));
    assert!(called.peer.starts_with("127.0.0.1:"), "{called:?}");
    assert!(records.iter().any(|r| r.action == "audit.export"), "that it was taken along is on record");

    // What was exported once stays: a later export holds it, and goes on.
    let before = export.files.0["root/checkpoint"].clone();
    traffic(&world).await;
    let later = Export::of(&world.admin().await).await;
    let report = later.verified(vec![before, export.files.0["logs/alone/checkpoint"].clone()]);
    assert!(report.intact, "{:#?}", report.findings);
}

#[tokio::test]
async fn from_where_it_was_asked_is_told_as_far_as_is_wanted() {
    for (peer, told) in [("prefix", "127.0.0.0/24"), ("none", "")] {
        let world = World::with(|b| b.set("/audit", json!({"peer": peer}))).await;
        let url = world.gateway.v1("chat/completions");
        assert_eq!(world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap().status, 200);
        let made = v1::CreateKeyRequest { key: Some(v1::Key::default()), ..Default::default() };
        world.admin().await.keys().create_key(made).await.unwrap();
        let records = world.records().await;
        for action in ["completion.create", "key.create"] {
            let record = records.iter().rfind(|record| record.action == action).unwrap();
            assert_eq!(record.peer, told, "{action}");
        }
    }
}

#[tokio::test]
async fn a_ledger_that_somebody_changed_is_told_from_the_log() {
    let world = World::start().await;
    let url = world.gateway.v1("chat/completions");
    for _ in 0..3 {
        world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    }
    let mut export = Export::of(&world.admin().await).await;
    export.intact();
    let lines: Vec<_> = export.ledger.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    assert_eq!(lines.len(), 3);
    export.ledger = lines[1..].concat();
    assert!(!export.verified(Vec::new()).intact, "an entry is missing");
    export.ledger = [lines.concat(), lines[0].clone()].concat();
    assert!(!export.verified(Vec::new()).intact, "an entry stands there twice");
}

#[tokio::test]
async fn after_kills_and_restarts_the_log_is_one_and_whole() {
    let mut world = World::start().await;
    world.provider.always("scripted-upstream", [Step::streams(20).every_ms(5)]);
    let mut seen = Vec::new();
    for round in 0..6 {
        let (url, caller) = (world.gateway.v1("chat/completions"), world.gateway.caller());
        let calls = (0..6).map(|n| {
            let (url, caller) = (url.clone(), caller.clone());
            tokio::spawn(async move { caller.post(&url, &hello(json!({"stream": n % 2 == 0}))).await.is_ok() })
        });
        let calls: Vec<_> = calls.collect();
        tokio::time::sleep(Duration::from_millis(40 + 31 * round)).await;
        world.gateway.kill9();
        for call in calls {
            let _ = call.await.unwrap();
        }
        world.gateway.restart().await;
        let export = Export::of(&world.admin().await).await;
        let report = export.verified(seen.clone());
        assert!(report.intact, "round {round}: {:#?}", report.findings);
        assert_eq!(report.entries, world.entries().await.len() as u64, "round {round}");
        seen = vec![export.files.0["root/checkpoint"].clone(), export.files.0["logs/alone/checkpoint"].clone()];
    }
}

#[tokio::test]
async fn a_receipt_is_kept_by_a_later_export_over_rest_and_grpc() {
    let world = World::start().await;
    let url = world.v1("chat/completions");
    let silent = world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    assert_eq!(silent.header("x-tollgate-receipt"), "", "only who asks gets one");
    let asking = world.gateway.caller().with("x-tollgate-receipt", "true");
    let reply = asking.post(&url, &hello(json!({}))).await.unwrap();
    let whole = tollgate_tlog::from_base64(reply.header("x-tollgate-receipt")).unwrap();
    let (events, ended) = asking.stream(&url, &hello(json!({"stream": true}))).await.unwrap().rest().await;
    ended.unwrap();
    let told = events
        .iter()
        .filter(|e| e.data != "[DONE]")
        .find_map(|e| e.json()["tollgate"]["receipt"].as_str().map(str::to_owned));
    let streamed = tollgate_tlog::from_base64(&told.unwrap()).unwrap();
    let options = v1::GatewayOptions { receipt: true, ..v1::GatewayOptions::default() };
    let asked = v1::CompletionRequest { tollgate: Some(options), ..request() };
    let asked = v1::CreateCompletionRequest { request: Some(asked) };
    let over_grpc = world.caller().await.completions().create_completion(asked).await.unwrap().into_inner();
    let over_grpc = over_grpc.completion.unwrap().receipt.unwrap();

    let export = Export::of(&world.admin().await).await;
    let mut sequences = Vec::new();
    for receipt in [whole, streamed, over_grpc] {
        let verdict = export.receipt(&receipt);
        assert!(matches!(verdict, ReceiptVerdict::Held { .. }), "{verdict:?}");
        sequences.push(receipt.sequence);
        let us = |time: &Option<prost_types::Timestamp>| tollgate_domain::micros(time.as_ref().unwrap());
        assert_eq!(us(&receipt.merge_by) - us(&receipt.time), 60_000_000, "within a minute");
        let record = world.records().await.into_iter().find(|r| r.sequence == receipt.sequence).unwrap();
        assert_eq!(record.action.split('.').next(), Some("completion"));
        assert_eq!(tollgate_tlog::leaf_hash(&record.encode_to_vec()).0.as_slice(), receipt.leaf_hash.as_ref());
    }
    sequences.dedup();
    assert_eq!(sequences.len(), 3, "each of its own call");
}

#[tokio::test]
async fn proofs_lead_to_what_is_signed() {
    let world = World::start().await;
    let url = world.gateway.v1("chat/completions");
    let admin = world.admin().await;
    world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    let before = admin.audit().list_logs(v1::ListLogsRequest {}).await.unwrap().into_inner();
    let key: VerifierKey = before.verifier_key.parse().unwrap();
    assert_eq!(before.root.as_ref().unwrap().origin, "tollgate/root");
    for _ in 0..4 {
        world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    }
    let hashes = |list: &[bytes::Bytes]| list.iter().map(|h| Hash::from_slice(h).unwrap()).collect::<Vec<_>>();
    let opened = |note: &str| Checkpoint::open(note.as_bytes(), [&key]).unwrap().0;
    let asked = v1::GetInclusionProofRequest { replica: "alone".into(), sequence: 2 };
    let proof = admin.audit().get_inclusion_proof(asked).await.unwrap().into_inner();
    let (signed, leaf) = (opened(&proof.checkpoint), Hash::from_slice(&proof.leaf_hash).unwrap());
    check_inclusion(leaf, 1, signed.size, signed.root, &hashes(&proof.hashes)).unwrap();

    let old = opened(&before.logs[0].checkpoint);
    let asked = v1::GetConsistencyProofRequest { replica: "alone".into(), old_size: old.size as i64 };
    let proof = admin.audit().get_consistency_proof(asked).await.unwrap().into_inner();
    let new = opened(&proof.checkpoint);
    assert!(new.size > old.size);
    check_consistency(old.size, old.root, new.size, new.root, &hashes(&proof.hashes)).unwrap();

    for sequence in [-1, 0, i64::MAX] {
        let asked = v1::GetInclusionProofRequest { replica: "alone".into(), sequence };
        let refused = admin.audit().get_inclusion_proof(asked).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{sequence}");
    }
    let nobody = v1::GetConsistencyProofRequest { replica: "nobody".into(), old_size: 1 };
    assert_eq!(admin.audit().get_consistency_proof(nobody).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_new_key_takes_over_from_the_one_before() {
    let seed = |digit: &str| digit.repeat(64);
    let mut world = World::with(|b| b.set("/audit", json!({"name": "prod", "signing_key": seed("1")}))).await;
    let url = world.gateway.v1("chat/completions");
    world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    let before = Export::of(&world.admin().await).await;
    assert_eq!(before.intact().deployment, "prod");

    world.gateway.sigterm(Duration::from_secs(10)).await.unwrap();
    let file = world.gateway.config_file();
    let text = std::fs::read_to_string(&file).unwrap();
    let other = text.replace(&seed("1"), &seed("2"));
    assert_ne!(text, other);
    let audit = json!({"name": "prod", "signing_key": seed("2"), "previous_key": seed("1")});
    let mut config: serde_json::Value = serde_yaml_ng::from_str(&text).unwrap();
    config["audit"] = audit;
    std::fs::write(&file, config.to_string()).unwrap();
    world.gateway.restart().await;
    world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    let after = Export::of(&world.admin().await).await;
    assert_ne!(after.key.to_string(), before.key.to_string());
    let since = before.files.0["root/checkpoint"].clone();
    let report = after.verified(vec![since]);
    assert!(report.intact, "{:#?}", report.findings);
}

#[tokio::test]
async fn nothing_is_signed_over_records_that_somebody_changed() {
    let world = World::start().await;
    let url = world.gateway.v1("chat/completions");
    world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    let admin = world.admin().await;
    Export::of(&admin).await.intact();
    let database = format!("sqlite://{}", world.gateway.data_dir().join("tollgate.db").display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    sqlx::query("UPDATE audit_record SET leaf_hash = zeroblob(32) WHERE sequence = 1").execute(&pool).await.unwrap();
    world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap();
    let refused = admin.audit().list_logs(v1::ListLogsRequest {}).await.unwrap_err();
    assert!(refused.message().contains("not those that were signed"), "{refused:?}");
}

/// Makes of the database what a version without a log left: `records` of them, which name neither replica nor entries.
async fn forget_the_log(pool: &sqlx::SqlitePool, records: i64) {
    let found: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT record FROM audit_record ORDER BY sequence").fetch_all(pool).await.unwrap();
    let mut old: Vec<_> = found.iter().map(|bytes| v1::AuditRecord::decode(bytes.as_slice()).unwrap()).collect();
    old.resize(usize::try_from(records).unwrap(), old.last().unwrap().clone());
    sqlx::query("DELETE FROM audit_record").execute(pool).await.unwrap();
    for (sequence, record) in (1..).zip(old) {
        let record = v1::AuditRecord { sequence, replica: String::new(), entries: Vec::new(), ..record };
        let row =
            "INSERT INTO audit_record (sequence, time_us, action, key_id, call_id, record) VALUES (?, 0, ?, '', '', ?)";
        let row = sqlx::query(row).bind(sequence).bind(&record.action).bind(record.encode_to_vec());
        row.execute(pool).await.unwrap();
    }
    for table in ["audit_node", "audit_root", "audit_head"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table}"))).execute(pool).await.unwrap();
    }
}

#[tokio::test]
async fn records_from_before_the_log_are_taken_into_it() {
    const OLD: i64 = 700;
    let mut world = World::start().await;
    let url = world.gateway.v1("chat/completions");
    for _ in 0..3 {
        assert_eq!(world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap().status, 200);
    }
    world.gateway.sigterm(Duration::from_secs(10)).await.unwrap();
    let database = format!("sqlite://{}", world.gateway.data_dir().join("tollgate.db").display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    forget_the_log(&pool, OLD).await;

    world.gateway.restart().await;
    for _ in 0..2 {
        assert_eq!(world.gateway.caller().post(&url, &hello(json!({}))).await.unwrap().status, 200);
    }
    let admin = world.admin().await;
    let export = Export::of(&admin).await;
    let v1::root_entry::Entry::ReplicaBorn(born) = &export.root_entries()[0] else { panic!("a birth comes first") };
    assert_eq!((born.replica.as_str(), born.first_size), ("alone", OLD));
    let report = export.intact();
    assert!(report.records >= OLD.unsigned_abs() + 2, "old and new in one log: {}", report.records);
    assert_eq!((report.entries, report.ledger.unwrap().entries), (2, 2), "what old records cost is not told by them");
    assert_eq!(world.entries().await.len(), 5);

    // What is in the log now cannot be changed any more without being seen.
    let change = "UPDATE audit_record SET record = CAST(record || x'00' AS BLOB) WHERE sequence = 5";
    sqlx::query(change).execute(&pool).await.unwrap();
    let asked = v1::ExportLogRequest { include_ledger: false };
    let mut pieces = admin.audit().export_log(asked).await.unwrap().into_inner();
    let refused = loop {
        match pieces.message().await {
            Ok(piece) => assert!(piece.is_some(), "an export of changed records ends well"),
            Err(refused) => break refused,
        }
    };
    assert!(refused.message().contains("the store was changed"), "{refused:?}");
}
