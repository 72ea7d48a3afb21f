//! Reasoning as an item: its words are the summary, its proof the `encrypted_content`.
//!
//! OpenAI's own proof goes through as it is. Another provider's is put, with the word whose it is, into an envelope that clients carry
//! back unread, as they do with OpenAI's.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tollgate_proto::v1::ReasoningPart;

use crate::openai::{
    Invalid,
    members::{Members, items},
};

/// What an envelope begins with; nothing of OpenAI's does.
const MARK: &str = "tg1.";
/// Whose reasoning has its proof bare.
const OPENAI: &str = "openai-responses-v1";
/// Between the parts of a summary, which are paragraphs.
const PARAGRAPH: &str = "\n\n";

#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
}

/// The `encrypted_content` of reasoning; `None`: it has no proof.
pub(super) fn seal(reasoning: &ReasoningPart) -> Option<String> {
    let proof = reasoning.signature.as_ref().or(reasoning.redacted.as_ref())?;
    if reasoning.format.as_deref() == Some(OPENAI) {
        return Some(proof.clone());
    }
    let envelope = Envelope {
        signature: reasoning.signature.clone(),
        redacted: reasoning.redacted.clone(),
        format: reasoning.format.clone(),
    };
    let json = serde_json::to_string(&envelope).unwrap_or_default();
    Some(format!("{MARK}{}", URL_SAFE_NO_PAD.encode(json)))
}

/// The item that a client carried back; `None`: it says nothing.
pub(super) fn read(m: &mut Members<'_>) -> Result<Option<ReasoningPart>, Invalid> {
    let summary = texts(m, "summary")?;
    let content = texts(m, "content")?;
    let mut reasoning = ReasoningPart {
        text: if content.is_empty() { summary } else { content }.join(PARAGRAPH),
        ..ReasoningPart::default()
    };
    let path = m.path("encrypted_content");
    let id: Option<String> = m.take("id")?;
    match m.take::<String>("encrypted_content")?.filter(|proof| !proof.is_empty()) {
        Some(proof) => match proof.strip_prefix(MARK) {
            Some(sealed) => {
                let opened = URL_SAFE_NO_PAD.decode(sealed).ok();
                let opened: Option<Envelope> = opened.and_then(|json| serde_json::from_slice(&json).ok());
                let envelope = opened.ok_or_else(|| {
                    Invalid::at(path, "is not what the gateway gave out; send items of reasoning back unchanged")
                })?;
                (reasoning.signature, reasoning.redacted) = (envelope.signature, envelope.redacted);
                reasoning.format = envelope.format;
            }
            None => {
                (reasoning.signature, reasoning.format) = (Some(proof), Some(OPENAI.to_owned()));
                reasoning.native_id = id;
            }
        },
        None if reasoning.text.is_empty() => return Ok(None),
        None => {}
    }
    Ok(Some(reasoning))
}

fn texts(m: &mut Members<'_>, name: &str) -> Result<Vec<String>, Invalid> {
    let path = m.path(name);
    let Some(list) = m.raw(name) else { return Ok(Vec::new()) };
    let mut texts = Vec::new();
    for (i, part) in items(list, &path)?.into_iter().enumerate() {
        texts.extend(Members::read(part, &format!("{path}[{i}]"))?.take::<String>("text")?);
    }
    Ok(texts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn back(reasoning: &ReasoningPart) -> ReasoningPart {
        let item = serde_json::json!({"type": "reasoning", "id": "rs_1", "encrypted_content": seal(reasoning),
                                      "summary": [{"type": "summary_text", "text": reasoning.text}]});
        read(&mut Members::read(&item.to_string(), "").unwrap()).unwrap().unwrap()
    }

    #[test]
    fn reasoning_comes_back_as_it_was_given_out_whoever_signed_it() {
        let signed = ReasoningPart {
            text: "First\n\nthen".into(),
            signature: Some("Eq+/==".into()),
            format: Some("anthropic-claude-v1".into()),
            ..ReasoningPart::default()
        };
        assert_eq!(back(&signed), signed);
        let hidden = ReasoningPart { redacted: Some("opaque".into()), text: String::new(), signature: None, ..signed };
        assert_eq!(back(&hidden), hidden);
        let openai =
            ReasoningPart { signature: Some("gAAA".into()), format: Some(OPENAI.into()), ..Default::default() };
        assert_eq!(seal(&openai).as_deref(), Some("gAAA"), "OpenAI's own stays bare");
        assert_eq!(back(&openai), ReasoningPart { native_id: Some("rs_1".into()), ..openai });
    }

    #[test]
    fn a_torn_envelope_is_named() {
        let mut m = Members::read(r#"{"encrypted_content":"tg1.e30x!"}"#, "input[2]").unwrap();
        assert_eq!(read(&mut m).unwrap_err().violations[0].0, "input[2].encrypted_content");
    }
}
