//! The one table from a reason to a gRPC code, and from an error to a status with its details.

use prost::Message;
use tollgate_domain::{CallId, Error, Retry};
use tollgate_proto::{ERROR_DOMAIN, v1::ErrorReason};
use tollgate_redact::clean;
use tonic::{Code, Status};
use tonic_types::pb;

/// The gRPC code of a reason: what the caller should do about it.
pub(crate) fn code(reason: ErrorReason) -> Code {
    use ErrorReason::*;
    match reason {
        ApiKeyMissing | ApiKeyInvalid | ApiKeyExpired | ApiKeyRevoked => Code::Unauthenticated,
        ApiKeyBlocked | RoleNotAllowed | ModelNotAllowed | RightsExceeded => Code::PermissionDenied,
        ModelNotFound | ResourceNotFound => Code::NotFound,
        InvalidField | UnsupportedField | ContextWindowExceeded | ProviderRefusedRequest => Code::InvalidArgument,
        ContentBlocked | CallCostCeiling | PriceUnknown | IdempotencyMismatch | ResourceInUse | NoRoute => {
            Code::FailedPrecondition
        }
        EtagMismatch | IdempotencyReplayUnavailable => Code::Aborted,
        AlreadyExists => Code::AlreadyExists,
        BudgetExhausted | BudgetHeld | RateLimited | RequestTooLarge => Code::ResourceExhausted,
        ProviderRateLimited
        | ProviderQuotaExceeded
        | ProviderOverloaded
        | ProviderFailed
        | ProviderTimeout
        | ProviderProtocol
        | StreamTruncated
        | Overloaded
        | LedgerUnavailable
        | StoreUnavailable => Code::Unavailable,
        ProviderCredential | ProviderModelUnavailable | Internal | Unspecified => Code::Internal,
        DeadlineExceeded => Code::DeadlineExceeded,
        Cancelled => Code::Cancelled,
        RouteNotFound => Code::Unimplemented,
    }
}

/// The status of an error, with `google.rpc` details.
pub(crate) fn status(error: Error) -> Status {
    with_request(error, None)
}

/// The same, with the id under which the call is on record.
pub(crate) fn status_of(call: CallId) -> impl Fn(Error) -> Status + Clone {
    move |error| with_request(error, Some(call))
}

/// Takes out what looks like a secret: callers and providers put them where they are repeated.
fn cleaned(mut error: Error) -> Error {
    clean(&mut error.message);
    error.metadata.iter_mut().for_each(|(_, value)| clean(value));
    for violation in &mut error.violations {
        clean(&mut violation.field);
        clean(&mut violation.description);
    }
    error
}

fn with_request(error: Error, call: Option<CallId>) -> Status {
    let error = cleaned(error);
    let code = code(error.reason);
    let metadata = error.metadata.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    let mut details = vec![any(
        "ErrorInfo",
        &pb::ErrorInfo { reason: error.reason.wire_name().to_owned(), domain: ERROR_DOMAIN.to_owned(), metadata },
    )];
    if let Some(call) = call {
        details.push(any("RequestInfo", &pb::RequestInfo { request_id: call.to_string(), ..Default::default() }));
    }
    if let Retry::After(after) = error.retry {
        let delay = prost_types::Duration { seconds: after.as_secs() as i64, nanos: after.subsec_nanos() as i32 };
        details.push(any("RetryInfo", &pb::RetryInfo { retry_delay: Some(delay) }));
    }
    if !error.violations.is_empty() {
        let violation = |v: &tollgate_domain::Violation| pb::bad_request::FieldViolation {
            field: v.field.clone(),
            description: v.description.clone(),
            ..Default::default()
        };
        let field_violations = error.violations.iter().map(violation).collect();
        details.push(any("BadRequest", &pb::BadRequest { field_violations }));
    }
    if matches!(error.reason, ErrorReason::BudgetExhausted | ErrorReason::BudgetHeld | ErrorReason::RateLimited) {
        let subject = error.metadata.iter().find(|(k, _)| *k == "scope").map(|(_, v)| v.clone()).unwrap_or_default();
        let violation =
            pb::quota_failure::Violation { subject, description: error.message.clone(), ..Default::default() };
        details.push(any("QuotaFailure", &pb::QuotaFailure { violations: vec![violation] }));
    }
    if let Some(partial) = &error.partial {
        details.push(own("PartialUsage", &**partial));
    }
    if let Some(receipt) = &error.receipt {
        details.push(own("Receipt", &**receipt));
    }
    let message = error.message;
    let body = pb::Status { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, body.encode_to_vec().into())
}

/// A detail of the contract's own.
fn own(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/tollgate.v1.{name}"), value: message.encode_to_vec() }
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value: message.encode_to_vec() }
}
