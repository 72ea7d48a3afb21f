use std::fmt;

use uuid::Uuid;

/// A new id: `prefix` and a UUIDv7, so that ids of one kind sort by the time they were made.
pub fn new_id(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::now_v7())
}

/// One call, from its acceptance to its audit record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(Uuid);

impl CallId {
    /// A new id.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of a simulated call: the same for the same numbers (a UUIDv8).
    pub fn numbered(run: u64, number: u64) -> Self {
        let bytes = ((u128::from(run) << 64) | u128::from(number)).to_be_bytes();
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The id that `text` spells.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::parse_str(text).ok().map(Self)
    }

    /// The id of attempt `number`, from 1.
    pub fn attempt(self, number: u32) -> AttemptId {
        AttemptId { call: self, number }
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One try of one call: the ledger's key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AttemptId {
    /// The call.
    pub call: CallId,
    /// Which try, from 1.
    pub number: u32,
}

impl AttemptId {
    /// The id that `text` spells: a call id, a dash, a number.
    pub fn parse(text: &str) -> Option<Self> {
        let (call, number) = text.rsplit_once('-')?;
        Some(Self { call: CallId::parse(call)?, number: number.parse().ok()? })
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.call, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_id_reads_back_as_itself() {
        let id = CallId::new().attempt(3);
        assert_eq!(AttemptId::parse(&id.to_string()), Some(id));
        assert_eq!(AttemptId::parse("nonsense-1"), None);
    }
}
