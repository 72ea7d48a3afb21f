//! What keeping responses means, as sentences. A backend's tests call each of these with a fresh store.

#![allow(clippy::unwrap_used)] // test code that backends call

use tollgate_proto::v1::{ResponseEvent, ResponseState, StoredResponse};

use crate::{ENDED, Responses, Step};

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
        state: 0,
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

fn step(lease_us: i64, events: &[i64]) -> Step {
    let event = |number: &i64| ResponseEvent { sequence_number: *number, event_json: format!(r#"{{"n":{number}}}"#) };
    Step { events: events.iter().map(event).collect(), expire_us: LATER + 10, lease_us, response: None }
}

async fn standing(store: &dyn Responses, id: &str, now_us: i64) -> ResponseState {
    store.kept("k1", id, now_us).await.unwrap().unwrap().state()
}

async fn numbers(store: &dyn Responses, after: i64) -> Vec<i64> {
    store.events("k1", "a", after).await.unwrap().iter().map(|event| event.sequence_number).collect()
}

/// A response that is being made goes on until it ends, for its key alone, and its events are read from any of them on.
pub async fn a_response_is_made_step_by_step(store: &dyn Responses) {
    assert!(store.begin("k1", &response("a", ""), LATER, NOW + 10).await.unwrap());
    assert!(!store.begin("k1", &response("a", "b"), LATER, NOW + 99).await.unwrap(), "it is there");
    assert_eq!(standing(store, "a", NOW).await, ResponseState::Running);
    assert_eq!(store.advance("k2", "a", &step(NOW + 20, &[])).await.unwrap(), None);
    assert_eq!(store.advance("k1", "a", &step(NOW + 20, &[0, 1])).await.unwrap(), Some(false));
    assert_eq!(store.advance("k1", "a", &step(NOW + 20, &[])).await.unwrap(), Some(false));
    store.ask_to_end("k2", "a").await.unwrap();
    assert_eq!(standing(store, "a", NOW).await, ResponseState::Running);
    store.ask_to_end("k1", "a").await.unwrap();
    assert_eq!(standing(store, "a", NOW).await, ResponseState::Cancelling);
    let ended = StoredResponse { response_json: r#"{"done":true}"#.into(), ..response("a", "") };
    let last = Step { response: Some(ended.clone()), ..step(ENDED, &[2, 3]) };
    assert_eq!(store.advance("k1", "a", &last).await.unwrap(), Some(true), "it was asked to end");
    let kept = store.kept("k1", "a", LATER + 9).await.unwrap().unwrap();
    assert_eq!(kept, StoredResponse { state: ResponseState::Ended as i32, ..ended });
    assert_eq!(store.advance("k1", "a", &step(NOW + 20, &[4])).await.unwrap(), None, "it has ended");
    assert_eq!(numbers(store, -1).await, [0, 1, 2, 3]);
    assert_eq!(numbers(store, 0).await, [1, 2, 3]);
    assert!(numbers(store, 3).await.is_empty());
    assert!(store.events("k2", "a", -1).await.unwrap().is_empty());
    assert_eq!(store.kept_with("k1", "msg_a", NOW).await.unwrap().unwrap().id, "a");
    assert!(store.forget("k1", "a", NOW).await.unwrap());
    assert!(numbers(store, -1).await.is_empty(), "its events go with it");
}

/// One that is not heard of is lost, and from the moment on in which that was said nobody takes it further.
pub async fn a_response_is_lost_whose_maker_is_not_heard_of(store: &dyn Responses) {
    store.begin("k1", &response("a", ""), LATER, NOW + 10).await.unwrap();
    assert_eq!(standing(store, "a", NOW + 10).await, ResponseState::Lost);
    store.lose("k1", "a", NOW + 9).await.unwrap();
    assert_eq!(store.advance("k1", "a", &step(NOW + 20, &[0])).await.unwrap(), Some(false), "nobody was told");
    assert_eq!(standing(store, "a", NOW + 10).await, ResponseState::Running);
    store.lose("k1", "a", NOW + 20).await.unwrap();
    assert_eq!(standing(store, "a", NOW).await, ResponseState::Lost);
    assert_eq!(store.advance("k1", "a", &step(NOW + 30, &[1])).await.unwrap(), None);
    store.ask_to_end("k1", "a").await.unwrap();
    assert_eq!(standing(store, "a", NOW).await, ResponseState::Lost);
    // What was kept whole is nothing of that.
    store.keep("k1", &response("b", ""), LATER).await.unwrap();
    store.lose("k1", "b", LATER).await.unwrap();
    store.ask_to_end("k1", "b").await.unwrap();
    assert_eq!(standing(store, "b", NOW).await, ResponseState::Unspecified);
    assert_eq!(store.advance("k1", "b", &step(NOW + 30, &[])).await.unwrap(), None);
}
