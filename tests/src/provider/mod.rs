//! A provider that does what a script tells it and keeps its own books.
//!
//! It speaks the real wire of OpenAI (`.../chat/completions`, `.../completions`, `.../responses`, `.../embeddings`, `.../moderations`,
//! `.../images/generations`, `.../images/edits`, `.../audio/speech`, `.../audio/transcriptions`, `.../audio/translations`,
//! `.../models`), at Azure's addresses as well, Mistral's sound below `.../mistral`, Anthropic (`.../messages`), Gemini (`.../models/MODEL:generateContent`) and Cohere (`.../rerank`) under any path
//! prefix, so a gateway cannot tell it from the original. It shares no code with the
//! gateway: it is the witness against which the gateway's ledger is checked. [`script`] tells how an answer is
//! scripted, [`log`] what is written down, `answer` how tokens are counted, `control` how another process steers it.
//!
//! ```no_run
//! # async fn scene() {
//! use tollgate_tests::provider::{ScriptedProvider, Step};
//!
//! let provider = ScriptedProvider::start().await;
//! provider.script("gpt-x", [Step::fails(429).retry_after(1), Step::text("Hello")]);
//! // ... calls to provider.base_url() + "/chat/completions" ...
//! let attempts = provider.log().settled(2).await;
//! # }
//! ```

mod answer;
mod anthropic;
mod azure;
mod batches;
mod connection;
mod control;
mod embeddings;
mod gemini;
mod gemini_media;
mod history;
mod invoice;
mod log;
mod media;
mod mistral;
mod mistral_jobs;
mod openai;
mod operations;
mod playback;
mod respond;
mod responses;
mod schema;
pub mod script;
mod server;
mod text;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use invoice::{Invoice, Line};
pub use log::{Log, Outcome, Record, Stats};
pub use script::{Cut, Malformed, Script, Step};

/// The credential the provider expects unless told otherwise.
pub const UPSTREAM_KEY: &str = "sk-upstream-test";

/// How a provider is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen. Port 0 picks a free one; a fixed one lets a provider come back after it was stopped.
    pub listen: SocketAddr,
    /// The credential callers must show.
    pub api_key: String,
    /// Append every record to this file as a JSON line.
    pub log_file: Option<PathBuf>,
    /// How many ended attempts are kept in memory; the sums cover all.
    pub log_capacity: usize,
    /// Keep headers and bodies of calls in the log.
    pub keep_bodies: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: ([127, 0, 0, 1], 0).into(),
            api_key: UPSTREAM_KEY.into(),
            log_file: None,
            log_capacity: usize::MAX,
            keep_bodies: true,
        }
    }
}

/// A running provider. Dropped, it stops: its port closes and calls in flight are cut.
///
/// It runs on a thread of its own, so a test may block its runtime or pause its clock without stopping the provider.
#[derive(Debug)]
pub struct ScriptedProvider {
    address: SocketAddr,
    state: Arc<server::State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedProvider {
    /// Starts a provider on a free port.
    ///
    /// # Panics
    /// When the loopback interface has no free port.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await.expect("a loopback port for the provider")
    }

    /// Starts a provider with these options.
    ///
    /// # Errors
    /// When the address is taken or the log file cannot be opened.
    pub async fn start_with(options: Options) -> std::io::Result<Self> {
        let log = Log::new(options.log_file.as_deref(), options.log_capacity, options.keep_bodies)?;
        let listener = std::net::TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(server::State {
            log,
            scripts: Default::default(),
            api_key: options.api_key,
            received: Default::default(),
            listed: Default::default(),
            batches: Default::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("provider".into()).spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else {
                    return;
                };
                tokio::select! {
                    () = server::serve(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(ScriptedProvider { address, state, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL to configure for OpenAI's dialect: `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The base URL without `/v1`, as Anthropic's clients want it.
    pub fn root_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes of bodies that arrived, of calls that are still being sent too.
    pub fn received(&self) -> u64 {
        self.state.received.load(std::sync::atomic::Ordering::Acquire)
    }

    /// How often its list of models was asked for.
    pub fn listed(&self) -> u64 {
        self.state.listed.load(std::sync::atomic::Ordering::Acquire)
    }

    /// The provider's books.
    pub fn log(&self) -> &Log {
        &self.state.log
    }

    /// Ends the batches that are going on and whose input has this word in it: so many of their lines are answered.
    pub fn end_batches(&self, word: &str, status: &str, answered: usize) {
        self.state.batches.end(word, status, answered);
    }

    /// The next output of a batch that is asked for lacks its last line, once.
    pub fn cut_output(&self) {
        self.state.batches.cut_output();
    }

    /// The files that it keeps, oldest first.
    pub fn files(&self) -> Vec<String> {
        self.state.batches.contents()
    }

    /// Sets the next answers of a model (`*`: of every model without steps of its own), in place of those set before.
    pub fn script(&self, model: &str, steps: impl IntoIterator<Item = Step>) {
        let script = Script { model: model.into(), steps: steps.into_iter().collect(), repeat: false };
        self.state.scripts.lock().set(script);
    }

    /// Like [`ScriptedProvider::script`], starting over after the last step.
    pub fn always(&self, model: &str, steps: impl IntoIterator<Item = Step>) {
        let script = Script { model: model.into(), steps: steps.into_iter().collect(), repeat: true };
        self.state.scripts.lock().set(script);
    }

    /// Waits until the provider ends, which it does not do by itself: for the process form.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for ScriptedProvider {
    fn drop(&mut self) {
        self.state.log.stop();
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
