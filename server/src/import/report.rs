//! What an import did, or would do, row by row.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

/// How many rows are told of on the terminal.
const MOST_TOLD: usize = 200;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is here now; in a dry run: it would be.
    Moved,
    /// It was here before.
    There,
    /// It has no counterpart; its notes say why.
    Skipped,
    /// The gateway refused it; its notes say why.
    Refused,
}

/// A row of LiteLLM's.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `organization`, `team`, `user`, `member`, `customer`, `tag`, `project`, `key`, `old secret`.
    pub entity: &'static str,
    /// LiteLLM's id; of a key the beginning of its hash.
    pub id: String,
    /// Its name, or empty.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Its id here, or empty.
    pub tollgate_id: String,
    /// What of it is different here, and what is missing.
    pub notes: Vec<String>,
}

/// How many rows of a kind ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Moved, or to be moved.
    pub moved: u64,
    /// There before.
    pub there: u64,
    /// Without a counterpart.
    pub skipped: u64,
    /// Refused by the gateway.
    pub refused: u64,
}

/// The whole import.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Why it ended before the last row; empty: it did not.
    pub ended: String,
    /// By kind.
    pub counts: BTreeMap<&'static str, Count>,
    /// Budgets that were made, or would be, with what they open with in nano-dollars.
    pub budgets: u64,
    /// What they open with in all, in nano-dollars.
    pub opening_nano_usd: i64,
    /// Tables whose rows stay where they are.
    pub left: Vec<String>,
    /// Every row.
    pub rows: Vec<Row>,
}

impl Report {
    pub(super) fn add(&mut self, row: Row) {
        let count = self.counts.entry(row.entity).or_default();
        *match row.outcome {
            Outcome::Moved => &mut count.moved,
            Outcome::There => &mut count.there,
            Outcome::Skipped => &mut count.skipped,
            Outcome::Refused => &mut count.refused,
        } += 1;
        self.rows.push(row);
    }

    /// Whether it came to its end and the gateway refused nothing.
    pub fn is_clean(&self) -> bool {
        self.ended.is_empty() && self.counts.values().all(|count| count.refused == 0)
    }

    /// The same for people.
    pub fn tell(&self) -> String {
        let mut text = String::new();
        let moved = if self.dry_run { "to move" } else { "moved" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<14}{moved:>9}{:>9}{:>9}{:>9}", "", "there", "skipped", "refused");
        for (entity, Count { moved, there, skipped, refused }) in &self.counts {
            let _ = writeln!(text, "{entity:<14}{moved:>9}{there:>9}{skipped:>9}{refused:>9}");
        }
        let opening = tollgate_domain::NanoUsd(self.opening_nano_usd);
        let _ = writeln!(text, "{} budgets, {opening} dollars spent of them so far", self.budgets);
        let noted: Vec<_> = self.rows.iter().filter(|row| !row.notes.is_empty()).collect();
        for row in noted.iter().take(MOST_TOLD) {
            let state = match row.outcome {
                Outcome::Skipped => " skipped",
                Outcome::Refused => " refused",
                Outcome::Moved | Outcome::There => "",
            };
            let _ = writeln!(text, "{} {} {:?}{state}", row.entity, row.id, row.name);
            for note in &row.notes {
                let _ = writeln!(text, "    {note}");
            }
        }
        if noted.len() > MOST_TOLD {
            let _ = writeln!(text, "... and {} rows more; --report FILE tells of all", noted.len() - MOST_TOLD);
        }
        for left in &self.left {
            let _ = writeln!(text, "not taken over: {left}");
        }
        if !self.ended.is_empty() {
            let _ = writeln!(text, "ended early: {}; the same command goes on where it ended", self.ended);
        }
        if self.dry_run {
            text += "nothing was changed; --apply does it\n";
        }
        text
    }
}
