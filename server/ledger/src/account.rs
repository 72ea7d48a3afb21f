//! Accounts: what may still be spent, held and settled in memory.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tollgate_domain::{Error, NanoUsd, Retry};
use tollgate_proto::v1::{Budget, BudgetEnforcement, ErrorReason};

/// Where a budget stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// The limit.
    pub limit: i64,
    /// Whether it refuses.
    pub hard: bool,
    /// Settled.
    pub spent: i64,
    /// Held by calls in flight.
    pub held: i64,
}

/// One budget's account. Its balance is the authority on this replica.
#[derive(Debug)]
pub struct Account {
    /// The budget.
    pub budget_id: String,
    /// The key that it is on.
    pub key_id: String,
    balance: Mutex<Balance>,
    /// Rung whenever room appears.
    freed: Notify,
}

impl Account {
    /// The account of `budget`, with what the store says was spent.
    pub fn new(budget: &Budget) -> Self {
        let balance = Balance { spent: budget.spent_nano_usd, ..limits(budget) };
        Self {
            budget_id: budget.id.clone(),
            key_id: budget.key_id.clone(),
            balance: Mutex::new(balance),
            freed: Notify::new(),
        }
    }

    /// Where it stands.
    pub fn balance(&self) -> Balance {
        *self.balance.lock()
    }

    /// Takes over a changed limit and enforcement.
    pub fn change(&self, budget: &Budget) {
        let Balance { limit, hard, .. } = limits(budget);
        let mut balance = self.balance.lock();
        (balance.limit, balance.hard) = (limit, hard);
        drop(balance);
        self.freed.notify_waiters();
    }
}

fn limits(budget: &Budget) -> Balance {
    let hard = budget.enforcement != BudgetEnforcement::Soft as i32;
    Balance { limit: budget.limit_nano_usd, hard, ..Balance::default() }
}

/// The accounts that a call touches, sorted by budget id: one order of locks everywhere.
pub type Scopes = Arc<[Arc<Account>]>;

/// Money held over all scopes of a call. Dropped, it gives back what was not settled.
#[derive(Debug)]
pub struct Hold {
    scopes: Scopes,
    amount: i64,
}

enum Denied {
    /// No settlement of others can make room.
    Exhausted(usize, Balance),
    /// Room is only held.
    Held(usize, Balance),
}

impl Hold {
    /// Holds `amount` over all of `scopes` or none, waiting up to `wait` while other calls' holds are in the way.
    pub async fn reserve(scopes: &Scopes, amount: NanoUsd, wait: Duration) -> Result<Self, Error> {
        let give_up = Instant::now() + wait;
        loop {
            let (index, balance) = match take(scopes, amount.0) {
                Ok(()) => return Ok(Self { scopes: scopes.clone(), amount: amount.0 }),
                Err(Denied::Exhausted(index, balance)) => {
                    return Err(refusal(&scopes[index], balance, amount.0, false));
                }
                Err(Denied::Held(index, balance)) => (index, balance),
            };
            let freed = scopes[index].freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            // Room may have appeared between the look and the listening.
            if scopes[index].balance() != balance {
                continue;
            }
            if tokio::time::timeout_at(give_up, freed).await.is_err() {
                return Err(refusal(&scopes[index], balance, amount.0, true));
            }
        }
    }

    /// What is held.
    pub fn amount(&self) -> NanoUsd {
        NanoUsd(self.amount)
    }

    /// The accounts.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Whether a hard budget applies.
    pub fn is_hard(&self) -> bool {
        self.scopes.iter().any(|a| a.balance().hard)
    }

    /// Holds at least `amount` in all, without waiting.
    pub fn raise_to(&mut self, amount: NanoUsd) -> Result<(), Error> {
        let more = amount.0 - self.amount;
        if more <= 0 {
            return Ok(());
        }
        take(&self.scopes, more).map_err(|denied| match denied {
            Denied::Exhausted(i, balance) => refusal(&self.scopes[i], balance, more, false),
            Denied::Held(i, balance) => refusal(&self.scopes[i], balance, more, true),
        })?;
        self.amount = amount.0;
        Ok(())
    }

    /// Turns `cost` of what is held into spend. A cost above the hold is spent in full: the caller flags the overrun.
    pub fn settle(&mut self, cost: NanoUsd) {
        let from_hold = cost.0.min(self.amount);
        for account in self.scopes.iter() {
            let mut balance = account.balance.lock();
            balance.held -= from_hold;
            balance.spent = balance.spent.saturating_add(cost.0);
        }
        self.amount -= from_hold;
    }
}

impl Drop for Hold {
    /// Memory only: what matters was journalled before.
    fn drop(&mut self) {
        for account in self.scopes.iter() {
            account.balance.lock().held -= self.amount;
            account.freed.notify_waiters();
        }
    }
}

/// All scopes or none.
fn take(scopes: &Scopes, amount: i64) -> Result<(), Denied> {
    let mut balances: Vec<_> = scopes.iter().map(|a| a.balance.lock()).collect();
    for (i, balance) in balances.iter().enumerate().filter(|(_, b)| b.hard) {
        let room = balance.limit.saturating_sub(balance.spent);
        if amount > room {
            return Err(Denied::Exhausted(i, **balance));
        }
        if amount > room - balance.held {
            return Err(Denied::Held(i, **balance));
        }
    }
    for balance in &mut balances {
        balance.held += amount;
    }
    Ok(())
}

fn refusal(account: &Account, balance: Balance, needed: i64, only_held: bool) -> Error {
    let (limit, spent, held) = (NanoUsd(balance.limit), NanoUsd(balance.spent), NanoUsd(balance.held));
    let needs = NanoUsd(needed);
    let error = if only_held {
        let message = format!(
            "the budget of key {} has room, but calls in flight hold it: limit ${limit}, spent ${spent}, held ${held}, this call needs up to ${needs}; try again",
            account.key_id
        );
        Error::new(ErrorReason::BudgetHeld, message).retry(Retry::After(Duration::from_secs(1)))
    } else {
        let message = format!(
            "the budget of key {} is exhausted: limit ${limit}, spent ${spent}, this call needs up to ${needs}; ask for less output or have the budget raised",
            account.key_id
        );
        Error::new(ErrorReason::BudgetExhausted, message)
    };
    error
        .with("budgetId", &account.budget_id)
        .with("scope", format!("key:{}", account.key_id))
        .with("limitNanoUsd", balance.limit.to_string())
        .with("spentNanoUsd", balance.spent.to_string())
        .with("heldNanoUsd", balance.held.to_string())
        .with("neededNanoUsd", needed.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(limit: i64) -> Scopes {
        let budget = Budget { id: "b".into(), key_id: "k".into(), limit_nano_usd: limit, ..Budget::default() };
        Arc::new([Arc::new(Account::new(&budget))])
    }

    async fn now(scopes: &Scopes, amount: i64) -> Result<Hold, Error> {
        Hold::reserve(scopes, NanoUsd(amount), Duration::ZERO).await
    }

    #[tokio::test]
    async fn a_hold_becomes_spend_and_the_rest_returns() {
        let scopes = account(100);
        let mut hold = now(&scopes, 60).await.unwrap();
        hold.settle(NanoUsd(25));
        drop(hold);
        assert_eq!(scopes[0].balance(), Balance { limit: 100, hard: true, spent: 25, held: 0 });
    }

    #[tokio::test]
    async fn held_and_exhausted_are_told_apart() {
        let scopes = account(100);
        let mut hold = now(&scopes, 60).await.unwrap();
        assert_eq!(now(&scopes, 60).await.unwrap_err().reason, ErrorReason::BudgetHeld);
        assert_eq!(now(&scopes, 101).await.unwrap_err().reason, ErrorReason::BudgetExhausted);
        hold.settle(NanoUsd(60));
        assert_eq!(now(&scopes, 60).await.unwrap_err().reason, ErrorReason::BudgetExhausted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_room_that_is_only_held() {
        let scopes = account(100);
        let hold = now(&scopes, 60).await.unwrap();
        let waiting = tokio::spawn({
            let scopes = scopes.clone();
            async move { Hold::reserve(&scopes, NanoUsd(60), Duration::from_secs(2)).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(hold);
        assert!(waiting.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn all_scopes_are_held_or_none() {
        let wide = account(1_000);
        let tight = account(10);
        let both: Scopes = Arc::new([wide[0].clone(), tight[0].clone()]);
        assert!(now(&both, 50).await.is_err());
        assert_eq!(wide[0].balance().held, 0);
    }

    #[tokio::test]
    async fn a_soft_budget_counts_and_never_refuses() {
        let budget = Budget { enforcement: BudgetEnforcement::Soft as i32, limit_nano_usd: 1, ..Budget::default() };
        let scopes: Scopes = Arc::new([Arc::new(Account::new(&budget))]);
        let mut hold = now(&scopes, 50).await.unwrap();
        hold.settle(NanoUsd(50));
        assert_eq!(scopes[0].balance().spent, 50);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_hard_limit_holds_under_concurrency() {
        let scopes = account(1_000);
        let calls = (0..64).map(|_| {
            let scopes = scopes.clone();
            tokio::spawn(async move {
                let mut passed = 0;
                for _ in 0..50 {
                    if let Ok(mut hold) = Hold::reserve(&scopes, NanoUsd(9), Duration::from_millis(50)).await {
                        tokio::task::yield_now().await;
                        hold.settle(NanoUsd(7));
                        passed += 1;
                    }
                    assert!(scopes[0].balance().spent + scopes[0].balance().held <= 1_000);
                }
                passed
            })
        });
        let passed: i64 = futures_join(calls).await;
        assert_eq!(scopes[0].balance(), Balance { limit: 1_000, hard: true, spent: passed * 7, held: 0 });
        // The last call that fits: 7 * n + 9 <= 1000.
        assert_eq!(passed, (1_000 - 9) / 7 + 1);
    }

    async fn futures_join(calls: impl Iterator<Item = tokio::task::JoinHandle<i64>>) -> i64 {
        let handles: Vec<_> = calls.collect();
        let mut sum = 0;
        for handle in handles {
            sum += handle.await.unwrap();
        }
        sum
    }
}
