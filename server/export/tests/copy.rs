//! What is exported is what the copy goes on from; what contradicts it is told of, and nothing is put.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use tollgate_audit::{Notary, Whose};
use tollgate_domain::Clock;
use tollgate_export::{Done, ExportError, Exporter};
use tollgate_objects::{ObjectPlace, Vault};
use tollgate_proto::v1::AuditRecord;
use tollgate_store::{AuditLogs, Batch, Change, Head, Lead, Result, RootGrowth, Store, StoredLog};
use tollgate_store_sqlite::SqliteStore;
use tollgate_tlog::{Hash, SigningKey, Span};

/// A store whose records are signed.
struct World {
    dir: tempfile::TempDir,
    store: Arc<SqliteStore>,
    notary: Notary,
}

impl World {
    async fn new(name: &str, key: &str, sequences: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&dir.path().join("store.db")).await.unwrap());
        let notary = Notary::new(SigningKey::from_seed(name, [7; 32]).unwrap(), None, "alone", store.clone(), clock());
        let world = Self { dir, store, notary };
        world.records(1..=sequences, key).await;
        world
    }

    async fn records(&self, sequences: std::ops::RangeInclusive<i64>, key: &str) {
        let through = *sequences.end() as u64;
        let record = |sequence| AuditRecord { sequence, key_id: key.into(), ..AuditRecord::default() };
        let changes = sequences.map(|sequence| Change::Record(Box::new(record(sequence)))).collect();
        self.store.apply(&Batch { changes, through, ..Batch::default() }).await.unwrap();
        self.notary.sign(Whose::All).await.unwrap();
    }

    async fn export(&self, to: &Path) -> std::result::Result<Done, ExportError> {
        exporter(self.store.clone(), to).export().await
    }
}

fn clock() -> Clock {
    Clock::new(|| 1_763_776_800_000_000)
}

fn exporter(logs: Arc<dyn AuditLogs>, to: &Path) -> Exporter {
    let vault = Vault::open(ObjectPlace::Local { dir: to.to_owned() }, "", None).unwrap();
    Exporter::new(logs, vault, Duration::from_secs(1), clock())
}

fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path.to_string_lossy().into_owned()),
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn another_export_puts_what_is_new_and_none_where_nothing_is() {
    let world = World::new("tollgate", "k1", 600).await;
    let copy = world.dir.path().join("copy");
    let first = world.export(&copy).await.unwrap();
    assert_eq!((first.records, first.files), (600, files(&copy).len() as u64));
    assert_eq!(world.export(&copy).await.unwrap(), Done::default());
    let before = files(&copy);
    world.records(601..=700, "k1").await;
    let second = world.export(&copy).await.unwrap();
    let fresh: Vec<_> = files(&copy).into_iter().filter(|file| !before.contains(file)).collect();
    assert_eq!((second.records, second.files), (100, fresh.len() as u64));
    let log: Vec<_> = fresh.iter().filter_map(|file| file.split_once("/logs/alone/")).map(|(_, file)| file).collect();
    assert_eq!(log, ["checkpoints/00000000000000000700", "tile/0/002.p/188", "tile/entries/002.p/188"]);
}

#[tokio::test]
async fn what_an_export_that_was_cut_short_has_put_is_taken_as_it_is() {
    let world = World::new("tollgate", "k1", 600).await;
    let (copy, whole) = (world.dir.path().join("copy"), world.dir.path().join("whole"));
    world.export(&whole).await.unwrap();
    for path in ["logs/alone/tile/entries/000", "logs/alone/tile/0/001", "logs/alone/tile/1/000.p/2"] {
        std::fs::create_dir_all(copy.join(path).parent().unwrap()).unwrap();
        std::fs::copy(whole.join(path), copy.join(path)).unwrap();
    }
    let done = world.export(&copy).await.unwrap();
    assert_eq!(done.files, files(&whole).len() as u64 - 3);
    assert_eq!(files(&copy).len(), files(&whole).len());
}

#[tokio::test]
async fn what_is_there_and_is_something_else_is_left_alone_and_told() {
    let world = World::new("tollgate", "k1", 300).await;
    let copy = world.dir.path().join("copy");
    std::fs::create_dir_all(copy.join("logs/alone/tile/entries")).unwrap();
    std::fs::write(copy.join("logs/alone/tile/entries/000"), "something else").unwrap();
    let error = world.export(&copy).await.unwrap_err();
    assert!(error.to_string().contains("logs/alone/tile/entries/000: something else is there already"), "{error}");
    assert!(!copy.join("root").exists(), "no checkpoint signs what is not there");
}

#[tokio::test]
async fn a_store_that_tells_of_another_past_than_the_copy_is_not_exported() {
    let world = World::new("tollgate", "k1", 300).await;
    let copy = world.dir.path().join("copy");
    world.export(&copy).await.unwrap();
    let before = files(&copy);
    let rolled_back = World::new("tollgate", "k1", 290).await.export(&copy).await.unwrap_err();
    assert!(matches!(rolled_back, ExportError::RolledBack { exported: 300, found: 290, .. }), "{rolled_back}");
    let changed = World::new("tollgate", "k2", 310).await.export(&copy).await.unwrap_err();
    assert!(matches!(changed, ExportError::Changed { size: 300, .. }), "{changed}");
    let foreign = World::new("other", "k1", 310).await.export(&copy).await.unwrap_err();
    assert!(matches!(foreign, ExportError::Foreign { .. }), "{foreign}");
    assert_eq!(files(&copy), before);
}

/// A store of which somebody changed a record behind the gateway's back.
struct Tampered(Arc<SqliteStore>);

#[async_trait]
impl AuditLogs for Tampered {
    async fn audit_logs(&self) -> Result<Vec<StoredLog>> {
        self.0.audit_logs().await
    }

    async fn root_size(&self) -> Result<u64> {
        self.0.root_size().await
    }

    async fn leaves(&self, log: &str, first: u64, limit: u64) -> Result<Vec<Vec<u8>>> {
        let mut leaves = self.0.leaves(log, first, limit).await?;
        if let Some(leaf) = leaves.get_mut(5).filter(|_| log == "alone" && first == 256) {
            leaf.push(0);
        }
        Ok(leaves)
    }

    async fn hashes(&self, log: &str, span: Span) -> Result<Vec<Hash>> {
        self.0.hashes(log, span).await
    }

    async fn grow_root(&self, growth: &RootGrowth) -> Result<bool> {
        self.0.grow_root(growth).await
    }

    async fn heads(&self) -> Result<Vec<Head>> {
        self.0.heads().await
    }

    async fn lead_export(&self) -> Result<Option<Lead>> {
        self.0.lead_export().await
    }
}

#[tokio::test]
async fn nothing_is_put_before_all_of_it_was_seen_to_be_as_it_was_signed() {
    let world = World::new("tollgate", "k1", 600).await;
    let copy = world.dir.path().join("copy");
    let error = exporter(Arc::new(Tampered(world.store.clone())), &copy).export().await.unwrap_err();
    assert!(error.to_string().contains("the store was changed"), "{error}");
    assert_eq!(files(&copy), Vec::<String>::new());
}
