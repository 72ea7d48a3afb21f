//! Embeddings.

use serde::Deserialize;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{CreateEmbeddingResponse, Embedding, Started};

use super::wire::usage;
use crate::{EmbedCall, Target, Written, conversation::texts, json::Object, left_out::LeftOut, refusal};

pub(super) fn body(target: &Target, call: &EmbedCall<'_>) -> Result<Written, Failure> {
    let request = call.request;
    let mut left_out = LeftOut::default();
    let own = left_out.known(&request.extra_json, &["keep_alive", "options", "truncate"]);
    let mut body = Object::default();
    body.field("model", &target.model).field("input", &texts(request)?);
    body.maybe("dimensions", request.dimensions.as_ref());
    if !own.iter().any(|(name, _)| name == "truncate") {
        body.field("truncate", &false);
    }
    for (name, json) in own {
        body.raw(&name, &json);
    }
    left_out.user(request.user.as_ref());
    Ok(left_out.of(&body))
}

#[derive(Deserialize)]
struct Answer {
    model: Option<String>,
    embeddings: Option<Vec<Vec<f32>>>,
    prompt_eval_count: Option<u64>,
}

pub(super) fn answer(body: &[u8]) -> Result<CreateEmbeddingResponse, Failure> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| Failure::new(Class::UpstreamProtocol, format!("the embeddings cannot be read: {error}")))?;
    let Some(vectors) = answer.embeddings else { return Err(refusal::in_band(200, body, false)) };
    let vectors = vectors.into_iter().enumerate();
    let embeddings = vectors.map(|(index, values)| Embedding { index: index as u32, values }).collect();
    let started = Started { served_model: answer.model.unwrap_or_default(), ..Started::default() };
    let usage = usage(answer.prompt_eval_count, None);
    Ok(CreateEmbeddingResponse { started: Some(started), embeddings, usage, ..CreateEmbeddingResponse::default() })
}
