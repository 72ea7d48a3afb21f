//! The ledger: money is held before a call and settled after it, and nothing is forgotten in between.
//!
//! Memory is the authority ([`Account`]), or a lease of it where there are several replicas; the journal is the durability, the store is
//! the ledger of record. An attempt is journalled as open before its first byte leaves, with the entry it would become at its bound; its
//! end is journalled before the caller sees the last frame. A start finds attempts that were open and settles them at that bound, flagged
//! `RECOVERED`. See `docs/accounting.md` for every path.

mod account;
mod book;
mod check;
mod cluster;
mod hold;
mod journal;
mod note;
mod policy;
mod record;
mod reserve;
mod shipper;
mod skew;
mod window;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

pub use account::{Account, Balance, NO_LEASE, Part};
pub use book::{At, Payer, is_each};
pub use check::{check, check_journal};
pub use cluster::{Cluster, Mode};
pub use hold::{Ask, Hold, Scopes};
pub use journal::JournalError;
use parking_lot::Mutex;
pub use policy::{DEFAULT_ALERT_PERCENTS, PACE, Policy, scope_name};
use tokio::sync::{Notify, watch};
use tollgate_domain::{Clock, Violation};
use tollgate_proto::v1::{AuditRecord, Budget, BudgetAlert, BudgetScope, Hold as HoldRow, LedgerEntry};
use tollgate_store::{Batch, Change, Erasure, LedgerRow, Object, Store, StoreError, StoredBody, Thing};
pub use window::{Span, Window};

use crate::{book::Book, journal::Journal, note::Note, skew::Skew, writer::Writer};

/// When a record counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once it is written to the journal file: `kill -9` loses nothing, a power cut at most 5 ms.
    #[default]
    Process,
    /// Once the file is synced: calls wait for the disk before the first byte and before the last frame.
    Disk,
    /// Once the store has it: calls wait for that before the last frame.
    Replicated,
}

/// What waits for a record to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing has been sent to the provider yet.
    FirstByte,
    /// The caller has not seen the end yet.
    LastFrame,
}

/// Listens to audit records.
pub type OnRecord = Box<dyn Fn(&Arc<AuditRecord>) + Send + Sync>;
/// Listens to alerts of budgets, each told once by the replica whose batch raised it.
pub type OnAlert = Box<dyn Fn(&BudgetAlert) + Send + Sync>;

/// How to open the ledger.
pub struct Options {
    /// Directory of the journal.
    pub journal: PathBuf,
    /// Names this replica in entries.
    pub replica: String,
    /// When a record counts.
    pub durability: Durability,
    /// The time of day.
    pub clock: Clock,
    /// Runs for each audit record right after it was journalled, in order.
    pub on_record: OnRecord,
    /// Runs for each alert after the store has it.
    pub on_alert: OnAlert,
    /// Other replicas, where there are any.
    pub cluster: Option<Cluster>,
    /// The store is away: what it said last. It is joined when it answers.
    pub offline: Option<Offline>,
    /// When the last audit record was closed that the store has of this replica, microseconds since the epoch: times go on from there.
    pub latest_us: i64,
}

/// What a replica knows of the ledger of record that it cannot ask.
pub struct Offline {
    /// What admins made.
    pub objects: Vec<Object>,
    /// What the ledger of record's time was ahead of ours, in microseconds.
    pub skew_us: i64,
}

impl Options {
    /// Alone, with nobody listening.
    pub fn alone(journal: PathBuf, clock: Clock) -> Self {
        Self {
            journal,
            replica: "alone".into(),
            durability: Durability::Process,
            clock,
            on_record: Box::new(|_| {}),
            on_alert: Box::new(|_| {}),
            cluster: None,
            offline: None,
            latest_us: 0,
        }
    }
}

/// Why the ledger does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An attempt that is about to be sent.
pub struct Opening<'a> {
    /// The entry as it stands at its bound: what a crash would book. Kind, outcome, time and sequence are filled in here.
    pub bound: LedgerEntry,
    /// For each of its charges the window of the lease that pays.
    pub lease_windows: Vec<i64>,
    /// The action of its audit record.
    pub action: &'a str,
}

/// How something ended: one record of the journal, written at once.
#[derive(Default)]
pub struct End {
    /// An attempt that the provider bills.
    pub settled: Option<LedgerRow>,
    /// An attempt that it does not bill.
    pub released: Option<String>,
    /// The audit record, when nothing more will happen.
    pub record: Option<AuditRecord>,
    /// The bodies that the record tells of, encrypted. Replica and position are given when it is journalled.
    pub body: Option<StoredBody>,
    /// The erasure that the record tells of: done when the store has the record, not before and not without it.
    pub erasure: Option<Erasure>,
}

/// The ledger of one replica.
pub struct Ledger {
    writer: Mutex<Writer>,
    book: Book,
    store: Arc<dyn Store>,
    replica: String,
    durability: Durability,
    clock: Clock,
    /// What the ledger of record's time is ahead of ours: windows follow it.
    skew: Skew,
    on_record: OnRecord,
    on_alert: OnAlert,
    cluster: Option<cluster::State>,
    /// Through which sequence the journal is written, synced, shipped.
    written: watch::Sender<u64>,
    synced: watch::Sender<u64>,
    shipped: watch::Sender<u64>,
    /// When the store last took something, or lacked nothing any more and then something: microseconds on the local clock.
    moved_us: AtomicI64,
    /// Why this replica must end: the disk failed, or another process has its id.
    failed: watch::Sender<Option<String>>,
    /// Taken from the queue, not yet in the store.
    unshipped: tokio::sync::Mutex<Option<Batch>>,
    /// Rung to ship now rather than soon.
    ship_now: Notify,
    /// How many attempts the start found open and settled at their bound.
    recovered: usize,
}

impl Ledger {
    /// Replays the journal, settles what a crash left open, and brings the store up to date.
    pub async fn open(options: Options, store: Arc<dyn Store>) -> Result<Arc<Self>, OpenError> {
        let (mut journal, found) = Journal::open(&options.journal)?;
        let online = options.offline.is_none();
        let positions = match online {
            true => store.positions().await?,
            false => journal.positions()?,
        };
        let applied = positions.journal;
        let replay = note::replay(found, applied, online, &options.journal)?;
        journal.skip_to(applied + 1);
        let book = Book::new(options.cluster.is_some());
        let (objects, skew) = match options.offline {
            Some(Offline { objects, skew_us }) => (objects, Skew::known(skew_us)),
            None => {
                // Objects first: what they say of alerts holds for the entries behind them.
                store.apply(&Batch { changes: replay.objects, through: applied, ..Batch::default() }).await?;
                // Windows follow the ledger of record's clock from the first on: they never go back.
                let skew = match &options.cluster {
                    Some(cluster) => cluster::skew(cluster, &options.clock).await?,
                    None => Skew::known(0),
                };
                (store.objects_after(0).await?.into_iter().map(|(_, object)| object).collect(), skew)
            }
        };
        let now_us = options.clock.now_us().saturating_add(skew.us());
        for object in &objects {
            put_budget(&book, object, now_us);
        }
        let positions = if online { store.positions().await? } else { positions };
        let ledger_sequence = positions.ledger.max(replay.ledger_sequence);
        let audit_sequence = positions.audit.max(replay.audit_sequence);
        let latest_us = options.latest_us.max(replay.latest_us);
        let writer = Writer::new(journal, ledger_sequence, audit_sequence, latest_us, &replay.open, replay.notes);
        let ledger = Self {
            writer: Mutex::new(writer),
            book,
            store,
            replica: options.replica.clone(),
            durability: options.durability,
            moved_us: AtomicI64::new(options.clock.now_us()),
            clock: options.clock,
            skew,
            on_record: options.on_record,
            on_alert: options.on_alert,
            cluster: options.cluster.map(|cluster| cluster::State::new(cluster, options.replica, online)),
            written: watch::Sender::new(replay.through),
            synced: watch::Sender::new(replay.through),
            shipped: watch::Sender::new(applied),
            failed: watch::Sender::new(None),
            unshipped: tokio::sync::Mutex::new(None),
            ship_now: Notify::new(),
            recovered: replay.open.len(),
        };
        for (_, opened) in replay.open {
            if tollgate_planted::bug("open_released_at_start") {
                continue;
            }
            ledger.recover(opened);
        }
        let ledger = Arc::new(ledger);
        if ledger.cluster.is_some() {
            cluster::join(&ledger).await?;
        } else {
            ledger.ship().await?;
            ledger.load_balances(&ledger.book.accounts()).await?;
            ledger.load_each().await?;
        }
        shipper::start(&ledger);
        Ok(ledger)
    }

    /// Microseconds since the epoch by the ledger of record's clock.
    pub fn now_us(&self) -> i64 {
        if tollgate_planted::bug("window_by_local_clock") {
            return self.clock.now_us();
        }
        self.clock.now_us().saturating_add(self.skew.us())
    }

    /// What the ledger of record's time is ahead of ours, in microseconds.
    pub fn skew_us(&self) -> i64 {
        self.skew.us()
    }

    /// Names this replica.
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// The account of a charge.
    pub fn account(&self, charge_id: &str) -> Option<Arc<Account>> {
        self.book.account(charge_id)
    }

    /// A budget as an admin made it.
    pub fn budget(&self, id: &str) -> Option<Budget> {
        self.book.budget(id)
    }

    /// Every budget as admins made them, oldest first.
    pub fn budgets(&self) -> Vec<Budget> {
        self.book.budgets()
    }

    /// Every budget whose scope is `wanted`, oldest first.
    pub fn budgets_on(&self, wanted: impl Fn(&BudgetScope) -> bool) -> Vec<Budget> {
        self.book.budgets_on(wanted)
    }

    /// The accounts that a call of `payer` touches, apart from those of one provider or deployment.
    pub fn scopes(&self, payer: &Payer<'_>) -> Scopes {
        self.book.scopes(payer, None, self.now_us())
    }

    /// The accounts that its attempts there touch besides.
    pub fn scopes_at(&self, payer: &Payer<'_>, at: At<'_>) -> Scopes {
        self.book.scopes(payer, Some(at), self.now_us())
    }

    /// The store behind, to read from after [`Ledger::shipped`].
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Whether other replicas spend the same budgets.
    pub fn is_shared(&self) -> bool {
        self.cluster.is_some()
    }

    /// How many attempts the start found open.
    pub fn recovered(&self) -> usize {
        self.recovered
    }

    /// Ends with the reason once this replica cannot go on: the disk failed, or another process has its id.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await, // the sender lives as long as `self`
        }
    }

    pub(crate) fn fail(&self, reason: String) {
        tracing::error!(reason, "this replica cannot go on");
        self.failed.send_replace(Some(reason));
    }

    /// Takes over what an admin made, changed or deleted, here or at another replica.
    pub fn take_over(&self, object: &Object) {
        put_budget(&self.book, object, self.now_us());
    }

    /// Takes a change over and journals it together with its record, and with the entries that it posts: of a correction, of opening
    /// balances.
    pub fn change(&self, objects: Vec<Object>, record: AuditRecord, postings: Vec<LedgerRow>) -> u64 {
        for object in &objects {
            self.take_over(object);
        }
        for row in &postings {
            for charge in &row.entry.charges {
                if let Some(account) = self.account(&charge.budget_id) {
                    account.post(charge.window, row.entry.cost_nano_usd);
                }
            }
        }
        let postings = postings.into_iter().map(Into::into).collect();
        self.note(Note { objects, record: Some(record), postings, ..Note::default() }).0
    }

    /// Before a budget's window changes: looks up what the new windows have spent already. Until the change nothing is charged to them
    /// but by windows that the old and the new way have in common, of which memory knows more.
    pub async fn prepare_window(&self, changed: &Budget) -> Result<(), StoreError> {
        let Ok(policies) = policy::policies(changed) else { return Ok(()) };
        self.shipped().await;
        let now_us = self.now_us();
        for account in self.book.accounts().iter().filter(|a| a.budget_id() == changed.id) {
            let of_account = policies.iter().find(|(id, _)| id.ends_with(PACE) == account.id.ends_with(PACE));
            let Some((_, policy)) = of_account else { continue };
            let from = policy.window.counts_from(policy.window.at(now_us));
            let balances = self.store.balances(&[(account.id.to_string(), from)]).await?;
            account.prepare(policy.window.clone(), balances.into_iter().map(|b| (b.window, b.spent)).collect());
        }
        Ok(())
    }

    /// States what the store has for the current windows of `accounts`: after a change of a window.
    pub async fn load_balances(&self, accounts: &[Arc<Account>]) -> Result<(), StoreError> {
        let now_us = self.now_us();
        for accounts in accounts.chunks(5_000) {
            let wanted: Vec<_> = accounts.iter().map(|a| (a.id.to_string(), a.counts_from(now_us))).collect();
            let mut by_account = std::collections::HashMap::<String, Vec<(i64, i64)>>::new();
            for balance in self.store.balances(&wanted).await? {
                by_account.entry(balance.budget_id).or_default().push((balance.window, balance.spent));
            }
            for account in accounts {
                account.set_spent(by_account.get(&*account.id).map_or(&[], |v| v), now_us);
            }
        }
        Ok(())
    }

    /// Accounts of single customers and tags that have spent before.
    async fn load_each(&self) -> Result<(), StoreError> {
        let now_us = self.now_us();
        for budget_id in self.book.each_ids() {
            let prefix = format!("{budget_id}/");
            let mut after = tollgate_store::Balance { budget_id: prefix.clone(), window: i64::MIN, spent: 0 };
            loop {
                let page = self.store.all_balances(Some(&after), 1_000).await?;
                let of_budget: Vec<_> = page.iter().filter(|b| b.budget_id.starts_with(&prefix)).collect();
                let mut accounts = Vec::new();
                for balance in &of_budget {
                    let name = balance.budget_id[prefix.len()..].trim_end_matches(PACE);
                    accounts.extend(self.book.each_account(&budget_id, name, now_us));
                }
                self.load_balances(&accounts).await?;
                match page.last() {
                    Some(last) if of_budget.len() == page.len() => after = last.clone(),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Waits until the record is as durable as configured.
    pub async fn durable(&self, sequence: u64, before: Before) {
        let reached = match (self.durability, before) {
            (Durability::Disk, _) => &self.synced,
            (Durability::Replicated, Before::LastFrame) => {
                self.ship_now.notify_one();
                &self.shipped
            }
            _ => return,
        };
        // The sender lives as long as `self`.
        let _ = reached.subscribe().wait_for(|reached| *reached >= sequence).await;
    }

    /// Waits until the store has everything that was journalled before.
    pub async fn shipped(&self) {
        let target = *self.written.borrow();
        self.ship_now.notify_one();
        let _ = self.shipped.subscribe().wait_for(|shipped| *shipped >= target).await;
    }

    /// Tells whenever the store has more.
    pub fn watch_shipped(&self) -> watch::Receiver<u64> {
        self.shipped.subscribe()
    }

    /// How much is journalled and not yet in the store, in records.
    pub fn lag(&self) -> u64 {
        self.written.borrow().saturating_sub(*self.shipped.borrow())
    }

    /// For how long the store has taken nothing although there is something for it.
    pub fn behind(&self) -> Duration {
        let since = self.moved_us.load(Ordering::Relaxed);
        match self.lag() {
            0 => Duration::ZERO,
            _ => Duration::from_micros(u64::try_from(self.clock.now_us() - since).unwrap_or(0)),
        }
    }

    /// Why this replica cannot go on; `None`: it can.
    pub fn failure(&self) -> Option<String> {
        self.failed.borrow().clone()
    }

    fn moved(&self) {
        self.moved_us.store(self.clock.now_us(), Ordering::Relaxed);
    }

    /// Attempts in flight, oldest first.
    pub fn holds(&self) -> Vec<HoldRow> {
        let mut holds = self.writer.lock().holds(&self.replica);
        holds.sort_by(|a, b| a.attempt_id.cmp(&b.attempt_id)); // ids are UUIDv7: in order of time
        holds
    }
}

fn put_budget(book: &Book, object: &Object, now_us: i64) {
    let Some(Thing::Budget(budget)) = object.thing() else { return };
    if object.deleted {
        book.remove(&budget.id);
    } else if let Err(Violation { field, description }) = book.put(budget, now_us) {
        // It was checked when it was made: only a later version's can be unreadable.
        tracing::error!(budget = budget.id, field, description, "a budget cannot be read and is not in force");
    }
}

/// Rules for the alerts of a batch.
pub(crate) fn with_rules(mut batch: Batch, book: &Book, now_us: i64) -> Batch {
    for change in &batch.changes {
        let Change::Entry(row) = change else { continue };
        for charge in &row.entry.charges {
            if !batch.rules.contains_key(&charge.budget_id)
                && let Some(account) = book.account(&charge.budget_id)
            {
                batch.rules.insert(charge.budget_id.clone(), account.alert_rule(now_us));
            }
        }
    }
    batch
}
