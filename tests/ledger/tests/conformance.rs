//! The ledger does what its model does, whatever it stands on: memory, SQLite, PostgreSQL, PostgreSQL and Redis.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use tollgate_ledger::{Cluster, Ledger, Options};
use tollgate_ledger_tests::bench::{Step, Time, run, steps};
use tollgate_services::{Postgres, Redis};
use tollgate_store::{Coordinator, Membership, Store};
use tollgate_store_memory::MemoryWorld;
use tollgate_store_postgres::PostgresStore;
use tollgate_store_redis::RedisCoordinator;
use tollgate_store_sqlite::SqliteStore;

static POSTGRES: LazyLock<Postgres> = LazyLock::new(Postgres::start);
static REDIS: LazyLock<Redis> = LazyLock::new(Redis::start);

fn in_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn replica(
    options: Options,
    members: Arc<dyn Membership>,
    postgres: Arc<dyn Coordinator>,
    redis: Option<Arc<dyn Coordinator>>,
) -> Options {
    let cluster = Cluster { members, postgres, redis, allowance: 0 };
    Options { replica: "r1".into(), cluster: Some(cluster), ..options }
}

async fn over_memory(steps: &[Step], shared: bool) {
    let (dir, time) = (tempfile::tempdir().unwrap(), Time::default());
    let world = MemoryWorld::new({
        let time = time.clone();
        move || time.now_us()
    });
    run(steps, &time, async || {
        let store = Arc::new(world.connect("r1"));
        let options = Options::alone(dir.path().join("journal"), time.clock());
        let options = if shared { replica(options, store.clone(), store.clone(), None) } else { options };
        Ledger::open(options, store).await
    })
    .await;
}

async fn over_sqlite(steps: &[Step]) {
    let (dir, time) = (tempfile::tempdir().unwrap(), Time::default());
    run(steps, &time, async || {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("store.db")).await.unwrap());
        Ledger::open(Options::alone(dir.path().join("journal"), time.clock()), store).await
    })
    .await;
}

async fn over_postgres(steps: &[Step], with_redis: bool) {
    let (dir, time) = (tempfile::tempdir().unwrap(), Time::default());
    let database = POSTGRES.database();
    if with_redis {
        REDIS.command(&["FLUSHALL"]);
    }
    run(steps, &time, async || {
        let store = Arc::new(PostgresStore::connect(&database.url, "r1").await.unwrap());
        let redis: Option<Arc<dyn Coordinator>> = match with_redis {
            true => Some(Arc::new(RedisCoordinator::open(&REDIS.url(), "r1", store.clone()).await.unwrap())),
            false => None,
        };
        let options = Options::alone(dir.path().join("journal"), time.clock());
        Ledger::open(replica(options, store.clone(), store.clone(), redis), store).await
    })
    .await;
}

/// Steps without what takes a second or more over real stores.
fn without_crashes() -> impl Strategy<Value = Vec<Step>> {
    steps(false).prop_map(|steps| steps.into_iter().filter(|s| !matches!(s, Step::Crash)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn over_memory_it_does_what_the_model_does(steps in steps(true)) {
        in_runtime(over_memory(&steps, false));
    }
}

proptest! {
    // Where it differs, it is waited for: smaller examples are worth only so much.
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_leases_it_does_what_the_model_does(steps in without_crashes()) {
        in_runtime(over_memory(&steps, true));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn over_sqlite_it_does_what_the_model_does(steps in steps(true)) {
        in_runtime(over_sqlite(&steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn over_postgres_it_does_what_the_model_does(steps in without_crashes()) {
        in_runtime(over_postgres(&steps, false));
    }
}

#[test]
fn over_postgres_and_redis_it_does_what_the_model_does() {
    use proptest::strategy::ValueTree;
    // One Redis, so one case after the other.
    let mut runner = proptest::test_runner::TestRunner::default();
    for _ in 0..6 {
        let steps = without_crashes().new_tree(&mut runner).unwrap().current();
        in_runtime(over_postgres(&steps, true));
    }
}
