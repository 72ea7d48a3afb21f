//! Replicas in virtual time: crashes, partitions, requests that are lost or done without an answer, torn journals. A seed chooses all of
//! it and is told when something is wrong: `TOLLGATE_SEED=7 cargo test -p tollgate-ledger-tests --test simulation`.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::{collections::HashMap, io::Write, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::Instant;
use tollgate_domain::{Clock, NanoUsd};
use tollgate_ledger::{Ask, Cluster, JournalError, Ledger, OpenError, Options, Payer};
use tollgate_ledger_tests::{
    bench::{START, begin, settled},
    faulty::{FaultyStore, Line},
};
use tollgate_proto::v1::{Budget, BudgetScope, BudgetWindow, EveryWindow, LedgerEntryKind, ScopeKind, budget_window};
use tollgate_store::{Object, Store};
use tollgate_store_memory::MemoryWorld;

/// What the provider knows: what each attempt costs, and whether its caller saw the end.
#[derive(Default)]
struct Books {
    billed: HashMap<String, (i64, bool)>,
    refused: u64,
}

const LIMITS: [(&str, i64); 4] = [("k0", 40_000), ("k1", 15_000), ("k2", 1_000_000), ("", 70_000)];

fn budgets() -> Vec<Budget> {
    let of = |(at, (key, limit)): (usize, &(&str, i64))| {
        let kind = if key.is_empty() { ScopeKind::Gateway } else { ScopeKind::Key };
        let scope = BudgetScope { kind: kind as i32, id: (*key).into(), ..BudgetScope::default() };
        // Half a minute of every minute lies before the start.
        let anchor = Some(tollgate_domain::timestamp((START - 30) * 1_000_000));
        let every = budget_window::Window::Every(EveryWindow { seconds: 60, anchor });
        let window = (*key == "k1").then_some(BudgetWindow { window: Some(every) });
        Budget { id: format!("b{at}"), scope: Some(scope), limit_nano_usd: *limit, window, ..Budget::default() }
    };
    LIMITS.iter().enumerate().map(of).collect()
}

/// One replica: its directory and line stay, its ledger comes and goes.
struct Node {
    name: String,
    dir: tempfile::TempDir,
    line: Line,
    /// How far its clock is off.
    wrong_us: i64,
    ledger: Mutex<Option<Arc<Ledger>>>,
}

struct Simulation {
    world: MemoryWorld,
    nodes: Vec<Arc<Node>>,
    clock: Clock,
    books: Arc<Mutex<Books>>,
}

impl Simulation {
    fn new(replicas: usize, seed: u64) -> Self {
        let begun = Instant::now();
        let clock = Clock::new(move || START * 1_000_000 + i64::try_from(begun.elapsed().as_micros()).unwrap());
        let world = MemoryWorld::new({
            let clock = clock.clone();
            move || clock.now_us()
        });
        let node = |n: usize| {
            Arc::new(Node {
                name: format!("r{n}"),
                dir: tempfile::tempdir().unwrap(),
                line: Line::new(seed ^ (n as u64 + 1)),
                wrong_us: (n as i64 - 2) * 86_400_000_000,
                ledger: Mutex::new(None),
            })
        };
        Self { world, nodes: (0..replicas).map(node).collect(), clock, books: Arc::default() }
    }

    async fn start(&self, node: &Node) {
        loop {
            let store = Arc::new(FaultyStore { store: self.world.connect(&node.name), line: node.line.clone() });
            let cluster = Cluster { members: store.clone(), postgres: store.clone(), redis: None, allowance: 0 };
            // Its own clock is wrong by days; windows follow the ledger of record's.
            let (clock, wrong_us) = (self.clock.clone(), node.wrong_us);
            let clock = Clock::new(move || clock.now_us() + wrong_us);
            let options = Options {
                replica: node.name.clone(),
                cluster: Some(cluster),
                ..Options::alone(node.dir.path().join("journal"), clock)
            };
            match Ledger::open(options, store).await {
                Ok(ledger) => {
                    *node.ledger.lock() = Some(ledger);
                    return;
                }
                // Loops of the run before, or a line that is bad.
                Err(OpenError::Journal(JournalError::InUse(_)) | OpenError::Store(_)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{}: {error}", node.name),
            }
        }
    }

    /// Calls of one caller until the time is up; a caller whose replica dies goes to another.
    async fn call(self: Arc<Self>, mut random: SmallRng, until: Instant) {
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(random.random_range(1..60))).await;
            let node = &self.nodes[random.random_range(0..self.nodes.len())];
            let Some(ledger) = node.ledger.lock().clone() else { continue };
            let key = LIMITS[random.random_range(0..3)].0;
            let scopes = ledger.scopes(&Payer { key_id: key, ..Payer::default() });
            let want = random.random_range(50..900);
            let ask = Ask { min: NanoUsd(want / 2), want: NanoUsd(want), wait: Duration::from_millis(200) };
            // Some callers go away while they wait.
            let patience =
                Duration::from_millis(if random.random_bool(0.2) { random.random_range(0..40) } else { 10_000 });
            let held = tokio::time::timeout(patience, ledger.hold(&scopes, ask)).await;
            let Ok(Ok(mut hold)) = held else {
                self.books.lock().refused += 1;
                continue;
            };
            if random.random_bool(0.1) {
                continue; // never sent: the hold returns
            }
            let attempt = begin(&ledger, &hold, key);
            let cost = random.random_range(0..=hold.amount().0);
            self.books.lock().billed.insert(attempt.clone(), (cost, false));
            let alive = Arc::downgrade(&ledger);
            drop(ledger);
            tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
            // A replica that died in the meantime settles nothing any more.
            let current = node.ledger.lock().clone();
            let (Some(ledger), Some(current)) = (alive.upgrade(), current) else {
                std::mem::forget(hold);
                continue;
            };
            if !Arc::ptr_eq(&ledger, &current) {
                std::mem::forget(hold);
                continue;
            }
            let end = settled(&hold, &attempt, cost);
            hold.settle(NanoUsd(cost));
            ledger.end(end);
            if let Some(billed) = self.books.lock().billed.get_mut(&attempt) {
                billed.1 = true;
            }
        }
    }

    /// Crashes, partitions and bad lines until the time is up.
    async fn disturb(self: Arc<Self>, mut random: SmallRng, until: Instant) {
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(random.random_range(100..1_500))).await;
            let node = self.nodes[random.random_range(0..self.nodes.len())].clone();
            match random.random_range(0..4) {
                0 => {
                    *node.ledger.lock() = None;
                    if random.random_bool(0.5) {
                        tear(&node.dir.path().join("journal"), &mut random);
                    }
                    tokio::time::sleep(Duration::from_millis(random.random_range(0..3_000))).await;
                    self.start(&node).await;
                }
                1 => {
                    node.line.cut(true);
                    tokio::time::sleep(Duration::from_millis(random.random_range(100..15_000))).await;
                    node.line.cut(false);
                }
                _ => {
                    node.line.fail(random.random_range(0..400));
                    tokio::time::sleep(Duration::from_millis(random.random_range(100..3_000))).await;
                    node.line.fail(0);
                }
            }
        }
    }
}

/// What a power cut in the middle of a write leaves: the beginning of a record at the end of the last segment.
fn tear(journal: &Path, random: &mut SmallRng) {
    let segments = std::fs::read_dir(journal).unwrap().flatten().map(|e| e.path());
    let last = segments.filter(|p| p.extension().is_some_and(|e| e == "journal")).max();
    let Some(last) = last else { return };
    let garbage: Vec<u8> = (0..random.random_range(1..40)).map(|_| random.random()).collect();
    std::fs::OpenOptions::new().append(true).open(last).unwrap().write_all(&garbage).unwrap();
}

async fn simulate(seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let replicas = random.random_range(1..=5);
    let simulation = Arc::new(Simulation::new(replicas, seed));
    let made: Vec<_> = budgets().into_iter().map(|b| (Object::from(b), 0)).collect();
    simulation.world.connect("admin").put(&made).await.unwrap();
    for node in &simulation.nodes {
        simulation.start(node).await;
    }
    let until = Instant::now() + Duration::from_secs(40);
    let mut tasks: Vec<_> =
        (0..6).map(|_| tokio::spawn(simulation.clone().call(SmallRng::from_rng(&mut random), until))).collect();
    tasks.push(tokio::spawn(simulation.clone().disturb(SmallRng::from_rng(&mut random), until)));
    for task in tasks {
        task.await.unwrap();
    }
    // Then everything works again, and the world must come to rest.
    for node in &simulation.nodes {
        node.line.cut(false);
        node.line.fail(0);
        // A last start settles what deaths have left open.
        *node.ledger.lock() = None;
        simulation.start(node).await;
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    for node in &simulation.nodes {
        let ledger = node.ledger.lock().clone().unwrap();
        ledger.shipped().await;
    }
    judge(&simulation).await;
}

async fn judge(simulation: &Simulation) {
    let entries = simulation.world.entries();
    let books = std::mem::take(&mut *simulation.books.lock());
    assert!(
        entries.len() > 50 && books.refused > 10,
        "too little happened: {} entries, {} refusals",
        entries.len(),
        books.refused
    );
    let mut rows: HashMap<&str, usize> = HashMap::new();
    for entry in &entries {
        *rows.entry(&entry.attempt_id).or_default() += 1;
        let (cost, seen) =
            books.billed.get(&entry.attempt_id).unwrap_or_else(|| panic!("an entry of nothing: {entry:?}"));
        if *seen {
            assert_eq!(entry.cost_nano_usd, *cost, "{entry:?}");
            assert_eq!(entry.kind(), LedgerEntryKind::Exact);
        } else {
            assert_eq!(entry.kind(), LedgerEntryKind::Recovered, "{entry:?}");
            assert!((entry.low_nano_usd..=entry.high_nano_usd).contains(cost), "{cost} of {entry:?}");
        }
    }
    for attempt in books.billed.keys() {
        assert_eq!(rows.get(attempt.as_str()), Some(&1), "rows of {attempt}");
    }
    for budget in budgets() {
        let mut spent: HashMap<i64, i64> = HashMap::new();
        for entry in &entries {
            for charge in entry.charges.iter().filter(|c| c.budget_id == budget.id) {
                *spent.entry(charge.window).or_default() += entry.cost_nano_usd;
            }
        }
        for (window, spent) in spent {
            assert!(spent <= budget.limit_nano_usd, "{}: spent {spent} of {}", budget.id, budget.limit_nano_usd);
            assert!(window == 0 || (START - 30..START + 120).contains(&window), "{}: window {window}", budget.id);
        }
        assert_eq!(simulation.world.leased(&budget.id), 0, "{} is still leased", budget.id);
    }
    let ledger = simulation.nodes[0].ledger.lock().clone().unwrap();
    let checked = tollgate_ledger::check(&**ledger.store()).await.unwrap();
    assert!(checked.findings.is_empty(), "{:#?}", checked.findings);
    // And it lives: a wide budget takes calls at every replica.
    for node in &simulation.nodes {
        let ledger = node.ledger.lock().clone().unwrap();
        let scopes = ledger.scopes(&Payer { key_id: "k2", ..Payer::default() });
        let wide: Vec<_> = scopes.iter().filter(|a| &*a.id == "b2").cloned().collect();
        let ask = Ask::exactly(NanoUsd(100), Duration::from_secs(2));
        ledger.hold(&wide.into(), ask).await.unwrap();
    }
}

#[test]
fn whatever_happens_to_replicas_no_budget_is_passed_and_no_record_lost() {
    let given = std::env::var("TOLLGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let many = std::env::var("TOLLGATE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let seeds = given.map_or(1..many + 1, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let run = std::panic::AssertUnwindSafe(|| runtime.block_on(simulate(seed)));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed}: replay with TOLLGATE_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
