//! The processes under load and beside it, and which core each may use.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tollgate_tests::provider::UPSTREAM_KEY;
use tollgate_tests::support::GatewayBuilder;
use tollgate_tests::support::gateway::{Gateway, free_port};

/// Something calls are sent to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    pub(crate) model: String,
    pub(crate) pid: Option<u32>,
}

/// Which cores servers under test and the rest run on.
#[derive(Debug, Clone)]
pub(crate) struct Pinning {
    pub(crate) servers: Option<String>,
    pub(crate) others: Option<String>,
}

impl Pinning {
    /// The first core for servers under test, all others for provider and load; nothing without `taskset` or a second core.
    pub(crate) fn choose(wanted: bool) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let possible = wanted && cores > 1 && has("taskset");
        let pinning = Pinning {
            servers: possible.then(|| "0".into()),
            others: possible.then(|| if cores == 2 { "1".into() } else { format!("1-{}", cores - 1) }),
        };
        if let Some(cores) = &pinning.others {
            // Before any thread is started: threads inherit.
            let _ = quietly("taskset", &["-apc", cores, &std::process::id().to_string()]);
        }
        pinning
    }

    pub(crate) fn describe(&self) -> String {
        match (&self.servers, &self.others) {
            (Some(servers), Some(others)) => {
                format!("server under test on core {servers}, provider and load on core {others}")
            }
            _ => "not pinned to cores: figures are noisier".into(),
        }
    }

    /// The command that puts a server under test on its core.
    pub(crate) fn wrapper(&self) -> Vec<String> {
        let core = self.servers.iter();
        core.flat_map(|core| ["taskset".to_owned(), "-c".to_owned(), core.clone()]).collect()
    }
}

/// A helper process. It is killed when dropped, and ends when this process does: it holds the other end of its input.
#[derive(Debug)]
pub(crate) struct Helper {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Helper {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts this program's `provider`.
    pub(crate) fn provider(port: Option<u16>) -> Result<Self> {
        Self::start(&[], port, &["provider"])?.reachable()
    }

    /// Starts this program's `proxy` without waiting for it.
    pub(crate) fn proxy(pinning: &Pinning, upstream: SocketAddr, threads: usize) -> Result<Self> {
        let (upstream, threads) = (upstream.to_string(), threads.to_string());
        Self::start(&pinning.wrapper(), None, &["proxy", "--upstream", &upstream, "--threads", &threads])
    }

    fn start(wrapper: &[String], port: Option<u16>, arguments: &[&str]) -> Result<Self> {
        let port = match port {
            Some(port) => port,
            None => free_port()?,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let program = std::env::current_exe()?.display().to_string();
        let mut words = wrapper.iter().chain([&program]);
        let mut command = Command::new(words.next().context("a command")?);
        command.args(words).args(arguments).args(["--listen", &address.to_string()]);
        let child = command.arg("--until-stdin-closes").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        Ok(Helper { child, address })
    }

    /// Waits until it accepts connections.
    pub(crate) fn reachable(mut self) -> Result<Self> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(self.address).is_err() {
            if Instant::now() > deadline || self.child.try_wait()?.is_some() {
                bail!("the helper at {} does not listen", self.address);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(self)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The provider itself, called without anything between.
pub(crate) fn direct(provider: &Helper) -> Target {
    upstream("direct", provider.address, Some(provider.pid()))
}

/// The bare proxy as a target.
pub(crate) fn bare(proxy: &Helper) -> Target {
    upstream("bare", proxy.address, Some(proxy.pid()))
}

fn upstream(name: &'static str, address: SocketAddr, pid: Option<u32>) -> Target {
    Target { name, address, key: UPSTREAM_KEY.into(), model: "bench-upstream".into(), pid }
}

/// Starts the gateway without waiting for it.
pub(crate) fn gateway(binary: Option<&PathBuf>, pinning: &Pinning, provider: SocketAddr) -> Result<(Gateway, Target)> {
    gateway_with(binary, pinning, provider, |builder| builder)
}

/// Starts the gateway with further settings, without waiting for it.
pub(crate) fn gateway_with(
    binary: Option<&PathBuf>,
    pinning: &Pinning,
    provider: SocketAddr,
    configure: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
) -> Result<(Gateway, Target)> {
    let builder = Gateway::builder()
        .provider("scripted", &format!("http://{provider}/v1"))
        .model("bench", "scripted", "bench-upstream")
        .wrapped_in(pinning.wrapper());
    let mut builder = configure(builder);
    if let Some(binary) = binary {
        builder = builder.binary(binary);
    }
    let gateway = builder.spawn()?;
    let address = gateway.url().trim_start_matches("http://").parse()?;
    let key = gateway.key().to_owned();
    let target = Target { name: "gateway", address, key, model: "bench".into(), pid: Some(gateway.pid()) };
    Ok((gateway, target))
}

/// Allows this process and those it starts as many open files as the system lets it; returns how many.
pub(crate) fn raise_file_limit() -> u64 {
    let limits = || {
        let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default().to_owned();
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        (numbers.next().unwrap_or(1024), numbers.next())
    };
    if let (_, Some(hard)) = limits() {
        let limit = format!("--nofile={hard}:{hard}");
        let _ = quietly("prlimit", &["--pid", &std::process::id().to_string(), &limit]);
    }
    limits().0
}

fn has(program: &str) -> bool {
    quietly(program, &["--version"])
}

fn quietly(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
