//! A ledger of record in memory, for simulations and as the reference of the conformance suites: everything is computed from the entries
//! each time, so that there is nothing to keep in step.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;
use tollgate_domain::{micros, timestamp};
use tollgate_proto::v1::{
    AuditFilter, AuditRecord, BudgetAlert, Lease, LedgerEntry, LedgerEntryKind, LedgerFinding, SpendGroup, SpendRow,
};
use tollgate_store::{
    Balance, Batch, Cell, Change, Coordinator, Denied, EntryQuery, Epoch, Granted, Idempotency, LEASE_TTL, LedgerRow,
    Lost, Member, Membership, Object, Payer, Positions, Posted, PutOutcome, Result, Rollup, SpendQuery, Store,
    StoreError, Sums, Tail, View, Want, raise_alerts,
};

#[derive(Default)]
struct Shared {
    version: i64,
    objects: BTreeMap<(String, String), (i64, Object)>,
    rows: Vec<(String, LedgerRow)>,
    alerts: Vec<BudgetAlert>,
    records: Vec<(String, AuditRecord)>,
    replicas: HashMap<String, Replica>,
    leases: BTreeMap<(String, i64, String), i64>,
    epoch: Epoch,
    recalled: BTreeMap<String, Instant>,
}

struct Replica {
    incarnation: u64,
    applied: u64,
    epoch: i64,
    sees_redis: bool,
    seen: Instant,
}

/// The store, as one replica uses it. Clones of the same world share everything.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
    replica: String,
    incarnation: u64,
    /// Microseconds since the epoch.
    now_us: Arc<dyn Fn() -> i64 + Send + Sync>,
}

/// The world that replicas meet in.
#[derive(Clone)]
pub struct MemoryWorld {
    shared: Arc<Mutex<Shared>>,
    now_us: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl MemoryWorld {
    /// An empty one.
    pub fn new(now_us: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { shared: Arc::default(), now_us: Arc::new(now_us) }
    }

    /// A process that runs as `replica`; the one before is fenced off.
    pub fn connect(&self, replica: &str) -> MemoryStore {
        let mut shared = self.shared.lock();
        let it = shared.replicas.entry(replica.to_owned()).or_insert_with(|| Replica {
            incarnation: 0,
            applied: 0,
            epoch: 0,
            sees_redis: false,
            seen: Instant::now(),
        });
        it.incarnation += 1;
        (it.epoch, it.seen) = (0, Instant::now());
        let (incarnation, now_us) = (it.incarnation, self.now_us.clone());
        MemoryStore { shared: self.shared.clone(), replica: replica.to_owned(), incarnation, now_us }
    }

    /// Entries as they stand.
    pub fn entries(&self) -> Vec<LedgerEntry> {
        self.shared.lock().rows.iter().map(|(_, row)| row.entry.clone()).collect()
    }

    /// What is leased of a budget, by all replicas.
    pub fn leased(&self, budget_id: &str) -> i64 {
        self.shared.lock().leases.iter().filter(|((budget, ..), _)| budget == budget_id).map(|(_, amount)| amount).sum()
    }
}

impl Shared {
    fn of(&mut self, store: &MemoryStore) -> Result<&mut Replica> {
        let it = self.replicas.get_mut(&store.replica).filter(|r| r.incarnation == store.incarnation);
        it.ok_or_else(|| StoreError::Fenced(store.replica.clone()))
    }

    fn put(&mut self, object: &Object) {
        self.version += 1;
        let key = (object.kind().to_owned(), object.id().to_owned());
        self.objects.insert(key, (self.version, object.clone()));
    }

    fn spent(&self, budget_id: &str, from: i64) -> i64 {
        self.rows
            .iter()
            .flat_map(|(_, row)| charges(&row.entry))
            .filter(|(b, w, _)| *b == budget_id && *w >= from)
            .map(|c| c.2)
            .sum()
    }

    fn leased(&self, budget_id: &str, window: i64) -> i64 {
        self.leases.iter().filter(|((b, w, _), _)| b == budget_id && *w == window).map(|(_, amount)| amount).sum()
    }

    fn live(&self) -> Vec<Member> {
        let mut live: Vec<_> = self
            .replicas
            .iter()
            .filter(|(_, r)| r.seen.elapsed() < LEASE_TTL)
            .map(|(id, r)| Member { replica: id.clone(), epoch: r.epoch, sees_redis: r.sees_redis })
            .collect();
        live.sort_by(|a, b| a.replica.cmp(&b.replica));
        live
    }
}

fn charges(entry: &LedgerEntry) -> impl Iterator<Item = (&str, i64, i64)> {
    entry.charges.iter().map(|c| (c.budget_id.as_str(), c.window, entry.cost_nano_usd))
}

fn is_of(entry: &LedgerEntry, payer: &Payer) -> bool {
    let fits = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|w| w == has);
    fits(&payer.key_id, &entry.key_id)
        && fits(&payer.organization_id, &entry.organization_id)
        && fits(&payer.team_id, &entry.team_id)
        && fits(&payer.user_id, &entry.user_id)
}

fn settled(entry: &LedgerEntry) -> i64 {
    entry.settle_time.as_ref().map_or(0, micros)
}

fn position(at: usize) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX).saturating_add(1)
}

#[async_trait]
impl Store for MemoryStore {
    async fn apply(&self, batch: &Batch) -> Result<Vec<BudgetAlert>> {
        let mut shared = self.shared.lock();
        let it = shared.of(self)?;
        it.applied = it.applied.max(batch.through);
        it.seen = Instant::now();
        let mut touched = BTreeSet::new();
        for change in &batch.changes {
            match change {
                Change::Object(object) => shared.put(object),
                Change::Entry(row) => {
                    if shared.rows.iter().any(|(_, r)| r.entry.attempt_id == row.entry.attempt_id) {
                        continue;
                    }
                    for ((budget, window), used) in Rollup::of(std::iter::once(&**row)).leases {
                        let key = (budget, window, self.replica.clone());
                        if let Some(outstanding) = shared.leases.get_mut(&key) {
                            *outstanding = (*outstanding - used).max(0);
                        }
                    }
                    touched.extend(row.entry.charges.iter().map(|c| (c.budget_id.clone(), c.window)));
                    shared.rows.push((self.replica.clone(), (**row).clone()));
                }
                // It keeps no bodies.
                Change::Body(_) | Change::Erasure(_) => {}
                Change::Record(record) => {
                    let known = shared.records.iter().any(|(r, k)| *r == self.replica && k.sequence == record.sequence);
                    if !known {
                        shared.records.push((self.replica.clone(), (**record).clone()));
                    }
                }
            }
        }
        let mut raised = Vec::new();
        for (budget_id, window) in touched {
            let Some(rule) = batch.rules.get(&budget_id) else { continue };
            let spent = match rule.rolling_from {
                Some(from) => shared.spent(&budget_id, from),
                None => shared
                    .rows
                    .iter()
                    .flat_map(|(_, r)| charges(&r.entry))
                    .filter(|(b, w, _)| *b == budget_id && *w == window)
                    .map(|c| c.2)
                    .sum(),
            };
            for alert in raise_alerts(&budget_id, window, spent, rule, batch) {
                let same = |a: &BudgetAlert| {
                    (&a.budget_id, a.window, a.percent) == (&alert.budget_id, alert.window, alert.percent)
                };
                if !shared.alerts.iter().any(same) {
                    shared.alerts.push(alert.clone());
                    raised.push(alert);
                }
            }
        }
        Ok(raised)
    }

    async fn put(&self, objects: &[(Object, i64)]) -> Result<PutOutcome> {
        let mut shared = self.shared.lock();
        let mut named = HashSet::new();
        for (object, expected) in objects {
            let name = (object.kind().to_owned(), object.id().to_owned());
            let version = shared.objects.get(&name).map_or(0, |(v, _)| *v);
            if version != *expected || !named.insert(name) {
                return Ok(PutOutcome::Conflict);
            }
        }
        objects.iter().for_each(|(object, _)| shared.put(object));
        Ok(PutOutcome::Done)
    }

    async fn positions(&self) -> Result<Positions> {
        let shared = self.shared.lock();
        let rows = shared.rows.iter().filter(|(replica, _)| *replica == self.replica);
        let records = shared.records.iter().filter(|(replica, _)| *replica == self.replica);
        Ok(Positions {
            journal: shared.replicas.get(&self.replica).map_or(0, |r| r.applied),
            ledger: rows.map(|(_, row)| row.entry.sequence).max().unwrap_or(0),
            audit: records.map(|(_, record)| record.sequence).max().unwrap_or(0),
        })
    }

    async fn objects_after(&self, version: i64) -> Result<Vec<(i64, Object)>> {
        let mut all: Vec<_> = self.shared.lock().objects.values().filter(|(v, _)| *v > version).cloned().collect();
        all.sort_by_key(|(version, _)| *version);
        Ok(all)
    }

    async fn balances(&self, from: &[(String, i64)]) -> Result<Vec<Balance>> {
        let all = self.all_balances(None, i64::MAX).await?;
        Ok(all.into_iter().filter(|b| from.iter().any(|(id, w)| *id == b.budget_id && b.window >= *w)).collect())
    }

    async fn all_balances(&self, after: Option<&Balance>, limit: i64) -> Result<Vec<Balance>> {
        let mut sums = BTreeMap::<(String, i64), i64>::new();
        for (_, row) in &self.shared.lock().rows {
            for (budget, window, cost) in charges(&row.entry) {
                *sums.entry((budget.to_owned(), window)).or_default() += cost;
            }
        }
        let after = after.map(|b| (b.budget_id.clone(), b.window));
        let rest = sums.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(rest.take(limit).map(|((budget_id, window), spent)| Balance { budget_id, window, spent }).collect())
    }

    async fn cube(&self) -> Result<Vec<(Cell, Sums)>> {
        let shared = self.shared.lock();
        Ok(Rollup::of(shared.rows.iter().map(|(_, row)| row)).cells.into_iter().collect())
    }

    async fn findings(&self) -> Result<Vec<LedgerFinding>> {
        Ok(Vec::new())
    }

    async fn idempotency_since(&self, since_us: i64) -> Result<Vec<(Idempotency, String)>> {
        let shared = self.shared.lock();
        let recent = shared.rows.iter().map(|(_, row)| row).filter(|row| settled(&row.entry) >= since_us);
        Ok(recent.filter_map(|row| Some((row.idempotency.clone()?, row.entry.call_id.clone()))).collect())
    }

    async fn entries(&self, query: &EntryQuery) -> Result<Vec<Posted>> {
        let shared = self.shared.lock();
        let fits = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|w| w == has);
        let found = shared.rows.iter().enumerate().filter(|(at, (_, row))| {
            let entry = &row.entry;
            position(*at) > query.after
                && is_of(entry, &query.payer)
                && fits(&query.call_id, &entry.call_id)
                && fits(&query.attempt_id, &entry.attempt_id)
                && fits(&query.provider, &entry.provider)
                && query.start_us.is_none_or(|start| settled(entry) >= start)
                && query.end_us.is_none_or(|end| settled(entry) < end)
        });
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        Ok(found
            .take(limit)
            .map(|(at, (_, row))| Posted { position: position(at), entry: row.entry.clone() })
            .collect())
    }

    async fn spend(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        let shared = self.shared.lock();
        let mut groups = BTreeMap::<String, Sums>::new();
        for (_, row) in &shared.rows {
            let entry = &row.entry;
            let opens = entry.kind() == LedgerEntryKind::Opening;
            if opens || !is_of(entry, &query.payer) || !(query.start_us..query.end_us).contains(&settled(entry)) {
                continue;
            }
            let day = || timestamp(settled(entry)).to_string()[..10].to_owned();
            let names = match query.group_by {
                SpendGroup::Unspecified => vec![String::new()],
                SpendGroup::Key => vec![entry.key_id.clone()],
                SpendGroup::Model => vec![entry.model.clone()],
                SpendGroup::Provider => vec![entry.provider.clone()],
                SpendGroup::Day => vec![day()],
                SpendGroup::Team => vec![entry.team_id.clone()],
                SpendGroup::User => vec![entry.user_id.clone()],
                SpendGroup::Organization => vec![entry.organization_id.clone()],
                SpendGroup::Tag => entry.tags.clone(),
                SpendGroup::Customer => vec![entry.customer.clone()].into_iter().filter(|c| !c.is_empty()).collect(),
            };
            for name in names {
                groups.entry(name).or_default().add(&Sums::of(entry));
            }
        }
        let row = |(group, sums): (String, Sums)| SpendRow {
            group,
            entries: sums.entries,
            cost_nano_usd: sums.cost,
            estimated_nano_usd: sums.estimated,
            input_tokens: sums.input_tokens,
            output_tokens: sums.output_tokens,
            saved_nano_usd: sums.saved,
        };
        Ok(groups.into_iter().map(row).collect())
    }

    async fn alerts(&self, budget_id: Option<&str>, after: i64, limit: i64) -> Result<Vec<(i64, BudgetAlert)>> {
        let shared = self.shared.lock();
        let all = shared.alerts.iter().enumerate().map(|(at, alert)| (position(at), alert.clone()));
        let found = all.filter(|(at, alert)| *at > after && budget_id.is_none_or(|id| id == alert.budget_id));
        Ok(found.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
    }

    async fn tail(
        &self,
        payer: &Payer,
        after: Option<Tail>,
        limit: i64,
    ) -> Result<(Tail, Vec<Posted>, Vec<(i64, BudgetAlert)>)> {
        let end = {
            let shared = self.shared.lock();
            Tail { entry: position(shared.rows.len()) - 1, alert: position(shared.alerts.len()) - 1 }
        };
        let Some(after) = after else { return Ok((end, Vec::new(), Vec::new())) };
        let query = EntryQuery { payer: payer.clone(), after: after.entry, limit, ..EntryQuery::default() };
        let entries = self.entries(&query).await?;
        let alerts = self.alerts(None, after.alert, limit).await?;
        Ok((Tail::reached(end, limit, &entries, &alerts), entries, alerts))
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        let shared = self.shared.lock();
        let lease = |((budget_id, window, replica), amount): (&(String, i64, String), &i64)| Lease {
            replica: replica.clone(),
            budget_id: budget_id.clone(),
            window: *window,
            outstanding_nano_usd: *amount,
            seen_time: None,
        };
        Ok(shared.leases.iter().filter(|(_, amount)| **amount != 0).map(lease).collect())
    }

    async fn records(&self, filter: &AuditFilter, after: i64, limit: i64) -> Result<Vec<AuditRecord>> {
        let shared = self.shared.lock();
        let all = shared.records.iter().enumerate().map(|(at, (_, record))| (position(at), record));
        let time = |record: &AuditRecord| record.time.as_ref().map_or(0, micros);
        let found = all.filter(|(at, record)| {
            *at > after
                && record.action.starts_with(&filter.action_prefix)
                && (filter.key_id.is_empty() || filter.key_id == record.key_id)
                && (filter.call_id.is_empty() || filter.call_id == record.call_id)
                && filter.start_time.as_ref().is_none_or(|start| time(record) >= micros(start))
                && filter.end_time.as_ref().is_none_or(|end| time(record) < micros(end))
        });
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(found.take(limit).map(|(at, record)| AuditRecord { sequence: at, ..record.clone() }).collect())
    }

    async fn records_end(&self, after: i64) -> Result<i64> {
        Ok(self.shared.lock().records.len().checked_sub(1).map_or(after, |last| position(last).max(after)))
    }
}

#[async_trait]
impl Coordinator for MemoryStore {
    async fn lease(&self, epoch: i64, wants: &[Want]) -> std::result::Result<Granted, Lost> {
        let mut shared = self.shared.lock();
        if shared.epoch.number != epoch || !shared.epoch.open {
            return Err(Lost::Epoch);
        }
        let share = i64::try_from(shared.live().len().max(1) * 4).unwrap_or(i64::MAX);
        let mut granted = Vec::new();
        for (index, want) in wants.iter().enumerate() {
            let posted = shared.spent(&want.budget_id, want.from_window);
            let leased = shared.leased(&want.budget_id, want.lease_window);
            let available = want.limit - posted - leased;
            if available < want.min {
                return Ok(Granted::Denied(Denied { index, posted, leased }));
            }
            let needed = available.min(want.needed);
            let plenty = available - needed > share.saturating_mul(4).saturating_mul(want.needed);
            let ahead = if plenty { (want.max - needed).min((available - needed) / share) } else { 0 };
            granted.push((needed + ahead).max(want.min).max(0));
        }
        for (want, amount) in wants.iter().zip(&granted) {
            let key = (want.budget_id.clone(), want.lease_window, self.replica.clone());
            *shared.leases.entry(key).or_default() += amount;
        }
        Ok(Granted::All(granted))
    }

    async fn give_back(&self, _epoch: i64, parts: &[(String, i64, i64)]) -> std::result::Result<(), Lost> {
        let mut shared = self.shared.lock();
        for (budget, window, amount) in parts {
            if let Some(outstanding) = shared.leases.get_mut(&(budget.clone(), *window, self.replica.clone())) {
                *outstanding = (*outstanding - amount).max(0);
            }
        }
        Ok(())
    }

    async fn report(&self, _epoch: i64, _batch: u64, _rollup: &Rollup) -> std::result::Result<(), Lost> {
        Ok(())
    }

    async fn recall(&self, budget_ids: &[String]) -> std::result::Result<(), Lost> {
        let mut shared = self.shared.lock();
        shared.recalled.extend(budget_ids.iter().map(|id| (id.clone(), Instant::now())));
        Ok(())
    }

    async fn recalled(&self, _epoch: i64) -> std::result::Result<Vec<String>, Lost> {
        let mut shared = self.shared.lock();
        shared.recalled.retain(|_, at| at.elapsed().as_secs() < 2);
        Ok(shared.recalled.keys().cloned().collect())
    }

    async fn register(&self, _epoch: i64, leases: &[(String, i64, i64)]) -> std::result::Result<(), Lost> {
        let mut shared = self.shared.lock();
        shared.leases.retain(|(_, _, replica), _| *replica != self.replica);
        let mine = leases.iter().map(|(budget, window, n)| ((budget.clone(), *window, self.replica.clone()), *n));
        shared.leases.extend(mine);
        Ok(())
    }

    async fn open(&self, _epoch: i64) -> std::result::Result<(), Lost> {
        Ok(())
    }
}

#[async_trait]
impl Membership for MemoryStore {
    async fn beat(
        &self,
        epoch: i64,
        sees_redis: bool,
        _leases: &[(String, i64, i64)],
    ) -> std::result::Result<View, Lost> {
        let mut shared = self.shared.lock();
        let it = shared.of(self).map_err(|e| Lost::Gone(e.to_string()))?;
        (it.epoch, it.sees_redis, it.seen) = (epoch, sees_redis, Instant::now());
        Ok(View { now_us: (self.now_us)(), epoch: shared.epoch, live: shared.live() })
    }

    async fn propose(&self, current: i64, redis: bool) -> std::result::Result<bool, Lost> {
        let mut shared = self.shared.lock();
        if shared.epoch.number != current {
            return Ok(false);
        }
        shared.epoch = Epoch { number: current + 1, redis, open: false };
        Ok(true)
    }

    async fn opened(&self, epoch: i64) -> std::result::Result<(), Lost> {
        let mut shared = self.shared.lock();
        if shared.epoch.number == epoch {
            shared.epoch.open = true;
        }
        Ok(())
    }

    async fn close(&self, replica: &str) -> std::result::Result<Option<i64>, Lost> {
        let mut shared = self.shared.lock();
        if shared.replicas.get(replica).is_none_or(|r| r.seen.elapsed().as_secs() < 60) {
            return Ok(None);
        }
        let mut released = 0;
        shared.leases.retain(|(_, _, r), amount| {
            if r == replica {
                released += *amount;
            }
            r != replica
        });
        Ok(Some(released))
    }
}
