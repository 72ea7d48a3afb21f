use std::time::Duration;

use tollgate_proto::v1::{ErrorReason, Usage};

use crate::{Error, Headroom, Retry};

/// What kind of failure an attempt met. The names are those of audit records and of `Attempt.class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Class {
    /// The call asks for something that cannot be said to this provider. Nothing was sent.
    Unsupported,
    /// The provider finds the request wrong.
    InvalidRequest,
    /// It refuses our credential.
    Authentication,
    /// Our credential may not do this.
    Permission,
    /// It does not know the model.
    NotFound,
    /// The prompt does not fit the context window.
    ContextLength,
    /// The request is too large in itself: the same one can never pass.
    RequestTooLarge,
    /// Its content policy refused.
    ContentFilter,
    /// Too many requests or tokens for now.
    RateLimit,
    /// The account is out of money.
    QuotaExceeded,
    /// Out of capacity.
    Overloaded,
    /// No answer in time: ours or its own clock.
    Timeout,
    /// Could not connect, or the connection broke before the answer's head.
    Connection,
    /// It failed.
    ServerError,
    /// Bytes that break the framing or the dialect.
    UpstreamProtocol,
    /// The stream ended without its end.
    UpstreamTruncated,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = Self::UpstreamTruncated as usize + 1;

    /// The name in records: the variant's, in snake case.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The class of a name in records.
    pub fn named(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// Whether the same request at the same deployment may succeed later.
    pub fn retryable(self) -> bool {
        use Class::*;
        matches!(
            self,
            RateLimit | Overloaded | Timeout | Connection | ServerError | UpstreamProtocol | UpstreamTruncated
        )
    }

    /// Whether who failed so is left alone at once, without a number of failures that are allowed.
    pub fn is_lasting(self) -> bool {
        matches!(self, Self::Authentication | Self::Permission | Self::NotFound | Self::QuotaExceeded)
    }

    /// Whether another deployment may succeed where this one failed.
    pub fn worth_elsewhere(self) -> bool {
        !matches!(self, Class::InvalidRequest | Class::RequestTooLarge | Class::ContentFilter)
    }

    /// Whether it lies in the call itself, and says nothing about who was asked.
    pub fn is_callers(self) -> bool {
        matches!(
            self,
            Self::Unsupported
                | Self::InvalidRequest
                | Self::ContextLength
                | Self::RequestTooLarge
                | Self::ContentFilter
        )
    }

    /// Whether an answer that had begun may have been billed although nothing of it arrived: it broke, rather than being refused.
    pub fn leaves_doubt(self) -> bool {
        matches!(self, Self::Timeout | Self::UpstreamProtocol | Self::UpstreamTruncated)
    }

    fn reason(self) -> ErrorReason {
        match self {
            Self::Unsupported => ErrorReason::UnsupportedField,
            Self::InvalidRequest => ErrorReason::ProviderRefusedRequest,
            Self::Authentication | Self::Permission => ErrorReason::ProviderCredential,
            Self::NotFound => ErrorReason::ProviderModelUnavailable,
            Self::ContextLength => ErrorReason::ContextWindowExceeded,
            Self::RequestTooLarge => ErrorReason::RequestTooLarge,
            Self::ContentFilter => ErrorReason::ContentBlocked,
            Self::RateLimit => ErrorReason::ProviderRateLimited,
            Self::QuotaExceeded => ErrorReason::ProviderQuotaExceeded,
            Self::Overloaded => ErrorReason::ProviderOverloaded,
            Self::Timeout => ErrorReason::ProviderTimeout,
            Self::Connection | Self::ServerError => ErrorReason::ProviderFailed,
            Self::UpstreamProtocol => ErrorReason::ProviderProtocol,
            Self::UpstreamTruncated => ErrorReason::StreamTruncated,
        }
    }
}

/// Why one attempt at one deployment failed, as the adapter read it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind.
    pub class: Class,
    /// HTTP status, or the in-band code of an error sent with 200; 0 when no head came.
    pub status: u16,
    /// The provider's error code, or its type.
    pub native_code: String,
    /// The provider's request id.
    pub request_id: String,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// `x-should-retry`, which overrides the class.
    pub should_retry: Option<bool>,
    /// The provider's words, cleaned of credentials.
    pub message: String,
    /// Usage that it reported before it failed.
    pub usage: Option<Usage>,
    /// The request may have arrived and be billed although no answer came back.
    pub may_be_billed: bool,
    /// What the provider says is left of its limits, where it says so.
    pub headroom: Option<Box<Headroom>>,
}

impl Failure {
    /// A failure of `class` without a head.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            status: 0,
            native_code: String::new(),
            request_id: String::new(),
            retry_after: None,
            should_retry: None,
            message: message.into(),
            usage: None,
            may_be_billed: false,
            headroom: None,
        }
    }

    /// Whether the same request at the same deployment may succeed later.
    pub fn retryable(&self) -> bool {
        self.should_retry.unwrap_or_else(|| self.class.retryable())
    }

    /// The caller's view, once nothing else is left to try.
    pub fn into_error(self, provider: &str, deployment: &str, attempts: u32) -> Error {
        let retry = match (self.retryable(), self.retry_after) {
            (true, Some(after)) => Retry::After(after),
            (true, None) => Retry::Later,
            (false, _) => Retry::Never,
        };
        let field = match (self.class, self.message.split_once(": ")) {
            (Class::Unsupported, Some((field, _))) => field.to_owned(),
            _ => String::new(),
        };
        let message = match self.class {
            // The provider's words would read as if the caller's own key were wrong.
            Class::Authentication | Class::Permission => {
                "the provider refused the operator's credential for this model; your own key is fine".to_owned()
            }
            _ => self.message,
        };
        Error::new(self.class.reason(), message)
            .retry(retry)
            .with("provider", provider)
            .with("deployment", deployment)
            .with("upstreamStatus", self.status.to_string())
            .with("nativeCode", self.native_code)
            .with("attempts", attempts.to_string())
            .with("field", field)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.class.name(), self.message)
    }
}

impl std::error::Error for Failure {}
