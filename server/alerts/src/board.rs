//! What is wrong, since when, and what was told of it. Pure: time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{Notice, Severity, State};

/// What a condition finds wrong with a subject now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bad {
    /// One sentence.
    pub summary: String,
    /// Figures by name.
    pub details: BTreeMap<String, String>,
}

/// When a rule tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// It must be so for this long before it is told.
    pub lasting: Duration,
    /// It must be over for this long before that is told: what flaps stays one alert.
    pub settled: Duration,
    /// Between two beginnings that are told of the same subject.
    pub cooldown: Duration,
}

#[derive(Clone, Debug)]
struct Alert {
    since_us: i64,
    /// Since when it is good again.
    good_since_us: Option<i64>,
    /// When this replica told its beginning, or last renewed its claim to be the one who does; `None`: it did not.
    ours_us: Option<i64>,
    last: Bad,
}

/// The alerts of one rule.
pub struct Board {
    rule: String,
    severity: Severity,
    timing: Timing,
    alerts: BTreeMap<String, Alert>,
    /// When a beginning was last told, by subject.
    told_us: BTreeMap<String, i64>,
}

impl Board {
    /// Nothing is wrong yet.
    pub fn new(rule: impl Into<String>, severity: Severity, timing: Timing) -> Self {
        Self { rule: rule.into(), severity, timing, alerts: BTreeMap::new(), told_us: BTreeMap::new() }
    }

    /// Takes what is wrong at `now_us`, by subject, and tells what is to be told.
    pub fn see(&mut self, wrong: BTreeMap<String, Bad>, now_us: i64, source: &str) -> Vec<Notice> {
        let mut notices = Vec::new();
        let good: BTreeSet<_> = self.alerts.keys().filter(|subject| !wrong.contains_key(*subject)).cloned().collect();
        for (subject, bad) in wrong {
            notices.extend(self.bad(subject, bad, now_us, source));
        }
        for subject in good {
            notices.extend(self.good(&subject, now_us, source));
        }
        let cooldown = micros(self.timing.cooldown);
        self.told_us.retain(|_, told| now_us.saturating_sub(*told) < cooldown);
        notices
    }

    /// What is so now and was told, by subject.
    pub fn firing(&self) -> impl Iterator<Item = &str> {
        self.alerts.iter().filter(|(_, alert)| alert.ours_us.is_some()).map(|(subject, _)| subject.as_str())
    }

    /// It is not for this replica to tell: another did, and tells its end too. After the cooldown it is tried again, for by then the other
    /// may be gone, or may have seen an end that is none here.
    pub fn leave_to_others(&mut self, subject: &str) {
        if let Some(alert) = self.alerts.get_mut(subject) {
            alert.ours_us = None;
        }
    }

    /// What this replica told or renewed so long ago that it must say again that it is there: its subjects, which count as renewed now.
    pub fn to_renew(&mut self, after: Duration, now_us: i64) -> Vec<String> {
        let mut due = Vec::new();
        for (subject, alert) in &mut self.alerts {
            if alert.ours_us.is_some_and(|ours| now_us - ours >= micros(after)) {
                alert.ours_us = Some(now_us);
                due.push(subject.clone());
            }
        }
        due
    }

    fn bad(&mut self, subject: String, bad: Bad, now_us: i64, source: &str) -> Option<Notice> {
        let fresh = || Alert { since_us: now_us, good_since_us: None, ours_us: None, last: Bad::default() };
        let alert = self.alerts.entry(subject.clone()).or_insert_with(fresh);
        alert.good_since_us = None;
        alert.last = bad;
        let rests = self.told_us.get(&subject).is_some_and(|told| now_us - told < micros(self.timing.cooldown));
        if alert.ours_us.is_some() || rests || now_us - alert.since_us < micros(self.timing.lasting) {
            return None;
        }
        alert.ours_us = Some(now_us);
        self.told_us.insert(subject.clone(), now_us);
        let alert = alert.clone();
        Some(self.notice(subject, &alert, State::Firing, now_us, source))
    }

    fn good(&mut self, subject: &str, now_us: i64, source: &str) -> Option<Notice> {
        let alert = self.alerts.get_mut(subject)?;
        let since = *alert.good_since_us.get_or_insert(now_us);
        if now_us - since < micros(self.timing.settled) {
            return None;
        }
        let alert = self.alerts.remove(subject)?;
        alert.ours_us.is_some().then(|| self.notice(subject.to_owned(), &alert, State::Resolved, now_us, source))
    }

    fn notice(&self, subject: String, alert: &Alert, state: State, now_us: i64, source: &str) -> Notice {
        Notice {
            rule: self.rule.clone(),
            subject,
            state,
            severity: self.severity,
            summary: alert.last.summary.clone(),
            details: alert.last.details.clone(),
            since_us: alert.since_us,
            time_us: now_us,
            source: source.to_owned(),
        }
    }
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn board(lasting: u64, settled: u64, cooldown: u64) -> Board {
        let seconds = Duration::from_secs;
        let timing = Timing { lasting: seconds(lasting), settled: seconds(settled), cooldown: seconds(cooldown) };
        Board::new("provider", Severity::Critical, timing)
    }

    fn wrong(subjects: &[&str]) -> BTreeMap<String, Bad> {
        subjects.iter().map(|s| ((*s).to_owned(), Bad { summary: format!("{s} is down"), ..Bad::default() })).collect()
    }

    /// What is told, second by second, when a subject is wrong in these seconds.
    fn told(mut board: Board, seconds: i64, is_wrong: impl Fn(i64) -> bool) -> Vec<(i64, State)> {
        let mut told = Vec::new();
        for second in 0..seconds {
            let wrong = wrong(if is_wrong(second) { &["openai"] } else { &[] });
            let notices = board.see(wrong, second * SECOND, "gateway");
            told.extend(notices.into_iter().map(|notice| (second, notice.state)));
        }
        told
    }

    #[test]
    fn what_goes_on_is_told_once_and_its_end_once() {
        let told = told(board(0, 0, 0), 100, |s| (10..50).contains(&s));
        assert_eq!(told, [(10, State::Firing), (50, State::Resolved)]);
    }

    #[test]
    fn what_is_over_before_it_lasts_is_not_told_at_all() {
        assert_eq!(told(board(5, 0, 0), 100, |s| s % 6 < 4), []);
        assert_eq!(told(board(5, 0, 0), 100, |s| (10..20).contains(&s)), [(15, State::Firing), (20, State::Resolved)]);
    }

    #[test]
    fn what_flaps_stays_one_alert() {
        let told = told(board(0, 10, 0), 100, |s| s < 60 && s % 4 == 0);
        assert_eq!(told, [(0, State::Firing), (67, State::Resolved)]);
    }

    #[test]
    fn within_the_cooldown_a_new_beginning_is_not_told_and_after_it_is() {
        let told_short = told(board(0, 0, 60), 100, |s| s < 10 || (20..30).contains(&s));
        assert_eq!(told_short, [(0, State::Firing), (10, State::Resolved)], "neither its beginning nor its end");
        let told_long = told(board(0, 0, 60), 100, |s| s < 10 || (20..80).contains(&s));
        let expected = [(0, State::Firing), (10, State::Resolved), (60, State::Firing), (80, State::Resolved)];
        assert_eq!(told_long, expected);
    }

    #[test]
    fn subjects_are_apart_from_each_other() {
        let mut board = board(0, 0, 0);
        assert_eq!(board.see(wrong(&["a"]), 0, "g").len(), 1);
        let notices = board.see(wrong(&["a", "b"]), SECOND, "g");
        assert_eq!(notices.iter().map(|n| n.subject.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(notices[0].dedup_key(), "tollgate/provider/b");
        let notices = board.see(wrong(&["b"]), 2 * SECOND, "g");
        assert_eq!((notices[0].subject.as_str(), notices[0].state), ("a", State::Resolved));
        assert_eq!(notices[0].since_us, 0);
        assert_eq!(board.firing().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn what_another_replica_told_is_not_resolved_by_this_one() {
        let mut board = board(0, 0, 60);
        assert_eq!(board.see(wrong(&["a"]), 0, "g").len(), 1);
        board.leave_to_others("a");
        assert!(board.see(wrong(&["a"]), 59 * SECOND, "g").is_empty(), "it is the other's within the cooldown");
        assert!(board.see(wrong(&[]), 59 * SECOND, "g").is_empty(), "and so is its end");
    }

    #[test]
    fn what_another_replica_told_is_tried_again_after_the_cooldown() {
        let mut board = board(0, 0, 60);
        board.see(wrong(&["a"]), 0, "g");
        board.leave_to_others("a");
        assert!(board.see(wrong(&["a"]), 59 * SECOND, "g").is_empty());
        assert_eq!(board.see(wrong(&["a"]), 60 * SECOND, "g")[0].state, State::Firing);
        assert_eq!(board.see(wrong(&[]), 61 * SECOND, "g")[0].state, State::Resolved, "who told it tells its end");
    }

    #[test]
    fn what_this_replica_told_is_renewed_now_and_then_and_nothing_else_is() {
        let mut board = board(0, 10, 60);
        let half = Duration::from_secs(30);
        board.see(wrong(&["mine", "theirs"]), 0, "g");
        board.leave_to_others("theirs");
        assert_eq!(board.to_renew(half, 29 * SECOND), Vec::<String>::new());
        assert_eq!(board.to_renew(half, 30 * SECOND), ["mine"]);
        assert_eq!(board.to_renew(half, 31 * SECOND), Vec::<String>::new());
        board.see(wrong(&[]), 32 * SECOND, "g");
        assert_eq!(board.to_renew(half, 60 * SECOND), ["mine"], "its end is not told yet");
        board.see(wrong(&[]), 60 * SECOND, "g");
        assert_eq!(board.to_renew(half, 100 * SECOND), Vec::<String>::new(), "its end is told");
    }
}
