//! SQLite passes the suite that says what a store is.

#![allow(clippy::unwrap_used)] // a test says by panicking

use tollgate_store::suite;
use tollgate_store_sqlite::SqliteStore;

async fn fresh() -> (SqliteStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (SqliteStore::open(&dir.path().join("store.db")).await.unwrap(), dir)
}

macro_rules! passes {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let (store, _dir) = fresh().await;
            suite::$case(&store).await;
        })+
    };
}

passes! {
    keys_and_budgets_read_back_as_written,
    entries_count_once_however_often_they_come,
    a_changed_limit_keeps_the_spend,
    spend_is_summed_by_group,
    entries_and_records_come_in_pages,
    idempotency_keys_are_remembered,
}

#[tokio::test]
async fn a_store_opened_again_has_everything() {
    let (store, dir) = fresh().await;
    suite::entries_count_once_however_often_they_come(&store).await;
    drop(store);
    let again = SqliteStore::open(&dir.path().join("store.db")).await.unwrap();
    use tollgate_store::Store;
    assert_eq!(again.positions().await.unwrap().journal, 6);
}
