//! What "a store" means, as sentences. A backend's tests call each of these with a fresh store.

#![allow(clippy::unwrap_used)] // test code that backends call

use tollgate_proto::v1::{
    AuditFilter, AuditRecord, Budget, BudgetEnforcement, InputUsage, Key, LedgerEntry, LedgerEntryKind, OutputUsage,
    SpendGroup, Usage,
};

use crate::{Batch, Change, EntryQuery, Idempotency, LedgerRow, Positions, SpendQuery, Store, StoredKey};

/// 2026-11-20T00:00:00Z.
const DAY_US: i64 = 1_795_132_800_000_000;

fn key(id: &str) -> StoredKey {
    StoredKey {
        key: Key {
            id: id.into(),
            display_name: "a key".into(),
            prefix: "tg-abcde".into(),
            role: 1,
            state: 1,
            models: vec!["*".into(), "gpt".into()],
            default_output_cap: Some(100),
            metadata: [("team".to_owned(), "blue".to_owned())].into(),
            create_time: Some(time(DAY_US)),
            update_time: Some(time(DAY_US + 5)),
            expire_time: None,
            etag: "e1".into(),
        },
        digest: vec![7; 32],
        old_digest: Some(vec![8; 32]),
        old_until_us: 9,
        request_id: "r1".into(),
    }
}

fn budget(id: &str, key_id: &str) -> Budget {
    Budget {
        id: id.into(),
        key_id: key_id.into(),
        limit_nano_usd: 1_000,
        enforcement: BudgetEnforcement::Hard as i32,
        create_time: Some(time(DAY_US)),
        update_time: Some(time(DAY_US)),
        etag: "e1".into(),
        ..Budget::default()
    }
}

fn time(us: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: us.div_euclid(1_000_000), nanos: (us.rem_euclid(1_000_000) * 1_000) as i32 }
}

fn row(sequence: i64, key_id: &str, model: &str, nano: i64, budgets: &[&str]) -> LedgerRow {
    let usage = Usage {
        input: Some(InputUsage { total: 10, cached_read: 4, ..InputUsage::default() }),
        output: Some(OutputUsage { total: 3, reasoning: 1, ..OutputUsage::default() }),
        cost_nano_usd: nano,
        held_nano_usd: nano * 2,
        ..Usage::default()
    };
    LedgerRow {
        entry: LedgerEntry {
            attempt_id: format!("call{sequence}-1"),
            call_id: format!("call{sequence}"),
            key_id: key_id.into(),
            model: model.into(),
            deployment: "d".into(),
            provider: "p".into(),
            kind: LedgerEntryKind::Exact as i32,
            usage: Some(usage),
            cost_nano_usd: nano,
            held_nano_usd: nano * 2,
            low_nano_usd: nano,
            high_nano_usd: nano,
            price_version: "v1".into(),
            settle_time: Some(time(DAY_US + sequence)),
            outcome: "complete".into(),
            sequence,
        },
        budget_ids: budgets.iter().map(|&b| b.into()).collect(),
        idempotency: Some(Idempotency { key: vec![sequence as u8; 16], fingerprint: vec![2; 16] }),
    }
}

fn record(sequence: i64, key_id: &str, action: &str) -> AuditRecord {
    AuditRecord {
        sequence,
        time: Some(time(DAY_US + sequence)),
        action: action.into(),
        key_id: key_id.into(),
        call_id: format!("call{sequence}"),
        tags: vec!["t".into()],
        ..AuditRecord::default()
    }
}

fn entry(row: LedgerRow) -> Change {
    Change::Entry(Box::new(row))
}

fn everything(group_by: SpendGroup) -> SpendQuery {
    SpendQuery { key_id: None, start_us: 0, end_us: i64::MAX, group_by }
}

/// Keys and budgets read back as they were written, and the last change wins.
pub async fn keys_and_budgets_read_back_as_written(store: &dyn Store) {
    let mut first = key("k1");
    let changes = vec![Change::Key(Box::new(first.clone())), Change::Budget(budget("b1", "k1"))];
    store.apply(&Batch { changes, through: 2 }).await.unwrap();
    assert_eq!(store.keys().await.unwrap(), [first.clone()]);
    assert_eq!(store.budgets().await.unwrap(), [budget("b1", "k1")]);

    first.key.display_name = "renamed".into();
    first.key.expire_time = Some(time(DAY_US + 77));
    first.old_digest = None;
    let changed = Budget { limit_nano_usd: 5, ..budget("b1", "k1") };
    let changes = vec![Change::Key(Box::new(first.clone())), Change::Budget(changed.clone())];
    store.apply(&Batch { changes, through: 4 }).await.unwrap();
    assert_eq!(store.keys().await.unwrap(), [first]);
    assert_eq!(store.budgets().await.unwrap(), [changed]);

    store.apply(&Batch { changes: vec![Change::BudgetDeleted("b1".into())], through: 5 }).await.unwrap();
    assert_eq!(store.budgets().await.unwrap(), []);
    assert_eq!(store.positions().await.unwrap(), Positions { journal: 5, ledger: 0, audit: 0 });
}

/// A batch that comes twice, or overlaps another, counts once.
pub async fn entries_count_once_however_often_they_come(store: &dyn Store) {
    let changes = vec![
        Change::Key(Box::new(key("k1"))),
        Change::Budget(budget("b1", "k1")),
        entry(row(1, "k1", "gpt", 30, &["b1"])),
        Change::Record(Box::new(record(1, "k1", "completion.create"))),
    ];
    let first = Batch { changes, through: 4 };
    store.apply(&first).await.unwrap();
    store.apply(&first).await.unwrap();
    let changes = vec![entry(row(1, "k1", "gpt", 30, &["b1"])), entry(row(2, "k1", "gpt", 12, &["b1"]))];
    store.apply(&Batch { changes, through: 6 }).await.unwrap();

    assert_eq!(store.budgets().await.unwrap()[0].spent_nano_usd, 42);
    let entries = store.entries(&EntryQuery { limit: 10, ..EntryQuery::default() }).await.unwrap();
    assert_eq!(entries, [row(1, "k1", "gpt", 30, &[]).entry, row(2, "k1", "gpt", 12, &[]).entry]);
    assert_eq!(store.positions().await.unwrap(), Positions { journal: 6, ledger: 2, audit: 1 });
}

/// A change of a budget's limit never touches what was spent.
pub async fn a_changed_limit_keeps_the_spend(store: &dyn Store) {
    let changes = vec![
        Change::Key(Box::new(key("k1"))),
        Change::Budget(budget("b1", "k1")),
        entry(row(1, "k1", "gpt", 30, &["b1"])),
        Change::Budget(Budget { limit_nano_usd: 9, ..budget("b1", "k1") }),
    ];
    store.apply(&Batch { changes, through: 4 }).await.unwrap();
    let budgets = store.budgets().await.unwrap();
    assert_eq!((budgets[0].limit_nano_usd, budgets[0].spent_nano_usd), (9, 30));
}

/// Spend is summed by every group, with estimates apart.
pub async fn spend_is_summed_by_group(store: &dyn Store) {
    let mut guessed = row(3, "k2", "llama", 5, &[]);
    guessed.entry.kind = LedgerEntryKind::Estimated as i32;
    guessed.entry.settle_time = Some(time(DAY_US + 86_400_000_000));
    let changes = vec![entry(row(1, "k1", "gpt", 30, &[])), entry(row(2, "k1", "llama", 12, &[])), entry(guessed)];
    store.apply(&Batch { changes, through: 3 }).await.unwrap();

    for (group, expected) in [
        (SpendGroup::Key, vec![("k1", 42), ("k2", 5)]),
        (SpendGroup::Model, vec![("gpt", 30), ("llama", 17)]),
        (SpendGroup::Provider, vec![("p", 47)]),
        (SpendGroup::Day, vec![("2026-11-20", 42), ("2026-11-21", 5)]),
        (SpendGroup::Unspecified, vec![("", 47)]),
    ] {
        let mut rows = store.spend(&everything(group)).await.unwrap();
        rows.sort_by(|a, b| a.group.cmp(&b.group));
        let sums: Vec<_> = rows.iter().map(|r| (r.group.as_str(), r.cost_nano_usd)).collect();
        assert_eq!(sums, expected, "{group:?}");
        assert_eq!(rows.iter().map(|r| r.estimated_nano_usd).sum::<i64>(), 5);
        assert_eq!(
            rows.iter().map(|r| (r.input_tokens, r.output_tokens)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
            (30, 9)
        );
    }
    let window = SpendQuery { end_us: DAY_US + 2, ..everything(SpendGroup::Unspecified) };
    assert_eq!(store.spend(&window).await.unwrap()[0].cost_nano_usd, 30);
    let one_key = SpendQuery { key_id: Some("k2".into()), ..everything(SpendGroup::Unspecified) };
    assert_eq!(store.spend(&one_key).await.unwrap()[0].cost_nano_usd, 5);
}

/// Pages follow one another without gap or repetition, and filters hold.
pub async fn entries_and_records_come_in_pages(store: &dyn Store) {
    let changes = (1..=5)
        .flat_map(|n| {
            let key_id = if n == 3 { "k2" } else { "k1" };
            let action = if n == 4 { "key.create" } else { "completion.create" };
            [entry(row(n, key_id, "gpt", n, &[])), Change::Record(Box::new(record(n, key_id, action)))]
        })
        .collect();
    store.apply(&Batch { changes, through: 10 }).await.unwrap();

    let of_k1 =
        |after_sequence| EntryQuery { key_id: Some("k1".into()), after_sequence, limit: 2, ..EntryQuery::default() };
    let sequences = |entries: Vec<LedgerEntry>| entries.iter().map(|e| e.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(store.entries(&of_k1(0)).await.unwrap()), [1, 2]);
    assert_eq!(sequences(store.entries(&of_k1(2)).await.unwrap()), [4, 5]);
    let of_call = EntryQuery { call_id: Some("call3".into()), limit: 9, ..EntryQuery::default() };
    assert_eq!(sequences(store.entries(&of_call).await.unwrap()), [3]);

    let filter = |f: AuditFilter, after, limit| async move {
        store.records(&f, after, limit).await.unwrap().iter().map(|r| r.sequence).collect::<Vec<_>>()
    };
    assert_eq!(filter(AuditFilter::default(), 0, 3).await, [1, 2, 3]);
    assert_eq!(filter(AuditFilter::default(), 3, 3).await, [4, 5]);
    assert_eq!(filter(AuditFilter { action_prefix: "key.".into(), ..Default::default() }, 0, 9).await, [4]);
    assert_eq!(filter(AuditFilter { action_prefix: "%".into(), ..Default::default() }, 0, 9).await, [] as [i64; 0]);
    assert_eq!(filter(AuditFilter { key_id: "k2".into(), ..Default::default() }, 0, 9).await, [3]);
    let window =
        AuditFilter { start_time: Some(time(DAY_US + 2)), end_time: Some(time(DAY_US + 4)), ..Default::default() };
    assert_eq!(filter(window, 0, 9).await, [2, 3]);
    let whole = store.records(&AuditFilter { call_id: "call1".into(), ..Default::default() }, 0, 9).await.unwrap();
    assert_eq!(whole, [record(1, "k1", "completion.create")]);
}

/// Idempotency keys come back for as long as they are asked for.
pub async fn idempotency_keys_are_remembered(store: &dyn Store) {
    let changes = vec![entry(row(1, "k1", "gpt", 1, &[])), entry(row(2, "k1", "gpt", 1, &[]))];
    store.apply(&Batch { changes, through: 2 }).await.unwrap();
    let recent = store.idempotency_since(DAY_US + 2).await.unwrap();
    assert_eq!(recent, [(Idempotency { key: vec![2; 16], fingerprint: vec![2; 16] }, "call2".to_owned())]);
}
