//! Two replicas over PostgreSQL and Redis, as callers, admins and operators meet them.

use serde_json::json;
use tollgate_client::{Client, reason, v1};
use tollgate_services::{Postgres, Redis};
use tollgate_tests::{
    fault_proxy::{Fault, FaultProxy},
    provider::{ScriptedProvider, Step},
    support::{Gateway, GatewayBuilder, http::Caller, keys::virtual_key},
};

use crate::{
    litellm_admin::nano,
    metrics::{exposed, value},
    observing::{Receiver, ends_in_an_hour, watched},
    support::{eventually, hello},
};

struct Cluster {
    /// What stands before PostgreSQL for the first replica.
    line: FaultProxy,
    postgres: Postgres,
    database: String,
    redis: Redis,
    provider: ScriptedProvider,
    replicas: Vec<Gateway>,
    admin: String,
    /// A key with a hard budget of two cents.
    secret: String,
    /// A key without a budget.
    free: String,
}

impl Cluster {
    async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    async fn start_with(configure: impl Fn(GatewayBuilder) -> GatewayBuilder) -> Self {
        let (postgres, redis) = (Postgres::start(), Redis::start());
        let provider = ScriptedProvider::start().await;
        let (admin, secret, free, url) = (virtual_key(), virtual_key(), virtual_key(), postgres.database());
        let line = FaultProxy::before(([127, 0, 0, 1], postgres.port()).into(), 7).unwrap();
        let (database, url) = (url.name, url.url);
        let first = url.replace(&postgres.port().to_string(), &line.address().port().to_string());
        let mut replicas = Vec::new();
        for (name, url) in [("r1", first), ("r2", url)] {
            let exact = json!({ "provider": "scripted", "model": "upstream", "price": {"input": "0", "output": "100"},
                                "max_output_tokens": 4096 });
            let builder = Gateway::over(&provider)
                .deployment("exact", exact)
                .key(json!({ "name": "admin", "secret": admin, "role": "platform_admin" }))
                .key(json!({ "name": "shared", "secret": secret, "models": ["*"], "budget_usd": "0.02" }))
                .key(json!({ "name": "free", "secret": free, "models": ["*"] }))
                .set("/budgets", json!({ "degraded_allowance_usd": "0.001" }))
                .set(
                    "/store",
                    json!({ "postgres_url": url, "redis_url": redis.url(), "replica_id": name,
                                       "secret": "a secret that all replicas of this test share" }),
                );
            replicas.push(configure(builder).start().await);
        }
        Self { line, database, postgres, redis, provider, replicas, admin, secret, free }
    }

    async fn admin(&self, replica: usize) -> Client {
        Client::connect(&self.replicas[replica].grpc(), &self.admin).await.unwrap()
    }

    /// A call that costs a tenth of a cent; tells status and error code.
    async fn call(&self, replica: usize) -> (u16, String) {
        self.call_as(&self.secret, replica).await
    }

    async fn call_as(&self, secret: &str, replica: usize) -> (u16, String) {
        let body = hello(json!({"model": "exact", "max_completion_tokens": 10}));
        let reply = Caller::bearer(secret).post(&self.replicas[replica].v1("chat/completions"), &body).await.unwrap();
        (reply.status.as_u16(), reply.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    /// A call with an idempotency key; tells status and error code.
    async fn keyed(&self, replica: usize, key: &str) -> (u16, String) {
        let caller = Caller::bearer(&self.free).with("idempotency-key", key);
        let reply = caller.post(&self.replicas[replica].v1("chat/completions"), &hello(json!({}))).await.unwrap();
        (reply.status.as_u16(), reply.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    /// How many idempotency keys PostgreSQL knows.
    async fn claims(&self) -> usize {
        let count = "SELECT count(*) FROM idempotency_claim";
        self.postgres.sql(&self.database, count).and_then(|n| n.trim().parse().ok()).unwrap_or_default()
    }

    /// Redis knows all idempotency keys that PostgreSQL knows.
    async fn redis_is_told(&self) {
        let exists = ["EXISTS", "{tollgate}:claims"];
        eventually("redis is told", async || self.redis.command(&exists).is_some_and(|n| n.trim() == ":1")).await;
    }

    async fn metric(&self, replica: usize, line: &str) -> bool {
        let reply = Caller::default().get(&format!("{}/metrics", self.replicas[replica].url())).await.unwrap();
        String::from_utf8_lossy(&reply.body).lines().any(|l| l == line)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_spend_one_budget_once() {
    let cluster = Cluster::start().await;
    let mut passed = 0;
    for n in 0..60 {
        match cluster.call(n % 2).await {
            (200, _) => passed += 1,
            (429, code) => assert!(code == "budget_exceeded" || code == "budget_held", "{code}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(passed, 20, "two cents are twenty calls");
    assert_eq!(cluster.provider.log().stats().complete, 20);
    let checked = cluster.admin(0).await.budgets().check_ledger(v1::CheckLedgerRequest {}).await.unwrap().into_inner();
    assert_eq!((checked.findings, checked.entries), (vec![], 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_key_without_a_budget_spent_at_one_replica_the_other_tells() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.call_as(&cluster.free, 0).await.0, 200);
    let (caller, url) = (Caller::bearer(&cluster.free), format!("{}/key/info", cluster.replicas[1].url()));
    eventually("the other replica tells the call's tenth of a cent", async || {
        let reply = caller.get(&url).await.unwrap();
        assert_eq!(reply.status, 200, "{:?}", reply.json());
        nano(&reply.json()["info"]["spend"]) == 1_000_000
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_at_one_replica_holds_at_the_other_within_a_second() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.call(1).await.0, 200);
    let mut keys = cluster.admin(0).await.keys();
    let all = keys.list_keys(v1::ListKeysRequest::default()).await.unwrap().into_inner().keys;
    let id = all.into_iter().find(|k| k.display_name == "shared").unwrap().id;
    let begun = std::time::Instant::now();
    keys.revoke_key(v1::RevokeKeyRequest { id }).await.unwrap();
    while cluster.call(1).await.0 == 200 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(1));
    }
    assert_eq!(cluster.call(1).await.1, "revoked_api_key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_made_at_one_replica_serves_at_the_other_within_a_second() {
    let cluster = Cluster::start().await;
    let model = crate::runtime_models::deployment("made", &cluster.provider.base_url());
    let asked = v1::CreateModelRequest { model: Some(model), ..Default::default() };
    let begun = std::time::Instant::now();
    cluster.admin(0).await.models().create_model(asked).await.unwrap();
    let url = cluster.replicas[1].v1("chat/completions");
    while Caller::bearer(&cluster.free).post(&url, &hello(json!({"model": "made"}))).await.unwrap().status != 200 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modes_are_shown_and_calls_go_on_while_a_store_is_away() {
    let mut cluster = Cluster::start().await;
    eventually("normal", async || cluster.metric(0, "tollgate_ledger_mode{mode=\"normal\"} 1").await).await;
    eventually("both are there", async || cluster.metric(0, "tollgate_replicas 2").await).await;
    assert_eq!(cluster.call(0).await.0, 200);
    tokio::task::block_in_place(|| cluster.postgres.kill());
    eventually("postgres gone", async || cluster.metric(0, "tollgate_ledger_mode{mode=\"postgres_gone\"} 1").await)
        .await;
    assert_eq!(cluster.call(0).await.0, 200);
    let refused = cluster.admin(0).await.keys().create_key(v1::CreateKeyRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), Some(v1::ErrorReason::StoreUnavailable));
    tokio::task::block_in_place(|| cluster.postgres.run());
    eventually("normal again", async || cluster.metric(0, "tollgate_ledger_mode{mode=\"normal\"} 1").await).await;
    tokio::task::block_in_place(|| cluster.redis.kill());
    eventually("redis gone", async || cluster.metric(0, "tollgate_ledger_mode{mode=\"redis_gone\"} 1").await).await;
    eventually(
        "readiness says so, and is ready: who takes replicas out because a store is away has none",
        async || {
            let ready =
                Caller::default().get(&format!("{}/health/readiness", cluster.replicas[0].url())).await.unwrap();
            ready.status == 200 && ready.json()["failing"]["redis"].is_string()
        },
    )
    .await;
    eventually("postgres hands out leases", async || cluster.call(1).await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_loses_its_store_is_told_of_and_that_it_is_back() {
    let receiver = Receiver::start().await;
    // A replica that starts is in a mode of its own: that is told as well, and what follows is not put off.
    let alerts = watched(&receiver, json!({ "ledger_degraded": {}, "cooldown": "100ms" }));
    let mut cluster = Cluster::start_with(|builder| builder.set("/alerts", alerts.clone())).await;
    let normal = async || cluster.metric(0, "tollgate_ledger_mode{mode=\"normal\"} 1").await;
    eventually("normal", normal).await;
    tokio::task::block_in_place(|| cluster.postgres.kill());
    let told = |state: &str, notice: &serde_json::Value| {
        notice["state"] == state && notice["details"]["mode"] != "registering"
    };
    let gone = |notice: &serde_json::Value| told("firing", notice) && notice["details"]["mode"] == "postgres_gone";
    eventually("it is told", async || receiver.taken().iter().any(gone)).await;
    tokio::task::block_in_place(|| cluster.postgres.run());
    eventually("its end is told", async || receiver.taken().iter().any(|notice| told("resolved", notice))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_replicas_see_one_of_them_tells() {
    let receiver = Receiver::start().await;
    let alerts = watched(&receiver, json!({ "key_expiring": { "within": "2h" } }));
    let cluster = Cluster::start_with(|builder| builder.set("/alerts", alerts.clone())).await;
    // Where the two meet.
    cluster.redis_is_told().await;
    for replica in 0..2 {
        let normal = async || cluster.metric(replica, "tollgate_ledger_mode{mode=\"normal\"} 1").await;
        eventually("normal", normal).await;
    }
    let asked = v1::CreateKeyRequest { key: Some(ends_in_an_hour()), ..Default::default() };
    let made = cluster.admin(0).await.keys().create_key(asked).await.unwrap().into_inner();
    eventually("the other knows the key", async || cluster.call_as(&made.secret, 1).await.0 == 200).await;
    eventually("it is told", async || !receiver.taken().is_empty()).await;
    // Both look ten times meanwhile.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let told = receiver.taken();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["state"], &told[0]["subject"]), (&json!("firing"), &json!(made.key.unwrap().id)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_is_billed_once_though_one_store_was_away_and_the_other_forgot() {
    let mut cluster = Cluster::start().await;
    assert_eq!(cluster.keyed(0, "first").await.0, 200);
    assert_eq!(cluster.keyed(1, "first").await, (409, "idempotency_replay_unavailable".into()));
    // Claimed in Redis alone, once nobody has reached PostgreSQL for a while.
    tokio::task::block_in_place(|| cluster.postgres.kill());
    eventually("redis is enough", async || cluster.keyed(0, "second").await.0 == 200).await;
    tokio::task::block_in_place(|| cluster.postgres.run());
    // PostgreSQL is told; then Redis forgets, and is told.
    eventually("normal", async || cluster.metric(0, "tollgate_ledger_mode{mode=\"normal\"} 1").await).await;
    eventually("postgres knows", async || cluster.claims().await == 2).await;
    tokio::task::block_in_place(|| cluster.redis.kill_and_forget());
    assert_eq!(cluster.keyed(1, "second").await, (409, "idempotency_replay_unavailable".into()));
    tokio::task::block_in_place(|| cluster.redis.run());
    cluster.redis_is_told().await;
    tokio::task::block_in_place(|| cluster.postgres.kill());
    for key in ["first", "second"] {
        assert_eq!(cluster.keyed(1, key).await, (409, "idempotency_replay_unavailable".into()));
    }
    assert_eq!(cluster.provider.log().stats().calls, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_redis_waits_for_those_who_may_have_claimed_keys_there_alone() {
    let mut cluster = Cluster::start().await;
    cluster.redis_is_told().await;
    tokio::task::block_in_place(|| cluster.postgres.kill());
    eventually("redis is enough", async || cluster.keyed(0, "told late").await.0 == 200).await;
    // PostgreSQL is back, and the one who knows of the claim does not reach it.
    cluster.line.set(Fault::BlackHole);
    tokio::task::block_in_place(|| cluster.redis.kill_and_forget());
    tokio::task::block_in_place(|| cluster.postgres.run());
    for _ in 0..20 {
        assert_eq!(cluster.keyed(1, "told late").await, (503, "ledger_unavailable".into()));
    }
    cluster.line.heal();
    let taken = (409, "idempotency_replay_unavailable".to_owned());
    eventually("postgres is told", async || cluster.keyed(1, "told late").await == taken).await;
    eventually("postgres is enough", async || cluster.keyed(1, "another").await.0 == 200).await;
    assert_eq!(cluster.provider.log().stats().calls, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_replica_claimed_in_redis_alone_another_one_tells_postgres() {
    let mut cluster = Cluster::start().await;
    cluster.redis_is_told().await;
    tokio::task::block_in_place(|| cluster.postgres.kill());
    eventually("redis is enough", async || cluster.keyed(0, "orphan").await.0 == 200).await;
    cluster.replicas[0].kill9();
    tokio::task::block_in_place(|| cluster.postgres.run());
    eventually("postgres knows", async || cluster.claims().await == 1).await;
    assert_eq!(cluster.keyed(1, "orphan").await, (409, "idempotency_replay_unavailable".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_answer_is_booked_stays_taken_though_its_caller_left_before_the_last_frame() {
    // The last frame waits for PostgreSQL, which this replica does not reach just then.
    let cluster = Cluster::start_with(|builder| builder.set("/journal", json!({ "durability": "replicated" }))).await;
    cluster.provider.script("upstream", [Step::streams(6).every_ms(20)]);
    let caller = Caller::bearer(&cluster.free).with("idempotency-key", "left");
    let body = hello(json!({ "model": "exact", "stream": true }));
    let mut stream = caller.stream(&cluster.replicas[0].v1("chat/completions"), &body).await.unwrap();
    stream.next().await.unwrap();
    cluster.line.set(Fault::BlackHole);
    cluster.provider.log().settled(1).await;
    drop(stream);
    // Longer than a call without readers goes on.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    cluster.line.heal();
    let reply = caller.post(&cluster.replicas[1].v1("chat/completions"), &body).await.unwrap();
    assert_eq!(reply.json()["error"]["code"], "idempotency_replay_unavailable");
    let again = caller.stream(&cluster.replicas[0].v1("chat/completions"), &body).await.unwrap();
    assert_eq!(again.whole().await.unwrap().status, 200, "where it was answered it is replayed");
    assert_eq!(cluster.provider.log().stats().calls, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_alone_cut_off_from_postgres_leaves_calls_with_idempotency_keys_to_the_others() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.keyed(0, "before").await.0, 200);
    assert_eq!(cluster.call(0).await.0, 200);
    cluster.line.set(Fault::BlackHole);
    assert_eq!(cluster.keyed(0, "during").await, (503, "ledger_unavailable".into()));
    assert_eq!(cluster.keyed(1, "during").await.0, 200);
    assert_eq!(cluster.call(0).await.0, 200, "calls without a key go on");
    cluster.line.heal();
    eventually("it takes part again", async || cluster.keyed(0, "after").await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_starts_while_postgres_is_away_serves_from_its_snapshot_and_loses_nothing() {
    let mut cluster = Cluster::start().await;
    assert_eq!(cluster.call(0).await.0, 200);
    assert_eq!(cluster.call_as(&cluster.free, 0).await.0, 200);
    let snapshot = cluster.replicas[0].data_dir().join("snapshot");
    eventually("a snapshot is kept", async || snapshot.exists()).await;
    eventually("shipped", async || cluster.metric(0, "tollgate_ledger_lag_records 0").await).await;
    tokio::task::block_in_place(|| cluster.postgres.kill());
    assert_eq!(cluster.call_as(&cluster.free, 0).await.0, 200, "known to the journal alone");
    cluster.replicas[0].kill9();
    cluster.replicas[0].restart().await;
    assert!(cluster.metric(0, "tollgate_ledger_mode{mode=\"both_gone\"} 1").await);
    let age = value(&exposed(&cluster.replicas[0]).await, "tollgate_snapshot_age_seconds", &[]);
    assert!(age.is_some_and(|age| (0.0..300.0).contains(&age)), "{age:?}");
    assert_eq!(cluster.call_as(&cluster.free, 0).await.0, 200);
    assert_eq!(cluster.call(0).await.0, 200, "what is allowed without knowing what others spend: a tenth of a cent");
    assert_eq!(cluster.call(0).await, (503, "ledger_unavailable".into()));
    tokio::task::block_in_place(|| cluster.postgres.run());
    eventually("normal again", async || cluster.metric(0, "tollgate_ledger_mode{mode=\"normal\"} 1").await).await;
    eventually("budgets again", async || cluster.call(0).await.0 == 200).await;
    eventually("all is shipped", async || cluster.metric(0, "tollgate_ledger_lag_records 0").await).await;
    let checked = cluster.admin(0).await.budgets().check_ledger(v1::CheckLedgerRequest {}).await.unwrap().into_inner();
    assert_eq!((checked.findings, checked.entries), (vec![], 6));

    tokio::task::block_in_place(|| cluster.postgres.kill());
    cluster.replicas[0].kill9();
    // Only now: a replica that runs writes it anew.
    let mut forged = std::fs::read(&snapshot).unwrap();
    *forged.last_mut().unwrap() ^= 1;
    std::fs::write(&snapshot, forged).unwrap();
    let refused = cluster.replicas[0].try_restart().await.unwrap_err().to_string();
    assert!(refused.contains("is damaged, or was signed with another store.secret"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_nobody_has_used_can_be_used_while_postgres_is_away() {
    let mut cluster = Cluster::start().await;
    eventually("normal", async || cluster.metric(1, "tollgate_ledger_mode{mode=\"normal\"} 1").await).await;
    let budgets = ["KEYS", "{tollgate}:*:posted:*"];
    // That of the key that both replicas know, and of one more at each.
    eventually("redis knows", async || cluster.redis.command(&budgets).is_some_and(|r| r.starts_with("*3\r\n"))).await;
    tokio::task::block_in_place(|| cluster.postgres.kill());
    assert_eq!(cluster.call(1).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_leaves_alone_the_other_does_too() {
    let cluster = Cluster::start().await;
    cluster.provider.always("upstream", [Step::fails(401)]);
    assert_eq!(cluster.call(0).await.0, 502);
    let state = async |replica: usize| {
        let asked = v1::GetRouteStateRequest { model: "exact".into() };
        cluster.admin(replica).await.models().get_route_state(asked).await.unwrap().into_inner().states[0].clone()
    };
    eventually("the other is told", async || state(1).await.circuit() == v1::CircuitState::Open).await;
    let told = state(1).await;
    assert_eq!((told.cooldown_class.as_str(), told.requests), ("authentication", 0));
    assert_eq!(cluster.call(1).await.1, "provider_credential");
    assert_eq!(cluster.provider.log().stats().calls, 1, "the other did not try");
}

#[tokio::test]
async fn a_deployments_rate_is_kept_by_all_replicas_together() {
    let limits = json!({ "requests_per_minute": 40 });
    let cluster = Cluster::start_with(|builder| builder.set("/models/0/deployments/0/limits", limits.clone())).await;
    let (mut served, mut refused) = (0, 0);
    for turn in 0..50 {
        let caller = Caller::bearer(&cluster.free).with("x-request-timeout", "0.5");
        let reply = caller.post(&cluster.replicas[turn % 2].v1("chat/completions"), &hello(json!({}))).await.unwrap();
        match reply.status.as_u16() {
            200 => served += 1,
            429 => refused += 1,
            other => panic!("{other}: {}", reply.json()),
        }
    }
    // Twenty at once for both together, and what came back meanwhile: one in a second and a half.
    let calls = cluster.provider.log().stats().calls;
    assert_eq!(calls, served);
    assert!((18..=30).contains(&calls), "{calls} calls reached the provider, {refused} were refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_leaves_alone_behind_a_star_the_other_does_too_for_that_model_alone() {
    let star = json!({"provider": "scripted", "model": "*", "price": {"input": "0", "output": "0"}});
    let cluster = Cluster::start_with(|builder| builder.deployment("any/*", star.clone())).await;
    cluster.provider.always("gone", [Step::fails(404)]);
    let ask = async |replica: usize, model: &str| {
        let url = cluster.replicas[replica].v1("chat/completions");
        let body = hello(json!({"model": format!("any/{model}")}));
        Caller::bearer(&cluster.free).post(&url, &body).await.unwrap().status.as_u16()
    };
    let circuit = async |model: &str| {
        let asked = v1::GetRouteStateRequest { model: format!("any/{model}") };
        let told = cluster.admin(1).await.models().get_route_state(asked).await.unwrap().into_inner();
        told.states[0].circuit()
    };
    assert_ne!(ask(0, "gone").await, 200);
    eventually("the other is told", async || circuit("gone").await == v1::CircuitState::Open).await;
    assert_ne!(ask(1, "gone").await, 200);
    assert_eq!(cluster.provider.log().stats().calls, 1, "the other did not try");
    assert_eq!(ask(1, "there").await, 200, "other models behind the same star are served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_kept_at_one_replica_is_read_and_erased_at_the_other() {
    let cluster = Cluster::start_with(|builder| builder.set("/audit", json!({"bodies": "full"}))).await;
    let mut calls = Vec::new();
    for replica in 0..2 {
        let body = hello(json!({"user": "ann"}));
        let url = cluster.replicas[replica].v1("chat/completions");
        let reply = Caller::bearer(&cluster.free).post(&url, &body).await.unwrap();
        assert_eq!(reply.status, 200);
        calls.push(reply.header("x-request-id").to_owned());
    }
    let read = async |replica: usize, call_id: &str| {
        let asked = v1::GetBodyRequest { call_id: call_id.into() };
        cluster.admin(replica).await.audit().get_body(asked).await.map(|told| told.into_inner())
    };
    for (made_at, call_id) in calls.iter().enumerate() {
        // Each ships what it journalled by itself.
        eventually("it is there", async || read(1 - made_at, call_id).await.is_ok_and(|told| told.body.is_some()))
            .await;
    }
    let ann = v1::BodySubject { kind: v1::BodySubjectKind::EndUser as i32, id: "ann".into(), ..Default::default() };
    let what = Some(v1::erase_bodies_request::What::Subject(ann));
    let asked = v1::EraseBodiesRequest { what, legal_basis: "a ticket".into() };
    let erased = cluster.admin(0).await.audit().erase_bodies(asked).await.unwrap().into_inner();
    assert_eq!((erased.kek_ids.len(), erased.bodies), (1, 2), "both replicas used one key");
    for call_id in &calls {
        assert!(read(1, call_id).await.unwrap().is_erased);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_have_a_log_each_and_one_root_log_even_where_one_was_killed() {
    let mut cluster = Cluster::start().await;
    for n in 0..6 {
        cluster.call(n % 2).await;
    }
    let both = |logs: &v1::ListLogsResponse| logs.logs.iter().map(|log| log.replica.clone()).collect::<Vec<_>>();
    let before = crate::audit_log::Export::of(&cluster.admin(0).await).await;
    assert_eq!(before.intact().logs.len(), 3, "two replicas and the root log");
    // Either replica proves and exports everything, under one key.
    let logs = cluster.admin(1).await.audit().list_logs(v1::ListLogsRequest {}).await.unwrap().into_inner();
    assert_eq!(both(&logs), ["r1", "r2"]);
    let elsewhere = crate::audit_log::Export::of(&cluster.admin(1).await).await.intact();
    assert!(elsewhere.entries >= before.intact().entries);

    // What a replica left behind that was killed is signed by the other.
    for _ in 0..3 {
        cluster.call_as(&cluster.free, 1).await;
    }
    let count = async |cluster: &Cluster| {
        let count = "SELECT max(sequence) FROM audit_record WHERE replica = 'r2'";
        cluster.postgres.sql(&cluster.database, count).and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or_default()
    };
    let signed = before.size_of("r2");
    eventually("its records are in the store", async || count(&cluster).await >= signed + 3).await;
    cluster.replicas[1].kill9();
    let after = crate::audit_log::Export::of(&cluster.admin(0).await).await;
    after.intact();
    assert_eq!(after.size_of("r2"), count(&cluster).await);
    cluster.replicas[1].restart().await;
    cluster.call_as(&cluster.free, 1).await;
    crate::audit_log::Export::of(&cluster.admin(1).await).await.intact();
}

/// The next record of a tail.
async fn next_of(tail: &mut tonic::Streaming<v1::TailRecordsResponse>) -> v1::AuditRecord {
    let next = tokio::time::timeout(std::time::Duration::from_secs(20), tail.message()).await;
    next.expect("a record within twenty seconds").unwrap().unwrap().record.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_tells_what_all_replicas_record_and_goes_on_from_any_position() {
    let cluster = Cluster::start().await;
    let filter = Some(v1::AuditFilter { action_prefix: "completion.".into(), ..Default::default() });
    // The replica that is asked has more on record than the other: what it counts itself says nothing of that one.
    for _ in 0..3 {
        assert_eq!(cluster.call_as(&cluster.free, 0).await.0, 200);
    }
    let mut audit = cluster.admin(0).await.audit();
    let asked = v1::QueryRecordsRequest { filter: filter.clone(), ..Default::default() };
    let mut stored = audit.query_records(asked).await.unwrap().into_inner();
    let mut last = 0;
    while let Some(response) = stored.message().await.unwrap() {
        last = response.record.unwrap().sequence;
    }
    let asked = v1::TailRecordsRequest { filter: filter.clone(), after_sequence: None };
    let mut tail = audit.tail_records(asked).await.unwrap().into_inner();
    for replica in [1, 0, 1] {
        assert_eq!(cluster.call_as(&cluster.free, replica).await.0, 200);
    }
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(next_of(&mut tail).await);
    }
    let mut replicas: Vec<_> = told.iter().map(|record| record.replica.as_str()).collect();
    replicas.sort_unstable();
    assert_eq!(replicas, ["r1", "r2", "r2"]);
    let positions: Vec<_> = [last].into_iter().chain(told.iter().map(|record| record.sequence)).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "one order, that of the store: {positions:?}");

    let asked = v1::TailRecordsRequest { filter, after_sequence: Some(told[0].sequence) };
    let mut again = cluster.admin(1).await.audit().tail_records(asked).await.unwrap().into_inner();
    for record in &told[1..] {
        assert_eq!(&next_of(&mut again).await, record, "at the other replica too");
    }
    assert_eq!(cluster.call_as(&cluster.free, 0).await.0, 200);
    for tail in [&mut tail, &mut again] {
        let next = next_of(tail).await;
        assert_eq!(next.replica, "r1");
        assert!(next.sequence > told[2].sequence);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_replica_that_is_given_up_ends_and_takes_nothing_more() {
    use crate::audit_log::Export;
    let mut cluster = Cluster::start().await;
    for _ in 0..3 {
        let (url, caller) = (cluster.replicas[1].v1("chat/completions"), Caller::bearer(&cluster.free));
        assert_eq!(caller.post(&url, &hello(json!({}))).await.unwrap().status, 200);
    }
    let before = Export::of(&cluster.admin(1).await).await.size_of("r2");
    assert!(before >= 3, "{before}");
    cluster.replicas[1].kill9();
    let silent = "UPDATE replica SET seen_time = seen_time - interval '2 minutes' WHERE id = 'r2'";
    cluster.postgres.sql(&cluster.database, silent).unwrap();
    let admin = cluster.admin(0).await;
    admin.budgets().close_replica(v1::CloseReplicaRequest { replica: "r2".into() }).await.unwrap();

    let export = Export::of(&admin).await;
    let size = export.size_of("r2");
    assert!(size >= before);
    use v1::root_entry::Entry;
    let entries = export.root_entries();
    let end = entries.iter().position(|entry| matches!(entry, Entry::ReplicaClosed(_))).unwrap();
    let (Entry::Checkpoint(last), Entry::ReplicaClosed(closed)) = (&entries[end - 1], &entries[end]) else {
        panic!("its last checkpoint stands before its end: {entries:?}");
    };
    assert_eq!((last.replica.as_str(), closed.replica.as_str(), closed.size.unsigned_abs()), ("r2", "r2", size));
    let (signed, _) = tollgate_tlog::Checkpoint::open(last.note.as_bytes(), [export.key()]).unwrap();
    assert_eq!(signed.size, size);

    // It comes back all the same, and answers.
    cluster.replicas[1].restart().await;
    let asking = Caller::bearer(&cluster.free).with("x-tollgate-receipt", "true");
    let reply = asking.post(&cluster.replicas[1].v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-tollgate-receipt"), "", "it promises nothing that nobody would keep");
    let later = Export::of(&cluster.admin(1).await).await;
    assert_eq!(later.size_of("r2"), size, "its log grows no more");
    let report = later.verified(vec![export.root_checkpoint()]);
    assert!(report.intact, "{:#?}", report.findings);
    let named = "was closed by CloseReplica and grows no more";
    eventually("it is told", async || cluster.replicas[1].logs().contains(named)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_at_one_replica_keeps_the_receipts_of_all_and_what_one_answered_another_erases() {
    let cluster = Cluster::start_with(|builder| builder.set("/audit", json!({"bodies": "full"}))).await;
    let mut answered = Vec::new();
    for replica in &cluster.replicas {
        let caller = Caller::bearer(&cluster.free).with("x-tollgate-receipt", "true");
        let reply = caller.post(&replica.v1("chat/completions"), &hello(json!({}))).await.unwrap();
        assert_eq!(reply.status, 200, "{:?}", reply.json());
        let receipt = tollgate_tlog::from_base64(reply.header("x-tollgate-receipt")).unwrap();
        answered.push((reply.header("x-request-id").to_owned(), receipt));
    }
    let admin = cluster.admin(0).await;
    // The other replica answered it a moment ago: its record may be on its way.
    let call_id = answered[1].0.clone();
    let what = Some(v1::erase_bodies_request::What::CallId(call_id.clone()));
    let asked = v1::EraseBodiesRequest { what, legal_basis: "GDPR 17".into() };
    let erased = admin.audit().erase_bodies(asked).await.unwrap().into_inner();
    assert_eq!(erased.bodies, 1);
    let asked = v1::GetBodyRequest { call_id };
    let told = cluster.admin(1).await.audit().get_body(asked).await.unwrap().into_inner();
    assert!(told.is_erased && told.body.is_none(), "it is gone at the replica that answered it, too");
    let export = crate::audit_log::Export::of(&admin).await;
    for (_, receipt) in &answered {
        let verdict = export.receipt(receipt);
        assert!(matches!(verdict, tollgate_tlog::verify::ReceiptVerdict::Held { .. }), "{verdict:?}");
    }
    let what = Some(v1::erase_bodies_request::What::CallId("call_nobodys".into()));
    let asked = v1::EraseBodiesRequest { what, legal_basis: "GDPR 17".into() };
    let refused = admin.audit().erase_bodies(asked).await.unwrap_err();
    assert_eq!(reason(&refused), Some(v1::ErrorReason::ResourceNotFound));
    assert!(refused.message().contains("ask again"), "it says where it may be: {refused:?}");
}
