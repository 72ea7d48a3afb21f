//! What callers feel while a store is away: one replica over PostgreSQL and Redis under a steady load, each store stopped in turn.
//!
//! ```text
//! cargo build --release -p tollgate --bins && cargo run --release -p tollgate-tests --bin tollgate-outage -- 60
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde_json::json;
use tollgate_services::{Postgres, Redis};
use tollgate_tests::{
    provider::{ScriptedProvider, Step},
    support::{Gateway, http::Caller, keys::virtual_key},
};

const CALLERS: usize = 16;
/// Between two calls of a caller.
const PACE: Duration = Duration::from_millis(80);
/// Latencies in microseconds, and calls that were not answered.
type Taken = Mutex<(Histogram<u64>, usize)>;

const PHASES: [&str; 5] =
    ["both there", "PostgreSQL stopped", "both there again", "Redis stopped", "both there at the end"];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let away = Duration::from_secs(std::env::args().nth(1).map_or(Ok(20), |n| n.parse())?);
    let (mut postgres, mut redis) = (Postgres::start(), Redis::start());
    let provider = ScriptedProvider::start().await;
    provider.always("scripted-upstream", [Step::text("done")]);
    let secrets: Vec<_> = (0..CALLERS).map(|_| virtual_key()).collect();
    let mut builder = Gateway::over(&provider).set(
        "/store",
        json!({ "postgres_url": postgres.database().url, "redis_url": redis.url(), "replica_id": "r1",
                "secret": "a secret that all replicas of this run share" }),
    );
    for (n, secret) in secrets.iter().enumerate() {
        // All have a hard budget to keep; the model has a rate limit, of which Redis keeps the replicas' shares.
        builder =
            builder.key(json!({ "name": format!("k{n}"), "secret": secret, "models": ["*"], "budget_usd": "1000" }));
    }
    let gateway = builder.set("/models/0/limits", json!({ "requests_per_minute": 1_000_000 })).try_start().await?;
    let phase = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let taken: Arc<Vec<Taken>> = Arc::new(
        PHASES
            .iter()
            .map(|_| Ok(Mutex::new((Histogram::new_with_bounds(1, 60_000_000, 3)?, 0))))
            .collect::<Result<_>>()?,
    );
    let calling: Vec<_> = secrets
        .iter()
        .map(|secret| {
            let (caller, url) = (Caller::bearer(secret), gateway.v1("chat/completions"));
            let (phase, stop, taken) = (phase.clone(), stop.clone(), taken.clone());
            tokio::spawn(async move {
                let body = json!({"model": "scripted", "max_completion_tokens": 16, "messages": [{"role": "user", "content": "Say done"}]});
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    next += PACE;
                    let (at, now) = (phase.load(Ordering::Relaxed), Instant::now());
                    let answered = caller.post(&url, &body).await.is_ok_and(|reply| reply.status == 200);
                    {
                        let mut taken = taken[at].lock();
                        taken.0.saturating_record(now.elapsed().as_micros() as u64);
                        taken.1 += usize::from(!answered);
                    }
                    tokio::time::sleep_until(next.into()).await;
                }
            })
        })
        .collect();
    for at in 0..PHASES.len() {
        match at {
            1 => tokio::task::block_in_place(|| postgres.kill()),
            2 => tokio::task::block_in_place(|| postgres.run()),
            3 => tokio::task::block_in_place(|| redis.kill()),
            4 => tokio::task::block_in_place(|| redis.run()),
            _ => tokio::time::sleep(Duration::from_secs(2)).await, // warm
        }
        phase.store(at, Ordering::Relaxed);
        tokio::time::sleep(if at % 2 == 1 { away } else { Duration::from_secs(15) }).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in calling {
        caller.await?;
    }
    println!("| phase | calls | not answered | p50 | p99 | worst |\n|---|---|---|---|---|---|");
    for (name, taken) in PHASES.iter().zip(taken.iter()) {
        let taken = taken.lock();
        let ms = |us: u64| us as f64 / 1e3;
        println!(
            "| {name} | {} | {} | {:.2} ms | {:.2} ms | {:.1} ms |",
            taken.0.len(),
            taken.1,
            ms(taken.0.value_at_quantile(0.5)),
            ms(taken.0.value_at_quantile(0.99)),
            ms(taken.0.max())
        );
    }
    Ok(())
}
