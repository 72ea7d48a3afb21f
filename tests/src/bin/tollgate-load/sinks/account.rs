//! What became of every record, by the gateway's own count.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tollgate_tests::support::gateway::Gateway;
use tollgate_tests::support::http::Caller;

/// Records may still be on their way into the sink's hands for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the records of one sink are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) sent: u64,
    pub(crate) in_memory: u64,
    pub(crate) on_disk: u64,
    pub(crate) dropped: u64,
    pub(crate) spilled_bytes: u64,
}

impl Account {
    /// All of them.
    pub(crate) fn records(&self) -> u64 {
        self.sent + self.in_memory + self.on_disk + self.dropped
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "sent": self.sent, "in_memory": self.in_memory, "on_disk": self.on_disk, "dropped": self.dropped,
            "spilled_bytes": self.spilled_bytes
        })
    }

    /// Reads an exposition with one sink in it.
    fn read(exposition: &str) -> Self {
        let sum = |name: &str, label: &str| {
            let lines = exposition.lines().filter(|line| line.strip_prefix(name).is_some_and(|r| r.starts_with('{')));
            let values = lines.filter(|line| line.contains(label)).filter_map(|line| line.rsplit_once(' '));
            values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum::<f64>() as u64
        };
        Account {
            sent: sum("tollgate_sink_records_total", ""),
            in_memory: sum("tollgate_sink_waiting_records", "place=\"memory\""),
            on_disk: sum("tollgate_sink_waiting_records", "place=\"disk\""),
            dropped: sum("tollgate_sink_dropped_total", ""),
            spilled_bytes: sum("tollgate_sink_spilled_bytes", ""),
        }
    }

    /// Waits until the sink knows of every call.
    pub(crate) async fn of(gateway: &Gateway, calls: u64) -> Result<Self> {
        let begun = Instant::now();
        loop {
            let reply = Caller::default().get(&format!("{}/metrics", gateway.url())).await?;
            ensure!(reply.status == 200, "/metrics answers {}", reply.status);
            let account = Self::read(&String::from_utf8_lossy(&reply.body));
            match account.records() {
                records if records == calls => return Ok(account),
                records if records > calls || begun.elapsed() > PATIENCE => {
                    bail!("{calls} calls were made, and the sink accounts for {records}: {account:?}")
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_where_a_record_can_be_is_counted_once() {
        let text = "# TYPE tollgate_sink_records_total counter\n\
                    tollgate_sink_records_total{sink=\"s\",kind=\"otlp\"} 1\n\
                    tollgate_sink_dropped_total{sink=\"s\",kind=\"otlp\",cause=\"queue\"} 2\n\
                    tollgate_sink_dropped_total{sink=\"s\",kind=\"otlp\",cause=\"spill\"} 3\n\
                    tollgate_sink_waiting_records{sink=\"s\",kind=\"otlp\",place=\"memory\"} 4\n\
                    tollgate_sink_waiting_records{sink=\"s\",kind=\"otlp\",place=\"disk\"} 5\n\
                    tollgate_sink_spilled_bytes{sink=\"s\",kind=\"otlp\"} 600\n";
        let account = Account::read(text);
        assert_eq!(account, Account { sent: 1, in_memory: 4, on_disk: 5, dropped: 5, spilled_bytes: 600 });
        assert_eq!(account.records(), 15);
    }
}
