//! How a command ends that failed: what it says, and its status.

use std::{io, process::ExitCode};

use tollgate_client::{ConnectError, Error, ErrorKind};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The gateway refused, or could not be asked.
    #[error("{0}")]
    Refused(#[from] Error),
    /// There is no connection to make the call over.
    #[error("{}", connection(.0))]
    Connect(#[from] ConnectError),
    /// What was asked for makes no sense: names the argument.
    #[error("{0}")]
    Usage(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// The transport's own words are "transport error": its causes are what helps.
fn connection(error: &ConnectError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl Failure {
    /// The status that the program ends with: 1 something else, 2 the arguments, 3 the key, 4 nothing of the name, 5 a conflict, 6 money or a
    /// limit, 7 the gateway cannot be reached or is late, 8 the provider.
    pub fn status(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Connect(ConnectError::Key(_) | ConnectError::TraceParent) => 3,
            Self::Connect(_) => 7,
            Self::Refused(error) => match &error.kind {
                ErrorKind::InvalidRequest { .. } | ErrorKind::UnsupportedField { .. } => 2,
                ErrorKind::Unauthenticated | ErrorKind::PermissionDenied | ErrorKind::ModelNotAllowed { .. } => 3,
                ErrorKind::ResourceNotFound { .. } | ErrorKind::ModelNotFound { .. } => 4,
                ErrorKind::EtagMismatch | ErrorKind::AlreadyExists { .. } | ErrorKind::ResourceInUse { .. } => 5,
                ErrorKind::BudgetExceeded(_)
                | ErrorKind::BudgetHeld(_)
                | ErrorKind::CallCostCeiling { .. }
                | ErrorKind::RateLimited { .. } => 6,
                ErrorKind::Unavailable
                | ErrorKind::Overloaded
                | ErrorKind::LedgerUnavailable
                | ErrorKind::StoreUnavailable
                | ErrorKind::DeadlineExceeded => 7,
                ErrorKind::Provider(_) => 8,
                _ => 1,
            },
        }
    }

    /// What is said on standard error, with every bad field and how long to wait.
    pub fn told(&self) -> String {
        let mut text = self.to_string();
        if let Self::Refused(error) = self {
            if let ErrorKind::InvalidRequest { violations } = &error.kind {
                let said = text.clone();
                for violation in violations.iter().filter(|v| !said.contains(&v.description)) {
                    text += &format!("\n  {}: {}", violation.field, violation.description);
                }
            }
            if let Some(after) = error.retry_after {
                text += &format!("\n  try again in {} s", after.as_secs().max(1));
            }
            if let Some(id) = &error.request_id {
                text += &format!("\n  call {id}");
            }
        }
        text
    }

    /// The status as the program returns it.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}
