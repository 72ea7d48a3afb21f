//! An answer about sound while it comes: one object in JSON, or events.

use bytes::{Bytes, BytesMut};
use http::header;
use tollgate_domain::Failure;

use crate::{
    Head,
    exchange::MAX_WHOLE,
    framing::sse::{SseEvent, SseParser},
};

/// What has come of it.
pub(super) enum Answer {
    Json(BytesMut),
    Events(SseParser),
}

/// What an answer was when it ended.
pub(super) enum Ended {
    /// The object.
    Json(BytesMut),
    /// The last events.
    Events(Vec<SseEvent>),
}

impl Answer {
    /// Of the form that its head tells.
    pub(super) fn new(head: &Head) -> Self {
        let told = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match told.starts_with("text/event-stream") {
            true => Self::Events(SseParser::default()),
            false => Self::Json(BytesMut::new()),
        }
    }

    /// The events that these bytes end, and what is wrong with the bytes behind them. `broken` says that the answer cannot be read.
    pub(super) fn feed(&mut self, bytes: &Bytes, broken: fn(&str) -> Failure) -> (Vec<SseEvent>, Result<(), Failure>) {
        let mut events = Vec::new();
        let framed = match self {
            Self::Json(held) => {
                held.extend_from_slice(bytes);
                if held.len() > MAX_WHOLE { Err(broken("it is larger than 64 MiB")) } else { Ok(()) }
            }
            Self::Events(parser) => parser.feed(bytes, &mut events),
        };
        (events, framed)
    }

    /// Nothing more comes: what there was. What is wrong with the bytes behind the last event harms nothing.
    pub(super) fn end(&mut self) -> Ended {
        match self {
            Self::Json(held) => Ended::Json(std::mem::take(held)),
            Self::Events(parser) => {
                let mut events = Vec::new();
                let _framed = parser.end(&mut events);
                Ended::Events(events)
            }
        }
    }
}
