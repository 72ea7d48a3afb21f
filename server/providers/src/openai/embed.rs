//! Embeddings.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{CreateEmbeddingResponse, Dialect, Embedding, Original, Started, embedding_input::Input};

use super::{decode::normal, request::unsendable};
use crate::{
    EmbedCall, Target,
    json::{self, Object, array},
    refusal,
};

/// Spliced where the caller wrote it in this dialect, else encoded.
pub(crate) fn request(target: &Target, call: &EmbedCall<'_>) -> Result<Vec<u8>, Failure> {
    let request = call.request;
    if let Some(original) = request.original.as_ref().filter(|o| o.dialect() == Dialect::OpenaiEmbeddings) {
        let model = serde_json::to_string(&target.model).unwrap_or_default();
        return json::edit(&original.body, &[("model", Some(model))]).map_err(unsendable);
    }
    let inputs: Vec<String> = request
        .inputs
        .iter()
        .map(|i| match &i.input {
            Some(Input::Text(text)) => serde_json::to_string(text).unwrap_or_default(),
            Some(Input::Tokens(tokens)) => serde_json::to_string(&tokens.ids).unwrap_or_default(),
            None => "null".into(),
        })
        .collect();
    let mut body = Object::default();
    body.field("model", &target.model).raw("input", &array(&inputs)).field("encoding_format", "float");
    body.maybe("dimensions", request.dimensions.as_ref()).maybe("user", request.user.as_ref());
    body.merge(&request.extra_json);
    Ok(body.finish().into_bytes())
}

#[derive(Deserialize)]
struct Answer<'a> {
    model: Option<String>,
    #[serde(borrow, default)]
    data: Option<Vec<Row<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Row<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

/// Floats, or base64 of little-endian ones.
pub(crate) fn answer(call: &EmbedCall<'_>, body: Bytes) -> Result<CreateEmbeddingResponse, Failure> {
    let broken = |what: String| Failure::new(Class::UpstreamProtocol, format!("the embeddings cannot be read: {what}"));
    let answer: Answer<'_> = serde_json::from_slice(&body).map_err(|e| broken(e.to_string()))?;
    let Some(data) = answer.data else { return Err(refusal::in_band(200, &body, true)) };
    let mut embeddings = Vec::with_capacity(data.len());
    for (position, row) in data.iter().enumerate() {
        let values = match row.embedding.get().starts_with('"') {
            false => serde_json::from_str(row.embedding.get()).map_err(|e| broken(e.to_string()))?,
            true => {
                let text: String = serde_json::from_str(row.embedding.get()).map_err(|e| broken(e.to_string()))?;
                let bytes = STANDARD.decode(text).map_err(|e| broken(e.to_string()))?;
                bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
        };
        embeddings.push(Embedding { index: row.index.unwrap_or(position as u32), values });
    }
    let usage = answer.usage.and_then(|u| normal(u.get()));
    let started = Started { served_model: answer.model.unwrap_or_default(), ..Started::default() };
    let native = (call.want_native == Dialect::OpenaiEmbeddings)
        .then(|| Original { dialect: Dialect::OpenaiEmbeddings as i32, body: body.clone() });
    Ok(CreateEmbeddingResponse { started: Some(started), embeddings, usage, routing: None, receipt: None, native })
}
