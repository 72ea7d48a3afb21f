//! What admins do at once, and what becomes of it, where the ledger of record is PostgreSQL.

use futures::future::join_all;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tollgate_client::{Client, reason, v1};
use tollgate_services::{Database, Postgres};
use tollgate_tests::{
    provider::ScriptedProvider,
    support::{Gateway, keys::virtual_key},
};

use crate::support::eventually;

/// The lock under which objects change in PostgreSQL.
const OBJECTS: &str = "8390043843795511923";

struct Place {
    postgres: Postgres,
    database: Database,
    gateway: Gateway,
    _provider: ScriptedProvider,
    admin: Client,
}

impl Place {
    async fn start() -> Self {
        let (postgres, provider, admin) = (Postgres::start(), ScriptedProvider::start().await, virtual_key());
        let database = postgres.database();
        let store = json!({"postgres_url": database.url, "replica_id": "r1",
                           "secret": "a secret that all replicas of this test share"});
        let gateway = Gateway::over(&provider)
            .set("/store", store)
            .key(json!({"name": "admin", "secret": admin, "role": "platform_admin"}))
            .start()
            .await;
        let admin = Client::connect(&gateway.grpc(), &admin).await.unwrap();
        Self { postgres, database, gateway, _provider: provider, admin }
    }

    fn sql(&self, statement: &str) -> String {
        self.postgres.sql(&self.database.name, statement).unwrap_or_else(|| panic!("{statement}"))
    }

    /// Nobody else changes objects while it is there.
    async fn holding(&self, lock: &str) -> PgConnection {
        let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(format!("SELECT pg_advisory_lock({lock})")))
            .execute(&mut connection)
            .await
            .unwrap();
        connection
    }

    async fn somebody_waits(&self) {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        eventually("somebody waits for the lock", async || self.sql(waiting) != "0").await;
    }

    async fn import(&self, n: u8, key: v1::Key, spent: i64) -> Result<v1::ImportKeyResponse, tonic::Status> {
        let budget = v1::Budget { limit_nano_usd: 1_000, ..Default::default() };
        let budgets = vec![v1::ImportedBudget { budget: Some(budget), spent_nano_usd: spent }];
        let asked = v1::ImportKeyRequest {
            key: Some(v1::Key { models: vec!["*".into()], ..key }),
            sha256: vec![n; 32].into(),
            budgets: if spent > 0 { budgets } else { vec![] },
            ..Default::default()
        };
        self.admin.keys().import_key(asked).await.map(tonic::Response::into_inner)
    }

    /// Reasons on record for an action, oldest first; 0: it was done.
    async fn recorded(&self, action: &str) -> Vec<i32> {
        let filter = v1::AuditFilter { action_prefix: action.into(), ..Default::default() };
        let asked = v1::QueryRecordsRequest { filter: Some(filter), ..Default::default() };
        let mut records = self.admin.audit().query_records(asked).await.unwrap().into_inner();
        let mut found = Vec::new();
        while let Some(response) = records.message().await.unwrap() {
            found.extend(response.record.map(|record| record.error_reason));
        }
        found
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_imported_at_once_are_made_together_and_each_is_answered_for_itself() {
    let it = Place::start().await;
    let lock = it.holding(OBJECTS).await;
    let plain = v1::Key::default;
    let releasing = async {
        it.somebody_waits().await;
        lock.close().await.unwrap();
    };
    let good = join_all((0..100).map(|n| it.import(n, plain(), 0)));
    let spent = join_all((100..110).map(|n| it.import(n, plain(), 7)));
    let twice = join_all([200, 200].map(|n| it.import(n, plain(), 0)));
    let admin = v1::Key { role: v1::KeyRole::PlatformAdmin as i32, ..plain() };
    let (good, spent, twice, refused, ()) = tokio::join!(good, spent, twice, it.import(201, admin, 0), releasing);

    assert!(good.iter().chain(&spent).all(|made| made.as_ref().is_ok_and(|made| !made.existed)));
    let mut existed: Vec<_> = twice.into_iter().map(|made| made.unwrap().existed).collect();
    existed.sort_unstable();
    assert_eq!(existed, [false, true]);
    assert_eq!(reason(&refused.unwrap_err()), Some(v1::ErrorReason::InvalidField));

    // Each is there once and on record once; what was spent is booked; and PostgreSQL was not asked for each by itself.
    assert_eq!(it.sql("SELECT count(*) FROM object WHERE kind = 'key'"), "113");
    let mut recorded = it.recorded("key.import").await;
    recorded.sort_unstable();
    assert_eq!(recorded.len(), 113);
    assert_eq!(recorded.iter().filter(|reason| **reason == 0).count(), 112);
    assert_eq!(it.sql("SELECT sum(cost_nano_usd) FROM ledger_entry"), "70");
    let transactions = it.sql("SELECT count(DISTINCT xmin::text) FROM object WHERE kind = 'key'");
    assert!(transactions.parse::<u32>().unwrap() < 50, "{transactions} transactions");
    let checked = it.admin.budgets().check_ledger(v1::CheckLedgerRequest {}).await.unwrap();
    assert_eq!(checked.into_inner().findings, vec![]);
    drop(it.gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_ledger_of_record_does_not_take_is_told_to_who_asked_for_it_and_to_nobody_else() {
    let it = Place::start().await;
    it.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF position('poison' IN encode(NEW.object, 'escape')) > 0 THEN RAISE EXCEPTION 'no'; END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON object FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let lock = it.holding(OBJECTS).await;
    let releasing = async {
        it.somebody_waits().await;
        lock.close().await.unwrap();
    };
    let named =
        |n: u8| v1::Key { display_name: if n == 7 { "poison".into() } else { format!("k{n}") }, ..v1::Key::default() };
    let (made, ()) = tokio::join!(join_all((0..20).map(|n| it.import(n, named(n), 0))), releasing);
    for (n, made) in made.iter().enumerate() {
        match n {
            7 => assert_eq!(reason(made.as_ref().unwrap_err()), Some(v1::ErrorReason::Internal)),
            _ => assert!(made.as_ref().is_ok_and(|made| !made.existed), "{n}: {made:?}"),
        }
    }
    let recorded = it.recorded("key.import").await;
    assert_eq!(recorded.iter().filter(|reason| **reason != 0).count(), 1, "{recorded:?}");
    assert_eq!(recorded.len(), 20);
    // It is not there, and can be asked for again.
    it.sql("DROP TRIGGER refuse ON object");
    assert!(!it.import(7, named(7), 0).await.unwrap().existed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_ledger_of_record_is_away_each_who_imports_is_told() {
    let mut it = Place::start().await;
    it.postgres.kill();
    let made = join_all((0..20).map(|n| it.import(n, v1::Key::default(), 0))).await;
    for made in made {
        assert_eq!(reason(&made.unwrap_err()), Some(v1::ErrorReason::StoreUnavailable));
    }
    it.postgres.run();
    eventually("it goes on", async || it.import(0, v1::Key::default(), 0).await.is_ok_and(|made| !made.existed)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_admin_made_and_hung_up_on_is_on_record() {
    let it = Place::start().await;
    // The commit itself waits: whoever asked hangs up while it is under way.
    it.sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_advisory_xact_lock(7); RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON object DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION wait()",
    );
    let lock = it.holding("7").await;
    let mut keys = it.admin.keys();
    let key = v1::Key { display_name: "left".into(), models: vec!["*".into()], ..Default::default() };
    let asked = v1::CreateKeyRequest { key: Some(key), ..Default::default() };
    let asking = tokio::spawn(async move { keys.create_key(asked).await });
    it.somebody_waits().await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    // The gateway has heard of it once another call of the same connection was answered.
    it.admin.keys().get_key(v1::GetKeyRequest::default()).await.unwrap();
    lock.close().await.unwrap();
    eventually("it is there", async || {
        it.sql("SELECT count(*) FROM object WHERE position('left'::bytea IN object) > 0") == "1"
    })
    .await;
    eventually("it is on record", async || it.recorded("key.create").await == [0]).await;
}
