//! Embeddings.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{CreateEmbeddingResponse, Embedding, embedding_input::Input};

use super::usage::Counts;
use crate::{
    EmbedCall, Target, Unsupported, Written,
    json::{Object, array},
    provider::cannot,
    refusal,
};

/// Texts, each a request of its own in one batch.
pub(super) fn request(target: &Target, call: &EmbedCall<'_>) -> Result<Written, Failure> {
    let asked = Asked::read(call)?;
    let one = |text: &&str| {
        let mut part = Object::default();
        part.field("text", text);
        let mut content = Object::default();
        content.raw("parts", &array(&[part.finish()]));
        let mut request = Object::default();
        request.field("model", &format!("models/{}", target.model)).raw("content", &content.finish());
        request.maybe("taskType", asked.task_type.as_ref()).maybe("outputDimensionality", asked.dimensions.as_ref());
        request.finish()
    };
    let mut body = Object::default();
    body.raw("requests", &array(&asked.texts.iter().map(one).collect::<Vec<_>>()));
    Ok(Written { body: body.finish().into_bytes(), unsupported: asked.unsupported, dropped: asked.dropped })
}

/// What is asked for, in Google's words.
pub(crate) struct Asked<'a> {
    pub(crate) texts: Vec<&'a str>,
    /// `RETRIEVAL_QUERY`, `RETRIEVAL_DOCUMENT`, ...
    pub(crate) task_type: Option<Value>,
    pub(crate) dimensions: Option<i64>,
    pub(crate) unsupported: Vec<Unsupported>,
    pub(crate) dropped: Vec<String>,
}

impl<'a> Asked<'a> {
    pub(crate) fn read(call: &EmbedCall<'a>) -> Result<Self, Failure> {
        let request = call.request;
        let mut texts = Vec::with_capacity(request.inputs.len());
        for (i, input) in request.inputs.iter().enumerate() {
            match &input.input {
                Some(Input::Text(text)) => texts.push(text.as_str()),
                _ => return Err(cannot(&format!("input[{i}]"), "must be text for this provider")),
            }
        }
        let mut members: serde_json::Map<String, Value> = serde_json::from_str(&request.extra_json).unwrap_or_default();
        let task_type = members.shift_remove("task_type");
        Ok(Self {
            texts,
            task_type,
            dimensions: request.dimensions,
            unsupported: members.into_iter().map(|(name, _)| Unsupported::new(name)).collect(),
            dropped: request.user.iter().map(|_| "user".to_owned()).collect(),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    embeddings: Option<Vec<Values>>,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f32>,
}

/// Vectors in the order of the inputs; most models tell no usage.
pub(super) fn answer(body: &Bytes) -> Result<CreateEmbeddingResponse, Failure> {
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(unreadable)?;
    let Some(vectors) = answer.embeddings else { return Err(refusal::in_band(200, body, false)) };
    let mut counts = Counts::default();
    if let Some(raw) = answer.usage_metadata {
        counts.take(raw.get()).map_err(unreadable)?;
    }
    Ok(response(vectors.into_iter().map(|v| v.values), counts.normal()))
}

/// The contract's answer.
pub(crate) fn response(
    vectors: impl Iterator<Item = Vec<f32>>,
    usage: Option<tollgate_proto::v1::Usage>,
) -> CreateEmbeddingResponse {
    let embeddings = vectors.enumerate().map(|(index, values)| Embedding { index: index as u32, values }).collect();
    CreateEmbeddingResponse { embeddings, usage, ..CreateEmbeddingResponse::default() }
}

/// An answer that is not their JSON.
pub(crate) fn unreadable(error: serde_json::Error) -> Failure {
    Failure::new(Class::UpstreamProtocol, format!("the embeddings cannot be read: {error}"))
}
