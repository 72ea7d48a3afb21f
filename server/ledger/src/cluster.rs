//! Several replicas: leases from one coordinator at a time, and what happens when stores or replicas are gone.
//!
//! The ledger of record (PostgreSQL) says which coordinator is in charge, by epoch. A new epoch opens only after every live replica has
//! registered what it has leased, so headroom is never handed out twice: not when Redis loses its memory, not when the one takes over
//! from the other.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::{
    sync::{RwLock, watch},
    time::Instant,
};
use tollgate_store::{Coordinator, Denied, Epoch, Granted, Lost, Membership, Rollup, StoreError, View, Want};

use crate::{
    Ledger,
    account::Account,
    hold::Scopes,
    skew::{Answer, Skew},
};

/// How often a replica says that it lives.
const BEAT: Duration = Duration::from_millis(250);
/// How often leases are looked after.
const TEND: Duration = Duration::from_millis(100);
/// How often Redis is looked at for budgets that it does not know.
const TEACH: Duration = Duration::from_secs(1);
/// For how long headroom is leased only as needed after somebody had to wait for it.
const NEAR_US: i64 = 2_000_000;
/// Redis must be gone, or back, for all live replicas and for this long before another coordinator takes over.
const SETTLED: Duration = Duration::from_secs(2);
/// A coordinator that takes longer is as good as gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a cluster is made of.
pub struct Cluster {
    /// Who is there, and which epoch it is.
    pub members: Arc<dyn Membership>,
    /// The coordinator in the ledger of record.
    pub postgres: Arc<dyn Coordinator>,
    /// The coordinator in Redis, where there is one.
    pub redis: Option<Arc<dyn Coordinator>>,
    /// What each hard budget may spend at this replica while no coordinator can be reached.
    pub allowance: i64,
}

/// What works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One replica: nothing to share.
    #[default]
    Alone,
    /// Everything.
    Normal,
    /// PostgreSQL hands out leases in place of Redis.
    RedisGone,
    /// Redis hands out leases; entries wait in the journal.
    PostgresGone,
    /// Leases in hand are spent; then hard budgets refuse.
    BothGone,
    /// Replicas register their leases with a coordinator that takes over.
    Registering,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 6] =
        [Self::Alone, Self::Normal, Self::RedisGone, Self::PostgresGone, Self::BothGone, Self::Registering];

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Normal => "normal",
            Self::RedisGone => "redis_gone",
            Self::PostgresGone => "postgres_gone",
            Self::BothGone => "both_gone",
            Self::Registering => "registering",
        }
    }

    /// By how much a hard budget can be overspent in it, for people.
    pub fn bound(self) -> &'static str {
        match self {
            Self::BothGone => "at most replicas x degraded allowance for each budget",
            _ => "0",
        }
    }
}

/// A replica's view of its cluster.
pub(crate) struct State {
    cluster: Arc<Cluster>,
    replica: String,
    /// Read by whoever leases, gives back or reports; written while leases are registered.
    registered: Arc<RwLock<Epoch>>,
    /// The epoch as last heard.
    epoch: Mutex<Epoch>,
    live: AtomicUsize,
    /// First by name of those that live.
    first: AtomicBool,
    sees_redis: AtomicBool,
    sees_postgres: AtomicBool,
    redis_changed: Mutex<Instant>,
    /// A lease or a return had an unknown end: what the coordinator has on its list must be stated anew.
    unsure: Arc<AtomicBool>,
    /// The ledger of record was away at the start and has not been joined yet.
    offline: AtomicBool,
    /// This replica has given everything back and takes nothing more.
    closed: AtomicBool,
    /// Accounts that lease.
    active: Arc<DashMap<Arc<str>, Arc<Account>>>,
    /// Accounts that may spend beyond their leases while no coordinator can be reached.
    allowed: DashMap<Arc<str>, Arc<Account>>,
    mode: watch::Sender<Mode>,
}

impl State {
    pub(crate) fn new(cluster: Cluster, replica: String, online: bool) -> Self {
        Self {
            cluster: Arc::new(cluster),
            replica,
            registered: Arc::default(),
            epoch: Mutex::new(Epoch::default()),
            live: AtomicUsize::new(1),
            first: AtomicBool::new(false),
            sees_redis: AtomicBool::new(false),
            sees_postgres: AtomicBool::new(online),
            redis_changed: Mutex::new(Instant::now()),
            unsure: Arc::default(),
            offline: AtomicBool::new(!online),
            closed: AtomicBool::new(false),
            active: Arc::default(),
            allowed: DashMap::new(),
            mode: watch::Sender::new(Mode::Registering),
        }
    }

    /// The coordinator of an epoch.
    fn coordinator(&self, epoch: Epoch) -> Arc<dyn Coordinator> {
        match (&self.cluster.redis, epoch.redis) {
            (Some(redis), true) => redis.clone(),
            _ => self.cluster.postgres.clone(),
        }
    }

    /// Leases what is missing so that `min` to `max` can be held in every account. `Some`: an account that has no room.
    pub(crate) async fn acquire(
        &self,
        scopes: &Scopes,
        min: i64,
        max: i64,
        now_us: i64,
    ) -> Result<Option<(Arc<Account>, Denied)>, Lost> {
        let wanted: Vec<_> = scopes.iter().filter_map(|a| Some((a.clone(), a.want(min, max, now_us)?))).collect();
        self.request(wanted, now_us).await
    }

    async fn request(
        &self,
        wanted: Vec<(Arc<Account>, Want)>,
        now_us: i64,
    ) -> Result<Option<(Arc<Account>, Denied)>, Lost> {
        if wanted.is_empty() {
            return Ok(None);
        }
        self.allow_degraded(&wanted);
        let registered = self.registered.clone().read_owned().await;
        let epoch = *self.epoch.lock();
        if !epoch.open || registered.number != epoch.number {
            return Err(Lost::Epoch);
        }
        let coordinator = self.reachable(epoch)?;
        let (unsure, active) = (self.unsure.clone(), self.active.clone());
        // A task of its own: a caller that goes away in the middle must not lose what was granted.
        let asking = tokio::spawn(async move {
            let _no_registration_meanwhile = registered;
            let wants: Vec<_> = wanted.iter().map(|(_, want)| want.clone()).collect();
            match patiently(coordinator.lease(epoch.number, &wants)).await {
                Ok(Granted::All(amounts)) => {
                    for ((account, want), amount) in wanted.iter().zip(amounts) {
                        account.grant(want.lease_window, amount, want.limit, now_us);
                        // Only now: what has no lease yet may be taken off the list at any time.
                        active.entry(account.id.clone()).or_insert_with(|| account.clone());
                    }
                    Ok(None)
                }
                Ok(Granted::Denied(denied)) => Ok(wanted.get(denied.index).map(|(a, _)| (a.clone(), denied))),
                Err(lost) => {
                    unsure.store(true, Ordering::Relaxed);
                    Err(lost)
                }
            }
        });
        asking.await.unwrap_or_else(|_| Err(Lost::Gone("the gateway is going down".into())))
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Acquire)
    }

    /// Looks whether Redis answers.
    async fn look_at_redis(&self) {
        let Some(redis) = &self.cluster.redis else { return };
        let number = self.epoch.lock().number;
        let answer = tokio::time::timeout(PATIENCE, redis.recalled(number)).await;
        let there = matches!(answer, Ok(Ok(_) | Err(Lost::Epoch | Lost::Unknown)));
        if self.sees_redis.swap(there, Ordering::Relaxed) != there {
            *self.redis_changed.lock() = Instant::now();
        }
    }

    /// Nobody waits for a Redis that did not answer a moment ago.
    fn reachable(&self, epoch: Epoch) -> Result<Arc<dyn Coordinator>, Lost> {
        if epoch.redis && !self.sees_redis.load(Ordering::Relaxed) {
            return Err(Lost::Gone("redis does not answer".into()));
        }
        Ok(self.coordinator(epoch))
    }

    /// Asks everybody, ourselves included, to give back what they do not use of a budget.
    pub(crate) async fn recall(&self, account: &Arc<Account>) {
        let epoch = *self.epoch.lock();
        let ids = [account.id.to_string()];
        let Ok(coordinator) = self.reachable(epoch) else { return };
        let _ = patiently(coordinator.recall(&ids)).await;
    }

    /// Tells the coordinator what a batch spends, before the ledger of record has it.
    pub(crate) async fn report(&self, through: u64, rollup: &Rollup) -> Result<(), Lost> {
        let registered = self.registered.read().await;
        let epoch = *self.epoch.lock();
        if !epoch.redis || rollup.balances.is_empty() {
            return Ok(());
        }
        if registered.number != epoch.number {
            return Err(Lost::Epoch);
        }
        let coordinator = self.reachable(epoch)?;
        let reported = coordinator.report(epoch.number, through, rollup);
        patiently(reported).await
    }

    /// Everything that this replica has leased.
    fn leases(&self) -> Vec<(String, i64, i64)> {
        let of = |a: &Arc<Account>| a.leases().into_iter().map(|(w, n)| (a.id.to_string(), w, n)).collect::<Vec<_>>();
        self.active.iter().flat_map(|a| of(&a)).collect()
    }

    fn set_mode(&self) {
        let epoch = *self.epoch.lock();
        let (redis, postgres) = (self.sees_redis.load(Ordering::Relaxed), self.sees_postgres.load(Ordering::Relaxed));
        let has_redis = self.cluster.redis.is_some();
        let mode = match (postgres, epoch.open, epoch.redis) {
            (true, false, _) => Mode::Registering,
            (true, true, true) if redis => Mode::Normal,
            (true, true, false) if !has_redis => Mode::Normal,
            (true, true, _) => Mode::RedisGone,
            (false, true, true) if redis => Mode::PostgresGone,
            (false, ..) => Mode::BothGone,
        };
        self.mode.send_if_modified(|before| {
            if *before == mode {
                return false;
            }
            tracing::warn!(
                mode = mode.name(),
                before = before.name(),
                epoch = epoch.number,
                live = self.live.load(Ordering::Relaxed),
                overspend_bound = mode.bound(),
                "the mode of this replica has changed"
            );
            *before = mode;
            true
        });
        if mode != Mode::BothGone {
            self.allowed.retain(|_, account| {
                account.allow(0);
                false
            });
        }
    }

    /// While no coordinator can be reached, what was allowed for that.
    fn allow_degraded(&self, wanted: &[(Arc<Account>, Want)]) {
        // Held until the list has them: a mode that changes meanwhile takes the allowance from all on the list.
        let mode = self.mode.borrow();
        if *mode == Mode::BothGone && self.cluster.allowance > 0 {
            for (account, _) in wanted {
                account.allow(self.cluster.allowance);
                self.allowed.insert(account.id.clone(), account.clone());
            }
        }
    }
}

async fn patiently<T>(asked: impl Future<Output = Result<T, Lost>>) -> Result<T, Lost> {
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(Lost::Gone("no answer within a second".into())))
}

/// By how much the ledger of record's clock is ahead of ours: the best of some answers.
pub(crate) async fn skew(cluster: &Cluster, clock: &tollgate_domain::Clock) -> Result<Skew, StoreError> {
    let begun = Instant::now();
    let mut best: Option<Answer> = None;
    for _ in 0..5 {
        let answer = loop {
            let before_us = clock.now_us();
            match patiently(cluster.members.beat(0, false, &[])).await {
                Ok(view) => break Answer::new(before_us, view.now_us, clock.now_us()),
                Err(lost) if begun.elapsed() > Duration::from_secs(15) => {
                    return Err(StoreError::Unavailable(lost.to_string()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        best = best.filter(|best| best.error_us <= answer.error_us).or(Some(answer));
    }
    best.map(Skew::first).ok_or_else(|| StoreError::Unavailable("the ledger of record does not tell its time".into()))
}

/// Joins: ships what the last run left, gives back what it had leased, and starts the loops.
pub(crate) async fn join(ledger: &Arc<Ledger>) -> Result<(), StoreError> {
    let Some(state) = &ledger.cluster else { return Ok(()) };
    let begun = Instant::now();
    if state.is_offline() {
        state.look_at_redis().await;
        state.set_mode();
        start_loops(ledger);
        return Ok(());
    }
    loop {
        state.look_at_redis().await;
        // What crashed with leases in hand registers without any: what it had spent of them goes with the entries.
        let joined = async {
            ledger.beat().await?;
            ledger.tend_epoch().await
        };
        match joined.await {
            // The epoch opens once the others have registered too; whoever does not come is not waited for.
            Ok(())
                if state.registered.read().await.number > 0
                    && (state.epoch.lock().open || begun.elapsed() > SETTLED) =>
            {
                break;
            }
            Ok(()) => {}
            Err(lost) if begun.elapsed() > Duration::from_secs(15) => {
                return Err(StoreError::Unavailable(lost.to_string()));
            }
            Err(lost) => tracing::warn!(%lost, "waiting for the cluster"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ledger.ship().await.or_else(|error| match error {
        StoreError::Unavailable(_) => Ok(()), // the loop goes on trying
        other => Err(other),
    })?;
    start_loops(ledger);
    Ok(())
}

fn start_loops(ledger: &Arc<Ledger>) {
    tokio::spawn(look_loop(Arc::downgrade(ledger)));
    tokio::spawn(beat_loop(Arc::downgrade(ledger)));
    tokio::spawn(tend_loop(Arc::downgrade(ledger)));
    tokio::spawn(teach_loop(Arc::downgrade(ledger)));
}

async fn beat_loop(ledger: Weak<Ledger>) {
    loop {
        tokio::time::sleep(BEAT).await;
        let Some(ledger) = ledger.upgrade() else { return };
        let Some(state) = &ledger.cluster else { return };
        match ledger.beat().await {
            Ok(()) => {
                state.sees_postgres.store(true, Ordering::Relaxed);
                if let Err(error) = ledger.come_online().await {
                    tracing::debug!(%error, "the ledger of record cannot be joined now");
                    continue;
                }
                if let Err(lost) = ledger.tend_epoch().await {
                    tracing::debug!(%lost, "the epoch cannot be looked after now");
                }
            }
            Err(_) => state.sees_postgres.store(false, Ordering::Relaxed),
        }
        state.set_mode();
    }
}

/// Apart from the beat, which does not wait for a Redis that is away.
async fn look_loop(ledger: Weak<Ledger>) {
    loop {
        tokio::time::sleep(BEAT).await;
        let Some(ledger) = ledger.upgrade() else { return };
        let Some(state) = &ledger.cluster else { return };
        state.look_at_redis().await;
    }
}

async fn tend_loop(ledger: Weak<Ledger>) {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(TEND).await;
        let Some(ledger) = ledger.upgrade() else { return };
        let elapsed_us = i64::try_from(last.elapsed().as_micros()).unwrap_or(i64::MAX);
        last = Instant::now();
        ledger.tend_leases(elapsed_us).await;
    }
}

/// One replica has Redis learn every hard budget, so that those not used yet can be while PostgreSQL is away.
async fn teach_loop(ledger: Weak<Ledger>) {
    let mut taught = (0, 0);
    loop {
        tokio::time::sleep(TEACH).await;
        let Some(ledger) = ledger.upgrade() else { return };
        let Some(state) = &ledger.cluster else { return };
        let epoch = *state.epoch.lock();
        let all = (epoch.number, ledger.book.len());
        let ours = ledger.mode() == Mode::Normal && epoch.redis && state.first.load(Ordering::Relaxed);
        if ours && taught != all && ledger.teach(state, epoch).await {
            taught = all;
        }
    }
}

impl Ledger {
    /// Has the coordinator learn every hard budget; false when it could not.
    async fn teach(&self, state: &State, epoch: Epoch) -> bool {
        let now_us = self.now_us();
        let wants: Vec<_> = self.book.accounts().iter().filter_map(|a| a.want_nothing(now_us)).collect();
        for wants in wants.chunks(50) {
            let Ok(coordinator) = state.reachable(epoch) else { return false };
            // One that has nothing left refuses, but is known then.
            if patiently(coordinator.lease(epoch.number, wants)).await.is_err() {
                return false;
            }
            // Callers come first.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// What works now.
    pub fn mode(&self) -> Mode {
        self.cluster.as_ref().map_or(Mode::Alone, |c| *c.mode.borrow())
    }

    /// Whether the ledger of record was away at the start and is still.
    pub fn is_offline(&self) -> bool {
        self.cluster.as_ref().is_some_and(State::is_offline)
    }

    /// Tells whenever the mode changes.
    pub fn watch_mode(&self) -> Option<watch::Receiver<Mode>> {
        self.cluster.as_ref().map(|c| c.mode.subscribe())
    }

    /// Replicas that are alive, this one included.
    pub fn live_replicas(&self) -> usize {
        self.cluster.as_ref().map_or(1, |c| c.live.load(Ordering::Relaxed).max(1))
    }

    /// Gives up a replica whose disk is lost, and tells what it had leased.
    pub async fn close_replica(&self, replica: &str) -> Result<Option<i64>, Lost> {
        let Some(state) = &self.cluster else { return Ok(None) };
        let closed = state.cluster.members.close(replica).await?;
        let epoch = *state.epoch.lock();
        if closed.is_some() && epoch.redis {
            // Redis may have its leases on the list: it is asked to begin anew.
            state.cluster.members.propose(epoch.number, true).await?;
        }
        Ok(closed)
    }

    /// Ends well: everything is in the store, and what was leased is given back.
    pub async fn close(&self) {
        if tokio::time::timeout(Duration::from_secs(10), self.shipped()).await.is_err() {
            tracing::warn!(
                records = self.lag(),
                "the store cannot be reached; the journal keeps what it lacks for the next start"
            );
            return;
        }
        let Some(state) = &self.cluster else { return };
        state.closed.store(true, Ordering::Relaxed);
        let mut registered = state.registered.write().await;
        let epoch = *state.epoch.lock();
        if registered.number == epoch.number
            && patiently(state.coordinator(epoch).register(epoch.number, &[])).await.is_err()
        {
            tracing::warn!("leases cannot be given back now; the next start of this replica does it");
        }
        // From here on nothing is leased: the epoch is not ours.
        *registered = Epoch::default();
    }

    /// Joins a ledger of record that was away at the start.
    async fn come_online(&self) -> Result<(), StoreError> {
        let Some(state) = self.cluster.as_ref().filter(|c| c.is_offline()) else { return Ok(()) };
        let known = self.store.positions().await?;
        {
            let mut writer = self.writer.lock();
            let here = writer.positions(known.journal);
            if known.ledger > here.ledger || known.audit > here.audit {
                self.fail("the ledger of record has records of this replica that its journal lacks: its data directory is an old one".into());
                return Err(StoreError::Fenced(self.replica.clone()));
            }
            // What the last run shipped without noting it does not go again.
            writer.queue.retain(|(sequence, _)| *sequence > known.journal);
        }
        state.offline.store(false, Ordering::Release);
        tracing::info!("the ledger of record is reached; what it lacks is shipped");
        Ok(())
    }

    async fn beat(&self) -> Result<(), Lost> {
        let Some(state) = &self.cluster else { return Ok(()) };
        let epoch = state.registered.read().await.number;
        let sees_redis = state.sees_redis.load(Ordering::Relaxed);
        let before_us = self.clock.now_us();
        let leases = state.leases();
        let beat = state.cluster.members.beat(epoch, sees_redis, &leases);
        let view = patiently(beat).await?;
        let View { now_us, epoch, live } = &view;
        // A clock that jumps moves no window, for windows never go back.
        self.skew.learn(Answer::new(before_us, *now_us, self.clock.now_us()));
        state.live.store(live.len(), Ordering::Relaxed);
        state.first.store(live.first().is_some_and(|m| m.replica == self.replica), Ordering::Relaxed);
        *state.epoch.lock() = *epoch;
        self.tend_members(&view).await
    }

    /// Proposes and opens epochs.
    async fn tend_members(&self, view: &View) -> Result<(), Lost> {
        let Some(state) = &self.cluster else { return Ok(()) };
        let members = &state.cluster.members;
        let epoch = view.epoch;
        if epoch.number == 0 {
            members.propose(0, state.sees_redis.load(Ordering::Relaxed)).await?;
            return Ok(());
        }
        if !epoch.open {
            if view.live.iter().all(|m| m.epoch == epoch.number) {
                patiently(state.coordinator(epoch).open(epoch.number)).await?;
                members.opened(epoch.number).await?;
            } else if epoch.redis && state.redis_changed.lock().elapsed() > SETTLED && all_lost_redis(view) {
                members.propose(epoch.number, false).await?;
            }
            return Ok(());
        }
        let settled = state.redis_changed.lock().elapsed() > SETTLED;
        if epoch.redis && settled && all_lost_redis(view) {
            members.propose(epoch.number, false).await?;
        } else if !epoch.redis && state.cluster.redis.is_some() && settled && view.live.iter().all(|m| m.sees_redis) {
            members.propose(epoch.number, true).await?;
        } else if epoch.redis && state.sees_redis.load(Ordering::Relaxed) {
            let answer = patiently(state.coordinator(epoch).recalled(epoch.number)).await;
            if answer == Err(Lost::Epoch) {
                tracing::warn!(epoch = epoch.number, "redis has lost its memory; its state is rebuilt");
                members.propose(epoch.number, true).await?;
            }
        }
        Ok(())
    }

    /// Registers what is leased in an epoch that is new, or where the coordinator may have something else on its list.
    async fn tend_epoch(&self) -> Result<(), Lost> {
        let Some(state) = &self.cluster else { return Ok(()) };
        let epoch = *state.epoch.lock();
        let unsure = state.unsure.load(Ordering::Relaxed);
        if epoch.number == 0
            || state.closed.load(Ordering::Relaxed)
            || (state.registered.read().await.number == epoch.number && !unsure)
        {
            return Ok(());
        }
        // Calls do not wait for a coordinator that is away.
        let coordinator = state.reachable(epoch)?;
        // No batch is under way while leases are stated: one whose end is unknown is brought to its end first.
        let mut unshipped = self.unshipped.lock().await;
        let mut registered = state.registered.write().await;
        let joining = registered.number == 0;
        loop {
            if joining && unshipped.is_none() {
                // What the last run left counts before its leases are given up.
                *unshipped = Some(self.take_batch()).filter(|b| !b.changes.is_empty());
            }
            let Some(batch) = unshipped.as_ref() else { break };
            let rollup = Rollup::of(batch.rows());
            if epoch.redis && (registered.number == epoch.number || (joining && epoch.open)) {
                patiently(coordinator.report(epoch.number, batch.through, &rollup)).await?;
            }
            self.apply(batch, &rollup).await.map_err(|e| Lost::Gone(e.to_string()))?;
            self.moved();
            self.shipped.send_replace(batch.through);
            *unshipped = None;
        }
        state.unsure.store(false, Ordering::Relaxed);
        let stated = patiently(coordinator.register(epoch.number, &state.leases())).await;
        if stated.is_err() {
            state.unsure.store(true, Ordering::Relaxed);
        }
        stated?;
        *registered = epoch;
        tracing::info!(epoch = epoch.number, redis = epoch.redis, replica = state.replica, "registered");
        Ok(())
    }

    /// Gives back what is not needed, takes what will be.
    async fn tend_leases(&self, elapsed_us: i64) {
        let Some(state) = &self.cluster else { return };
        let epoch = *state.epoch.lock();
        let Ok(coordinator) = state.reachable(epoch) else { return };
        let now_us = self.now_us();
        for id in patiently(coordinator.recalled(epoch.number)).await.unwrap_or_default() {
            if let Some(account) = self.account(&id) {
                account.near(now_us + NEAR_US);
            }
        }
        let registered = state.registered.read().await;
        if !epoch.open || registered.number != epoch.number {
            return;
        }
        let (mut parts, mut wanted) = (Vec::new(), Vec::new());
        for account in state.active.iter() {
            let id = account.id.to_string();
            parts.extend(account.give_back(now_us, elapsed_us).into_iter().map(|(window, n)| (id.clone(), window, n)));
            wanted.extend(account.want_ahead(now_us).map(|want| (account.clone(), want)));
        }
        state.active.retain(|_, account| account.is_active());
        if !parts.is_empty() {
            parts.sort_unstable();
            if patiently(coordinator.give_back(epoch.number, &parts)).await.is_err() {
                state.unsure.store(true, Ordering::Relaxed);
            }
        }
        drop(registered);
        wanted.sort_by(|a, b| a.1.cmp(&b.1));
        for wanted in wanted.chunks(100) {
            let _ = state.request(wanted.to_vec(), now_us).await;
        }
    }
}

fn all_lost_redis(view: &View) -> bool {
    view.live.iter().all(|m| !m.sees_redis)
}
