//! What keeping responses means, as sentences. A backend's tests call each of these with a fresh store.

#![allow(clippy::unwrap_used)] // test code that backends call

use tollgate_proto::v1::StoredResponse;

use crate::Responses;

const NOW: i64 = 1_795_132_800_000_000;
const LATER: i64 = NOW + 1_000;
const MUCH: u64 = 1 << 20;

fn response(id: &str, previous: &str) -> StoredResponse {
    StoredResponse {
        id: id.into(),
        previous_response_id: previous.into(),
        input_items_json: vec![format!(r#"{{"type":"message","content":"asked of {id}"}}"#)],
        response_json: format!(r#"{{"id":"{id}","output":[]}}"#),
        item_ids: vec![format!("msg_{id}"), "msg_shared".into()],
        create_time: Some(tollgate_domain::timestamp(NOW)),
        expire_time: Some(tollgate_domain::timestamp(LATER)),
    }
}

async fn ids(store: &dyn Responses, key: &str, id: &str, now_us: i64, max_bytes: u64) -> Vec<String> {
    store.conversation(key, id, now_us, max_bytes).await.unwrap().into_iter().map(|r| r.id).collect()
}

/// What is kept reads back as it was written, for its key and for no other.
pub async fn a_response_is_there_for_its_key_alone(store: &dyn Responses) {
    let kept = response("resp_1", "");
    store.keep("k1", &kept, LATER).await.unwrap();
    assert_eq!(store.kept("k1", "resp_1", NOW).await.unwrap(), Some(kept));
    assert_eq!(store.kept("k2", "resp_1", NOW).await.unwrap(), None);
    assert!(ids(store, "k2", "resp_1", NOW, MUCH).await.is_empty());
    assert!(!store.forget("k2", "resp_1", NOW).await.unwrap());
    // Another key may use the same id for its own.
    store.keep("k2", &response("resp_1", "resp_0"), LATER).await.unwrap();
    assert_eq!(store.kept("k2", "resp_1", NOW).await.unwrap().unwrap().previous_response_id, "resp_0");
    assert_eq!(store.kept("k1", "resp_1", NOW).await.unwrap().unwrap().previous_response_id, "");
}

/// A response is found by the items of its answer, as long as it is there.
pub async fn a_response_is_found_by_its_items(store: &dyn Responses) {
    store.keep("k1", &response("a", ""), LATER).await.unwrap();
    store.keep("k1", &response("b", "a"), LATER + 1).await.unwrap();
    let found = async |key: &str, item: &str, now_us| {
        store.kept_with(key, item, now_us).await.unwrap().map(|response| response.id)
    };
    assert_eq!(found("k1", "msg_a", NOW).await.as_deref(), Some("a"));
    assert_eq!(found("k1", "msg_shared", NOW).await.as_deref(), Some("b"), "the last one");
    assert_eq!(found("k1", "msg_none", NOW).await, None);
    assert_eq!(found("k2", "msg_a", NOW).await, None);
    assert_eq!(found("k1", "msg_a", LATER).await, None);
    assert!(store.forget("k1", "b", NOW).await.unwrap());
    assert_eq!(found("k1", "msg_b", NOW).await, None);
    assert_eq!(found("k1", "msg_shared", NOW).await.as_deref(), Some("a"));
    // Kept again, its items are there once.
    store.keep("k1", &response("a", ""), LATER).await.unwrap();
    assert_eq!(found("k1", "msg_a", NOW).await.as_deref(), Some("a"));
}

/// An id that is there stays what it was.
pub async fn a_response_that_is_kept_again_stays_as_it_was(store: &dyn Responses) {
    store.keep("k1", &response("resp_1", ""), LATER).await.unwrap();
    store.keep("k1", &response("resp_1", "resp_0"), LATER).await.unwrap();
    assert_eq!(store.kept("k1", "resp_1", NOW).await.unwrap(), Some(response("resp_1", "")));
}

/// A conversation comes from its beginning, as far as it is there and no larger than asked for.
pub async fn a_conversation_comes_oldest_first(store: &dyn Responses) {
    for (id, previous) in [("a", ""), ("b", "a"), ("c", "b"), ("other", "a")] {
        store.keep("k1", &response(id, previous), LATER).await.unwrap();
    }
    assert_eq!(ids(store, "k1", "c", NOW, MUCH).await, ["a", "b", "c"]);
    assert_eq!(ids(store, "k1", "other", NOW, MUCH).await, ["a", "other"]);
    assert_eq!(ids(store, "k1", "c", NOW, 0).await, ["c"], "the first passes the limit");
    assert!(store.forget("k1", "b", NOW).await.unwrap());
    assert_eq!(ids(store, "k1", "c", NOW, MUCH).await, ["c"], "no further than what is there");
    // Whoever names them in a ring gets an end all the same.
    store.keep("k1", &response("x", "y"), LATER).await.unwrap();
    store.keep("k1", &response("y", "x"), LATER).await.unwrap();
    assert!(ids(store, "k1", "x", NOW, MUCH).await.len() >= 2);
}

/// What is forgotten or has expired is gone, and cleared away.
pub async fn a_response_is_gone_when_its_time_is_over(store: &dyn Responses) {
    for id in ["a", "b", "c"] {
        store.keep("k1", &response(id, ""), LATER).await.unwrap();
    }
    store.keep("k1", &response("d", "a"), LATER + 1).await.unwrap();
    assert!(store.forget("k1", "c", NOW).await.unwrap());
    assert!(!store.forget("k1", "c", NOW).await.unwrap());
    assert_eq!(store.clear(NOW, 10).await.unwrap(), 0);
    assert_eq!(store.kept("k1", "a", LATER).await.unwrap(), None);
    assert!(!store.forget("k1", "a", LATER).await.unwrap());
    assert_eq!(ids(store, "k1", "d", LATER, MUCH).await, ["d"]);
    assert_eq!(store.clear(LATER, 1).await.unwrap(), 1, "at most so many at once");
    assert_eq!(store.clear(LATER, 10).await.unwrap(), 1);
    assert!(store.kept("k1", "d", LATER).await.unwrap().is_some());
}
