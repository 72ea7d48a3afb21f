//! The verdict as a table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::evidence::{Disturbance, Seen, What, Window};
use crate::judge::{Check, Verdict};

/// How many findings of a kind are told in full.
const EXAMPLES: usize = 5;

/// A finished run.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) setting: String,
    pub(crate) seconds: f64,
    pub(crate) quiet_after: Duration,
    pub(crate) restarts: Vec<Duration>,
    pub(crate) windows: Vec<Window>,
    /// Faults that could not be done.
    pub(crate) trouble: Vec<String>,
    /// Answers other than the one wanted, by kind.
    pub(crate) answers: BTreeMap<String, usize>,
    pub(crate) verdict: Verdict,
}

impl Run {
    /// Nothing is wrong, and everything that was to be done was done.
    pub(crate) fn passed(&self) -> bool {
        self.verdict.passed() && self.trouble.is_empty()
    }

    /// The table, examples of what is wrong, and the last word.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, to: &mut String) -> std::fmt::Result {
        let figures = &self.verdict.figures;
        let rate = figures.calls as f64 / self.seconds;
        writeln!(to, "\n{}", self.setting)?;
        writeln!(
            to,
            "calls      {} ({rate:.0}/s): {} whole, {} refused (budget), {} waited in vain, {} failed, {} hung up, {} broken by \
             a fault, {} unanswered",
            figures.calls,
            figures.whole,
            figures.exhausted,
            figures.held,
            figures.failed,
            figures.hung_up,
            figures.broken,
            figures.unanswered
        )?;
        for (answer, times) in &self.answers {
            writeln!(to, "             {times:>6} x {answer}")?;
        }
        writeln!(
            to,
            "provider   {} attempts, {} complete, {} cut; billed ${}",
            figures.attempts,
            figures.complete,
            figures.cut,
            dollars(figures.billed)
        )?;
        writeln!(
            to,
            "ledger     {} entries: {} exact, {} estimated, {} recovered; booked ${}, of flagged ones ${} apart from the bill",
            figures.rows,
            figures.exact,
            figures.estimated,
            figures.recovered,
            dollars(figures.booked),
            dollars(figures.flagged_error)
        )?;
        writeln!(to, "faults     {}", self.faults())?;
        writeln!(to, "windows    {} of budgets ended in the run", figures.windows)?;
        writeln!(to, "quiet      {:.1} s after the load", self.quiet_after.as_secs_f64())?;
        for remark in &self.verdict.remarks {
            writeln!(to, "remark     {remark}")?;
        }
        writeln!(to)?;
        for check in Check::ALL {
            let found = self.verdict.count(check);
            let seen = match check {
                Check::Untested => figures.exhausted.to_string(),
                Check::UnavailableOutside => format!("{} of {}", figures.missed_outside, figures.calls_outside),
                Check::UnavailableInside => format!("{} of {}", figures.missed_inside, figures.calls_inside),
                Check::OutsideInterval => format!("{}", found + self.verdict.tolerated),
                _ => found.to_string(),
            };
            let word = if found == 0 { "ok" } else { "WRONG" };
            writeln!(to, "  {:<46} {seen:>14}   {word}", check.title())?;
        }
        for check in Check::ALL {
            let findings = self.verdict.findings.iter().filter(|finding| finding.check == check);
            for finding in findings.take(EXAMPLES) {
                writeln!(to, "\n{:?}: {}", check, finding.detail)?;
            }
        }
        for trouble in &self.trouble {
            writeln!(to, "\nfault not done: {trouble}")?;
        }
        writeln!(to, "\n{}", if self.passed() { "PASSED" } else { "FAILED" })
    }

    fn faults(&self) -> String {
        let count = |what| self.windows.iter().filter(|window| window.what == what).count();
        let longest = self.restarts.iter().max().copied().unwrap_or_default();
        format!(
            "{} kills (away at most {} ms), {} pauses, {} reloads, {} bad provider lines, {} store faults, {} clocks set",
            count(Disturbance::Kill),
            longest.as_millis(),
            count(Disturbance::Pause),
            count(Disturbance::Reload),
            count(Disturbance::ProviderLine),
            count(Disturbance::Store),
            count(Disturbance::Clock)
        )
    }
}

/// Counts answers that are none of the usual ones.
pub(crate) fn answers(seen: &[Seen]) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for seen in seen {
        let kind = match &seen.what {
            What::Failed { status, code } => {
                let why = if seen.trouble { "asked for" } else { "not asked for" };
                format!("{status} {code} ({why})")
            }
            What::Unanswered { error } => format!("unanswered: {error}"),
            _ => continue,
        };
        *answers.entry(kind).or_default() += 1;
    }
    answers
}

fn dollars(nano: i64) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}
