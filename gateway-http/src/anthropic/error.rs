//! Errors in Anthropic's shape.

use axum::{
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tonic::Status;

use super::request::THREAD;
use crate::{error::Refusal, openai::Invalid};

/// An error as a client of Anthropic's expects it.
#[derive(Debug)]
pub(crate) struct Refused(Refusal);

/// What Anthropic answers when it is overloaded.
const OVERLOADED: u16 = 529;

impl Refused {
    fn status(&self) -> u16 {
        match (self.0.status(), self.0.code()) {
            (503, Some("overloaded" | "provider_overloaded")) => OVERLOADED,
            (status, _) => status,
        }
    }

    /// The word for a status.
    fn kind(&self) -> &'static str {
        match self.status() {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            504 => "timeout_error",
            OVERLOADED => "overloaded_error",
            400..500 => "invalid_request_error",
            _ => "api_error",
        }
    }

    /// In words by which clients know that a conversation must become shorter.
    fn message(&self) -> String {
        let message = self.0.message();
        let is_known = message.to_lowercase().contains("prompt is too long");
        match self.0.code() {
            Some("context_length_exceeded") if !is_known => format!("prompt is too long: {message}"),
            _ => message.to_owned(),
        }
    }

    fn body(&self) -> String {
        self.object().to_string()
    }

    /// The data of a stream's `error` event.
    pub(super) fn event(&self) -> String {
        let mut event = self.object();
        if let Some(receipt) = self.0.receipt() {
            event["tollgate"] = json!({ "receipt": receipt });
        }
        event.to_string()
    }

    fn object(&self) -> Value {
        let mut error = json!({"type": self.kind(), "message": self.message()});
        if self.0.param() == Some(THREAD) {
            // By this, clients that would have the provider hold the conversation send all of it.
            error["details"] = json!({"error_code": "thread_unsupported_request", "unsupported": [THREAD]});
        }
        json!({"type": "error", "error": error, "request_id": self.0.request_id()})
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self(status.into())
    }
}

impl From<Invalid> for Refused {
    fn from(invalid: Invalid) -> Self {
        Self(invalid.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, body) = (self.status(), self.body());
        let id = self.0.request_id().and_then(|id| HeaderValue::from_str(id).ok());
        let mut response = self.0.respond(status, body);
        if let Some(id) = id {
            response.headers_mut().insert("request-id", id);
        }
        response
    }
}
