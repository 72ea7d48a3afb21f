//! What keeping bodies means, as sentences. A backend's tests call each of these with a fresh store.

#![allow(clippy::unwrap_used)] // test code that backends call

use std::sync::Mutex;

use tollgate_proto::v1::{AuditRecord, LegalHold};

use crate::{
    Batch, Bodies, Change, Doomed, Erased, Erasure, HeldOn, KekOwner, NAMED_AT_ONCE, Store, StoredBody, StoredHold,
    StoredKek,
};

/// November 2026.
const MONTH: i64 = 2026 * 12 + 10;

fn owner(tenant: &str, subject: &str, month: i64) -> KekOwner {
    KekOwner { tenant: tenant.into(), subject: subject.into(), month }
}

fn kek(id: &str, owner: KekOwner) -> StoredKek {
    StoredKek { id: id.into(), owner, wrapped: id.as_bytes().to_vec() }
}

fn body(sequence: i64, call_id: &str, kek_id: &str) -> StoredBody {
    let (replica, sealed) = ("r1".into(), format!("sealed {call_id}").into_bytes());
    StoredBody { replica, sequence, call_id: call_id.into(), kek_id: kek_id.into(), sealed }
}

async fn apply<S: Store + Bodies>(store: &S, bodies: &[StoredBody]) {
    let mut changes = Vec::new();
    for body in bodies {
        let (sequence, call_id) = (body.sequence, body.call_id.clone());
        changes.push(Change::Record(Box::new(AuditRecord { sequence, call_id, ..AuditRecord::default() })));
        changes.push(Change::Body(Box::new(body.clone())));
    }
    store.apply(&Batch { changes, through: 1, ..Batch::default() }).await.unwrap();
}

/// Decides on it, and applies what was decided with its record.
async fn erase<S: Store + Bodies>(store: &S, doomed: &Doomed) -> Erased {
    let journal = Mutex::new(None);
    let call_id = if let Doomed::Call(call_id) = doomed { call_id.clone() } else { String::new() };
    let decided = |erased: &Erased| {
        *journal.lock().unwrap() = Some(Erasure { kek_ids: erased.kek_ids.clone(), call_id: call_id.clone() });
    };
    let erased = store.decide_erasure(doomed, &decided).await.unwrap();
    let journalled = journal.into_inner().unwrap();
    assert_eq!(journalled.is_none(), erased.held_by.is_some(), "what is held is not journalled");
    if let Some(erasure) = journalled {
        let changes = vec![Change::Erasure(Box::new(erasure))];
        store.apply(&Batch { changes, through: 1, ..Batch::default() }).await.unwrap();
    }
    erased
}

fn of_call(call_id: &str) -> Doomed {
    Doomed::Call(call_id.into())
}

async fn sealed<S: Bodies>(store: &S, call_id: &str) -> Vec<u8> {
    store.body(call_id).await.unwrap().unwrap().sealed
}

fn hold(id: &str, on: HeldOn) -> StoredHold {
    StoredHold { on, hold: LegalHold { id: id.into(), reason: "a case".into(), ..LegalHold::default() } }
}

fn of_subject(subject: &str, tenant: &str) -> Doomed {
    Doomed::Subject { subject: subject.into(), tenant: tenant.into() }
}

/// Whoever comes second gets the key that stands.
pub async fn an_owner_has_one_key_however_many_make_it<S: Store + Bodies>(store: &S) {
    let ann = owner("team", "ann", MONTH);
    assert_eq!(store.kek_of(&ann).await.unwrap(), None);
    let first = kek("kek_1", ann.clone());
    assert_eq!(store.make_kek(&first).await.unwrap(), first);
    assert_eq!(store.make_kek(&kek("kek_2", ann.clone())).await.unwrap(), first);
    assert_eq!(store.kek_of(&ann).await.unwrap(), Some(first.clone()));
    assert_eq!(store.kek("kek_1").await.unwrap(), Some(first));
    assert_eq!(store.kek("kek_2").await.unwrap(), None);
    for other in [owner("team", "ann", MONTH + 1), owner("other", "ann", MONTH), owner("team", "bob", MONTH)] {
        assert_eq!(store.kek_of(&other).await.unwrap(), None);
    }
}

/// A body reads back as it was applied, and what is erased stays erased when the journal comes again.
pub async fn an_erased_body_does_not_come_back<S: Store + Bodies>(store: &S) {
    store.make_kek(&kek("kek_1", owner("team", "ann", MONTH))).await.unwrap();
    let bodies = [body(1, "call1", "kek_1"), body(2, "call2", "kek_1")];
    apply(store, &bodies).await;
    apply(store, &bodies).await;
    assert_eq!(store.body("call1").await.unwrap().unwrap(), bodies[0]);
    let erased = erase(store, &of_call("call1")).await;
    assert_eq!(erased, Erased { bodies: 1, ..Erased::default() });
    apply(store, &bodies).await;
    assert!(sealed(store, "call1").await.is_empty());
    assert!(!sealed(store, "call2").await.is_empty(), "no other goes with it");
    assert_eq!(erase(store, &of_call("call1")).await, Erased::default(), "there is nothing left of it");
    assert_eq!(erase(store, &of_call("nobody's")).await, Erased::default());
    assert_eq!(store.body("nobody's").await.unwrap(), None);
}

/// With a subject's keys its bodies go, everywhere or in one tenant; what is shipped later under them is not kept.
pub async fn a_subjects_keys_take_its_bodies_with_them<S: Store + Bodies>(store: &S) {
    for (id, tenant, subject, month) in [
        ("kek_1", "team", "ann", MONTH - 1),
        ("kek_2", "team", "ann", MONTH),
        ("kek_3", "other", "ann", MONTH),
        ("kek_4", "team", "bob", MONTH),
    ] {
        store.make_kek(&kek(id, owner(tenant, subject, month))).await.unwrap();
    }
    apply(store, &[body(1, "call1", "kek_1"), body(3, "call3", "kek_3"), body(4, "call4", "kek_4")]).await;
    let mut erased = erase(store, &of_subject("ann", "team")).await;
    erased.kek_ids.sort();
    assert_eq!(erased, Erased { kek_ids: vec!["kek_1".into(), "kek_2".into()], bodies: 1, held_by: None });
    assert!(sealed(store, "call1").await.is_empty());
    apply(store, &[body(5, "late", "kek_2")]).await;
    assert!(sealed(store, "late").await.is_empty(), "what nobody can read is not kept");
    assert_eq!(erase(store, &of_subject("ann", "")).await.kek_ids, ["kek_3"]);
    assert!(!sealed(store, "call4").await.is_empty());
    assert_eq!(store.kek_of(&owner("team", "ann", MONTH)).await.unwrap(), None);
    let again = kek("kek_5", owner("team", "ann", MONTH));
    assert_eq!(store.make_kek(&again).await.unwrap(), again, "the subject may come back, under another key");
}

/// A hold on a subject, a tenant or a call keeps what it is on, until it is released, and nothing else.
pub async fn a_hold_keeps_what_it_is_on<S: Store + Bodies>(store: &S) {
    store.make_kek(&kek("kek_1", owner("team", "ann", MONTH))).await.unwrap();
    store.make_kek(&kek("kek_2", owner("team", "bob", MONTH))).await.unwrap();
    store.make_kek(&kek("kek_3", owner("other", "ann", MONTH))).await.unwrap();
    apply(store, &[body(1, "call1", "kek_1"), body(2, "call2", "kek_1")]).await;
    let held_by = |id: &str| Erased { held_by: Some(id.into()), ..Erased::default() };
    let holds = [
        HeldOn::Subject { subject: "ann".into(), tenant: String::new() },
        HeldOn::Subject { subject: "ann".into(), tenant: "team".into() },
        HeldOn::Tenant("team".into()),
        HeldOn::Call { call_id: "call1".into(), kek_id: "kek_1".into() },
    ];
    for (at, on) in holds.into_iter().enumerate() {
        let id = format!("hold_{at}");
        let held = hold(&id, on);
        store.put_hold(&held).await.unwrap();
        assert_eq!(store.hold(&id).await.unwrap(), Some(held.clone()));
        assert_eq!(erase(store, &of_subject("ann", "")).await, held_by(&id), "all of it or nothing");
        assert_eq!(erase(store, &of_call("call1")).await, held_by(&id));
        let kept = erase(store, &Doomed::Before(MONTH)).await;
        assert_eq!(kept, Erased::default(), "the month is not over");
        let mut released = held;
        released.hold.release_time = Some(tollgate_domain::timestamp(1));
        store.put_hold(&released).await.unwrap();
    }
    assert!(store.holds(false, "", 10).await.unwrap().is_empty());
    let ids: Vec<_> = store.holds(true, "hold_0", 2).await.unwrap().into_iter().map(|held| held.hold.id).collect();
    assert_eq!(ids, ["hold_1", "hold_2"]);

    store.put_hold(&hold("hold_9", HeldOn::Call { call_id: "call2".into(), kek_id: "kek_1".into() })).await.unwrap();
    assert_eq!(erase(store, &of_call("call1")).await.bodies, 1, "a hold on one call is none on another");
    let over = erase(store, &Doomed::Before(MONTH + 1)).await;
    assert_eq!((over.kek_ids.len(), over.held_by), (2, None), "what is held stays, the rest goes");
    assert!(!sealed(store, "call2").await.is_empty());
}

/// Months that are over go, others stay.
pub async fn keys_of_months_that_are_over_go<S: Store + Bodies>(store: &S) {
    for (id, month) in [("kek_1", MONTH - 2), ("kek_2", MONTH - 1), ("kek_3", MONTH)] {
        store.make_kek(&kek(id, owner("team", "ann", month))).await.unwrap();
    }
    apply(store, &[body(1, "call1", "kek_1"), body(2, "call2", "kek_2")]).await;
    let erased = erase(store, &Doomed::Before(MONTH - 1)).await;
    assert_eq!(erased, Erased { kek_ids: vec!["kek_1".into()], bodies: 1, held_by: None });
    assert!(sealed(store, "call1").await.is_empty());
    assert!(!sealed(store, "call2").await.is_empty());
}

/// Of many keys that are over those go first that are oldest, no more than one record names.
pub async fn keys_go_in_pieces_that_a_record_can_name<S: Store + Bodies>(store: &S) {
    for n in 0..NAMED_AT_ONCE + 1 {
        let month = if n == 0 { MONTH - 1 } else { MONTH - 2 };
        store.make_kek(&kek(&format!("kek_{n:04}"), owner("team", &format!("user {n}"), month))).await.unwrap();
    }
    let erased = erase(store, &Doomed::Before(MONTH)).await;
    assert_eq!(erased.kek_ids.len(), NAMED_AT_ONCE);
    assert_eq!(erased.kek_ids[0], "kek_0001");
    assert_eq!(erase(store, &Doomed::Before(MONTH)).await.kek_ids, ["kek_0000"]);
}

/// What was decided on is there until it is applied. `refused`: a record that the store does not take, with which nothing is erased.
pub async fn an_erasure_is_done_with_its_record_or_not_at_all<S: Store + Bodies>(store: &S, refused: AuditRecord) {
    store.make_kek(&kek("kek_1", owner("team", "ann", MONTH))).await.unwrap();
    apply(store, &[body(1, "call1", "kek_1")]).await;
    let decided = store.decide_erasure(&of_subject("ann", ""), &|_| {}).await.unwrap();
    assert_eq!((decided.kek_ids.as_slice(), decided.bodies), (&["kek_1".to_owned()][..], 1));
    let erasure = Erasure { kek_ids: decided.kek_ids, call_id: String::new() };
    let batch = |record: AuditRecord| {
        let record = AuditRecord { sequence: 2, ..record };
        let changes = vec![Change::Erasure(Box::new(erasure.clone())), Change::Record(Box::new(record))];
        Batch { changes, through: 2, ..Batch::default() }
    };
    store.apply(&batch(refused)).await.unwrap_err();
    assert!(store.kek("kek_1").await.unwrap().is_some(), "nothing of it was done");
    assert!(!sealed(store, "call1").await.is_empty());
    for _ in 0..2 {
        store.apply(&batch(AuditRecord::default())).await.unwrap();
        assert!(store.kek("kek_1").await.unwrap().is_none());
        assert!(sealed(store, "call1").await.is_empty());
    }
}
