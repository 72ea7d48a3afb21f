//! The verdict: a pure function over the evidence, so that its teeth can be tried on planted faults.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use crate::evidence::{Attempt, Budget, Certainty, Disturbance, Ended, Evidence, Row, Seen, What};

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) enum Check {
    /// A client saw an answer whole, or the provider billed an attempt, and the ledger does not know it.
    Lost,
    /// An attempt has two entries.
    Doubled,
    /// An exact entry of a complete attempt is not what the provider billed, to the nano-dollar.
    ExactDiffers,
    /// An entry says exact where nobody told what was used.
    UnflaggedEstimate,
    /// What the provider billed is outside what a flagged entry says.
    OutsideInterval,
    /// An entry for an attempt that the provider never saw.
    Phantom,
    /// An entry pays from another key than the one that called.
    WrongKey,
    /// The provider billed more than a hard limit.
    Overspend,
    /// An entry counts in a window that was not its attempt's.
    WrongWindow,
    /// A budget's spend is not the sum of its entries.
    SumDiffers,
    /// A budget still holds money when nothing is in flight.
    HoldLeft,
    /// A call was refused as unaffordable although four fifths of every limit covered everything possible.
    FalseRefusal,
    /// One idempotency key was billed for two complete answers.
    RepeatBilled,
    /// A revoked key was served a second later: ten seconds where a store was out of reach or a replica stood still.
    Revoked,
    /// The gateway's own checker finds something.
    Invariant,
    /// Too few refusals: the budgets were not tested.
    Untested,
    /// Calls without an answer while nothing was disturbed: more than one in a thousand.
    UnavailableOutside,
    /// Calls without an answer around disturbances: more than one in a hundred.
    UnavailableInside,
}

impl Check {
    /// In the order of the table.
    pub(crate) const ALL: [Check; 18] = [
        Check::Lost,
        Check::Doubled,
        Check::ExactDiffers,
        Check::UnflaggedEstimate,
        Check::OutsideInterval,
        Check::Phantom,
        Check::WrongKey,
        Check::Overspend,
        Check::WrongWindow,
        Check::SumDiffers,
        Check::HoldLeft,
        Check::FalseRefusal,
        Check::RepeatBilled,
        Check::Revoked,
        Check::Invariant,
        Check::Untested,
        Check::UnavailableOutside,
        Check::UnavailableInside,
    ];

    /// As the table says it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Check::Lost => "answers or billed attempts without an entry",
            Check::Doubled => "attempts with two entries",
            Check::ExactDiffers => "exact entries that differ from the bill",
            Check::UnflaggedEstimate => "estimates that are not flagged",
            Check::OutsideInterval => "bills outside a flagged entry's interval",
            Check::Phantom => "entries of attempts that never were",
            Check::WrongKey => "entries on a wrong key",
            Check::Overspend => "hard limits overspent at the provider",
            Check::WrongWindow => "entries in a window that was not theirs",
            Check::SumDiffers => "budgets whose spend is not their entries",
            Check::HoldLeft => "budgets that still hold money",
            Check::FalseRefusal => "calls refused that were affordable",
            Check::RepeatBilled => "idempotency keys billed twice",
            Check::Revoked => "calls served to a revoked key",
            Check::Invariant => "findings of the gateway's own checker",
            Check::Untested => "budgets tested: refusals seen",
            Check::UnavailableOutside => "unanswered while undisturbed",
            Check::UnavailableInside => "unanswered around disturbances",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: Check,
    pub(crate) detail: String,
}

/// Figures that are told whatever the verdict.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) calls: usize,
    pub(crate) whole: usize,
    pub(crate) exhausted: usize,
    pub(crate) held: usize,
    pub(crate) failed: usize,
    pub(crate) hung_up: usize,
    pub(crate) broken: usize,
    pub(crate) unanswered: usize,
    pub(crate) attempts: usize,
    pub(crate) complete: usize,
    pub(crate) cut: usize,
    pub(crate) billed: i64,
    pub(crate) rows: usize,
    pub(crate) exact: usize,
    pub(crate) estimated: usize,
    pub(crate) recovered: usize,
    /// Windows of budgets that ended in the run.
    pub(crate) windows: usize,
    pub(crate) booked: i64,
    /// Flagged entries whose attempt the provider billed otherwise: how far the estimates were off, in sum.
    pub(crate) flagged_error: i64,
    pub(crate) calls_outside: usize,
    pub(crate) missed_outside: usize,
    pub(crate) calls_inside: usize,
    pub(crate) missed_inside: usize,
}

/// What the judge says.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    pub(crate) findings: Vec<Finding>,
    /// Things that are allowed and worth knowing.
    pub(crate) remarks: Vec<String>,
    pub(crate) figures: Figures,
    /// Findings that are tolerated: outside the interval, up to one flagged entry in a hundred.
    pub(crate) tolerated: usize,
}

impl Verdict {
    pub(crate) fn passed(&self) -> bool {
        self.findings.is_empty()
    }

    pub(crate) fn count(&self, check: Check) -> usize {
        self.findings.iter().filter(|finding| finding.check == check).count()
    }
}

/// Fewer refusals than this prove nothing about budgets.
const REFUSALS: usize = 5;

/// An attempt is admitted so long before it reaches the provider, at most: a replica may stand still in between.
const ADMITTED_BEFORE_MS: i64 = 20_000;
/// What replicas, the ledger of record and the provider may differ about the time on a busy machine.
const CLOCKS_APART_MS: i64 = 20;

/// Compares what the provider billed, what the gateway booked and what the clients saw.
pub(crate) fn judge(evidence: &Evidence) -> Verdict {
    let mut court = Court::new(evidence);
    court.entries();
    court.attempts();
    court.answers();
    court.budgets();
    court.refusals();
    court.repetitions();
    court.revocation();
    court.invariants();
    court.availability();
    court.close()
}

struct Court<'a> {
    evidence: &'a Evidence,
    rows: HashMap<&'a str, Vec<&'a Row>>,
    truth: HashMap<&'a str, &'a Attempt>,
    findings: Vec<Finding>,
    outside: Vec<Finding>,
    remarks: BTreeMap<&'static str, usize>,
    figures: Figures,
}

impl<'a> Court<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        let mut rows: HashMap<&str, Vec<&Row>> = HashMap::new();
        evidence.rows.iter().for_each(|row| rows.entry(&row.attempt).or_default().push(row));
        let count = |what: fn(&What) -> bool| evidence.seen.iter().filter(|seen| what(&seen.what)).count();
        let sure = |certainty| evidence.rows.iter().filter(|row| row.certainty == certainty).count();
        let ended = |how| evidence.truth.iter().filter(|attempt| attempt.ended == how).count();
        let figures = Figures {
            calls: evidence.seen.len(),
            whole: count(|what| matches!(what, What::Whole)),
            exhausted: count(|what| matches!(what, What::Exhausted { .. })),
            held: count(|what| matches!(what, What::Held)),
            failed: count(|what| matches!(what, What::Failed { .. })),
            hung_up: count(|what| matches!(what, What::HungUp)),
            broken: count(|what| matches!(what, What::Broken)),
            unanswered: count(|what| matches!(what, What::Unanswered { .. })),
            attempts: evidence.truth.len(),
            complete: ended(Ended::Complete),
            cut: ended(Ended::Cut),
            billed: evidence.truth.iter().map(|attempt| attempt.low).sum(),
            rows: evidence.rows.len(),
            exact: sure(Certainty::Exact),
            estimated: sure(Certainty::Estimated),
            recovered: sure(Certainty::Recovered),
            booked: evidence.rows.iter().map(|row| row.cost).sum(),
            ..Figures::default()
        };
        Court {
            evidence,
            rows,
            truth: evidence.truth.iter().map(|attempt| (attempt.id.as_str(), attempt)).collect(),
            findings: Vec::new(),
            outside: Vec::new(),
            remarks: BTreeMap::new(),
            figures,
        }
    }

    fn find(&mut self, check: Check, detail: String) {
        self.findings.push(Finding { check, detail });
    }

    fn remark(&mut self, what: &'static str) {
        *self.remarks.entry(what).or_default() += 1;
    }

    /// Every entry against the attempt that it is about.
    fn entries(&mut self) {
        let doubled: Vec<String> =
            self.rows.iter().filter(|(_, rows)| rows.len() > 1).map(|(id, _)| (*id).into()).collect();
        for id in doubled {
            self.find(Check::Doubled, format!("attempt {id} has {} entries", self.rows[id.as_str()].len()));
        }
        for row in &self.evidence.rows {
            match self.truth.get(row.attempt.as_str()).copied() {
                Some(attempt) => self.entry(row, attempt),
                // The gateway may have died, or lost its line, between writing down and sending.
                None if row.certainty != Certainty::Exact && row.low <= 0 => {
                    self.remark("flagged entries of attempts that did not reach the provider");
                }
                None => self.find(Check::Phantom, format!("{row:?}")),
            }
        }
    }

    fn entry(&mut self, row: &Row, attempt: &Attempt) {
        if row.key != attempt.key {
            self.find(Check::WrongKey, format!("{row:?} against {attempt:?}"));
        }
        let fits = row.low <= attempt.high && attempt.low <= row.high;
        match row.certainty {
            Certainty::Exact if !attempt.usage_told => {
                self.find(Check::UnflaggedEstimate, format!("{row:?} against {attempt:?}"));
            }
            Certainty::Exact if (attempt.low..=attempt.high).contains(&row.cost) => {}
            Certainty::Exact if attempt.ended == Ended::Complete => {
                let off = row.cost - attempt.low;
                self.find(Check::ExactDiffers, format!("off by {off} nano-dollars: {row:?} against {attempt:?}"));
            }
            Certainty::Exact => self.find(Check::UnflaggedEstimate, format!("{row:?} against {attempt:?}")),
            _ => {
                self.figures.flagged_error += (row.cost - attempt.low).abs();
                if !fits || !(row.low..=row.high).contains(&row.cost) {
                    let detail = format!("{row:?} against {attempt:?}");
                    self.outside.push(Finding { check: Check::OutsideInterval, detail });
                }
            }
        }
    }

    /// Every attempt that the provider bills has its entry.
    fn attempts(&mut self) {
        for attempt in &self.evidence.truth {
            if attempt.high > 0 && !self.rows.contains_key(attempt.id.as_str()) {
                self.find(Check::Lost, format!("billed, not booked: {attempt:?}"));
            }
        }
    }

    /// Every answer that a client saw whole has its entry.
    fn answers(&mut self) {
        let calls: HashSet<&str> = self.evidence.rows.iter().map(|row| row.call.as_str()).collect();
        let mut booked: HashSet<&str> = HashSet::new();
        for attempt in self.evidence.truth.iter().filter(|attempt| attempt.ended == Ended::Complete) {
            if self.rows.contains_key(attempt.id.as_str()) {
                booked.insert(&attempt.marker);
            }
        }
        for seen in self.evidence.seen.iter().filter(|seen| matches!(seen.what, What::Whole)) {
            // A repetition may carry the first call's id or its own; what it shows is the first one's answer.
            if !booked.contains(seen.marker.as_str()) || !(seen.repeatable || calls.contains(seen.call.as_str())) {
                self.find(Check::Lost, format!("seen whole, not booked: {seen:?}"));
            }
        }
    }

    fn budgets(&mut self) {
        for budget in &self.evidence.budgets {
            self.windows(budget);
            let balance = self.evidence.balances.iter().find(|balance| balance.scope == budget.scope);
            let Some(balance) = balance else {
                self.find(Check::SumDiffers, format!("{}: the gateway tells nothing about it", budget.scope));
                continue;
            };
            let rows = self.evidence.rows.iter().filter(|row| budget.covers(&row.key, &row.model));
            let booked: i64 =
                rows.filter(|row| row.windows.get(&budget.scope).copied() == balance.window).map(|row| row.cost).sum();
            if balance.spent != booked {
                let off = balance.spent - booked;
                self.find(
                    Check::SumDiffers,
                    format!("{}: spent {}, entries {booked}, off by {off}", budget.scope, balance.spent),
                );
            }
            if balance.held != 0 {
                self.find(Check::HoldLeft, format!("{}: {} held by {:?}", budget.scope, balance.held, balance.holders));
            }
        }
    }

    /// What the provider billed in each window of a budget: the window is the gateway's word, and must be one that the attempt can have
    /// been admitted in. A budget without windows has one.
    fn windows(&mut self, budget: &Budget) {
        let mut billed: BTreeMap<Option<i64>, i64> = BTreeMap::new();
        for attempt in self.evidence.truth.iter().filter(|attempt| budget.covers(&attempt.key, &attempt.model)) {
            let row = self.rows.get(attempt.id.as_str()).and_then(|rows| rows.first());
            let said = row.and_then(|row| row.windows.get(&budget.scope).copied());
            let first = budget.window.map(|every| every.of(attempt.at_ms - ADMITTED_BEFORE_MS));
            let last = budget.window.map(|every| every.of(attempt.at_ms + CLOCKS_APART_MS));
            if row.is_some() && !(first..=last).contains(&said) {
                let detail = format!("{}: window {said:?} instead of {first:?} to {last:?}: {attempt:?}", budget.scope);
                self.find(Check::WrongWindow, detail);
            }
            *billed.entry(said.or(last)).or_default() += attempt.low;
        }
        for (window, billed) in &billed {
            if budget.hard && *billed > budget.limit {
                let over = billed - budget.limit;
                let scope = &budget.scope;
                self.find(
                    Check::Overspend,
                    format!("{scope}, window {window:?}: billed {billed}, {over} above {}", budget.limit),
                );
            }
        }
        self.figures.windows += billed.len() - usize::from(!billed.is_empty());
        if budget.window.is_some() && billed.len() == 1 {
            self.find(Check::Untested, format!("{}: no window ended", budget.scope));
        }
    }

    fn refusals(&mut self) {
        for seen in &self.evidence.seen {
            let What::Exhausted { uppers } = &seen.what else { continue };
            let room = |budget: &&Budget| {
                let upper = uppers.iter().find(|upper| upper.scope == budget.scope);
                upper.is_some_and(|upper| i128::from(upper.nano) * 5 <= i128::from(budget.limit) * 4)
            };
            let mut hard =
                self.evidence.budgets.iter().filter(|budget| budget.hard && budget.covers(&seen.key, &seen.model));
            if hard.all(|budget| room(&budget)) {
                self.find(Check::FalseRefusal, format!("{seen:?}"));
            }
        }
        let refused = self.figures.exhausted;
        if refused < REFUSALS {
            self.find(Check::Untested, format!("only {refused} refusals"));
        }
    }

    /// One key, one complete bill, however often it was sent.
    fn repetitions(&mut self) {
        let repeated: HashSet<&str> =
            self.evidence.seen.iter().filter(|seen| seen.repeatable).map(|seen| seen.marker.as_str()).collect();
        let mut exact: BTreeMap<&str, usize> = BTreeMap::new();
        for attempt in self.evidence.truth.iter().filter(|attempt| attempt.ended == Ended::Complete) {
            let sure = |row: &&Row| row.certainty == Certainty::Exact && row.answered;
            if repeated.contains(attempt.marker.as_str())
                && self.rows.get(attempt.id.as_str()).is_some_and(|rows| rows.iter().any(sure))
            {
                *exact.entry(&attempt.marker).or_default() += 1;
            }
        }
        for (marker, times) in exact.into_iter().filter(|(_, times)| *times > 1) {
            self.find(Check::RepeatBilled, format!("{marker} has {times} exact entries"));
        }
    }

    /// Counted from the answer to the admin on: a call that began so long after it is refused.
    fn revocation(&mut self) {
        let evidence = self.evidence;
        let Some((key, at_ms)) = &evidence.revoked else { return };
        let slow = evidence.windows.iter().any(|window| {
            matches!(window.what, Disturbance::Store | Disturbance::Pause | Disturbance::Kill)
                && window.from_ms <= at_ms + 1_000
                && *at_ms <= window.to_ms
        });
        let from_ms = at_ms + if slow { 10_000 } else { 1_000 };
        let served = |seen: &&Seen| {
            seen.key == *key && seen.from_ms > from_ms && matches!(seen.what, What::Whole | What::Broken)
        };
        for seen in evidence.seen.iter().filter(served) {
            self.find(Check::Revoked, format!("{} ms after: {seen:?}", seen.from_ms - at_ms));
        }
    }

    fn invariants(&mut self) {
        for finding in &self.evidence.invariants {
            self.find(Check::Invariant, finding.clone());
        }
    }

    fn availability(&mut self) {
        let evidence = self.evidence;
        let mut missed = Vec::new();
        for seen in &evidence.seen {
            let meets = |what: Option<Disturbance>| {
                evidence.windows.iter().any(|window| {
                    what.is_none_or(|what| what == window.what)
                        && seen.from_ms <= window.to_ms
                        && window.from_ms <= seen.to_ms
                })
            };
            // A reload is nothing that a caller may feel.
            let inside =
                [Disturbance::Kill, Disturbance::Pause, Disturbance::Store].into_iter().any(|d| meets(Some(d)));
            let revoked = evidence.revoked.as_ref().is_some_and(|(key, _)| *key == seen.key);
            if revoked && matches!(&seen.what, What::Failed { code, .. } if code == "revoked_api_key") {
                continue;
            }
            let miss = is_miss(seen, meets(Some(Disturbance::ProviderLine)), inside);
            let (calls, misses) = match inside {
                true => (&mut self.figures.calls_inside, &mut self.figures.missed_inside),
                false => (&mut self.figures.calls_outside, &mut self.figures.missed_outside),
            };
            *calls += 1;
            *misses += usize::from(miss);
            if miss {
                missed.push((inside, seen));
            }
        }
        let figures = self.figures.clone();
        let too_many = [
            (false, figures.missed_outside * 1_000 > figures.calls_outside, Check::UnavailableOutside),
            (true, figures.missed_inside * 100 > figures.calls_inside, Check::UnavailableInside),
        ];
        for (inside, _, check) in too_many.into_iter().filter(|(_, too_many, _)| *too_many) {
            for (_, seen) in missed.iter().filter(|(at, _)| *at == inside) {
                self.find(check, format!("{seen:?}"));
            }
        }
    }

    fn close(mut self) -> Verdict {
        let flagged = self.figures.estimated + self.figures.recovered;
        let tolerated = if self.outside.len() * 100 <= flagged { self.outside.len() } else { 0 };
        if tolerated == 0 {
            self.findings.append(&mut self.outside);
        }
        self.findings.sort_by_key(|finding| finding.check);
        let remarks = self.remarks.into_iter().map(|(what, times)| format!("{times} {what}")).collect();
        Verdict { findings: self.findings, remarks, figures: self.figures, tolerated }
    }
}

/// Whether a call should have had an answer and had none. An answer that breaks where its replica is killed is no miss:
/// it had begun, and nobody else can end it; its money is checked above.
fn is_miss(seen: &Seen, provider_line_bad: bool, inside: bool) -> bool {
    match &seen.what {
        What::Unanswered { .. } => true,
        What::Broken => !(inside || seen.trouble || provider_line_bad),
        What::Failed { status, .. } if seen.trouble || provider_line_bad => *status == 500,
        // A repetition of a call whose answer died with its replica.
        What::Failed { status: 409, code } => !(seen.repeatable && code == "idempotency_replay_unavailable"),
        What::Failed { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
