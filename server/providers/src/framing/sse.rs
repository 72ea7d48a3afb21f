//! Server-sent events, as the WHATWG HTML standard frames them (section "Server-sent events").
//!
//! Lines end in LF, CRLF or CR; comments are skipped; several `data` lines are joined by LF; a BOM may stand at the start. Bytes may be
//! cut anywhere: UTF-8 is checked per whole event, never per network chunk. An event inside one network chunk is not copied.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;
use tollgate_domain::{Class, Failure};

/// An event larger than this breaks the protocol: it bounds what a provider can make us hold.
pub(super) const MAX_EVENT_BYTES: usize = 64 << 20;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// The `event` field; empty for unnamed events.
    pub name: String,
    /// The `data` lines, joined; valid UTF-8.
    pub data: Bytes,
}

impl SseEvent {
    /// Fails with `UpstreamProtocol` where the data is no UTF-8.
    pub(super) fn new(name: String, data: Bytes) -> Result<Self, Failure> {
        match std::str::from_utf8(&data) {
            Ok(_) => Ok(Self { name, data }),
            Err(_) => Err(Failure::new(Class::UpstreamProtocol, "an event of the stream is not valid UTF-8")),
        }
    }

    /// The data as text.
    pub fn text(&self) -> &str {
        // Checked when the event was made.
        std::str::from_utf8(&self.data).unwrap_or_default()
    }
}

/// Cuts bytes into events.
#[derive(Default)]
pub struct SseParser {
    /// The line that has not ended yet.
    partial: BytesMut,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    begun: bool,
    name: String,
    data: Vec<Bytes>,
    size: usize,
}

impl SseParser {
    /// Takes the next bytes and appends the events that they complete.
    pub fn feed(&mut self, bytes: &Bytes, events: &mut Vec<SseEvent>) -> Result<(), Failure> {
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            if self.after_cr {
                self.after_cr = false;
                if rest[0] == b'\n' {
                    rest = rest.slice(1..);
                    continue;
                }
            }
            let Some(end) = memchr2(b'\n', b'\r', &rest) else {
                self.size += rest.len();
                self.check_size()?;
                self.partial.extend_from_slice(&rest);
                return Ok(());
            };
            self.after_cr = rest[end] == b'\r';
            let head = rest.slice(..end);
            rest = rest.slice(end + 1..);
            self.size += head.len();
            self.check_size()?;
            let line = if self.partial.is_empty() {
                head
            } else {
                self.partial.extend_from_slice(&head);
                self.partial.split().freeze()
            };
            self.line(line, events)?;
        }
        Ok(())
    }

    /// Whether bytes of an unfinished event are held.
    pub fn is_mid_event(&self) -> bool {
        !self.partial.is_empty() || !self.data.is_empty()
    }

    /// The body has ended. A last event whose blank line is missing still counts: several servers leave it out.
    pub fn end(&mut self, events: &mut Vec<SseEvent>) -> Result<(), Failure> {
        if !self.partial.is_empty() {
            let line = self.partial.split().freeze();
            self.line(line, events)?;
        }
        self.dispatch(events)
    }

    fn check_size(&self) -> Result<(), Failure> {
        if self.size > MAX_EVENT_BYTES {
            return Err(Failure::new(Class::UpstreamProtocol, "an event of the stream is larger than 64 MiB"));
        }
        Ok(())
    }

    fn line(&mut self, mut line: Bytes, events: &mut Vec<SseEvent>) -> Result<(), Failure> {
        if !self.begun {
            self.begun = true;
            if line.starts_with(b"\xef\xbb\xbf") {
                line = line.slice(3..);
            }
        }
        if line.is_empty() {
            return self.dispatch(events);
        }
        let colon = memchr::memchr(b':', &line).unwrap_or(line.len());
        let mut value = line.slice((colon + 1).min(line.len())..);
        if value.first() == Some(&b' ') {
            value = value.slice(1..);
        }
        match &line[..colon] {
            b"data" => self.data.push(value),
            b"event" => self.name = String::from_utf8_lossy(&value).into_owned(),
            _ => {} // comments, id, retry, fields to come
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &mut Vec<SseEvent>) -> Result<(), Failure> {
        let name = std::mem::take(&mut self.name);
        self.size = 0;
        let data = match self.data.len() {
            0 => return Ok(()),
            1 => self.data.remove(0),
            _ => Bytes::from(self.data.join(&b'\n')),
        };
        self.data.clear();
        events.push(SseEvent::new(name, data)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = SseParser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(&Bytes::copy_from_slice(piece), &mut events).unwrap();
        }
        parser.end(&mut events).unwrap();
        events.iter().map(|e| (e.name.clone(), e.text().to_owned())).collect()
    }

    const STREAM: &[u8] =
        "\u{feff}: hello\r\nevent: a\r\ndata: 1\r\ndata:2\r\n\r\nid: 7\ndata: \u{e9}\u{20ac}\n\n\rdata: x\r\rdata"
            .as_bytes();

    #[test]
    fn every_line_end_comment_and_join_is_read_by_the_standard() {
        let expected = [("a", "1\n2"), ("", "\u{e9}\u{20ac}"), ("", "x"), ("", "")];
        assert_eq!(parse(&[STREAM]), expected.map(|(n, d)| (n.to_owned(), d.to_owned())));
    }

    #[test]
    fn a_cut_anywhere_changes_nothing() {
        let whole = parse(&[STREAM]);
        for at in 0..STREAM.len() {
            assert_eq!(parse(&[&STREAM[..at], &STREAM[at..]]), whole, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(parse(&bytes), whole);
    }

    #[test]
    fn bytes_that_are_no_text_break_the_protocol() {
        let mut parser = SseParser::default();
        let failure = parser.feed(&Bytes::from_static(b"data: \xff\n\n"), &mut Vec::new()).unwrap_err();
        assert_eq!(failure.class, Class::UpstreamProtocol);
    }
}
