//! What the body of an answer turned out to be: a stream of events, an array of them, or one JSON text where a stream was asked for as
//! well.

pub mod event_stream;
pub mod json_array;
pub mod ndjson;
pub mod sse;

use bytes::{Bytes, BytesMut};
use tollgate_domain::{Class, Failure};

use self::{
    json_array::JsonArray,
    ndjson::NdjsonParser,
    sse::{SseEvent, SseParser},
};
use crate::{Mode, exchange::MAX_WHOLE};

/// Frames an answer's bytes for a decoder.
pub(crate) enum Framing {
    /// Nothing has come yet that tells.
    Unknown,
    /// Server-sent events.
    Sse(SseParser),
    /// JSON texts, a line each.
    Lines(NdjsonParser),
    /// The elements of one JSON array.
    Array(JsonArray),
    /// One JSON text, gathered.
    Whole(BytesMut),
}

/// What was left when the body ended.
pub(crate) enum Ended {
    /// The last events.
    Events(Vec<SseEvent>),
    /// The whole answer.
    Whole(Bytes),
}

impl Framing {
    pub(crate) fn new(mode: Mode) -> Self {
        match mode {
            Mode::Whole => Self::Whole(BytesMut::new()),
            Mode::Stream => Self::Unknown,
        }
    }

    /// For a provider that streams lines of JSON.
    pub(crate) fn lines(mode: Mode) -> Self {
        match mode {
            Mode::Whole => Self::new(mode),
            Mode::Stream => Self::Lines(NdjsonParser::default()),
        }
    }

    /// Takes the next bytes. What was complete before a failure is given along with it.
    pub(crate) fn feed(&mut self, bytes: &Bytes) -> (Vec<SseEvent>, Result<(), Failure>) {
        let mut bytes = bytes.clone();
        if let Self::Unknown = self {
            // White space tells nothing, and is no part of what follows it in the same bytes either.
            let Some(begin) = bytes.iter().position(|b| !b.is_ascii_whitespace()) else {
                return (Vec::new(), Ok(()));
            };
            bytes = bytes.slice(begin..);
            // A provider that does not stream this answer sends the JSON, or a page of some proxy's, instead.
            *self = match bytes.first() {
                Some(b'{') => Self::Whole(BytesMut::new()),
                Some(b'[') => Self::Array(JsonArray::default()),
                Some(b'<') => {
                    let what = "the provider answered with a page instead of its own JSON";
                    return (Vec::new(), Err(Failure::new(Class::UpstreamProtocol, what)));
                }
                _ => Self::Sse(SseParser::default()),
            };
        }
        let mut events = Vec::new();
        let framed = match self {
            Self::Whole(body) if body.len() + bytes.len() > MAX_WHOLE => {
                Err(Failure::new(Class::UpstreamProtocol, "the provider's answer is larger than 64 MiB"))
            }
            Self::Whole(body) => {
                body.extend_from_slice(&bytes);
                Ok(())
            }
            Self::Sse(parser) => parser.feed(&bytes, &mut events),
            Self::Lines(parser) => parser.feed(&bytes, &mut events),
            Self::Array(array) => array.feed(&bytes, &mut events),
            Self::Unknown => Ok(()),
        };
        (events, framed)
    }

    /// The body has ended.
    pub(crate) fn end(&mut self) -> (Ended, Result<(), Failure>) {
        match std::mem::replace(self, Self::Unknown) {
            Self::Whole(body) => (Ended::Whole(body.freeze()), Ok(())),
            Self::Sse(mut parser) => {
                let mut events = Vec::new();
                let framed = parser.end(&mut events);
                (Ended::Events(events), framed)
            }
            Self::Lines(mut parser) => {
                let mut events = Vec::new();
                let framed = parser.end(&mut events);
                (Ended::Events(events), framed)
            }
            Self::Array(array) => (Ended::Events(Vec::new()), array.end()),
            Self::Unknown => (Ended::Events(Vec::new()), Ok(())),
        }
    }
}

/// What follows an answer's own end is none of it, whichever bytes it comes with, and breaks nothing.
pub(crate) fn before_end(is_done: bool, framed: Result<(), Failure>) -> Result<(), Failure> {
    if is_done { Ok(()) } else { framed }
}

/// The body has ended, and the answer in it had not.
pub(crate) fn ended_early() -> Failure {
    Failure::new(Class::UpstreamTruncated, "the provider's answer ended before its end")
}

/// An event that was cut in its middle is no JSON: that is truncation, not a slip of the protocol.
pub(crate) fn cut_short(failure: Failure) -> Failure {
    match failure.class {
        Class::UpstreamProtocol => Failure { class: Class::UpstreamTruncated, ..failure },
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_before_an_answer_is_none_of_it_wherever_the_bytes_are_cut() {
        let body = Bytes::from_static(b" \n \xef\xbb\xbfdata: x\n\n");
        for cut in 0..=3 {
            let mut framing = Framing::new(Mode::Stream);
            let mut events = Vec::new();
            for piece in [body.slice(..cut), body.slice(cut..)] {
                let (more, framed) = framing.feed(&piece);
                framed.unwrap();
                events.extend(more);
            }
            assert_eq!(events.iter().map(SseEvent::text).collect::<Vec<_>>(), ["x"], "cut at {cut}");
        }
    }
}
