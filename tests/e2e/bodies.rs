//! What is kept of prompts and answers, who reads it, and how it is forgotten.

mod operations;

use prost::Message;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tollgate_client::{Client, reason, v1};
use tollgate_tests::{
    provider::Step,
    support::{Gateway, http::Caller},
};

use crate::support::{World, hello, request};

const PROMPT: &str = "the quick brown zebra of 4711";
const ANSWER: &str = "jumps over the lazy heron";

/// A team and a key in it.
async fn team(admin: &Client, policy: v1::BodyPolicy) -> (v1::Team, String) {
    let team = v1::Team { audit_bodies: policy as i32, ..Default::default() };
    let asked = v1::CreateTeamRequest { team: Some(team), ..Default::default() };
    let team = admin.tenancy().create_team(asked).await.unwrap().into_inner().team.unwrap();
    let key = v1::Key { team_id: team.id.clone(), models: vec!["*".into()], ..Default::default() };
    let asked = v1::CreateKeyRequest { key: Some(key), ..Default::default() };
    (team, admin.keys().create_key(asked).await.unwrap().into_inner().secret)
}

async fn start() -> World {
    let world = World::start().await;
    world.provider.always("scripted-upstream", [Step::text(ANSWER)]);
    world
}

fn asking(prompt: &str) -> serde_json::Value {
    hello(json!({"messages": [{"role": "user", "content": prompt}]}))
}

/// Makes a call over REST; tells its id and the bytes that were sent.
async fn call(url: &str, secret: &str, body: &serde_json::Value) -> (String, Vec<u8>) {
    let reply = Caller::bearer(secret).post(url, body).await.unwrap();
    assert_eq!(reply.status, 200, "{:?}", reply.json());
    (reply.header("x-request-id").to_owned(), body.to_string().into_bytes())
}

async fn body_of(admin: &Client, call_id: &str) -> v1::GetBodyResponse {
    let asked = v1::GetBodyRequest { call_id: call_id.into() };
    admin.audit().get_body(asked).await.unwrap().into_inner()
}

/// As an auditor computes it who has the documentation alone.
fn commitment(salt: &[u8], body: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(body);
    Sha256::new().chain_update([2]).chain_update(salt).chain_update(digest).finalize().to_vec()
}

fn text_of(body: &v1::CallBody) -> String {
    body.answer.iter().map(|part| part.text.as_str()).collect()
}

fn erase(what: v1::erase_bodies_request::What) -> v1::EraseBodiesRequest {
    v1::EraseBodiesRequest { what: Some(what), legal_basis: "GDPR 17, ticket 1".into() }
}

fn end_user(id: &str) -> v1::BodySubject {
    v1::BodySubject { kind: v1::BodySubjectKind::EndUser as i32, id: id.into(), tenant_id: String::new() }
}

/// Whether a text stands in clear in any file of the gateway.
fn is_on_disk(gateway: &Gateway, text: &[u8]) -> bool {
    fn within(path: &std::path::Path, text: &[u8]) -> bool {
        match path.is_dir() {
            true => std::fs::read_dir(path).unwrap().any(|entry| within(&entry.unwrap().path(), text)),
            false => std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text),
        }
    }
    within(&gateway.data_dir(), text)
}

#[tokio::test]
async fn a_team_that_asks_for_it_has_its_bodies_kept_and_no_other_has() {
    let world = start().await;
    let admin = world.admin().await;
    let (_, full) = team(&admin, v1::BodyPolicy::Full).await;
    let (_, none) = team(&admin, v1::BodyPolicy::Unspecified).await;
    let url = world.v1("chat/completions");
    let (kept, sent) = call(&url, &full, &asking(PROMPT)).await;
    let (not_kept, _) = call(&url, &none, &asking(PROMPT)).await;

    let told = body_of(&admin, &kept).await;
    assert_eq!((told.state(), told.policy(), told.is_erased), (v1::BodyState::Kept, v1::BodyPolicy::Full, false));
    let body = told.body.unwrap();
    assert_eq!(body.request, sent, "the caller's own bytes");
    assert_eq!((body.request_format(), text_of(&body).as_str()), (v1::BodyFormat::Original, ANSWER));
    assert!(!body.request_cut && !body.answer_cut);
    assert_eq!(commitment(&body.request_salt, &body.request), told.request_commitment);
    assert_eq!(commitment(&body.answer_salt, text_of(&body).as_bytes()), told.answer_commitment);

    let told = body_of(&admin, &not_kept).await;
    assert_eq!((told.state(), told.policy()), (v1::BodyState::NotKept, v1::BodyPolicy::None));
    let salts = told.body.unwrap();
    assert!(salts.request.is_empty() && salts.answer.is_empty());
    assert_eq!(commitment(&salts.request_salt, &sent), told.request_commitment, "whoever has the request can show it");
    assert_eq!(commitment(&salts.answer_salt, ANSWER.as_bytes()), told.answer_commitment);

    for record in world.records().await.iter().filter(|record| !record.call_id.is_empty()) {
        assert_eq!(record.request_commitment.len(), 32, "{record:?}");
    }
    assert!(!is_on_disk(&world.gateway, PROMPT.as_bytes()), "kept is not in clear");
    let reads: Vec<_> = world.records().await.into_iter().filter(|record| record.action == "body.read").collect();
    assert_eq!(reads.iter().map(|read| read.subject.as_str()).collect::<Vec<_>>(), [kept, not_kept]);
}

#[tokio::test]
async fn a_request_over_grpc_is_kept_as_the_message_that_it_was() {
    let world = start().await;
    let admin = world.admin().await;
    let (_, full) = team(&admin, v1::BodyPolicy::Full).await;
    let client = Client::connect(&world.gateway.grpc(), &full).await.unwrap();
    client.completions().create_completion(v1::CreateCompletionRequest { request: Some(request()) }).await.unwrap();
    let record = world.records().await.into_iter().find(|record| record.action == "completion.create").unwrap();
    let told = body_of(&admin, &record.call_id).await;
    let body = told.body.unwrap();
    assert_eq!(body.request_message, "tollgate.v1.CompletionRequest");
    assert_eq!(v1::CompletionRequest::decode(body.request.clone()).unwrap().messages, request().messages);
    assert_eq!(commitment(&body.request_salt, &body.request), told.request_commitment);
}

#[tokio::test]
async fn what_looks_private_is_not_kept_where_bodies_are_redacted() {
    let world = World::with(|builder| builder.set("/audit", json!({"redact_patterns": ["zebra"]}))).await;
    world.provider.always("scripted-upstream", [Step::text("call +44 20 7946 0958")]);
    let admin = world.admin().await;
    let (_, secret) = team(&admin, v1::BodyPolicy::Redacted).await;
    let prompt = "I am ann@mail.example and my zebra has card 4111 1111 1111 1111";
    let (id, sent) = call(&world.v1("chat/completions"), &secret, &asking(prompt)).await;
    let told = body_of(&admin, &id).await;
    let body = told.body.unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&body.request).unwrap();
    assert_eq!(kept["messages"][0]["content"], "I am [email] and my [redacted] has card [card]");
    assert_eq!(text_of(&body), "call [phone]");
    assert_eq!(commitment(&body.request_salt, &sent), told.request_commitment, "to what was sent");

    let client = Client::connect(&world.gateway.grpc(), &secret).await.unwrap();
    let mut asked = request();
    asked.user = Some("bob@mail.example".into());
    let asked = v1::CreateCompletionRequest { request: Some(asked) };
    client.completions().create_completion(asked).await.unwrap();
    let last = world.records().await.into_iter().rfind(|record| record.action == "completion.create").unwrap();
    let body = body_of(&admin, &last.call_id).await.body.unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&body.request).unwrap();
    assert_eq!(kept["user"], "[email]", "{kept}");
}

#[tokio::test]
async fn what_is_erased_is_unreadable_also_after_a_crash_and_the_log_still_stands() {
    let mut world = start().await;
    let admin = world.admin().await;
    let (_, secret) = team(&admin, v1::BodyPolicy::Full).await;
    let url = world.v1("chat/completions");
    let mut of_ann = asking(PROMPT);
    of_ann["user"] = "ann".into();
    let (first, _) = call(&url, &secret, &of_ann).await;
    let (second, _) = call(&url, &secret, &of_ann).await;
    let (other, _) = call(&url, &secret, &asking(PROMPT)).await;

    use v1::erase_bodies_request::What;
    let erased = admin.audit().erase_bodies(erase(What::CallId(first.clone()))).await.unwrap().into_inner();
    assert_eq!((erased.bodies, erased.kek_ids.len()), (1, 0));
    assert!(body_of(&admin, &first).await.is_erased);
    assert!(!body_of(&admin, &second).await.is_erased, "a call goes alone");

    let before = world.records().await;
    let kek_id = before.iter().find(|record| record.call_id == second).unwrap().body.clone().unwrap().kek_id;
    let database = SqliteConnectOptions::new().filename(world.gateway.data_dir().join("tollgate.db"));
    let wrapped = "SELECT wrapped FROM body_kek WHERE id = ?";
    let mut connection = database.clone().connect().await.unwrap();
    let wrapped: Vec<u8> = sqlx::query_scalar(wrapped).bind(&kek_id).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let erased = admin.audit().erase_bodies(erase(What::Subject(end_user("ann")))).await.unwrap().into_inner();
    assert_eq!((erased.bodies, erased.kek_ids), (1, vec![kek_id]));
    assert!(!is_on_disk(&world.gateway, &wrapped[24..]), "the key is in no page of the database either");

    world.gateway.kill9();
    world.gateway.restart().await;
    let admin = world.admin().await;
    for id in [&first, &second] {
        let told = body_of(&admin, id).await;
        assert_eq!((told.body, told.is_erased), (None, true));
        assert_eq!(told.request_commitment.len(), 32, "what was proven stays so");
    }
    assert_eq!(text_of(&body_of(&admin, &other).await.body.unwrap()), ANSWER, "nobody else lost anything");
    let after = world.records().await;
    assert_eq!(after[..before.len()], before[..], "no record has changed");
    let erasures: Vec<_> = after.iter().filter(|record| record.action == "body.erase").collect();
    assert_eq!(erasures.len(), 2);
    assert!(erasures[1].subject.starts_with("end_user:") && !erasures[1].subject.contains("ann"));
    assert!(erasures.iter().all(|record| record.changes[0].contains("GDPR 17")));
}

#[tokio::test]
async fn a_crash_between_an_erasure_and_its_record_leaves_neither_without_the_other() {
    let mut world = start().await;
    let admin = world.admin().await;
    let (_, secret) = team(&admin, v1::BodyPolicy::Full).await;
    let (id, _) = call(&world.v1("chat/completions"), &secret, &asking(PROMPT)).await;
    assert!(body_of(&admin, &id).await.body.is_some());
    let database = SqliteConnectOptions::new().filename(world.gateway.data_dir().join("tollgate.db"));
    let mut connection = database.connect().await.unwrap();
    // The database fails at the record: so nothing that stands before it in the same step may stay.
    let refuses = "CREATE TRIGGER refuses BEFORE INSERT ON audit_record WHEN NEW.action = 'body.erase'
                   BEGIN SELECT raise(ABORT, 'refused'); END";
    sqlx::query(refuses).execute(&mut connection).await.unwrap();
    use v1::erase_bodies_request::What;
    let (asking, what) = (admin.clone(), erase(What::CallId(id.clone())));
    let asked = tokio::spawn(async move { asking.audit().erase_bodies(what).await.is_ok() });
    let journalled = || is_on_disk(&world.gateway, b"GDPR 17");
    crate::support::eventually("it is journalled", async || journalled()).await;
    let sealed = "SELECT count(*) FROM audit_body WHERE sealed IS NOT NULL";
    let sealed: i64 = sqlx::query_scalar(sealed).fetch_one(&mut connection).await.unwrap();
    assert_eq!(sealed, 1, "not erased without its record");
    world.gateway.kill9();
    assert!(!asked.await.unwrap(), "nobody was told that it is done");
    sqlx::query("DROP TRIGGER refuses").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    world.gateway.restart().await;
    let admin = world.admin().await;
    assert!(body_of(&admin, &id).await.is_erased, "what was journalled is done");
    let erasures = world.records().await.into_iter().filter(|record| record.action == "body.erase");
    assert_eq!(erasures.map(|record| record.subject).collect::<Vec<_>>(), [id], "and is on record once");
    crate::audit_log::Export::of(&admin).await.intact();
}

#[tokio::test]
async fn the_records_of_an_erasure_name_every_key_however_many_there_are() {
    let world = start().await;
    let admin = world.admin().await;
    let (_, secret) = team(&admin, v1::BodyPolicy::Full).await;
    let mut of_ann = asking(PROMPT);
    of_ann["user"] = "ann".into();
    call(&world.v1("chat/completions"), &secret, &of_ann).await;
    let database = SqliteConnectOptions::new().filename(world.gateway.data_dir().join("tollgate.db"));
    let mut connection = database.connect().await.unwrap();
    // As if she had been asking for a hundred years.
    let older = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1200)
                 INSERT INTO body_kek (id, tenant, subject, month, wrapped)
                 SELECT 'kek_' || printf('%08x', n) || substr(id, 13), tenant, subject, month - n, wrapped
                 FROM body_kek CROSS JOIN n";
    sqlx::query(older).execute(&mut connection).await.unwrap();
    use v1::erase_bodies_request::What;
    let mut erased = admin.audit().erase_bodies(erase(What::Subject(end_user("ann")))).await.unwrap().into_inner();
    assert_eq!((erased.kek_ids.len(), erased.bodies), (1_201, 1));
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM body_kek").fetch_one(&mut connection).await.unwrap();
    assert_eq!(left, 0);
    let erasures: Vec<_> = world.records().await.into_iter().filter(|record| record.action == "body.erase").collect();
    assert_eq!(erasures.len(), 3, "no record has room for so many");
    let changes = erasures.iter().flat_map(|record| &record.changes);
    assert!(changes.clone().all(|change| !change.starts_with("cut:")));
    let named = changes.filter_map(|change| change.strip_prefix("keks: ")).flat_map(|keks| keks.split(", "));
    let mut named: Vec<_> = named.collect();
    named.sort_unstable();
    erased.kek_ids.sort_unstable();
    assert_eq!(named, erased.kek_ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_the_journals_disk_refuses_is_not_called_done() {
    let world = World::with(|builder| {
        let kept = builder.set("/audit", json!({"bodies": "full"}));
        kept.wrapped_in(["sh", "-c", r#"trap "" XFSZ; exec "$0" "$@""#])
    })
    .await;
    world.provider.always("scripted-upstream", [Step::text(ANSWER)]);
    let (id, _) = call(&world.v1("chat/completions"), world.gateway.key(), &asking(PROMPT)).await;
    let admin = world.admin().await;
    assert!(body_of(&admin, &id).await.body.is_some());
    // Reading records waits until the database has them all: it cannot grow either.
    world.records().await;
    crate::crash::fill_disk(&world.gateway);
    use v1::erase_bodies_request::What;
    let status = admin.audit().erase_bodies(erase(What::CallId(id.clone()))).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::LedgerUnavailable), "{status:?}");
    crate::crash::file_size_limit(world.gateway.pid(), "unlimited:");
    crate::support::eventually("it is done once the disk takes it", async || body_of(&admin, &id).await.is_erased)
        .await;
    let erasures = world.records().await.into_iter().filter(|record| record.action == "body.erase");
    assert_eq!(erasures.map(|record| record.error_reason).collect::<Vec<_>>(), [0], "and is on record once");
}

#[tokio::test]
async fn a_legal_hold_keeps_bodies_until_it_is_released() {
    let world = start().await;
    let admin = world.admin().await;
    let (team, secret) = team(&admin, v1::BodyPolicy::Full).await;
    let mut of_ann = asking(PROMPT);
    of_ann["user"] = "ann".into();
    let (id, _) = call(&world.v1("chat/completions"), &secret, &of_ann).await;
    use v1::{erase_bodies_request::What, legal_hold::On};
    for on in [On::Subject(end_user("ann")), On::TenantId(team.id.clone()), On::CallId(id.clone())] {
        let hold = v1::LegalHold { on: Some(on), reason: "a case".into(), ..Default::default() };
        let asked = v1::CreateLegalHoldRequest { hold: Some(hold) };
        let hold = admin.audit().create_legal_hold(asked).await.unwrap().into_inner().hold.unwrap();
        for what in [What::CallId(id.clone()), What::Subject(end_user("ann"))] {
            let status = admin.audit().erase_bodies(erase(what)).await.unwrap_err();
            assert_eq!(reason(&status), Some(v1::ErrorReason::ResourceInUse));
            assert!(status.message().contains(&hold.id), "it names the hold: {status:?}");
        }
        assert!(body_of(&admin, &id).await.body.is_some());
        let listed = admin.audit().list_legal_holds(v1::ListLegalHoldsRequest::default()).await.unwrap().into_inner();
        assert_eq!(listed.holds.iter().map(|held| &held.id).collect::<Vec<_>>(), [&hold.id]);
        admin.audit().release_legal_hold(v1::ReleaseLegalHoldRequest { id: hold.id }).await.unwrap();
    }
    let erased = admin.audit().erase_bodies(erase(What::Subject(end_user("ann")))).await.unwrap().into_inner();
    assert_eq!(erased.bodies, 1);
    let all = v1::ListLegalHoldsRequest { include_released: true, ..Default::default() };
    let all = admin.audit().list_legal_holds(all).await.unwrap().into_inner().holds;
    assert_eq!(all.iter().filter(|held| held.release_time.is_some()).count(), 3);
    let records = world.records().await;
    let made = records.iter().filter(|record| record.action == "hold.create");
    let mut held: Vec<_> = made.map(|record| &record.subject).collect();
    held.sort_unstable();
    assert_eq!(held, all.iter().map(|held| &held.id).collect::<Vec<_>>(), "each hold is on record");
    let erasures = records.iter().filter(|record| record.action == "body.erase");
    let refused = erasures.filter(|record| record.error_reason() == v1::ErrorReason::ResourceInUse);
    assert_eq!(refused.count(), 6, "and so is what each forbade");
}

#[tokio::test]
async fn a_subject_that_comes_back_gets_another_key() {
    let world = start().await;
    let admin = world.admin().await;
    let (_, secret) = team(&admin, v1::BodyPolicy::Full).await;
    let url = world.v1("chat/completions");
    let mut of_ann = asking(PROMPT);
    of_ann["user"] = "ann".into();
    let (before, _) = call(&url, &secret, &of_ann).await;
    use v1::erase_bodies_request::What;
    admin.audit().erase_bodies(erase(What::Subject(end_user("ann")))).await.unwrap();
    let (after, _) = call(&url, &secret, &of_ann).await;
    assert!(body_of(&admin, &before).await.is_erased);
    assert_eq!(text_of(&body_of(&admin, &after).await.body.unwrap()), ANSWER);
    let records = world.records().await;
    let kek_of = |id: &str| {
        let record = records.iter().find(|record| record.call_id == id).unwrap();
        record.body.as_ref().unwrap().kek_id.clone()
    };
    assert_ne!(kek_of(&before), kek_of(&after));
}

#[tokio::test]
async fn bodies_go_when_their_time_is_over() {
    let retention = json!({"bodies": "full", "body_retention": "1d"});
    let mut world = World::with(|builder| builder.set("/audit", retention)).await;
    world.provider.always("scripted-upstream", [Step::text(ANSWER)]);
    let url = world.v1("chat/completions");
    let (old, _) = call(&url, world.gateway.key(), &asking(PROMPT)).await;
    let admin = world.admin().await;
    assert!(body_of(&admin, &old).await.body.is_some());
    world.gateway.sigterm(std::time::Duration::from_secs(10)).await.unwrap();
    world.gateway.restart().await;
    assert!(body_of(&world.admin().await, &old).await.body.is_some(), "the month is not over");
    world.gateway.sigterm(std::time::Duration::from_secs(10)).await.unwrap();
    // As if it had been made three months ago.
    let database = SqliteConnectOptions::new().filename(world.gateway.data_dir().join("tollgate.db"));
    let mut connection = database.connect().await.unwrap();
    let aged = sqlx::query("UPDATE body_kek SET month = month - 3").execute(&mut connection).await.unwrap();
    assert_eq!(aged.rows_affected(), 1, "whoever looked for what is over left it");
    connection.close().await.unwrap();
    world.gateway.restart().await;
    let admin = world.admin().await;
    crate::support::eventually("it is gone", async || body_of(&admin, &old).await.is_erased).await;
    let expired = world.records().await.into_iter().find(|record| record.action == "body.expire").unwrap();
    assert!(expired.changes.iter().any(|change| change == "bodies: 1"), "{expired:?}");
}

#[tokio::test]
async fn a_kill_loses_no_body_of_a_finished_call() {
    let mut world = start().await;
    let admin = world.admin().await;
    let (_, secret) = team(&admin, v1::BodyPolicy::Full).await;
    let url = world.v1("chat/completions");
    let mut calls = Vec::new();
    for n in 0..10 {
        calls.push(call(&url, &secret, &asking(&format!("{PROMPT} {n}"))).await);
    }
    world.gateway.kill9();
    world.gateway.restart().await;
    let admin = world.admin().await;
    for (id, sent) in calls {
        let body = body_of(&admin, &id).await.body.unwrap();
        assert_eq!((&body.request[..], text_of(&body).as_str()), (&sent[..], ANSWER));
    }
}

#[tokio::test]
async fn what_is_longer_than_is_kept_is_cut_and_says_so() {
    let world = World::with(|b| b.set("/audit", json!({"bodies": "full", "max_body_bytes": 40}))).await;
    world.provider.always("scripted-upstream", [Step::text("é".repeat(100))]);
    let (id, sent) = call(&world.v1("chat/completions"), world.gateway.key(), &asking(PROMPT)).await;
    let told = body_of(&world.admin().await, &id).await;
    let body = told.body.unwrap();
    assert_eq!((&body.request[..], body.request_cut, body.answer_cut), (&sent[..40], true, true));
    assert!(text_of(&body).len() <= 40 && "é".repeat(100).starts_with(&text_of(&body)));
    assert_eq!(commitment(&body.request_salt, &sent), told.request_commitment, "to all of it");
}

#[tokio::test]
async fn only_platform_admins_read_bodies_and_a_call_that_never_was_has_none() {
    let world = start().await;
    let admin = world.admin().await;
    let (_, secret) = team(&admin, v1::BodyPolicy::Full).await;
    let (id, _) = call(&world.v1("chat/completions"), &secret, &asking(PROMPT)).await;
    let own = Client::connect(&world.gateway.grpc(), &secret).await.unwrap();
    let status = own.audit().get_body(v1::GetBodyRequest { call_id: id }).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::RoleNotAllowed));
    let status = admin.audit().get_body(v1::GetBodyRequest { call_id: "none".into() }).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::ResourceNotFound));
}
