//! How much of a budget is spent before the first call is refused for good.
//!
//! Callers ask for no output limit, as most programs do, so that every call could be far dearer than it turns out. A gateway that holds the
//! worst case and refuses what does not fit would leave most of a small budget unspent; one that holds less would overspend.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use anyhow::{Context, Result};
use serde_json::json;
use tollgate_client::{Client, v1};

use crate::{
    provider::{ScriptedProvider, Step},
    support::{Gateway, http::Caller, keys::virtual_key},
};

/// What became of a budget.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// The limit, in nano-dollars.
    pub limit: i64,
    /// Callers at the same time.
    pub callers: usize,
    /// Calls that were answered.
    pub answered: u64,
    /// Times that a caller was told to try again, because others held the rest.
    pub held: u64,
    /// Spent when the first call was refused for good.
    pub spent_at_first_refusal: i64,
    /// Spent in the end.
    pub spent: i64,
    /// What the provider bills.
    pub billed: i64,
}

impl Point {
    /// Part of the limit that was spent when the first call was refused for good, in percent.
    pub fn utilisation(&self) -> f64 {
        self.spent_at_first_refusal as f64 * 100.0 / self.limit as f64
    }

    /// What the provider bills beyond the limit.
    pub fn overshoot(&self) -> i64 {
        (self.billed - self.limit).max(0)
    }
}

/// Output tokens of an answer: 300, at ten dollars a million.
const TOKENS: u32 = 300;
const OUTPUT_NANO: i64 = 10_000;
const INPUT_NANO: i64 = 2_000;

/// Spends a budget of `limit` with so many callers.
///
/// # Errors
/// When the gateway cannot be started or gives an answer that is none.
pub async fn spend(limit: i64, callers: usize) -> Result<Point> {
    let provider = ScriptedProvider::start().await;
    provider.always("upstream", [Step::streams(TOKENS)]);
    let admin = virtual_key();
    let gateway = Gateway::over(&provider)
        .deployment(
            "unlimited",
            json!({ "provider": "scripted", "model": "upstream", "price": { "input": "2", "output": "10" },
                    "max_output_tokens": 16_384, "context_window": 400_000 }),
        )
        .key(json!({ "name": "admin", "secret": admin, "role": "platform_admin" }))
        .budget_usd(&format!("{}.{:09}", limit / 1_000_000_000, limit % 1_000_000_000))
        .try_start()
        .await?;
    let client = Client::connect(&gateway.grpc(), gateway.key()).await?;
    let spent = async || -> Result<i64> {
        let asked = client.budgets().get_budget(v1::GetBudgetRequest::default()).await?;
        Ok(asked.into_inner().budget.context("a budget")?.spent_nano_usd)
    };
    let (refused, first) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let (answered, held) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let calling: Vec<_> = (0..callers)
        .map(|_| {
            let caller = Caller::bearer(gateway.key());
            let (url, budgets) = (gateway.v1("chat/completions"), client.budgets());
            let (refused, first) = (refused.clone(), first.clone());
            let (answered, held) = (answered.clone(), held.clone());
            tokio::spawn(async move {
                let mut budgets = budgets;
                let body =
                    json!({"model": "unlimited", "stream": true, "messages": [{"role": "user", "content": "Write"}]});
                while !refused.load(Ordering::Relaxed) {
                    let reply = caller.stream(&url, &body).await?.whole().await?;
                    match (reply.status.as_u16(), reply.json()["error"]["code"].as_str()) {
                        (200, _) => _ = answered.fetch_add(1, Ordering::Relaxed),
                        (429, Some("budget_held")) => _ = held.fetch_add(1, Ordering::Relaxed),
                        (429, Some("budget_exceeded")) => {
                            if !refused.swap(true, Ordering::Relaxed) {
                                let now = budgets.get_budget(v1::GetBudgetRequest::default()).await?.into_inner();
                                first.store(now.budget.context("a budget")?.spent_nano_usd, Ordering::Relaxed);
                            }
                        }
                        (status, _) => anyhow::bail!("{status}: {:?}", reply.body),
                    }
                }
                Ok(())
            })
        })
        .collect();
    for caller in calling {
        caller.await??;
    }
    let calls = provider.log().stats().calls as usize;
    let records = provider.log().settled(calls).await;
    let billed = records.iter().map(|r| r.prompt_tokens as i64 * INPUT_NANO + r.completion_tokens as i64 * OUTPUT_NANO);
    Ok(Point {
        limit,
        callers,
        answered: answered.load(Ordering::Relaxed),
        held: held.load(Ordering::Relaxed),
        spent_at_first_refusal: first.load(Ordering::Relaxed),
        spent: spent().await?,
        billed: billed.sum(),
    })
}
