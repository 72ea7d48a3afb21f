//! Holds: money set aside for a call over all its accounts, or over none.

use std::{sync::Arc, time::Duration};

use tollgate_domain::{Error, NanoUsd, Retry, timestamp};
use tollgate_proto::v1::{BudgetCharge, ErrorReason};

use crate::account::{Account, Locked, Part, Short};

/// The accounts that a call touches, sorted by id: one order of locks everywhere.
pub type Scopes = Arc<[Arc<Account>]>;

/// What a call asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Less than this is no use.
    pub min: NanoUsd,
    /// The worst case.
    pub want: NanoUsd,
    /// How long it may wait while other calls' holds are in the way.
    pub wait: Duration,
}

impl Ask {
    /// All of `amount` or nothing.
    pub fn exactly(amount: NanoUsd, wait: Duration) -> Self {
        Self { min: amount, want: amount, wait }
    }
}

/// Money held over all scopes of a call. Dropped, it gives back what was not settled.
#[derive(Debug)]
pub struct Hold {
    parts: Vec<Part>,
    amount: i64,
}

/// An account without room, and how it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tight {
    pub(crate) index: usize,
    pub(crate) short: Short,
    pub(crate) limit: i64,
    pub(crate) spent: i64,
    pub(crate) held: i64,
    pub(crate) resets_at: Option<i64>,
}

impl Hold {
    /// Holds as much as there is room for between `min` and `want`, in all accounts or none. With `all`, accounts on lease must afford
    /// `want`: they can ask for more.
    pub(crate) fn take(scopes: &[Arc<Account>], min: i64, want: i64, all: bool, now_us: i64) -> Result<Self, Tight> {
        let mut locked: Vec<_> = scopes.iter().map(|a| a.lock()).collect();
        let mut amount = want;
        for (index, account) in locked.iter_mut().enumerate() {
            account.roll(now_us);
            let room = account.room(now_us);
            if tollgate_planted::bug("partial_hold_kept") {
                account.hold(min, now_us);
            }
            let needed = if all && account.is_leased() { want } else { min };
            if room < needed {
                return Err(tight(account, index, min, now_us));
            }
            amount = amount.min(room);
        }
        if tollgate_planted::bug("check_then_add") {
            drop(std::mem::take(&mut locked));
            // Long enough for another thread to come in between on a busy machine.
            std::thread::sleep(std::time::Duration::from_micros(100));
            locked = scopes.iter().map(|a| a.lock()).collect();
        }
        let parts = locked.iter_mut().zip(scopes).map(|(locked, account)| {
            let (window, lease_window) = locked.hold(amount, now_us);
            Part { account: account.clone(), window, lease_window }
        });
        Ok(Self { parts: parts.collect(), amount })
    }

    /// Holds `more`, in all accounts or none.
    pub(crate) fn take_more(&mut self, more: i64, now_us: i64) -> Result<(), Tight> {
        let mut locked: Vec<_> = self.parts.iter().map(|p| p.account.lock()).collect();
        for (index, (account, part)) in locked.iter_mut().zip(&self.parts).enumerate() {
            account.roll(now_us);
            if account.room_in(part, now_us) < more {
                return Err(tight(account, index, more, now_us));
            }
        }
        for (account, part) in locked.iter_mut().zip(&self.parts) {
            account.hold_more(part, more, now_us);
        }
        drop(locked);
        self.amount += more;
        Ok(())
    }

    /// Nothing held anywhere.
    pub fn nothing() -> Self {
        Self { parts: Vec::new(), amount: 0 }
    }

    /// What is held.
    pub fn amount(&self) -> NanoUsd {
        NanoUsd(self.amount)
    }

    /// Its accounts, each with the window of the admission.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Its accounts.
    pub(crate) fn accounts(&self) -> Vec<Arc<Account>> {
        self.parts.iter().map(|p| p.account.clone()).collect()
    }

    /// What an entry says of the budgets that it counts against, and the windows of the leases that pay.
    pub fn charges(&self) -> (Vec<BudgetCharge>, Vec<i64>) {
        self.parts.iter().map(|part| (part.charge(), part.lease_window)).unzip()
    }

    /// Turns `cost` of what is held into spend. A cost above the hold is spent in full: the caller flags the overrun.
    pub fn settle(&mut self, cost: NanoUsd) {
        let from_hold = cost.0.clamp(0, self.amount);
        for part in &self.parts {
            part.account.settle(part, from_hold, cost.0);
        }
        self.amount -= from_hold;
    }

    /// Gives back what is held above `amount`.
    pub fn lower_to(&mut self, amount: NanoUsd) {
        let spare = self.amount - amount.0.max(0);
        if spare > 0 {
            for part in &self.parts {
                part.account.release(part, spare);
            }
            self.amount -= spare;
        }
    }
}

impl Drop for Hold {
    /// Memory only: what matters was journalled before.
    fn drop(&mut self) {
        for part in &self.parts {
            part.account.release(part, self.amount);
        }
    }
}

fn tight(account: &Locked<'_>, index: usize, min: i64, now_us: i64) -> Tight {
    Tight {
        index,
        short: account.short(min, now_us),
        limit: account.policy().hard_limit(now_us).unwrap_or(i64::MAX),
        spent: account.spent(),
        held: account.held(),
        resets_at: account.resets_at(),
    }
}

/// The refusal of a call that needs `needed` where there is no room.
pub(crate) fn refusal(account: &Account, tight: &Tight, needed: i64, now_us: i64) -> Error {
    let only_held = tight.short != Short::Exhausted;
    let (limit, spent, held) = (NanoUsd(tight.limit), NanoUsd(tight.spent), NanoUsd(tight.held));
    let (scope, needs) = (account.scope_name(), NanoUsd(needed));
    let what = if account.id.ends_with(crate::policy::PACE) { "hourly pace limit" } else { "budget" };
    let resets = tight.resets_at.map(|at| timestamp(at).to_string());
    let error = if only_held {
        let message = format!(
            "the {what} of {scope} has room, but calls in flight hold it: limit ${limit}, spent ${spent}, held ${held}, this call needs up to ${needs}; try again"
        );
        Error::new(ErrorReason::BudgetHeld, message).retry(Retry::After(Duration::from_secs(1)))
    } else {
        let way_out = match &resets {
            Some(at) => format!("it resets at {at}; until then ask for less output or have the budget raised"),
            None => "ask for less output or have the budget raised".to_owned(),
        };
        let message = format!(
            "the {what} of {scope} is exhausted: limit ${limit}, spent ${spent}, this call needs up to ${needs}; {way_out}"
        );
        let error = Error::new(ErrorReason::BudgetExhausted, message);
        match tight.resets_at {
            Some(at) => error.retry(Retry::After(Duration::from_micros((at - now_us).max(0) as u64))),
            None => error,
        }
    };
    error
        .with("budgetId", account.budget_id())
        .with("scope", scope)
        .with("limitNanoUsd", tight.limit.to_string())
        .with("spentNanoUsd", tight.spent.to_string())
        .with("heldNanoUsd", tight.held.to_string())
        .with("neededNanoUsd", needed.to_string())
        .with("resetTime", resets.unwrap_or_default())
}
