//! One JSON array that is delivered element by element: where each element ends, and nothing more of JSON.
//!
//! Provider page: "Generating content" of the Gemini API reference, `streamGenerateContent` without `alt=sse`.

use bytes::{Bytes, BytesMut};
use tollgate_domain::{Class, Failure};

use super::sse::{MAX_EVENT_BYTES, SseEvent};

/// Cuts an array's bytes into its elements, which must be objects.
#[derive(Default)]
pub struct JsonArray {
    place: Place,
    /// The beginning of an element whose end has not come.
    partial: BytesMut,
    /// Objects and arrays that are open, the element itself among them.
    depth: usize,
    in_string: bool,
    after_backslash: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    Between,
    Inside,
    Behind,
}

impl JsonArray {
    /// Takes the next bytes and appends the elements that they complete, as events without a name.
    pub fn feed(&mut self, bytes: &Bytes, events: &mut Vec<SseEvent>) -> Result<(), Failure> {
        if self.partial.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(broken("an element of the answer is larger than 64 MiB"));
        }
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            match (self.place, byte) {
                (Place::Behind, _) => return Ok(()),
                (Place::Inside, _) if self.closes(*byte) => {
                    self.place = Place::Between;
                    let end = bytes.slice(start..=at);
                    let element = match self.partial.is_empty() {
                        true => end,
                        false => {
                            self.partial.extend_from_slice(&end);
                            self.partial.split().freeze()
                        }
                    };
                    events.push(SseEvent::new(String::new(), element)?);
                }
                (Place::Inside, _) => {}
                (_, b' ' | b'\t' | b'\r' | b'\n') => {}
                (Place::Before, b'[') => self.place = Place::Between,
                (Place::Between, b',') => {}
                (Place::Between, b']') => self.place = Place::Behind,
                (Place::Between, b'{') => {
                    self.place = Place::Inside;
                    self.depth = 1;
                    start = at;
                }
                _ => return Err(broken("the answer is no array of objects")),
            }
        }
        if self.place == Place::Inside {
            self.partial.extend_from_slice(&bytes[start..]);
        }
        Ok(())
    }

    /// The body has ended. Whether the array was closed says nothing; an element that was not is cut.
    pub fn end(&self) -> Result<(), Failure> {
        match self.place {
            Place::Inside => Err(Failure::new(Class::UpstreamTruncated, "the answer ended inside an element")),
            _ => Ok(()),
        }
    }

    /// Whether the element ends with this byte.
    fn closes(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.after_backslash => self.after_backslash = false,
                b'\\' => self.after_backslash = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }
}

fn broken(what: &str) -> Failure {
    Failure::new(Class::UpstreamProtocol, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> Result<Vec<String>, Failure> {
        let (mut array, mut events) = (JsonArray::default(), Vec::new());
        for piece in pieces {
            array.feed(&Bytes::copy_from_slice(piece), &mut events)?;
        }
        array.end()?;
        Ok(events.iter().map(|e| e.text().to_owned()).collect())
    }

    const ARRAY: &str = " [{\"a\":[1,{}]}\r\n,\r\n{\"b\":\"]}, {\\\"\\\\\",\"\u{20ac}\":{}} ]\n{\"behind\":1}";

    #[test]
    fn a_cut_anywhere_changes_nothing_and_brackets_in_text_are_text() {
        let expected = ["{\"a\":[1,{}]}", "{\"b\":\"]}, {\\\"\\\\\",\"\u{20ac}\":{}}"];
        let bytes = ARRAY.as_bytes();
        for at in 0..bytes.len() {
            assert_eq!(parse(&[&bytes[..at], &bytes[at..]]).unwrap(), expected, "cut at {at}");
        }
        assert_eq!(parse(&bytes.chunks(1).collect::<Vec<_>>()).unwrap(), expected);
    }

    #[test]
    fn what_is_no_array_of_objects_and_what_is_cut_are_told_apart() {
        for bad in ["[1]", "[[]]", "{}", "[{}{}}", "x"] {
            assert_eq!(parse(&[bad.as_bytes()]).unwrap_err().class, Class::UpstreamProtocol, "{bad}");
        }
        assert_eq!(parse(&[b"[{\"a\":"]).unwrap_err().class, Class::UpstreamTruncated);
        assert_eq!(parse(&[b"[{\"a\":1}"]).unwrap(), ["{\"a\":1}"]);
    }

    #[test]
    fn an_element_without_end_is_not_held_for_ever() {
        let (mut array, mut events) = (JsonArray::default(), Vec::new());
        let piece = Bytes::from(vec![b'['; 1 << 20]);
        let fed = std::iter::once(Bytes::from_static(b"[{\"a\":")).chain(std::iter::repeat_n(piece, 65));
        let failures: Vec<_> = fed.filter_map(|bytes| array.feed(&bytes, &mut events).err()).collect();
        assert_eq!(failures[0].class, Class::UpstreamProtocol);
    }
}
