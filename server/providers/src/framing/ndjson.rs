//! JSON texts, a line each (`application/x-ndjson`).
//!
//! Bytes may be cut anywhere: a line is checked to be UTF-8 when it is whole, never per network chunk. Blank lines are skipped. A line
//! inside one network chunk is not copied.

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use tollgate_domain::{Class, Failure};

use super::sse::SseEvent;

/// A line larger than this breaks the protocol: it bounds what a provider can make us hold.
const MAX_LINE_BYTES: usize = 64 << 20;

/// Cuts bytes into lines, each an event without a name.
#[derive(Default)]
pub struct NdjsonParser {
    /// The line that has not ended yet.
    partial: BytesMut,
}

impl NdjsonParser {
    /// Takes the next bytes and appends the lines that they complete.
    pub fn feed(&mut self, bytes: &Bytes, events: &mut Vec<SseEvent>) -> Result<(), Failure> {
        let mut rest = bytes.clone();
        while let Some(end) = memchr(b'\n', &rest) {
            let head = rest.split_to(end + 1);
            let line = match self.partial.is_empty() {
                true => head,
                false => {
                    self.gather(&head)?;
                    self.partial.split().freeze()
                }
            };
            dispatch(line, events)?;
        }
        self.gather(&rest)
    }

    /// The body has ended. A last line whose end is missing still counts.
    pub fn end(&mut self, events: &mut Vec<SseEvent>) -> Result<(), Failure> {
        dispatch(self.partial.split().freeze(), events)
    }

    fn gather(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.partial.len() + bytes.len() > MAX_LINE_BYTES {
            return Err(Failure::new(Class::UpstreamProtocol, "a line of the stream is larger than 64 MiB"));
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

fn dispatch(line: Bytes, events: &mut Vec<SseEvent>) -> Result<(), Failure> {
    match std::str::from_utf8(&line) {
        Err(_) => Err(Failure::new(Class::UpstreamProtocol, "a line of the stream is not valid UTF-8")),
        Ok(text) if text.trim().is_empty() => Ok(()),
        Ok(_) => {
            events.push(SseEvent { name: String::new(), data: line });
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut parser = NdjsonParser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(&Bytes::copy_from_slice(piece), &mut events).unwrap();
        }
        parser.end(&mut events).unwrap();
        events.iter().map(|event| event.text().trim().to_owned()).collect()
    }

    const STREAM: &[u8] = "{\"a\":\"\u{e9}\u{20ac}\"}\r\n\n \n{\"b\":\"\\n\"}\n{\"c\":1}".as_bytes();

    #[test]
    fn a_cut_anywhere_changes_nothing() {
        let whole = lines(&[STREAM]);
        assert_eq!(whole, ["{\"a\":\"\u{e9}\u{20ac}\"}", "{\"b\":\"\\n\"}", "{\"c\":1}"]);
        for at in 0..STREAM.len() {
            assert_eq!(lines(&[&STREAM[..at], &STREAM[at..]]), whole, "cut at {at}");
        }
        assert_eq!(lines(&STREAM.chunks(1).collect::<Vec<_>>()), whole);
    }

    #[test]
    fn a_line_without_end_is_not_gathered_for_ever() {
        let mut parser = NdjsonParser::default();
        let megabyte = Bytes::from(vec![b' '; 1 << 20]);
        let fed = (0..=64).map(|_| parser.feed(&megabyte, &mut Vec::new()));
        let failure = fed.into_iter().find_map(Result::err).unwrap();
        assert_eq!(failure.class, Class::UpstreamProtocol);
    }

    #[test]
    fn bytes_that_are_no_text_break_the_protocol() {
        let failure = NdjsonParser::default().feed(&Bytes::from_static(b"\xff\n"), &mut Vec::new()).unwrap_err();
        assert_eq!(failure.class, Class::UpstreamProtocol);
    }
}
