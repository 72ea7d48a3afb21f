//! Transcripts: a model that hears is asked to write down what it hears. It tells no times, so that formats which have them are refused.

use tollgate_domain::Failure;
use tollgate_proto::v1::TranscriptionHead;

use super::{contents, file_part, text_part};
use crate::{
    gemini::model::Generation,
    json::Object,
    left_out::LeftOut,
    media::MediaCall,
    provider::{cannot, invalid},
};

const WRITE_DOWN: &str =
    "Write down word for word what is said in this recording, in its own language. Answer with these words alone.";
const TRANSLATE: &str = "Translate what is said in this recording into English. Answer with the translation alone.";

pub(super) fn body(
    model: &str,
    head: &TranscriptionHead,
    call: &MediaCall<'_>,
    left_out: &mut LeftOut,
) -> Result<Object, Failure> {
    if !matches!(head.response_format.as_deref(), None | Some("" | "json" | "text")) {
        return Err(cannot("response_format", "must be json or text for gemini, which tells no times"));
    }
    let recording = call.held.first().ok_or_else(|| invalid("file", "is required"))?;
    let mut instruction = if head.to_english { TRANSLATE } else { WRITE_DOWN }.to_owned();
    if let Some(language) = &head.language {
        instruction.push_str(&format!(" The language spoken has the ISO 639-1 code {language:?}."));
    }
    let mut keywords = Vec::new();
    for field in &head.fields {
        match field.name.trim_end_matches("[]") {
            "keywords" => keywords.push(field.value.as_str()),
            _ => left_out.unsupported(&field.name),
        }
    }
    if !keywords.is_empty() {
        instruction.push_str(&format!(" Words that may occur: {}.", keywords.join(", ")));
    }
    if let Some(prompt) = &head.prompt {
        instruction.push_str(&format!("\nWhat it is about, and how to write it: {prompt}"));
    }
    let mut config = Object::default();
    config.maybe("temperature", head.temperature.as_ref()).maybe("maxOutputTokens", call.output_cap.as_ref());
    if let Some(least) = least_thought(model) {
        config.raw("thinkingConfig", &least);
    }
    let mut body = Object::default();
    body.raw("contents", &contents(&[file_part(recording, "audio/wav"), text_part(&instruction)]));
    body.raw("generationConfig", &config.finish());
    Ok(body)
}

/// As little as the model allows ("Thinking"): writing down needs no thought, which counts against the limit and is paid.
fn least_thought(model: &str) -> Option<String> {
    let always = model.contains("-pro");
    let mut config = Object::default();
    match Generation::of(model) {
        Generation::Levels => config.field("thinkingLevel", if always { "LOW" } else { "MINIMAL" }),
        Generation::Budget => config.field("thinkingBudget", &if always { 128 } else { 0 }),
        Generation::Unknown => return None,
    };
    Some(config.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_thinks_as_little_as_it_can() {
        for (model, least) in [
            ("gemini-2.5-flash", Some(r#"{"thinkingBudget":0}"#)),
            ("gemini-2.5-pro", Some(r#"{"thinkingBudget":128}"#)),
            ("gemini-3-flash-preview", Some(r#"{"thinkingLevel":"MINIMAL"}"#)),
            ("gemini-3.1-pro-preview", Some(r#"{"thinkingLevel":"LOW"}"#)),
            ("gemini-2.0-flash", None),
        ] {
            assert_eq!(least_thought(model).as_deref(), least, "{model}");
        }
    }
}
