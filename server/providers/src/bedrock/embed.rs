//! Embeddings by InvokeModel, in the dialect of the model's maker: Amazon's Titan and Cohere's Embed.

use serde::Deserialize;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    CreateEmbeddingResponse, Embedding, InputUsage, OutputUsage, Started, Usage, embedding_input::Input,
};

use super::refusal;
use crate::{EmbedCall, Head, Unsupported, Written, conversation::members, json::Object, provider::cannot};

/// What texts are embedded for where the caller does not say; Cohere's models must be told.
const INPUT_TYPE: &str = "search_document";

/// Whether a model makes embeddings and nothing else.
pub(super) fn is_embedding(model: &str) -> bool {
    is_titan(model) || is_cohere(model)
}

fn is_titan(model: &str) -> bool {
    model.contains("amazon.titan-embed-")
}

fn is_cohere(model: &str) -> bool {
    model.contains("cohere.embed-")
}

/// The body, and what it goes without.
pub(super) fn body(model: &str, call: &EmbedCall<'_>) -> Result<Written, Failure> {
    let request = call.request;
    let mut texts = Vec::with_capacity(request.inputs.len());
    for (i, input) in request.inputs.iter().enumerate() {
        match &input.input {
            Some(Input::Text(text)) => texts.push(text.as_str()),
            _ => return Err(cannot(&format!("inputs[{i}]"), "must be text for this provider")),
        }
    }
    let mut unsupported: Vec<Unsupported> =
        members(&request.extra_json).into_iter().filter(|name| name != "input_type").map(Unsupported::new).collect();
    let wished = input_type(&request.extra_json);
    let mut body = Object::default();
    if is_titan(model) {
        let [text] = texts.as_slice() else {
            return Err(cannot("inputs", "must be one text with this model, which embeds one per call"));
        };
        body.field("inputText", text);
        match request.dimensions {
            Some(length) if model.contains("titan-embed-image") => {
                let mut config = Object::default();
                config.field("outputEmbeddingLength", &length);
                body.raw("embeddingConfig", &config.finish());
            }
            Some(_) if model.contains("titan-embed-text-v1") => unsupported.push(Unsupported::new("dimensions")),
            length => {
                body.maybe("dimensions", length.as_ref());
            }
        }
        unsupported.extend(wished.map(|_| Unsupported::new("input_type")));
    } else if is_cohere(model) {
        body.field("texts", &texts).field("input_type", wished.as_deref().unwrap_or(INPUT_TYPE));
        match request.dimensions {
            Some(_) if model.contains("cohere.embed-english-v3") || model.contains("cohere.embed-multilingual-v3") => {
                unsupported.push(Unsupported::new("dimensions"));
            }
            length => {
                body.maybe("output_dimension", length.as_ref());
            }
        }
    } else {
        return Err(cannot("model", "must be one of amazon.titan-embed or cohere.embed for embeddings with bedrock"));
    }
    let dropped = request.user.iter().map(|_| "user".to_owned()).collect();
    Ok(Written { body: body.finish().into_bytes(), unsupported, dropped })
}

fn input_type(extra: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Extra {
        input_type: Option<String>,
    }
    serde_json::from_str::<Extra>(extra).ok()?.input_type
}

/// Either maker's answer.
pub(super) fn answer(body: &[u8]) -> Result<CreateEmbeddingResponse, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        embedding: Option<Vec<f32>>,
        input_text_token_count: Option<u64>,
        embeddings: Option<Vectors>,
    }
    /// A list, or one for each type of number.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Vectors {
        Bare(Vec<Vec<f32>>),
        Typed { float: Vec<Vec<f32>> },
    }
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| Failure::new(Class::UpstreamProtocol, format!("the embeddings cannot be read: {error}")))?;
    let vectors = match (answer.embedding, answer.embeddings) {
        (Some(one), _) => vec![one],
        (None, Some(Vectors::Bare(many) | Vectors::Typed { float: many })) => many,
        (None, None) => return Err(refusal::exception("", body)),
    };
    let embeddings = vectors.into_iter().enumerate().map(|(i, values)| Embedding { index: i as u32, values });
    Ok(CreateEmbeddingResponse {
        started: Some(Started::default()),
        embeddings: embeddings.collect(),
        usage: answer.input_text_token_count.map(read),
        ..CreateEmbeddingResponse::default()
    })
}

/// The count that InvokeModel gives beside every answer: with Cohere's models the only one.
pub(super) fn usage(head: &Head) -> Option<Usage> {
    head.headers.get("x-amzn-bedrock-input-token-count")?.to_str().ok()?.parse().ok().map(read)
}

fn read(tokens: u64) -> Usage {
    let input = InputUsage { total: tokens, ..InputUsage::default() };
    Usage { input: Some(input), output: Some(OutputUsage::default()), ..Usage::default() }
}
