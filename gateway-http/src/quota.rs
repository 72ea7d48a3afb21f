//! What the gateway says of a call in metadata: OpenAI's rate limit headers, LiteLLM's of what a key has spent, and the call's id.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::MetadataMap;

/// Headers that say how a call's limits stand; in the contract they are metadata of the same names.
const HEADERS: [&str; 6] = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

/// What the key had spent before the call, in nano-dollars: metadata.
const KEY_SPENT: &str = "x-tollgate-key-spent-nano-usd";

/// The id of a call that was admitted and has no event yet that tells it: metadata.
const CALL_ID: &str = "x-tollgate-request-id";

/// Hands on what the gateway says of limits and spend, and that no answer is cached.
pub(crate) fn tell(headers: &mut HeaderMap, metadata: &MetadataMap) {
    headers.insert("x-tollgate-cache", HeaderValue::from_static("off"));
    let spent = metadata.get(KEY_SPENT).and_then(|v| v.to_str().ok()?.parse::<i64>().ok());
    if let Some(value) = spent.and_then(|nano| HeaderValue::try_from(dollars(nano)).ok()) {
        headers.insert("x-litellm-key-spend", value);
    }
    for name in HEADERS {
        let value = metadata.get(name).and_then(|v| HeaderValue::from_bytes(v.as_bytes()).ok());
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// The id of a call whose stream opened when it was admitted; empty where that is not said.
pub(crate) fn call_id(metadata: &MetadataMap) -> &str {
    metadata.get(CALL_ID).and_then(|id| id.to_str().ok()).unwrap_or_default()
}

/// An amount in dollars, exact to the nano-dollar; never below zero.
pub(crate) fn dollars(nano: i64) -> String {
    let nano = nano.max(0);
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}

/// The same for a call that was refused.
pub(crate) fn refused(headers: &mut HeaderMap, unit: &str, limit: &str, after: Option<Duration>) {
    let reset = after.map(|after| reset(u64::try_from(after.as_micros()).unwrap_or(u64::MAX)));
    let zero = Some("0".to_owned());
    for (what, text) in [("limit", Some(limit.to_owned())), ("remaining", zero), ("reset", reset)] {
        let name = HeaderName::try_from(format!("x-ratelimit-{what}-{unit}"));
        if let (Ok(name), Some(Ok(value))) = (name, text.map(HeaderValue::try_from)) {
            headers.insert(name, value);
        }
    }
}

/// A time in OpenAI's form, `6m0s`, `1.5s`, `12ms`; microseconds, rounded up to milliseconds.
pub fn reset(us: u64) -> String {
    let ms = us.div_ceil(1_000);
    let (hours, minutes, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    if hours == 0 && minutes == 0 && ms < 1_000 && ms > 0 {
        return format!("{ms}ms");
    }
    let seconds = match ms % 1_000 {
        0 => format!("{}s", ms / 1_000),
        rest => format!("{}.{}s", ms / 1_000, format!("{rest:03}").trim_end_matches('0')),
    };
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_openai_does() {
        for (us, text) in [
            (0, "0s"),
            (1, "1ms"),
            (12_000, "12ms"),
            (1_000_000, "1s"),
            (1_500_000, "1.5s"),
            (360_000_000, "6m0s"),
            (3_723_004_000, "1h2m3.004s"),
        ] {
            assert_eq!(reset(us), text);
        }
    }
}
