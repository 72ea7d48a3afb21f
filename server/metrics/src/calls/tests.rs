use tollgate_proto::v1::{Candidate, InputUsage, OutputUsage};

use super::*;
use crate::Format;

fn attempt(deployment: &str, class: &str, cost_nano_usd: Option<i64>) -> Attempt {
    let usage = cost_nano_usd.map(|cost_nano_usd| Usage {
        input: Some(InputUsage { total: 100, cached_read: 30, cache_write_5m: 10, ..InputUsage::default() }),
        output: Some(OutputUsage { total: 21, reasoning: 6, ..OutputUsage::default() }),
        cost_nano_usd,
        ..Usage::default()
    });
    Attempt {
        deployment: deployment.into(),
        provider: "p".into(),
        class: class.into(),
        start_us: 40_000,
        first_content_us: cost_nano_usd.map(|_| 700_000),
        end_us: 1_700_000,
        usage,
        ..Attempt::default()
    }
}

fn record(attempts: Vec<Attempt>) -> AuditRecord {
    let group = |deployment: &str, model: &str| Candidate {
        deployment: deployment.into(),
        model: model.into(),
        ..Candidate::default()
    };
    let candidates = vec![group("a1", "a"), group("a2", "a"), group("b1", "b")];
    AuditRecord {
        action: "completion.stream".into(),
        model: "a".into(),
        routing: Some(Routing { attempts, candidates, ..Routing::default() }),
        duration_us: 2_000_000,
        ..AuditRecord::default()
    }
}

fn known_as(model: &str) -> Option<&'static str> {
    ["a", "b"].into_iter().find(|known| *known == model)
}

fn ended(record: &AuditRecord) -> Ended<'_> {
    let payer = Payer { team: "t", key: "k", user: "u" };
    Ended {
        record,
        error: None,
        known_as: &|model| known_as(model),
        payer,
        admitted_us: Some(200_000),
        replayed: false,
    }
}

fn text(metrics: &Metrics) -> String {
    let mut page = Page::default();
    metrics.put(&mut page);
    page.text(Format::OpenMetrics)
}

#[track_caller]
fn says(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
}

#[test]
fn a_call_is_counted_with_every_attempt_and_what_each_was_billed() {
    let metrics = Metrics::default();
    let attempts = vec![
        attempt("a1", "connection", None),
        attempt("a2", "server_error", Some(1_000)),
        attempt("b1", "ok", Some(2_500_000_001)),
    ];
    metrics.ended(&ended(&record(attempts)));
    let text = text(&metrics);
    for line in [
        r#"tollgate_requests_total{operation="completion.stream",model="a",team="t",reason="OK"} 1"#,
        r#"tollgate_retries_total{model="a",class="connection"} 1"#,
        r#"tollgate_fallbacks_total{model="a",to="b",class="server_error"} 1"#,
        r#"tollgate_attempts_total{model="a",provider="p",deployment="a1",class="connection"} 1"#,
        r#"tollgate_attempts_total{model="a",provider="p",deployment="b1",class="ok"} 1"#,
        r#"tollgate_cost_usd_total{model="a",provider="p",deployment="b1",team="t"} 2.500000001"#,
        r#"tollgate_tokens_total{class="input",model="a",provider="p",deployment="a2",team="t"} 60"#,
        r#"tollgate_tokens_total{class="cached_read",model="a",provider="p",deployment="a2",team="t"} 30"#,
        r#"tollgate_cache_hits_total{cache="prompt",model="a",provider="p",deployment="a2"} 1"#,
        r#"tollgate_cache_hits_total{cache="prompt",model="a",provider="p",deployment="b1"} 1"#,
        r#"tollgate_tokens_total{class="cache_write",model="a",provider="p",deployment="a2",team="t"} 10"#,
        r#"tollgate_tokens_total{class="output",model="a",provider="p",deployment="b1",team="t"} 15"#,
        r#"tollgate_tokens_total{class="reasoning",model="a",provider="p",deployment="b1",team="t"} 6"#,
        r#"tollgate_request_duration_seconds_sum{operation="completion.stream",model="a"} 2.0"#,
        r#"tollgate_queue_wait_seconds_sum{operation="completion.stream",model="a"} 0.04"#,
        // The caller waited for admission too; 20 gaps in a second.
        r#"tollgate_time_to_first_token_seconds_sum{model="a",provider="p",deployment="b1"} 0.9"#,
        r#"tollgate_time_between_tokens_seconds_sum{model="a",provider="p",deployment="b1"} 0.05"#,
        r#"tollgate_time_to_first_token_seconds_count{model="a",provider="p",deployment="a2"} 0"#,
    ] {
        says(&text, line);
    }
    assert!(!text.contains("key=") && !text.contains("user="), "{text}");
}

#[test]
fn keys_and_users_are_labels_only_where_they_are_switched_on() {
    let metrics = Metrics::new(Settings { by_key: true, by_user: true, ..Settings::default() });
    metrics.ended(&ended(&record(vec![attempt("a1", "ok", Some(5_000_000_000))])));
    let labels = r#"model="a",provider="p",deployment="a1",team="t",key="k",user="u""#;
    says(&text(&metrics), &format!("tollgate_cost_usd_total{{{labels}}} 5.0"));
}

#[test]
fn what_was_billed_beyond_what_was_held_is_counted_by_provider() {
    let metrics = Metrics::default();
    let billed = |cost: i64, held: i64| {
        let mut attempt = attempt("a1", "ok", Some(cost));
        attempt.usage.as_mut().unwrap().held_nano_usd = held;
        record(vec![attempt])
    };
    metrics.ended(&ended(&billed(2_000_000_000, 5_000_000_000)));
    says(&text(&metrics), r#"tollgate_overrun_usd_total{provider="p"} 0.0"#);
    metrics.ended(&ended(&billed(7_500_000_000, 5_000_000_000)));
    says(&text(&metrics), r#"tollgate_overrun_usd_total{provider="p"} 2.5"#);
}

#[test]
fn an_answer_that_is_given_again_is_a_hit_without_a_deployment() {
    let metrics = Metrics::default();
    metrics.ended(&Ended { replayed: true, ..ended(&record(Vec::new())) });
    says(&text(&metrics), r#"tollgate_cache_hits_total{cache="replay",model="a"} 1"#);
}

#[test]
fn a_name_that_nobody_configured_is_no_label() {
    let metrics = Metrics::default();
    for n in 0..50 {
        let record =
            AuditRecord { action: "completion.create".into(), model: format!("made-up-{n}"), ..AuditRecord::default() };
        let error = Error::new(ErrorReason::ModelNotFound, "no");
        metrics.ended(&Ended { error: Some(&error), admitted_us: None, ..ended(&record) });
    }
    let text = text(&metrics);
    says(
        &text,
        r#"tollgate_requests_total{operation="completion.create",model="other",team="t",reason="MODEL_NOT_FOUND"} 50"#,
    );
    assert!(!text.contains("made-up"), "{text}");
}

#[test]
fn teams_beyond_the_bound_are_counted_together_and_nothing_is_lost() {
    let metrics = Metrics::new(Settings { max_series: 10, ..Settings::default() });
    let teams: Vec<_> = (0..40).map(|n| format!("team-{n:02}")).collect();
    let record = record(vec![attempt("a1", "ok", Some(1_000_000_000))]);
    for team in &teams {
        metrics.ended(&Ended { payer: Payer { team, ..Payer::default() }, ..ended(&record) });
    }
    let text = text(&metrics);
    let labels = r#"model="other",provider="other",deployment="other",team="other",key="other",user="other""#;
    says(&text, &format!("tollgate_cost_usd_total{{{labels}}} 30.0"));
    says(&text, r#"tollgate_label_overflow_total{metric="tollgate_cost_usd_total"} 30"#);
    assert_eq!(text.matches("\ntollgate_requests_total{").count(), 11);
}

#[test]
fn a_refusal_says_which_kind_of_limit_refused() {
    let metrics = Metrics::default();
    let record = AuditRecord { action: "completion.create".into(), model: "a".into(), ..AuditRecord::default() };
    for (reason, scope) in [
        (ErrorReason::RateLimited, "team x"),
        (ErrorReason::BudgetExhausted, "key:k model:m"),
        (ErrorReason::BudgetExhausted, "gateway deployment:d"),
        (ErrorReason::ProviderFailed, "no refusal"),
    ] {
        let error = Error::new(reason, "no").with("scope", scope);
        metrics.ended(&Ended { error: Some(&error), ..ended(&record) });
    }
    let text = text(&metrics);
    says(&text, r#"tollgate_refusals_total{reason="RATE_LIMITED",scope="team",model="a",team="t"} 1"#);
    says(&text, r#"tollgate_refusals_total{reason="BUDGET_EXHAUSTED",scope="key",model="a",team="t"} 1"#);
    says(&text, r#"tollgate_refusals_total{reason="BUDGET_EXHAUSTED",scope="deployment",model="a",team="t"} 1"#);
    assert_eq!(text.matches("\ntollgate_refusals_total{").count(), 3);
}

#[test]
fn a_call_that_found_no_place_has_waited_until_it_was_refused() {
    let metrics = Metrics::default();
    let record = AuditRecord { routing: Some(Routing::default()), ..record(Vec::new()) };
    let error = Error::new(ErrorReason::Overloaded, "no");
    metrics.ended(&Ended { error: Some(&error), ..ended(&record) });
    says(&text(&metrics), r#"tollgate_queue_wait_seconds_sum{operation="completion.stream",model="a"} 1.8"#);
}

#[test]
fn a_call_that_begins_at_a_fallback_has_fallen_back() {
    let metrics = Metrics::default();
    metrics.ended(&ended(&record(vec![attempt("b1", "timeout", None), attempt("b1", "ok", Some(1))])));
    let text = text(&metrics);
    says(&text, r#"tollgate_fallbacks_total{model="a",to="b",class="passed_over"} 1"#);
    says(&text, r#"tollgate_retries_total{model="a",class="timeout"} 1"#);
}

#[test]
fn a_fallback_that_the_call_names_itself_is_no_label_of_its_own() {
    let metrics = Metrics::default();
    let mut record = record(vec![attempt("b1", "ok", Some(1))]);
    record.routing.iter_mut().flat_map(|r| &mut r.candidates).for_each(|c| c.model = format!("made-up-{}", c.model));
    metrics.ended(&ended(&record));
    says(&text(&metrics), r#"tollgate_fallbacks_total{model="a",to="other",class="passed_over"} 1"#);
}
