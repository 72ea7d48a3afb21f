//! `POST /v1/embeddings` as a `CreateEmbeddingRequest`, and the answer back.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tollgate_proto::v1::{
    CreateEmbeddingRequest, CreateEmbeddingResponse, EmbeddingInput, TokenIds, embedding_input::Input,
};

use super::{
    Invalid,
    members::{Members, items, string},
};

/// The request, and whether vectors are wanted as base64.
pub(super) fn read(body: &str) -> Result<(CreateEmbeddingRequest, bool), Invalid> {
    let mut m = Members::read(body, "")?;
    let mut request = CreateEmbeddingRequest { model: m.take("model")?, ..CreateEmbeddingRequest::default() };
    if let Some(json) = m.raw("input") {
        request.inputs = inputs(json)?;
    }
    request.dimensions = m.take("dimensions")?;
    request.user = m.take("user")?;
    let is_base64 = match m.take::<String>("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(Invalid::at("encoding_format", "must be float or base64")),
    };
    request.extra_json = m.rest();
    Ok((request, is_base64))
}

/// A text, texts, token ids, or lists of token ids.
fn inputs(json: &str) -> Result<Vec<EmbeddingInput>, Invalid> {
    let text = |text| EmbeddingInput { input: Some(Input::Text(text)) };
    if let Some(one) = string(json) {
        return Ok(vec![text(one)]);
    }
    let tokens = |ids| EmbeddingInput { input: Some(Input::Tokens(TokenIds { ids })) };
    if let Ok(ids) = serde_json::from_str::<Vec<u32>>(json)
        && !ids.is_empty()
    {
        return Ok(vec![tokens(ids)]);
    }
    let wrong = |at: String| Invalid::at(at, "must be a string, strings, token ids, or lists of token ids");
    let read = |(i, item): (usize, &str)| match string(item) {
        Some(one) => Ok(text(one)),
        None => serde_json::from_str(item).map(tokens).map_err(|_| wrong(format!("input[{i}]"))),
    };
    items(json, "input").map_err(|_| wrong("input".into()))?.into_iter().enumerate().map(read).collect()
}

/// The `list` object.
pub(crate) fn answer(answer: &CreateEmbeddingResponse, is_base64: bool) -> String {
    let row = |embedding: &tollgate_proto::v1::Embedding| -> Value {
        let values = match is_base64 {
            true => json!(STANDARD.encode(embedding.values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())),
            false => json!(embedding.values),
        };
        json!({"object": "embedding", "index": embedding.index, "embedding": values})
    };
    let tokens = answer.usage.as_ref().and_then(|u| u.input).map_or(0, |i| i.total);
    json!({
        "object": "list",
        "data": answer.embeddings.iter().map(row).collect::<Vec<_>>(),
        "model": answer.started.as_ref().map_or("", |s| &s.served_model),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use tollgate_proto::v1::Embedding;

    use super::*;

    #[test]
    fn vectors_come_as_base64_of_little_endian_floats_where_that_is_asked_for() {
        let embeddings = vec![Embedding { index: 0, values: vec![1.0, -2.5] }];
        let told = CreateEmbeddingResponse { embeddings, ..CreateEmbeddingResponse::default() };
        let shown = |is_base64: bool| {
            let list: Value = serde_json::from_str(&answer(&told, is_base64)).unwrap();
            list["data"][0]["embedding"].clone()
        };
        assert_eq!(shown(false), json!([1.0, -2.5]));
        assert_eq!(shown(true), "AACAPwAAIMA=");
    }
}
