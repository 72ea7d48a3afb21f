//! Heads of answers: statuses, errors, and the headers a provider adds.

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::log::{Attempt, Outcome};
use super::playback::Reply;
use super::script::Step;
use super::{anthropic, gemini, openai};

/// Which dialect a path speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    /// OpenAI's before chat.
    Text,
    Responses,
    Anthropic,
    Gemini,
}

/// A refusal in the dialect's words, or in those of the script. Nothing is billed.
pub(super) fn refuse(
    dialect: Dialect,
    mut attempt: Attempt,
    status: u16,
    message: Option<&str>,
    step: &Step,
) -> Response<Reply> {
    let request_id = attempt.record.provider_request_id.clone();
    attempt.record.status = status;
    (attempt.record.prompt_tokens, attempt.record.cached_tokens) = (0, 0);
    attempt.end(Outcome::Failed);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match &step.error {
        Some(Value::String(page)) => {
            let mut response = Response::new(Reply::Whole(Some(page.clone().into())));
            set(&mut response, header::CONTENT_TYPE, "text/html");
            *response.status_mut() = status;
            response
        }
        Some(body) => json_reply(status, body),
        None => json_reply(
            status,
            &match dialect {
                Dialect::OpenAi | Dialect::Text | Dialect::Responses => openai::error(status.as_u16(), message),
                Dialect::Anthropic => anthropic::error(status.as_u16(), message, &request_id),
                Dialect::Gemini => gemini::error(status.as_u16(), message),
            },
        ),
    };
    dress(&mut response, dialect, &request_id, step);
    response
}

/// The headers every answer of a provider carries, and those of the script.
pub(super) fn dress(response: &mut Response<Reply>, dialect: Dialect, request_id: &str, step: &Step) {
    match dialect {
        Dialect::OpenAi | Dialect::Text | Dialect::Responses => {
            set(response, HeaderName::from_static("x-request-id"), request_id);
            set(response, HeaderName::from_static("openai-version"), "2020-10-01");
        }
        Dialect::Anthropic => set(response, HeaderName::from_static("request-id"), request_id),
        Dialect::Gemini => {}
    }
    match &step.retry_after {
        Some(Value::String(text)) => set(response, header::RETRY_AFTER, text),
        Some(number) => set(response, header::RETRY_AFTER, &number.to_string()),
        None => {}
    }
    for (name, value) in &step.headers {
        if let Ok(name) = HeaderName::try_from(name.as_str()) {
            set(response, name, value);
        }
    }
}

/// Sets a header; a value HTTP cannot carry is left out.
pub(super) fn set(response: &mut Response<Reply>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A JSON document as an answer.
pub(super) fn json_reply(status: StatusCode, body: &Value) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(Some(body.to_string().into())));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, "application/json");
    response
}
