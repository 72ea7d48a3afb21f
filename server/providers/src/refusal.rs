//! What a provider's refusal means: one classification for every dialect.
//!
//! The order of the rules is the one that survives recorded bodies: out of money before rate limits, context before "invalid". A 400
//! is never scanned for "429" or "rate limit" alone, because providers echo the caller's text in validation errors.

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;
use tollgate_domain::{Class, Failure};

use crate::exchange::MAX_REFUSAL;

/// An error object, whatever its shape was.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) message: String,
    pub(crate) code: String,
    pub(crate) kind: String,
    /// A status that the object itself names.
    pub(crate) status: Option<u16>,
    retry_delay: Option<Duration>,
    is_flagged: bool,
    /// Why, in a word of the details (Google's `ErrorInfo`).
    reason: String,
    /// A quota of the day is used up: it does not heal in a minute (Google's `QuotaFailure`).
    is_daily: bool,
}

/// Reads a refusal with its head.
pub fn classify(status: u16, headers: &HeaderMap, body: &[u8]) -> Failure {
    let parsed = parse(body);
    let mut failure = judge(status, &parsed);
    failure.request_id = request_id(headers);
    failure.retry_after = retry_after(headers).or(failure.retry_after);
    failure.should_retry = match headers.get("x-should-retry").and_then(|v| v.to_str().ok()) {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => failure.should_retry,
    };
    failure
}

/// Reads an error that came inside an answer of status `outer` (200): in a stream, or in place of the answer.
pub fn in_band(outer: u16, object: &[u8], trusts_inner_status: bool) -> Failure {
    let parsed = parse(object);
    let inner = parsed.status.filter(|s| (400..600).contains(s));
    let mut failure = judge(inner.unwrap_or(outer), &parsed);
    failure.status = inner.filter(|_| trusts_inner_status).unwrap_or(outer);
    failure
}

/// Takes any of the shapes that providers use: `{error: {...}}`, `{error: "..."}`, a flat object, `{detail: ...}`, one of these in an
/// array, or no JSON at all.
pub(crate) fn parse(body: &[u8]) -> Parsed {
    // As a tree it takes many times its bytes: what is larger than a refusal may be is not made one.
    let tree = (body.len() <= MAX_REFUSAL).then(|| serde_json::from_slice::<Value>(body).ok());
    let Some(mut value) = tree.flatten() else {
        return Parsed { message: plain_text(body), ..Parsed::default() };
    };
    if let Value::Array(items) = &mut value
        && items.len() == 1
    {
        value = items.remove(0);
    }
    let text = |v: Option<&Value>| match v {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Number(n)) => n.to_string(),
        Some(Value::Null) | None => String::new(),
        Some(Value::Array(items)) if items.iter().any(|item| item["msg"].is_string()) => violations(items),
        Some(Value::Object(object)) if object.get("detail").is_some_and(Value::is_array) => {
            violations(object["detail"].as_array().into_iter().flatten())
        }
        Some(other) => other.to_string(),
    };
    let object = match &value["error"] {
        error @ Value::Object(_) => error,
        _ => &value,
    };
    let message = match (&object["message"], &value["error"], &value["detail"]) {
        (message @ Value::String(_), ..) => text(Some(message)),
        (_, error @ Value::String(_), _) => text(Some(error)),
        (message, _, Value::Null) => text(Some(message)),
        (.., detail) => text(Some(detail)),
    };
    let code = text(object.get("code"));
    let number = |v: &Value| v.as_u64().and_then(|n| u16::try_from(n).ok());
    let names = ["status_code", "raw_status_code", "code"];
    let status = names.iter().find_map(|name| number(&object[*name]));
    let details = || object["details"].as_array().into_iter().flatten();
    let delay = details().find_map(|d| d["retryDelay"].as_str());
    let quotas = details().filter_map(|d| d["violations"].as_array()).flatten();
    Parsed {
        message: scrub(&message),
        // Google's word stands in `status`.
        kind: text(object.get("type").or(object.get("status").filter(|status| status.is_string()))),
        status,
        retry_delay: delay.and_then(duration),
        reason: details().find_map(|d| d["reason"].as_str()).unwrap_or_default().to_owned(),
        is_daily: quotas.filter_map(|v| v["quotaId"].as_str()).any(|id| id.contains("PerDay")),
        is_flagged: object["metadata"].get("flagged_input").is_some() || object["metadata"].get("reasons").is_some(),
        code,
    }
}

/// Findings of a validator, without the input that they repeat: the caller's words would be judged as the provider's.
fn violations<'a>(items: impl IntoIterator<Item = &'a Value>) -> String {
    let violation = |item: &Value| {
        let at = item["loc"].as_array().into_iter().flatten();
        let at: Vec<String> = at.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
        format!("{}: {}", at.join("."), item["msg"].as_str().unwrap_or_default())
    };
    items.into_iter().map(violation).collect::<Vec<_>>().join("; ")
}

fn plain_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4_096)]);
    let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map(|(title, _)| title);
    scrub(title.unwrap_or(&text).trim()).chars().take(500).collect()
}

const MONEY: [&str; 8] = [
    "insufficient_quota",
    "credit balance is too low",
    "insufficient balance",
    "insufficient credits",
    "used all available credits",
    "exceeded your current quota",
    "api calls / month",
    "billing_error",
];
const CONTENT: [&str; 9] = [
    "content_filter",
    // Azure's word of images.
    "contentfilter",
    "responsibleaipolicyviolation",
    "violates usage guidelines",
    "violating our usage policy",
    "content_policy_violation",
    "safety_model_violation",
    "failed safety check",
    "moderation_blocked",
];
const CONTEXT: [&str; 18] = [
    "maximum context length",
    "context_length_exceeded",
    "exceeds the context window",
    "prompt is too long",
    "exceed context limit",
    "input is too long",
    "exceeds the maximum number of tokens",
    "too large for model with",
    "too many tokens: total number",
    "maximum prompt length",
    "reduce the length of the messages",
    "`inputs` tokens + `max_new_tokens`",
    "input length exceeds maximum context",
    "available context size",
    "current length is",
    "exceeded model token limit",
    "context window exceeds limit",
    "exceeds the available context",
];
const BAD_KEY: [&str; 4] = ["api_key_invalid", "incorrect api key", "invalid_api_key", "invalid api key"];
const NO_MODEL: [&str; 3] = ["not a valid model id", "model identifier is invalid", "model_not_found"];
const OVERLOADED: [&str; 4] = ["overloaded", "over capacity", "at capacity", "capacity exceeded"];

/// A text without what stands between quotation marks: an apostrophe inside a word is none.
fn without_quotes(text: &str) -> String {
    let mut left = String::with_capacity(text.len());
    let mut open: Option<char> = None;
    let mut before = ' ';
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_word = |c: char| c.is_alphanumeric();
        match open {
            Some(mark) => {
                if letter == mark && !letters.peek().copied().is_some_and(is_word) {
                    open = None;
                }
            }
            None if matches!(letter, '\'' | '"') && !is_word(before) => open = Some(letter),
            None => left.push(letter),
        }
        before = letter;
    }
    left
}

fn judge(status: u16, parsed: &Parsed) -> Failure {
    let everything = format!("{} {} {} {}", parsed.code, parsed.kind, parsed.reason, parsed.message).to_lowercase();
    let says = |markers: &[&str]| markers.iter().any(|m| everything.contains(m));
    let bad_request = matches!(status, 400 | 422);
    // What a provider quotes of a request that it finds wrong is the caller's: it must not pass for a verdict on the account.
    let unquoted = match bad_request {
        true => format!("{} {} {} {}", parsed.code, parsed.kind, parsed.reason, without_quotes(&parsed.message)),
        false => everything.clone(),
    };
    let unquoted = unquoted.to_lowercase();
    let judges = |markers: &[&str]| markers.iter().any(|m| unquoted.contains(m));
    // OpenAI's Responses name what went wrong in the code alone.
    let kind = match parsed.kind.as_str() {
        "" | "error" => parsed.code.as_str(),
        kind => kind,
    };
    // Google says of every rate limit that the quota is exceeded, and sends the caller to a page on billing.
    let is_out_of_money = match kind {
        "RESOURCE_EXHAUSTED" => parsed.is_daily,
        _ => status == 402 || judges(&MONEY),
    };
    let class = if judges(&CONTENT) || (status == 403 && (parsed.is_flagged || everything.contains("flagged"))) {
        Class::ContentFilter
    } else if is_out_of_money {
        Class::QuotaExceeded
    } else if status == 413 {
        Class::RequestTooLarge
    } else if (bad_request || status == 200) && says(&CONTEXT) && !everything.contains("string_above_max_length") {
        Class::ContextLength
    } else if (bad_request || status == 200) && judges(&BAD_KEY) {
        Class::Authentication
    } else if (bad_request || status == 200) && judges(&NO_MODEL) {
        Class::NotFound
    } else {
        match (status, kind) {
            (429, _) | (200, "rate_limit_error" | "rate_limit_exceeded" | "rate_limited" | "tokens" | "requests") => {
                Class::RateLimit
            }
            (408 | 504 | 524, _) | (200, "timeout_error") => Class::Timeout,
            (503 | 529 | 498, _) | (200, "overloaded_error") => Class::Overloaded,
            (401, _) | (200, "authentication_error") => Class::Authentication,
            // Google: not offered where the account is.
            (403, _) | (200, "permission_error") | (400, "FAILED_PRECONDITION") => Class::Permission,
            (404, _) | (200, "not_found_error") => Class::NotFound,
            (200, "request_too_large") => Class::RequestTooLarge,
            (200, said) if said.starts_with("invalid_") => Class::InvalidRequest,
            (200, _) if says(&OVERLOADED) => Class::Overloaded,
            (200, _) | (424 | 500.., _) => Class::ServerError,
            // A redirect: the destination comes from the configuration alone, so nobody follows it.
            (300..=399, _) => Class::UpstreamProtocol,
            _ => Class::InvalidRequest,
        }
    };
    let repeats_status = parsed.code.is_empty() || parsed.code.parse::<u16>().is_ok_and(|code| code == status);
    let native_code = if repeats_status && !parsed.kind.is_empty() { &parsed.kind } else { &parsed.code };
    // The model's own slip: a second try may pass.
    let should_retry = (parsed.code == "tool_use_failed").then_some(true);
    let message = match parsed.message.is_empty() {
        true => format!("the provider answered {status} without saying why"),
        false => parsed.message.clone(),
    };
    Failure {
        status,
        native_code: native_code.clone(),
        should_retry,
        retry_after: parsed.retry_delay,
        ..Failure::new(class, message)
    }
}

/// The provider's request id, by whichever name it sends it.
pub fn request_id(headers: &HeaderMap) -> String {
    const NAMES: [&str; 7] = [
        "x-request-id",
        "request-id",
        "apim-request-id",
        "x-amzn-requestid",
        "mistral-correlation-id",
        "x-debug-trace-id",
        "x-generation-id",
    ];
    let found = NAMES.iter().find_map(|name| headers.get(*name)?.to_str().ok().filter(|id| !id.is_empty()));
    found.unwrap_or_default().to_owned()
}

/// `retry-after-ms`, else `retry-after` in seconds (perhaps fractional) or as a moment (RFC 9110, 10.2.3), by the server's own `date`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    if let Some(ms) = text("retry-after-ms").and_then(|t| t.trim().parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(ms / 1_000.0).ok();
    }
    let stated = text("retry-after")?;
    duration(stated).or_else(|| {
        let moment = |text: &str| httpdate::parse_http_date(text).ok();
        moment(stated)?.duration_since(moment(text("date")?)?).ok()
    })
}

/// Reads `6ms`, `34.4s`, `1m30.5s`, `1h2m3s` and plain seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        let (scale, length) = match &rest[digits..] {
            "" => (1.0, 0),
            unit if unit.starts_with("ms") => (0.001, 2),
            unit if unit.starts_with('s') => (1.0, 1),
            unit if unit.starts_with('m') => (60.0, 1),
            unit if unit.starts_with('h') => (3_600.0, 1),
            _ => return None,
        };
        seconds += number * scale;
        rest = &rest[digits + length..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// Takes keys out of a provider's words: they like to repeat what they were sent.
pub(crate) fn scrub(text: &str) -> String {
    const PREFIXES: [&str; 6] = ["sk-", "tg-", "gsk_", "xai-", "Bearer ", "AIza"];
    let is_key = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
    PREFIXES.iter().fold(text.to_owned(), |text, prefix| {
        // Written anew rather than edited in place: a text of nothing but keys is read once for each prefix, however long it is.
        let mut clean = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some((before, key)) = rest.split_once(prefix) {
            let (key, after) = key.split_at(key.find(|c| !is_key(c)).unwrap_or(key.len()));
            clean.push_str(before);
            if key.len() >= 6 {
                clean.push_str("<hidden>");
                rest = after;
            } else {
                clean.push_str(prefix);
                rest = &rest[before.len() + prefix.len()..];
            }
        }
        clean.push_str(rest);
        clean
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_read_in_every_form() {
        let read = |text| duration(text).map(|d| d.as_millis());
        assert_eq!(read("6ms"), Some(6));
        assert_eq!(read("34.4s"), Some(34_400));
        assert_eq!(read("1m30.5s"), Some(90_500));
        assert_eq!(read("12"), Some(12_000));
        for bad in ["", "soon", "-5", "5x", "1e400"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_time_to_wait_is_read_from_either_header_and_from_a_date() {
        let read = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
            retry_after(&pairs.collect()).map(|d| d.as_millis())
        };
        assert_eq!(read(&[("retry-after-ms", "250"), ("retry-after", "7")]), Some(250));
        assert_eq!(read(&[("retry-after-ms", "soon"), ("retry-after", "7")]), Some(7_000));
        let (now, then) = ("Sat, 21 Nov 2026 10:00:00 GMT", "Sat, 21 Nov 2026 10:00:30 GMT");
        assert_eq!(read(&[("retry-after", then), ("date", now)]), Some(30_000));
        assert_eq!(read(&[("retry-after", now), ("date", then)]), None, "that is over");
        assert_eq!(read(&[("retry-after", then)]), None);
        assert_eq!(read(&[("retry-after", "-3")]), None);
    }

    #[test]
    fn every_providers_request_id_is_found() {
        let of = |name: &'static str, id: &'static str| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(id))
        };
        let names = [
            ("OpenAI, Groq, Together, Fireworks, xAI, vLLM", "x-request-id"),
            ("Azure", "apim-request-id"),
            ("Anthropic", "request-id"),
            ("Bedrock", "x-amzn-requestid"),
            ("Mistral", "mistral-correlation-id"),
            ("Cohere", "x-debug-trace-id"),
            ("OpenRouter", "x-generation-id"),
        ];
        for (provider, name) in names {
            assert_eq!(request_id(&HeaderMap::from_iter([of(name, "id-1")])), "id-1", "{provider}");
            let beside_an_empty_one = HeaderMap::from_iter([of("x-request-id", ""), of(name, "id-1")]);
            assert!(name == "x-request-id" || request_id(&beside_an_empty_one) == "id-1", "{provider}");
        }
        assert_eq!(request_id(&HeaderMap::new()), "");
    }

    #[test]
    fn keys_never_survive_in_a_providers_words() {
        let text =
            "Incorrect API key provided: sk-tollg**********test. Bearer abcdef123 tg-0123456789 is bad; sk-a is short";
        let clean = scrub(text);
        assert!(!clean.contains("tollg") && !clean.contains("abcdef") && !clean.contains("0123456"), "{clean}");
        assert!(clean.contains("sk-a is short"));
    }

    #[test]
    fn a_text_of_nothing_but_keys_is_cleaned_in_time_and_one_without_end_is_told_shortly() {
        // In time that grows with the square of its length this would take hours.
        assert_eq!(scrub(&"sk-live00 ".repeat(1_000_000)), "<hidden> ".repeat(1_000_000));
        let endless = format!(r#"{{"message":"{}"}}"#, "x".repeat(MAX_REFUSAL));
        assert!(in_band(200, endless.as_bytes(), false).message.len() <= 500);
    }

    #[test]
    fn findings_of_a_validator_are_told_without_the_words_that_they_repeat() {
        let finding = r#"{"type":"missing","loc":["body","messages",0],"msg":"Field required","input":"violates usage guidelines"}"#;
        for body in [format!(r#"{{"detail":[{finding}]}}"#), format!(r#"{{"message":{{"detail":[{finding}]}}}}"#)] {
            let failure = classify(422, &HeaderMap::new(), body.as_bytes());
            assert_eq!(failure.message, "body.messages.0: Field required");
            assert_eq!(failure.class, Class::InvalidRequest);
        }
    }

    #[test]
    fn googles_refusals_are_told_apart_by_their_words() {
        let quota = |id: &str| {
            format!(
                r#"{{"error":{{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED",
                "details":[{{"violations":[{{"quotaId":"{id}"}}]}},{{"retryDelay":"34s"}}]}}}}"#
            )
        };
        let located =
            r#"{"error":{"code":400,"message":"User location is not supported","status":"FAILED_PRECONDITION"}}"#;
        for (status, body, class, code) in [
            (429, quota("RequestsPerMinutePerModel"), Class::RateLimit, "RESOURCE_EXHAUSTED"),
            (429, quota("RequestsPerDayPerModel"), Class::QuotaExceeded, "RESOURCE_EXHAUSTED"),
            (400, located.to_owned(), Class::Permission, "FAILED_PRECONDITION"),
        ] {
            let failure = classify(status, &HeaderMap::new(), body.as_bytes());
            assert_eq!((failure.class, failure.native_code.as_str()), (class, code), "{body}");
        }
    }

    #[test]
    fn what_a_provider_quotes_of_the_request_is_no_verdict_on_the_account() {
        let said = |message: &str| {
            let body = serde_json::json!({"error": {"message": message, "type": "invalid_request_error"}});
            classify(400, &HeaderMap::new(), body.to_string().as_bytes()).class
        };
        for quoted in
            ["insufficient_quota", "incorrect api key", "model_not_found", "content_filter", "it's billing_error"]
        {
            assert_eq!(
                said(&format!("Invalid value: '{quoted}'. Supported values are: 'low'.")),
                Class::InvalidRequest
            );
            assert_eq!(said(&format!("Invalid value: \"{quoted}\".")), Class::InvalidRequest, "{quoted}");
        }
        assert_eq!(said("Incorrect API key provided: x. It's at console.example."), Class::Authentication);
        assert_eq!(said("Your credit balance is too low; don't worry."), Class::QuotaExceeded);
    }

    #[test]
    fn a_validation_error_that_quotes_rate_limit_stays_what_it_is() {
        let body = br#"{"error":{"message":"messages[0]: 'hit the rate limit 429' is invalid","type":"invalid_request_error"}}"#;
        assert_eq!(classify(400, &HeaderMap::new(), body).class, Class::InvalidRequest);
    }
}
