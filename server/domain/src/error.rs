use std::{fmt, time::Duration};

use tollgate_proto::v1::{ErrorReason, PartialUsage, Receipt};

/// Whether and when the caller may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call fails again.
    Never,
    /// It may succeed, nobody knows when.
    Later,
    /// It may succeed after this time.
    After(Duration),
}

/// One bad field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Dotted path, `request.messages[1].parts[0]`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

/// Why a call did not succeed, in terms that a caller can act on. Only the doors turn it into a status.
#[derive(Clone)]
pub struct Error {
    /// Closed list, mirrored by the contract.
    pub reason: ErrorReason,
    /// For people; safe to show.
    pub message: String,
    /// Whether and when to try again.
    pub retry: Retry,
    /// Dynamic values, documented beside the reason.
    pub metadata: Vec<(&'static str, String)>,
    /// All bad fields.
    pub violations: Vec<Violation>,
    /// What the broken call cost, when it cost something.
    pub partial: Option<Box<PartialUsage>>,
    /// The promise that the audit log holds the failure, where the call asked for one.
    pub receipt: Option<Box<Receipt>>,
}

impl Error {
    /// An error that is not worth retrying.
    pub fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            retry: Retry::Never,
            metadata: Vec::new(),
            violations: Vec::new(),
            partial: None,
            receipt: None,
        }
    }

    /// Bad fields, all at once.
    pub fn invalid(violations: Vec<Violation>) -> Self {
        let told = |v: &Violation| match v.field.as_str() {
            "" => v.description.clone(),
            field => format!("{field}: {}", v.description),
        };
        let message = violations.iter().map(told).collect::<Vec<_>>().join("; ");
        Self { violations, ..Self::new(ErrorReason::InvalidField, message) }
    }

    /// One bad field.
    pub fn invalid_field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::invalid(vec![Violation { field: field.into(), description: description.into() }])
    }

    /// A resource that does not exist.
    pub fn not_found(resource: &'static str, id: &str) -> Self {
        Self::new(ErrorReason::ResourceNotFound, format!("there is no {resource} {id:?}"))
            .with("resource", resource)
            .with("id", id)
    }

    /// A defect of ours. The detail is for the log, not for the caller.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorReason::Internal, message)
    }

    /// A defect of ours that ended the call: a panic.
    pub fn defect() -> Self {
        Self::internal("a defect of the gateway ended the call; it is logged")
    }

    /// Says whether to try again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// A dynamic value.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| *k == key).map(|(_, value)| value.as_str())
    }

    /// Adds a dynamic value; empty ones are left out.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.metadata.push((key, value));
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.wire_name(), self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} {:?}", self.metadata)
    }
}

impl std::error::Error for Error {}
