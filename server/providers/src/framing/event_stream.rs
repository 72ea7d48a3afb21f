//! `application/vnd.amazon.eventstream`: frames of length, headers, payload and two checksums, as the Smithy specification lays them out
//! ("Amazon Event Stream Specification"). Bytes may be cut anywhere. A frame whose checksum is wrong ends the reading: nothing behind
//! it can be trusted to be a frame.

use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::event_stream::Message;
use bytes::{Bytes, BytesMut};
use tollgate_domain::{Class, Failure};

/// The most that a frame's payload may hold, by the specification.
const MAX_PAYLOAD: usize = 24 << 20;
/// The most that a frame's headers may hold, by the specification.
const MAX_HEADERS: usize = 128 << 10;
/// Two lengths and their checksum, before the headers.
const PRELUDE: usize = 12;
/// The prelude, and the checksum of the whole behind the payload.
const AROUND: usize = PRELUDE + 4;

/// What a frame says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An event of the stream.
    Event {
        /// `:event-type`.
        name: String,
        /// Its content.
        payload: Bytes,
    },
    /// A failure that the service's model knows.
    Exception {
        /// `:exception-type`.
        name: String,
        /// Its content.
        payload: Bytes,
    },
    /// A failure that it does not know.
    Error {
        /// `:error-code`.
        code: String,
        /// `:error-message`.
        message: String,
    },
}

/// Cuts bytes into frames.
#[derive(Default)]
pub struct EventStream {
    held: BytesMut,
    is_broken: bool,
}

impl EventStream {
    /// Takes the next bytes. Frames that were complete before a failure are given along with it; after one nothing more is read. Fails
    /// with `UpstreamProtocol` when a checksum is wrong, or a frame claims to be larger than any may be.
    pub fn feed(&mut self, bytes: &[u8]) -> (Vec<Frame>, Result<(), Failure>) {
        let mut frames = Vec::new();
        if self.is_broken {
            return (frames, Ok(()));
        }
        self.held.extend_from_slice(bytes);
        let read = loop {
            match self.frame() {
                Ok(Some(frame)) => frames.extend(frame),
                Ok(None) => break Ok(()),
                Err(failure) => {
                    self.is_broken = true;
                    self.held = BytesMut::new();
                    break Err(failure);
                }
            }
        };
        (frames, read)
    }

    /// Whether bytes of an unfinished frame are held.
    pub fn is_mid_frame(&self) -> bool {
        !self.held.is_empty()
    }

    /// The next whole frame; `Some(None)`: one of a kind that is not known.
    fn frame(&mut self) -> Result<Option<Option<Frame>>, Failure> {
        let Some((total, headers)) = self.lengths() else { return Ok(None) };
        if headers > MAX_HEADERS || total > AROUND + headers + MAX_PAYLOAD {
            return Err(broken("a frame of the stream claims to be larger than any may be"));
        }
        if self.held.len() < total {
            return Ok(None);
        }
        let mut frame = self.held.split_to(total).freeze();
        let message = read_message_from(&mut frame)
            .map_err(|error| broken(&format!("a frame of the stream is damaged: {}", root_cause(&error))))?;
        Ok(Some(told(&message)))
    }

    /// What the next frame claims to be: the length of all of it, and of its headers.
    fn lengths(&self) -> Option<(usize, usize)> {
        let prelude = self.held.get(..PRELUDE)?;
        let number = |at: usize| u32::from_be_bytes([prelude[at], prelude[at + 1], prelude[at + 2], prelude[at + 3]]);
        Some((number(0) as usize, number(4) as usize))
    }
}

fn told(message: &Message) -> Option<Frame> {
    let header = |name: &str| {
        let header = message.headers().iter().find(|h| h.name().as_str() == name)?;
        header.value().as_string().ok().map(|value| value.as_str().to_owned())
    };
    let text = |name: &str| header(name).unwrap_or_default();
    let payload = message.payload().clone();
    match header(":message-type")?.as_str() {
        "event" => Some(Frame::Event { name: text(":event-type"), payload }),
        "exception" => Some(Frame::Exception { name: text(":exception-type"), payload }),
        "error" => Some(Frame::Error { code: text(":error-code"), message: text(":error-message") }),
        _ => None, // what is to come
    }
}

fn broken(what: &str) -> Failure {
    Failure::new(Class::UpstreamProtocol, what)
}

fn root_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root_cause)
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::event_stream::{Header, HeaderValue};

    use super::*;

    fn written(headers: &[(&'static str, &'static str)], payload: &'static [u8]) -> Vec<u8> {
        let message = headers.iter().fold(Message::new(payload), |message, (name, value)| {
            message.add_header(Header::new(*name, HeaderValue::String((*value).into())))
        });
        let mut bytes = Vec::new();
        write_message_to(&message, &mut bytes).unwrap();
        bytes
    }

    fn event(payload: &'static [u8]) -> Vec<u8> {
        written(&[(":message-type", "event"), (":event-type", "said")], payload)
    }

    fn said(payload: &'static [u8]) -> Frame {
        Frame::Event { name: "said".into(), payload: Bytes::from_static(payload) }
    }

    #[test]
    fn events_exceptions_and_errors_are_told_apart_wherever_the_bytes_are_cut() {
        let exception = written(&[(":message-type", "exception"), (":exception-type", "throttled")], b"{}");
        let error = written(&[(":message-type", "error"), (":error-code", "E"), (":error-message", "why")], b"");
        let unknown = written(&[(":message-type", "to come")], b"x");
        let stream = [event(b"1"), unknown, event(b""), exception, error].concat();
        let expected = [
            said(b"1"),
            said(b""),
            Frame::Exception { name: "throttled".into(), payload: Bytes::from_static(b"{}") },
            Frame::Error { code: "E".into(), message: "why".into() },
        ];
        for size in 1..=stream.len() {
            let mut parser = EventStream::default();
            let mut frames = Vec::new();
            for piece in stream.chunks(size) {
                let (more, read) = parser.feed(piece);
                read.unwrap();
                frames.extend(more);
            }
            assert_eq!(frames, expected, "in pieces of {size}");
            assert!(!parser.is_mid_frame());
        }
    }

    #[test]
    fn a_changed_bit_anywhere_ends_the_reading_and_is_never_taken_for_content() {
        let (first, second) = (event(b"first"), event(b"second"));
        for at in 0..second.len() * 8 {
            let mut damaged = second.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            let stream = [first.clone(), damaged, event(b"third")].concat();
            let mut parser = EventStream::default();
            let (frames, read) = parser.feed(&stream);
            assert_eq!(frames, [said(b"first")], "bit {at}");
            match read {
                Err(failure) => {
                    assert_eq!(failure.class, Class::UpstreamProtocol, "bit {at}");
                    assert_eq!(parser.feed(&event(b"fourth")).0, [], "bit {at}: nothing is read after it");
                }
                // The length was changed: the frame is waited for, and never comes.
                Ok(()) => assert!(at < 32 && parser.is_mid_frame(), "bit {at}"),
            }
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_before_it_is_gathered() {
        let claims = |total: u32, headers: u32| {
            let mut prelude = [0; PRELUDE];
            prelude[..4].copy_from_slice(&total.to_be_bytes());
            prelude[4..8].copy_from_slice(&headers.to_be_bytes());
            EventStream::default().feed(&prelude).1
        };
        assert!(claims((AROUND + MAX_HEADERS + MAX_PAYLOAD) as u32, MAX_HEADERS as u32).is_ok());
        assert!(claims((AROUND + MAX_HEADERS + MAX_PAYLOAD + 1) as u32, MAX_HEADERS as u32).is_err());
        assert!(claims((AROUND + MAX_PAYLOAD + 1) as u32, 0).is_err());
        assert!(claims((AROUND + MAX_HEADERS + 1) as u32, MAX_HEADERS as u32 + 1).is_err());
        assert!(claims(3, 0).is_err(), "less than its own frame");
    }
}
