//! SQLite passes the suite that says what a store is.

#![allow(clippy::unwrap_used)] // a test says by panicking

use tollgate_store::{audit_log_suite, batches_suite, bodies_suite, responses_suite, suite};
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
    objects_read_back_as_written,
    a_change_of_what_somebody_else_changed_is_refused,
    objects_that_change_together_keep_their_order,
    entries_count_once_however_often_they_come,
    balances_are_kept_by_window,
    an_alert_is_raised_once_for_each_window_and_threshold,
    spend_is_summed_by_group,
    entries_and_records_come_in_pages,
    whoever_follows_is_told_everything_once,
    idempotency_keys_are_remembered,
}

macro_rules! proves {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let (store, _dir) = fresh().await;
            audit_log_suite::$case(&store).await;
        })+
    };
}

proves! {
    the_tree_stands_over_the_records,
    records_are_in_the_tree_once_however_often_they_come,
    the_root_log_grows_from_where_it_was_read,
}

macro_rules! keeps {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let (store, _dir) = fresh().await;
            responses_suite::$case(&store).await;
        })+
    };
}

keeps! {
    a_response_is_there_for_its_key_alone,
    a_response_is_found_by_its_items,
    a_response_that_is_kept_again_stays_as_it_was,
    a_conversation_comes_oldest_first,
    a_response_is_gone_when_its_time_is_over,
    a_response_is_made_step_by_step,
    a_response_is_lost_whose_maker_is_not_heard_of,
}

macro_rules! batches {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let (store, _dir) = fresh().await;
            batches_suite::$case(&store).await;
        })+
    };
}

batches! {
    a_file_is_there_for_its_key_alone,
    files_come_in_pages,
    a_batch_is_there_for_its_key_alone,
    a_batch_is_looked_at_by_one,
    a_batch_settles_once,
    a_batch_is_corrected_by_one,
}

macro_rules! bodies {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let (store, _dir) = fresh().await;
            bodies_suite::$case(&store).await;
        })+
    };
}

bodies! {
    an_owner_has_one_key_however_many_make_it,
    an_erased_body_does_not_come_back,
    a_subjects_keys_take_its_bodies_with_them,
    a_hold_keeps_what_it_is_on,
    keys_of_months_that_are_over_go,
    keys_go_in_pieces_that_a_record_can_name,
}

#[tokio::test]
async fn an_erasure_is_done_with_its_record_or_not_at_all() {
    let (store, dir) = fresh().await;
    let url = format!("sqlite://{}", dir.path().join("store.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let refuses = "CREATE TRIGGER refuses BEFORE INSERT ON audit_record WHEN NEW.action = 'refused'
                   BEGIN SELECT raise(ABORT, 'refused'); END";
    sqlx::query(refuses).execute(&pool).await.unwrap();
    pool.close().await;
    let refused = tollgate_proto::v1::AuditRecord { action: "refused".into(), ..Default::default() };
    bodies_suite::an_erasure_is_done_with_its_record_or_not_at_all(&store, refused).await;
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
