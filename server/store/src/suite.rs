//! What "a store" means, as sentences. A backend's tests call each of these with a fresh store.

#![allow(clippy::unwrap_used)] // test code that backends call

use tollgate_proto::v1::{
    AuditFilter, AuditRecord, Budget, BudgetCharge, BudgetEnforcement, InputUsage, Key, LedgerEntry, LedgerEntryKind,
    OutputUsage, SpendGroup, Team, Usage,
};

use crate::{
    AlertRule, Balance, Batch, Change, EntryQuery, Idempotency, LedgerRow, Object, Payer, Positions, PutOutcome,
    SpendQuery, Store, StoredKey, Thing,
};

/// 2026-11-20T00:00:00Z.
const DAY_US: i64 = 1_795_132_800_000_000;

fn key(id: &str) -> StoredKey {
    let key = Key {
        id: id.into(),
        display_name: "a key".into(),
        models: vec!["*".into(), "gpt".into()],
        metadata: [("team".to_owned(), "blue".to_owned())].into(),
        create_time: Some(time(DAY_US)),
        ..Key::default()
    };
    let mut stored = StoredKey::new(key, vec![7; 32]);
    (stored.old_digest, stored.old_until_us) = (Some(vec![8; 32]), 9);
    stored.old_imported_digest = Some(vec![6; 32]);
    stored
}

fn budget(id: &str, limit_nano_usd: i64) -> Object {
    let enforcement = BudgetEnforcement::Hard as i32;
    Budget { id: id.into(), limit_nano_usd, enforcement, ..Budget::default() }.into()
}

fn time(us: i64) -> prost_types::Timestamp {
    tollgate_domain::timestamp(us)
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
            organization_id: "org".into(),
            team_id: format!("team-of-{key_id}"),
            user_id: "ann".into(),
            customer: if sequence % 2 == 1 { "acme".into() } else { String::new() },
            tags: vec!["prod".into(), format!("t{sequence}")],
            charges: budgets.iter().map(|&b| BudgetCharge { budget_id: b.into(), window: 7 }).collect(),
            ..LedgerEntry::default()
        },
        lease_windows: Vec::new(),
        idempotency: Some(Idempotency { key: vec![sequence as u8; 16], fingerprint: vec![2; 16] }),
    }
}

pub(crate) fn record(sequence: i64, key_id: &str, action: &str) -> AuditRecord {
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

fn object(object: impl Into<Object>) -> Change {
    Change::Object(Box::new(object.into()))
}

pub(crate) fn batch(changes: Vec<Change>, through: u64) -> Batch {
    Batch { changes, through, ..Batch::default() }
}

fn everything(group_by: SpendGroup) -> SpendQuery {
    SpendQuery { end_us: i64::MAX, group_by, ..SpendQuery::default() }
}

async fn spent(store: &dyn Store, budget_id: &str) -> i64 {
    store.balances(&[(budget_id.into(), 0)]).await.unwrap().iter().map(|b| b.spent).sum()
}

async fn objects(store: &dyn Store) -> Vec<Object> {
    store.objects_after(0).await.unwrap().into_iter().map(|(_, object)| object).collect()
}

/// Objects read back as they were written, the last change wins, and what is deleted is told as deleted.
pub async fn objects_read_back_as_written(store: &dyn Store) {
    store.apply(&batch(vec![object(key("k1")), object(budget("b1", 1_000))], 2)).await.unwrap();
    assert_eq!(objects(store).await, [key("k1").into(), budget("b1", 1_000)]);
    let version = store.objects_after(0).await.unwrap().last().unwrap().0;

    let mut renamed = key("k1");
    renamed.key_mut().display_name = "renamed".into();
    store.apply(&batch(vec![object(renamed.clone()), object(budget("b1", 5).deleted())], 5)).await.unwrap();
    let changed: Vec<_> = store.objects_after(version).await.unwrap().into_iter().map(|(_, o)| o).collect();
    assert_eq!(changed, [renamed.into(), budget("b1", 5).deleted()]);
    assert_eq!(store.positions().await.unwrap(), Positions { journal: 5, ledger: 0, audit: 0 });
}

/// Of two changes to the same version of an object the second is refused, whole.
pub async fn a_change_of_what_somebody_else_changed_is_refused(store: &dyn Store) {
    let team = |name: &str| {
        let team = Team { id: "team_1".into(), display_name: name.into(), ..Team::default() };
        Object::new(Thing::Team(team))
    };
    assert_eq!(store.put(&[(team("a"), 0)]).await.unwrap(), PutOutcome::Done);
    assert_eq!(store.put(&[(team("b"), 0)]).await.unwrap(), PutOutcome::Conflict);
    let version = store.objects_after(0).await.unwrap()[0].0;
    assert_eq!(store.put(&[(team("b"), version)]).await.unwrap(), PutOutcome::Done);
    let both = [(budget("b1", 1), 0), (team("c"), version)];
    assert_eq!(store.put(&both).await.unwrap(), PutOutcome::Conflict);
    let twice = [(budget("b1", 1), 0), (budget("b1", 2), 0)];
    assert_eq!(store.put(&twice).await.unwrap(), PutOutcome::Conflict);
    assert_eq!(objects(store).await, [team("b")]);
}

/// Objects that change together keep their order, and of one that changes twice the last counts.
pub async fn objects_that_change_together_keep_their_order(store: &dyn Store) {
    let many: Vec<_> = (0..300).map(|n| (budget(&format!("b{n}"), n), 0)).collect();
    assert_eq!(store.put(&many).await.unwrap(), PutOutcome::Done);
    let versions: Vec<_> = store.objects_after(0).await.unwrap().into_iter().map(|(version, _)| version).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "each has a version of its own: {versions:?}");
    assert_eq!(objects(store).await, many.into_iter().map(|(object, _)| object).collect::<Vec<_>>());

    let last = *versions.last().unwrap();
    let changes = vec![object(budget("b7", 1)), object(key("k1")), object(budget("b7", 2))];
    store.apply(&batch(changes, 1)).await.unwrap();
    let changed: Vec<_> = store.objects_after(last).await.unwrap().into_iter().map(|(_, object)| object).collect();
    assert_eq!(changed, [key("k1").into(), budget("b7", 2)]);
}

/// A batch that comes twice, or overlaps another, counts once.
pub async fn entries_count_once_however_often_they_come(store: &dyn Store) {
    let changes =
        vec![entry(row(1, "k1", "gpt", 30, &["b1"])), Change::Record(Box::new(record(1, "k1", "completion.create")))];
    let first = batch(changes, 4);
    store.apply(&first).await.unwrap();
    store.apply(&first).await.unwrap();
    let changes = vec![entry(row(1, "k1", "gpt", 30, &["b1"])), entry(row(2, "k1", "gpt", 12, &["b1"]))];
    store.apply(&batch(changes, 6)).await.unwrap();

    assert_eq!(spent(store, "b1").await, 42);
    let entries = store.entries(&EntryQuery { limit: 10, ..EntryQuery::default() }).await.unwrap();
    let entries: Vec<_> = entries.into_iter().map(|p| p.entry).collect();
    assert_eq!(entries, [row(1, "k1", "gpt", 30, &["b1"]).entry, row(2, "k1", "gpt", 12, &["b1"]).entry]);
    assert_eq!(store.positions().await.unwrap(), Positions { journal: 6, ledger: 2, audit: 1 });
    assert_eq!(store.findings().await.unwrap(), []);
}

/// Each window of a budget has a balance of its own, and the checker's sums are those of the entries.
pub async fn balances_are_kept_by_window(store: &dyn Store) {
    let mut later = row(2, "k1", "gpt", 12, &["b1", "b2"]);
    later.entry.charges[0].window = 8;
    store.apply(&batch(vec![entry(row(1, "k1", "gpt", 30, &["b1"])), entry(later)], 2)).await.unwrap();
    let balance = |budget_id: &str, window, spent| Balance { budget_id: budget_id.into(), window, spent };
    let mut all = store.all_balances(None, 10).await.unwrap();
    all.sort();
    assert_eq!(all, [balance("b1", 7, 30), balance("b1", 8, 12), balance("b2", 7, 12)]);
    assert_eq!(store.all_balances(Some(&all[0]), 1).await.unwrap(), [balance("b1", 8, 12)]);
    let mut recent = store.balances(&[("b1".into(), 8), ("b2".into(), 0)]).await.unwrap();
    recent.sort();
    assert_eq!(recent, [balance("b1", 8, 12), balance("b2", 7, 12)]);
    let cost: i64 = store.cube().await.unwrap().iter().map(|(_, sums)| sums.cost).sum();
    assert_eq!(cost, 42);
    // A hundred thousand dollars are a hundred thousand dollars.
    let large = 100_000_000_000_000;
    store.apply(&batch(vec![entry(row(3, "k1", "gpt", large, &["b3"]))], 3)).await.unwrap();
    assert_eq!(store.balances(&[("b3".into(), 0)]).await.unwrap(), [balance("b3", 7, large)]);
}

/// A threshold raises one alert for each window, however the spend comes.
pub async fn an_alert_is_raised_once_for_each_window_and_threshold(store: &dyn Store) {
    let rule = AlertRule { limit_nano_usd: 100, percents: vec![50, 80, 100], ..AlertRule::default() };
    let spending = |sequence, nano, window| {
        let mut row = row(sequence, "k1", "gpt", nano, &["b1"]);
        row.entry.charges[0].window = window;
        let rules = [("b1".to_owned(), rule.clone())].into();
        Batch { changes: vec![entry(row)], through: sequence as u64, rules }
    };
    let mut raised = Vec::new();
    for (sequence, nano, window) in [(1, 49, 1), (2, 1, 1), (3, 1, 1), (4, 60, 1), (5, 80, 2)] {
        let batch = spending(sequence, nano, window);
        for alert in [store.apply(&batch).await.unwrap(), store.apply(&batch).await.unwrap()].concat() {
            raised.push((alert.window, alert.percent, alert.spent_nano_usd));
        }
    }
    assert_eq!(raised, [(1, 50, 50), (1, 80, 111), (1, 100, 111), (2, 50, 80), (2, 80, 80)]);
    let kept = store.alerts(Some("b1"), 0, 10).await.unwrap();
    assert_eq!(kept.len(), 5);
    assert_eq!(store.alerts(Some("b1"), kept[3].0, 10).await.unwrap().len(), 1);
    assert_eq!(store.alerts(Some("b2"), 0, 10).await.unwrap().len(), 0);
}

/// Spend is summed by every group, with estimates apart, over whole days and parts of days.
pub async fn spend_is_summed_by_group(store: &dyn Store) {
    let mut guessed = row(3, "k2", "llama", 5, &[]);
    guessed.entry.kind = LedgerEntryKind::Estimated as i32;
    guessed.entry.settle_time = Some(time(DAY_US + 86_400_000_000));
    // What was spent elsewhere is no spend of this gateway's.
    let mut opening = row(4, "k1", "gpt", 1_000, &[]);
    opening.entry.kind = LedgerEntryKind::Opening as i32;
    let changes = vec![
        entry(row(1, "k1", "gpt", 30, &[])),
        entry(row(2, "k1", "llama", 12, &[])),
        entry(guessed),
        entry(opening),
    ];
    store.apply(&batch(changes, 4)).await.unwrap();

    for (group, expected) in [
        (SpendGroup::Key, vec![("k1", 42), ("k2", 5)]),
        (SpendGroup::Model, vec![("gpt", 30), ("llama", 17)]),
        (SpendGroup::Provider, vec![("p", 47)]),
        (SpendGroup::Day, vec![("2026-11-20", 42), ("2026-11-21", 5)]),
        (SpendGroup::Team, vec![("team-of-k1", 42), ("team-of-k2", 5)]),
        (SpendGroup::User, vec![("ann", 47)]),
        (SpendGroup::Organization, vec![("org", 47)]),
        (SpendGroup::Tag, vec![("prod", 47), ("t1", 30), ("t2", 12), ("t3", 5)]),
        (SpendGroup::Customer, vec![("acme", 35)]),
        (SpendGroup::Unspecified, vec![("", 47)]),
    ] {
        // Over all time the rollups answer; a range that cuts days is summed from the entries at its edges.
        let cut = SpendQuery { start_us: DAY_US + 1, end_us: DAY_US + 86_400_000_001, ..everything(group) };
        for query in [everything(group), cut] {
            let mut rows = store.spend(&query).await.unwrap();
            rows.sort_by(|a, b| a.group.cmp(&b.group));
            let sums: Vec<_> = rows.iter().map(|r| (r.group.as_str(), r.cost_nano_usd)).collect();
            assert_eq!(sums, expected, "{group:?}");
            if !matches!(group, SpendGroup::Tag | SpendGroup::Customer) {
                assert_eq!(rows.iter().map(|r| r.estimated_nano_usd).sum::<i64>(), 5);
                let tokens = rows.iter().map(|r| (r.input_tokens, r.output_tokens));
                assert_eq!(tokens.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)), (30, 9));
            }
        }
    }
    let only = |query: SpendQuery| async move { store.spend(&query).await.unwrap()[0].cost_nano_usd };
    assert_eq!(only(SpendQuery { end_us: DAY_US + 2, ..everything(SpendGroup::Unspecified) }).await, 30);
    let payer = Payer { key_id: Some("k2".into()), ..Payer::default() };
    assert_eq!(only(SpendQuery { payer, ..everything(SpendGroup::Unspecified) }).await, 5);
    let payer = Payer { team_id: Some("team-of-k1".into()), ..Payer::default() };
    assert_eq!(only(SpendQuery { payer, ..everything(SpendGroup::Unspecified) }).await, 42);
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
    store.apply(&batch(changes, 10)).await.unwrap();

    let all = store.entries(&EntryQuery { limit: 10, ..EntryQuery::default() }).await.unwrap();
    let position = |sequence: usize| all[sequence - 1].position;
    let of_k1 = |after| {
        let payer = Payer { key_id: Some("k1".into()), ..Payer::default() };
        EntryQuery { payer, after, limit: 2, ..EntryQuery::default() }
    };
    let sequences = |entries: Vec<crate::Posted>| entries.iter().map(|e| e.entry.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(store.entries(&of_k1(0)).await.unwrap()), [1, 2]);
    assert_eq!(sequences(store.entries(&of_k1(position(2))).await.unwrap()), [4, 5]);
    let of_call = EntryQuery { call_id: Some("call3".into()), limit: 9, ..EntryQuery::default() };
    assert_eq!(sequences(store.entries(&of_call).await.unwrap()), [3]);
    let of_attempt = EntryQuery { attempt_id: Some("call4-1".into()), limit: 9, ..EntryQuery::default() };
    assert_eq!(sequences(store.entries(&of_attempt).await.unwrap()), [4]);
    let payer = Payer { team_id: Some("team-of-k2".into()), ..Payer::default() };
    let of_team = EntryQuery { payer, limit: 9, ..EntryQuery::default() };
    assert_eq!(sequences(store.entries(&of_team).await.unwrap()), [3]);

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

/// Whoever follows is told everything that comes after, once, in pages, and nothing of before.
pub async fn whoever_follows_is_told_everything_once(store: &dyn Store) {
    store.apply(&batch(vec![entry(row(1, "k1", "gpt", 1, &["b1"]))], 1)).await.unwrap();
    let everybody = Payer::default();
    // Rows of transactions that others have under way elsewhere may be told a moment later.
    let end = loop {
        let (end, entries, alerts) = store.tail(&everybody, None, 10).await.unwrap();
        assert!(entries.is_empty() && alerts.is_empty());
        if end.entry > 0 {
            break end;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let mut spends = batch(vec![entry(row(2, "k1", "gpt", 60, &["b1"])), entry(row(3, "k2", "gpt", 5, &["b1"]))], 3);
    let rule = AlertRule { limit_nano_usd: 100, percents: vec![50, 60], ..AlertRule::default() };
    spends.rules.insert("b1".into(), rule);
    store.apply(&spends).await.unwrap();
    let (mut told, mut percents, mut at) = (Vec::new(), Vec::new(), end);
    while told.len() < 2 || percents.len() < 2 {
        let (next, entries, alerts) = store.tail(&everybody, Some(at), 1).await.unwrap();
        assert!(entries.len() <= 1 && alerts.len() <= 1);
        told.extend(entries.iter().map(|e| e.entry.sequence));
        percents.extend(alerts.iter().map(|(_, a)| a.percent));
        at = next;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!((told, percents), (vec![2, 3], vec![50, 60]));
    let of_k2 = Payer { key_id: Some("k2".into()), ..Payer::default() };
    let (after, entries, _) = store.tail(&of_k2, Some(end), 10).await.unwrap();
    assert_eq!(entries.iter().map(|e| e.entry.sequence).collect::<Vec<_>>(), [3]);
    assert_eq!(after, at);
}

/// Idempotency keys come back for as long as they are asked for.
pub async fn idempotency_keys_are_remembered(store: &dyn Store) {
    let changes = vec![entry(row(1, "k1", "gpt", 1, &[])), entry(row(2, "k1", "gpt", 1, &[]))];
    store.apply(&batch(changes, 2)).await.unwrap();
    let recent = store.idempotency_since(DAY_US + 2).await.unwrap();
    assert_eq!(recent, [(Idempotency { key: vec![2; 16], fingerprint: vec![2; 16] }, "call2".to_owned())]);
}
