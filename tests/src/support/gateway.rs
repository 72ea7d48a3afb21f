//! The built gateway as a process: started, watched, killed, restarted.
//!
//! Tests see it the way an operator does: a binary, a configuration file, a data directory, a port, log files.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::builder::GatewayBuilder;
use super::http::Caller;
use crate::provider::ScriptedProvider;

/// How long a gateway may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running gateway. Dropped, it is killed and its directory removed.
#[derive(Debug)]
pub struct Gateway {
    builder: GatewayBuilder,
    directory: TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

impl Gateway {
    pub(super) fn spawn(builder: GatewayBuilder) -> Result<Gateway> {
        let directory = tempfile::Builder::new().prefix("tollgate-").tempdir()?;
        std::fs::create_dir(directory.path().join("data"))?;
        let port = match builder.port {
            Some(port) => port,
            None => free_port()?,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut gateway = Gateway { builder, directory, address, child: None };
        gateway.write_config()?;
        gateway.launch()?;
        Ok(gateway)
    }

    /// A gateway to be configured.
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder::default()
    }

    /// A gateway in front of this provider: alias `scripted` for its model `scripted-upstream`.
    pub fn over(provider: &ScriptedProvider) -> GatewayBuilder {
        Gateway::builder().provider("scripted", &provider.base_url()).model("scripted", "scripted", "scripted-upstream")
    }

    /// The root URL: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of a route of the OpenAI surface: `v1("chat/completions")`.
    pub fn v1(&self, route: &str) -> String {
        format!("{}/v1/{route}", self.url())
    }

    /// The address for gRPC, which shares the port.
    pub fn grpc(&self) -> String {
        self.url()
    }

    /// The secret of the first bootstrap key.
    pub fn key(&self) -> &str {
        &self.builder.key
    }

    /// A caller with the first bootstrap key.
    pub fn caller(&self) -> Caller {
        Caller::bearer(self.key())
    }

    /// The directory of ledger, journal and audit log.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The configuration file. What is written to it counts from the next [`Gateway::restart`], or reload, on.
    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("tollgate.yaml")
    }

    /// The process.
    ///
    /// # Panics
    /// When it was stopped.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running gateway").id()
    }

    /// What the process wrote so far, standard output first, over all restarts.
    pub fn logs(&self) -> String {
        let read = |name| std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        read("stdout") + &read("stderr")
    }

    /// Kills the process the hard way, as a crash or an out-of-memory kill would.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to end, and waits at most this long for it.
    ///
    /// # Errors
    /// When it is still there after that time; it goes on running.
    pub async fn sigterm(&mut self, patience: Duration) -> Result<ExitStatus> {
        signal(self.pid(), "TERM")?;
        let child = self.child.as_mut().context("a running gateway")?;
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("still running {patience:?} after SIGTERM");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts without this variable from now on.
    pub fn forget_environment(&mut self, name: &str) {
        self.builder.environment.retain(|(known, _)| known != name);
    }

    /// Sends a signal by name: `HUP`, `STOP`, `CONT`.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn send_signal(&self, name: &str) -> Result<()> {
        signal(self.pid(), name)
    }

    /// Starts the process again on the same port and data, killing it first if it still runs, and waits until ready.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn restart(&mut self) {
        self.try_restart().await.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Starts the process again on the same port and data, killing it first if it still runs, and waits until ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn try_restart(&mut self) -> Result<()> {
        self.kill9();
        self.launch()?;
        self.ready().await
    }

    /// Waits until `/health/readiness` answers 200.
    ///
    /// # Errors
    /// When the process ends or ten seconds pass.
    pub async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/health/readiness", self.url());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if Caller::default().get(&url).await.is_ok_and(|reply| reply.status.is_success()) {
                return Ok(());
            }
            let ended = self.child.as_mut().context("a running gateway")?.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let what = ended.map_or("is not ready".to_owned(), |status| format!("ended with {status}"));
                bail!("the gateway {what}; it wrote:\n{}", self.logs());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until it is ready, on another port where somebody took its own between the choice and the use.
    pub(super) async fn ready_somewhere(&mut self) -> Result<()> {
        for _ in 0..4 {
            match self.ready().await {
                Err(_) if self.builder.port.is_none() && self.logs().contains("Address already in use") => {
                    self.address.set_port(free_port()?);
                    self.write_config()?;
                    self.launch()?;
                }
                told => return told,
            }
        }
        self.ready().await
    }

    fn write_config(&self) -> Result<()> {
        let (listen, data_dir) = (self.address.to_string(), self.data_dir());
        let text = match &self.builder.yaml {
            Some(text) => text.replace("{data_dir}", &data_dir.display().to_string()).replace("{listen}", &listen),
            None => {
                let mut config = self.builder.config.clone();
                config["data_dir"] = data_dir.display().to_string().into();
                config["listen"] = listen.into();
                serde_yaml_ng::to_string(&config)?
            }
        };
        std::fs::write(self.config_file(), text).context("writing the gateway's configuration")
    }

    fn launch(&mut self) -> Result<()> {
        let binary = match &self.builder.binary {
            Some(binary) => binary.clone(),
            None => locate()?,
        };
        let append = |name: &str| File::options().create(true).append(true).open(self.directory.path().join(name));
        let mut words = self.builder.wrapper.iter().cloned().chain([binary.clone().into_os_string()]);
        let mut command = Command::new(words.next().context("a command")?);
        command.args(words).arg("serve").arg("--config").arg(self.config_file());
        command.args(["--listen", &self.address.to_string()]).args(&self.builder.arguments);
        command.envs(self.builder.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(std::process::Stdio::null()).stdout(append("stdout")?).stderr(append("stderr")?);
        let child = command.spawn().with_context(|| format!("starting {}", binary.display()))?;
        self.child = Some(child);
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Finds the built gateway: `TOLLGATE_BIN`, else `tollgate` beside or above the running program in the target directory.
///
/// # Errors
/// When there is none.
pub fn locate() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TOLLGATE_BIN") {
        return Ok(path.into());
    }
    let program = std::env::current_exe()?;
    let places = program.ancestors().skip(1).take(2).map(|directory| directory.join("tollgate"));
    let mut found = places.filter(|path| path.is_file());
    found.next().with_context(|| format!("no gateway near {}: build it, or set TOLLGATE_BIN", program.display()))
}

/// A port nobody listens on right now, and that this process has given to nobody else: a test whose port another one takes would find a gateway
/// that is ready, and not its own.
///
/// # Errors
/// When the loopback interface has none.
pub fn free_port() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        // Kept below the number of ports that there are.
        if given.len() > 10_000 {
            given.clear();
        }
        if given.insert(port) {
            return Ok(port);
        }
    }
}

/// Sends a signal by name to a process.
///
/// # Errors
/// When it is gone.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status()?;
    if !status.success() {
        bail!("process {pid} takes no {name}");
    }
    Ok(())
}
