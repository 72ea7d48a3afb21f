use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;
use tollgate_domain::{CallId, Secret};
use tollgate_proto::{
    operation::Asked,
    v1::{
        CompletionRequest, CreateEmbeddingRequest, CreateModerationRequest, CreateSpeechRequest, EditImageHead,
        GatewayOptions, GenerateImageRequest, RerankRequest, TranscriptionHead,
    },
};
use tollgate_providers::{Mode, media::MediaKind};
use tollgate_router::{Deployment, Wanted};
use tollgate_trace::Trace;

use crate::{QuotaCell, media::Files};

/// One call as a door hands it over, validated once.
#[derive(Clone)]
pub struct Call {
    /// Its id.
    pub id: CallId,
    /// `completion.create`, `embedding.create`, ...: the action of its record.
    pub action: &'static str,
    /// What came as the caller's key.
    pub credential: Option<Secret>,
    /// The caller's address.
    pub peer: Option<String>,
    /// When the caller gives up.
    pub deadline: Option<Instant>,
    /// What is asked.
    pub request: Request,
    /// Its files, where it has some.
    pub files: Option<Files>,
    /// Of a call that is made again without its body: what the router was told of it.
    pub again: Option<Again>,
    /// How its limits stand, once it is admitted.
    pub quota: QuotaCell,
    /// Whether its answer is complete and booked.
    pub billed: Billed,
    /// The trace that it belongs to.
    pub trace: Trace,
}

impl Call {
    /// What is left until its deadline; `None`: it has none.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
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
    /// A ranking.
    Rerank(Arc<RerankRequest>),
    /// A moderation.
    Moderation(Arc<CreateModerationRequest>),
    /// Images.
    Image(Arc<GenerateImageRequest>),
    /// Images, told while they are made.
    ImageStream(Arc<GenerateImageRequest>),
    /// Images of images.
    ImageEdit(Arc<EditImageHead>),
    /// A text that is spoken.
    Speech(Arc<CreateSpeechRequest>),
    /// A recording that is written down.
    Transcription(Arc<TranscriptionHead>),
}

impl Request {
    /// What all requests have.
    fn asked(&self) -> &dyn Asked {
        match self {
            Self::Completion(request, _) => &**request,
            Self::Embedding(request) => &**request,
            Self::Rerank(request) => &**request,
            Self::Moderation(request) => &**request,
            Self::Image(request) | Self::ImageStream(request) => &**request,
            Self::ImageEdit(head) => &**head,
            Self::Speech(request) => &**request,
            Self::Transcription(head) => &**head,
        }
    }

    /// The operation.
    pub(crate) fn wanted(&self) -> Wanted {
        match self {
            Self::Completion(..) => Wanted::Chat,
            Self::Embedding(_) => Wanted::Embedding,
            Self::Rerank(_) => Wanted::Rerank,
            Self::Moderation(_) => Wanted::Moderation,
            Self::Image(_) => Wanted::Image,
            Self::ImageStream(_) => Wanted::Media(MediaKind::ImageStream),
            Self::ImageEdit(_) => Wanted::Media(MediaKind::ImageEdit),
            Self::Speech(_) => Wanted::Media(MediaKind::Speech),
            Self::Transcription(head) if head.to_english => Wanted::Media(MediaKind::Translation),
            Self::Transcription(_) => Wanted::Media(MediaKind::Transcription),
        }
    }

    /// The operation and its mode, as fingerprints of requests have it.
    pub(crate) fn mark(&self) -> &'static [u8] {
        match self {
            Self::Completion(_, Mode::Whole) => b"whole",
            Self::Completion(_, Mode::Stream) => b"stream",
            Self::Embedding(_) => b"embedding",
            Self::Rerank(_) => b"rerank",
            Self::Moderation(_) => b"moderation",
            Self::Image(_) => b"image",
            Self::ImageStream(_) => b"image-stream",
            Self::ImageEdit(_) => b"image-edit",
            Self::Speech(_) => b"speech",
            Self::Transcription(_) => b"transcription",
        }
    }

    /// The full name of its message in the contract.
    pub(crate) fn message(&self) -> &'static str {
        match self {
            Self::Completion(..) => "tollgate.v1.CompletionRequest",
            Self::Embedding(_) => "tollgate.v1.CreateEmbeddingRequest",
            Self::Rerank(_) => "tollgate.v1.RerankRequest",
            Self::Moderation(_) => "tollgate.v1.CreateModerationRequest",
            Self::Image(_) | Self::ImageStream(_) => "tollgate.v1.GenerateImageRequest",
            Self::ImageEdit(_) => "tollgate.v1.EditImageHead",
            Self::Speech(_) => "tollgate.v1.CreateSpeechRequest",
            Self::Transcription(_) => "tollgate.v1.TranscriptionHead",
        }
    }

    /// Whether the caller wrote it in the contract: there are no bytes of its own beside that.
    pub(crate) fn is_message(&self) -> bool {
        self.asked().original().is_none()
    }

    /// As received: the caller's own bytes where there are such, else its protobuf form.
    pub(crate) fn body(&self) -> Bytes {
        let asked = self.asked();
        asked.original().map_or_else(|| asked.encoded().into(), |original| original.body.clone())
    }
}

impl Call {
    /// The model alias that is asked for.
    pub fn model(&self) -> &str {
        self.request.asked().model()
    }

    /// Wishes to the gateway.
    pub fn options(&self) -> Option<&GatewayOptions> {
        self.request.asked().options()
    }

    /// Whether the reply shall tell its route.
    pub(crate) fn wants_routing(&self) -> bool {
        self.options().is_some_and(|o| o.want_routing)
    }

    pub(crate) fn wants_receipt(&self) -> bool {
        self.options().is_some_and(|o| o.receipt)
    }

    /// Whether the reply begins before a provider has answered.
    pub(crate) fn opens_when_admitted(&self) -> bool {
        self.options().is_some_and(|o| o.open_when_admitted)
    }

    /// Whether a deployment leaves out what its provider cannot heed.
    pub(crate) fn drops_params(&self, deployment: &Deployment) -> bool {
        self.options().and_then(|o| o.drop_params).unwrap_or(deployment.drop_params)
    }

    /// The caller's own end user.
    pub(crate) fn user(&self) -> Option<&str> {
        self.request.asked().user()
    }

    /// The request as received: the caller's own bytes where there are such, else its protobuf form.
    pub(crate) fn body(&self) -> Bytes {
        self.request.body()
    }
}
