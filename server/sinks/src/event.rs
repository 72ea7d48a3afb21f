use tollgate_domain::micros;
use tollgate_proto::v1::{Attempt, AuditRecord, ErrorReason};

/// Who a key belongs to, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The key's name for people.
    pub key_name: String,
    /// Its organization's id, or empty.
    pub organization_id: String,
    /// Its team's id, or empty.
    pub team_id: String,
    /// Its user's id, or empty.
    pub user_id: String,
}

/// What a sink sends: a record, and whose it is. Also how it lies on disk.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// The replica, a dash and the record's position in its log: the same however often it is sent.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The record, without what is redacted.
    #[prost(message, optional, tag = "2")]
    pub record: Option<AuditRecord>,
    /// The replica that served it.
    #[prost(string, tag = "3")]
    pub replica: String,
    /// Name of the key.
    #[prost(string, tag = "4")]
    pub key_name: String,
    /// Organization.
    #[prost(string, tag = "5")]
    pub organization_id: String,
    /// Team.
    #[prost(string, tag = "6")]
    pub team_id: String,
    /// User.
    #[prost(string, tag = "7")]
    pub user_id: String,
}

impl Event {
    /// The event of a record.
    pub fn of(record: &AuditRecord, replica: &str, owner: Owner) -> Self {
        Self {
            id: format!("{replica}-{}", record.sequence),
            record: Some(record.clone()),
            replica: replica.to_owned(),
            key_name: owner.key_name,
            organization_id: owner.organization_id,
            team_id: owner.team_id,
            user_id: owner.user_id,
        }
    }

    /// The record; of an event without one, an empty one.
    pub(crate) fn record(&self) -> &AuditRecord {
        static NONE: std::sync::LazyLock<AuditRecord> = std::sync::LazyLock::new(AuditRecord::default);
        self.record.as_ref().unwrap_or(&NONE)
    }

    /// When the record was closed, microseconds since the epoch.
    pub(crate) fn end_us(&self) -> i64 {
        self.record().time.as_ref().map_or(0, micros)
    }

    /// When the call began.
    pub(crate) fn start_us(&self) -> i64 {
        self.end_us().saturating_sub(self.record().duration_us.max(0))
    }

    /// What traces and sessions of a receiver go by: the call's id, or the event's where there is none.
    pub(crate) fn trace_id(&self) -> &str {
        match self.record().call_id.as_str() {
            "" => &self.id,
            id => id,
        }
    }

    /// Why it failed: the contract's reason; `None`: it did not.
    pub(crate) fn error(&self) -> Option<&'static str> {
        let reason = self.record().error_reason();
        (reason != ErrorReason::Unspecified).then(|| reason.as_str_name().trim_start_matches("ERROR_REASON_"))
    }

    /// The attempt that served it, else the last.
    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        self.record().routing.as_ref()?.attempts.last()
    }

    /// Its cost in dollars, exactly, as a decimal.
    pub(crate) fn cost_usd(&self) -> Option<String> {
        self.record().usage.as_ref().map(|usage| usd(usage.cost_nano_usd))
    }
}

/// Nano-dollars as a decimal of dollars, without an exponent.
pub(crate) fn usd(nano: i64) -> String {
    let (sign, whole) = (if nano < 0 { "-" } else { "" }, nano.unsigned_abs());
    format!("{sign}{}.{:09}", whole / 1_000_000_000, whole % 1_000_000_000)
}

/// RFC 3339 with microseconds, UTC.
pub(crate) fn rfc3339(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map_or_else(|_| String::new(), |time| format!("{time:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_written_exactly() {
        assert_eq!(usd(1), "0.000000001");
        assert_eq!(usd(-1_500_000_000), "-1.500000000");
        assert_eq!(usd(i64::MIN), "-9223372036.854775808");
    }

    #[test]
    fn times_are_of_the_record() {
        assert_eq!(rfc3339(1_700_000_000_000_001), "2023-11-14T22:13:20.000001Z");
    }
}
