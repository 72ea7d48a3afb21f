use std::fmt;

use http::{HeaderMap, HeaderValue};

/// `tracestate` beyond this is left out, as the recommendation allows.
const LONGEST_STATE: usize = 512;

/// Names a trace: 16 bytes, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// Names a span of a trace: 8 bytes, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// A new one.
    pub(crate) fn random() -> Self {
        Self(rand::random::<u128>().max(1).to_be_bytes())
    }
}

impl SpanId {
    /// A new one.
    pub(crate) fn random() -> Self {
        Self(rand::random::<u64>().max(1).to_be_bytes())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// Where in which trace somebody is: W3C Trace Context, `traceparent` and `tracestate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that what follows is a part of.
    pub span_id: SpanId,
    /// Whether it is recorded.
    pub sampled: bool,
    /// What other systems carry along; empty: nothing.
    pub state: String,
}

impl Context {
    /// What a request brings. A header that is not as it must be counts as none, and so do several of them.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all("traceparent").iter();
        let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
        let (trace_id, span_id, flags) = parse(parent.to_str().ok()?)?;
        let states = headers.get_all("tracestate").iter().filter_map(|value| value.to_str().ok());
        let state = states.collect::<Vec<_>>().join(",");
        let state = if state.len() > LONGEST_STATE { String::new() } else { state };
        Some(Self { trace_id, span_id, sampled: flags & 1 == 1, state })
    }

    /// As a header says it.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }

    /// The header.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.traceparent()).ok()
    }
}

/// `00-TRACE-SPAN-FLAGS`; later versions may have more behind another dash.
fn parse(text: &str) -> Option<(TraceId, SpanId, u8)> {
    let bytes = text.trim().as_bytes();
    let fits = bytes.len() == 55 || (bytes.len() > 55 && bytes[55] == b'-' && &bytes[..2] != b"00");
    let is_hex = |range: std::ops::Range<usize>| {
        let text = std::str::from_utf8(bytes.get(range)?).ok()?;
        text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)).then_some(text)
    };
    let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
    if !fits || !dashes || is_hex(0..2)? == "ff" {
        return None;
    }
    let trace = u128::from_str_radix(is_hex(3..35)?, 16).ok().filter(|id| *id != 0)?;
    let span = u64::from_str_radix(is_hex(36..52)?, 16).ok().filter(|id| *id != 0)?;
    let flags = u8::from_str_radix(is_hex(53..55)?, 16).ok()?;
    Some((TraceId(trace.to_be_bytes()), SpanId(span.to_be_bytes()), flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(parents: &[&str], states: &[&str]) -> Option<Context> {
        let mut headers = HeaderMap::new();
        parents.iter().for_each(|p| _ = headers.append("traceparent", p.parse().unwrap()));
        states.iter().for_each(|s| _ = headers.append("tracestate", s.parse().unwrap()));
        Context::read(&headers)
    }

    #[test]
    fn a_context_is_read_and_written_as_it_came() {
        let context = read(&[PARENT], &["a=1", "b=2"]).unwrap();
        assert_eq!((context.traceparent().as_str(), context.state.as_str()), (PARENT, "a=1,b=2"));
        assert!(context.sampled && !read(&[&PARENT.replace("-01", "-00")], &[]).unwrap().sampled);
    }

    #[test]
    fn a_later_version_may_say_more() {
        assert!(read(&[&format!("{}-more", PARENT.replacen("00", "01", 1))], &[]).is_some());
        assert!(read(&[&format!("{PARENT}-more")], &[]).is_none());
    }

    #[test]
    fn what_is_no_context_counts_as_none() {
        for bad in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &PARENT.replace('-', "_"),
            &PARENT[..54],
        ] {
            assert_eq!(read(&[bad], &[]), None, "{bad}");
        }
        assert_eq!(read(&[PARENT, PARENT], &[]), None);
    }

    #[test]
    fn a_state_that_is_too_long_is_left_out() {
        assert_eq!(read(&[PARENT], &[&"a".repeat(513)]).unwrap().state, "");
    }
}
