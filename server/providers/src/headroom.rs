//! What a provider says in the head of an answer that is left of its limits.
//!
//! Names differ from provider to provider, but are made of the same words in another order: `x-ratelimit-remaining-tokens` (OpenAI,
//! Azure, Groq, xAI), `anthropic-ratelimit-input-tokens-remaining`, `x-ratelimit-remaining-req-minute` and `ratelimitbysize-remaining`
//! (Mistral), `x-ratelimit-remaining` (Together, OpenRouter), `x-ratelimit-remaining-tokens-prompt` and `x-ratelimit-over-limit`
//! (Fireworks), `x-trial-endpoint-call-remaining` (Cohere). Provider pages: "Rate limits" of each.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tollgate_domain::{Headroom, Left};

use crate::refusal;

/// What a header tells of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tells {
    Limit,
    Remaining,
    Reset,
}

/// So many limits of one provider are kept apart.
const MOST: usize = 8;

/// One limit, by the words of its name that are neither `limit`, `remaining` nor `reset`.
#[derive(Clone, Copy, Default)]
struct Told {
    of: u8,
    limit: Option<u64>,
    remaining: Option<u64>,
    resets_in: Option<Duration>,
}

const TOKENS: u8 = 1;
const INPUT: u8 = 2;
const OUTPUT: u8 = 4;
const MINUTE: u8 = 8;
const DAY: u8 = 16;
const MONTH: u8 = 32;

/// Reads what is left, of requests and of tokens; of several limits of a kind, that of which least is left. Makes nothing on the heap.
pub fn told(headers: &HeaderMap) -> Headroom {
    let mut limits = [Told::default(); MOST];
    let mut known = 0;
    let mut headroom = Headroom::default();
    for (name, value) in headers {
        let Some((tells, of)) = parse(name.as_str()) else {
            if name.as_str() == "x-ratelimit-over-limit" && value.as_bytes() == b"yes" {
                headroom.requests = Some(Left { remaining: 0, limit: None, resets_in: None });
            }
            continue;
        };
        let Ok(value) = value.to_str() else { continue };
        let at = limits[..known].iter().position(|limit| limit.of == of).unwrap_or(known);
        let Some(limit) = limits.get_mut(at) else { continue };
        (limit.of, known) = (of, known.max(at + 1));
        match tells {
            Tells::Limit => limit.limit = count(value),
            Tells::Remaining => limit.remaining = count(value),
            Tells::Reset => limit.resets_in = until(value, headers),
        }
    }
    for limit in &limits[..known] {
        let Some(remaining) = limit.remaining else { continue };
        let left = Left { remaining, limit: limit.limit, resets_in: limit.resets_in };
        let kind = if limit.of & TOKENS == 0 { &mut headroom.requests } else { &mut headroom.tokens };
        let least = |known: &Left| (left.remaining, known.resets_in) < (known.remaining, left.resets_in);
        if kind.as_ref().is_none_or(least) {
            *kind = Some(left);
        }
    }
    headroom
}

/// What a header of this name tells, and of which limit.
fn parse(name: &str) -> Option<(Tells, u8)> {
    let bare = name.strip_prefix("x-").unwrap_or(name);
    let (words, mut of) = None
        .or_else(|| Some((bare.strip_prefix("ratelimit-")?, 0)))
        .or_else(|| Some((bare.strip_prefix("anthropic-ratelimit-")?, 0)))
        .or_else(|| Some((bare.strip_prefix("trial-endpoint-call-")?, 0)))
        .or_else(|| Some((bare.strip_prefix("ratelimitbysize-")?, TOKENS)))?;
    let mut tells = None;
    for word in words.split('-') {
        match word {
            "limit" => tells = Some(Tells::Limit),
            "remaining" => tells = Some(Tells::Remaining),
            "reset" => tells = Some(Tells::Reset),
            "requests" | "req" => {}
            "tokens" => of |= TOKENS,
            "input" | "prompt" => of |= INPUT,
            "output" | "generated" => of |= OUTPUT,
            "minute" => of |= MINUTE,
            "day" => of |= DAY,
            "month" => of |= MONTH,
            _ => return None,
        }
    }
    Some((tells?, of))
}

/// A count; some are written as fractions. Negative ones mean that nobody knows.
fn count(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse().ok().filter(|n: &f64| (0.0..1e15).contains(n)).map(|n| n as u64))
}

/// How long until then: a duration, or a moment by the server's own `date` (else by this machine's clock): seconds or milliseconds since
/// 1970, RFC 3339, or an HTTP date (RFC 9110, 5.6.7).
fn until(text: &str, headers: &HeaderMap) -> Option<Duration> {
    let text = text.trim();
    let since_1970 = match refusal::duration(text) {
        Some(number) if number < Duration::from_secs(1_000_000_000) => return Some(number),
        Some(number) if number < Duration::from_secs(100_000_000_000) => number,
        Some(number) => number / 1_000,
        None => moment(text)?,
    };
    let date = headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
    let now = date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since_1970.saturating_sub(now))
}

fn moment(text: &str) -> Option<Duration> {
    let time = match text.parse::<jiff::Timestamp>() {
        Ok(moment) => SystemTime::from(moment),
        Err(_) => httpdate::parse_http_date(text).ok()?,
    };
    time.duration_since(SystemTime::UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn of(pairs: &[(&'static str, &'static str)]) -> Headroom {
        let headers =
            pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        told(&headers.collect())
    }

    fn left(remaining: u64, limit: u64, resets_in_ms: u64) -> Option<Left> {
        Some(Left { remaining, limit: Some(limit), resets_in: Some(Duration::from_millis(resets_in_ms)) })
    }

    fn bare(remaining: u64) -> Option<Left> {
        Some(Left { remaining, limit: None, resets_in: None })
    }

    #[test]
    fn openai_and_its_like_tell_both_with_durations() {
        let headroom = of(&[
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-limit-tokens", "30000"),
            ("x-ratelimit-remaining-requests", "499"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-requests", "2m59.56s"),
            ("x-ratelimit-reset-tokens", "842ms"),
        ]);
        assert_eq!((headroom.requests, headroom.tokens), (left(499, 500, 179_560), left(0, 30_000, 842)));
    }

    #[test]
    fn azure_tells_only_what_remains() {
        let headroom = of(&[("x-ratelimit-remaining-requests", "117"), ("x-ratelimit-remaining-tokens", "119952")]);
        assert_eq!((headroom.requests, headroom.tokens), (bare(117), bare(119_952)));
        assert_eq!(
            of(&[("x-ratelimit-remaining-requests", "-1"), ("x-ratelimit-reset-requests", "7")]),
            Headroom::default()
        );
    }

    #[test]
    fn of_anthropics_limits_on_tokens_the_one_counts_of_which_least_is_left() {
        let headroom = of(&[
            ("date", "Tue, 30 Jun 2026 23:59:31 GMT"),
            ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3999"),
            ("anthropic-ratelimit-requests-reset", "2026-06-30T23:59:31Z"),
            ("anthropic-ratelimit-tokens-limit", "2400000"),
            ("anthropic-ratelimit-tokens-remaining", "400000"),
            ("anthropic-ratelimit-tokens-reset", "2026-07-01T00:00:31Z"),
            ("anthropic-ratelimit-output-tokens-limit", "400000"),
            ("anthropic-ratelimit-output-tokens-remaining", "0"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-07-01T01:59:43+02:00"),
            ("anthropic-ratelimit-input-tokens-limit", "2000000"),
            ("anthropic-ratelimit-input-tokens-remaining", "400000"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-06-30T23:59:59Z"),
        ]);
        assert_eq!((headroom.requests, headroom.tokens), (left(3_999, 4_000, 0), left(0, 400_000, 12_000)));
    }

    #[test]
    fn mistral_names_the_minute_and_the_size() {
        let headroom = of(&[
            ("x-ratelimit-limit-req-minute", "300"),
            ("x-ratelimit-remaining-req-minute", "299"),
            ("x-ratelimit-remaining-tokens-minute", "1999936"),
            ("x-ratelimit-remaining-tokens-month", "12"),
        ]);
        assert_eq!(headroom.requests, Some(Left { remaining: 299, limit: Some(300), resets_in: None }));
        assert_eq!(headroom.tokens, bare(12));
        let sized = of(&[
            ("ratelimitbysize-limit", "500000"),
            ("ratelimitbysize-remaining", "499000"),
            ("ratelimitbysize-reset", "26"),
            ("x-ratelimitbysize-remaining-month", "999999"),
        ]);
        assert_eq!((sized.requests, sized.tokens), (None, left(499_000, 500_000, 26_000)));
    }

    #[test]
    fn the_plain_names_tell_of_requests() {
        let together = [("x-ratelimit-limit", "2"), ("x-ratelimit-remaining", "0.5"), ("x-ratelimit-reset", "2")];
        assert_eq!(of(&together).requests, left(0, 2, 2_000));
        let cohere = of(&[("x-trial-endpoint-call-limit", "20"), ("x-trial-endpoint-call-remaining", "19")]);
        assert_eq!(cohere.requests, Some(Left { remaining: 19, limit: Some(20), resets_in: None }));
    }

    #[test]
    fn fireworks_tells_prompt_and_answer_apart_and_whether_it_is_over() {
        let headroom = of(&[
            ("x-ratelimit-limit-requests", "600"),
            ("x-ratelimit-remaining-requests", "599"),
            ("x-ratelimit-remaining-tokens-prompt", "59000"),
            ("x-ratelimit-limit-tokens-generated", "6000"),
            ("x-ratelimit-remaining-tokens-generated", "40"),
            ("x-ratelimit-over-limit", "no"),
        ]);
        assert_eq!(headroom.requests, Some(Left { remaining: 599, limit: Some(600), resets_in: None }));
        assert_eq!(headroom.tokens, Some(Left { remaining: 40, limit: Some(6_000), resets_in: None }));
        assert_eq!(of(&[("x-ratelimit-over-limit", "yes")]).requests, bare(0));
        assert_eq!(of(&[("x-ratelimit-over-limit", "yes"), ("x-ratelimit-remaining-requests", "9")]).requests, bare(0));
    }

    #[test]
    fn a_reset_is_read_in_every_form() {
        let date = ("date", "Sat, 21 Nov 2026 10:00:00 GMT");
        let reset = |value| {
            let told = of(&[date, ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", value)]);
            told.requests.and_then(|left| left.resets_in).map(|time| time.as_millis())
        };
        for (text, milliseconds) in [
            ("6ms", 6),
            ("0s", 0),
            ("1m30.5s", 90_500),
            ("1h2m3s", 3_723_000),
            ("34.4", 34_400),
            ("2026-11-21T10:00:30Z", 30_000),
            ("2026-11-21T11:00:30.250+01:00", 30_250),
            ("Sat, 21 Nov 2026 10:01:00 GMT", 60_000),
            ("1795255205", 5_000),
            ("1795255205500", 5_500),
            ("2026-11-21T09:00:00Z", 0),
        ] {
            assert_eq!(reset(text), Some(milliseconds), "{text}");
        }
        for bad in ["", "soon", "-5", "2026-13-01T00:00:00Z", "1e400"] {
            assert_eq!(reset(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_a_limit_is_not_read_as_one() {
        let headroom = of(&[
            ("retry-after", "30"),
            ("x-ratelimit-reset-requests", "7"),
            ("x-ratelimit-limit-requests", "9"),
            ("x-ratelimit-remaining-whatever", "0"),
            ("x-ratelimit-policy", "0"),
            ("ratelimit", "limit=100, remaining=0, reset=50"),
        ]);
        assert_eq!(headroom, Headroom::default());
    }
}
