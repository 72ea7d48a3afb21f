//! Every metric by name: what it counts, in what unit, by which labels.

use std::fmt::Write;

/// What kind of figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// What is the case when it is asked for.
    Gauge,
    /// How often something took how long.
    Histogram,
}

/// A metric.
#[derive(Debug)]
pub struct About {
    /// Its name without the prefix `tollgate_`, and of a counter without the suffix `_total`.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// Labels that it can have; those without a value are left out.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

impl About {
    /// The name as it is exposed; of a histogram that of its family.
    pub fn exposed(&self) -> String {
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("tollgate_{}{total}", self.name)
    }
}

/// Names of all metrics, as constants.
pub mod names {
    use super::{About, Kind};

    macro_rules! names {
        ($($constant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
            $(
                #[doc = $help]
                pub const $constant: &About = &About { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
            )+
            pub(super) const ALL: &[&About] = &[$($constant),+];
        };
    }

    names! {
        REQUESTS Counter "requests" ["operation", "model", "team", "reason", "key", "user"]
            "Calls that ended, refused ones included; reason is OK or that of the error";
        REQUEST_SECONDS Histogram "request_duration_seconds" ["operation", "model"]
            "How long calls took at the gateway, to the last frame";
        QUEUE_SECONDS Histogram "queue_wait_seconds" ["operation", "model"]
            "How long admitted calls waited for a place at a deployment, those that got none included";
        FIRST_TOKEN Histogram "time_to_first_token_seconds" ["model", "provider", "deployment"]
            "From the beginning of a streamed call to its first content, by the deployment that answered";
        BETWEEN_TOKENS Histogram "time_between_tokens_seconds" ["model", "provider", "deployment"]
            "Mean time between tokens of a streamed answer: from its first content to its end, over its tokens less one";
        TOKENS Counter "tokens" ["class", "model", "provider", "deployment", "team", "key", "user"]
            "Tokens that were billed, each counted in one class: input, cached_read, cache_write, output, reasoning";
        CACHE_HITS Counter "cache_hits" ["cache", "model", "provider", "deployment"]
            "Calls that a cache served: prompt (attempts whose provider read input from its cache), replay (an answer kept under an idempotency key)";
        COST Counter "cost_usd" ["model", "provider", "deployment", "team", "key", "user"]
            "What was booked for calls, in US dollars; counted in nano-dollars";
        OVERRUN Counter "overrun_usd" ["provider"]
            "What attempts cost beyond what was held for them, in US dollars; counted in nano-dollars";
        ESTIMATED Counter "estimated_usage" ["model", "provider", "deployment"]
            "Attempts that were billed by the gateway's own count, because the provider gave none or none that can be";
        ATTEMPTS Counter "attempts" ["model", "provider", "deployment", "class"]
            "Attempts at deployments that ended; class is ok or that of the failure (connection, timeout, rate_limit, ...)";
        ATTEMPT_SECONDS Histogram "attempt_duration_seconds" ["model", "provider", "deployment"]
            "How long attempts took, failed ones included";
        RETRIES Counter "retries" ["model", "class"]
            "Further attempts within the same model; class is that of the failure before";
        FALLBACKS Counter "fallbacks" ["model", "to", "class"]
            "Attempts that moved on to another model; class is that of the failure before, or passed_over";
        REFUSALS Counter "refusals" ["reason", "scope", "model", "team"]
            "Calls that a limit or a budget refused; scope is the kind of what it is on (key, team, deployment, ...)";
        OVERFLOW Counter "label_overflow" ["metric"]
            "Observations whose set of labels was one too many: they are counted under other";
        DEPLOYMENT_STATE Gauge "deployment_state" ["provider", "deployment", "state"]
            "1 for the state that a deployment is in: closed (takes calls), open (rests), half_open (one call tries it)";
        COOLDOWNS Counter "deployment_cooldowns" ["provider", "deployment"]
            "How often a deployment was left alone because of what this replica saw";
        IN_FLIGHT Gauge "deployment_in_flight" ["provider", "deployment"]
            "Attempts under way";
        SLOTS Gauge "deployment_slots" ["provider", "deployment"]
            "Calls that a deployment takes at once, where that is limited";
        QUEUE_LENGTH Gauge "queue_length" ["provider", "deployment", "priority"]
            "Calls that wait for a place at a deployment";
        QUEUE_OLDEST Gauge "queue_oldest_seconds" ["provider", "deployment"]
            "How long the first of them has waited";
        BUDGET_LIMIT Gauge "budget_limit_usd" ["budget", "scope", "id"]
            "Limit of a budget in force, in US dollars";
        BUDGET_SPENT Gauge "budget_spent_usd" ["budget", "scope", "id"]
            "Spent in its window, in US dollars, over all replicas as last heard";
        BUDGET_HELD Gauge "budget_held_usd" ["budget", "scope", "id"]
            "Held by calls in flight at this replica, in US dollars";
        BUDGET_LEFT Gauge "budget_remaining_ratio" ["budget", "scope", "id"]
            "Share of the limit that is not spent, from 0 to 1";
        LEDGER_MODE Gauge "ledger_mode" ["mode"]
            "1 for the mode that this replica is in (docs/accounting.md has their bounds)";
        LEDGER_LAG Gauge "ledger_lag_records" []
            "Records of the journal that the store lacks";
        LEDGER_BEHIND Gauge "ledger_lag_seconds" []
            "How long the store has taken nothing although there is something for it";
        JOURNAL_WAITING Gauge "journal_waiting_records" []
            "Ends of calls that the journal's disk refused: kept in memory, and no new call starts";
        JOURNAL_FREE Gauge "journal_free_bytes" []
            "Bytes that are free where the journal is";
        CLOCK_SKEW Gauge "clock_skew_seconds" []
            "What the clock of the ledger of record is ahead of this replica's, in seconds; budgets go by the former";
        HOLDS Gauge "holds" []
            "Attempts in flight at this replica";
        HELD Gauge "holds_usd" []
            "What is held for them, in US dollars";
        REPLICAS Gauge "replicas" []
            "Replicas that are alive, this one included";
        SNAPSHOT_AGE Gauge "snapshot_age_seconds" []
            "What this replica would serve from if it started while PostgreSQL is away";
        EXPORT_SUCCEEDED Gauge "audit_export_success_time_seconds" []
            "When the audit log was last exported, by whichever replica, in seconds since the epoch; 0: nobody knows of an export";
        EXPORT_OVERDUE Gauge "audit_export_overdue_seconds" []
            "How long its next export is overdue; 0: it is not";
        EXPORT_FAILURES Counter "audit_export_failures" []
            "Exports that failed at this replica";
        READY Gauge "ready" ["check"]
            "1 where a check of readiness is fine (GET /health/readiness says why not)";
        SINK_RECORDS Counter "sink_records" ["sink", "kind"]
            "Records that the receiver of a sink has taken";
        SINK_DROPPED Counter "sink_dropped" ["sink", "kind", "cause"]
            "Records that are lost: queue (no time to look at them), spill (no room on disk), refused (by the receiver, for good)";
        SINK_FAILURES Counter "sink_failures" ["sink", "kind"]
            "Sendings of a sink that failed and are tried again";
        SINK_WAITING Gauge "sink_waiting_records" ["sink", "kind", "place"]
            "Records that a sink has still to send, in memory or spilled to disk";
        SINK_SPILLED Gauge "sink_spilled_bytes" ["sink", "kind"]
            "Bytes of files that a sink has spilled; docs/sinks.md has their limit";
        SPANS_LOST Counter "spans_lost" []
            "Spans that no collector took, while calls are traced";
        NOTICES Counter "alert_notices" ["channel", "outcome"]
            "Notices of alerts to a channel: delivered, or lost after all tries";
        ALERT_MISSED Counter "alert_missed" []
            "Calls and passed thresholds of budgets that alerts had no time to look at";
        BUILD Gauge "build_info" ["version", "commit", "rustc"]
            "1: which build this is";
        CONFIG Gauge "config_info" ["hash"]
            "1: SHA-256 of the configuration in force; replicas that differ run different ones";
        STARTED Gauge "start_time_seconds" []
            "When the process started, in seconds since the epoch";
        CPU Counter "cpu_seconds" []
            "CPU time of the process, user and system";
        MEMORY Gauge "resident_memory_bytes" []
            "Memory that the process has resident";
        FILES Gauge "open_files" []
            "File descriptors that it has open";
    }
}

/// Every metric, in the order of an exposition.
pub const NAMES: &[&About] = names::ALL;

/// The table of `docs/metrics.md`.
pub fn docs_table() -> String {
    let mut table = String::from("| metric | kind | labels | what it says |\n|---|---|---|---|\n");
    for about in NAMES {
        let kind = match about.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = about.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing into a string cannot fail.
        let _ = writeln!(table, "| `{}` | {kind} | {} | {} |", about.exposed(), labels.join(", "), about.help);
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

    #[test]
    fn the_published_names_are_those_of_the_code() {
        let page = std::fs::read_to_string(PATH).unwrap();
        let (head, rest) = page.split_once("<!-- names -->\n").unwrap();
        let (published, tail) = rest.split_once("<!-- /names -->").unwrap();
        if std::env::var_os("TOLLGATE_UPDATE_DOCS").is_some() {
            let page = format!("{head}<!-- names -->\n{}<!-- /names -->{tail}", docs_table());
            std::fs::write(PATH, page).unwrap();
            return;
        }
        assert_eq!(published, docs_table(), "run the tests with TOLLGATE_UPDATE_DOCS=1 and look at what changes");
    }

    #[test]
    fn no_name_is_used_twice() {
        let names: std::collections::BTreeSet<_> = NAMES.iter().map(|about| about.name).collect();
        assert_eq!(names.len(), NAMES.len());
    }
}
