//! Whether what must hold does.

use std::collections::BTreeMap;

use super::{
    file::{Bound, Expectation, percentile},
    run::Outcome,
};

/// One figure against its bound.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Check {
    /// What is compared, in words.
    pub what: String,
    /// What must hold.
    pub wanted: String,
    /// The figure.
    pub found: String,
    /// Whether it does.
    pub holds: bool,
    /// Call that shows best why not.
    pub example: Option<usize>,
}

/// All figures of an expectation.
pub(super) fn checks(expectation: &Expectation, all: &[Outcome]) -> Vec<Check> {
    let chosen: Vec<(usize, &Outcome)> = all.iter().enumerate().filter(|(_, o)| concerns(expectation, o)).collect();
    let whom = whom(expectation);
    let mut checks = Vec::new();
    let mut check = |what: String, bound: &Bound, found: f64, example: Option<usize>| {
        let holds = bound.holds(found);
        let (wanted, found) = (bound.to_string(), figure(found));
        checks.push(Check { what: format!("{what}{whom}"), wanted, found, holds, example: example.filter(|_| !holds) });
    };
    let answered: Vec<_> = chosen.iter().filter(|(_, o)| o.answered).copied().collect();
    let first = |of: &dyn Fn(&Outcome) -> bool| chosen.iter().find(|(_, o)| of(o)).map(|(at, _)| *at);
    let percent = |part: usize, of: usize| if of == 0 { 0.0 } else { part as f64 * 100.0 / of as f64 };
    if chosen.is_empty() && expectation.calls.is_none() {
        check("calls that this is about".into(), &Bound::at_least_one(), 0.0, None);
    }
    if let Some(bound) = &expectation.calls {
        check("calls".into(), bound, chosen.len() as f64, None);
    }
    if let Some(bound) = &expectation.answered {
        check("answered, %".into(), bound, percent(answered.len(), chosen.len()), first(&|o| !o.answered));
    }
    for (status, bound) in &expectation.status {
        let with = chosen.iter().filter(|(_, o)| o.status == *status).count();
        let example = first(&|o| o.status == *status).or_else(|| first(&|o| o.status != *status));
        check(format!("status {status}"), bound, with as f64, example);
    }
    for (reason, bound) in &expectation.reasons {
        let with = chosen.iter().filter(|(_, o)| o.reason == *reason).count();
        let example = first(&|o| o.reason == *reason).or_else(|| first(&|o| !o.reason.is_empty()));
        check(format!("ended with {reason}"), bound, with as f64, example);
    }
    for (deployment, bound) in &expectation.share {
        let served = answered.iter().filter(|(_, o)| o.served_by() == Some(deployment)).count();
        let example = first(&|o| o.answered && o.served_by() != Some(deployment));
        check(format!("served by {deployment}, %"), bound, percent(served, answered.len()), example);
    }
    let attempts_at = |deployment: &str| -> usize {
        chosen.iter().map(|(_, o)| o.attempts.iter().filter(|a| a.deployment == deployment).count()).sum()
    };
    for deployment in &expectation.never {
        let example = first(&|o| o.attempts.iter().any(|a| a.deployment == *deployment));
        check(format!("attempts at {deployment}"), &Bound::exactly(0.0), attempts_at(deployment) as f64, example);
    }
    for (deployment, bound) in &expectation.attempts_at {
        check(format!("attempts at {deployment}"), bound, attempts_at(deployment) as f64, first(&|_| true));
    }
    let attempts: usize = chosen.iter().map(|(_, o)| o.attempts.len()).sum();
    if let Some(bound) = &expectation.attempts {
        let most = chosen.iter().max_by_key(|(_, o)| o.attempts.len()).map(|(at, _)| *at);
        check("attempts of a call, mean".into(), bound, attempts as f64 / chosen.len().max(1) as f64, most);
    }
    if let Some(bound) = &expectation.most_attempts {
        let most = chosen.iter().max_by_key(|(_, o)| o.attempts.len());
        let found = most.map_or(0, |(_, o)| o.attempts.len());
        check("attempts of a call, most".into(), bound, found as f64, most.map(|(at, _)| *at));
    }
    if let Some(bound) = &expectation.restarted {
        let restarted: usize = chosen.iter().map(|(_, o)| o.restarted).sum();
        check("answers that another attempt took over".into(), bound, restarted as f64, first(&|_| true));
    }
    let mut times = |title: &str, bounds: &BTreeMap<String, Bound>, of: &dyn Fn(&Outcome) -> Option<u64>| {
        let mut sorted: Vec<(u64, usize)> = answered.iter().filter_map(|(at, o)| Some((of(o)?, *at))).collect();
        sorted.sort_unstable();
        for (name, bound) in bounds {
            let share = percentile(name).unwrap_or(1.0);
            let rank = (share * sorted.len() as f64).ceil() as usize;
            let found = sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied();
            let (us, example) = found.map_or((f64::NAN, None), |(us, at)| (us as f64, Some(at)));
            check(format!("{title} {name}, ms"), bound, us / 1e3, example);
        }
    };
    times("latency", &expectation.latency_ms, &|o| Some(o.took_us));
    times("first content", &expectation.first_content_ms, &|o| o.first_content_us);
    if let Some(bound) = &expectation.cost_usd {
        let nano: i64 = chosen.iter().map(|(_, o)| o.cost_nano_usd).sum();
        check("cost, $".into(), bound, nano as f64 / 1e9, None);
    }
    checks
}

fn concerns(expectation: &Expectation, outcome: &Outcome) -> bool {
    let us = |span: &crate::config::Span| span.duration().as_micros() as u64;
    expectation.load.as_ref().is_none_or(|name| outcome.load.as_ref() == Some(name))
        && expectation.from.as_ref().is_none_or(|from| outcome.at_us >= us(from))
        && expectation.to.as_ref().is_none_or(|to| outcome.at_us < us(to))
        && expectation.tag.as_ref().is_none_or(|tag| outcome.tags.contains(tag))
}

fn whom(expectation: &Expectation) -> String {
    let seconds = |span: &crate::config::Span| format!("{} s", span.duration().as_secs_f64());
    let parts = [
        expectation.load.as_ref().map(|name| format!("load {name}")),
        expectation.tag.as_ref().map(|tag| format!("tag {tag}")),
        expectation.from.as_ref().map(|from| format!("from {}", seconds(from))),
        expectation.to.as_ref().map(|to| format!("to {}", seconds(to))),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

fn figure(found: f64) -> String {
    if found.is_nan() {
        return "none".into();
    }
    let text = format!("{found:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
