use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;
use tollgate_domain::{CallId, Secret};
use tollgate_proto::v1::{CompletionRequest, CreateEmbeddingRequest, GatewayOptions, Original};
use tollgate_providers::Mode;
use tollgate_router::Deployment;

use crate::QuotaCell;

/// One call as a door hands it over, validated once.
#[derive(Clone)]
pub struct Call {
    /// Its id.
    pub id: CallId,
    /// `completion.create`, `completion.stream`, `embedding.create`: the action of its record.
    pub action: &'static str,
    /// What came as the caller's key.
    pub credential: Option<Secret>,
    /// The caller's address.
    pub peer: Option<String>,
    /// When the caller gives up.
    pub deadline: Option<Instant>,
    /// What is asked.
    pub request: Request,
    /// Of a call that is made again without its body: what the router was told of it.
    pub again: Option<Again>,
    /// How its limits stand, once it is admitted.
    pub quota: QuotaCell,
    /// Whether its answer is complete and booked.
    pub billed: Billed,
}

/// What the router was told of a call that its body would tell.
#[derive(Clone, Copy, Debug)]
pub struct Again {
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// What it stuck to a deployment by.
    pub sticky: Option<u64>,
}

/// Whether a call's answer is complete and booked: from then on its idempotency key is taken, whatever happens to its caller.
#[derive(Clone, Debug, Default)]
pub struct Billed(Arc<AtomicBool>);

impl Billed {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What is asked.
#[derive(Clone)]
pub enum Request {
    /// A completion, whole or streamed.
    Completion(Arc<CompletionRequest>, Mode),
    /// Embeddings.
    Embedding(Arc<CreateEmbeddingRequest>),
}

impl Call {
    /// The model alias that is asked for.
    pub fn model(&self) -> &str {
        match &self.request {
            Request::Completion(request, _) => request.model(),
            Request::Embedding(request) => request.model(),
        }
    }

    /// Wishes to the gateway.
    pub fn options(&self) -> Option<&GatewayOptions> {
        match &self.request {
            Request::Completion(request, _) => request.tollgate.as_ref(),
            Request::Embedding(request) => request.tollgate.as_ref(),
        }
    }

    /// Whether the reply shall tell its route.
    pub(crate) fn wants_routing(&self) -> bool {
        self.options().is_some_and(|o| o.want_routing)
    }

    /// Whether a deployment leaves out what its provider cannot heed.
    pub(crate) fn drops_params(&self, deployment: &Deployment) -> bool {
        self.options().and_then(|o| o.drop_params).unwrap_or(deployment.drop_params)
    }

    /// The caller's own end user.
    pub(crate) fn user(&self) -> Option<&str> {
        match &self.request {
            Request::Completion(request, _) => request.user.as_deref(),
            Request::Embedding(request) => request.user.as_deref(),
        }
    }

    fn original(&self) -> Option<&Original> {
        match &self.request {
            Request::Completion(request, _) => request.original.as_ref(),
            Request::Embedding(request) => request.original.as_ref(),
        }
    }

    /// The request as received: the caller's own bytes where there are such, else its protobuf form.
    pub(crate) fn body(&self) -> Bytes {
        match (self.original(), &self.request) {
            (Some(original), _) => original.body.clone(),
            (None, Request::Completion(request, _)) => request.encode_to_vec().into(),
            (None, Request::Embedding(request)) => request.encode_to_vec().into(),
        }
    }
}
