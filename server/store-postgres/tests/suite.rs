//! PostgreSQL passes the suite that says what a store is, and hands out leases that never pass a limit.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::sync::{Arc, LazyLock};

use tollgate_services::Postgres;
use tollgate_store::{
    AuditLogs, Payer, Store, StoreError, Tail, audit_log_suite, batches_suite, bodies_suite, coordinator_suite,
    responses_suite, suite,
};
use tollgate_store_postgres::PostgresStore;

static SERVER: LazyLock<Postgres> = LazyLock::new(Postgres::start);

async fn fresh() -> PostgresStore {
    PostgresStore::connect(&SERVER.database().url, "r1").await.unwrap()
}

macro_rules! passes {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            suite::$case(&fresh().await).await;
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
            audit_log_suite::$case(&fresh().await).await;
        })+
    };
}

proves! {
    the_tree_stands_over_the_records,
    records_are_in_the_tree_once_however_often_they_come,
    the_root_log_grows_from_where_it_was_read,
}

#[tokio::test]
async fn one_replica_at_a_time_exports_and_the_next_one_may_when_it_is_gone() {
    let database = SERVER.database();
    let first = PostgresStore::connect(&database.url, "r1").await.unwrap();
    let second = PostgresStore::connect(&database.url, "r2").await.unwrap();
    let lead = first.lead_export().await.unwrap();
    assert!(lead.is_some());
    assert!(second.lead_export().await.unwrap().is_none());
    drop(lead);
    // The server sees a moment later that nobody is there any more.
    while second.lead_export().await.unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn one_replica_at_a_time_destroys_keys_whose_time_is_over() {
    use tollgate_store::Bodies;
    let database = SERVER.database();
    let first = PostgresStore::connect(&database.url, "r1").await.unwrap();
    let second = PostgresStore::connect(&database.url, "r2").await.unwrap();
    let lead = first.lead_expiry().await.unwrap();
    assert!(lead.is_some());
    assert!(second.lead_expiry().await.unwrap().is_none());
    assert!(second.lead_export().await.unwrap().is_some(), "exports have a lock of their own");
    drop(lead);
    while second.lead_expiry().await.unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_end_of_the_records_waits_for_those_that_will_stand_before_it() {
    let database = SERVER.database();
    let store = PostgresStore::connect(&database.url, "r1").await.unwrap();
    let pool = sqlx::PgPool::connect(&database.url).await.unwrap();
    let put = "INSERT INTO audit_record (replica, sequence, time_us, action, key_id, call_id, record)
               VALUES ($1, 1, 0, '', '', '', '')";
    let (mut first, mut second) = (pool.begin().await.unwrap(), pool.begin().await.unwrap());
    // Begun in one order, given positions in the other, as batches of two replicas may be.
    sqlx::query("SELECT pg_current_xact_id()").execute(&mut *first).await.unwrap();
    sqlx::query(put).bind("r2").execute(&mut *second).await.unwrap();
    sqlx::query(put).bind("r1").execute(&mut *first).await.unwrap();
    assert_eq!(store.records_end(0).await.unwrap(), 0, "nothing is there yet");
    first.commit().await.unwrap();
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(200), store.records_end(0)).await;
    assert!(waiting.is_err(), "one will stand before what is there: {waiting:?}");
    second.commit().await.unwrap();
    assert_eq!(store.records_end(0).await.unwrap(), 2);
    assert_eq!(store.records_end(2).await.unwrap(), 2);
}

#[tokio::test]
async fn whoever_follows_waits_for_what_will_stand_before_what_is_there() {
    let database = SERVER.database();
    let store = PostgresStore::connect(&database.url, "r1").await.unwrap();
    let pool = sqlx::PgPool::connect(&database.url).await.unwrap();
    let put = "INSERT INTO budget_alert (budget_id, \"window\", percent, alert) VALUES ($1, 0, 50, '')";
    let start = Some(Tail::default());
    let follow = async || store.tail(&Payer::default(), start, 10).await.unwrap();
    let (mut first, mut second) = (pool.begin().await.unwrap(), pool.begin().await.unwrap());
    sqlx::query("SELECT pg_current_xact_id()").execute(&mut *first).await.unwrap();
    sqlx::query(put).bind("b2").execute(&mut *second).await.unwrap();
    sqlx::query(put).bind("b1").execute(&mut *first).await.unwrap();
    first.commit().await.unwrap();
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(200), follow()).await;
    assert!(waiting.is_err(), "one will stand before what is there: {waiting:?}");
    second.commit().await.unwrap();
    let (end, _, alerts) = follow().await;
    assert_eq!((end.alert, alerts.len()), (2, 2));
}

macro_rules! keeps {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            responses_suite::$case(&fresh().await).await;
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
            batches_suite::$case(&fresh().await).await;
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
            bodies_suite::$case(&fresh().await).await;
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
    // A text that PostgreSQL does not take.
    let refused = tollgate_proto::v1::AuditRecord { key_id: "\0".into(), ..Default::default() };
    bodies_suite::an_erasure_is_done_with_its_record_or_not_at_all(&fresh().await, refused).await;
}

macro_rules! coordinates {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let url = SERVER.database().url;
            let replica = async |name: &str| {
                let store = Arc::new(PostgresStore::connect(&url, name).await.unwrap());
                coordinator_suite::Replica { coordinator: store.clone(), members: store.clone(), store }
            };
            coordinator_suite::$case([replica("r1").await, replica("r2").await], false).await;
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
async fn a_second_process_of_the_same_replica_is_refused_while_the_first_lives() {
    use tollgate_store::Membership;
    let url = SERVER.database().url;
    let first = PostgresStore::connect(&url, "r1").await.unwrap();
    let beating = tokio::spawn({
        let first = first.clone();
        async move {
            while first.beat(0, false, &[]).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    });
    assert!(matches!(PostgresStore::connect(&url, "r1").await, Err(StoreError::Fenced(_))));
    beating.abort();
    let _second = PostgresStore::connect(&url, "r1").await.unwrap();
    // The first comes back from a long sleep: nothing that it says counts.
    assert!(matches!(first.apply(&Default::default()).await, Err(StoreError::Fenced(_))));
}
