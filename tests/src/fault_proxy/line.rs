//! One connection through the proxy: two pumps, and what the fault of the moment does to them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Direction, Fault, Settings};

/// Pieces on their way in one direction; more of them wait at the sender, as behind a full socket buffer.
const ON_THE_WAY: usize = 64;
const PIECE: usize = 16 * 1_024;

/// A client, its server, and what is done between them.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) client: TcpStream,
    pub(super) server: TcpStream,
    pub(super) seed: u64,
    pub(super) settings: watch::Receiver<Settings>,
}

/// How a direction ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The sender closed and was told on; the other direction goes on.
    Closed,
    /// Both sides are to be reset.
    Reset,
}

/// Pumps until both directions are closed or the line is reset.
pub(super) async fn run(mut line: Line) {
    let (client_read, client_write) = line.client.split();
    let (server_read, server_write) = line.server.split();
    let seed = line.seed.wrapping_mul(2);
    let there = pump(client_read, server_write, Direction::ToServer, seed, &line.settings);
    let back = pump(server_read, client_write, Direction::ToClient, seed.wrapping_add(1), &line.settings);
    let mut settings = line.settings.clone();
    let reset = tokio::select! {
        reset = both(there, back) => reset,
        // An error means that the proxy is gone: its connections end as after a crash.
        _ = settings.wait_for(|settings| settings.any(Fault::Reset)) => true,
    };
    // Behind a partition nobody is told of the other's end before it is over. An error means that the proxy is gone.
    let _ = settings.wait_for(|settings| !settings.any(Fault::BlackHole)).await;
    if reset {
        // A linger time of zero turns the close into a reset.
        let _ = (line.client.set_zero_linger(), line.server.set_zero_linger());
    }
}

/// Waits for both; true as soon as one of them wants a reset.
async fn both(there: impl Future<Output = End>, back: impl Future<Output = End>) -> bool {
    tokio::pin!(there, back);
    tokio::select! {
        end = &mut there => end == End::Reset || back.await == End::Reset,
        end = &mut back => end == End::Reset || there.await == End::Reset,
    }
}

/// One direction. Reading and writing are apart, so that a delay holds nothing up but itself.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    seed: u64,
    settings: &watch::Receiver<Settings>,
) -> End {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Bytes)>(ON_THE_WAY);
    let (seen, mut random) = (settings.clone(), SmallRng::seed_from_u64(seed));
    let read = async move {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            match from.read_buf(&mut piece).await {
                Ok(0) => return End::Closed,
                Err(_) => return End::Reset,
                Ok(_) => {}
            }
            let due = Instant::now() + delay(seen.borrow().of(direction), &mut random);
            if sender.send((due, piece.freeze())).await.is_err() {
                return End::Closed;
            }
        }
    };
    let random = SmallRng::seed_from_u64(!seed);
    let mut writer = Writer { direction, settings: settings.clone(), random, passed: 0, generation: 0, shut: false };
    let write = async move {
        loop {
            let (due, piece) = tokio::select! {
                piece = pieces.recv() => match piece {
                    Some(piece) => piece,
                    None => break,
                },
                () = writer.half_closed() => {
                    writer.shut(&mut to).await;
                    continue;
                }
            };
            sleep_until(due).await;
            if writer.write(&mut to, piece).await == Err(End::Reset) {
                return End::Reset;
            }
        }
        writer.fault().await;
        writer.shut(&mut to).await;
        End::Closed
    };
    tokio::pin!(write);
    tokio::select! {
        end = read => match end {
            End::Reset => End::Reset,
            End::Closed => write.await,
        },
        end = &mut write => end,
    }
}

fn delay(fault: Option<Fault>, random: &mut SmallRng) -> Duration {
    match fault {
        Some(Fault::Latency { delay, jitter }) => {
            let (delay, jitter) = (delay.as_secs_f64(), jitter.as_secs_f64());
            Duration::from_secs_f64((delay + random.random_range(-jitter..=jitter)).max(0.0))
        }
        _ => Duration::ZERO,
    }
}

struct Writer {
    direction: Direction,
    settings: watch::Receiver<Settings>,
    random: SmallRng,
    /// Bytes since the fault was set.
    passed: u64,
    generation: u64,
    shut: bool,
}

impl Writer {
    /// The fault of the moment, once something may pass.
    async fn fault(&mut self) -> Option<Fault> {
        let direction = self.direction;
        let open = self.settings.wait_for(|settings| settings.of(direction) != Some(Fault::BlackHole)).await;
        // An error means that the proxy is gone, and this task with it.
        let settings = open.map(|settings| *settings).unwrap_or_default();
        if settings.generation != self.generation {
            (self.generation, self.passed) = (settings.generation, 0);
        }
        settings.of(direction)
    }

    /// Returns when this direction is to be closed and is not yet.
    async fn half_closed(&self) {
        let direction = self.direction;
        let mut settings = self.settings.clone();
        let half_closed = settings.wait_for(|settings| settings.of(direction) == Some(Fault::HalfClose)).await.is_ok();
        if !half_closed || self.shut {
            std::future::pending::<()>().await;
        }
    }

    async fn shut(&mut self, to: &mut WriteHalf<'_>) {
        if !std::mem::replace(&mut self.shut, true) {
            let _ = to.shutdown().await;
        }
    }

    async fn write(&mut self, to: &mut WriteHalf<'_>, mut piece: Bytes) -> Result<(), End> {
        while !piece.is_empty() {
            let fault = self.fault().await;
            if self.shut {
                return Ok(());
            }
            let (now, pause, cut) = match fault {
                Some(Fault::HalfClose) => {
                    self.shut(to).await;
                    return Ok(());
                }
                Some(Fault::Rate { bytes_per_second }) => {
                    let rate = bytes_per_second.max(1);
                    // Twenty times a second, so that a change of the fault is soon felt.
                    let now = piece.split_to(piece.len().min((rate / 20).max(1) as usize));
                    let pause = Duration::from_secs_f64(now.len() as f64 / rate as f64);
                    (now, pause, false)
                }
                Some(Fault::CutAfter { bytes }) => {
                    let left = bytes.saturating_sub(self.passed);
                    let cut = left <= piece.len() as u64;
                    (piece.split_to(piece.len().min(left as usize)), Duration::ZERO, cut)
                }
                Some(Fault::FlipByte { one_in }) => {
                    (self.spoil(&std::mem::take(&mut piece), one_in), Duration::ZERO, false)
                }
                _ => (std::mem::take(&mut piece), Duration::ZERO, false),
            };
            self.passed += now.len() as u64;
            to.write_all(&now).await.map_err(|_| End::Reset)?;
            if cut {
                // What passed is to be read: a reset would take it back.
                sleep(Duration::from_millis(20)).await;
                return Err(End::Reset);
            }
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
        Ok(())
    }

    fn spoil(&mut self, piece: &[u8], one_in: u32) -> Bytes {
        let mut spoil = |byte: &u8| match self.random.random_ratio(1, one_in.max(1)) {
            true => byte ^ (1 << self.random.random_range(0..8)),
            false => *byte,
        };
        piece.iter().map(&mut spoil).collect()
    }
}
