//! The shim alone, in front of a gateway elsewhere.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::Context;
use axum::serve::ListenerExt;
use clap::Parser;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;
use tollgate_http::{Background, Options};
use tollgate_redact::Hidden;
use tonic::transport::Endpoint;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// OpenAI's REST and SSE in front of a Tollgate gateway.
#[derive(Parser)]
#[command(name = "tollgate-http", version)]
struct Cli {
    /// The gateway, as in http://127.0.0.1:4000.
    #[arg(long, env = "TOLLGATE_UPSTREAM")]
    upstream: String,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:4001")]
    listen: SocketAddr,
    /// Largest request body, in bytes.
    #[arg(long, default_value_t = 50_000_000)]
    max_body_bytes: usize,
    /// Largest file that is uploaded, in bytes.
    #[arg(long, default_value_t = 512 << 20)]
    max_file_bytes: u64,
    /// How long answers may still take when the shim is told to stop, in seconds.
    #[arg(long, default_value_t = 30)]
    drain_timeout_seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate-http: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_writer(|| Hidden(std::io::stderr())).with_ansi(is_terminal).init();
    tollgate_redact::keep_crashes_quiet();
    let channel = Endpoint::from_shared(cli.upstream.clone())
        .with_context(|| format!("--upstream: {:?} is not a URL", cli.upstream))?
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_while_idle(true)
        .connect_lazy();
    let background = Background::default();
    let options = Options {
        max_body_bytes: cli.max_body_bytes,
        max_message_bytes: cli.max_body_bytes.saturating_mul(3),
        max_file_bytes: cli.max_file_bytes,
        embedded: false,
        background: background.clone(),
    };
    let listener = TcpListener::bind(cli.listen).await.with_context(|| format!("--listen: {}", cli.listen))?;
    println!("tollgate-http listens on http://{} for {}", listener.local_addr()?, cli.upstream);
    // Without this a streamed answer waits for the peer's delayed acknowledgements.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
    });
    let (stopping, drain) = (CancellationToken::new(), Duration::from_secs(cli.drain_timeout_seconds));
    let serving = axum::serve(listener, tollgate_http::router(channel, options))
        .with_graceful_shutdown(stopping.clone().cancelled_owned());
    let mut serving = serving.into_future();
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        () = told_to_stop() => stopping.cancel(),
    }
    // At once: a stream that does not end must not keep what is made in the background from being kept.
    let end = Instant::now() + drain;
    let (served, ()) = tokio::join!(tokio::time::timeout_at(end, &mut serving), background.drain(drain));
    // What the last requests began.
    background.drain(end.saturating_duration_since(Instant::now())).await;
    match served {
        Ok(ended) => ended?,
        Err(_) => tracing::warn!("the drain timeout passed; answers still in flight are cut"),
    }
    Ok(())
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
