//! Which records a sink takes, and what of them it shows.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use tollgate_proto::v1::AuditRecord;

use crate::Event;

/// Which records.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only actions that begin with one of these; empty: all calls.
    pub actions: Vec<String>,
    /// Only of these teams, by id; empty: all.
    pub teams: Vec<String>,
    /// Only for these model aliases; empty: all.
    pub models: Vec<String>,
    /// Only what failed.
    pub only_failures: bool,
    /// Acts of admins too, which have no call id.
    pub admin_acts: bool,
}

impl Filter {
    /// Whether the sink takes this event.
    pub(crate) fn takes(&self, event: &Event) -> bool {
        let record = event.record();
        let among = |wanted: &[String], is: &str| wanted.is_empty() || wanted.iter().any(|w| w == is);
        (self.admin_acts || !record.call_id.is_empty())
            && (self.actions.is_empty() || self.actions.iter().any(|prefix| record.action.starts_with(prefix)))
            && among(&self.teams, &event.team_id)
            && among(&self.models, &record.model)
            && (!self.only_failures || event.error().is_some())
    }
}

/// Which part of the calls: the same calls at every sink and replica.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Of a million calls, so many are taken.
    pub per_million: u32,
    /// Failures are taken whatever the part.
    pub all_failures: bool,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { per_million: 1_000_000, all_failures: false }
    }
}

impl Sampling {
    /// Whether the sink takes this event.
    pub(crate) fn takes(&self, event: &Event) -> bool {
        if self.per_million >= 1_000_000 || (self.all_failures && event.error().is_some()) {
            return true;
        }
        let hash = Sha256::digest(event.trace_id().as_bytes());
        let drawn = hash.iter().take(8).fold(0_u64, |drawn, byte| drawn << 8 | u64::from(*byte));
        drawn % 1_000_000 < u64::from(self.per_million)
    }
}

/// A part of an event that can be redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `peer`: the caller's address.
    Peer,
    /// `tags`: of the call and its key, also where routing tells of them.
    Tags,
    /// `metadata`: all of it.
    Metadata,
    /// `metadata.KEY`: one entry.
    MetadataKey(String),
    /// `key`: id and name of the key.
    Key,
    /// `user`: the user's id.
    User,
    /// `team`: the team's id.
    Team,
    /// `organization`: the organization's id.
    Organization,
    /// `subject`: what an admin acted on.
    Subject,
    /// `changes`: what an admin changed.
    Changes,
    /// `native`: the provider's usage as it came, its error codes and request ids.
    Native,
}

impl std::str::FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "peer" => Self::Peer,
            "tags" => Self::Tags,
            "metadata" => Self::Metadata,
            "key" => Self::Key,
            "user" => Self::User,
            "team" => Self::Team,
            "organization" => Self::Organization,
            "subject" => Self::Subject,
            "changes" => Self::Changes,
            "native" => Self::Native,
            _ => match text.strip_prefix("metadata.") {
                Some(key) if !key.is_empty() => Self::MetadataKey(key.into()),
                _ => {
                    return Err(format!(
                        "{text:?} cannot be redacted; known are peer, tags, metadata, metadata.KEY, key, user, team, organization, \
                         subject, changes, native"
                    ));
                }
            },
        })
    }
}

/// What is done to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is left out.
    Drop,
    /// Each value is replaced by 16 hex digits that are the same for the same value, at all sinks of a gateway.
    Hash,
}

/// What is left out or hashed. It happens before anything is written to disk.
#[derive(Clone, Debug, Default)]
pub struct Redaction(pub Vec<(Field, Act)>);

impl Redaction {
    /// Redacts the event.
    pub(crate) fn apply(&self, event: &mut Event, key: &[u8]) {
        for (field, act) in &self.0 {
            let cover = |value: &mut String| match act {
                Act::Drop => value.clear(),
                Act::Hash if value.is_empty() => {}
                Act::Hash => *value = pseudonym(key, value),
            };
            redact(event, field, *act, cover);
        }
    }
}

fn redact(event: &mut Event, field: &Field, act: Act, cover: impl Fn(&mut String)) {
    match field {
        Field::Key => [&mut event.key_name].into_iter().for_each(&cover),
        Field::User => cover(&mut event.user_id),
        Field::Team => cover(&mut event.team_id),
        Field::Organization => cover(&mut event.organization_id),
        _ => {}
    }
    let Some(record) = &mut event.record else { return };
    match field {
        Field::Peer => cover(&mut record.peer),
        Field::Key => cover(&mut record.key_id),
        Field::Subject => cover(&mut record.subject),
        Field::Tags => {
            of_list(&mut record.tags, act, &cover);
            if let Some(needs) = record.routing.as_mut().and_then(|routing| routing.needs.as_mut()) {
                of_list(&mut needs.tags, act, &cover);
            }
        }
        Field::Changes => of_list(&mut record.changes, act, &cover),
        Field::Metadata if act == Act::Drop => record.metadata.clear(),
        Field::Metadata => record.metadata.values_mut().for_each(cover),
        Field::MetadataKey(name) if act == Act::Drop => drop(record.metadata.remove(name)),
        Field::MetadataKey(name) => record.metadata.get_mut(name).into_iter().for_each(cover),
        Field::Native => redact_native(record, cover),
        Field::User | Field::Team | Field::Organization => {}
    }
}

fn of_list(list: &mut Vec<String>, act: Act, cover: &impl Fn(&mut String)) {
    match act {
        Act::Drop => list.clear(),
        Act::Hash => list.iter_mut().for_each(cover),
    }
}

fn redact_native(record: &mut AuditRecord, cover: impl Fn(&mut String)) {
    if let Some(usage) = &mut record.usage {
        usage.native_json = None;
    }
    for attempt in record.routing.iter_mut().flat_map(|routing| &mut routing.attempts) {
        if let Some(usage) = &mut attempt.usage {
            usage.native_json = None;
        }
        cover(&mut attempt.native_code);
        cover(&mut attempt.upstream_request_id);
    }
}

fn pseudonym(key: &[u8], value: &str) -> String {
    // HMAC takes keys of any length.
    #[allow(clippy::expect_used)]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    mac.update(b"sink pseudonym");
    mac.update(value.as_bytes());
    mac.finalize().into_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The fields of a redaction by what is done to them: both lists of the settings.
impl Redaction {
    /// Reads the names of fields; the error names the one that is not known.
    pub fn read(drop: &[String], hash: &[String]) -> Result<Self, String> {
        let mut acts: BTreeMap<String, (Field, Act)> = BTreeMap::new();
        for (names, act) in [(hash, Act::Hash), (drop, Act::Drop)] {
            for name in names {
                acts.insert(name.clone(), (name.parse()?, act));
            }
        }
        Ok(Self(acts.into_values().collect()))
    }
}

#[cfg(test)]
mod tests {
    use tollgate_proto::v1::{ErrorReason, RouteNeeds, Routing};

    use super::*;

    fn event(call: &str) -> Event {
        let record = AuditRecord {
            call_id: call.into(),
            action: "completion.create".into(),
            model: "fast".into(),
            peer: "10.0.0.1:4242".into(),
            tags: vec!["batch".into()],
            metadata: [("email".to_owned(), "ann@example.org".to_owned()), ("run".to_owned(), "7".to_owned())].into(),
            routing: Some(Routing {
                needs: Some(RouteNeeds { tags: vec!["batch".into()], ..RouteNeeds::default() }),
                ..Routing::default()
            }),
            ..AuditRecord::default()
        };
        Event { id: format!("r-{call}"), record: Some(record), team_id: "team_1".into(), ..Event::default() }
    }

    #[test]
    fn a_filter_takes_what_meets_all_of_it() {
        let filter = Filter { actions: vec!["completion.".into()], teams: vec!["team_1".into()], ..Filter::default() };
        assert!(filter.takes(&event("c1")));
        assert!(!Filter { teams: vec!["team_2".into()], ..filter.clone() }.takes(&event("c1")));
        assert!(!Filter { models: vec!["slow".into()], ..filter.clone() }.takes(&event("c1")));
        assert!(!Filter { actions: vec!["embedding.".into()], ..filter.clone() }.takes(&event("c1")));
        assert!(!Filter { only_failures: true, ..filter }.takes(&event("c1")));
    }

    #[test]
    fn acts_of_admins_are_taken_only_where_they_are_asked_for() {
        assert!(!Filter::default().takes(&event("")));
        assert!(Filter { admin_acts: true, ..Filter::default() }.takes(&event("")));
    }

    #[test]
    fn a_sample_is_the_same_calls_every_time_and_about_its_share() {
        let tenth = Sampling { per_million: 100_000, all_failures: true };
        let taken: Vec<_> = (0..10_000).map(|n| tenth.takes(&event(&format!("call_{n}")))).collect();
        let again: Vec<_> = (0..10_000).map(|n| tenth.takes(&event(&format!("call_{n}")))).collect();
        assert_eq!(taken, again);
        let share = taken.iter().filter(|taken| **taken).count();
        assert!((850..1_150).contains(&share), "{share} of 10,000");
        let mut failed = (0..100).map(|n| {
            let mut event = event(&format!("call_{n}"));
            event.record.as_mut().unwrap().error_reason = ErrorReason::Internal as i32;
            event
        });
        assert!(failed.all(|event| tenth.takes(&event)));
    }

    #[test]
    fn what_is_redacted_is_nowhere_in_the_event() {
        let redaction = Redaction::read(
            &["tags".into(), "metadata.email".into()],
            &["peer".into(), "metadata".into(), "team".into()],
        );
        let mut redacted = event("c1");
        redaction.unwrap().apply(&mut redacted, b"key");
        let told = format!("{redacted:?}");
        for secret in ["batch", "ann@example.org", "10.0.0.1", "team_1", "email"] {
            assert!(!told.contains(secret), "{secret} in {told}");
        }
        assert_eq!(redacted.team_id.len(), 16);
        let mut again = event("c1");
        Redaction(vec![(Field::Team, Act::Hash)]).apply(&mut again, b"key");
        assert_eq!(again.team_id, redacted.team_id);
    }

    #[test]
    fn a_field_that_cannot_be_redacted_is_named() {
        assert!(Redaction::read(&["prompt".into()], &[]).unwrap_err().contains("\"prompt\" cannot be redacted"));
    }
}
