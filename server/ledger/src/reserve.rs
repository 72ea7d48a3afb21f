//! Admission: holds money, waits for it, or says why not.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tollgate_domain::{Error, NanoUsd, Retry};
use tollgate_proto::v1::ErrorReason;
use tollgate_store::{Denied, Lost};

use crate::{
    Ledger,
    account::{Account, Short},
    hold::{Ask, Hold, Scopes, Tight, refusal},
};

/// How often a call that waits for other replicas looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

impl Ledger {
    /// Holds what is asked for over all of `scopes` or none, waiting while other calls' holds are in the way.
    pub async fn hold(&self, scopes: &Scopes, ask: Ask) -> Result<Hold, Error> {
        let give_up = Instant::now() + ask.wait;
        let mut all = true;
        loop {
            let now_us = self.now_us();
            let tight = match Hold::take(scopes, ask.min.0, ask.want.0, all, now_us) {
                Ok(hold) => return Ok(hold),
                Err(tight) => tight,
            };
            let account = &scopes[tight.index];
            match tight.short {
                Short::Exhausted => return Err(refusal(account, &tight, ask.min.0, now_us)),
                Short::Held => self.wait_for_room(account, &tight, ask.min, give_up).await?,
                Short::Lease => {
                    match self.lease(scopes, ask.min, ask.want, give_up, now_us).await? {
                        // What was granted may be less than all: then that has to do.
                        Leased::Enough => all = false,
                        Leased::Later => all = true,
                    }
                }
            }
        }
    }

    /// Holds `more` for a call that is under way, without waiting for others.
    pub async fn hold_more(&self, hold: &mut Hold, more: NanoUsd) -> Result<(), Error> {
        let mut asked = false;
        loop {
            let now_us = self.now_us();
            let Err(tight) = hold.take_more(more.0, now_us) else { return Ok(()) };
            let accounts: Scopes = hold.accounts().into();
            let account = &accounts[tight.index];
            if tight.short != Short::Lease || asked {
                return Err(refusal(account, &tight, more.0, now_us));
            }
            self.lease(&accounts, more, more, Instant::now(), now_us).await?;
            asked = true;
        }
    }

    async fn wait_for_room(
        &self,
        account: &Account,
        tight: &Tight,
        min: NanoUsd,
        give_up: Instant,
    ) -> Result<(), Error> {
        let _waiting = account.wait();
        let freed = account.freed().notified();
        tokio::pin!(freed);
        freed.as_mut().enable();
        // Room may have appeared between the look and the listening.
        let now_us = self.now_us();
        let now = account.balance(now_us);
        if (now.limit, now.spent, now.held) != (tight.limit, tight.spent, tight.held) {
            return Ok(());
        }
        match tokio::time::timeout_at(give_up, freed).await {
            Ok(()) => Ok(()),
            Err(_) => Err(refusal(account, tight, min.0, now_us)),
        }
    }

    /// Asks the coordinator for more, or waits for others to give back what they do not use.
    async fn lease(
        &self,
        scopes: &Scopes,
        min: NanoUsd,
        want: NanoUsd,
        give_up: Instant,
        now_us: i64,
    ) -> Result<Leased, Error> {
        let Some(cluster) = &self.cluster else { return Ok(Leased::Later) };
        let denied = match cluster.acquire(scopes, min.0, want.0, now_us).await {
            Ok(None) => return Ok(Leased::Enough),
            Ok(Some(denied)) => denied,
            Err(lost) => return self.without_coordinator(scopes, &lost, give_up).await,
        };
        let (account, Denied { posted, leased, .. }) = denied;
        let balance = account.balance(now_us);
        let short = if min.0 > balance.limit.saturating_sub(posted) { Short::Exhausted } else { Short::Held };
        let tight = Tight {
            index: 0,
            short,
            limit: balance.limit,
            spent: posted,
            held: leased,
            resets_at: account.policy().window.resets_at(account.span(now_us)),
        };
        if short == Short::Exhausted || Instant::now() >= give_up {
            return Err(refusal(&account, &tight, min.0, now_us));
        }
        cluster.recall(&account).await;
        self.pause(&account, give_up).await;
        Ok(Leased::Later)
    }

    /// No coordinator answers: leases in hand go on, and beyond them only what was allowed for that.
    async fn without_coordinator(&self, scopes: &Scopes, lost: &Lost, give_up: Instant) -> Result<Leased, Error> {
        if Instant::now() < give_up {
            if let Some(account) = scopes.first() {
                self.pause(account, give_up).await;
            }
            return Ok(Leased::Later);
        }
        let message = format!(
            "the share of the budget that this replica holds is used up, and more cannot be had now ({lost}); try again"
        );
        Err(Error::new(ErrorReason::LedgerUnavailable, message).retry(Retry::After(Duration::from_secs(1))))
    }

    async fn pause(&self, account: &Arc<Account>, give_up: Instant) {
        let _waiting = account.wait();
        let until = give_up.min(Instant::now() + LOOK_AGAIN);
        let _ = tokio::time::timeout_at(until, account.freed().notified()).await;
    }
}

enum Leased {
    /// There is at least what is needed.
    Enough,
    /// Look again.
    Later,
}
