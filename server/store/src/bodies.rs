//! Keys of subjects, the bodies that are encrypted under them, and legal holds on both.

use async_trait::async_trait;
use prost::Message;

use crate::{Lead, Result};

/// The key of one subject and month, encrypted: never in a journal, never in an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKek {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: KekOwner,
    /// The key, encrypted under the gateway's root.
    pub wrapped: Vec<u8>,
}

/// Whose a key is. Each has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KekOwner {
    /// The team, else the organization; empty: neither.
    pub tenant: String,
    /// Pseudonym of the subject.
    pub subject: String,
    /// The month, `year * 12 + month - 1`.
    pub month: i64,
}

/// The bodies of a call, encrypted, as they are journalled and kept.
#[derive(Clone, PartialEq, Message)]
pub struct StoredBody {
    /// The replica whose record it belongs to.
    #[prost(string, tag = "1")]
    pub replica: String,
    /// The position of that record.
    #[prost(int64, tag = "2")]
    pub sequence: i64,
    /// The call.
    #[prost(string, tag = "3")]
    pub call_id: String,
    /// The key that the data key is encrypted under.
    #[prost(string, tag = "4")]
    pub kek_id: String,
    /// The data key and the bodies, both encrypted; empty: erased.
    #[prost(bytes = "vec", tag = "5")]
    pub sealed: Vec<u8>,
}

/// On what a hold is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldOn {
    /// A subject.
    Subject {
        /// Its pseudonym.
        subject: String,
        /// Only there; empty: everywhere.
        tenant: String,
    },
    /// A tenant.
    Tenant(String),
    /// A call.
    Call {
        /// Its id.
        call_id: String,
        /// The key that its bodies hang on; empty: none is known.
        kek_id: String,
    },
}

impl HeldOn {
    /// As columns: kind, value, tenant, key.
    pub fn columns(&self) -> (&'static str, &str, &str, &str) {
        match self {
            Self::Subject { subject, tenant } => ("subject", subject, tenant, ""),
            Self::Tenant(tenant) => ("tenant", tenant, "", ""),
            Self::Call { call_id, kek_id } => ("call", call_id, "", kek_id),
        }
    }
}

/// A legal hold as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredHold {
    /// On what.
    pub on: HeldOn,
    /// What the contract shows, with its id; one with a `release_time` holds nothing any more.
    pub hold: tollgate_proto::v1::LegalHold,
}

/// What is erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doomed {
    /// The bodies of a call.
    Call(String),
    /// All keys of a subject; a hold on any of them keeps all.
    Subject {
        /// Its pseudonym.
        subject: String,
        /// Only there; empty: everywhere.
        tenant: String,
    },
    /// Keys of months before this one, but those that are held; at most [`NAMED_AT_ONCE`] of them, the oldest first.
    Before(i64),
}

/// So many keys one audit record has room to name; and so many go at once because their time is over.
pub const NAMED_AT_ONCE: usize = 500;

/// What an erasure will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Keys that go.
    pub kek_ids: Vec<String>,
    /// How many bodies go.
    pub bodies: u64,
    /// The hold that forbids it; then nothing goes.
    pub held_by: Option<String>,
}

/// An erasure as it is journalled together with its record, and applied with it.
#[derive(Clone, PartialEq, Message)]
pub struct Erasure {
    /// Keys that are destroyed, and with them all bodies under them.
    #[prost(string, repeated, tag = "1")]
    pub kek_ids: Vec<String>,
    /// The call whose bodies are erased; empty: none.
    #[prost(string, tag = "2")]
    pub call_id: String,
}

/// Puts an erasure that was decided on into the journal, or not.
pub type Decided<'a> = &'a (dyn Fn(&Erased) + Send + Sync);

/// Keeps what can be erased. What is erased stays so, whatever a journal brings again.
#[async_trait]
pub trait Bodies: Send + Sync {
    /// The key of an owner.
    async fn kek_of(&self, owner: &KekOwner) -> Result<Option<StoredKek>>;

    /// The key of `new`'s owner: the one that stands, else `new`, which stands from then on whatever happens to the machine.
    async fn make_kek(&self, new: &StoredKek) -> Result<StoredKek>;

    /// A key; `None`: it was destroyed.
    async fn kek(&self, id: &str) -> Result<Option<StoredKek>>;

    /// The bodies of a call; with nothing sealed: they were erased.
    async fn body(&self, call_id: &str) -> Result<Option<StoredBody>>;

    /// Says what is to be erased, and erases nothing: the batch with the [`Erasure`] and its record does. Unless a hold forbids it, `decided`
    /// journals both before a hold can be made, so that a hold is before an erasure or behind it.
    async fn decide_erasure(&self, doomed: &Doomed, decided: Decided<'_>) -> Result<Erased>;

    /// Takes the lock of whoever destroys keys whose time is over; `None`: another replica has it. Held until that is done, so that no two
    /// records tell of one key. It is given back when the guard is dropped, or this process ends.
    async fn lead_expiry(&self) -> Result<Option<Lead>>;

    /// Keeps a hold, new or changed.
    async fn put_hold(&self, hold: &StoredHold) -> Result<()>;

    /// A hold.
    async fn hold(&self, id: &str) -> Result<Option<StoredHold>>;

    /// Holds after an id, oldest first, at most `limit`.
    async fn holds(&self, with_released: bool, after: &str, limit: i64) -> Result<Vec<StoredHold>>;
}

/// A hold out of its columns; `None`: of a later version.
pub fn held_on(kind: &str, value: String, tenant: String, kek_id: String) -> Option<HeldOn> {
    Some(match kind {
        "subject" => HeldOn::Subject { subject: value, tenant },
        "tenant" => HeldOn::Tenant(value),
        "call" => HeldOn::Call { call_id: value, kek_id },
        _ => return None,
    })
}
