//! Errors as LiteLLM's admin routes give them, by one table from the contract's reasons.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use serde_json::json;
use tollgate_proto::v1::ErrorReason;
use tonic::Status;

use crate::error::{Refusal, reason_of};

/// Why a route did not do it: `{"error": {"message", "type", "param", "code"}}`, the code being the status as text.
#[derive(Debug)]
pub(crate) struct Failure {
    refusal: Refusal,
    reason: Option<ErrorReason>,
}

impl Failure {
    /// A field that is wrong, and what to do about it.
    pub(crate) fn field(field: &str, what: impl AsRef<str>) -> Self {
        let message = format!("{field}: {}", what.as_ref());
        let mut refusal = Refusal::new(400, "invalid_request_error", "invalid_value", message);
        refusal.param = Some(field.to_owned());
        Self { refusal, reason: Some(ErrorReason::InvalidField) }
    }

    /// Something that is not there, by the field that names it.
    pub(crate) fn missing(what: &str, field: &str, id: &str) -> Self {
        let message = format!("there is no {what} {id:?}, or none that this key may see");
        let mut refusal = Refusal::new(404, "invalid_request_error", "not_found", message);
        refusal.param = Some(field.to_owned());
        Self { refusal, reason: Some(ErrorReason::ResourceNotFound) }
    }

    /// The same, where a route has another name for a field.
    pub(crate) fn called(mut self, field: &str, name: &str) -> Self {
        if self.refusal.param.as_deref() == Some(field) {
            self.refusal.param = Some(name.to_owned());
        }
        self
    }

    /// Whether it says that something does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        self.reason == Some(ErrorReason::ResourceNotFound)
    }

    /// Whether it says that a model does not exist.
    pub(crate) fn is_missing_model(&self) -> bool {
        self.reason == Some(ErrorReason::ModelNotFound)
    }

    /// Whether it says that, or that it is out of reach.
    pub(crate) fn is_unseen(&self) -> bool {
        self.is_missing() || self.reason == Some(ErrorReason::RoleNotAllowed)
    }
}

/// Status and type by which LiteLLM answers a reason.
fn spoken(reason: Option<ErrorReason>, status: u16) -> (u16, &'static str) {
    use ErrorReason::*;
    match reason {
        Some(ApiKeyMissing | ApiKeyBlocked) => (401, "auth_error"),
        Some(ApiKeyInvalid | ApiKeyRevoked) => (401, "token_not_found_in_db"),
        Some(ApiKeyExpired) => (401, "expired_key"),
        Some(RoleNotAllowed | RightsExceeded) => (403, "auth_error"),
        Some(ModelNotAllowed) => (403, "key_model_access_denied"),
        Some(AlreadyExists) => (400, "bad_request_error"),
        _ => match status {
            401 => (401, "auth_error"),
            403 => (403, "auth_error"),
            404 => (404, "not_found_error"),
            429 => (429, "rate_limit_error"),
            status if status >= 500 => (status, "internal_server_error"),
            status => (status, "bad_request_error"),
        },
    }
}

/// The contract's field path in LiteLLM's names.
fn litellm_name(path: &str) -> &str {
    let known = [
        ("display_name", "alias"),
        ("requests_per_minute", "rpm_limit"),
        ("tokens_per_minute", "tpm_limit"),
        ("concurrent_requests", "max_parallel_requests"),
        ("limit_nano_usd", "max_budget"),
        ("window", "budget_duration"),
        ("expire_time", "duration"),
        ("amount_nano_usd", "temp_budget_increase"),
        ("grace_seconds", "grace_period"),
        ("email", "user_email"),
        ("start_time", "start_date"),
        ("end_time", "end_date"),
    ];
    let found = known.iter().find(|(ours, _)| path.split('.').any(|part| part == *ours));
    match found {
        Some((_, theirs)) => theirs,
        None => path.rsplit('.').next().unwrap_or(path),
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, reason: None }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let reason = reason_of(&status);
        let mut refusal = Refusal::from(status);
        refusal.param = refusal.param.map(|path| litellm_name(&path).to_owned());
        Self { refusal, reason }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, kind) = spoken(self.reason, self.refusal.status);
        let param = match self.reason {
            Some(ErrorReason::ApiKeyInvalid | ErrorReason::ApiKeyRevoked) => Some("key".to_owned()),
            _ => self.refusal.param.clone(),
        };
        let error = json!({"message": self.refusal.message, "type": kind, "param": param, "code": status.to_string()});
        let mut refusal = self.refusal;
        refusal.status = status;
        let mut response = refusal.into_response();
        *response.body_mut() = Body::from(json!({"error": error}).to_string());
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_as_the_caller_named_them() {
        assert_eq!(litellm_name("key.limits.requests_per_minute"), "rpm_limit");
        assert_eq!(litellm_name("budget.window.every.seconds"), "budget_duration");
        assert_eq!(litellm_name("key.models"), "models");
        assert_eq!(litellm_name("user_id"), "user_id");
    }

    #[test]
    fn a_blocked_key_is_unauthorized_as_litellm_has_it() {
        assert_eq!(spoken(Some(ErrorReason::ApiKeyBlocked), 403), (401, "auth_error"));
        assert_eq!(spoken(Some(ErrorReason::AlreadyExists), 409), (400, "bad_request_error"));
        assert_eq!(spoken(None, 503), (503, "internal_server_error"));
    }
}
