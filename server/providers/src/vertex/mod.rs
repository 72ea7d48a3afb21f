//! Google's Vertex AI: Gemini, and the models of its partners.
//!
//! Provider pages: "Generate content with the Gemini API in Vertex AI", "Use Anthropic's Claude models", "Get text embeddings",
//! "Deployments and endpoints" and "Error code 429" of the Vertex AI documentation; "Claude on Vertex AI" of the Anthropic API reference.

mod claude;
mod embed;

use bytes::Bytes;
use http::{Method, header};
use tollgate_domain::Failure;
use tollgate_proto::operation::Embeddings;
use tollgate_proto::v1::CreateEmbeddingResponse;

use crate::{
    Chat, ChatCall, Decoder, EmbedCall, Head, Outgoing, Provider, Target, Unary, anthropic, conversation::reasoning,
    gemini, provider::unsendable, refusal,
};

/// The adapter. Models that begin with `claude` are Anthropic's, all others Google's.
pub struct Vertex;

/// The base URL of a project at a location: a region (`us-central1`), `global`, or one of the multi-regions `us` and `eu`.
pub fn base_url(project: &str, location: &str) -> String {
    let host = match location {
        "global" => "aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
        region => format!("{region}-aiplatform.googleapis.com"),
    };
    format!("https://{host}/v1/projects/{project}/locations/{location}")
}

impl Provider for Vertex {
    fn name(&self) -> &'static str {
        "vertex"
    }

    fn base_url(&self) -> Option<&'static str> {
        None
    }

    fn chat(&self) -> Option<&dyn Chat> {
        Some(self)
    }

    fn embed(&self) -> Option<&dyn Unary<Embeddings>> {
        Some(self)
    }

    /// There is no list of models that every account may read: counting tokens is free, and needs the right that answers need.
    fn check(&self, target: &Target) -> Result<http::Request<Bytes>, Failure> {
        match claude::serves(&target.model) {
            true => post(target, "/publishers/anthropic/models/count-tokens:rawPredict", claude::check(&target.model)),
            false => {
                let body = br#"{"contents":[{"role":"user","parts":[{"text":"."}]}]}"#.to_vec();
                post(target, &format!("/publishers/google/models/{}:countTokens", target.model), body)
            }
        }
    }

    fn refusal(&self, head: &Head, body: &[u8]) -> Failure {
        refusal::classify(head.status.as_u16(), &head.headers, body)
    }
}

impl Chat for Vertex {
    fn request(&self, target: &Target, call: &ChatCall<'_>) -> Result<Outgoing, Failure> {
        let model = &target.model;
        if claude::serves(model) {
            let path = format!("/publishers/anthropic/models/{model}:{}", claude::method(call.mode));
            return claude::body(call)?.sent(|body| {
                let mut request = post(target, &path, body)?;
                anthropic::ask_for_betas(request.headers_mut(), call)?;
                Ok(request)
            });
        }
        let path = format!("/publishers/google/models/{model}:{}", gemini::method(call.mode));
        gemini::body(gemini::Host::Vertex, target, call)?.sent(|body| post(target, &path, body))
    }

    fn decoder(&self, target: &Target, call: &ChatCall<'_>) -> Box<dyn Decoder> {
        match claude::serves(&target.model) {
            true => anthropic::decoder(call),
            false => gemini::decoder(call.mode),
        }
    }

    fn reasoning_format(&self, model: &str) -> &'static str {
        if claude::serves(model) { reasoning::ANTHROPIC } else { reasoning::GOOGLE }
    }

    fn signs_reasoning(&self) -> bool {
        true
    }

    fn takes_messages(&self, model: &str) -> bool {
        claude::serves(model)
    }

    fn fetches(&self, model: &str, url: &str) -> bool {
        !claude::serves(model) && gemini::fetches(gemini::Host::Vertex, url)
    }
}

impl Unary<Embeddings> for Vertex {
    fn request(&self, target: &Target, call: &EmbedCall<'_>) -> Result<Outgoing, Failure> {
        let path = format!("/publishers/google/models/{}:predict", target.model);
        embed::request(call)?.sent(|body| post(target, &path, body))
    }

    fn answer(&self, _call: &EmbedCall<'_>, body: Bytes) -> Result<CreateEmbeddingResponse, Failure> {
        embed::answer(&body)
    }
}

fn post(target: &Target, path: &str, body: Vec<u8>) -> Result<http::Request<Bytes>, Failure> {
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(format!("{}{path}", target.base_url))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(body));
    target.dress(request.map_err(unsendable)?, header::AUTHORIZATION, "Bearer ")
}

#[cfg(test)]
mod tests {
    use super::base_url;

    #[test]
    fn a_location_is_a_region_the_globe_or_a_multi_region() {
        for (location, host) in [
            ("us-central1", "us-central1-aiplatform.googleapis.com"),
            ("global", "aiplatform.googleapis.com"),
            ("eu", "aiplatform.eu.rep.googleapis.com"),
        ] {
            assert_eq!(base_url("p1", location), format!("https://{host}/v1/projects/p1/locations/{location}"));
        }
    }
}
