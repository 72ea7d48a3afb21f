//! Embeddings.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{CreateEmbeddingResponse, Embedding, InputUsage, OutputUsage, Usage};

use super::wire::{Units, count};
use crate::{EmbedCall, Target, Written, conversation::texts, json::Object, left_out::LeftOut, refusal};

/// What the texts are for must be said, and OpenAI's dialect has no word for it: what is to be searched, unless the caller says.
const DEFAULT_INPUT_TYPE: &str = r#""search_document""#;

pub(super) fn body(target: &Target, call: &EmbedCall<'_>) -> Result<Written, Failure> {
    let request = call.request;
    let mut left_out = LeftOut::default();
    let own = left_out.known(&request.extra_json, &["input_type", "max_tokens", "priority", "truncate"]);
    let mut body = Object::default();
    body.field("model", &target.model).field("texts", &texts(request)?);
    if !own.iter().any(|(name, _)| name == "input_type") {
        body.raw("input_type", DEFAULT_INPUT_TYPE);
    }
    body.raw("embedding_types", r#"["float"]"#).maybe("output_dimension", request.dimensions.as_ref());
    for (name, json) in own {
        body.raw(&name, &json);
    }
    left_out.user(request.user.as_ref());
    Ok(left_out.of(&body))
}

#[derive(Deserialize)]
struct Answer<'a> {
    embeddings: Option<Embeddings>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Embeddings {
    #[serde(rename = "float", default)]
    floats: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Meta {
    tokens: Option<Units>,
    billed_units: Option<Units>,
}

pub(super) fn answer(body: &[u8]) -> Result<CreateEmbeddingResponse, Failure> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|error| Failure::new(Class::UpstreamProtocol, format!("the embeddings cannot be read: {error}")))?;
    let Some(embeddings) = answer.embeddings else { return Err(refusal::in_band(200, body, false)) };
    let vectors = embeddings.floats.into_iter().enumerate();
    let embeddings = vectors.map(|(index, values)| Embedding { index: index as u32, values }).collect();
    Ok(CreateEmbeddingResponse {
        embeddings,
        usage: answer.meta.and_then(|meta| usage(meta.get())),
        ..CreateEmbeddingResponse::default()
    })
}

fn usage(meta: &str) -> Option<Usage> {
    let read: Meta = serde_json::from_str(meta).ok()?;
    let units = read.tokens.or(read.billed_units)?;
    Some(Usage {
        input: Some(InputUsage { total: count(units.input_tokens), ..InputUsage::default() }),
        output: Some(OutputUsage::default()),
        native_json: Some(meta.to_owned()),
        ..Usage::default()
    })
}
