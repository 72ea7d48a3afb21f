//! The events of a response that was begun in the background, from any of them on: as this process makes it, or as the store has them.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tollgate_proto::v1::{ListResponseEventsRequest, ResponseEvent, ResponseState, get_response_request::By};

use super::{
    background,
    events::{self, write},
    kept,
};
use crate::{Gateway, error::Refusal, forward, stream::KEEP_ALIVE};

/// How often the store is asked for what another replica makes.
const LOOK: Duration = Duration::from_millis(500);

/// Follows a response that the caller may see.
struct Follower {
    gateway: Gateway,
    parts: Parts,
    id: String,
    /// The number of the last event that was told; none is below 0.
    after: i64,
}

/// A stream of events behind `after`.
pub(super) fn respond(
    gateway: Gateway,
    parts: Parts,
    id: String,
    after: Option<i64>,
    mut headers: HeaderMap,
) -> Response {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let follower = Follower { gateway, parts, id, after: after.unwrap_or(-1) };
    let body = futures::stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        let (written, is_over) = follower.next().await;
        Some((Ok::<_, std::convert::Infallible>(written), (!is_over).then_some(follower)))
    });
    (headers, Body::from_stream(body)).into_response()
}

impl Follower {
    /// What comes next, or a comment where nothing does for a while; and whether it is the end.
    async fn next(&mut self) -> (Bytes, bool) {
        let mut out = BytesMut::new();
        if let Some(run) = self.gateway.options.background.run(&self.id) {
            match timeout(KEEP_ALIVE, run.events_after(self.after)).await {
                Ok(events) if events.is_empty() && run.is_gone() => {} // the store says what became of it
                Ok(events) => {
                    let is_over = events.is_empty();
                    self.print(&events, &mut out);
                    return (out.freeze(), is_over);
                }
                Err(_) => return (Bytes::from_static(b": ping\n\n"), false),
            }
        }
        let silent = Instant::now() + KEEP_ALIVE;
        while Instant::now() < silent {
            match self.list().await {
                Ok((events, _)) if !events.is_empty() => {
                    self.print(&events, &mut out);
                    return (out.freeze(), false);
                }
                Ok((_, ResponseState::Lost)) => {
                    self.print_lost(&mut out).await;
                    return (out.freeze(), true);
                }
                Ok((_, ResponseState::Running | ResponseState::Cancelling)) => sleep(LOOK).await,
                // It has ended, and its last event was told.
                Ok(_) => return (out.freeze(), true),
                // Deleted, or out of reach.
                Err(refusal) => {
                    self.print_error(refusal, &mut out);
                    return (out.freeze(), true);
                }
            }
        }
        (Bytes::from_static(b": ping\n\n"), false)
    }

    async fn list(&self) -> Result<(Vec<ResponseEvent>, ResponseState), Refusal> {
        let asked = ListResponseEventsRequest { id: self.id.clone(), after_sequence_number: Some(self.after) };
        let asked = forward::request(&self.gateway, &self.parts, asked);
        let listed = self.gateway.responses().list_response_events(asked).await?.into_inner();
        let state = listed.state();
        Ok((listed.events, state))
    }

    fn print(&mut self, events: &[ResponseEvent], out: &mut BytesMut) {
        for event in events {
            let kind = serde_json::from_str::<Value>(&event.event_json).unwrap_or_default();
            write(kind["type"].as_str().unwrap_or_default(), event.event_json.as_bytes(), out);
            self.after = event.sequence_number;
        }
    }

    /// The end that nobody has told.
    async fn print_lost(&self, out: &mut BytesMut) {
        let response = match kept::get(&self.gateway, &self.parts, By::Id(self.id.clone())).await {
            Ok(response) => response,
            Err(refusal) => return self.print_error(refusal, out),
        };
        let (number, response) = (self.after + 1, background::lost(&response.response_json));
        let event = format!(r#"{{"type":"response.failed","sequence_number":{number},"response":{response}}}"#);
        write("response.failed", event.as_bytes(), out);
    }

    /// The end of a response that nobody can tell the end of.
    fn print_error(&self, refusal: Refusal, out: &mut BytesMut) {
        events::error(self.after + 1, &refusal.about_named("response_id"), out);
    }
}
