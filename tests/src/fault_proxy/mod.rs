//! A TCP proxy that does to a line what networks do: delay, throttle, silence, reset, half-close, cut, garble, refuse.
//!
//! It stands in front of any server (PostgreSQL, Redis, a provider), knows no protocol, and needs no privileges. What
//! it does is switched at run time and meets connections that are open as well as new ones.
//!
//! ```no_run
//! # async fn scene(server: std::net::SocketAddr) -> std::io::Result<()> {
//! use tollgate_tests::fault_proxy::{Fault, FaultProxy};
//!
//! let proxy = FaultProxy::before(server, 42)?;
//! // ... a client of proxy.address() ...
//! proxy.set(Fault::BlackHole);
//! proxy.heal();
//! # Ok(())
//! # }
//! ```

mod door;
mod line;

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

/// What is done to a line. Faults of both directions unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Everything arrives so much later, give or take up to the jitter. Order is kept.
    Latency {
        /// The mean delay of each direction.
        delay: Duration,
        /// How far a delay may be off.
        jitter: Duration,
    },
    /// So many bytes a second and no more.
    Rate {
        /// Bytes a second, in each direction of each connection.
        bytes_per_second: u64,
    },
    /// Nothing arrives any more, and nobody is told: a partition, a pulled cable. New connections are accepted and hear
    /// nothing. What was sent meanwhile arrives after healing.
    BlackHole,
    /// Connections end with a reset at once, new ones too.
    Reset,
    /// The server's side is closed in good order (FIN towards the client); what the client sends still arrives.
    HalfClose,
    /// A connection is reset once so many more bytes have passed in one direction.
    CutAfter {
        /// Bytes that still pass.
        bytes: u64,
    },
    /// One byte in so many, chosen by the seed, arrives with a bit flipped.
    FlipByte {
        /// The mean distance of spoilt bytes; 1 spoils all.
        one_in: u32,
    },
    /// Nobody listens any more. Connections that are open go on.
    Refuse,
}

/// One of the two ways through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From client to server.
    ToServer,
    /// From server to client.
    ToClient,
}

/// What is done to each direction right now.
#[derive(Debug, Clone, Copy, Default)]
struct Settings {
    to_server: Option<Fault>,
    to_client: Option<Fault>,
    /// Grows with every change: a fault that counts bytes starts anew when it is set again.
    generation: u64,
}

impl Settings {
    fn of(&self, direction: Direction) -> Option<Fault> {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }

    fn any(&self, fault: Fault) -> bool {
        self.to_server == Some(fault) || self.to_client == Some(fault)
    }
}

/// A running proxy. Dropped, its port closes and its connections end.
///
/// It runs on a thread of its own, so a test may block its runtime without stopping it.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    settings: watch::Sender<Settings>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts a proxy on a free port in front of this server, which need not run yet. Whatever is left to chance follows
    /// from the seed and the order of connections.
    ///
    /// # Errors
    /// When the loopback interface has no free port.
    pub fn before(server: SocketAddr, seed: u64) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (settings, seen) = watch::channel(Settings::default());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("fault-proxy".into()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = door::serve(listener, address, server, seed, seen) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(FaultProxy { address, settings, stop: Some(stop), thread: Some(thread) })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this is done to the line, in place of what was done before.
    pub fn set(&self, fault: Fault) {
        self.change(|settings| {
            settings.to_client = Some(fault);
            // Closing the other half too would be an ordinary close.
            settings.to_server = Some(fault).filter(|fault| *fault != Fault::HalfClose);
        });
    }

    /// From now on this is done to one direction; the other one stays as it is.
    pub fn set_toward(&self, direction: Direction, fault: Fault) {
        self.change(|settings| match direction {
            Direction::ToServer => settings.to_server = Some(fault),
            Direction::ToClient => settings.to_client = Some(fault),
        });
    }

    /// The line is good again. Connections that were reset stay so.
    pub fn heal(&self) {
        self.change(|settings| (settings.to_server, settings.to_client) = (None, None));
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) {
        self.settings.send_modify(|settings| {
            change(settings);
            settings.generation += 1;
        });
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
