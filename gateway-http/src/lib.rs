//! The shim: REST and SSE for whoever speaks OpenAI's API or Anthropic's, as one more client of the contract.
//!
//! Every route translates and calls; none decides. Keys, rights, limits and budgets are the gateway's. The transport is a parameter:
//! embedded it is the gateway's own service stack in the same process, standalone a channel to a remote one.

pub mod anthropic;
pub mod batch_line;
mod chat;
mod error;
mod files;
mod forward;
mod health;
pub mod litellm;
mod media;
mod messages;
mod models;
pub mod openai;
mod quota;
pub mod rerank;
pub mod responses;
mod stream;
mod text;
mod unary;

use std::{borrow::Cow, error::Error as StdError, sync::Arc};

use axum::{
    Router,
    extract::{Path, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use tollgate_proto::{
    operation::{Embeddings, Moderations, Reranking},
    v1::{
        audio_service_client::AudioServiceClient, batch_service_client::BatchServiceClient,
        budget_service_client::BudgetServiceClient, completion_service_client::CompletionServiceClient,
        embedding_service_client::EmbeddingServiceClient, file_service_client::FileServiceClient,
        image_service_client::ImageServiceClient, key_admin_service_client::KeyAdminServiceClient,
        model_service_client::ModelServiceClient, moderation_service_client::ModerationServiceClient,
        rerank_service_client::RerankServiceClient, response_service_client::ResponseServiceClient,
        tenancy_service_client::TenancyServiceClient,
    },
};
use tollgate_redact::redact;
use tonic::{Status, body::Body};
use tonic_health::pb::health_client::HealthClient;
use tower::{ServiceBuilder, util::BoxCloneSyncService};

use crate::{
    anthropic::error::Refused,
    error::Refusal,
    forward::{ModelInPath, Named},
    openai::Invalid,
    responses::reads,
};
pub use crate::{error::http_status, quota::reset, responses::Background};

type BoxError = Box<dyn StdError + Send + Sync>;
type Wire = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Status>;

/// Limits of the shim.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Largest message of the contract, in bytes.
    pub max_message_bytes: usize,
    /// Largest file that is uploaded, in bytes.
    pub max_file_bytes: u64,
    /// Whether the gateway is this very process: requests are then marked with [`ReadHere`].
    pub embedded: bool,
    /// Answers that are made without their callers.
    pub background: Background,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_body_bytes: 50_000_000,
            max_message_bytes: 150_000_000,
            max_file_bytes: 512 << 20,
            embedded: false,
            background: Background::default(),
        }
    }
}

/// Rides in the extensions of requests whose typed fields this process read from the very bytes beside them.
#[derive(Clone, Copy, Debug)]
pub struct ReadHere;

/// What routes call the gateway through.
#[derive(Clone)]
struct Gateway {
    wire: Arc<Wire>,
    options: Arc<Options>,
}

macro_rules! clients {
    ($($name:ident: $client:ident),* $(,)?) => {
        impl Gateway {
            $(
                fn $name(&self) -> $client<Wire> {
                    $client::new(Wire::clone(&self.wire))
                        .max_decoding_message_size(self.options.max_message_bytes)
                        .max_encoding_message_size(usize::MAX)
                }
            )*
        }
    };
}

// Made for each call: a route needs one of them, and to keep all would mean to clone all with every request.
clients! {
    completions: CompletionServiceClient,
    embeddings: EmbeddingServiceClient,
    reranks: RerankServiceClient,
    moderations: ModerationServiceClient,
    images: ImageServiceClient,
    audio: AudioServiceClient,
    responses: ResponseServiceClient,
    files: FileServiceClient,
    batches: BatchServiceClient,
    models: ModelServiceClient,
    keys: KeyAdminServiceClient,
    tenancy: TenancyServiceClient,
    budgets: BudgetServiceClient,
    health: HealthClient,
}

/// Every route.
pub fn router<T, B>(transport: T, options: Options) -> Router
where
    T: tower::Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    T::Future: Send + 'static,
    T::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let wire = ServiceBuilder::new()
        .map_response(|response: http::Response<B>| response.map(Body::new))
        .map_err(|error: T::Error| Status::from_error(error.into()))
        .service(transport);
    let gateway = Gateway { wire: Arc::new(BoxCloneSyncService::new(wire)), options: Arc::new(options) };
    let openai = Router::new()
        .route("/chat/completions", post(chat::create))
        .route("/completions", post(text::create))
        .route("/messages", post(messages::create))
        .route("/messages/count_tokens", post(messages::count_tokens))
        .route("/embeddings", post(unary::create::<Embeddings>))
        .route("/rerank", post(unary::create::<Reranking>))
        .route("/moderations", post(unary::create::<Moderations>))
        .route("/images/generations", post(media::draw))
        .route("/images/edits", post(media::edit))
        .route("/audio/speech", post(media::speak))
        .route("/audio/transcriptions", post(media::transcribe))
        .route("/audio/translations", post(media::translate))
        .route("/responses", post(responses::create))
        .route("/responses/input_tokens", post(responses::count))
        .route("/responses/{id}", get(reads::retrieve).delete(reads::delete))
        .route("/responses/{id}/cancel", post(reads::cancel))
        .route("/responses/{id}/input_items", get(reads::input_items))
        .route("/files", post(files::create).get(files::list))
        .route("/files/{id}", get(files::retrieve).delete(files::delete))
        .route("/files/{id}/content", get(files::content))
        .route("/batches", post(files::batches::create).get(files::batches::list))
        .route("/batches/{id}", get(files::batches::retrieve))
        .route("/batches/{id}/cancel", post(files::batches::cancel))
        .route("/model/info", get(litellm::models::info))
        .route("/models", get(models::list))
        .route("/models/{*model}", get(models::retrieve));
    Router::new()
        .nest("/v1", openai.clone())
        // Azure's paths, which name the deployment or leave that to the body, with and without their newer form; and an old one of OpenAI's.
        .nest("/openai/v1", openai.clone())
        .nest("/openai", openai.clone())
        .nest("/openai/deployments/{deployment}", openai.clone().layer(from_fn(model_in_path)))
        .nest("/engines/{deployment}", openai.clone().layer(from_fn(model_in_path)))
        .merge(openai)
        // As Cohere's own client asks.
        .route("/v2/rerank", post(unary::create::<Reranking>))
        .merge(litellm::routes())
        .route("/health/liveness", get(health::liveness))
        .route("/health/liveliness", get(health::liveness))
        .route("/health/readiness", get(health::readiness))
        .route("/health/startup", get(health::startup))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(gateway)
}

/// Takes the model from the path.
async fn model_in_path(path: Named, mut request: Request, next: Next) -> Response {
    let model = match path {
        Ok(Path(mut params)) => {
            let named = params.remove("deployment").filter(|model| !model.is_empty());
            named.ok_or_else(|| Invalid::at("model", "is missing in the path"))
        }
        // It may be what the path names behind the model.
        Err(_) => Err(Invalid::at("", "the path is no text in UTF-8")),
    };
    match model {
        Ok(model) => {
            request.extensions_mut().insert(ModelInPath(model));
            next.run(request).await
        }
        Err(invalid) => in_shape_of(request.uri().path(), invalid.into()),
    }
}

async fn no_route(request: Request) -> Response {
    let message = format!("there is no route {} {}", request.method(), shown(request.uri().path()));
    in_shape_of(request.uri().path(), Refusal::new(404, "invalid_request_error", "unknown_url", message))
}

/// The router adds what the path does take, in `allow`.
async fn wrong_method(request: Request) -> Response {
    let path = request.uri().path();
    let message = format!("{} does not take {}; the header `allow` says what it takes", shown(path), request.method());
    in_shape_of(path, Refusal::new(405, "invalid_request_error", "method_not_allowed", message))
}

/// A path as it may be repeated: a secret may be escaped in it.
fn shown(path: &str) -> Cow<'_, str> {
    let plain = percent_decode_str(path).decode_utf8_lossy();
    match redact(&plain) {
        Cow::Owned(clean) => clean.into(),
        Cow::Borrowed(_) => path.into(),
    }
}

/// The refusal as the clients of a path read it.
fn in_shape_of(path: &str, refusal: Refusal) -> Response {
    if messages::is_anthropics(path) { Refused::from(refusal).into_response() } else { refusal.into_response() }
}
