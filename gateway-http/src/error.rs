//! Errors in OpenAI's shape, by one table from the contract's reasons.

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use prost::Message;
use serde_json::{Value, json};
use tollgate_proto::v1::{ErrorReason, Receipt};
use tollgate_redact::redact;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt, pb};

use crate::{
    chat::{receipt_text, tell_receipt},
    openai::Invalid,
    quota,
};

/// An error as an OpenAI client expects it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    kind: &'static str,
    code: Option<String>,
    pub(crate) param: Option<String>,
    pub(crate) message: String,
    retry_after: Option<Duration>,
    /// Of a rate limit: what it counts, and the limit.
    limited: Option<(&'static str, String)>,
    is_final: bool,
    /// The call's id in ledger and audit log.
    request_id: Option<String>,
    /// Its attempts, where it asked for them.
    route: Option<String>,
    /// The promise that the audit log holds it, where the call asked for one.
    receipt: Option<Box<Receipt>>,
}

/// HTTP status, type and code of a reason. The same figures stand in `error.proto`.
fn table(reason: ErrorReason) -> (u16, &'static str, Option<&'static str>) {
    use ErrorReason::*;
    const INVALID: &str = "invalid_request_error";
    match reason {
        ApiKeyMissing | ApiKeyInvalid => (401, "authentication_error", Some("invalid_api_key")),
        ApiKeyExpired => (401, "authentication_error", Some("expired_api_key")),
        ApiKeyRevoked => (401, "authentication_error", Some("revoked_api_key")),
        ApiKeyBlocked => (403, "permission_error", Some("blocked_api_key")),
        RoleNotAllowed => (403, "permission_error", Some("role_not_allowed")),
        ModelNotAllowed => (403, "permission_error", Some("model_not_allowed")),
        ModelNotFound => (404, INVALID, Some("model_not_found")),
        ResourceNotFound => (404, INVALID, Some("not_found")),
        InvalidField => (400, INVALID, Some("invalid_value")),
        UnsupportedField => (400, INVALID, Some("unsupported_parameter")),
        ContextWindowExceeded => (400, INVALID, Some("context_length_exceeded")),
        RequestTooLarge => (413, INVALID, Some("request_too_large")),
        ContentBlocked => (400, INVALID, Some("content_filter")),
        EtagMismatch => (409, INVALID, Some("etag_mismatch")),
        AlreadyExists => (409, INVALID, Some("already_exists")),
        BudgetExhausted => (429, "insufficient_quota", Some("budget_exceeded")),
        BudgetHeld => (429, "rate_limit_error", Some("budget_held")),
        CallCostCeiling => (400, INVALID, Some("cost_ceiling")),
        PriceUnknown => (400, INVALID, Some("price_unknown")),
        IdempotencyMismatch => (422, INVALID, Some("idempotency_mismatch")),
        IdempotencyReplayUnavailable => (409, INVALID, Some("idempotency_replay_unavailable")),
        ProviderRateLimited => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        ProviderQuotaExceeded => (503, "api_error", Some("provider_quota_exceeded")),
        ProviderOverloaded => (503, "api_error", Some("provider_overloaded")),
        ProviderFailed => (502, "api_error", Some("provider_failed")),
        ProviderTimeout => (504, "api_error", Some("provider_timeout")),
        ProviderCredential => (502, "api_error", Some("provider_credential")),
        ProviderModelUnavailable => (502, "api_error", Some("provider_model_unavailable")),
        ProviderProtocol => (502, "api_error", Some("provider_protocol")),
        StreamTruncated => (502, "api_error", Some("stream_truncated")),
        ProviderRefusedRequest => (400, INVALID, Some("invalid_value")),
        DeadlineExceeded => (504, "api_error", Some("deadline_exceeded")),
        Overloaded => (503, "api_error", Some("overloaded")),
        LedgerUnavailable => (503, "api_error", Some("ledger_unavailable")),
        RateLimited => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        RightsExceeded => (403, "permission_error", Some("rights_exceeded")),
        ResourceInUse => (409, INVALID, Some("resource_in_use")),
        StoreUnavailable => (503, "api_error", Some("store_unavailable")),
        NoRoute => (400, "invalid_request_error", Some("no_route")),
        RouteNotFound => (404, INVALID, Some("unknown_url")),
        Cancelled => (499, "api_error", Some("cancelled")),
        Internal | Unspecified => (500, "server_error", None),
    }
}

/// The HTTP status by which REST answers a reason.
pub fn http_status(reason: ErrorReason) -> u16 {
    table(reason).0
}

/// Where there is no reason: a status that the transport made.
fn by_code(code: Code) -> (u16, &'static str, Option<&'static str>) {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition => (400, "invalid_request_error", None),
        Code::Unauthenticated => (401, "authentication_error", None),
        Code::PermissionDenied => (403, "permission_error", None),
        Code::NotFound | Code::Unimplemented => (404, "invalid_request_error", None),
        Code::OutOfRange => (413, "invalid_request_error", Some("request_too_large")),
        Code::ResourceExhausted => (429, "rate_limit_error", None),
        Code::Unavailable => (503, "api_error", Some("unavailable")),
        Code::DeadlineExceeded => (504, "api_error", Some("deadline_exceeded")),
        Code::Cancelled => (499, "api_error", Some("cancelled")),
        _ => (500, "server_error", None),
    }
}

impl Refusal {
    pub(crate) fn new(status: u16, kind: &'static str, code: &str, message: impl Into<String>) -> Self {
        let (code, message): (_, String) = (Some(code.to_owned()), message.into());
        Self {
            status,
            kind,
            code,
            param: None,
            // What looks like a secret is not repeated, wherever it stood.
            message: redact(&message).into_owned(),
            retry_after: None,
            limited: None,
            is_final: false,
            request_id: None,
            route: None,
            receipt: None,
        }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes, the gateway's limit");
        Self::new(413, "invalid_request_error", "request_too_large", message)
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Names the parameter that it is about.
    pub(crate) fn about(mut self, param: &str) -> Self {
        self.param = Some(redact(param).into_owned());
        self
    }

    /// Names the parameter that it is about where what that names does not exist, or cannot be: of a key that is refused it says nothing.
    pub(crate) fn about_named(self, param: &str) -> Self {
        match self.status {
            400 | 404 | 409 | 413 => self.about(param),
            _ => self,
        }
    }

    /// Another one in its place where it has this status.
    pub(crate) fn or(self, status: u16, other: impl FnOnce() -> Self) -> Self {
        if self.status == status { other() } else { self }
    }

    pub(crate) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    pub(crate) fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The same in other words.
    pub(crate) fn worded(self, words: impl FnOnce(&str) -> String) -> Self {
        Self { message: words(&self.message), ..self }
    }

    pub(crate) fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// In the names of the Responses API.
    pub(crate) fn in_responses(mut self) -> Self {
        self.param = self.param.map(|param| match param.as_str() {
            "max_completion_tokens" | "max_tokens" => "max_output_tokens".to_owned(),
            "response_format" => "text.format".to_owned(),
            "verbosity" => "text.verbosity".to_owned(),
            "reasoning_effort" => "reasoning.effort".to_owned(),
            "messages" => "input".to_owned(),
            _ => param,
        });
        self
    }

    /// The promise that the audit log holds it, as headers have it.
    pub(crate) fn receipt(&self) -> Option<String> {
        self.receipt.as_deref().map(receipt_text)
    }

    /// The `error` object.
    pub(crate) fn body(&self) -> String {
        self.object().to_string()
    }

    /// The same as the last event of a stream, where no header can tell more.
    pub(crate) fn event(&self) -> String {
        let mut event = self.object();
        if let Some(receipt) = self.receipt() {
            event["tollgate"] = json!({ "receipt": receipt });
        }
        event.to_string()
    }

    fn object(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }
}

/// The receipt among the details of a failure.
fn receipt_in(status: &Status) -> Option<Receipt> {
    // The shim refuses much by itself, which has no details.
    let details = Some(status.details()).filter(|details| !details.is_empty())?;
    let told = pb::Status::decode(details).ok()?.details;
    let receipt = told.iter().find(|any| any.type_url.ends_with("/tollgate.v1.Receipt"))?;
    Receipt::decode(receipt.value.as_slice()).ok()
}

/// Why a call failed, where the contract says so.
pub(crate) fn reason_of(status: &Status) -> Option<ErrorReason> {
    let details = status.get_error_details();
    let reason = details.error_info().and_then(|i| ErrorReason::from_wire_name(&i.reason));
    // A channel keeps the deadline too, and calls it CANCELLED when it is first.
    reason.or_else(|| is_timeout(status).then_some(ErrorReason::DeadlineExceeded))
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let reason = reason_of(&status);
        let (http, kind, code) = reason.map_or_else(|| by_code(status.code()), table);
        let violation = details.bad_request().and_then(|b| b.field_violations.first());
        let param = match (violation, reason) {
            (Some(violation), _) => Some(openai_name(&violation.field)),
            (None, Some(ErrorReason::ModelNotFound | ErrorReason::ModelNotAllowed)) => Some("model".to_owned()),
            (None, Some(ErrorReason::UnsupportedField)) => info.and_then(|i| i.metadata.get("field").cloned()),
            _ => None,
        };
        // A provider's own code says more than ours.
        let native = info
            .and_then(|i| i.metadata.get("nativeCode"))
            .filter(|_| matches!(reason, Some(ErrorReason::ProviderRefusedRequest | ErrorReason::ContentBlocked)));
        let is_final = matches!(
            reason,
            Some(
                ErrorReason::BudgetExhausted
                    | ErrorReason::DeadlineExceeded
                    | ErrorReason::ProviderCredential
                    | ErrorReason::ProviderModelUnavailable
                    | ErrorReason::IdempotencyMismatch
                    | ErrorReason::IdempotencyReplayUnavailable
            )
        );
        Self {
            status: http,
            kind,
            code: native.cloned().or(code.map(str::to_owned)),
            param,
            message: in_callers_words(redact(status.message()).into_owned(), &details),
            retry_after: details.retry_info().and_then(|r| r.retry_delay),
            limited: info.filter(|_| reason == Some(ErrorReason::RateLimited)).and_then(|i| {
                let of_tokens = i.metadata.get("dimension")?.starts_with("tokens");
                Some((if of_tokens { "tokens" } else { "requests" }, i.metadata.get("limit")?.clone()))
            }),
            is_final,
            request_id: details.request_info().map(|r| r.request_id.clone()),
            route: info.and_then(|i| i.metadata.get("route").cloned()),
            receipt: receipt_in(&status).map(Box::new),
        }
    }
}

fn is_timeout(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        let text = |(field, what): &(String, String)| match field.is_empty() {
            true => what.clone(),
            false => format!("{field}: {what}"),
        };
        let message = invalid.violations.iter().map(text).collect::<Vec<_>>().join("; ");
        let param =
            invalid.violations.into_iter().map(|(field, _)| redact(&field).into_owned()).find(|f| !f.is_empty());
        Self { param, ..Self::new(400, "invalid_request_error", "invalid_value", message) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, body) = (self.status, self.body());
        self.respond(status, body)
    }
}

impl Refusal {
    /// With what its headers tell in every dialect.
    pub(crate) fn respond(self, status: u16, body: String) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            let seconds = after.as_millis().div_ceil(1_000);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
            let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            headers.insert("retry-after-ms", HeaderValue::from(ms));
        }
        if let Some((unit, limit)) = &self.limited {
            quota::refused(&mut headers, unit, limit, self.retry_after);
        }
        if let Some(id) = self.request_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert("x-request-id", id.clone());
            headers.insert("x-litellm-call-id", id.clone());
            headers.insert("x-tollgate-request-id", id);
        }
        if let Some(route) = self.route.as_deref().and_then(|route| HeaderValue::from_str(route).ok()) {
            headers.insert("x-tollgate-route", route);
        }
        tell_receipt(&mut headers, self.receipt.as_deref());
        if self.is_final {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, headers, body).into_response()
    }
}

/// What callers of REST wish in a header alone.
const HEADERS: [(&str, &str); 7] = [
    ("idempotency_key", "idempotency-key"),
    ("region", "x-tollgate-region"),
    ("deployment", "x-tollgate-pin"),
    ("on_midstream_failure", "x-tollgate-on-midstream-failure"),
    ("want_routing", "x-tollgate-want-routing"),
    ("no_fallbacks", "x-tollgate-fallbacks"),
    ("receipt", "x-tollgate-receipt"),
];

/// What a caller calls one of the contract's `GatewayOptions`.
fn wish(path: &str) -> Option<&str> {
    let path = path.strip_prefix("request.").unwrap_or(path);
    let name = path.strip_prefix("tollgate.")?;
    Some(HEADERS.iter().find(|(member, _)| *member == name).map_or(name, |(_, header)| *header))
}

/// A message with the caller's names of what it wished.
fn in_callers_words(message: String, details: &ErrorDetails) -> String {
    let violations = details.bad_request().into_iter().flat_map(|bad| &bad.field_violations);
    let wishes = violations.filter_map(|violation| Some((&violation.field, wish(&violation.field)?)));
    wishes.fold(message, |message, (ours, theirs)| message.replace(ours, theirs))
}

/// The contract's field path in OpenAI's names.
fn openai_name(path: &str) -> String {
    if let Some(name) = wish(path) {
        return name.to_owned();
    }
    let path = path.strip_prefix("request.original.body:").unwrap_or(path);
    let path = path.strip_prefix("request.").unwrap_or(path);
    let path = path.replace(".parts[", ".content[").replace("_json", "");
    match path.as_str() {
        "max_output_tokens" => "max_completion_tokens".into(),
        "inputs" => "input".into(),
        "max_tokens_per_document" => "max_tokens_per_doc".into(),
        _ => match path.strip_prefix("inputs[") {
            Some(rest) => format!("input[{rest}"),
            None => path,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reason_of_the_caller_is_a_server_error() {
        for number in 1..=42 {
            let reason = ErrorReason::try_from(number).unwrap();
            let (status, ..) = table(reason);
            let is_ours = matches!(reason, ErrorReason::Internal);
            assert_eq!(status == 500, is_ours, "{reason:?}");
        }
    }

    #[test]
    fn field_paths_are_given_in_openais_names() {
        assert_eq!(openai_name("request.max_output_tokens"), "max_completion_tokens");
        assert_eq!(openai_name("request.messages[1].parts[0]"), "messages[1].content[0]");
        assert_eq!(openai_name("inputs[3]"), "input[3]");
    }

    #[test]
    fn wishes_have_the_names_that_callers_give_them() {
        for (ours, theirs) in [
            ("tollgate.fallbacks[0]", "fallbacks[0]"),
            ("request.tollgate.tags", "tags"),
            ("tollgate.drop_params", "drop_params"),
            ("request.tollgate.idempotency_key", "idempotency-key"),
            ("tollgate.region", "x-tollgate-region"),
            ("tollgate.deployment", "x-tollgate-pin"),
            ("tollgate.on_midstream_failure", "x-tollgate-on-midstream-failure"),
        ] {
            let details = ErrorDetails::with_bad_request_violation(ours, "is wrong");
            let status = Status::with_error_details(Code::InvalidArgument, format!("{ours}: is wrong"), details);
            let refusal = Refusal::from(status);
            assert_eq!((refusal.param(), refusal.message()), (Some(theirs), &*format!("{theirs}: is wrong")));
        }
    }
}
