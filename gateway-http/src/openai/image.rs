//! `POST /v1/images/generations` as a `GenerateImageRequest`, and the answer back.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tollgate_proto::v1::{GenerateImageRequest, GenerateImageResponse, Usage, generated_image::Image};

use super::{Invalid, members::Members};

/// Who names no model gets this one: the last that OpenAI named as its own default ("Images", edit).
pub(crate) const DEFAULT_MODEL: &str = "gpt-image-1.5";

/// Also tells whether images are wanted while they are made.
pub(super) fn read(body: &str) -> Result<(GenerateImageRequest, bool), Invalid> {
    let mut m = Members::read(body, "")?;
    let is_streamed = m.take::<bool>("stream")?.unwrap_or(false);
    let request = GenerateImageRequest {
        model: Some(m.take("model")?.unwrap_or_else(|| DEFAULT_MODEL.to_owned())),
        prompt: m.take("prompt")?,
        n: m.take("n")?,
        size: m.take("size")?,
        quality: m.take("quality")?,
        background: m.take("background")?,
        output_format: m.take("output_format")?,
        user: m.take("user")?,
        extra_json: m.rest(),
        ..GenerateImageRequest::default()
    };
    Ok((request, is_streamed))
}

/// OpenAI's object.
pub(crate) fn answer(answer: &GenerateImageResponse) -> String {
    let row = |image: &tollgate_proto::v1::GeneratedImage| -> Value {
        let mut row = match &image.image {
            Some(Image::Data(data)) => json!({"b64_json": STANDARD.encode(data)}),
            Some(Image::Url(url)) => json!({"url": url}),
            None => json!({}),
        };
        if let Some(prompt) = &image.revised_prompt {
            row["revised_prompt"] = json!(prompt);
        }
        row
    };
    let mut body = json!({
        "created": answer.started.as_ref().map_or(0, |s| s.created),
        "data": answer.images.iter().map(row).collect::<Vec<_>>(),
        "usage": answer.usage.as_ref().map_or_else(|| tokens(&Usage::default()), tokens),
    });
    let told = [
        ("size", &answer.size),
        ("quality", &answer.quality),
        ("background", &answer.background),
        ("output_format", &answer.output_format),
    ];
    for (name, text) in told.into_iter().filter(|(_, text)| !text.is_empty()) {
        body[name] = json!(text);
    }
    body.to_string()
}

/// What was read and written, and the parts of both.
pub(crate) fn tokens(usage: &Usage) -> Value {
    let (read, written) = (usage.input.unwrap_or_default(), usage.output.unwrap_or_default());
    let parts = |total: u64, image: u64| json!({"text_tokens": total.saturating_sub(image), "image_tokens": image});
    json!({
        "input_tokens": read.total, "output_tokens": written.total, "total_tokens": read.total + written.total,
        "input_tokens_details": parts(read.total, read.image),
        "output_tokens_details": parts(written.total, written.image),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_field_is_taken_and_the_rest_is_kept() {
        let read = |more: &str| read(&format!(r#"{{"model":"m","prompt":"a gate","n":2{more}}}"#));
        let (request, is_streamed) = read(r#","moderation":"low","stream":false"#).unwrap();
        assert_eq!((request.n, request.extra_json.as_str()), (Some(2), r#"{"moderation":"low"}"#));
        assert!(!is_streamed && read(r#","stream":true"#).unwrap().1);
    }

    #[test]
    fn who_names_no_model_gets_the_one_that_openai_named_last() {
        for body in [r#"{"prompt":"a gate"}"#, r#"{"model":null,"prompt":"a gate"}"#] {
            assert_eq!(read(body).unwrap().0.model.as_deref(), Some(DEFAULT_MODEL), "{body}");
        }
    }
}
