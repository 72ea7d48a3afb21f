//! Answers that are made without their callers: begun, shown as they stand, ended when asked to.
//!
//! The shim that was asked runs the call, like any other of its calls, and tells the gateway's store how far it is. Whoever asks later, at
//! whatever replica, finds it there. A maker that dies is not heard of any more, by which its responses are known to be lost.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    http::{HeaderMap, request::Parts},
    response::Response,
};
use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate_proto::v1::{
    BeginResponseRequest, CancelResponseRequest, DeleteResponseRequest, Dialect, Original, ResponseState,
    StoredResponse, StreamCompletionRequest, StreamCompletionResponse, get_response_request::By,
};
use tonic::Streaming;

use super::{
    follow,
    kept::{self, Turn},
    object, options,
    request::{self, Wishes},
    run::{Run, Runner},
};
use crate::{
    Gateway, chat,
    error::Refusal,
    forward,
    openai::{
        Invalid,
        members::{Members, edited},
    },
    quota,
};

/// How long a cancellation waits for the end, and how often it looks for it where another replica makes the response.
const CANCELS_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);
/// How long a response that is cut short may take to be kept.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The answers that this process makes in the background.
#[derive(Clone, Debug, Default)]
pub struct Background {
    runs: Arc<Mutex<HashMap<String, Arc<Run>>>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Background {
    /// Waits for them to end; those that take longer are cut short, and say so.
    pub async fn drain(&self, longest: Duration) {
        if self.stopping.is_cancelled() {
            return;
        }
        self.tasks.close();
        if tokio::time::timeout(longest, self.tasks.wait()).await.is_err() {
            self.stopping.cancel();
            if tokio::time::timeout(LAST_WORDS, self.tasks.wait()).await.is_err() {
                tracing::warn!("responses in the background could not be kept in time; they will be found lost");
            }
        }
    }

    /// One that this process makes.
    pub(super) fn run(&self, id: &str) -> Option<Arc<Run>> {
        self.runs.lock().get(id).cloned()
    }

    fn start(&self, runner: Runner, answer: Streaming<StreamCompletionResponse>) {
        let (id, run) = (runner.id().to_owned(), runner.run());
        self.make(id, run, runner.make(answer, self.stopping.clone()));
    }

    fn make(&self, id: String, run: Arc<Run>, making: impl Future<Output = ()> + Send + 'static) {
        let runs = self.runs.clone();
        runs.lock().insert(id.clone(), run.clone());
        self.tasks.spawn(async move {
            // Nobody makes one that panicked any more: it will be found lost, and not followed for ever.
            if AssertUnwindSafe(making).catch_unwind().await.is_err() {
                run.lose();
            }
            run.end();
            runs.lock().remove(&id);
        });
    }
}

/// Whether a body asks for an answer in the background.
pub(super) fn is_asked_for(body: &str) -> Result<bool, Invalid> {
    // Most bodies have no such word, and are not read twice.
    if !body.contains("background") {
        return Ok(false);
    }
    Ok(Members::read(body, "")?.take("background")?.unwrap_or(false))
}

/// `POST /v1/responses` with `background: true`: admitted, and answered before it is made.
pub(super) async fn create(gateway: Gateway, parts: Parts, body: &str) -> Result<Response, Refusal> {
    let idempotency_key = forward::text(&parts, "idempotency-key");
    let id = match idempotency_key {
        None => format!("resp_{}", uuid::Uuid::now_v7().simple()),
        Some(key) => id_for(&parts, key, body),
    };
    if idempotency_key.is_some() {
        match kept::get(&gateway, &parts, By::Id(id.clone())).await {
            Ok(response) => return begun(gateway, parts, body, &response, HeaderMap::new()),
            Err(refusal) if refusal.status() == 404 => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let alone = edited(body, "", &[("background", None)])?;
    let Turn { body: alone, items, previous } = Turn::read(&gateway, &parts, &alone).await?;
    let (mut asked, wishes) = request::read(&alone)?;
    if !wishes.store {
        let what = "must be true with background: an answer that nobody waits for has to be kept";
        return Err(Invalid::at("store", what).into());
    }
    let mut shown = object::asked(&alone)?;
    shown.insert("previous_response_id".into(), Value::from(previous.as_deref()));
    shown.insert("store".into(), true.into());
    shown.insert("background".into(), true.into());
    let model = asked.model.clone().unwrap_or_default();
    asked.original = Some(Original { dialect: Dialect::OpenaiResponses as i32, body: alone.into() });
    let mut options = options(&parts, Wishes { stream: true, ..wishes })?;
    options.open_when_admitted = true;
    // The response itself is what a repetition finds.
    options.idempotency_key = None;
    asked.tollgate = Some(options);

    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let queued = Value::Object(object::queued(&shown, &id, &model, now)).to_string();
    let response = StoredResponse {
        id: id.clone(),
        previous_response_id: previous.clone().unwrap_or_default(),
        input_items_json: items,
        response_json: queued.clone(),
        ..StoredResponse::default()
    };
    // Kept before it is asked for: what costs is never without a place.
    let begin = forward::request(&gateway, &parts, BeginResponseRequest { response: Some(response) });
    let kept = gateway.responses().begin_response(begin).await?.into_inner();
    let Some(response) = kept.response else {
        let what = "needs a gateway that keeps responses (`responses.retention` is 0 here); leave it out";
        return Err(Invalid::at("background", what).into());
    };
    if !kept.is_new {
        return begun(gateway, parts, body, &response, HeaderMap::new());
    }
    let request = forward::request(&gateway, &parts, StreamCompletionRequest { request: Some(asked) });
    let (metadata, events, _) = match gateway.completions().stream_completion(request).await {
        Ok(admitted) => admitted.into_parts(),
        Err(status) => {
            // Refused before it began: there is no such response.
            let forget = forward::request(&gateway, &parts, DeleteResponseRequest { id });
            if let Err(status) = gateway.responses().delete_response(forget).await {
                tracing::warn!(code = ?status.code(), "a refused response could not be forgotten; it will be found lost");
            }
            return Err(status.into());
        }
    };
    let mut headers = HeaderMap::new();
    quota::tell(&mut headers, &metadata);
    chat::tell_id(&mut headers, quota::call_id(&metadata));
    let runner = Runner::new(gateway.clone(), parts.clone(), &response, previous, shown);
    gateway.options.background.start(runner, events);
    begun(gateway, parts, body, &response, headers)
}

/// The same for the same key, so that a request that is sent again finds what it began.
fn id_for(parts: &Parts, idempotency_key: &str, body: &str) -> String {
    let caller = ["authorization", "x-api-key", "api-key"].map(|name| forward::text(parts, name).unwrap_or_default());
    let mut hash = Sha256::new();
    for text in caller.into_iter().chain([idempotency_key, body]) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let hex: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("resp_{hex}")
}

/// The first answer: the response as it stands, or its events from the first on.
fn begun(
    gateway: Gateway,
    parts: Parts,
    body: &str,
    response: &StoredResponse,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    match Members::read(body, "")?.take("stream")?.unwrap_or(false) {
        true => Ok(follow::respond(gateway, parts, response.id.clone(), None, headers)),
        false => Ok(chat::json(headers, Bytes::from(shown(response)))),
    }
}

/// A response as its state has it.
pub(super) fn shown(response: &StoredResponse) -> String {
    match response.state() {
        ResponseState::Lost => lost(&response.response_json),
        _ => response.response_json.clone(),
    }
}

/// A response whose maker is gone.
pub(super) fn lost(response: &str) -> String {
    let message = "the process that made this response in the background has not been heard of for too long; what it had \
                   consumed is settled when it comes back or is given up, and the request may be sent again";
    let error = json!({"code": "server_error", "message": message}).to_string();
    let edits = [("status", Some("\"failed\"")), ("error", Some(error.as_str()))];
    edited(response, "response", &edits).unwrap_or_else(|_| response.to_owned())
}

/// Has a response end, and waits until it has; tells how it stands then.
pub(super) async fn cancel(gateway: &Gateway, parts: &Parts, id: String) -> Result<StoredResponse, Refusal> {
    let asked = forward::request(gateway, parts, CancelResponseRequest { id: id.clone() });
    let asked = gateway.responses().cancel_response(asked).await?.into_inner();
    let mut response = asked.response.unwrap_or_default();
    let end = Instant::now() + CANCELS_WITHIN;
    let is_made =
        |response: &StoredResponse| matches!(response.state(), ResponseState::Running | ResponseState::Cancelling);
    while is_made(&response) && Instant::now() < end {
        match gateway.options.background.run(&id) {
            // Nobody need wait for its next word.
            Some(run) => {
                run.cancel();
                let _ = tokio::time::timeout_at(end, run.ended()).await; // told as it stands then
            }
            None => sleep(LOOK).await,
        }
        response = kept::get(gateway, parts, By::Id(id.clone())).await?;
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn panics() {
        panic!("as the test wants it")
    }

    #[tokio::test]
    async fn a_response_whose_making_panics_is_followed_no_longer() {
        let background = Background::default();
        let run = Arc::new(Run::default());
        background.make("resp_1".into(), run.clone(), panics());
        let ended = tokio::time::timeout(Duration::from_secs(20), run.ended()).await;
        assert!(ended.is_ok(), "it is waited for");
        assert!(run.events_after(-1).await.is_empty() && run.is_gone());
        background.drain(Duration::from_secs(20)).await;
        assert!(background.run("resp_1").is_none(), "it is found where it is kept");
    }
}
