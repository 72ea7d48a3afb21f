//! The making of one response in the background.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::request::Parts;
use bytes::BytesMut;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tokio_util::sync::CancellationToken;
use tollgate_proto::v1::{
    AdvanceResponseRequest, CompletionEvent, ResponseEvent, StoredResponse, StreamCompletionResponse,
};
use tonic::{Code, Status, Streaming};

use super::{events, kept, native, object, stream::Printer};
use crate::{Gateway, error::Refusal, forward, openai::members::edited};

/// How often it is told how far a response is: so soon others hear of it, and it of them.
const BEAT: Duration = Duration::from_secs(1);
/// How often its end is told again where the store is away: together well beyond any lease.
const LAST_TRIES: u32 = 60;

/// A response that this process makes, as those who follow it see it.
#[derive(Debug, Default)]
pub(super) struct Run {
    events: Mutex<Vec<ResponseEvent>>,
    /// Whether it has ended; changes with every event.
    ended: watch::Sender<bool>,
    /// It ended without a last event.
    is_gone: AtomicBool,
    cancelled: CancellationToken,
}

impl Run {
    /// Has it end.
    pub(super) fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Nobody makes it any more.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// It has no last event.
    pub(super) fn lose(&self) {
        self.is_gone.store(true, Ordering::Release);
    }

    /// Resolves when it has ended and is kept.
    pub(super) async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        let _ = ended.wait_for(|ended| *ended).await; // nobody makes it any more: the same
    }

    /// Whether it ended without a last event: what became of it the store knows.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Waits for events behind one; none: there are no more.
    pub(super) async fn events_after(&self, after: i64) -> Vec<ResponseEvent> {
        let mut ended = self.ended.subscribe();
        loop {
            let is_ended = *ended.borrow_and_update();
            let events: Vec<_> = {
                let events = self.events.lock();
                let from = events.partition_point(|event| event.sequence_number <= after);
                events[from..].to_vec()
            };
            if !events.is_empty() || is_ended || ended.changed().await.is_err() {
                return events;
            }
        }
    }
}

/// How making a response ended.
enum End {
    Complete,
    Failed(Box<Refusal>),
    Cancelled,
    /// Nobody wants it any more: it was deleted, or found lost.
    Gone,
}

/// Makes one response.
pub(super) struct Runner {
    gateway: Gateway,
    parts: Parts,
    id: String,
    run: Arc<Run>,
    previous: Option<String>,
    asked: Map<String, Value>,
    printer: Option<Printer>,
    /// The number of the next event.
    next: i64,
    /// Events that are not kept yet.
    pending: Vec<ResponseEvent>,
    /// The response as it is, and whether it is kept so.
    response: String,
    is_kept: bool,
    /// Items that are complete.
    items: Vec<String>,
    created_at: Option<String>,
}

#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
}

impl Runner {
    pub(super) fn new(
        gateway: Gateway,
        parts: Parts,
        begun: &StoredResponse,
        previous: Option<String>,
        asked: Map<String, Value>,
    ) -> Self {
        let created: Option<Value> = serde_json::from_str(&begun.response_json).ok();
        let mut runner = Self {
            gateway,
            parts,
            id: begun.id.clone(),
            run: Arc::default(),
            previous,
            asked,
            printer: None,
            next: 0,
            pending: Vec::new(),
            response: begun.response_json.clone(),
            is_kept: true,
            items: Vec::new(),
            created_at: created.map(|response| response["created_at"].to_string()),
        };
        for kind in ["response.created", "response.queued"] {
            let event = runner.about_the_response(kind);
            runner.tell(event);
        }
        runner
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn run(&self) -> Arc<Run> {
        self.run.clone()
    }

    /// Makes it, to its last event.
    pub(super) async fn make(mut self, answer: Streaming<StreamCompletionResponse>, stopping: CancellationToken) {
        // Its end drops the call, where that still runs: what was produced is settled.
        let end = self.follow(answer, stopping).await;
        match self.last_event(end) {
            Some(last) => {
                self.keep(&last).await;
                self.run.events.lock().push(last);
            }
            None => self.run.lose(),
        }
    }

    async fn follow(&mut self, mut answer: Streaming<StreamCompletionResponse>, stopping: CancellationToken) -> End {
        let mut beat = interval_at(Instant::now() + BEAT, BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let cancelled = self.run.cancelled.clone();
        loop {
            tokio::select! {
                biased;
                () = cancelled.cancelled() => return End::Cancelled,
                () = stopping.cancelled() => {
                    let message = "the gateway was stopped before the response was complete; send the request again";
                    return End::Failed(Refusal::new(503, "server_error", "server_error", message).into());
                }
                _ = beat.tick() => {
                    if let Some(end) = self.advance().await {
                        return end;
                    }
                }
                event = answer.message() => match event {
                    Ok(Some(event)) => {
                        let is_first = self.printer.is_none();
                        self.take(event.event.unwrap_or_default());
                        // That it has begun is told at once.
                        if is_first && let Some(end) = self.advance().await {
                            return end;
                        }
                    }
                    Ok(None) => return End::Complete,
                    Err(status) => return End::Failed(Refusal::from(status).in_responses().into()),
                },
            }
        }
    }

    fn take(&mut self, event: CompletionEvent) {
        let mut out = BytesMut::new();
        let asked = &self.asked;
        let printer = self.printer.get_or_insert_with(|| Printer::of(&event, asked.clone()));
        printer.print(event, self.previous.as_deref(), true, &mut out);
        for (kind, data) in events::written(&out) {
            if !matches!(kind.as_str(), "response.created" | "response.queued") {
                let event = self.own(&kind, &data);
                self.tell(event);
            }
        }
    }

    /// An event of the answer as one of this response.
    fn own(&mut self, kind: &str, data: &str) -> ResponseEvent {
        let told: Option<Told<'_>> = serde_json::from_str(data).ok();
        let (response, item) = told.map_or((None, None), |told| (told.response, told.item));
        if let Some(item) = item.filter(|_| kind == "response.output_item.done") {
            self.items.push(item.get().to_owned());
            let output = format!("[{}]", self.items.join(","));
            self.change(&[("output", Some(&output))]);
        }
        let number = self.next.to_string();
        let mut edits = vec![("sequence_number", Some(number.as_str()))];
        if let Some(response) = response {
            let id = json!(self.id).to_string();
            let created_at = self.created_at.clone();
            self.response = response.get().to_owned();
            self.change(&[
                ("id", Some(id.as_str())),
                ("created_at", created_at.as_deref()),
                ("background", Some("true")),
                ("store", Some("true")),
            ]);
            edits.push(("response", Some(self.response.as_str())));
        }
        let event_json = edited(data, "", &edits).unwrap_or_else(|_| data.to_owned());
        let event = ResponseEvent { sequence_number: self.next, event_json };
        self.next += 1;
        event
    }

    fn change(&mut self, edits: &[(&str, Option<&str>)]) {
        if let Ok(response) = edited(&self.response, "response", edits) {
            self.response = response;
            self.is_kept = false;
        }
    }

    /// An event that shows the response as it is.
    fn about_the_response(&mut self, kind: &str) -> ResponseEvent {
        let (number, response) = (self.next, &self.response);
        let event_json = format!(r#"{{"type":"{kind}","sequence_number":{number},"response":{response}}}"#);
        self.next += 1;
        ResponseEvent { sequence_number: number, event_json }
    }

    fn tell(&mut self, event: ResponseEvent) {
        self.pending.push(event.clone());
        self.run.events.lock().push(event);
        self.run.ended.send_modify(|_| {});
    }

    /// The last event, told once it is kept. `None`: there is nobody to tell.
    fn last_event(&mut self, end: End) -> Option<ResponseEvent> {
        let mut out = BytesMut::new();
        match end {
            End::Complete => {
                match &mut self.printer {
                    Some(Printer::Made(events)) => {
                        let mut response = events.response();
                        response.insert("store".into(), true.into());
                        events.end(response, &mut out);
                    }
                    Some(Printer::Native(natives)) => natives.end(true, &mut out),
                    None => {}
                }
                match events::written(&out).pop() {
                    Some((kind, data)) => Some(self.own(&kind, &data)),
                    None => {
                        let nothing = Status::internal("the answer ended before its first event");
                        self.last_event(End::Failed(Box::new(nothing.into())))
                    }
                }
            }
            End::Failed(refusal) => {
                let (output, error) = (self.output(), object::error(&refusal).to_string());
                self.change(&[("status", Some("\"failed\"")), ("error", Some(&error)), ("output", Some(&output))]);
                let mut own = Map::new();
                object::note_failure(&mut own, &refusal);
                self.response = native::with_own(&self.response, &own);
                Some(self.about_the_response("response.failed"))
            }
            End::Cancelled => {
                let output = self.output();
                self.change(&[("status", Some("\"cancelled\"")), ("output", Some(&output))]);
                // The API has no event of its own for it.
                Some(self.about_the_response("response.incomplete"))
            }
            End::Gone => None,
        }
    }

    /// The items so far.
    fn output(&self) -> String {
        match &self.printer {
            Some(Printer::Made(events)) => events.output().to_string(),
            _ => format!("[{}]", self.items.join(",")),
        }
    }

    /// Tells how far it is, and hears whether it shall end.
    async fn advance(&mut self) -> Option<End> {
        let step = AdvanceResponseRequest {
            id: self.id.clone(),
            events: self.pending.clone(),
            response_json: if self.is_kept { String::new() } else { self.response.clone() },
            ..AdvanceResponseRequest::default()
        };
        match self.say(step).await {
            Ok(is_cancelled) => {
                self.pending.clear();
                self.is_kept = true;
                is_cancelled.then_some(End::Cancelled)
            }
            Err(status) if status.code() == Code::NotFound => Some(End::Gone),
            Err(status) => {
                // The store may be back in time.
                tracing::debug!(code = ?status.code(), "a response in the background cannot be told of now");
                None
            }
        }
    }

    /// Keeps the end, for as long as somebody may still hear of it.
    async fn keep(&mut self, last: &ResponseEvent) {
        let items = kept::output_items(&self.response);
        let mut step = AdvanceResponseRequest {
            id: self.id.clone(),
            events: self.pending.iter().chain([last]).cloned().collect(),
            response_json: self.response.clone(),
            item_ids: items.iter().filter_map(|item| kept::id_of(item)).collect(),
            is_ended: true,
        };
        for _ in 0..LAST_TRIES {
            match self.say(step.clone()).await {
                Ok(_) => return,
                Err(status) if is_passing(&status) => sleep(BEAT).await,
                Err(status) if status.code() == Code::OutOfRange || status.code() == Code::ResourceExhausted => {
                    if step.response_json.is_empty() || step.item_ids.is_empty() {
                        return tracing::warn!(code = ?status.code(), "a response in the background cannot be kept");
                    }
                    let error = object::error(&Refusal::from(status)).to_string();
                    self.change(&[("status", Some("\"failed\"")), ("error", Some(&error)), ("output", Some("[]"))]);
                    step.response_json.clone_from(&self.response);
                    step.item_ids.clear();
                }
                Err(status) => {
                    return tracing::warn!(code = ?status.code(), "a response in the background cannot be kept");
                }
            }
        }
    }

    async fn say(&mut self, step: AdvanceResponseRequest) -> Result<bool, Status> {
        let asked = forward::request(&self.gateway, &self.parts, step);
        Ok(self.gateway.responses().advance_response(asked).await?.into_inner().is_cancelled)
    }
}

fn is_passing(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
}
