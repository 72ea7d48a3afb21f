//! What admins make, as it is kept: one table for all of it, because all of it lives in memory and is only put and loaded.

use prost::{Message, Oneof};
use tollgate_proto::v1::{Adjustment, Budget, Key, Organization, RuntimeModel, Team, User};

/// A virtual key as it is kept: never its secret, only keyed digests.
#[derive(Clone, PartialEq, Message)]
pub struct StoredKey {
    #[prost(message, optional, tag = "1")]
    key: Option<Key>,
    /// HMAC-SHA-256 of the secret.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
    /// Digest of the secret before the last rotation, while it still works.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub old_digest: Option<Vec<u8>>,
    /// Until when it works, microseconds since the epoch.
    #[prost(int64, tag = "4")]
    pub old_until_us: i64,
    /// Of a key that another gateway issued: HMAC-SHA-256 of the hash which that gateway kept. It stands for the secret until that is first
    /// used, while `digest` is empty; or beside a new `digest` until `old_until_us`.
    #[prost(bytes = "vec", optional, tag = "5")]
    pub imported_digest: Option<Vec<u8>>,
    /// Of a key that came with it: the same of the secret that it had before a rotation there, which works until `old_until_us`.
    #[prost(bytes = "vec", optional, tag = "6")]
    pub old_imported_digest: Option<Vec<u8>>,
}

impl StoredKey {
    /// A key and the digest of its secret.
    pub fn new(key: Key, digest: Vec<u8>) -> Self {
        Self {
            key: Some(key),
            digest,
            old_digest: None,
            old_until_us: 0,
            imported_digest: None,
            old_imported_digest: None,
        }
    }

    /// A key of which only the hash that another gateway kept is known, by the digest of that.
    pub fn imported(key: Key, imported_digest: Vec<u8>) -> Self {
        Self { imported_digest: Some(imported_digest), ..Self::new(key, Vec::new()) }
    }

    /// What the contract shows.
    pub fn key(&self) -> &Key {
        static NONE: std::sync::LazyLock<Key> = std::sync::LazyLock::new(Key::default);
        self.key.as_ref().unwrap_or(&NONE)
    }

    /// The same, to change it.
    pub fn key_mut(&mut self) -> &mut Key {
        self.key.get_or_insert_default()
    }
}

/// A deployment as it is kept: its credential is encrypted, and no field of the contract holds it.
#[derive(Clone, PartialEq, Message)]
pub struct StoredModel {
    #[prost(message, optional, tag = "1")]
    model: Option<RuntimeModel>,
    /// The credential, encrypted; empty: it has none.
    #[prost(bytes = "vec", tag = "2")]
    pub sealed_key: Vec<u8>,
}

impl StoredModel {
    /// A deployment and its encrypted credential. A credential in clear is dropped.
    pub fn new(model: RuntimeModel, sealed_key: Vec<u8>) -> Self {
        Self { model: Some(RuntimeModel { api_key: String::new(), ..model }), sealed_key }
    }

    /// What the contract shows.
    pub fn model(&self) -> &RuntimeModel {
        static NONE: std::sync::LazyLock<RuntimeModel> = std::sync::LazyLock::new(RuntimeModel::default);
        self.model.as_ref().unwrap_or(&NONE)
    }
}

/// One of the things that admins make.
#[derive(Clone, PartialEq, Oneof)]
pub enum Thing {
    /// A virtual key.
    #[prost(message, tag = "1")]
    Key(StoredKey),
    /// An organization.
    #[prost(message, tag = "2")]
    Organization(Organization),
    /// A team.
    #[prost(message, tag = "3")]
    Team(Team),
    /// A user.
    #[prost(message, tag = "4")]
    User(User),
    /// A budget. What was spent of it is no part of it: entries move that.
    #[prost(message, tag = "5")]
    Budget(Budget),
    /// A correction of the ledger.
    #[prost(message, tag = "6")]
    Adjustment(Adjustment),
    /// A deployment beside those of the configuration.
    #[prost(message, tag = "9")]
    Model(StoredModel),
}

/// A thing, who asked for it, and whether it is gone.
#[derive(Clone, PartialEq, Message)]
pub struct Object {
    #[prost(oneof = "Thing", tags = "1, 2, 3, 4, 5, 6, 9")]
    thing: Option<Thing>,
    /// `request_id` of the call that made it, or empty.
    #[prost(string, tag = "10")]
    pub request_id: String,
    /// It was deleted: kept, so that every replica learns of it.
    #[prost(bool, tag = "11")]
    pub deleted: bool,
}

impl Object {
    /// A thing that exists.
    pub fn new(thing: Thing) -> Self {
        Self { thing: Some(thing), request_id: String::new(), deleted: false }
    }

    /// Names the call that made it.
    #[must_use]
    pub fn made_by(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = request_id.into();
        self
    }

    /// The same, gone.
    #[must_use]
    pub fn deleted(mut self) -> Self {
        self.deleted = true;
        self
    }

    /// What it is; `None` for a kind that only a later version knows.
    pub fn thing(&self) -> Option<&Thing> {
        self.thing.as_ref()
    }

    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match &self.thing {
            Some(Thing::Key(_)) => "key",
            Some(Thing::Organization(_)) => "organization",
            Some(Thing::Team(_)) => "team",
            Some(Thing::User(_)) => "user",
            Some(Thing::Budget(_)) => "budget",
            Some(Thing::Adjustment(_)) => "adjustment",
            Some(Thing::Model(_)) => "model",
            None => "unknown",
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        match &self.thing {
            Some(Thing::Key(t)) => &t.key().id,
            Some(Thing::Organization(t)) => &t.id,
            Some(Thing::Team(t)) => &t.id,
            Some(Thing::User(t)) => &t.id,
            Some(Thing::Budget(t)) => &t.id,
            Some(Thing::Adjustment(t)) => &t.id,
            Some(Thing::Model(t)) => &t.model().id,
            None => "",
        }
    }
}

impl From<StoredKey> for Object {
    fn from(key: StoredKey) -> Self {
        Self::new(Thing::Key(key))
    }
}

impl From<Budget> for Object {
    fn from(budget: Budget) -> Self {
        Self::new(Thing::Budget(budget))
    }
}
