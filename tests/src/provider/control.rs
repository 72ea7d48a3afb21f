//! The provider's back door, `/_control/...`, for tests in another process.
//!
//! | call | does |
//! |---|---|
//! | `POST script` `{"model", "steps", "repeat"}` | sets a model's queue of steps (`*`: every other model); no steps: forgets it |
//! | `POST options` `{"keep_bodies": bool}` | keeps bodies and headers of calls in the log, or not |
//! | `POST end_batches` `{"word", "status", "answered"}` | ends batches whose input has the word; so many of their lines are answered |
//! | `POST reset` | forgets scripts, records and sums |
//! | `GET log` | ended attempts as JSON lines, in order of arrival |
//! | `GET stats` | sums, and how many calls are open |

use bytes::Bytes;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::playback::Reply;
use super::respond::json_reply;
use super::script::Script;
use super::server::State;

pub(super) fn handle(state: &State, method: &Method, verb: &str, body: &Bytes) -> Response<Reply> {
    match (method.as_str(), verb) {
        ("POST", "script") => match serde_json::from_slice::<Script>(body) {
            Ok(script) => {
                state.scripts.lock().set(script);
                done()
            }
            Err(error) => wrong(&error.to_string()),
        },
        ("POST", "options") => {
            let options: Value = serde_json::from_slice(body).unwrap_or_default();
            match options["keep_bodies"].as_bool() {
                Some(keep) => {
                    state.log.keep_bodies(keep);
                    done()
                }
                None => wrong("expected {\"keep_bodies\": true|false}"),
            }
        }
        ("POST", "end_batches") => {
            let asked: Value = serde_json::from_slice(body).unwrap_or_default();
            let text = |name: &str| asked[name].as_str().unwrap_or_default();
            let answered = asked["answered"].as_u64().map_or(usize::MAX, |n| n as usize);
            state.batches.end(text("word"), text("status"), answered);
            done()
        }
        ("POST", "reset") => {
            state.scripts.lock().clear();
            state.log.clear();
            done()
        }
        ("GET", "log") => {
            let records = state.log.records();
            let lines = records.iter().filter_map(|record| serde_json::to_string(record).ok());
            let lines: String = lines.map(|line| line + "\n").collect();
            Response::new(Reply::Whole(Some(lines.into())))
        }
        ("GET", "stats") => json_reply(StatusCode::OK, &json!(state.log.stats())),
        _ => json_reply(StatusCode::NOT_FOUND, &json!({ "error": format!("no control {method} {verb}") })),
    }
}

fn done() -> Response<Reply> {
    json_reply(StatusCode::OK, &json!({ "ok": true }))
}

fn wrong(message: &str) -> Response<Reply> {
    json_reply(StatusCode::BAD_REQUEST, &json!({ "error": message }))
}
