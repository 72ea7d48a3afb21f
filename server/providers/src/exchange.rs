//! One attempt, start to end: write the request, send it, read the answer.

use std::sync::Arc;

use futures::stream::BoxStream;
use tollgate_domain::Failure;
use tollgate_proto::v1::{CompletionEvent, CreateEmbeddingResponse};

use crate::{
    ChatCall, EmbedCall, Head, Provider, Target,
    transport::{Timeouts, Transport},
};

/// A provider as one deployment reaches it.
#[derive(Clone)]
pub struct Endpoint {
    /// The adapter.
    pub provider: Arc<dyn Provider>,
    /// Where to send.
    pub target: Target,
    /// Time limits.
    pub timeouts: Timeouts,
    /// What sends.
    pub transport: Transport,
}

/// The provider has accepted the call and is answering.
pub struct Answering {
    /// Head of the answer.
    pub head: Head,
    /// The provider's request id, or empty.
    pub request_id: String,
    /// Fields that were dropped on the way out.
    pub dropped: Vec<String>,
    /// The events. Ends after the answer's end or after the first failure. Dropping it closes the connection at once.
    pub events: BoxStream<'static, Result<CompletionEvent, Failure>>,
}

/// Sends `call` and waits for the answer's head.

pub async fn chat(endpoint: &Endpoint, call: &ChatCall<'_>) -> Result<Answering, Failure> {
    let _ = (endpoint, call);
    Err(Failure::new(tollgate_domain::Class::Connection, "not connected"))
}

/// Sends `call` and reads the whole answer.
pub async fn embed(endpoint: &Endpoint, call: &EmbedCall<'_>) -> Result<(Head, CreateEmbeddingResponse), Failure> {
    let _ = (endpoint, call);
    Err(Failure::new(tollgate_domain::Class::Connection, "not connected"))
}
