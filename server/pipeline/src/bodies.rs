//! What remains of the prompts and answers of calls: commitments to them in any case, and they themselves, encrypted, where the team wants it.
//!
//! The key of a subject and month is fetched once, when its first call is admitted; then it is at hand. Whatever goes wrong with it, the call
//! goes on: its record says that nothing is kept.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use parking_lot::Mutex;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tollgate_bodies::{Digest, Kek, Redactor, Root, Unreadable, commitment, month_of, random_salt};
use tollgate_domain::{Error, new_id};
use tollgate_proto::v1::{
    AuditBody, BodyFormat, BodyPart, BodyPartKind, BodyPolicy, BodyState, BodySubjectKind, CallBody, Delta,
    delta::Piece,
};
use tollgate_store::{Bodies as Store, KekOwner, StoredBody, StoredKek};

use crate::{Call, Pipeline, call::Request, permit::Permit};

/// A call waits no longer than this for its subject's key.
const WAIT: Duration = Duration::from_millis(250);
/// A store that did not answer is left alone for so long.
const REST: Duration = Duration::from_secs(2);
/// A key that was destroyed at another replica is used here no longer than this.
const AT_HAND: Duration = Duration::from_secs(60);
/// So many keys are at hand, 200 bytes each.
const MOST_KEKS: u64 = 50_000;
/// What a piece of an answer takes besides its text, in bytes.
const PIECE: usize = 16;

/// What is kept, as it is configured.
#[derive(Clone, Debug)]
pub struct BodySettings {
    /// Of teams that say nothing, and of keys without a team.
    pub policy: BodyPolicy,
    /// A request, and an answer, is cut to this many bytes.
    pub max_bytes: usize,
    /// What is taken out where bodies are kept redacted.
    pub redactor: Redactor,
}

impl Default for BodySettings {
    fn default() -> Self {
        Self { policy: BodyPolicy::None, max_bytes: 256 << 10, redactor: Redactor::default() }
    }
}

/// Keys of subjects, and what is done with bodies.
pub struct Bodies {
    root: Root,
    store: Option<Arc<dyn Store>>,
    settings: BodySettings,
    keks: Cache<KekOwner, Arc<Kek>>,
    /// The store did not answer: until then it is not asked.
    rests_until: Mutex<Option<Instant>>,
}

impl Bodies {
    /// Over the store of the keys; `None`: nothing is kept, and nobody can open the commitments.
    pub fn new(root: Root, store: Option<Arc<dyn Store>>, settings: BodySettings) -> Arc<Self> {
        let keks = Cache::builder().max_capacity(MOST_KEKS).time_to_live(AT_HAND).build();
        Arc::new(Self { root, store, settings, keks, rests_until: Mutex::default() })
    }

    /// Where keys and bodies are.
    pub fn store(&self) -> Option<&Arc<dyn Store>> {
        self.store.as_ref()
    }

    /// What a subject goes by in keys, holds and records.
    pub fn pseudonym(&self, kind: BodySubjectKind, id: &str) -> String {
        let kind = match kind {
            BodySubjectKind::Key => "key",
            BodySubjectKind::User => "user",
            BodySubjectKind::EndUser => "end_user",
            BodySubjectKind::Unspecified => "",
        };
        self.root.pseudonym(kind, id)
    }

    /// A key, as the store has it.
    pub fn unwrap(&self, stored: &StoredKek) -> Result<Kek, Unreadable> {
        self.root.unwrap(&stored.id, &stored.wrapped)
    }

    /// Nothing is at hand any more: keys were destroyed.
    pub fn forget_keys(&self) {
        self.keks.invalidate_all();
    }

    /// The key of an owner, made where there is none. `None`: it cannot be had now.
    async fn kek(&self, owner: KekOwner) -> Option<Arc<Kek>> {
        if let Some(kek) = self.keks.get(&owner) {
            return Some(kek);
        }
        let store = self.store.as_ref()?;
        if self.rests_until.lock().is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let found = tokio::time::timeout(WAIT, self.fetch(store.as_ref(), &owner)).await;
        match found.map_err(|_| "it did not answer in time".to_owned()).and_then(|found| found) {
            Ok(kek) => {
                let kek = Arc::new(kek);
                self.keks.insert(owner, kek.clone());
                Some(kek)
            }
            Err(error) => {
                tracing::warn!(
                    error,
                    "the store gives out no keys for bodies now; calls go on, their bodies are not kept"
                );
                *self.rests_until.lock() = Some(Instant::now() + REST);
                None
            }
        }
    }

    async fn fetch(&self, store: &dyn Store, owner: &KekOwner) -> Result<Kek, String> {
        let stands = match store.kek_of(owner).await.map_err(|error| error.to_string())? {
            Some(stands) => stands,
            None => {
                let new = self.root.make(&new_id("kek_"));
                let wrapped = self.root.wrap(&new).map_err(|error| error.to_string())?;
                let new = StoredKek { id: new.id().to_owned(), owner: owner.clone(), wrapped };
                store.make_kek(&new).await.map_err(|error| error.to_string())?
            }
        };
        self.unwrap(&stands).map_err(|error| format!("the key {}: {error}", stands.id))
    }
}

/// Whose a call is, as far as its bodies go.
pub(crate) struct Whose {
    policy: BodyPolicy,
    kek: Option<Arc<Kek>>,
}

impl Pipeline {
    /// Whose the call is: the end user's that it names, else the key's user's, else the key's.
    pub(crate) async fn whose(&self, permit: &Permit) -> Whose {
        let key = permit.caller.key();
        let team = self.directory.team(&key.team_id).map_or(BodyPolicy::Unspecified, |team| team.audit_bodies());
        let policy = match team {
            BodyPolicy::Unspecified => self.bodies.settings.policy,
            policy => policy,
        };
        let (kind, id) = match (permit.account.customer.as_str(), key.user_id.as_str()) {
            ("", "") => (BodySubjectKind::Key, key.id.as_str()),
            ("", user) => (BodySubjectKind::User, user),
            (end_user, _) => (BodySubjectKind::EndUser, end_user),
        };
        let tenant = if key.team_id.is_empty() { &key.organization_id } else { &key.team_id };
        let subject = self.bodies.pseudonym(kind, id);
        let owner = KekOwner { tenant: tenant.clone(), subject, month: month_of(self.ledger.now_us()) };
        Whose { policy, kek: self.bodies.kek(owner).await }
    }

    /// Keys of subjects, and what is kept under them.
    pub fn bodies(&self) -> &Arc<Bodies> {
        &self.bodies
    }
}

/// The bodies of one call, while it lasts.
pub(crate) struct Passing {
    bodies: Arc<Bodies>,
    call_id: String,
    request: Request,
    request_digest: [u8; 32],
    has_files: bool,
    answer_digest: Option<Digest>,
    answer: Vec<BodyPart>,
    /// Bytes of `answer`.
    kept: usize,
    answer_cut: bool,
    whose: Option<Whose>,
}

/// What opens the commitments to request and answer.
type Salts = ([u8; 32], [u8; 32]);

/// What a record says of the bodies, and what is kept of them.
pub(crate) struct Closed {
    pub(crate) request_commitment: Vec<u8>,
    pub(crate) answer_commitment: Vec<u8>,
    pub(crate) told: AuditBody,
    pub(crate) kept: Option<StoredBody>,
}

impl Passing {
    pub(crate) fn open(bodies: &Arc<Bodies>, call: &Call) -> Self {
        let mut digest = Digest::default();
        digest.update(&call.body());
        Self {
            bodies: bodies.clone(),
            call_id: call.id.to_string(),
            request: call.request.clone(),
            request_digest: digest.finish(),
            has_files: call.files.is_some(),
            answer_digest: None,
            answer: Vec::new(),
            kept: 0,
            answer_cut: false,
            whose: None,
        }
    }

    /// It is known whose the call is.
    pub(crate) fn belongs_to(&mut self, whose: Whose) {
        self.whose = Some(whose);
    }

    /// All files have passed: the digest of the request and them.
    pub(crate) fn with_files(&mut self, digest: [u8; 32]) {
        self.request_digest = digest;
    }

    /// An answer may come.
    pub(crate) fn expects_answer(&mut self) {
        self.answer_digest = Some(Digest::default());
    }

    /// A piece of the answer passes.
    pub(crate) fn observe(&mut self, delta: &Delta, text: &str) {
        self.text(part_kind(delta.piece.as_ref()), delta.choice, text);
    }

    pub(crate) fn text(&mut self, kind: BodyPartKind, choice: u32, text: &str) {
        let Some(digest) = &mut self.answer_digest else { return };
        digest.update(text.as_bytes());
        let keeps = self.whose.as_ref().is_some_and(Whose::keeps);
        if !keeps || text.is_empty() || self.answer_cut {
            return;
        }
        let continues = self
            .answer
            .last()
            .is_some_and(|last| (last.kind, last.choice) == (kind as i32, choice) && kind != BodyPartKind::ToolCall);
        let room = self.bodies.settings.max_bytes.saturating_sub(self.kept + if continues { 0 } else { PIECE });
        let fits = &text[..text.floor_char_boundary(room)];
        self.answer_cut = fits.len() < text.len();
        match self.answer.last_mut().filter(|_| continues) {
            Some(last) => last.text.push_str(fits),
            None if fits.is_empty() => {}
            None => {
                self.kept += PIECE;
                self.answer.push(BodyPart { kind: kind as i32, choice, text: fits.to_owned() });
            }
        }
        self.kept += fits.len();
    }

    /// Sound or an image passes: it is committed to, and not kept.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if let Some(digest) = &mut self.answer_digest {
            digest.update(bytes);
            self.answer_cut = true;
        }
    }

    /// What the record says, and what is kept.
    pub(crate) fn close(mut self) -> Closed {
        let whose = self.whose.take().unwrap_or(Whose { policy: BodyPolicy::Unspecified, kek: None });
        let mut told = AuditBody { policy: whose.policy as i32, ..AuditBody::default() };
        let Some(kek) = &whose.kek else {
            told.state = BodyState::Unavailable as i32;
            return self.committed(told, &random_salt(), &random_salt(), None);
        };
        kek.id().clone_into(&mut told.kek_id);
        if whose.keeps()
            && let Some((salts, kept)) = self.sealed(&whose, kek)
        {
            told.state = BodyState::Kept as i32;
            told.sealed_hash = Sha256::digest(&kept.sealed).to_vec().into();
            return self.committed(told, &salts.0, &salts.1, Some(kept));
        }
        told.state = BodyState::NotKept as i32;
        let salts = (kek.salt(&self.call_id, "request"), kek.salt(&self.call_id, "answer"));
        self.committed(told, &salts.0, &salts.1, None)
    }

    fn committed(self, told: AuditBody, request: &[u8; 32], answer: &[u8; 32], kept: Option<StoredBody>) -> Closed {
        let answer = self.answer_digest.map(|digest| commitment(answer, &digest.finish()).to_vec());
        Closed {
            request_commitment: commitment(request, &self.request_digest).to_vec(),
            answer_commitment: answer.unwrap_or_default(),
            told,
            kept,
        }
    }

    /// The bodies encrypted, with the salts that are in it.
    fn sealed(&mut self, whose: &Whose, kek: &Kek) -> Option<(Salts, StoredBody)> {
        let salts = (random_salt(), random_salt());
        let mut body = CallBody {
            answer: std::mem::take(&mut self.answer),
            answer_cut: self.answer_cut,
            request_salt: salts.0.to_vec().into(),
            answer_salt: self.answer_digest.as_ref().map(|_| salts.1.to_vec()).unwrap_or_default().into(),
            ..CallBody::default()
        };
        self.put_request(whose.policy, &mut body);
        if whose.policy == BodyPolicy::Redacted {
            for part in &mut body.answer {
                part.text = self.bodies.settings.redactor.text(&part.text).into_owned();
            }
        }
        let sealed = kek.seal(&self.call_id, &body.encode_to_vec());
        let sealed =
            sealed.inspect_err(|error| tracing::warn!(%error, call = self.call_id, "a body is not kept")).ok()?;
        let (call_id, kek_id) = (self.call_id.clone(), kek.id().to_owned());
        Some((salts, StoredBody { call_id, kek_id, sealed, ..StoredBody::default() }))
    }

    fn put_request(&self, policy: BodyPolicy, body: &mut CallBody) {
        let (message, request) = (self.request.message(), self.request.body());
        let is_message = self.request.is_message();
        if is_message {
            message.clone_into(&mut body.request_message);
        }
        let mut kept = match (policy, is_message) {
            (BodyPolicy::Redacted, true) => match as_json(message, &request) {
                Some(json) => self.bodies.settings.redactor.body(&json),
                None => Vec::new(), // it was decoded from these bytes, or would be
            },
            (BodyPolicy::Redacted, false) => self.bodies.settings.redactor.body(&request),
            _ => request.to_vec(),
        };
        body.request_format = match (policy, is_message) {
            (BodyPolicy::Redacted, _) => BodyFormat::Redacted,
            (_, true) => BodyFormat::Protobuf,
            (_, false) => BodyFormat::Original,
        } as i32;
        body.request_cut = self.has_files || kept.len() > self.bodies.settings.max_bytes;
        kept.truncate(self.bodies.settings.max_bytes);
        body.request = kept.into();
    }
}

impl Whose {
    fn keeps(&self) -> bool {
        self.kek.is_some() && matches!(self.policy, BodyPolicy::Redacted | BodyPolicy::Full)
    }
}

fn part_kind(piece: Option<&Piece>) -> BodyPartKind {
    match piece {
        Some(Piece::Text(_)) => BodyPartKind::Text,
        Some(Piece::Reasoning(_)) => BodyPartKind::Reasoning,
        Some(Piece::Refusal(_)) => BodyPartKind::Refusal,
        Some(Piece::ToolCallStart(_)) => BodyPartKind::ToolCall,
        Some(Piece::ToolArguments(_)) => BodyPartKind::ToolArguments,
        _ => BodyPartKind::Other,
    }
}

/// A message of the contract in its JSON form.
fn as_json(message: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    static POOL: std::sync::LazyLock<Option<DescriptorPool>> =
        std::sync::LazyLock::new(|| DescriptorPool::decode(tollgate_proto::FILE_DESCRIPTOR_SET).ok());
    let descriptor = POOL.as_ref()?.get_message_by_name(message)?;
    let message = DynamicMessage::decode(descriptor, bytes).ok()?;
    serde_json::to_vec(&message).ok()
}

/// The error of what cannot be read though it is kept.
pub fn damaged(call_id: &str, what: impl std::fmt::Display) -> Error {
    Error::internal(format!("the bodies of the call {call_id} cannot be read: {what}"))
}
