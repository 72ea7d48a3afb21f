//! `POST /v1/moderations` as a `CreateModerationRequest`, and the answer back.

use serde_json::{Map, Value, json};
use tollgate_proto::v1::{CreateModerationRequest, CreateModerationResponse, ModerationInput, moderation_input::Input};

use super::{
    Invalid,
    members::{Members, items, string},
};

/// Who names no model gets this one ("Moderations", create).
const DEFAULT_MODEL: &str = "omni-moderation-latest";

pub(super) fn read(body: &str) -> Result<CreateModerationRequest, Invalid> {
    let mut m = Members::read(body, "")?;
    let model = m.take("model")?.unwrap_or_else(|| DEFAULT_MODEL.to_owned());
    let mut request = CreateModerationRequest { model: Some(model), ..CreateModerationRequest::default() };
    if let Some(json) = m.raw("input") {
        request.inputs = inputs(json)?;
    }
    request.extra_json = m.rest();
    Ok(request)
}

/// A text, texts, or parts.
fn inputs(json: &str) -> Result<Vec<ModerationInput>, Invalid> {
    let made = |input| ModerationInput { input: Some(input) };
    if let Some(one) = string(json) {
        return Ok(vec![made(Input::Text(one))]);
    }
    let item = |(i, item): (usize, &str)| match string(item) {
        Some(text) => Ok(made(Input::Text(text))),
        None => part(item, &format!("input[{i}]")).map(made),
    };
    let all = items(json, "input").map_err(|_| Invalid::at("input", "must be a string, strings, or parts"))?;
    all.into_iter().enumerate().map(item).collect()
}

fn part(json: &str, path: &str) -> Result<Input, Invalid> {
    let wrong = || Invalid::at(path, "must be a string, or a part of the type text or image_url");
    let mut m = Members::read(json, path).map_err(|_| wrong())?;
    match m.take::<String>("type")?.as_deref() {
        Some("text") => m.take("text")?.map(Input::Text).ok_or_else(wrong),
        Some("image_url") => {
            let image = m.raw("image_url").ok_or_else(wrong)?;
            let url = Members::read(image, &m.path("image_url"))?.take("url")?;
            url.map(Input::ImageUrl).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

/// OpenAI's object.
pub(crate) fn answer(answer: &CreateModerationResponse) -> String {
    let row = |result: &tollgate_proto::v1::ModerationResult| -> Value {
        let by_name = |value: &dyn Fn(&tollgate_proto::v1::ModerationCategory) -> Value| -> Map<String, Value> {
            result.categories.iter().map(|c| (c.name.clone(), value(c))).collect()
        };
        json!({
            "flagged": result.flagged,
            "categories": by_name(&|c| json!(c.flagged)),
            "category_scores": by_name(&|c| json!(c.score)),
            "category_applied_input_types": by_name(&|c| json!(c.input_types)),
        })
    };
    let started = answer.started.as_ref();
    json!({
        "id": started.map_or("", |s| &s.response_id),
        "model": started.map_or("", |s| &s.served_model),
        "results": answer.results.iter().map(row).collect::<Vec<_>>(),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_a_text_texts_or_parts() {
        let read = |input: &str| read(&format!(r#"{{"model":"m","input":{input}}}"#)).map(|r| r.inputs.len());
        assert_eq!(read(r#""a""#), Ok(1));
        assert_eq!(read(r#"["a","b"]"#), Ok(2));
        let parts = r#"[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://x/y.png"}}]"#;
        assert_eq!(read(parts), Ok(2));
        for wrong in ["1", "[1]", r#"[{"type":"audio"}]"#, r#"[{"type":"image_url","image_url":{}}]"#] {
            assert!(read(wrong).unwrap_err().violations[0].0.starts_with("input"), "{wrong}");
        }
    }
}
