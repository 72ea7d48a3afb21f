//! Tollgate from Rust: completions, keys, budgets, spend and the audit log of a gateway.
//!
//! The README has a first program; it is compiled with the tests of these pages.
//!
//! Every sub-client (`client.keys()`, `client.budgets()`, ...) has short methods that speak [`Error`], repeat what may safely be repeated,
//! and turn pages by themselves; behind it (by `Deref`) stand all RPCs of its service, as [`tonic`] makes them.

mod admin;
mod calls;
mod completion;
mod connect;
mod error;
mod files;
#[cfg(feature = "json")]
pub mod json;
mod media;
mod operations;
mod reading;
mod upload;

use std::time::Duration;

pub use admin::{Budgets, Keys, Organizations, Teams, Users};
pub use completion::{Answer, CompletionStream, ToolCall, tool_result, user};
pub use connect::{Builder, Common, ConnectError, DEFAULT_ADDRESS, DEFAULT_TIMEOUT, Transport};
pub use error::{BudgetState, Error, ErrorKind, FieldViolation, ProviderFailure, reason};
pub use files::{Batches, Files};
pub use media::{Audio, EditedImages, Images, Speech, Transcription};
pub use operations::Embeddings;
pub use reading::{Audit, Models, Spend};
pub use tollgate_proto::v1;
use tollgate_proto::v1::{
    completion_service_client::CompletionServiceClient, moderation_service_client::ModerationServiceClient,
    rerank_service_client::RerankServiceClient, response_service_client::ResponseServiceClient,
    tenancy_service_client::TenancyServiceClient,
};
use tonic::transport::Channel;
pub use upload::Upload;

/// Largest message taken and sent, in bytes.
const MAX_MESSAGE_BYTES: usize = 150_000_000;

/// A connection with a key. Cheap to clone; every clone shares the connection.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    common: Common,
    timeout: Option<Duration>,
}

macro_rules! stub {
    ($self:expr, $client:ident) => {
        $client::with_interceptor($self.channel.clone(), $self.common.clone())
            .max_decoding_message_size($crate::MAX_MESSAGE_BYTES)
            .max_encoding_message_size($crate::MAX_MESSAGE_BYTES)
    };
}
pub(crate) use stub;

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident: $client:ident),+ $(,)?) => {
        $(
            $(#[$doc])*
            pub fn $name(&self) -> $client<Transport> {
                stub!(self, $client)
            }
        )+
    };
}

impl Client {
    /// Settings for a connection.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Connects as `TOLLGATE_ADDRESS` and `TOLLGATE_API_KEY` say.
    pub async fn from_env() -> Result<Self, ConnectError> {
        Self::builder().connect().await
    }

    /// Connects to a gateway, as in `http://127.0.0.1:4000`, with a virtual key.
    pub async fn connect(address: &str, key: &str) -> Result<Self, ConnectError> {
        Self::builder().address(address).key(key).connect().await
    }

    /// Over a channel that was made elsewhere.
    pub fn over(channel: Channel, key: &str) -> Result<Self, ConnectError> {
        Ok(Self { channel, common: Common::new(key)?, timeout: None })
    }

    /// The same connection with another limit on how long a call may take.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self.clone() }
    }

    /// The same connection within a trace: `parent` is the header `traceparent` of W3C's Trace Context.
    pub fn with_trace_parent(&self, parent: &str) -> Result<Self, ConnectError> {
        let mut client = self.clone();
        client.common.trace_parent(parent)?;
        Ok(client)
    }

    /// Virtual keys.
    pub fn keys(&self) -> Keys {
        Keys::new(self)
    }

    /// Teams and their members.
    pub fn teams(&self) -> Teams {
        Teams::new(self)
    }

    /// Organizations.
    pub fn organizations(&self) -> Organizations {
        Organizations::new(self)
    }

    /// Users.
    pub fn users(&self) -> Users {
        Users::new(self)
    }

    /// Budgets.
    pub fn budgets(&self) -> Budgets {
        Budgets::new(self)
    }

    /// What was spent, line by line.
    pub fn spend(&self) -> Spend {
        Spend::new(self)
    }

    /// The audit log.
    pub fn audit(&self) -> Audit {
        Audit::new(self)
    }

    /// Models and how calls to them are routed.
    pub fn models(&self) -> Models {
        Models::new(self)
    }

    /// Embeddings.
    pub fn embeddings(&self) -> Embeddings {
        Embeddings::new(self)
    }

    /// Speech and transcripts.
    pub fn audio(&self) -> Audio {
        Audio::new(self)
    }

    /// Images.
    pub fn images(&self) -> Images {
        Images::new(self)
    }

    /// Files at providers.
    pub fn files(&self) -> Files {
        Files::new(self)
    }

    /// Batches of calls.
    pub fn batches(&self) -> Batches {
        Batches::new(self)
    }

    services! {
        /// The service of completions, for what [`Client::complete`] and [`Client::stream`] leave out.
        completions: CompletionServiceClient,
        /// Rankings.
        reranks: RerankServiceClient,
        /// Moderations.
        moderations: ModerationServiceClient,
        /// Responses that are kept.
        responses: ResponseServiceClient,
        /// Organizations, teams, users, members.
        tenancy: TenancyServiceClient,
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
