//! Operations that are asked in one message and answered in one, and what their messages have in common.

use prost::Message;

use crate::v1::{
    CompletionRequest, CreateEmbeddingRequest, CreateEmbeddingResponse, CreateModerationRequest,
    CreateModerationResponse, CreateSpeechRequest, Dialect, EditImageHead, GatewayOptions, GenerateImageRequest,
    GenerateImageResponse, Original, Receipt, RerankRequest, RerankResponse, Routing, Started, TranscriptionHead,
    Usage,
};

/// An operation with one answer.
pub trait Operation: Sized + Send + Sync + 'static {
    /// What is asked.
    type Request: Asked + Message + Default;
    /// What is answered.
    type Response: Answered;
    /// What it is called where one is refused: `embeddings`.
    const NAME: &'static str;
    /// The action of its audit records.
    const ACTION: &'static str;
    /// The dialect that its callers write it in, where they do not use the contract.
    const DIALECT: Dialect;
}

/// A request of any operation.
pub trait Asked: Send + Sync + 'static {
    /// The model alias; empty where there is none.
    fn model(&self) -> &str;
    /// Wishes to the gateway.
    fn options(&self) -> Option<&GatewayOptions>;
    /// The caller's own end user.
    fn user(&self) -> Option<&str>;
    /// As the caller wrote it.
    fn original(&self) -> Option<&Original>;
    /// Its protobuf form.
    fn encoded(&self) -> Vec<u8>;
    /// With other bytes and wishes beside its fields.
    fn with(self, original: Option<Original>, options: Option<GatewayOptions>) -> Self
    where
        Self: Sized;
}

/// The answer of an [`Operation`].
pub trait Answered: Message + Clone + Default + 'static {
    /// What every answer has.
    fn envelope(&mut self) -> Envelope<'_>;
}

/// What every answer has.
pub struct Envelope<'a> {
    /// Who served it.
    pub started: &'a mut Option<Started>,
    /// What it consumed.
    pub usage: &'a mut Option<Usage>,
    /// How it was routed.
    pub routing: &'a mut Option<Routing>,
    /// The audit log's promise.
    pub receipt: &'a mut Option<Receipt>,
    /// The provider's whole answer.
    pub native: &'a mut Option<Original>,
}

macro_rules! asked {
    ($message:ty, $user:expr, head) => {
        impl Asked for $message {
            fn model(&self) -> &str {
                self.model.as_deref().unwrap_or_default()
            }

            fn options(&self) -> Option<&GatewayOptions> {
                self.tollgate.as_ref()
            }

            fn user(&self) -> Option<&str> {
                let user: fn(&Self) -> Option<&str> = $user;
                user(self)
            }

            /// Forms are told field by field: there are no bytes beside them.
            fn original(&self) -> Option<&Original> {
                None
            }

            fn encoded(&self) -> Vec<u8> {
                self.encode_to_vec()
            }

            fn with(self, _original: Option<Original>, options: Option<GatewayOptions>) -> Self {
                Self { tollgate: options, ..self }
            }
        }
    };
    ($message:ty, $user:expr) => {
        impl Asked for $message {
            fn model(&self) -> &str {
                self.model.as_deref().unwrap_or_default()
            }

            fn options(&self) -> Option<&GatewayOptions> {
                self.tollgate.as_ref()
            }

            fn user(&self) -> Option<&str> {
                let user: fn(&Self) -> Option<&str> = $user;
                user(self)
            }

            fn original(&self) -> Option<&Original> {
                self.original.as_ref()
            }

            fn encoded(&self) -> Vec<u8> {
                self.encode_to_vec()
            }

            fn with(self, original: Option<Original>, options: Option<GatewayOptions>) -> Self {
                Self { original, tollgate: options, ..self }
            }
        }
    };
}

macro_rules! operations {
    ($($(#[$doc:meta])* $operation:ident($request:ty, $user:expr) -> $response:ty: $name:literal, $action:literal, $dialect:ident;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $operation;

            impl Operation for $operation {
                type Request = $request;
                type Response = $response;
                const NAME: &'static str = $name;
                const ACTION: &'static str = $action;
                const DIALECT: Dialect = Dialect::$dialect;
            }

            asked!($request, $user);

            impl Answered for $response {
                fn envelope(&mut self) -> Envelope<'_> {
                    let Self { started, usage, routing, receipt, native, .. } = self;
                    Envelope { started, usage, routing, receipt, native }
                }
            }
        )+
    };
}

asked!(CompletionRequest, |request| request.user.as_deref());
asked!(CreateSpeechRequest, |request| request.user.as_deref());
asked!(TranscriptionHead, |_| None, head);
asked!(EditImageHead, |request| request.user.as_deref(), head);

operations! {
    /// `EmbeddingService.CreateEmbedding`.
    Embeddings(CreateEmbeddingRequest, |request| request.user.as_deref()) -> CreateEmbeddingResponse:
        "embeddings", "embedding.create", OpenaiEmbeddings;
    /// `RerankService.Rerank`.
    Reranking(RerankRequest, |_| None) -> RerankResponse: "rankings", "rerank.create", CohereRerank;
    /// `ModerationService.CreateModeration`.
    Moderations(CreateModerationRequest, |_| None) -> CreateModerationResponse:
        "moderations", "moderation.create", OpenaiModerations;
    /// `ImageService.GenerateImage`.
    Images(GenerateImageRequest, |request| request.user.as_deref()) -> GenerateImageResponse:
        "images", "image.generate", OpenaiImages;
}
