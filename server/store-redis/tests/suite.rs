//! Redis, beside PostgreSQL as the ledger of record, passes the suite that says what a coordinator is.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::sync::{Arc, LazyLock};

use tollgate_proto::v1::{BudgetCharge, LedgerEntry};
use tollgate_services::{Database, Postgres, Redis};
use tollgate_store::{
    Batch, Change, Granted, LedgerRow, Lost, Rollup, Want,
    coordinator_suite::{self, Replica},
};
use tollgate_store_postgres::PostgresStore;
use tollgate_store_redis::RedisCoordinator;

static POSTGRES: LazyLock<Postgres> = LazyLock::new(Postgres::start);

/// Two replicas over a database and a Redis of their own.
struct World {
    redis: Redis,
    replicas: [Replica; 2],
}

async fn world(redis: Redis) -> World {
    let database = POSTGRES.database();
    let url = match redis.is_cluster() {
        true => redis.url().replace("redis://", "redis+cluster://"),
        false => redis.url(),
    };
    let replicas = [replica(&database, &url, "r1").await, replica(&database, &url, "r2").await];
    World { redis, replicas }
}

async fn replica(database: &Database, redis_url: &str, name: &str) -> Replica {
    let store = Arc::new(PostgresStore::connect(&database.url, name).await.unwrap());
    let coordinator = RedisCoordinator::open(redis_url, name, store.clone()).await.unwrap();
    Replica { coordinator: Arc::new(coordinator), members: store.clone(), store }
}

impl World {
    /// Opens an epoch in which both have registered `leases` of nothing.
    async fn open(&self, epoch: i64) {
        self.replicas[0].members.propose(epoch - 1, true).await.unwrap();
        for replica in &self.replicas {
            replica.coordinator.register(epoch, &[]).await.unwrap();
            replica.members.beat(epoch, true, &[]).await.unwrap();
        }
        self.replicas[0].coordinator.open(epoch).await.unwrap();
        self.replicas[0].members.opened(epoch).await.unwrap();
    }

    /// What the second replica could lease of a budget of 100.
    async fn free(&self, epoch: i64, window: i64) -> Result<i64, Lost> {
        let all = Want { min: 0, max: 100, needed: 100, ..want(window, 0) };
        match self.replicas[1].coordinator.lease(epoch, &[all]).await? {
            Granted::All(granted) => {
                let part = ("b".to_owned(), window, granted[0]);
                self.replicas[1].coordinator.give_back(epoch, &[part]).await?;
                Ok(granted[0])
            }
            Granted::Denied(_) => Ok(0),
        }
    }
}

fn want(window: i64, amount: i64) -> Want {
    Want {
        budget_id: "b".into(),
        lease_window: window,
        from_window: window,
        limit: 100,
        min: amount,
        max: amount,
        needed: amount,
    }
}

fn spending(sequence: i64, nano: i64) -> Batch {
    let entry = LedgerEntry {
        attempt_id: format!("a{sequence}"),
        cost_nano_usd: nano,
        charges: vec![BudgetCharge { budget_id: "b".into(), window: 0 }],
        sequence,
        ..LedgerEntry::default()
    };
    let row = LedgerRow { entry, lease_windows: vec![0], idempotency: None };
    Batch { changes: vec![Change::Entry(Box::new(row))], through: sequence as u64, ..Batch::default() }
}

macro_rules! coordinates {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let world = world(Redis::start()).await;
            coordinator_suite::$case(world.replicas, true).await;
        })+
    };
}

coordinates! {
    leases_and_spend_never_pass_the_limit,
    all_wants_are_granted_or_none,
    what_is_given_back_can_be_leased_by_others,
    a_lease_is_used_up_by_the_entries_that_it_pays,
    headroom_is_not_hoarded_near_the_limit,
    a_restarted_replica_states_its_leases_anew,
    nothing_is_leased_outside_the_epoch,
}

#[tokio::test]
async fn a_cluster_serves_as_one_server_does() {
    let world = world(Redis::start_cluster()).await;
    coordinator_suite::leases_and_spend_never_pass_the_limit(world.replicas, true).await;
}

#[tokio::test]
async fn what_was_spent_before_redis_was_asked_counts_once() {
    let world = world(Redis::start()).await;
    let [first, _] = &world.replicas;
    first.store.apply(&spending(1, 10)).await.unwrap();
    world.open(1).await;
    // Reported, and not in the ledger of record yet when the budget is learnt.
    let batch = spending(2, 20);
    first.coordinator.report(1, 2, &Rollup::of(batch.rows())).await.unwrap();
    assert_eq!(world.free(1, 0).await, Ok(70));
    first.store.apply(&batch).await.unwrap();
    first.coordinator.report(1, 2, &Rollup::of(batch.rows())).await.unwrap();
    assert_eq!(world.free(1, 0).await, Ok(70));
}

#[tokio::test]
async fn a_server_that_restarted_or_forgot_is_not_in_charge_until_everything_is_stated_anew() {
    for forget in [false, true] {
        let mut world = world(Redis::start()).await;
        world.open(1).await;
        let leased = world.replicas[0].coordinator.lease(1, &[want(0, 60)]).await.unwrap();
        assert_eq!(leased, Granted::All(vec![60]));
        if forget {
            world.redis.kill_and_forget()
        } else {
            world.redis.kill()
        }
        world.redis.run();
        for replica in &world.replicas {
            let mut answer = replica.coordinator.recalled(1).await;
            while matches!(answer, Err(Lost::Gone(_))) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                answer = replica.coordinator.recalled(1).await;
            }
            assert_eq!(answer, Err(Lost::Epoch), "forgot: {forget}");
        }
        world.open(2).await;
        world.replicas[0].coordinator.register(2, &[("b".into(), 0, 60)]).await.unwrap();
        assert_eq!(world.free(2, 0).await, Ok(40), "forgot: {forget}");
    }
}

#[tokio::test]
async fn leases_of_a_replica_that_is_away_stay_charged() {
    let database = POSTGRES.database();
    let redis = Redis::start();
    let away = replica(&database, &redis.url(), "away").await;
    away.members.propose(0, true).await.unwrap();
    away.members.beat(1, true, &[("b".into(), 0, 30)]).await.unwrap();
    let replicas = [replica(&database, &redis.url(), "r1").await, replica(&database, &redis.url(), "r2").await];
    let world = World { redis, replicas };
    world.open(2).await;
    assert_eq!(world.free(2, 0).await, Ok(70));
    away.coordinator.register(2, &[]).await.unwrap();
    assert_eq!(world.free(2, 0).await, Ok(100), "back, with nothing");
}

#[tokio::test]
async fn without_the_ledger_of_record_only_windows_that_began_since_are_known() {
    let mut postgres = Postgres::start();
    let database = postgres.database();
    let redis = Redis::start();
    let replicas = [replica(&database, &redis.url(), "r1").await, replica(&database, &redis.url(), "r2").await];
    let world = World { redis, replicas };
    world.open(1).await;
    postgres.kill();
    assert_eq!(world.free(1, 0).await, Err(Lost::Unknown));
    assert_eq!(world.free(1, 4_000_000_000).await, Ok(100));
}

#[tokio::test]
async fn what_arrives_after_a_newer_statement_of_leases_counts_no_more() {
    let database = POSTGRES.database();
    let redis = Redis::start();
    let replicas = [replica(&database, &redis.url(), "r1").await, replica(&database, &redis.url(), "r2").await];
    let world = World { redis, replicas };
    world.open(1).await;
    // Requests of the same replica from before its statement, as a line that was silent delivers them.
    let store = Arc::new(PostgresStore::connect(&database.url, "r3").await.unwrap());
    let late = RedisCoordinator::open(&world.redis.url(), "r1", store).await.unwrap();
    use tollgate_store::Coordinator;
    assert_eq!(late.lease(1, &[want(0, 60)]).await, Err(Lost::Epoch));
    assert_eq!(world.replicas[0].coordinator.lease(1, &[want(0, 60)]).await, Ok(Granted::All(vec![60])));
    assert_eq!(late.give_back(1, &[("b".into(), 0, 60)]).await, Err(Lost::Epoch));
    assert_eq!(world.free(1, 0).await, Ok(40));
}
