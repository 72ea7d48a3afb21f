//! What a record costs: appended, packed and verified. Time is that of the CPU, so that a busy machine gives the same figures.

use std::{fs, hint::black_box, time::Duration};

use criterion::{
    Criterion, Throughput, criterion_group, criterion_main,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use tollgate_audit_log_tests::Deployment;
use tollgate_tlog::{
    Checkpoint, Packer, Tree, leaf_hash,
    verify::{Options, verify},
};

const RECORDS: u64 = 50_000;

/// How long this thread has run, as the kernel counts.
struct Cpu;

impl Measurement for Cpu {
    type Intermediate = u64;
    type Value = Duration;

    fn start(&self) -> u64 {
        let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells how long a thread has run");
        text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds come first")
    }

    fn end(&self, begun: u64) -> Duration {
        Duration::from_nanos(self.start() - begun)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn bench(c: &mut Criterion<Cpu>) {
    let mut deployment = Deployment::new("tollgate", 1);
    deployment.born("replica-a");
    for record in 0..RECORDS {
        deployment.call("replica-a");
        if record % 4_096 == 4_095 {
            deployment.sign("replica-a");
        }
    }
    deployment.sign("replica-a");
    let records: Vec<_> = (1..=RECORDS as usize).map(|sequence| deployment.bytes("replica-a", sequence)).collect();
    let made = deployment.export();
    let bytes: usize = records.iter().map(Vec::len).sum();
    let tiles = made.files.0.iter().filter(|(path, _)| path.starts_with("logs/") && !path.contains("/entries/"));
    let hashes: usize = tiles.map(|(_, file)| file.len()).sum();
    println!("{} bytes a record, {:.1} bytes of hashes", bytes as u64 / RECORDS, hashes as f64 / RECORDS as f64);

    let mut group = c.benchmark_group("log");
    group.sample_size(10).throughput(Throughput::Elements(RECORDS));
    group.bench_function("append, with a checkpoint each 4096", |b| b.iter(|| append(&deployment, &records)));
    group.bench_function("pack", |b| {
        b.iter(|| {
            let (mut packer, mut files) = (Packer::new("logs/replica-a"), Vec::new());
            for record in &records {
                packer.append(record, &mut files).expect("a record fits into a bundle");
                files.clear();
            }
            packer.root()
        });
    });
    let key = deployment.key();
    group.bench_function("verify", |b| {
        b.iter(|| {
            let keys = vec![key.parse().expect("a key")];
            let report = verify(&made.files, Options { keys, ..Options::default() }).expect("it can be read");
            assert!(report.intact && report.records == RECORDS, "{report:?}");
        });
    });
    let dump = made.dump();
    group.bench_function("verify with the ledger", |b| {
        let open =
            || -> std::io::Result<Box<dyn std::io::BufRead>> { Ok(Box::new(std::io::Cursor::new(dump.clone()))) };
        b.iter(|| {
            let keys = vec![key.parse().expect("a key")];
            let options = Options { keys, ledger: Some(&open), ..Options::default() };
            assert!(verify(&made.files, options).expect("it can be read").intact);
        });
    });
    group.finish();
}

/// What the gateway does for each record, off the path of calls.
fn append(deployment: &Deployment, records: &[Vec<u8>]) -> u64 {
    let (mut tree, mut rows) = (Tree::default(), Vec::new());
    for record in records {
        tree.append(leaf_hash(record), &mut rows);
        if tree.size().is_multiple_of(4_096) {
            let checkpoint = Checkpoint { origin: "tollgate/replica-a".into(), size: tree.size(), root: tree.root() };
            black_box(checkpoint.sign(deployment.signing_key()));
            rows.clear();
        }
    }
    tree.size()
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(Cpu);
    targets = bench
}
criterion_main!(benches);
