use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::Deserialize;
use tollgate_bodies::{Pattern, Redactor};
use tollgate_pipeline::BodySettings;
use tollgate_proto::v1::BodyPolicy;

use super::{AuditExport, SecretRef, Span};

/// A journal note has room for a request and an answer of this size, in bytes.
const MOST_BODY_BYTES: u64 = 1 << 20;

/// Who signs the audit log (`docs/audit-log.md`), and what is kept beside it (`docs/audit-bodies.md`). In force from the next start on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSettings {
    /// The name of the deployment: what logs and keys are named by, the same at all of its replicas and for good. No space, no `+`.
    pub name: String,
    /// The key that signs: `env:NAME` or `file:PATH` with the private key of a signed note (Ed25519), or a seed of 64 hexadecimal digits.
    /// Absent: made once and kept in `data_dir/audit.ed25519`, or with `store` derived from `store.secret`.
    pub signing_key: Option<SecretRef>,
    /// The key that signed before, in the same form: the log hands over from it to `signing_key`. Needed until the first start with the new
    /// key has signed; where the key before was not set but made, `tollgate` kept it in `data_dir/audit.ed25519`.
    pub previous_key: Option<SecretRef>,
    /// What is kept of the prompts and answers of calls, encrypted: of teams that say nothing, and of keys without a team.
    pub bodies: KeptBodies,
    /// What is taken out where bodies are kept `redacted`, by its shape.
    pub redact: Vec<RedactPattern>,
    /// Regular expressions of your own for the same; what they find becomes `[redacted]`.
    pub redact_patterns: Vec<String>,
    /// A request, and an answer, is cut to this many bytes where it is kept; at most 1048576.
    pub max_body_bytes: u64,
    /// For how long bodies are kept after the end of their month; then the keys of the month are destroyed, but those under legal hold.
    /// Absent: until somebody erases them.
    pub body_retention: Option<Span>,
    /// What records say of the address that was asked from; it stands in them for good.
    pub peer: KeptPeer,
    /// Where a copy of the log is kept, and how (`docs/audit-export.md`). Absent: nowhere.
    pub export: Option<AuditExport>,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            name: "tollgate".into(),
            signing_key: None,
            previous_key: None,
            bodies: KeptBodies::None,
            redact: vec![RedactPattern::Secret, RedactPattern::Email, RedactPattern::Card, RedactPattern::Phone],
            redact_patterns: Vec::new(),
            max_body_bytes: 256 << 10,
            body_retention: None,
            peer: KeptPeer::Address,
            export: None,
        }
    }
}

/// What is kept of prompts and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeptBodies {
    /// Nothing: only commitments stand in the log.
    #[default]
    None,
    /// The bodies, without what the patterns find in them.
    Redacted,
    /// The bodies.
    Full,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedactPattern {
    /// Keys and tokens.
    Secret,
    /// E-mail addresses.
    Email,
    /// Numbers of payment cards whose check digit holds.
    Card,
    /// Telephone numbers.
    Phone,
}

/// What is told of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeptPeer {
    /// The address and the port.
    #[default]
    Address,
    /// The network that it is in: 24 bits of an IPv4 address, 48 of an IPv6 one, no port.
    Prefix,
    /// Nothing.
    None,
}

impl KeptPeer {
    pub(crate) fn told(self, peer: SocketAddr) -> Option<String> {
        match (self, peer.ip().to_canonical()) {
            (Self::None, _) => None,
            (Self::Address, _) => Some(peer.to_string()),
            (Self::Prefix, IpAddr::V4(ip)) => {
                let [a, b, c, _] = ip.octets();
                Some(format!("{a}.{b}.{c}.0/24"))
            }
            (Self::Prefix, IpAddr::V6(ip)) => {
                let [a, b, c, ..] = ip.segments();
                Some(format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)))
            }
        }
    }
}

impl AuditSettings {
    /// As the stages want it.
    pub(crate) fn bodies(&self) -> anyhow::Result<BodySettings> {
        ensure!(
            (1..=MOST_BODY_BYTES).contains(&self.max_body_bytes),
            "audit.max_body_bytes: must be 1 to {MOST_BODY_BYTES}"
        );
        let patterns: Vec<_> = self
            .redact
            .iter()
            .map(|pattern| match pattern {
                RedactPattern::Secret => Pattern::Secret,
                RedactPattern::Email => Pattern::Email,
                RedactPattern::Card => Pattern::Card,
                RedactPattern::Phone => Pattern::Phone,
            })
            .collect();
        Ok(BodySettings {
            policy: match self.bodies {
                KeptBodies::None => BodyPolicy::None,
                KeptBodies::Redacted => BodyPolicy::Redacted,
                KeptBodies::Full => BodyPolicy::Full,
            },
            max_bytes: usize::try_from(self.max_body_bytes).context("audit.max_body_bytes")?,
            redactor: Redactor::new(&patterns, &self.redact_patterns).context("audit.redact_patterns")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_as_much_is_told_as_is_wanted() {
        for (peer, address, prefix) in [
            ("192.0.2.77:4242", "192.0.2.77:4242", "192.0.2.0/24"),
            ("[2001:db8:7:8::9]:4242", "[2001:db8:7:8::9]:4242", "2001:db8:7::/48"),
            // What came over IPv4 to a socket for both.
            ("[::ffff:192.0.2.77]:4242", "[::ffff:192.0.2.77]:4242", "192.0.2.0/24"),
        ] {
            let peer: SocketAddr = peer.parse().unwrap();
            assert_eq!(KeptPeer::Address.told(peer).as_deref(), Some(address));
            assert_eq!(KeptPeer::Prefix.told(peer).as_deref(), Some(prefix));
            assert_eq!(KeptPeer::None.told(peer), None);
        }
    }
}
