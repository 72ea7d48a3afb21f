//! The reference passes the suites that say what a store and a coordinator are.

use std::sync::Arc;

use tollgate_store::{coordinator_suite, suite};
use tollgate_store_memory::MemoryWorld;

fn world() -> MemoryWorld {
    MemoryWorld::new(|| 1_795_132_800_000_000)
}

macro_rules! passes {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            suite::$case(&world().connect("r1")).await;
        })+
    };
}

passes! {
    objects_read_back_as_written,
    a_change_of_what_somebody_else_changed_is_refused,
    entries_count_once_however_often_they_come,
    balances_are_kept_by_window,
    an_alert_is_raised_once_for_each_window_and_threshold,
    spend_is_summed_by_group,
    entries_and_records_come_in_pages,
    whoever_follows_is_told_everything_once,
    idempotency_keys_are_remembered,
}

macro_rules! coordinates {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let world = world();
            let replica = |name: &str| {
                let store = Arc::new(world.connect(name));
                coordinator_suite::Replica { coordinator: store.clone(), members: store.clone(), store }
            };
            coordinator_suite::$case([replica("r1"), replica("r2")], false).await;
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
