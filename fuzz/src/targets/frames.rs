//! Bytes as frames of an AWS event stream: a fuzzer does not guess checksums.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

/// The shortest frame: two lengths and two checksums.
const SHORTEST: usize = 16;

/// Each line becomes a frame: the first word is the kind of message, the second its name, the rest the payload. `chunk` is an event in
/// the dialect of the model's maker.
pub(crate) fn from_lines(lines: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let rest = words.next().unwrap_or_default();
        let message = match kind {
            b"chunk" => headed(b"event", b":event-type", b"chunk", unpackable(rest)),
            b"exception" => headed(kind, b":exception-type", name, rest.to_vec()),
            b"error" => {
                headed(kind, b":error-code", name, Vec::new()).add_header(Header::new(":error-message", text(rest)))
            }
            _ => headed(kind, b":event-type", name, rest.to_vec()),
        };
        // What is too large to be a frame is none.
        let before = bytes.len();
        if write_message_to(&message, &mut bytes).is_err() {
            bytes.truncate(before);
        }
    }
    bytes
}

fn headed(kind: &[u8], header: &'static [u8], name: &[u8], payload: Vec<u8>) -> Message {
    let header = String::from_utf8_lossy(header).into_owned();
    Message::new(payload)
        .add_header(Header::new(":message-type", text(kind)))
        .add_header(Header::new(header, text(name)))
}

fn text(bytes: &[u8]) -> HeaderValue {
    HeaderValue::String(String::from_utf8_lossy(bytes).into_owned().into())
}

fn unpackable(event: &[u8]) -> Vec<u8> {
    json!({ "bytes": STANDARD.encode(event) }).to_string().into_bytes()
}

/// The same frames with their checksums made right, as far as their lengths lead from one to the next.
pub(crate) fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut repaired = bytes.to_vec();
    let mut rest = repaired.as_mut_slice();
    while let Some(length) = rest.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) {
        if !(SHORTEST..=rest.len()).contains(&length) {
            break;
        }
        let (frame, behind) = rest.split_at_mut(length);
        let checksum = crc32fast::hash(&frame[..8]);
        frame[8..12].copy_from_slice(&checksum.to_be_bytes());
        let checksum = crc32fast::hash(&frame[..length - 4]);
        frame[length - 4..].copy_from_slice(&checksum.to_be_bytes());
        rest = behind;
    }
    repaired
}
