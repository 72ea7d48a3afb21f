//! Keys that another gateway issued: taken over by the hash that it kept, and kept like any other once their secret is known.

use std::collections::{HashSet, VecDeque};

use tokio::sync::oneshot;
use tollgate_audit::Draft;
use tollgate_domain::{Error, micros, new_id, timestamp};
use tollgate_pipeline::FirstUse;
use tollgate_proto::v1::{
    Budget, BudgetScope, ErrorReason, ImportKeyRequest, ImportedBudget, Key, KeyRole, KeyState, ScopeKind,
};
use tollgate_store::{LedgerRow, Object, StoredKey};

use crate::{
    Action, Authorized, Control, Decided, Done, Principal, Resource, Turn, act, budgets, interrupted, is_allowed,
    keys::{check, provisioned_id, violation},
    opening, rights,
};

const SHA256_BYTES: usize = 32;
const MOST_BUDGETS: usize = 16;
const MOST_PREFIX: usize = 32;
/// So many keys are taken over in one turn: others want to act, too.
const MOST_TOGETHER: usize = 256;

/// A key that was taken over, or was there.
pub struct Imported {
    /// The key; `None` where only a new one was checked.
    pub key: Option<Key>,
    /// It was there before.
    pub existed: bool,
}

/// A key as it would be made, and what else is made with it.
struct Made {
    key: Key,
    objects: Vec<Object>,
    postings: Vec<LedgerRow>,
    changes: Vec<String>,
}

/// Somebody who waits for a key to be taken over.
pub(crate) struct Asked {
    principal: Principal,
    request: ImportKeyRequest,
    answer: oneshot::Sender<Answer>,
}

/// What became of it, and where that stands in the journal.
pub(crate) type Answer = Result<(Imported, u64), Error>;

/// Who waits, in order.
pub(crate) type Waiting = parking_lot::Mutex<VecDeque<Asked>>;

/// A key that is to be taken over: by which id it will be known, the digests that it is kept by, and what was asked for.
struct Importing {
    id: String,
    digests: Digests,
    key: parking_lot::Mutex<Key>,
}

/// What a key is kept by.
struct Digests {
    current: Vec<u8>,
    /// That of the secret before, and until when it works.
    old: Option<(Vec<u8>, i64)>,
}

impl Importing {
    /// The ids of the keys that its hashes would be.
    fn ids(&self) -> HashSet<String> {
        let old = self.digests.old.as_ref().map(|(digest, _)| provisioned_id(digest));
        old.into_iter().chain([self.id.clone()]).collect()
    }
}

fn readable(request: &ImportKeyRequest) -> Result<(), Error> {
    const HASH: &str = "must be the 32 bytes of a SHA-256 hash";
    let (old, ends) = (&request.old_sha256, request.old_expire_time.is_some());
    let rules = [
        (request.sha256.len() == SHA256_BYTES, "sha256", HASH),
        (old.is_empty() || old.len() == SHA256_BYTES, "old_sha256", HASH),
        (*old != request.sha256, "old_sha256", "must be the hash of another secret than `sha256`"),
        (ends || old.is_empty(), "old_expire_time", "must be given with `old_sha256`"),
        (!ends || !old.is_empty(), "old_sha256", "must be given with `old_expire_time`"),
    ];
    match rules.into_iter().find(|(holds, ..)| !holds) {
        Some((_, field, why)) => Err(Error::invalid_field(field, why)),
        None => Ok(()),
    }
}

impl Control {
    /// Takes a key over with its budgets and what was spent of them: all of it or nothing, and only once.
    pub async fn import_key(&self, principal: &Principal, request: ImportKeyRequest) -> Result<Imported, Error> {
        if request.validate_only {
            let Importing { id, digests, key } = self.importing(&request);
            let authorized = self.allowed::<act::ImportKey>(principal, |caller| self.place_imported(&key, caller))?;
            readable(&request)?;
            let there = self.there(&authorized, &id)?;
            if there.is_none() {
                self.imported(&authorized, &id, key.into_inner(), digests, &request.budgets)?;
            }
            return Ok(Imported { existed: there.is_some(), key: there });
        }
        let posts = request.budgets.iter().any(|budget| budget.spent_nano_usd > 0);
        let (answer, mut told) = oneshot::channel();
        self.importing.lock().push_back(Asked { principal: principal.clone(), request, answer });
        // Keys do not refer to one another, so all that wait are taken over in one turn: a database is asked once for all of them.
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut told => break answer.unwrap_or_else(|_| Err(interrupted())),
                turn = self.turn() => {
                    let control = self.clone();
                    // Others wait for it, whether the caller in whose turn it happens hangs up or not.
                    let importing = async move {
                        control.import_waiting(turn).await;
                        Ok(())
                    };
                    if let Err(error) = self.to_the_end(importing).await {
                        break Err(error);
                    }
                }
            }
        };
        let (imported, sequence) = answer?;
        self.pipeline.ledger().durable(sequence, tollgate_ledger::Before::LastFrame).await;
        if let Some(key) = imported.key.as_ref().filter(|_| posts && !imported.existed) {
            self.posted(&StoredKey::new(key.clone(), Vec::new()).into()).await?;
        }
        Ok(imported)
    }

    /// Takes over the keys that wait, in one turn.
    async fn import_waiting(&self, _until_made: Turn) {
        let all = self.next_imports();
        if self.pipeline.ledger().is_shared()
            && let Err(error) = self.catch_up().await
        {
            // Who waits no more needs no answer, here and below.
            all.into_iter().for_each(|asked| drop(asked.answer.send(Err(error.clone()))));
            return;
        }
        let (mut seen, mut again) = (HashSet::new(), Vec::new());
        let (mut decided, mut drafts, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for asked in all {
            let importing = self.importing(&asked.request);
            // The same key twice: whoever is second finds it there in the next turn.
            let ids = importing.ids();
            if !seen.is_disjoint(&ids) {
                again.push(asked);
                continue;
            }
            seen.extend(ids);
            match self.decide_import(&asked, importing) {
                Ok(it) => {
                    drafts.push(it.draft.clone());
                    decided.push(it);
                    answers.push(asked.answer);
                }
                Err(error) => drop(asked.answer.send(Err(error))),
            }
        }
        let made = self.make_together(decided).await;
        for ((made, draft), answer) in made.into_iter().zip(drafts).zip(answers) {
            if let Err(error) = &made {
                self.record_failure(draft, error);
            }
            drop(answer.send(made));
        }
        let mut waiting = self.importing.lock();
        again.into_iter().rev().for_each(|asked| waiting.push_front(asked));
    }

    /// Who waits; whoever hung up before this gets nothing.
    fn next_imports(&self) -> Vec<Asked> {
        let mut waiting = self.importing.lock();
        waiting.retain(|asked| !asked.answer.is_closed());
        let until = waiting.len().min(MOST_TOGETHER);
        waiting.drain(..until).collect()
    }

    fn decide_import(&self, asked: &Asked, importing: Importing) -> Result<Decided<Imported>, Error> {
        let Importing { id, digests, key } = importing;
        let request = &asked.request;
        let find = |caller: &tollgate_pipeline::Caller| self.place_imported(&key, caller);
        self.decide::<act::ImportKey, _>(&asked.principal, find, |authorized| {
            readable(request)?;
            if let Some(key) = self.there(authorized, &id)? {
                let result = Imported { key: Some(key), existed: true };
                let (objects, changes) = (Vec::new(), vec!["repeated".into()]);
                return Ok(Done { result, objects, subject: id.clone(), changes, posting: None });
            }
            let key = std::mem::take(&mut *key.lock());
            let made = self.imported(authorized, &id, key, digests, &request.budgets)?;
            Ok(Done {
                result: Imported { key: Some(made.key), existed: false },
                objects: made.objects,
                subject: id.clone(),
                changes: made.changes,
                posting: (!made.postings.is_empty()).then_some(made.postings),
            })
        })
    }

    fn importing(&self, request: &ImportKeyRequest) -> Importing {
        let keyring = self.pipeline.keyring();
        let current = keyring.imported_digest(&request.sha256);
        let until_us = request.old_expire_time.as_ref().map(micros).filter(|until_us| *until_us > self.now_us());
        let old = until_us.map(|until_us| (keyring.imported_digest(&request.old_sha256), until_us));
        let key = parking_lot::Mutex::new(request.key.clone().unwrap_or_default());
        Importing { id: provisioned_id(&current), digests: Digests { current, old }, key }
    }

    /// Whether a hash is another key's, which has it or was known by it.
    fn is_taken(&self, digest: &[u8]) -> bool {
        let keyring = self.pipeline.keyring();
        keyring.holds(digest) || keyring.get(&provisioned_id(digest)).is_some()
    }

    fn place_imported(
        &self,
        key: &parking_lot::Mutex<Key>,
        caller: &tollgate_pipeline::Caller,
    ) -> Result<Resource, Error> {
        let placed = self.place(&mut key.lock(), caller)?;
        Ok(Resource { key_id: String::new(), ..Resource::of_key(&placed) })
    }

    /// The key that an earlier import made. Where it lies out of reach nothing more is told of it.
    fn there(&self, authorized: &Authorized<act::ImportKey>, id: &str) -> Result<Option<Key>, Error> {
        let Ok(entry) = self.entry(id) else { return Ok(None) };
        let key = entry.key_at(self.now_us());
        if is_allowed(&authorized.actor(), Action::ImportKey, &Resource::of_key(&key)) {
            return Ok(Some(key));
        }
        let message = "the hash is that of a key in another organization; ask who governs the platform";
        Err(Error::new(ErrorReason::AlreadyExists, message).with("resource", "key").with("id", id))
    }

    fn imported(
        &self,
        authorized: &Authorized<act::ImportKey>,
        id: &str,
        asked: Key,
        digests: Digests,
        budgets: &[ImportedBudget],
    ) -> Result<Made, Error> {
        // That it has expired is no reason to forget it: it is refused as what it is.
        let mut violations = check(&asked, i64::MIN);
        if asked.prefix.len() > MOST_PREFIX {
            violations.push(violation("key.prefix", "must be at most 32 bytes"));
        }
        if !matches!(asked.role(), KeyRole::Unspecified | KeyRole::Caller) {
            violations.push(violation("key.role", "must be CALLER: another gateway's key is no admin's here"));
        }
        if !matches!(asked.state(), KeyState::Unspecified | KeyState::Active | KeyState::Blocked) {
            violations.push(violation("key.state", "must be ACTIVE or BLOCKED, or be left out"));
        }
        if budgets.len() > MOST_BUDGETS {
            violations.push(violation("budgets", "must have at most 16 entries"));
        }
        let fits = |budget: &ImportedBudget| (0..=opening::MOST_NANO_USD).contains(&budget.spent_nano_usd);
        for (at, _) in budgets.iter().enumerate().filter(|(_, budget)| !fits(budget)) {
            let description = "must be 0 to 1000000000000000000";
            violations.push(violation(&format!("budgets[{at}].spent_nano_usd"), description));
        }
        if !violations.is_empty() {
            return Err(Error::invalid(violations));
        }
        rights::check_key(&authorized.actor(), authorized.caller().key(), &asked, self.directory())?;
        if self.is_taken(&digests.current) {
            let message = "the hash is that of the secret that another key had before; rotate that key first";
            return Err(Error::new(ErrorReason::AlreadyExists, message)
                .with("resource", "key")
                .with("field", "sha256"));
        }
        let old = digests.old.filter(|(digest, _)| !self.is_taken(digest));
        let now = Some(timestamp(self.now_us()));
        let state = if asked.state() == KeyState::Blocked { KeyState::Blocked } else { KeyState::Active };
        let key = Key {
            id: id.to_owned(),
            role: KeyRole::Caller as i32,
            state: state as i32,
            create_time: now,
            update_time: now,
            etag: new_id(""),
            ..asked
        };
        let mut stored = StoredKey::imported(key.clone(), digests.current);
        let mut made = Made {
            changes: vec![
                format!("display_name: {:?}", key.display_name),
                format!("state: {}", state.as_str_name()),
                format!("place: {:?} {:?} {:?}", key.organization_id, key.team_id, key.user_id),
                format!("models: {:?}", key.models),
            ],
            objects: Vec::new(),
            postings: Vec::new(),
            key,
        };
        if let Some((digest, until_us)) = old {
            (stored.old_imported_digest, stored.old_until_us) = (Some(digest), until_us);
            let seconds = until_us.saturating_sub(self.now_us()) / 1_000_000;
            made.changes.push(format!("secret: the one before works for {seconds} s more"));
        }
        made.objects.push(stored.into());
        let place = Resource::of_key(&made.key);
        for imported in budgets {
            let asked = imported.budget.clone().unwrap_or_default();
            let BudgetScope { model, provider, deployment, .. } = asked.scope.clone().unwrap_or_default();
            let scope = BudgetScope {
                kind: ScopeKind::Key as i32,
                id: id.to_owned(),
                model,
                provider,
                deployment,
                ..Default::default()
            };
            let asked = Budget { scope: Some(scope), increase: None, ..asked };
            budgets::check(&asked)?;
            let budget = budgets::new_budget(asked, new_id("bud_"), self.now_us());
            let spent = imported.spent_nano_usd;
            made.changes.push(format!("budget {}: {} of {}", budget.id, spent, budget.limit_nano_usd));
            made.postings.extend(self.opening(&budget, &place, spent, authorized.caller().key_id()));
            made.objects.push(budget.into());
        }
        Ok(made)
    }

    /// Keeps a key by a digest of our own from now on, and forgets what it was imported by. The gateway's own act, on record as such.
    pub async fn rehash_key(&self, used: &FirstUse) -> Result<(), Error> {
        let _one_at_a_time = self.acting.lock().await;
        if self.pipeline.ledger().is_shared() {
            self.catch_up().await?;
        }
        let mut stored = (*self.entry(&used.key_id)?.stored()).clone();
        // Another replica was first, or the key has a new secret since.
        if stored.imported_digest.is_none() || !stored.digest.is_empty() {
            return Ok(());
        }
        stored.digest.clone_from(&used.digest);
        stored.imported_digest = None;
        let done = Done {
            result: (),
            objects: vec![stored.into()],
            subject: used.key_id.clone(),
            changes: vec!["secret: used for the first time, kept as every other from now on".into()],
            posting: None,
        };
        match self.make(Decided { done, draft: Draft::open("key.rehash", None) }).await {
            Err(error) if error.reason == ErrorReason::EtagMismatch => self.catch_up().await,
            made => made.map(|_| ()),
        }
    }
}
