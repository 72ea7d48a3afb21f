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
    AuditBody, BodyFormat, BodyPart, BodyPartKind, BodyPolicy, BodyState, BodySubjectKind, CallBody, Delta, Key,
    delta::Piece as Delivered,
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

/// What of a call it is that is committed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// What was asked.
    Request,
    /// What was answered.
    Answer,
}

impl Content {
    /// The word by which its salt follows from a subject's key.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Answer => "answer",
        }
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
        self.whose_of(permit.caller.key(), &permit.account.customer).await
    }

    /// What a record says of a body that passed through and is kept nowhere here: the commitment to what has this hash, opened by whoever
    /// may read the call's bodies.
    pub async fn commit(
        &self,
        key: &Key,
        customer: &str,
        call_id: &str,
        content: Content,
        sha256: &[u8; 32],
    ) -> (Vec<u8>, AuditBody) {
        let Whose { policy, kek } = self.whose_of(key, customer).await;
        let mut told = AuditBody { policy: policy as i32, ..AuditBody::default() };
        let salt = match &kek {
            Some(kek) => {
                kek.id().clone_into(&mut told.kek_id);
                told.state = BodyState::NotKept as i32;
                kek.salt(call_id, content.name())
            }
            None => {
                told.state = BodyState::Unavailable as i32;
                random_salt()
            }
        };
        (commitment(&salt, sha256).to_vec(), told)
    }

    async fn whose_of(&self, key: &Key, customer: &str) -> Whose {
        let team = self.directory.team(&key.team_id).map_or(BodyPolicy::Unspecified, |team| team.audit_bodies());
        let policy = match team {
            BodyPolicy::Unspecified => self.bodies.settings.policy,
            policy => policy,
        };
        let (kind, id) = match (customer, key.user_id.as_str()) {
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
    files: Option<Filed>,
    answer_digest: Option<Digest>,
    /// The media type of an answer that is passed on as it comes.
    answer_type: String,
    answer: Vec<Piece>,
    /// Bytes of the answer, and how many of them are in `answer`.
    answer_bytes: u64,
    kept: usize,
    answer_cut: bool,
    whose: Option<Whose>,
}

/// The files behind a request: as much of them as is kept, and how many bytes they have.
#[derive(Default)]
pub(crate) struct Filed {
    pub(crate) kept: Vec<u8>,
    pub(crate) bytes: u64,
}

/// A [`BodyPart`] that grows.
#[derive(Default)]
struct Piece {
    kind: BodyPartKind,
    choice: u32,
    text: String,
    data: Vec<u8>,
    format: String,
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
            files: call.files.is_some().then(Filed::default),
            answer_digest: None,
            answer_type: String::new(),
            answer: Vec::new(),
            answer_bytes: 0,
            kept: 0,
            answer_cut: false,
            whose: None,
        }
    }

    /// It is known whose the call is.
    pub(crate) fn belongs_to(&mut self, whose: Whose) {
        self.whose = Some(whose);
    }

    /// How many bytes of its files shall be kept.
    pub(crate) fn room_for_files(&self) -> usize {
        match self.whose.as_ref().filter(|whose| whose.keeps() && whose.policy == BodyPolicy::Full) {
            Some(_) => self.bodies.settings.max_bytes.saturating_sub(self.request.body().len()),
            None => 0,
        }
    }

    /// All files have passed: the digest of the request and them, and what is kept of them.
    pub(crate) fn with_files(&mut self, digest: [u8; 32], files: Filed) {
        self.request_digest = digest;
        self.files = Some(files);
    }

    /// The answer is passed on as it comes, and this is its media type.
    pub(crate) fn answers_as(&mut self, media_type: &str) {
        media_type.clone_into(&mut self.answer_type);
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
        if !self.passes(text.as_bytes()) {
            return;
        }
        let is_one = kind == BodyPartKind::ToolCall;
        let (at, room) = self.place(kind, choice, "", is_one);
        let fits = &text[..text.floor_char_boundary(room)];
        self.take(at, fits.len(), text.len()).text.push_str(fits);
    }

    /// Bytes of the answer pass: of the provider's own, as they are passed on, or of sound.
    pub(crate) fn bytes(&mut self, kind: BodyPartKind, bytes: &[u8]) {
        let format = std::mem::take(&mut self.answer_type);
        self.data(kind, &format, bytes, false);
        self.answer_type = format;
    }

    /// A message of the contract passes, by its full name.
    pub(crate) fn message(&mut self, name: &str, bytes: &[u8]) {
        self.data(BodyPartKind::Message, name, bytes, true);
    }

    /// The provider's whole answer passes.
    pub(crate) fn original(&mut self, bytes: &[u8]) {
        self.data(BodyPartKind::Original, "application/json", bytes, true);
    }

    fn data(&mut self, kind: BodyPartKind, format: &str, bytes: &[u8], is_one: bool) {
        if !self.passes(bytes) {
            return;
        }
        let is_shown = self.whose.as_ref().is_some_and(|whose| whose.policy == BodyPolicy::Full) || self.is_readable();
        if !is_shown {
            self.answer_cut = true;
            return;
        }
        let (at, room) = self.place(kind, 0, format, is_one);
        let fits = &bytes[..bytes.len().min(room)];
        self.take(at, fits.len(), bytes.len()).data.extend_from_slice(fits);
    }

    /// Whether what looks private can be found in the answer: in sound and images it cannot.
    fn is_readable(&self) -> bool {
        use Request::{Image, ImageEdit, ImageStream, Speech};
        !matches!(self.request, Image(_) | ImageStream(_) | ImageEdit(_) | Speech(_))
    }

    /// Commits to what passes. Tells whether it is to be kept.
    fn passes(&mut self, bytes: &[u8]) -> bool {
        let Some(digest) = &mut self.answer_digest else { return false };
        digest.update(bytes);
        self.answer_bytes = self.answer_bytes.saturating_add(bytes.len() as u64);
        let keeps = self.whose.as_ref().is_some_and(Whose::keeps);
        keeps && !bytes.is_empty() && !self.answer_cut
    }

    /// Where more goes, and how much fits there: into the last piece if it is of the same kind and no piece of its own (`is_one`).
    fn place(&mut self, kind: BodyPartKind, choice: u32, format: &str, is_one: bool) -> (usize, usize) {
        let continues = self
            .answer
            .last()
            .is_some_and(|last| !is_one && (last.kind, last.choice, last.format.as_str()) == (kind, choice, format));
        if !continues {
            self.kept += PIECE + format.len();
            self.answer.push(Piece { kind, choice, format: format.to_owned(), ..Piece::default() });
        }
        (self.answer.len().saturating_sub(1), self.bodies.settings.max_bytes.saturating_sub(self.kept))
    }

    /// The piece at a place, about to take so many of so many bytes.
    fn take(&mut self, at: usize, fits: usize, of: usize) -> &mut Piece {
        self.answer_cut = fits < of;
        self.kept += fits;
        &mut self.answer[at]
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
        let salt = |content: Content| kek.salt(&self.call_id, content.name());
        let salts = (salt(Content::Request), salt(Content::Answer));
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
            answer_cut: self.answer_cut,
            answer_bytes: self.answer_bytes,
            request_salt: salts.0.to_vec().into(),
            answer_salt: self.answer_digest.as_ref().map(|_| salts.1.to_vec()).unwrap_or_default().into(),
            ..CallBody::default()
        };
        self.put_request(whose.policy, &mut body);
        let pieces = std::mem::take(&mut self.answer);
        let redactor = (whose.policy == BodyPolicy::Redacted).then_some(&self.bodies.settings.redactor);
        body.answer = pieces.into_iter().map(|piece| piece.part(redactor)).collect();
        let sealed = kek.seal(&self.call_id, &body.encode_to_vec());
        let sealed =
            sealed.inspect_err(|error| tracing::warn!(%error, call = self.call_id, "a body is not kept")).ok()?;
        let (call_id, kek_id) = (self.call_id.clone(), kek.id().to_owned());
        Some((salts, StoredBody { call_id, kek_id, sealed, ..StoredBody::default() }))
    }

    fn put_request(&mut self, policy: BodyPolicy, body: &mut CallBody) {
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
        body.request_cut = kept.len() > self.bodies.settings.max_bytes;
        kept.truncate(self.bodies.settings.max_bytes);
        body.request = kept.into();
        body.request_bytes = request.len() as u64;
        if let Some(files) = self.files.take() {
            body.request_cut |= (files.kept.len() as u64) < files.bytes.max(1);
            body.request_bytes = body.request_bytes.saturating_add(files.bytes);
            body.request_files = files.kept.into();
        }
    }
}

impl Piece {
    /// As it is kept; without what looks private where there is who finds it.
    fn part(mut self, redactor: Option<&Redactor>) -> BodyPart {
        if let Some(redactor) = redactor {
            self.text = redactor.text(&self.text).into_owned();
            if self.kind == BodyPartKind::Message {
                // What was cut cannot be read any more, and is not kept.
                self.data = as_json(&self.format, &self.data).unwrap_or_default();
                "application/json".clone_into(&mut self.format);
            }
            if !self.data.is_empty() {
                self.data = redactor.body(&self.data);
            }
        }
        let Self { kind, choice, text, data, format } = self;
        BodyPart { kind: kind as i32, choice, text, data: data.into(), format }
    }
}

impl Whose {
    fn keeps(&self) -> bool {
        self.kek.is_some() && matches!(self.policy, BodyPolicy::Redacted | BodyPolicy::Full)
    }
}

fn part_kind(piece: Option<&Delivered>) -> BodyPartKind {
    match piece {
        Some(Delivered::Text(_)) => BodyPartKind::Text,
        Some(Delivered::Reasoning(_)) => BodyPartKind::Reasoning,
        Some(Delivered::Refusal(_)) => BodyPartKind::Refusal,
        Some(Delivered::ToolCallStart(_)) => BodyPartKind::ToolCall,
        Some(Delivered::ToolArguments(_)) => BodyPartKind::ToolArguments,
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
