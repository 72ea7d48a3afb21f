//! What a run came to: for people, and as JUnit XML for CI.

use std::fmt::Write;

use tollgate_domain::NanoUsd;

use super::{Check, Comparison, Outcome, Verdict, replay::Move};

/// For people: each check, and of the first that does not hold the attempts of a call.
pub fn tell(verdict: &Verdict) -> String {
    let mut text = String::new();
    let word = if verdict.passed() { "ok" } else { "FAILED" };
    let _ = writeln!(
        text,
        "{word:<7} {} (seed {}, {} calls in {:.1} simulated seconds)",
        verdict.name,
        verdict.seed,
        verdict.outcomes.len(),
        verdict.simulated_seconds
    );
    let failing = verdict.checks.iter().filter(|check| !check.holds);
    for Check { what, wanted, found, .. } in failing.clone() {
        let _ = writeln!(text, "        {what}: {found}, must be {wanted}");
    }
    if let Some(example) = failing.filter_map(|check| check.example).next().and_then(|at| verdict.outcomes.get(at)) {
        let _ = writeln!(text, "        for example the call at {:.3} s:", example.at_us as f64 / 1e6);
        for line in attempts(example) {
            let _ = writeln!(text, "          {line}");
        }
    }
    text
}

/// For people: a line for each scenario, with what its calls came to.
pub fn table(verdicts: &[Verdict]) -> String {
    let mut text = format!(
        "{:<7} {:>8} {:>9} {:>9} {:>9} {:>9} {:>12}  {}\n",
        "", "calls", "answered", "attempts", "p50 ms", "p99 ms", "cost", "scenario"
    );
    for verdict in verdicts {
        let calls = verdict.outcomes.len();
        let mut times: Vec<u64> = verdict.outcomes.iter().filter(|o| o.answered).map(|o| o.took_us).collect();
        times.sort_unstable();
        let at = |share: f64| {
            let rank = (share * times.len() as f64).ceil() as usize;
            times.get(rank.clamp(1, times.len().max(1)) - 1).map_or("-".into(), |us| format!("{:.1}", *us as f64 / 1e3))
        };
        let attempts: usize = verdict.outcomes.iter().map(|o| o.attempts.len()).sum();
        let cost: i64 = verdict.outcomes.iter().map(|o| o.cost_nano_usd).sum();
        let _ = writeln!(
            text,
            "{:<7} {calls:>8} {:>7.1} % {attempts:>9} {:>9} {:>9} {:>12}  {}",
            if verdict.passed() { "ok" } else { "FAILED" },
            100.0 * times.len() as f64 / calls.max(1) as f64,
            at(0.5),
            at(0.99),
            format!("${}", NanoUsd(cost)),
            verdict.name
        );
    }
    text
}

fn attempts(outcome: &Outcome) -> Vec<String> {
    let mut lines: Vec<_> = outcome
        .attempts
        .iter()
        .map(|a| format!("{:>9.3} ms  {}: {}", a.start_us as f64 / 1e3, a.deployment, a.class))
        .collect();
    lines.push(match outcome.answered {
        true => format!("{:>9.3} ms  answered", outcome.took_us as f64 / 1e3),
        false => format!(
            "{:>9.3} ms  {} {}: {}",
            outcome.took_us as f64 / 1e3,
            outcome.status,
            outcome.reason,
            outcome.message
        ),
    });
    lines
}

/// For people: what a replay came to, and who goes elsewhere.
pub fn compared(comparison: &Comparison) -> String {
    let Comparison { calls, elsewhere, errors_before, errors_after, .. } = comparison;
    let (before, after) = (comparison.cost_before_nano_usd, comparison.cost_after_nano_usd);
    let mut text = String::new();
    let share = |part: usize| 100.0 * part as f64 / (*calls).max(1) as f64;
    let change = if before == 0 { 0.0 } else { 100.0 * (after - before) as f64 / before as f64 };
    let _ = writeln!(text, "calls      {calls} made again");
    for (why, count) in &comparison.left_out {
        let _ = writeln!(text, "left out   {count} {why}");
    }
    let _ = writeln!(text, "elsewhere  {elsewhere} ({:.1} %) answered by another deployment", share(*elsewhere));
    let _ = writeln!(text, "errors     {errors_before} before, {errors_after} after");
    let _ = writeln!(text, "cost       ${} before, ${} after ({change:+.1} %)", NanoUsd(before), NanoUsd(after));
    let (was, is) = (comparison.mean_before_us as f64 / 1e3, comparison.mean_after_us as f64 / 1e3);
    let _ = writeln!(text, "time       {was:.1} ms before, {is:.1} ms after, mean of those answered both times");
    for deployment in &comparison.assumed {
        let _ = writeln!(text, "assumed    {deployment} is not in the record: taken to answer after 200 ms");
    }
    let width = |of: fn(&Move) -> &str| comparison.moves.iter().map(|m| of(m).chars().count()).max().unwrap_or(0);
    let (model, from, to) = (width(|m| &m.model).max(5), width(|m| &m.from).max(6), width(|m| &m.to).max(5));
    let _ = writeln!(
        text,
        "\n{:model$}  {:from$}  {:to$}  {:>8}  {:>14}  {:>14}",
        "model", "before", "after", "calls", "cost before", "cost after"
    );
    for m in &comparison.moves {
        let (was, is) = (NanoUsd(m.cost_before_nano_usd).to_string(), NanoUsd(m.cost_after_nano_usd).to_string());
        let to_whom = if m.from == m.to { "=" } else { &m.to };
        let _ =
            writeln!(text, "{:model$}  {:from$}  {to_whom:to$}  {:>8}  {was:>14}  {is:>14}", m.model, m.from, m.calls);
    }
    text
}

/// JUnit XML: a suite for each scenario, a case for each check.
pub fn junit(verdicts: &[Verdict]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for verdict in verdicts {
        let failures = verdict.checks.iter().filter(|check| !check.holds).count();
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" time=\"{:.3}\">",
            escaped(&verdict.name),
            verdict.checks.len(),
            verdict.simulated_seconds
        );
        for Check { what, wanted, found, holds, .. } in &verdict.checks {
            let (what, name) = (escaped(what), escaped(&verdict.name));
            match holds {
                true => {
                    let _ = writeln!(xml, "    <testcase name=\"{what}\" classname=\"{name}\"/>");
                }
                false => {
                    let message = escaped(&format!("{found}, must be {wanted}"));
                    let _ = writeln!(
                        xml,
                        "    <testcase name=\"{what}\" classname=\"{name}\"><failure message=\"{message}\">{}</failure></testcase>",
                        escaped(&tell(verdict))
                    );
                }
            }
        }
        xml.push_str("  </testsuite>\n");
    }
    xml + "</testsuites>\n"
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
