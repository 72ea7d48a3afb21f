//! The judge has teeth: every planted fault is named, and a clean run is not accused.

use super::*;
use crate::evidence::{Balance, Budget, Every, Upper, Window};

const LIMIT: i64 = 10_000;

/// Ten complete calls of 500 nano-dollars by `alice`, a flagged cut one, and five refusals.
fn clean() -> Evidence {
    let marker = |at: usize| format!("alice-{at}");
    let mut evidence = Evidence {
        budgets: vec![Budget::over("key:alice", LIMIT, ["alice".into()].into())],
        balances: vec![balance("key:alice", None, 5_300)],
        ..Evidence::default()
    };
    for at in 0..10 {
        evidence.truth.push(attempt(&format!("a{at}"), &marker(at), 500, Ended::Complete));
        evidence.rows.push(row(&format!("a{at}"), Certainty::Exact, 500, 500, 500));
        evidence.seen.push(seen(&marker(at), &format!("call-a{at}"), What::Whole));
    }
    evidence.truth.push(attempt("cut", &marker(10), 250, Ended::Cut));
    evidence.rows.push(row("cut", Certainty::Estimated, 300, 0, 700));
    evidence.seen.push(seen(&marker(10), "call-cut", What::HungUp));
    for at in 11..16 {
        let uppers = vec![Upper { scope: "key:alice".into(), nano: 9_900 }];
        evidence.seen.push(seen(&marker(at), "", What::Exhausted { uppers }));
    }
    evidence
}

fn balance(scope: &str, window: Option<i64>, spent: i64) -> Balance {
    Balance { scope: scope.into(), window, spent, held: 0, holders: Vec::new() }
}

fn attempt(id: &str, marker: &str, nano: i64, ended: Ended) -> Attempt {
    let (id, key, marker, model) = (id.into(), "alice".into(), marker.into(), "plain".into());
    Attempt { id, key, marker, model, at_ms: 0, low: nano, high: nano, ended, usage_told: true }
}

fn row(attempt: &str, certainty: Certainty, cost: i64, low: i64, high: i64) -> Row {
    Row {
        attempt: attempt.into(),
        call: format!("call-{attempt}"),
        key: "alice".into(),
        model: "plain".into(),
        windows: BTreeMap::new(),
        certainty,
        answered: true,
        cost,
        low,
        high,
    }
}

fn seen(marker: &str, call: &str, what: What) -> Seen {
    let (marker, key, call) = (marker.into(), "alice".into(), call.into());
    Seen { marker, key, model: "plain".into(), call, what, repeatable: false, trouble: false, from_ms: 100, to_ms: 200 }
}

/// What is found once `plant` has spoilt a clean run. Knock-on findings are part of it.
fn found(plant: impl FnOnce(&mut Evidence)) -> Vec<Check> {
    let mut evidence = clean();
    plant(&mut evidence);
    let mut checks: Vec<_> = judge(&evidence).findings.into_iter().map(|finding| finding.check).collect();
    checks.dedup();
    checks
}

#[test]
fn a_clean_run_is_not_accused() {
    let verdict = judge(&clean());
    assert!(verdict.passed(), "{:?}", verdict.findings);
    assert_eq!((verdict.figures.billed, verdict.figures.booked), (5_250, 5_300));
}

#[test]
fn a_lost_row_is_named_for_the_bill_and_for_the_answer() {
    let verdict = {
        let mut evidence = clean();
        evidence.rows.remove(3);
        evidence.balances[0].spent -= 500;
        judge(&evidence)
    };
    assert_eq!(verdict.count(Check::Lost), 2);
    assert_eq!(verdict.findings.len(), 2, "{:?}", verdict.findings);
    assert!(verdict.findings[0].detail.contains("a3"));
}

#[test]
fn an_answer_whose_call_has_no_entry_is_lost_although_the_attempt_has_one() {
    assert_eq!(found(|evidence| evidence.rows[3].call = "another call".into()), [Check::Lost]);
}

#[test]
fn a_cut_attempt_without_an_entry_is_lost_too() {
    let plant = |evidence: &mut Evidence| {
        evidence.rows.pop();
        evidence.balances[0].spent -= 300;
    };
    assert_eq!(found(plant), [Check::Lost]);
}

#[test]
fn a_doubled_row_is_named() {
    let plant = |evidence: &mut Evidence| {
        evidence.rows.push(evidence.rows[3].clone());
        evidence.balances[0].spent += 500;
    };
    assert_eq!(found(plant), [Check::Doubled]);
    assert_eq!(found(|evidence| evidence.rows.push(evidence.rows[3].clone())), [Check::Doubled, Check::SumDiffers]);
}

#[test]
fn a_drift_of_one_nano_dollar_is_named_wherever_it_is() {
    let cheaper = |evidence: &mut Evidence| {
        evidence.rows[3] = row("a3", Certainty::Exact, 499, 499, 499);
        evidence.balances[0].spent -= 1;
    };
    assert_eq!(found(cheaper), [Check::ExactDiffers]);
    assert_eq!(found(|evidence| evidence.balances[0].spent += 1), [Check::SumDiffers]);
}

#[test]
fn an_overspend_of_one_nano_dollar_is_named_and_only_for_hard_limits() {
    assert_eq!(found(|evidence| evidence.budgets[0].limit = 5_249), [Check::Overspend]);
    assert_eq!(
        found(|evidence| (evidence.budgets[0].limit, evidence.budgets[0].hard) = (5_249, false)),
        [Check::FalseRefusal]
    );
}

#[test]
fn a_budget_over_many_keys_is_judged_by_all_of_them() {
    let plant = |evidence: &mut Evidence| {
        for row in &mut evidence.rows[..5] {
            row.key = "bob".into();
        }
        for attempt in &mut evidence.truth[..5] {
            attempt.key = "bob".into();
        }
        evidence.balances[0].spent = 2_800;
        let keys = ["alice".into(), "bob".into()].into();
        evidence.budgets.push(Budget::over("team:both", 5_249, keys));
        evidence.balances.push(balance("team:both", None, 5_300));
    };
    assert_eq!(found(plant), [Check::Overspend]);
}

#[test]
fn a_leaked_hold_is_named() {
    assert_eq!(found(|evidence| evidence.balances[0].held = 1), [Check::HoldLeft]);
}

#[test]
fn a_budget_that_the_gateway_does_not_know_is_named() {
    assert_eq!(found(|evidence| evidence.balances.clear()), [Check::SumDiffers]);
}

#[test]
fn an_unflagged_estimate_is_named_even_where_it_is_right() {
    assert_eq!(found(|evidence| evidence.truth[3].usage_told = false), [Check::UnflaggedEstimate]);
    let cut =
        |evidence: &mut Evidence| *evidence.rows.last_mut().unwrap() = row("cut", Certainty::Exact, 300, 300, 300);
    assert_eq!(found(cut), [Check::UnflaggedEstimate]);
}

#[test]
fn a_bill_outside_a_flagged_interval_is_named_and_one_in_a_hundred_is_tolerated() {
    let outside = |evidence: &mut Evidence| (evidence.rows[10].low, evidence.rows[10].high) = (260, 700);
    assert_eq!(found(outside), [Check::OutsideInterval]);
    let among_many = |evidence: &mut Evidence| {
        outside(evidence);
        evidence.rows.extend((0..99).map(|at| row(&format!("unsent-{at}"), Certainty::Recovered, 0, 0, 9)));
    };
    assert_eq!(found(among_many), []);
}

#[test]
fn an_entry_for_nothing_is_named_unless_it_says_that_it_doubts() {
    assert_eq!(found(|evidence| evidence.rows.push(row("ghost", Certainty::Exact, 0, 0, 0))), [Check::Phantom]);
    assert_eq!(found(|evidence| evidence.rows.push(row("ghost", Certainty::Recovered, 0, 0, 50))), []);
}

#[test]
fn an_entry_on_another_key_is_named() {
    let found = found(|evidence| evidence.rows[3].key = "bob".into());
    assert_eq!(found, [Check::WrongKey, Check::SumDiffers]);
}

#[test]
fn a_refusal_of_what_was_affordable_is_named_from_four_fifths_down() {
    let refuse = |nano: i64| {
        move |evidence: &mut Evidence| {
            let uppers = vec![Upper { scope: "key:alice".into(), nano }];
            evidence.seen.last_mut().unwrap().what = What::Exhausted { uppers };
        }
    };
    assert_eq!(found(refuse(LIMIT * 4 / 5)), [Check::FalseRefusal]);
    assert_eq!(found(refuse(LIMIT * 4 / 5 + 1)), []);
}

#[test]
fn a_repetition_that_was_billed_is_named() {
    let plant = |evidence: &mut Evidence| {
        evidence.seen[3].repeatable = true;
        evidence.truth.push(attempt("again", "alice-3", 500, Ended::Complete));
        evidence.rows.push(row("again", Certainty::Exact, 500, 500, 500));
        evidence.balances[0].spent += 500;
    };
    assert_eq!(found(plant), [Check::RepeatBilled]);
}

#[test]
fn a_run_without_refusals_proves_nothing_about_budgets() {
    assert_eq!(found(|evidence| evidence.seen.truncate(12)), [Check::Untested]);
}

#[test]
fn calls_without_an_answer_are_forgiven_in_small_numbers_and_near_faults() {
    let nothing = |evidence: &mut Evidence| {
        evidence.seen.push(seen("alice-99", "", What::Unanswered { error: "refused".into() }));
    };
    let busy = |evidence: &mut Evidence| {
        nothing(evidence);
        evidence.seen.extend((0..120).map(|_| seen("alice-98", "", What::HungUp)));
    };
    let window = |what| Window { what, from_ms: 150, to_ms: 160 };
    assert_eq!(found(nothing), [Check::UnavailableOutside]);
    assert_eq!(found(busy), [Check::UnavailableOutside]);
    let killed = |evidence: &mut Evidence| {
        busy(evidence);
        evidence.windows.push(window(Disturbance::Kill));
    };
    assert_eq!(found(killed), []);
    let reloaded = |evidence: &mut Evidence| {
        busy(evidence);
        evidence.windows.push(window(Disturbance::Reload));
    };
    assert_eq!(found(reloaded), [Check::UnavailableOutside]);
}

#[test]
fn an_answer_may_break_only_where_a_fault_broke_it() {
    let broken = |evidence: &mut Evidence| evidence.seen.push(seen("alice-99", "", What::Broken));
    assert_eq!(found(broken), [Check::UnavailableOutside]);
    let killed = |evidence: &mut Evidence| {
        broken(evidence);
        evidence.windows.push(Window { what: Disturbance::Kill, from_ms: 150, to_ms: 160 });
    };
    assert_eq!(found(killed), []);
}

#[test]
fn a_revoked_key_that_is_served_is_found() {
    let served_at = |ms| {
        found(move |evidence| {
            evidence.revoked = Some(("alice".into(), 1_000));
            evidence.seen[0].from_ms = ms;
            evidence.seen[0].to_ms = ms + 100;
        })
    };
    assert_eq!(served_at(2_500), [Check::Revoked]);
    assert_eq!(served_at(1_500), []);
}

#[test]
fn a_budget_of_one_model_pays_for_that_model_alone() {
    let plant = |limit, spent| {
        move |evidence: &mut Evidence| {
            evidence.truth[3].model = "other".into();
            evidence.rows[3].model = "other".into();
            let model = Some("other".to_owned());
            evidence.budgets.push(Budget { model, ..Budget::over("on other", limit, ["alice".into()].into()) });
            evidence.balances.push(balance("on other", None, spent));
        }
    };
    assert_eq!(found(plant(500, 500)), []);
    assert_eq!(found(plant(499, 500)), [Check::Overspend]);
    assert_eq!(found(plant(500, 5_300)), [Check::SumDiffers]);
}

/// A budget by the minute: the first five attempts fall into the minute from 60 on, the others into that from 120 on.
fn by_the_minute(evidence: &mut Evidence, limit: i64) {
    let window = Some(Every { seconds: 60, anchor: 0 });
    evidence.budgets.push(Budget { window, ..Budget::over("minute", limit, ["alice".into()].into()) });
    evidence.balances.push(balance("minute", Some(120), 2_800));
    for at in 0..evidence.truth.len() {
        let start = if at < 5 { 60 } else { 120 };
        evidence.truth[at].at_ms = start * 1_000 + 30_000;
        evidence.rows[at].windows = [("minute".to_owned(), start)].into();
    }
}

#[test]
fn a_budget_with_windows_is_judged_window_by_window() {
    assert_eq!(found(|evidence| by_the_minute(evidence, 2_750)), []);
    assert_eq!(found(|evidence| by_the_minute(evidence, 2_749)), [Check::Overspend]);
    let one_too_many = |evidence: &mut Evidence| {
        by_the_minute(evidence, 2_750);
        evidence.balances[1].spent = 5_300;
    };
    assert_eq!(found(one_too_many), [Check::SumDiffers]);
}

#[test]
fn an_entry_in_a_window_that_was_not_its_own_is_named_but_not_near_the_edge() {
    let moved = |at_ms| {
        move |evidence: &mut Evidence| {
            by_the_minute(evidence, LIMIT);
            evidence.truth[5].at_ms = at_ms;
            evidence.rows[5].windows = [("minute".to_owned(), 60)].into();
            evidence.balances[1].spent -= 500;
        }
    };
    assert_eq!(found(moved(150_000)), [Check::WrongWindow]);
    assert_eq!(found(moved(121_000)), []);
}

#[test]
fn windows_of_which_none_ended_were_not_tested() {
    let plant = |evidence: &mut Evidence| {
        by_the_minute(evidence, LIMIT);
        for at in 0..5 {
            evidence.truth[at].at_ms = 150_000;
            evidence.rows[at].windows = [("minute".to_owned(), 120)].into();
        }
        evidence.balances[1].spent = 5_300;
    };
    assert_eq!(found(plant), [Check::Untested]);
}
