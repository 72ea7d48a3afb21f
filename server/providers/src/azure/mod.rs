//! Azure OpenAI: OpenAI's dialect behind Azure's addresses, keys and content filter.
//!
//! Provider pages: "Azure OpenAI REST API reference", "Azure OpenAI v1 API", "How to use Azure OpenAI image generation models", "Content
//! filtering" and "Asynchronous filter" of Microsoft Learn. Two ways in: with a version of the API the deployment stands in the path
//! (classic); without one the model in the body names it (v1). Keys go in `api-key`; tokens of Entra ID come from
//! [`entra`](crate::credential::entra).

mod files;

use bytes::Bytes;
use http::{HeaderName, Method, header};
use tollgate_domain::Failure;
use tollgate_proto::operation::{Embeddings, Images};
use tollgate_proto::v1::{CreateEmbeddingResponse, GenerateImageResponse};

use crate::{
    Chat, ChatCall, Decoder, EmbedCall, Files, Head, Outgoing, Provider, ReasonsBy, Target, Unary, UnaryCall, Written,
    credential::token::encoded,
    media::{Media, MediaCall, MediaDecoder, MediaKind, MediaOutgoing},
    openai::{self, OPENAI_MODELS, Param, Quirks, decode::ChatDecoder, embed, image, request, services::row, sound},
    provider::unsendable,
    refusal,
};

/// The dialect as it is spoken here. Deployments are mostly named after their models, whose rules then hold.
static QUIRKS: Quirks = Quirks {
    output_limit: "max_completion_tokens",
    both_limits: true,
    families: &OPENAI_MODELS,
    lacks: &[Param::TopK],
    completes: true,
    ..row("azure", None, "Azure OpenAI: learn.microsoft.com/azure/ai-services/openai/reference")
};

/// The adapter. The base URL is the resource's, as `https://{resource}.openai.azure.com`.
pub struct Azure;

impl Provider for Azure {
    fn name(&self) -> &'static str {
        QUIRKS.name
    }

    fn base_url(&self) -> Option<&'static str> {
        QUIRKS.base_url
    }

    fn chat(&self) -> Option<&dyn Chat> {
        Some(self)
    }

    fn embed(&self) -> Option<&dyn Unary<Embeddings>> {
        Some(self)
    }

    fn images(&self) -> Option<&dyn Unary<Images>> {
        Some(self)
    }

    fn media(&self, _kind: MediaKind) -> Option<&dyn Media> {
        Some(self)
    }

    fn files(&self) -> Option<&dyn Files> {
        Some(self)
    }

    fn check(&self, target: &Target) -> Result<http::Request<Bytes>, Failure> {
        let uri = match &target.api_version {
            Some(version) => format!("{}/openai/models?api-version={version}", resource(target)),
            None => format!("{}/openai/v1/models", resource(target)),
        };
        let request = http::Request::builder().method(Method::GET).uri(uri).body(Bytes::new());
        dressed(request.map_err(unsendable)?, target)
    }

    fn refusal(&self, head: &Head, body: &[u8]) -> Failure {
        refusal::classify(head.status.as_u16(), &head.headers, body)
    }
}

impl Chat for Azure {
    fn request(&self, target: &Target, call: &ChatCall<'_>) -> Result<Outgoing, Failure> {
        let written = request::chat(&QUIRKS, target, call)?;
        let path = if request::is_text(&QUIRKS, call) { "completions" } else { "chat/completions" };
        written.sent(|body| post(target, path, call.attempt_id, body))
    }

    fn decoder(&self, _target: &Target, call: &ChatCall<'_>) -> Box<dyn Decoder> {
        Box::new(ChatDecoder::new(&QUIRKS, call))
    }

    fn reasons_by(&self, model: &str) -> ReasonsBy {
        openai::reasons_by(model)
    }

    fn takes_media_as_results(&self) -> bool {
        false
    }
}

impl Unary<Embeddings> for Azure {
    fn request(&self, target: &Target, call: &EmbedCall<'_>) -> Result<Outgoing, Failure> {
        let body = embed::request(target, call)?;
        Written::whole(body).sent(|body| post(target, "embeddings", call.attempt_id, body))
    }

    fn answer(&self, call: &EmbedCall<'_>, body: Bytes) -> Result<CreateEmbeddingResponse, Failure> {
        embed::answer(call, body)
    }
}

impl Unary<Images> for Azure {
    fn request(&self, target: &Target, call: &UnaryCall<'_, Images>) -> Result<Outgoing, Failure> {
        let body = image::request(target, call.request)?;
        Written::whole(body).sent(|body| post(target, "images/generations", call.attempt_id, body))
    }

    fn answer(&self, call: &UnaryCall<'_, Images>, body: Bytes) -> Result<GenerateImageResponse, Failure> {
        image::answer(call, body)
    }
}

impl Media for Azure {
    fn request(&self, target: &Target, call: &MediaCall<'_>) -> Result<MediaOutgoing, Failure> {
        sound::request(target, call, |path, body| post(target, path, call.attempt_id, body))
    }

    fn decoder(&self, call: &MediaCall<'_>, head: &Head) -> Box<dyn MediaDecoder> {
        Box::new(sound::Decoder::new(call, head))
    }
}

/// The resource's own address: the portal shows longer ones as well.
fn resource(target: &Target) -> &str {
    let base = target.base_url.trim_end_matches('/');
    base.strip_suffix("/openai/v1").or_else(|| base.strip_suffix("/openai")).unwrap_or(base)
}

fn post(target: &Target, operation: &str, attempt_id: &str, body: Vec<u8>) -> Result<http::Request<Bytes>, Failure> {
    let resource = resource(target);
    let uri = match &target.api_version {
        Some(version) => {
            let deployment = encoded(&target.model);
            format!("{resource}/openai/deployments/{deployment}/{operation}?api-version={version}")
        }
        None => format!("{resource}/openai/v1/{operation}"),
    };
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-ms-client-request-id", attempt_id)
        .body(Bytes::from(body));
    dressed(request.map_err(unsendable)?, target)
}

/// With the key and the operator's headers.
fn dressed(request: http::Request<Bytes>, target: &Target) -> Result<http::Request<Bytes>, Failure> {
    target.dress(request, HeaderName::from_static("api-key"), "")
}
