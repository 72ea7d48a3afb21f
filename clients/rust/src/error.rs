//! What a call can fail with, as types: made from `google.rpc.ErrorInfo` and the other details of a status.

use std::{collections::HashMap, time::Duration};

use prost::Message;
use tollgate_proto::{
    ERROR_DOMAIN,
    v1::{ErrorReason, PartialUsage, Receipt},
};
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

/// Why a call failed. `kind` is what a program matches on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What it is.
    pub kind: ErrorKind,
    /// The code of gRPC.
    pub code: Code,
    /// The gateway's reason; absent where the transport failed.
    pub reason: Option<ErrorReason>,
    /// For people; may change.
    pub message: String,
    /// What the reason says besides: its names stand in `error.proto` with each reason.
    pub metadata: HashMap<String, String>,
    /// How long to wait before another try; absent where waiting does not help, or nobody knows.
    pub retry_after: Option<Duration>,
    /// Id of the call in the ledger and the audit log; absent for calls that did not get so far.
    pub request_id: Option<String>,
    /// What a call cost that broke after its provider had begun to bill it.
    pub partial: Option<Box<PartialUsage>>,
    /// The promise that the audit log holds the failure, where it was asked for.
    pub receipt: Option<Box<Receipt>>,
}

/// The kinds of failure. One for each reason of `error.proto`, but that reasons with one cure share a kind; `Error.reason` tells them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No key came with the call, or none that works.
    Unauthenticated,
    /// The key is blocked, its role does not include the action, or somebody would gain rights that it does not have.
    PermissionDenied,
    /// The key may not use the model.
    ModelNotAllowed {
        /// The model's name.
        model: String,
    },
    /// No model of the name is configured.
    ModelNotFound {
        /// The model's name.
        model: String,
    },
    /// What the call is about does not exist, or not for this key.
    ResourceNotFound {
        /// What it is: `key`, `budget`, ...
        resource: String,
        /// Its id.
        id: String,
    },
    /// Fields of the request are missing, malformed or out of range.
    InvalidRequest {
        /// Each with its path.
        violations: Vec<FieldViolation>,
    },
    /// No deployment of the model can do what a field asks for.
    UnsupportedField {
        /// Path of the field.
        field: String,
        /// Name of the provider in the configuration.
        provider: String,
    },
    /// The prompt does not fit the model's window.
    ContextWindowExceeded,
    /// The message is larger than the gateway takes, or than this client does.
    RequestTooLarge {
        /// What the gateway takes, in bytes; absent where it did not say.
        limit_bytes: Option<i64>,
    },
    /// A content policy refused.
    ContentBlocked,
    /// It was changed since it was read; read it again, then repeat.
    EtagMismatch,
    /// There is one of this identity.
    AlreadyExists {
        /// What it is.
        resource: String,
        /// Its id.
        id: String,
    },
    /// The budget is spent, until it is raised or its window ends.
    BudgetExceeded(Box<BudgetState>),
    /// Calls in flight hold what is left of the budget: `retry_after` tells when to try again.
    BudgetHeld(Box<BudgetState>),
    /// The worst case of the call is above the call's own `max_cost_nano_usd`.
    CallCostCeiling {
        /// What the call allows.
        max_cost_nano_usd: i64,
        /// What it needs.
        needed_nano_usd: i64,
    },
    /// A hard budget applies, and the deployment has no price.
    PriceUnknown {
        /// The model's name.
        model: String,
        /// The deployment's.
        deployment: String,
    },
    /// The idempotency key came with another request before.
    IdempotencyMismatch {
        /// The call that it came with.
        call_id: String,
    },
    /// The same call was made and billed, but its answer is no longer kept.
    IdempotencyReplayUnavailable {
        /// That call.
        call_id: String,
    },
    /// The provider failed, and so did every fallback; `Error.reason` tells how.
    Provider(Box<ProviderFailure>),
    /// The deadline passed.
    DeadlineExceeded,
    /// The call was given up.
    Cancelled,
    /// The gateway is shutting down or has too much to do; nothing was charged.
    Overloaded,
    /// The gateway cannot write down what calls cost, so it takes none; nothing was charged.
    LedgerUnavailable,
    /// The store of record cannot be reached, so nothing can be changed now.
    StoreUnavailable,
    /// Nobody answers at the address, or the connection broke.
    Unavailable,
    /// A defect of the gateway, or of whatever stands between.
    Internal,
    /// The gateway does not know this call: it is older than this client.
    RouteNotFound,
    /// A limit of the caller's own is reached: `retry_after` tells how long it lasts.
    RateLimited {
        /// What the limit is on: `key`, `team`, ...
        scope: String,
        /// How much it allows; absent where the gateway did not say.
        limit: Option<i64>,
        /// Of what: `requests_per_minute`, ...
        dimension: String,
    },
    /// It still has teams, users or keys that work.
    ResourceInUse {
        /// What it is.
        resource: String,
        /// Its id.
        id: String,
    },
    /// No deployment of the model, nor of its fallbacks, may serve the call.
    NoRoute {
        /// The model's name.
        model: String,
    },
    /// Nothing that this client knows.
    Other,
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Its path: `request.messages[0].role`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// A budget that refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetState {
    /// The budget's id.
    pub budget_id: String,
    /// What it is on, as in `key:key_0198...`.
    pub scope: String,
    /// Its limit.
    pub limit_nano_usd: i64,
    /// What is spent of it.
    pub spent_nano_usd: i64,
    /// What calls in flight hold of it.
    pub held_nano_usd: i64,
    /// What the call needs.
    pub needed_nano_usd: i64,
    /// When its window ends, RFC 3339; absent: it has none.
    pub resets_at: Option<String>,
}

/// A provider that failed, the last of those that were tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderFailure {
    /// Its name in the configuration.
    pub provider: String,
    /// Name of the deployment.
    pub deployment: String,
    /// HTTP status that it answered with; absent where none came.
    pub upstream_status: Option<i64>,
}

impl Error {
    /// The name that its class has in Tollgate's clients of every language.
    pub fn name(&self) -> &'static str {
        use ErrorReason as R;
        match (&self.kind, self.reason) {
            (ErrorKind::Provider(_), Some(reason)) => match reason {
                R::ProviderRateLimited => "ProviderRateLimited",
                R::ProviderQuotaExceeded => "ProviderQuotaExceeded",
                R::ProviderOverloaded => "ProviderOverloaded",
                R::ProviderTimeout => "ProviderTimeout",
                R::ProviderCredential => "ProviderCredential",
                R::ProviderModelUnavailable => "ProviderModelUnavailable",
                R::ProviderProtocol => "ProviderProtocol",
                R::ProviderRefusedRequest => "ProviderRefusedRequest",
                R::StreamTruncated => "StreamTruncated",
                _ => "ProviderFailed",
            },
            (kind, _) => kind.name(),
        }
    }

    /// Whether the same call may be made again as it is: the gateway did not take it, and nothing was charged.
    pub(crate) fn may_pass_later(&self) -> bool {
        self.code == Code::Unavailable
            && matches!(
                self.reason,
                None | Some(ErrorReason::Overloaded | ErrorReason::LedgerUnavailable | ErrorReason::StoreUnavailable)
            )
    }
}

impl ErrorKind {
    fn name(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "Unauthenticated",
            Self::PermissionDenied => "PermissionDenied",
            Self::ModelNotAllowed { .. } => "ModelNotAllowed",
            Self::ModelNotFound { .. } => "ModelNotFound",
            Self::ResourceNotFound { .. } => "ResourceNotFound",
            Self::InvalidRequest { .. } => "InvalidRequest",
            Self::UnsupportedField { .. } => "UnsupportedField",
            Self::ContextWindowExceeded => "ContextWindowExceeded",
            Self::RequestTooLarge { .. } => "RequestTooLarge",
            Self::ContentBlocked => "ContentBlocked",
            Self::EtagMismatch => "EtagMismatch",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::BudgetExceeded(_) => "BudgetExceeded",
            Self::BudgetHeld(_) => "BudgetHeld",
            Self::CallCostCeiling { .. } => "CallCostCeiling",
            Self::PriceUnknown { .. } => "PriceUnknown",
            Self::IdempotencyMismatch { .. } => "IdempotencyMismatch",
            Self::IdempotencyReplayUnavailable { .. } => "IdempotencyReplayUnavailable",
            Self::Provider(_) => "ProviderError",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Cancelled => "Cancelled",
            Self::Overloaded => "Overloaded",
            Self::LedgerUnavailable => "LedgerUnavailable",
            Self::StoreUnavailable => "StoreUnavailable",
            Self::Unavailable => "Unavailable",
            Self::Internal => "Internal",
            Self::RouteNotFound => "RouteNotFound",
            Self::RateLimited { .. } => "RateLimited",
            Self::ResourceInUse { .. } => "ResourceInUse",
            Self::NoRoute { .. } => "NoRoute",
            Self::Other => "TollgateError",
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        // The deadline of the client's own clock, which tonic calls a cancellation.
        if status.code() == Code::Cancelled && status.message() == TimeoutExpired(()).to_string() {
            return Self::from(Status::deadline_exceeded("the deadline passed before the gateway answered"));
        }
        // A handshake that the gateway refused, or a connection that broke: only what this side made has a cause.
        let is_broken = matches!(status.code(), Code::Unknown | Code::Cancelled);
        if is_broken && std::error::Error::source(&status).is_some() {
            return Self::from(Status::unavailable(causes(&status)));
        }
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == ERROR_DOMAIN);
        let reason = info.and_then(|info| ErrorReason::from_wire_name(&info.reason));
        let metadata = info.map(|info| info.metadata.clone()).unwrap_or_default();
        let fields = details.bad_request().map(|bad| &bad.field_violations[..]).unwrap_or_default().iter();
        let fields = fields.map(|v| FieldViolation { field: v.field.clone(), description: v.description.clone() });
        Self {
            kind: kind(reason, status.code(), &metadata, fields.collect()),
            code: status.code(),
            reason,
            message: status.message().to_owned(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            request_id: details.request_info().map(|info| info.request_id.clone()),
            partial: own(&status, "PartialUsage"),
            receipt: own(&status, "Receipt"),
            metadata,
        }
    }
}

/// What the transport says, with why: its own words are "transport error".
fn causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn kind(
    reason: Option<ErrorReason>,
    code: Code,
    metadata: &HashMap<String, String>,
    violations: Vec<FieldViolation>,
) -> ErrorKind {
    use ErrorReason as R;
    let told = |name: &str| metadata.get(name).cloned().unwrap_or_default();
    let number = |name: &str| metadata.get(name).and_then(|value| value.parse().ok());
    let Some(reason) = reason else {
        return match code {
            Code::Unauthenticated => ErrorKind::Unauthenticated,
            Code::PermissionDenied => ErrorKind::PermissionDenied,
            Code::InvalidArgument => ErrorKind::InvalidRequest { violations },
            Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
            Code::Cancelled => ErrorKind::Cancelled,
            Code::Unavailable => ErrorKind::Unavailable,
            Code::ResourceExhausted => ErrorKind::RequestTooLarge { limit_bytes: None },
            Code::Unimplemented => ErrorKind::RouteNotFound,
            Code::Internal => ErrorKind::Internal,
            _ => ErrorKind::Other,
        };
    };
    let budget = || {
        Box::new(BudgetState {
            budget_id: told("budgetId"),
            scope: told("scope"),
            limit_nano_usd: number("limitNanoUsd").unwrap_or_default(),
            spent_nano_usd: number("spentNanoUsd").unwrap_or_default(),
            held_nano_usd: number("heldNanoUsd").unwrap_or_default(),
            needed_nano_usd: number("neededNanoUsd").unwrap_or_default(),
            resets_at: metadata.get("resetTime").cloned(),
        })
    };
    match reason {
        R::ApiKeyMissing | R::ApiKeyInvalid | R::ApiKeyExpired | R::ApiKeyRevoked => ErrorKind::Unauthenticated,
        R::ApiKeyBlocked | R::RoleNotAllowed | R::RightsExceeded => ErrorKind::PermissionDenied,
        R::ModelNotAllowed => ErrorKind::ModelNotAllowed { model: told("model") },
        R::ModelNotFound => ErrorKind::ModelNotFound { model: told("model") },
        R::ResourceNotFound => ErrorKind::ResourceNotFound { resource: told("resource"), id: told("id") },
        R::InvalidField => ErrorKind::InvalidRequest { violations },
        R::UnsupportedField => ErrorKind::UnsupportedField { field: told("field"), provider: told("provider") },
        R::ContextWindowExceeded => ErrorKind::ContextWindowExceeded,
        R::RequestTooLarge => ErrorKind::RequestTooLarge { limit_bytes: number("limitBytes") },
        R::ContentBlocked => ErrorKind::ContentBlocked,
        R::EtagMismatch => ErrorKind::EtagMismatch,
        R::AlreadyExists => ErrorKind::AlreadyExists { resource: told("resource"), id: told("id") },
        R::BudgetExhausted => ErrorKind::BudgetExceeded(budget()),
        R::BudgetHeld => ErrorKind::BudgetHeld(budget()),
        R::CallCostCeiling => ErrorKind::CallCostCeiling {
            max_cost_nano_usd: number("maxCostNanoUsd").unwrap_or_default(),
            needed_nano_usd: number("neededNanoUsd").unwrap_or_default(),
        },
        R::PriceUnknown => ErrorKind::PriceUnknown { model: told("model"), deployment: told("deployment") },
        R::IdempotencyMismatch => ErrorKind::IdempotencyMismatch { call_id: told("callId") },
        R::IdempotencyReplayUnavailable => ErrorKind::IdempotencyReplayUnavailable { call_id: told("callId") },
        R::ProviderRateLimited
        | R::ProviderQuotaExceeded
        | R::ProviderOverloaded
        | R::ProviderFailed
        | R::ProviderTimeout
        | R::ProviderCredential
        | R::ProviderModelUnavailable
        | R::ProviderProtocol
        | R::ProviderRefusedRequest
        | R::StreamTruncated => ErrorKind::Provider(Box::new(ProviderFailure {
            provider: told("provider"),
            deployment: told("deployment"),
            upstream_status: number("upstreamStatus").filter(|status| *status != 0),
        })),
        R::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        R::Overloaded => ErrorKind::Overloaded,
        R::LedgerUnavailable => ErrorKind::LedgerUnavailable,
        R::StoreUnavailable => ErrorKind::StoreUnavailable,
        R::Internal => ErrorKind::Internal,
        R::Cancelled => ErrorKind::Cancelled,
        R::RouteNotFound => ErrorKind::RouteNotFound,
        R::RateLimited => {
            ErrorKind::RateLimited { scope: told("scope"), limit: number("limit"), dimension: told("dimension") }
        }
        R::ResourceInUse => ErrorKind::ResourceInUse { resource: told("resource"), id: told("id") },
        R::NoRoute => ErrorKind::NoRoute { model: told("model") },
        R::Unspecified => ErrorKind::Other,
    }
}

/// `google.rpc.Status` as far as it is read here.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// A detail that is a message of the contract.
fn own<M: Message + Default>(status: &Status, name: &str) -> Option<Box<M>> {
    let details = Details::decode(status.details()).ok()?.details;
    let any =
        details.iter().find(|any| any.type_url.strip_suffix(name).is_some_and(|url| url.ends_with("/tollgate.v1.")))?;
    M::decode(&any.value[..]).ok().map(Box::new)
}

/// The reason in a status of Tollgate's; `None` for one that the transport made.
pub fn reason(status: &Status) -> Option<ErrorReason> {
    let details = status.get_error_details();
    let info = details.error_info().filter(|i| i.domain == ERROR_DOMAIN)?;
    ErrorReason::from_wire_name(&info.reason)
}
