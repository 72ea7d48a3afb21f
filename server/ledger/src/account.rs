//! Accounts: what may still be spent, held and settled in memory.
//!
//! An account is the authority on its budget when this replica is alone. Where there are several it is a lease: headroom taken from the
//! coordinator ahead of need, within which the same arithmetic holds.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tollgate_proto::v1::{BudgetCharge, BudgetScope};
use tollgate_store::{AlertRule, Want};

use crate::{
    policy::{Policy, scope_name},
    window::{Span, Window},
};

/// Where a budget stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// The limit in force.
    pub limit: i64,
    /// Whether it refuses.
    pub hard: bool,
    /// Settled in the current window.
    pub spent: i64,
    /// Held by calls in flight.
    pub held: i64,
    /// Leased by this replica and neither held nor spent.
    pub free: i64,
}

/// Headroom that this replica has taken from the coordinator.
#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    window: i64,
    /// Taken and not yet reported as spent or given back: what the coordinator has on its list.
    outstanding: i64,
    /// Settled here, not yet reported.
    unreported: i64,
    /// Held here.
    held: i64,
}

impl Lease {
    fn free(&self) -> i64 {
        self.outstanding - self.unreported - self.held
    }
}

#[derive(Debug)]
struct State {
    policy: Arc<Policy>,
    span: Span,
    /// Settled in the window: by this replica where it is alone, else by all as last heard.
    spent: i64,
    /// Of a rolling window: what each step adds to `spent`, oldest first.
    steps: VecDeque<(i64, i64)>,
    held: i64,
    /// Where there are several replicas.
    lease: Option<Lease>,
    /// What may be spent beyond the lease while no coordinator can be reached.
    allowance: i64,
    /// Leases of windows that are over, until their calls have settled.
    ended: Vec<Lease>,
    /// Spent here since the last look, for the size of leases.
    recent: i64,
    /// Nano-dollars per second, smoothed.
    rate: i64,
    /// The largest hold of late.
    largest: i64,
    /// Until when only what is needed is leased: others are waiting.
    near_until_us: i64,
    last_used_us: i64,
    /// The limit was lowered since headroom was last granted: what comes free goes back, for it may lie beyond the new limit.
    lowered: bool,
    /// What a window that is about to come in force has spent already.
    prepared: Option<(Window, Vec<(i64, i64)>)>,
}

/// One budget's account, or that of its pace limit.
#[derive(Debug)]
pub struct Account {
    /// What entries are charged to: the budget's id, with `#pace` or `/customer` behind it.
    pub id: Arc<str>,
    /// What it is on: fixed.
    pub scope: BudgetScope,
    /// Other replicas spend it too.
    shared: bool,
    state: Mutex<State>,
    /// Rung whenever room appears.
    freed: Notify,
    /// How many wait for room.
    waiting: AtomicI64,
}

impl Account {
    /// An account with nothing spent. `shared`: other replicas spend the same budget.
    pub fn new(id: impl Into<Arc<str>>, policy: Arc<Policy>, now_us: i64, shared: bool) -> Self {
        let span = policy.window.at(now_us);
        let scope = policy.scope.clone();
        let mut state = State {
            policy,
            span,
            spent: 0,
            steps: VecDeque::new(),
            held: 0,
            lease: None,
            allowance: 0,
            ended: Vec::new(),
            recent: 0,
            rate: 0,
            largest: 0,
            near_until_us: 0,
            last_used_us: 0,
            lowered: false,
            prepared: None,
        };
        state.lease_or_not(shared);
        let (freed, waiting) = (Notify::new(), AtomicI64::new(0));
        Self { id: id.into(), scope, shared, state: Mutex::new(state), freed, waiting }
    }

    /// What the budget asks for.
    pub fn policy(&self) -> Arc<Policy> {
        self.state.lock().policy.clone()
    }

    /// What it is on, for messages.
    pub fn scope_name(&self) -> String {
        scope_name(&self.scope)
    }

    /// The budget's id: the charge's without what is behind it.
    pub fn budget_id(&self) -> &str {
        self.id.split(['#', '/']).next().unwrap_or_default()
    }

    /// Where it stands.
    pub fn balance(&self, now_us: i64) -> Balance {
        let mut state = self.state.lock();
        state.roll(now_us);
        Balance {
            limit: state.policy.limit(now_us),
            hard: state.policy.is_hard(),
            spent: state.spent,
            held: state.held,
            free: state.lease.map_or(0, |l| l.free()),
        }
    }

    /// The window in force.
    pub fn span(&self, now_us: i64) -> Span {
        let mut state = self.state.lock();
        state.roll(now_us);
        state.span
    }

    /// Keeps what the store has for the windows of a change that comes next.
    pub(crate) fn prepare(&self, window: Window, balances: Vec<(i64, i64)>) {
        self.state.lock().prepared = Some((window, balances));
    }

    /// Takes over a changed budget. A changed window begins with what was prepared for it, unless it is the same window under another
    /// name, of which memory knows.
    pub(crate) fn change(&self, policy: Arc<Policy>, now_us: i64) {
        let mut state = self.state.lock();
        state.roll(now_us);
        let new_window = state.policy.window != policy.window;
        let (lease_window, held, before, spent) = (state.lease_window(), state.held, state.span.id, state.spent);
        let both_rolling = state.policy.window.is_rolling() || policy.window.is_rolling();
        let lowered =
            policy.hard_limit(now_us).unwrap_or(i64::MAX) < state.policy.hard_limit(now_us).unwrap_or(i64::MAX);
        state.policy = policy;
        if lowered {
            state.lowered = true;
            state.put_back();
        }
        let prepared = state.prepared.take();
        if new_window {
            state.begin(now_us);
            if state.lease_window() == lease_window {
                // Calls in flight settle here still.
                state.held = held;
            }
            match prepared.filter(|(window, _)| *window == state.policy.window) {
                _ if state.span.id == before && !both_rolling => state.spent = spent,
                Some((_, balances)) => state.set_spent(&balances),
                None => {}
            }
        }
        state.lease_or_not(self.shared);
        drop(state);
        self.freed.notify_waiters();
    }

    /// States what the store has for the current window: at a start, after a change of the window, and as others spend.
    pub fn set_spent(&self, balances: &[(i64, i64)], now_us: i64) {
        let mut state = self.state.lock();
        state.roll(now_us);
        state.set_spent(balances);
    }

    /// From which window on the store's balances count.
    pub fn counts_from(&self, now_us: i64) -> i64 {
        let mut state = self.state.lock();
        state.roll(now_us);
        state.policy.window.counts_from(state.span)
    }

    /// What the store needs to raise alerts.
    pub(crate) fn alert_rule(&self, now_us: i64) -> AlertRule {
        let mut state = self.state.lock();
        state.roll(now_us);
        state.policy.alert_rule(now_us, state.span)
    }

    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked(self.state.lock())
    }

    pub(crate) fn freed(&self) -> &Notify {
        &self.freed
    }

    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    fn ring(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.freed.notify_waiters();
        }
    }

    /// Gives back `amount` that was held in `part`'s window.
    pub(crate) fn release(&self, part: &Part, amount: i64) {
        self.settle(part, amount, 0);
    }

    /// Turns `cost` into spend, `from_hold` of it out of what was held.
    pub(crate) fn settle(&self, part: &Part, from_hold: i64, cost: i64) {
        let mut state = self.state.lock();
        state.settle(part, from_hold, cost);
        drop(state);
        self.ring();
    }

    /// Corrects what is spent in a window without a hold: an adjustment, or an entry that was recovered.
    pub fn post(&self, window: i64, amount: i64) {
        let mut state = self.state.lock();
        state.book(window, amount);
        drop(state);
        self.ring();
    }

    // --- leases ---------------------------------------------------------------------------------------------------------------

    /// What to lease so that `min` to `max` more can be held; `None`: there is room already, or nothing is leased.
    pub(crate) fn want(&self, min: i64, max: i64, now_us: i64) -> Option<Want> {
        let mut state = self.state.lock();
        state.roll(now_us);
        let lease = state.lease?;
        let limit = state.policy.hard_limit(now_us)?;
        let free = lease.free();
        if free >= max {
            return None;
        }
        state.largest = state.largest.max(max);
        // Ahead of need: ten seconds of spend, at least four calls like this one; only what is needed while others wait.
        let ahead = if now_us < state.near_until_us { 0 } else { state.target() };
        Some(Want {
            budget_id: self.id.to_string(),
            lease_window: lease.window,
            from_window: state.policy.window.counts_from(state.span),
            limit,
            min: (min - free).max(0),
            max: (max - free).saturating_add(ahead),
            needed: max - free,
        })
    }

    /// Nothing, of a lease: for a coordinator that should know the budget.
    pub(crate) fn want_nothing(&self, now_us: i64) -> Option<Want> {
        let mut state = self.state.lock();
        state.roll(now_us);
        Some(Want {
            budget_id: self.id.to_string(),
            lease_window: state.lease?.window,
            from_window: state.policy.window.counts_from(state.span),
            limit: state.policy.hard_limit(now_us)?,
            min: 0,
            max: 0,
            needed: 0,
        })
    }

    /// What to lease ahead of need, if anything.
    pub(crate) fn want_ahead(&self, now_us: i64) -> Option<Want> {
        let mut state = self.state.lock();
        state.roll(now_us);
        let target = state.target();
        let lease = state.lease?;
        let limit = state.policy.hard_limit(now_us)?;
        if now_us < state.near_until_us || state.is_idle(now_us) || lease.free() >= target / 2 || target == 0 {
            return None;
        }
        Some(Want {
            budget_id: self.id.to_string(),
            lease_window: lease.window,
            from_window: state.policy.window.counts_from(state.span),
            limit,
            min: 0,
            max: target - lease.free(),
            needed: 0,
        })
    }

    /// Takes a grant. What came too late for its window is given back later.
    pub(crate) fn grant(&self, window: i64, amount: i64, under_limit: i64, now_us: i64) {
        let mut state = self.state.lock();
        // Asked for under a higher limit than is in force by now: nobody's to spend.
        if state.policy.hard_limit(now_us).is_some_and(|limit| limit < under_limit) {
            state.end(Lease { window, outstanding: amount, ..Lease::default() });
            return;
        }
        let amount = if tollgate_planted::bug("lease_granted_twice") { amount * 2 } else { amount };
        // There was room: so nothing lies beyond the limit any more.
        state.lowered &= amount == 0;
        match &mut state.lease {
            Some(lease) if lease.window == window => lease.outstanding += amount,
            _ => state.end(Lease { window, outstanding: amount, ..Lease::default() }),
        }
        drop(state);
        self.ring();
    }

    /// What may be spent without a lease while no coordinator can be reached.
    pub(crate) fn allow(&self, allowance: i64) {
        self.state.lock().allowance = allowance;
    }

    /// Others wait: from now on only what is needed is leased.
    pub(crate) fn near(&self, until_us: i64) {
        let mut state = self.state.lock();
        state.near_until_us = state.near_until_us.max(until_us);
    }

    /// Takes out what is leased and not needed, to be given back: windows that are over, idle headroom, all that is free when others
    /// wait. Also moves the measure of spend on.
    pub(crate) fn give_back(&self, now_us: i64, elapsed_us: i64) -> Vec<(i64, i64)> {
        let mut state = self.state.lock();
        state.roll(now_us);
        let per_second = state.recent.saturating_mul(1_000_000) / elapsed_us.max(1);
        state.rate = (state.rate.saturating_mul(7) / 8).saturating_add(per_second / 8);
        state.recent = 0;
        state.largest -= state.largest / 64;
        let mut parts = BTreeMap::new();
        for lease in &mut state.ended {
            let free = lease.free();
            if free > 0 {
                lease.outstanding -= free;
                parts.insert(lease.window, free);
            }
        }
        state.ended.retain(|l| l.outstanding != 0 || l.held != 0 || l.unreported != 0);
        let keep =
            if now_us < state.near_until_us || state.is_idle(now_us) { 0 } else { state.target().saturating_mul(2) };
        if let Some(lease) = &mut state.lease {
            let spare = lease.free() - keep;
            if spare > 0 {
                lease.outstanding -= spare;
                *parts.entry(lease.window).or_insert(0) += spare;
            }
        }
        parts.into_iter().collect()
    }

    /// The coordinator knows of `amount` spent in a lease's window.
    pub(crate) fn reported(&self, window: i64, amount: i64) {
        let mut state = self.state.lock();
        let current = state.lease.as_mut().filter(|l| l.window == window);
        let lease = match current {
            Some(lease) => Some(lease),
            None => state.ended.iter_mut().find(|l| l.window == window),
        };
        if let Some(lease) = lease {
            // What an earlier run spent was never this run's to report.
            let earlier = tollgate_planted::bug("earlier_runs_reported");
            let amount = if earlier { amount } else { amount.min(lease.unreported) };
            lease.outstanding -= amount;
            lease.unreported -= amount;
        }
    }

    /// Everything that is leased, by window.
    pub(crate) fn leases(&self) -> Vec<(i64, i64)> {
        let state = self.state.lock();
        let mut sums = BTreeMap::new();
        for lease in state.lease.iter().chain(&state.ended) {
            *sums.entry(lease.window).or_insert(0) += lease.outstanding;
        }
        sums.into_iter().filter(|(_, outstanding)| *outstanding != 0).collect()
    }

    /// Whether anything is leased or was used of late.
    pub(crate) fn is_active(&self) -> bool {
        let state = self.state.lock();
        !state.ended.is_empty()
            || state.recent != 0
            || state.lease.is_some_and(|l| l.outstanding != 0 || l.unreported != 0 || l.held != 0)
    }
}

/// Counts who waits, so that nobody is rung for when nobody does.
pub(crate) struct Waiting<'a>(&'a Account);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What of a hold lies in one account.
#[derive(Clone, Debug)]
pub struct Part {
    /// The account.
    pub account: Arc<Account>,
    /// The window of the admission.
    pub window: i64,
    /// The window of the lease that pays; [`NO_LEASE`] where none does.
    pub lease_window: i64,
}

/// In place of a lease's window: nothing is leased for this part.
pub const NO_LEASE: i64 = i64::MIN;

impl Part {
    /// What the entry says of it.
    pub fn charge(&self) -> BudgetCharge {
        BudgetCharge { budget_id: self.account.id.to_string(), window: self.window }
    }
}

/// Why an account has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    /// No settlement of others can make room.
    Exhausted,
    /// Room is only held.
    Held,
    /// The lease is too small: the coordinator may have more.
    Lease,
}

/// An account under its lock.
pub(crate) struct Locked<'a>(MutexGuard<'a, State>);

impl Locked<'_> {
    /// Begins the look at the account at `now_us`.
    pub(crate) fn roll(&mut self, now_us: i64) {
        self.0.roll(now_us);
    }

    /// How much can be held.
    pub(crate) fn room(&self, now_us: i64) -> i64 {
        let state = &self.0;
        let Some(limit) = state.policy.hard_limit(now_us) else { return i64::MAX };
        match &state.lease {
            Some(lease) => lease.free().saturating_add(state.allowance),
            None => limit.saturating_sub(state.spent).saturating_sub(state.held),
        }
    }

    /// Why less than `min` can be held.
    pub(crate) fn short(&self, min: i64, now_us: i64) -> Short {
        let state = &self.0;
        match (&state.lease, state.policy.hard_limit(now_us)) {
            (Some(_), _) => Short::Lease,
            (None, Some(limit)) if min > limit.saturating_sub(state.spent) => Short::Exhausted,
            _ => Short::Held,
        }
    }

    pub(crate) fn is_leased(&self) -> bool {
        self.0.lease.is_some()
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// Holds `amount`: there is room, or it is soft.
    pub(crate) fn hold(&mut self, amount: i64, now_us: i64) -> (i64, i64) {
        let state = &mut *self.0;
        state.held += amount;
        state.last_used_us = now_us;
        let lease_window = match &mut state.lease {
            Some(lease) => {
                lease.held += amount;
                lease.window
            }
            None => NO_LEASE,
        };
        (state.span.id, lease_window)
    }

    /// Holds more in the window of an admission; only where that window is still the current one there is room to speak of.
    pub(crate) fn hold_more(&mut self, part: &Part, amount: i64, now_us: i64) {
        let state = &mut *self.0;
        state.last_used_us = now_us;
        if state.is_current(part) {
            state.held += amount;
        }
        if let Some(lease) = state.lease_of(part.lease_window) {
            lease.held += amount;
        }
    }

    /// How much more can be held for a call that was admitted in `part`'s window.
    pub(crate) fn room_in(&mut self, part: &Part, now_us: i64) -> i64 {
        if self.0.is_current(part) || !self.0.policy.is_hard() {
            return self.room(now_us);
        }
        match self.0.lease_of(part.lease_window) {
            // What is left of a window that is over is nobody's but this call's.
            Some(lease) => lease.free(),
            None => i64::MAX,
        }
    }

    pub(crate) fn spent(&self) -> i64 {
        self.0.spent
    }

    pub(crate) fn held(&self) -> i64 {
        self.0.held
    }

    pub(crate) fn resets_at(&self) -> Option<i64> {
        self.0.policy.window.resets_at(self.0.span)
    }
}

impl State {
    /// Moves on to the window of `now_us`. A window never goes back, whatever a clock does.
    fn roll(&mut self, now_us: i64) {
        if now_us < self.span.end_us {
            return;
        }
        if self.policy.window.is_rolling() {
            self.span = self.policy.window.at(now_us);
            let from = self.policy.window.counts_from(self.span);
            if tollgate_planted::bug("rolling_never_forgets") {
                return;
            }
            while let Some((_, spent)) = self.steps.front().copied().filter(|(step, _)| *step < from) {
                self.spent = self.spent.saturating_sub(spent);
                self.steps.pop_front();
            }
        } else {
            self.begin(now_us);
        }
    }

    /// Begins a window with nothing spent; calls in flight settle in the old one.
    fn begin(&mut self, now_us: i64) {
        self.span = self.policy.window.at(now_us);
        (self.spent, self.held) = (0, 0);
        self.steps.clear();
        let window = self.lease_window();
        if let Some(lease) = self.lease.as_mut()
            && lease.window != window
        {
            // A budget that comes back to a window finds what it left there.
            let at = self.ended.iter().position(|l| l.window == window);
            let next = at.map_or(Lease { window, ..Lease::default() }, |at| self.ended.swap_remove(at));
            let over = std::mem::replace(lease, next);
            self.end(over);
        }
    }

    /// Hard budgets that others spend too are leased; what was leased before a budget turned soft is given back.
    fn lease_or_not(&mut self, shared: bool) {
        match (shared && self.policy.is_hard(), self.lease.take()) {
            (true, None) => {
                let window = self.lease_window();
                let at = self.ended.iter().position(|l| l.window == window);
                self.lease = Some(at.map_or(Lease { window, ..Lease::default() }, |at| self.ended.swap_remove(at)));
            }
            (true, lease) => self.lease = lease,
            (false, Some(lease)) => self.end(lease),
            (false, None) => {}
        }
    }

    /// Keeps what is not spent from any more until its calls have settled and the rest is given back: one lease for each window.
    fn end(&mut self, lease: Lease) {
        match self.ended.iter_mut().find(|l| l.window == lease.window) {
            Some(known) => {
                known.outstanding += lease.outstanding;
                known.unreported += lease.unreported;
                known.held += lease.held;
            }
            None => self.ended.push(lease),
        }
    }

    fn set_spent(&mut self, balances: &[(i64, i64)]) {
        let from = self.policy.window.counts_from(self.span);
        let mut counted: Vec<_> = balances.iter().copied().filter(|(window, _)| *window >= from).collect();
        counted.sort_unstable();
        self.spent = counted.iter().fold(0, |sum, (_, spent)| sum.saturating_add(*spent));
        if self.policy.window.is_rolling() {
            self.steps = counted.into();
        }
    }

    /// Headroom that was taken under a higher limit is no longer spent: it goes back.
    fn put_back(&mut self) {
        if tollgate_planted::bug("lowered_limit_keeps_leases") {
            return;
        }
        if let Some(lease) = &mut self.lease {
            let free = lease.free();
            if free > 0 {
                lease.outstanding -= free;
                let back = Lease { window: lease.window, outstanding: free, ..Lease::default() };
                self.end(back);
            }
        }
    }

    fn lease_window(&self) -> i64 {
        self.policy.window.lease_window(self.span.id)
    }

    /// Whether a call that was admitted in `part`'s window is held in the current one.
    fn is_current(&self, part: &Part) -> bool {
        self.policy.window.lease_window(part.window) == self.lease_window()
    }

    fn lease_of(&mut self, window: i64) -> Option<&mut Lease> {
        match self.lease.as_mut().filter(|l| l.window == window) {
            Some(lease) => Some(lease),
            None => self.ended.iter_mut().find(|l| l.window == window),
        }
    }

    fn settle(&mut self, part: &Part, from_hold: i64, cost: i64) {
        if self.is_current(part) {
            self.held -= from_hold;
        }
        if cost != 0 {
            self.book(part.window, cost);
            self.recent = self.recent.saturating_add(cost);
        }
        if let Some(lease) = self.lease_of(part.lease_window) {
            lease.held -= from_hold;
            lease.unreported = lease.unreported.saturating_add(cost);
        }
        if self.lowered {
            self.put_back();
        }
    }

    /// Books spend in a window, if that still counts.
    fn book(&mut self, window: i64, amount: i64) {
        if !self.policy.window.is_rolling() {
            if window == self.span.id {
                self.spent = self.spent.saturating_add(amount);
            }
            return;
        }
        if window < self.policy.window.counts_from(self.span) {
            return;
        }
        self.spent = self.spent.saturating_add(amount);
        let at = self.steps.partition_point(|(step, _)| *step < window);
        match self.steps.get_mut(at).filter(|(step, _)| *step == window) {
            Some((_, spent)) => *spent = spent.saturating_add(amount),
            None => self.steps.insert(at, (window, amount)),
        }
    }

    /// Whether nobody has asked for a second: then headroom is better with others.
    fn is_idle(&self, now_us: i64) -> bool {
        now_us - self.last_used_us > 1_000_000
    }

    /// How much headroom is worth having.
    fn target(&self) -> i64 {
        self.rate.saturating_mul(10).max(self.largest.saturating_mul(4))
    }
}
