//! What the judge is given: what the provider billed, what the gateway booked, what the clients saw. Plain data.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// Money with a limit, shared by some keys. Population makes it, load keeps sums of it, the judge checks it.
///
/// `scope` is the name by which the gateway's own figure is found: `key:NAME`, `team:NAME`, `organization`, `tag:NAME`, and what sets it
/// apart from another one there.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Budget {
    pub(crate) scope: String,
    /// Nano-dollars.
    pub(crate) limit: i64,
    /// Whether calls that do not fit are refused.
    pub(crate) hard: bool,
    /// Names of the keys whose calls it pays for.
    pub(crate) keys: BTreeSet<String>,
    /// Only calls of this model; else of every one.
    pub(crate) model: Option<String>,
    /// Begins anew with each of these windows; else never.
    pub(crate) window: Option<Every>,
}

/// Windows of equal length; each is named by the second it begins at.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Every {
    pub(crate) seconds: i64,
    /// A second since 1970 at which one begins.
    pub(crate) anchor: i64,
}

impl Every {
    /// The window of a time, in milliseconds since 1970.
    pub(crate) fn of(self, ms: i64) -> i64 {
        self.anchor + (ms - self.anchor * 1_000).div_euclid(self.seconds * 1_000) * self.seconds
    }
}

impl Budget {
    /// A hard one over keys, for every model and for ever.
    pub(crate) fn over(scope: impl Into<String>, limit: i64, keys: BTreeSet<String>) -> Self {
        Budget { scope: scope.into(), limit, hard: true, keys, model: None, window: None }
    }

    /// The key whose budget it is that configuration gives it.
    pub(crate) fn of_key(&self) -> Option<&str> {
        self.scope.strip_prefix("key:").filter(|_| self.model.is_none() && self.window.is_none())
    }

    /// Whether it pays for this key's calls of this model.
    pub(crate) fn covers(&self, key: &str, model: &str) -> bool {
        self.keys.contains(key) && self.model.as_deref().is_none_or(|only| only == model)
    }
}

/// How an attempt ended at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Ended {
    Complete,
    Cut,
    Failed,
}

/// One attempt as the provider wrote it down. Its cost lies within `low` and `high`, which are equal where it is known.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attempt {
    pub(crate) id: String,
    pub(crate) key: String,
    /// Which call of the load it belongs to.
    pub(crate) marker: String,
    /// As the load calls it.
    pub(crate) model: String,
    /// When it arrived, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    pub(crate) low: i64,
    pub(crate) high: i64,
    pub(crate) ended: Ended,
    /// Whether the provider told the gateway what the attempt used.
    pub(crate) usage_told: bool,
}

/// How sure the gateway says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Certainty {
    Exact,
    Estimated,
    Recovered,
}

/// One ledger entry.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) attempt: String,
    pub(crate) call: String,
    pub(crate) key: String,
    pub(crate) model: String,
    /// In which window of budgets with windows it counts.
    pub(crate) windows: BTreeMap<String, i64>,
    pub(crate) certainty: Certainty,
    /// Whether its answer came to its end at the gateway: what failed on the way is no answer, and is done again.
    pub(crate) answered: bool,
    pub(crate) cost: i64,
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// What the gateway says of a budget.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Balance {
    pub(crate) scope: String,
    /// The window that is told of.
    pub(crate) window: Option<i64>,
    pub(crate) spent: i64,
    pub(crate) held: i64,
    /// Who holds it.
    pub(crate) holders: Vec<String>,
}

/// The most that can have been spent and held of a budget when a call was refused, that call's own worst case included.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Upper {
    pub(crate) scope: String,
    pub(crate) nano: i64,
}

/// What became of a call in its client's eyes.
#[derive(Debug, Clone, Serialize)]
pub(crate) enum What {
    /// The answer came to its end.
    Whole,
    /// The budget is spent: final.
    Exhausted { uppers: Vec<Upper> },
    /// Other calls hold the budget: may be tried again.
    Held,
    /// Any other answer that is not the one wanted, or an error event in a stream.
    Failed { status: u16, code: String },
    /// The client hung up on purpose.
    HungUp,
    /// The answer had begun and broke off.
    Broken,
    /// No replica gave an answer although the client kept trying.
    Unanswered { error: String },
}

/// One call and what its client saw. Times are milliseconds since the load began.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Seen {
    pub(crate) marker: String,
    pub(crate) key: String,
    pub(crate) model: String,
    /// The gateway's id of the call, when an answer carried one.
    pub(crate) call: String,
    pub(crate) what: What,
    /// Carried an Idempotency-Key.
    pub(crate) repeatable: bool,
    /// Asked for trouble, at the provider or with an absurd figure, so that a failure is no surprise.
    pub(crate) trouble: bool,
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
}

/// What was done to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Disturbance {
    /// A replica was killed and came back.
    Kill,
    /// A replica stood still.
    Pause,
    /// The line to the provider was bad: failures of the provider are no surprise.
    ProviderLine,
    /// PostgreSQL or Redis was restarted or out of reach.
    Store,
    /// The configuration was read again.
    Reload,
    /// A replica's wall clock was an hour wrong.
    Clock,
}

/// From when to when a disturbance could be felt. Milliseconds since the load began.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Window {
    pub(crate) what: Disturbance,
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
}

/// Everything the judge looks at.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Evidence {
    pub(crate) truth: Vec<Attempt>,
    pub(crate) rows: Vec<Row>,
    pub(crate) budgets: Vec<Budget>,
    pub(crate) balances: Vec<Balance>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) windows: Vec<Window>,
    /// What the gateway's own checker finds.
    pub(crate) invariants: Vec<String>,
    /// The key that was revoked, and when that was answered.
    pub(crate) revoked: Option<(String, u64)>,
}
