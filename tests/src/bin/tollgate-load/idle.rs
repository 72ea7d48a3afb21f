//! What a server costs when little happens: until it is ready, standing still, and holding streams open.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tollgate_tests::support::http::Caller;

use crate::calls::Kind;
use crate::client::Connection;
use crate::measure::{Cpu, rss_kib};
use crate::servers::{Helper, Target};

/// Streams opened at the same time.
const AT_ONCE: usize = 64;

/// What holding streams open cost.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) streams: usize,
    pub(crate) kib_per_stream: f64,
    /// Share of a core while nothing moves, in percent.
    pub(crate) cpu_percent: f64,
    /// From hanging up on all of them until the provider had seen all of them end.
    pub(crate) hang_up_ms: f64,
}

/// Waits for the first good answer and returns the milliseconds since `start`.
pub(crate) async fn first_answer(target: &Target, start: Instant) -> Result<f64> {
    let call = Kind::Plain.call(target);
    loop {
        let problem = match Connection::open(target.address).await {
            Ok(mut connection) => match connection.make(&call).await {
                Ok(_) => return Ok(start.elapsed().as_secs_f64() * 1e3),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if start.elapsed() > Duration::from_secs(10) {
            return Err(problem.context(format!("{} does not serve", target.name)));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Opens streams that fall silent after one delta and looks at the server while they are held.
pub(crate) async fn hold(target: &Target, provider: &Helper, streams: usize) -> Result<Held> {
    let before = rss_kib(target.pid);
    let mut held: Vec<(Connection, Incoming)> = Vec::with_capacity(streams);
    let mut opening = JoinSet::new();
    let call = Kind::Idle.call(target);
    while held.len() < streams {
        while opening.len() < AT_ONCE && held.len() + opening.len() < streams {
            let (address, call) = (target.address, call.clone());
            opening.spawn(async move {
                let mut connection = Connection::open(address).await?;
                let mut body = connection.start(&call).await?.into_body();
                let frame = body.frame().await.context("the stream ended at once")?;
                frame?;
                anyhow::Ok((connection, body))
            });
        }
        let Some(opened) = opening.join_next().await else {
            break;
        };
        held.push(opened?.with_context(|| format!("opening stream {}", held.len() + 1))?);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (cpu, watching) = (Cpu::of(target.pid), Instant::now());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cpu_percent = Cpu::of(target.pid).us_since(&cpu) / watching.elapsed().as_micros() as f64 * 100.0;
    let after = rss_kib(target.pid);

    let hung_up = Instant::now();
    drop(held);
    while open_calls(provider).await? > 0 {
        if hung_up.elapsed() > Duration::from_secs(10) {
            bail!("{}: calls are still open at the provider 10 s after all callers left", target.name);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(Held {
        streams,
        kib_per_stream: (after - before) / streams as f64,
        cpu_percent,
        hang_up_ms: hung_up.elapsed().as_secs_f64() * 1e3,
    })
}

async fn open_calls(provider: &Helper) -> Result<u64> {
    Ok(stats(provider).await?["open"].as_u64().unwrap_or(0))
}

/// The provider's sums.
pub(crate) async fn stats(provider: &Helper) -> Result<serde_json::Value> {
    let reply = Caller::default().get(&format!("http://{}/_control/stats", provider.address)).await?;
    Ok(reply.json())
}
