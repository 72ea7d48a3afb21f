//! Framings: the same pieces wherever the bytes are cut.

use std::fmt::Debug;

use bytes::Bytes;
use tollgate_domain::Failure;
use tollgate_providers::framing::{
    event_stream::EventStream,
    json_array::JsonArray,
    ndjson::NdjsonParser,
    sse::{SseEvent, SseParser},
};

use super::{frames, input::Input};

pub(crate) fn sse(input: &Input<'_>) {
    same(input, Bytes::copy_from_slice(input.body), |pieces, events| {
        let mut parser = SseParser::default();
        fed(pieces, |piece| parser.feed(piece, events))?;
        parser.end(events)
    });
}

pub(crate) fn ndjson(input: &Input<'_>) {
    same(input, Bytes::copy_from_slice(input.body), |pieces, lines| {
        let mut parser = NdjsonParser::default();
        fed(pieces, |piece| parser.feed(piece, lines))?;
        parser.end(lines)
    });
}

pub(crate) fn json_array(input: &Input<'_>) {
    let elements = same(input, Bytes::copy_from_slice(input.body), |pieces, elements| {
        let mut array = JsonArray::default();
        fed(pieces, |piece| array.feed(piece, elements))?;
        array.end()
    });
    // What is an array of objects by a parser of JSON is one here, and the other way round as far as the ends go.
    if let Ok(parsed) = serde_json::from_slice::<Vec<serde_json::Map<String, serde_json::Value>>>(input.body) {
        let read = |element: &SseEvent| serde_json::from_slice(&element.data).expect("an element is JSON");
        assert_eq!(elements.iter().map(read).collect::<Vec<serde_json::Map<_, _>>>(), parsed);
    }
}

pub(crate) fn event_stream(input: &Input<'_>) {
    let bytes = if input.flag(6) { frames::repaired(input.body) } else { input.body.to_vec() };
    same(input, Bytes::from(bytes), |pieces, frames| {
        let mut stream = EventStream::default();
        let read = fed(pieces, |piece| {
            let (more, read) = stream.feed(piece);
            frames.extend(more);
            read
        });
        if read.is_err() {
            assert_eq!(stream.feed(b"\0\0\0\x10\0\0\0\0").0, [], "nothing is read behind a failure");
        }
        read
    });
}

fn fed(pieces: &[Bytes], feed: impl FnMut(&Bytes) -> Result<(), Failure>) -> Result<(), Failure> {
    pieces.iter().try_for_each(feed)
}

/// What is read in one piece, which must be what is read cut.
fn same<T: PartialEq + Debug>(
    input: &Input<'_>,
    bytes: Bytes,
    read: impl Fn(&[Bytes], &mut Vec<T>) -> Result<(), Failure>,
) -> Vec<T> {
    let told = |pieces: &[Bytes]| {
        let mut items = Vec::new();
        let failure = read(pieces, &mut items).err().map(|failure| format!("{failure:?}"));
        (items, failure)
    };
    let whole = told(std::slice::from_ref(&bytes));
    assert_eq!(whole, told(&input.cut(&bytes)), "the same bytes, in one piece and cut");
    whole.0
}
