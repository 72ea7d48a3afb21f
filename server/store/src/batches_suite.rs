//! What keeping files and batches means, as sentences. A backend's tests call each of these with a fresh store.

#![allow(clippy::unwrap_used)] // test code that backends call

use tollgate_proto::v1::LedgerEntry;

use crate::{Batches, Listing, StoredBatch, StoredFile, StoredLines};

const NOW: i64 = 1_795_132_800_000_000;

fn file(key: &str, id: &str, purpose: &str) -> StoredFile {
    StoredFile {
        id: id.into(),
        key_id: key.into(),
        purpose: purpose.into(),
        upstream_id: format!("upstream-{id}"),
        object_json: r#"{"object":"file"}"#.into(),
        create_us: NOW,
        lines: Some(StoredLines { count: 2, bound_nano_usd: 7, ..StoredLines::default() }),
        ..StoredFile::default()
    }
}

fn batch(key: &str, id: &str) -> StoredBatch {
    let charge = LedgerEntry { attempt_id: format!("{id}-1"), cost_nano_usd: 7, ..LedgerEntry::default() };
    StoredBatch { id: id.into(), key_id: key.into(), lines: 2, charge: Some(charge), ..StoredBatch::default() }
}

fn listing(after: &str, oldest_first: bool, limit: i64) -> Listing {
    Listing { after: after.into(), oldest_first, limit }
}

async fn due(store: &dyn Batches, now_us: i64, until_us: i64, limit: i64) -> Vec<String> {
    let mut ids: Vec<_> =
        store.due_batches(now_us, until_us, limit).await.unwrap().into_iter().map(|batch| batch.id).collect();
    ids.sort();
    ids
}

/// A file reads back as it was written, for its key and for no other, until it is forgotten.
pub async fn a_file_is_there_for_its_key_alone(store: &dyn Batches) {
    let kept = file("k1", "file-1", "batch");
    store.keep_file(&kept).await.unwrap();
    store.keep_file(&StoredFile { purpose: "other".into(), ..kept.clone() }).await.unwrap();
    assert_eq!(store.file("k1", "file-1").await.unwrap(), Some(kept), "what is there stays as it is");
    assert_eq!(store.file("k2", "file-1").await.unwrap(), None);
    assert!(store.files("k2", "", &listing("", false, 10)).await.unwrap().is_empty());
    assert!(!store.forget_file("k2", "file-1").await.unwrap());
    assert!(store.forget_file("k1", "file-1").await.unwrap());
    assert!(!store.forget_file("k1", "file-1").await.unwrap());
    assert_eq!(store.file("k1", "file-1").await.unwrap(), None);
}

/// Files come in the order of their ids, either way, from behind any of them, and of one purpose.
pub async fn files_come_in_pages(store: &dyn Batches) {
    for (id, purpose) in [("file-1", "batch"), ("file-2", "vision"), ("file-3", "batch"), ("file-4", "batch")] {
        store.keep_file(&file("k1", id, purpose)).await.unwrap();
    }
    let ids = async |purpose: &str, listing: Listing| -> Vec<String> {
        store.files("k1", purpose, &listing).await.unwrap().into_iter().map(|file| file.id).collect()
    };
    assert_eq!(ids("", listing("", false, 2)).await, ["file-4", "file-3"]);
    assert_eq!(ids("", listing("file-3", false, 2)).await, ["file-2", "file-1"]);
    assert_eq!(ids("", listing("file-2", true, 9)).await, ["file-3", "file-4"]);
    assert_eq!(ids("batch", listing("", true, 9)).await, ["file-1", "file-3", "file-4"]);
    assert_eq!(ids("batch", listing("file-3", false, 9)).await, ["file-1"]);
}

/// A batch reads back as it was written, for its key and for no other.
pub async fn a_batch_is_there_for_its_key_alone(store: &dyn Batches) {
    for id in ["batch_1", "batch_2"] {
        store.begin_batch(&batch("k1", id), NOW).await.unwrap();
    }
    assert_eq!(store.batch("k1", "batch_1").await.unwrap(), Some(batch("k1", "batch_1")));
    assert_eq!(store.batch("k2", "batch_1").await.unwrap(), None);
    assert!(store.batches("k2", &listing("", false, 9)).await.unwrap().is_empty());
    let listed = store.batches("k1", &listing("", false, 9)).await.unwrap();
    assert_eq!(listed, [batch("k1", "batch_2"), batch("k1", "batch_1")]);
    assert_eq!(store.batches("k1", &listing("batch_2", false, 9)).await.unwrap(), [batch("k1", "batch_1")]);
}

/// What is due is claimed by one, and comes back when the claim is over.
pub async fn a_batch_is_looked_at_by_one(store: &dyn Batches) {
    for (id, look_us) in [("batch_1", NOW), ("batch_2", NOW), ("batch_3", NOW + 50)] {
        store.begin_batch(&batch("k1", id), look_us).await.unwrap();
    }
    assert_eq!(due(store, NOW, NOW + 10, 1).await.len(), 1, "at most so many at once");
    assert_eq!(due(store, NOW, NOW + 10, 9).await.len(), 1, "the other one");
    assert!(due(store, NOW + 9, NOW + 20, 9).await.is_empty(), "both are claimed");
    store.hold_batch("batch_1", NOW + 40).await.unwrap();
    assert_eq!(due(store, NOW + 10, NOW + 30, 9).await, ["batch_2"], "the claim on it is over");
    // Noted with a time, it is free again and comes then.
    let told = StoredBatch { object_json: "{}".into(), ..batch("k1", "batch_2") };
    store.note_batch(&told, Some(NOW + 20)).await.unwrap();
    assert_eq!(store.batch("k1", "batch_2").await.unwrap(), Some(told.clone()));
    assert!(due(store, NOW + 19, NOW + 30, 9).await.is_empty());
    // Who is in a hurry waits for a claim all the same.
    store.hasten_batch("batch_1", NOW).await.unwrap();
    store.hasten_batch("batch_2", NOW).await.unwrap();
    assert_eq!(due(store, NOW + 19, NOW + 90, 9).await, ["batch_2"]);
    // Noted without one, the claim stays.
    store.note_batch(&told, None).await.unwrap();
    assert_eq!(due(store, NOW + 50, NOW + 90, 9).await, ["batch_1", "batch_3"]);
}

/// A batch settles once, and is never looked at again.
pub async fn a_batch_settles_once(store: &dyn Batches) {
    store.begin_batch(&batch("k1", "batch_1"), NOW).await.unwrap();
    let settled = StoredBatch { cost_nano_usd: Some(3), ..batch("k1", "batch_1") };
    assert!(store.settle_batch(&settled).await.unwrap());
    assert!(!store.settle_batch(&StoredBatch { cost_nano_usd: Some(4), ..settled.clone() }).await.unwrap());
    store.note_batch(&batch("k1", "batch_1"), Some(NOW)).await.unwrap();
    store.hasten_batch("batch_1", NOW).await.unwrap();
    assert_eq!(store.batch("k1", "batch_1").await.unwrap(), Some(settled));
    assert!(due(store, NOW + 1, NOW + 2, 9).await.is_empty());
}

/// The charge of a batch is corrected in one journal, whoever looks at it.
pub async fn a_batch_is_corrected_by_one(store: &dyn Batches) {
    store.begin_batch(&batch("k1", "batch_1"), NOW).await.unwrap();
    store.begin_batch(&batch("k1", "batch_2"), NOW).await.unwrap();
    assert_eq!(store.correct_batch("batch_1", "r1").await.unwrap(), "r1");
    assert_eq!(store.correct_batch("batch_1", "r2").await.unwrap(), "r1");
    assert_eq!(store.correct_batch("batch_1", "r1").await.unwrap(), "r1", "after a restart");
    assert_eq!(store.correct_batch("batch_2", "r2").await.unwrap(), "r2");
}
