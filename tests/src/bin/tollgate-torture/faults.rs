//! What is done to the system while the load runs. Every fault says from when to when it could be felt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tollgate_tests::fault_proxy::Fault as Line;

use crate::evidence::{Disturbance, Window};
use crate::population::REVOKED;
use crate::world::{Stores, World};

/// A kind of fault, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// `kill -9` of a random replica every four seconds, give or take half.
    Kill,
    /// PostgreSQL is stopped the immediate way and started again, once.
    Pg,
    /// Redis forgets everything and is started again, once.
    Redis,
    /// Bad lines: to the provider again and again, and one replica cut off from each store.
    Net,
    /// A replica stands still (SIGSTOP) for some seconds.
    Pause,
    /// The wall clock of a replica is an hour ahead for some seconds.
    Clock,
    /// The configuration is read again (SIGHUP) all the time, sometimes a broken one.
    Config,
}

/// How long a fault is felt after it is over: reconnects, and calls that were caught in it.
const AFTERMATH: Duration = Duration::from_millis(500);

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Diary {
    windows: Mutex<Vec<Window>>,
    /// When a key was revoked.
    revoked: Mutex<Option<(String, u64)>>,
    /// How long killed replicas were away.
    restarts: Mutex<Vec<Duration>>,
    trouble: Mutex<Vec<String>>,
}

impl Diary {
    pub(crate) fn windows(&self) -> Vec<Window> {
        self.windows.lock().clone()
    }

    pub(crate) fn revoked(&self) -> Option<(String, u64)> {
        self.revoked.lock().clone()
    }

    pub(crate) fn restarts(&self) -> Vec<Duration> {
        self.restarts.lock().clone()
    }

    /// Faults that could not be done, which is a failure of the run.
    pub(crate) fn trouble(&self) -> Vec<String> {
        self.trouble.lock().clone()
    }

    fn felt(&self, world: &World, what: Disturbance, from_ms: u64) {
        let to_ms = world.now_ms() + AFTERMATH.as_millis() as u64;
        self.windows.lock().push(Window { what, from_ms, to_ms });
    }
}

/// Does all chosen faults until the deadline, each in its own rhythm.
pub(crate) async fn run(world: Arc<World>, faults: Vec<Fault>, seed: u64, begun: Instant, deadline: Instant) -> Diary {
    let diary = Arc::new(Diary::default());
    let doing = faults.into_iter().map(|fault| {
        let (world, diary) = (Arc::clone(&world), Arc::clone(&diary));
        tokio::spawn(async move {
            let random = SmallRng::seed_from_u64(seed ^ (0xFA_0017 + fault as u64));
            let scene = Scene { world, diary: Arc::clone(&diary), random, begun, deadline };
            if let Err(error) = scene.play(fault).await {
                diary.trouble.lock().push(format!("{fault:?}: {error:#}"));
            }
        })
    });
    let mut doing: Vec<_> = doing.collect();
    doing.push(tokio::spawn(revoke(Arc::clone(&world), Arc::clone(&diary), begun + (deadline - begun) / 2)));
    for task in doing {
        // A fault that panicked is a defect of the harness and must not pass as a quiet one.
        task.await.expect("a fault of the run");
    }
    Arc::into_inner(diary).expect("nobody else writes the diary any more")
}

/// Half-way a key is revoked, at whichever replica does it.
async fn revoke(world: Arc<World>, diary: Arc<Diary>, at: Instant) {
    tokio::time::sleep_until(at.into()).await;
    let begun = Instant::now();
    while let Err(error) = world.revoke(REVOKED).await {
        if begun.elapsed() > Duration::from_secs(30) {
            diary.trouble.lock().push(format!("revoking a key: {error:#}"));
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    *diary.revoked.lock() = Some((REVOKED.to_owned(), world.now_ms()));
}

struct Scene {
    world: Arc<World>,
    diary: Arc<Diary>,
    random: SmallRng,
    begun: Instant,
    deadline: Instant,
}

impl Scene {
    async fn play(mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill => self.kill().await,
            Fault::Pause => self.pause().await,
            Fault::Config => self.config().await,
            Fault::Pg => {
                self.store(0.3, |stores, up| if up { stores.postgres.run() } else { stores.postgres.kill() }).await
            }
            Fault::Redis => {
                self.store(0.6, |stores, up| if up { stores.redis.run() } else { stores.redis.kill_and_forget() }).await
            }
            Fault::Net => self.net().await,
            Fault::Clock => self.clock().await,
        }
    }

    /// Sleeps `mean` give or take half; false when the time is up before.
    async fn rest(&mut self, mean: Duration) -> bool {
        let pause = mean.mul_f64(self.random.random_range(0.5..1.5));
        if Instant::now() + pause > self.deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }

    fn any(&mut self) -> usize {
        self.random.random_range(0..self.world.replicas.len())
    }

    async fn kill(&mut self) -> Result<()> {
        while self.rest(Duration::from_secs(4)).await {
            let at = self.any();
            // A replica that starts needs its stores.
            let stores = self.world.stores.lock().await;
            let from_ms = self.world.now_ms();
            let away = self.world.replicas[at].kill_and_restart().await?;
            drop(stores);
            self.diary.restarts.lock().push(away);
            self.diary.felt(&self.world, Disturbance::Kill, from_ms);
        }
        Ok(())
    }

    /// Up to fifteen seconds, shorter in short runs.
    async fn pause(&mut self) -> Result<()> {
        let whole = self.deadline.duration_since(self.begun);
        let still = Duration::from_secs(15).min(whole / 10);
        while self.rest(whole / 4).await {
            let at = self.any();
            // Held for the whole pause: a process that stands still is not killed meanwhile.
            let gateway = self.world.replicas[at].gateway.lock().await;
            let from_ms = self.world.now_ms();
            gateway.send_signal("STOP")?;
            tokio::time::sleep(still).await;
            gateway.send_signal("CONT")?;
            drop(gateway);
            self.diary.felt(&self.world, Disturbance::Pause, from_ms);
        }
        Ok(())
    }

    async fn clock(&mut self) -> Result<()> {
        let whole = self.deadline.duration_since(self.begun);
        let wrong = Duration::from_secs(10).min(whole / 6);
        while self.rest(whole / 4).await {
            let at = self.any();
            let replica = &self.world.replicas[at];
            let clock = replica.clock.as_ref().context("a clock that can be set")?;
            // A process that starts has no other clock to go by.
            let gateway = replica.gateway.lock().await;
            let from_ms = self.world.now_ms();
            clock.set(Duration::from_secs(3_600))?;
            tokio::time::sleep(wrong).await;
            clock.set(Duration::ZERO)?;
            // The library looks once a second.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            drop(gateway);
            self.diary.felt(&self.world, Disturbance::Clock, from_ms);
        }
        Ok(())
    }

    async fn config(&mut self) -> Result<()> {
        while self.rest(Duration::from_millis(400)).await {
            let at = self.any();
            let gateway = self.world.replicas[at].gateway.lock().await;
            let file = gateway.config_file();
            let good = tokio::fs::read(&file).await?;
            let from_ms = self.world.now_ms();
            let broken = self.random.random_bool(0.25);
            if broken {
                tokio::fs::write(&file, "models: [{ name: broken, deployments: 7 }]\n").await?;
            }
            gateway.send_signal("HUP")?;
            if broken {
                // The right one is back before anybody restarts this replica: the lock is held.
                tokio::time::sleep(Duration::from_millis(100)).await;
                tokio::fs::write(&file, good).await?;
            }
            drop(gateway);
            self.diary.felt(&self.world, Disturbance::Reload, from_ms);
        }
        Ok(())
    }

    /// A store is away once, from this part of the run on: for ten seconds, less in short runs.
    async fn store(&mut self, part: f64, switch: impl Fn(&mut Stores, bool) + Send) -> Result<()> {
        let whole = self.deadline.duration_since(self.begun);
        tokio::time::sleep(whole.mul_f64(part)).await;
        let mut stores = self.world.stores.lock().await;
        let stores = stores.as_mut().context("one replica has no store to stop")?;
        let from_ms = self.world.now_ms();
        tokio::task::block_in_place(|| switch(stores, false));
        tokio::time::sleep((whole / 10).min(Duration::from_secs(10))).await;
        tokio::task::block_in_place(|| switch(stores, true));
        self.diary.felt(&self.world, Disturbance::Store, from_ms);
        Ok(())
    }

    /// Bad lines to the provider again and again; in between a replica is cut off from one of its stores.
    async fn net(&mut self) -> Result<()> {
        let whole = self.deadline.duration_since(self.begun);
        let mut turn = 0;
        while self.rest(Duration::from_secs(3)).await {
            let replica = &self.world.replicas[turn % self.world.replicas.len()];
            let from_ms = self.world.now_ms();
            turn += 1;
            let store = match turn % 4 {
                1 => replica.lines.postgres.as_ref(),
                3 => replica.lines.redis.as_ref(),
                _ => None,
            };
            match store {
                Some(line) => {
                    let _no_start_meanwhile = self.world.stores.lock().await;
                    line.set(if turn % 8 < 4 { Line::BlackHole } else { Line::Reset });
                    tokio::time::sleep((whole / 15).min(Duration::from_secs(10))).await;
                    line.heal();
                    self.diary.felt(&self.world, Disturbance::Store, from_ms);
                }
                None => {
                    let bad = [
                        Line::Reset,
                        Line::Latency { delay: Duration::from_millis(80), jitter: Duration::from_millis(60) },
                        Line::CutAfter { bytes: 3_000 },
                        Line::HalfClose,
                        Line::Refuse,
                    ];
                    replica.lines.provider.set(bad[self.random.random_range(0..bad.len())]);
                    tokio::time::sleep(Duration::from_millis(self.random.random_range(200..900))).await;
                    replica.lines.provider.heal();
                    self.diary.felt(&self.world, Disturbance::ProviderLine, from_ms);
                }
            }
        }
        Ok(())
    }
}
