//! Looks, and tells.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc::{self, error::TrySendError};
use tollgate_proto::v1::{AuditRecord, BudgetAlert};

use crate::{
    Board, ChannelError, ChannelStats, Channels, Facts, Notice, Options, Rule, State, Turns, channels::Counts,
    condition::Seen, notice::dedup_key,
};

/// What waits to be looked at.
const QUEUE: usize = 16_384;
/// What asks the store is looked at no more often.
const COSTLY: Duration = Duration::from_secs(300);
/// The shortest time that nobody else may tell what this replica told.
const LEAST_TURN: Duration = Duration::from_secs(60);

enum Observed {
    Record(Arc<AuditRecord>),
    Budget(Box<BudgetAlert>),
}

/// Observes on behalf of alerts; cheap to clone. Waits for nothing: where there is no time to look, a record is not counted.
#[derive(Clone)]
pub struct Observer {
    queue: mpsc::Sender<Observed>,
    counts: Counts,
    /// What found no room in the queue.
    missed: Arc<AtomicU64>,
}

impl Observer {
    /// A closed record.
    pub fn record(&self, record: &Arc<AuditRecord>) {
        self.push(Observed::Record(record.clone()));
    }

    /// A budget has passed a threshold.
    pub fn budget(&self, alert: &BudgetAlert) {
        self.push(Observed::Budget(Box::new(alert.clone())));
    }

    /// Records and thresholds that there was no time to look at: alerts may be late for it, or not told at all.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn push(&self, observed: Observed) {
        // Once nobody watches any more the gateway ends: nothing is missed then.
        if let Err(TrySendError::Full(_)) = self.queue.try_send(observed)
            && self.missed.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!(
                "alerts have no time to look at every call; tollgate_alert_missed_total counts what they miss"
            );
        }
    }

    /// What became of notices so far, by channel.
    pub fn channels(&self) -> Vec<ChannelStats> {
        self.counts.read()
    }
}

/// Alerts that are not watching yet: what they observe meanwhile waits.
pub struct Alerts {
    observed: mpsc::Receiver<Observed>,
    source: String,
    every: Duration,
    rules: Vec<Watched>,
    channels: Channels,
}

struct Watched {
    rule: Rule,
    seen: Seen,
    board: Board,
    looked: Option<tokio::time::Instant>,
}

impl Alerts {
    /// Opens the channels; the error names the channel, or the rule that wants one that is not there.
    pub fn open(options: Options) -> Result<(Self, Observer), ChannelError> {
        let channels = Channels::open(options.channels)?;
        for rule in &options.rules {
            if let Some(missing) = rule.channels.iter().find(|name| !channels.has(name)) {
                let message = format!("channels: there is no channel {missing:?} under alerts.channels");
                return Err(ChannelError { name: format!("rules.{}", rule.name), message });
            }
        }
        let watched = |rule: Rule| Watched {
            seen: Seen::new(rule.condition.clone()),
            board: Board::new(rule.name.clone(), rule.severity, rule.timing),
            looked: None,
            rule,
        };
        let (queue, observed) = mpsc::channel(QUEUE);
        let observer = Observer { queue, counts: channels.counts(), missed: Arc::default() };
        let rules = options.rules.into_iter().map(watched).collect();
        let alerts = Self { observed, source: options.source, every: options.every, rules, channels };
        Ok((alerts, observer))
    }

    /// Watches until every observer is gone.
    pub async fn watch(mut self, facts: Arc<dyn Facts>, turns: Option<Arc<dyn Turns>>) {
        let mut look = tokio::time::interval(self.every);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                observed = self.observed.recv() => match observed {
                    Some(observed) => self.take(&observed),
                    None => return,
                },
                _ = look.tick() => {
                    while let Ok(observed) = self.observed.try_recv() {
                        self.take(&observed);
                    }
                    self.look(facts.as_ref(), turns.as_deref()).await;
                }
            }
        }
    }

    fn take(&mut self, observed: &Observed) {
        for watched in &mut self.rules {
            match observed {
                Observed::Record(record) => watched.seen.record(record),
                Observed::Budget(alert) => watched.seen.budget(alert),
            }
        }
    }

    async fn look(&mut self, facts: &dyn Facts, turns: Option<&dyn Turns>) {
        for watched in &mut self.rules {
            let rests = watched.seen.is_costly() && watched.looked.is_some_and(|at| at.elapsed() < COSTLY);
            if rests {
                continue;
            }
            watched.looked = Some(tokio::time::Instant::now());
            let turn = watched.turn(self.every);
            if let Some(turns) = turns {
                watched.renew(turns, turn, facts.now_us()).await;
            }
            let Some(wrong) = watched.seen.wrong(facts).await else { continue };
            for notice in watched.board.see(wrong, facts.now_us(), &self.source) {
                if is_ours(turns, turn, &notice).await {
                    self.channels.tell(&watched.rule.channels, &notice);
                } else {
                    watched.board.leave_to_others(&notice.subject);
                }
            }
        }
    }
}

impl Watched {
    /// For how long nobody else may tell what this replica told: it is renewed at least once meanwhile.
    fn turn(&self, every: Duration) -> Duration {
        let pause = if self.seen.is_costly() { every.max(COSTLY) } else { every };
        self.rule.timing.cooldown.max(LEAST_TURN).max(pause.saturating_mul(3))
    }

    /// Says that what this replica told is still its own: another tells it once this one is gone. What another has come to tell meanwhile is
    /// the other's, its end too.
    async fn renew(&mut self, turns: &dyn Turns, turn: Duration, now_us: i64) {
        for subject in self.board.to_renew(turn / 2, now_us) {
            if !turns.is_ours(&dedup_key(&self.rule.name, &subject), turn).await {
                self.board.leave_to_others(&subject);
            }
        }
    }
}

/// A beginning is for whoever is first; an end is for whoever told the beginning.
async fn is_ours(turns: Option<&dyn Turns>, turn: Duration, notice: &Notice) -> bool {
    match turns {
        Some(turns) if notice.state == State::Firing => turns.is_ours(&notice.dedup_key(), turn).await,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_in_the_queue_is_counted() {
        let (queue, observed) = mpsc::channel(QUEUE);
        let observer = Observer { queue, counts: Counts::default(), missed: Arc::default() };
        let record = Arc::new(AuditRecord::default());
        (0..QUEUE).for_each(|_| observer.record(&record));
        assert_eq!(observer.missed(), 0);
        observer.record(&record);
        observer.budget(&BudgetAlert::default());
        assert_eq!(observer.missed(), 2);
        drop(observed);
        observer.record(&record);
        assert_eq!(observer.missed(), 2, "nobody watches any more");
    }
}
