use super::*;

const SECOND: u64 = 1_000_000;

fn failure(class: Class) -> Failure {
    Failure::new(class, "planted")
}

fn fails(state: &Arc<DeploymentState>, class: Class, now_us: u64) -> Option<u64> {
    state.begin(now_us)?.failed(&failure(class), &CooldownPolicy::default(), now_us)
}

fn succeeds(state: &Arc<DeploymentState>, now_us: u64) -> bool {
    state.begin(now_us).map(|mut trial| trial.succeeded()).is_some()
}

#[test]
fn it_is_left_alone_after_more_failures_in_a_row_than_are_allowed() {
    let state = Arc::default();
    for _ in 0..3 {
        assert_eq!(fails(&state, Class::ServerError, SECOND), None);
    }
    assert_eq!(fails(&state, Class::ServerError, SECOND), Some(6 * SECOND));
    assert_eq!(state.circuit(5 * SECOND), Circuit::Open { until_us: 6 * SECOND });
}

#[test]
fn a_few_failures_among_many_successes_are_nothing() {
    let state = Arc::default();
    for n in 0..1_000 {
        assert!(succeeds(&state, SECOND));
        if n % 50 == 0 {
            assert_eq!(fails(&state, Class::ServerError, SECOND), None);
        }
    }
}

#[test]
fn half_of_a_minute_is_too_many() {
    let state = Arc::default();
    let cooled = (0..20).any(|n| {
        succeeds(&state, n * SECOND);
        fails(&state, Class::Timeout, n * SECOND).is_some()
    });
    assert!(cooled);
}

#[test]
fn a_bad_credential_and_a_stated_wait_count_at_once() {
    let state = Arc::default();
    assert_eq!(fails(&state, Class::Authentication, 0), Some(60 * SECOND));
    let state: Arc<DeploymentState> = Arc::default();
    let limited = Failure { retry_after: Some(Duration::from_secs(7)), ..failure(Class::RateLimit) };
    let told = state.begin(SECOND).unwrap().failed(&limited, &CooldownPolicy::default(), SECOND);
    assert_eq!(told, Some(8 * SECOND));
}

#[test]
fn without_a_time_nothing_is_left_alone() {
    let never = CooldownPolicy { time: Duration::ZERO, ..CooldownPolicy::default() };
    let state: Arc<DeploymentState> = Arc::default();
    for class in [Class::Authentication, Class::RateLimit, Class::ServerError] {
        let failure = Failure { retry_after: Some(Duration::from_secs(9)), ..failure(class) };
        for _ in 0..9 {
            assert_eq!(state.begin(SECOND).unwrap().failed(&failure, &never, SECOND), None);
        }
    }
    assert_eq!(state.standing(SECOND).failures, 27);
}

#[test]
fn what_the_caller_did_wrong_is_not_held_against_it() {
    let state = Arc::default();
    for class in [Class::InvalidRequest, Class::ContextLength, Class::ContentFilter, Class::RequestTooLarge] {
        for _ in 0..10 {
            assert_eq!(fails(&state, class, SECOND), None);
        }
    }
}

#[test]
fn one_call_at_a_time_tries_whether_it_is_back() {
    let state = Arc::default();
    assert!(fails(&state, Class::Authentication, 0).is_some());
    let now_us = 61 * SECOND;
    let mut probe = state.begin(now_us).unwrap();
    assert!(state.begin(now_us).is_none(), "another one is under way");
    probe.succeeded();
    drop(probe);
    assert_eq!(state.circuit(now_us), Circuit::Closed);
    assert!(state.begin(now_us).is_some());
}

#[test]
fn a_probe_that_fails_doubles_the_cooldown_and_one_that_goes_untold_leaves_it() {
    let state = Arc::default();
    for _ in 0..4 {
        fails(&state, Class::Connection, 0);
    }
    assert_eq!(fails(&state, Class::Connection, 5 * SECOND), Some(15 * SECOND));
    assert_eq!(fails(&state, Class::Connection, 15 * SECOND), Some(35 * SECOND));
    drop(state.begin(36 * SECOND));
    assert_eq!(state.circuit(36 * SECOND), Circuit::HalfOpen { probing: false });
    assert!(succeeds(&state, 36 * SECOND));
    for _ in 0..3 {
        assert_eq!(fails(&state, Class::Connection, 37 * SECOND), None, "a success begins anew");
    }
}

#[test]
fn failures_that_were_under_way_do_not_prolong_a_cooldown() {
    let state: Arc<DeploymentState> = Arc::default();
    let mut under_way: Vec<_> = (0..20).filter_map(|_| state.begin(0)).collect();
    let told: Vec<_> = under_way
        .iter_mut()
        .filter_map(|trial| trial.failed(&failure(Class::ServerError), &CooldownPolicy::default(), SECOND))
        .collect();
    assert_eq!(told, [6 * SECOND]);
    assert_eq!(fails(&state, Class::ServerError, 6 * SECOND), Some(16 * SECOND), "doubled once");
}

#[test]
fn latency_is_a_mean_that_forgets() {
    let state: Arc<DeploymentState> = Arc::default();
    for (now_us, took) in [(0, 100_000), (SECOND, 200_000)] {
        state.begin(now_us).unwrap().first_content(now_us + took);
    }
    assert_eq!(state.latency_us(), Some(120_000.0));
    assert_eq!(state.in_flight(), 0);
}
