//! Moderations.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tollgate_domain::{Class, Failure};
use tollgate_proto::{
    operation::Moderations,
    v1::{
        CreateModerationRequest, CreateModerationResponse, Dialect, ModerationCategory, ModerationResult, Original,
        Started, moderation_input::Input,
    },
};

use super::request::unsendable;
use crate::{
    Target, UnaryCall,
    json::{self, Object},
    refusal,
};

/// Spliced where the caller wrote it in this dialect, else encoded.
pub(super) fn request(target: &Target, request: &CreateModerationRequest) -> Result<Vec<u8>, Failure> {
    if let Some(original) = request.original.as_ref().filter(|o| o.dialect() == Dialect::OpenaiModerations) {
        let model = serde_json::to_string(&target.model).unwrap_or_default();
        return json::edit(&original.body, &[("model", Some(model))]).map_err(unsendable);
    }
    let mut body = Object::default();
    body.field("model", &target.model).field("input", &inputs(request)).merge(&request.extra_json);
    Ok(body.finish().into_bytes())
}

/// Texts, or parts where there is an image among them.
fn inputs(request: &CreateModerationRequest) -> Vec<serde_json::Value> {
    let inputs = || request.inputs.iter().filter_map(|i| i.input.as_ref());
    let has_image = inputs().any(|input| matches!(input, Input::ImageUrl(_)));
    let written = |input: &Input| match input {
        Input::Text(text) if has_image => json!({"type": "text", "text": text}),
        Input::Text(text) => json!(text),
        Input::ImageUrl(url) => json!({"type": "image_url", "image_url": {"url": url}}),
    };
    inputs().map(written).collect()
}

#[derive(Deserialize)]
struct Answer {
    id: Option<String>,
    model: Option<String>,
    results: Option<Vec<Row>>,
}

/// Older models leave categories out that they do not know, or say null.
#[derive(Deserialize)]
struct Row {
    flagged: bool,
    #[serde(default)]
    categories: BTreeMap<String, Option<bool>>,
    #[serde(default)]
    category_scores: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    category_applied_input_types: BTreeMap<String, Vec<String>>,
}

pub(super) fn answer(call: &UnaryCall<'_, Moderations>, body: Bytes) -> Result<CreateModerationResponse, Failure> {
    let broken =
        |e: serde_json::Error| Failure::new(Class::UpstreamProtocol, format!("the moderation cannot be read: {e}"));
    let answer: Answer = serde_json::from_slice(&body).map_err(broken)?;
    let Some(rows) = answer.results else { return Err(refusal::in_band(200, &body, true)) };
    let native = (call.want_native == Dialect::OpenaiModerations)
        .then(|| Original { dialect: Dialect::OpenaiModerations as i32, body: body.clone() });
    Ok(CreateModerationResponse {
        started: Some(Started {
            response_id: answer.id.unwrap_or_default(),
            served_model: answer.model.unwrap_or_default(),
            ..Started::default()
        }),
        results: rows.into_iter().map(result).collect(),
        usage: None,
        routing: None,
        receipt: None,
        native,
    })
}

fn result(mut row: Row) -> ModerationResult {
    let category = |(name, flagged): (String, Option<bool>)| ModerationCategory {
        flagged: flagged.unwrap_or(false),
        score: row.category_scores.remove(&name).flatten(),
        input_types: row.category_applied_input_types.remove(&name).unwrap_or_default(),
        name,
    };
    ModerationResult { flagged: row.flagged, categories: row.categories.into_iter().map(category).collect() }
}
