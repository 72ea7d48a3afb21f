//! Prompts that may be too long for a model are counted, with the largest vocabulary in use.
//!
//! OpenAI's `o200k_base` is the tokenizer of GPT-4o and everything after it. For other models its count is a lower bound for practical
//! purposes: smaller vocabularies (Claude's, Llama's, Mistral's) make more tokens of the same text. Who is left out by it would have
//! refused; who refuses all the same falls back by the class of the error.

use tollgate_proto::v1::{CompletionRequest, Part, part::Content, response_format::Format, tool::Kind};
use tollgate_router::Routes;

use crate::bound;

/// Text has two to twelve bytes a token, whatever its language: outside of that nothing needs to be counted.
const BYTES: std::ops::Range<u64> = 2..12;
/// Shorter prompts are counted where they are.
const QUICK: u64 = 64 << 10;
/// What templates add to each message.
const PER_MESSAGE: u64 = 4;

/// Whether it takes counting to say if a prompt of so many bytes fits every model of `routes`.
pub(crate) fn are_in_doubt(bytes: u64, routes: &Routes) -> bool {
    let mut windows = routes.groups().flat_map(|group| &group.deployments).filter_map(|d| d.context_window);
    windows.any(|window| (window.saturating_mul(BYTES.start)..window.saturating_mul(BYTES.end)).contains(&bytes))
}

/// Tokens of the prompt.
pub(crate) async fn count(request: &std::sync::Arc<CompletionRequest>, bytes: u64) -> u64 {
    if bytes < QUICK {
        return of(request);
    }
    let text = request.clone();
    let counting = tokio::task::spawn_blocking(move || of(&text));
    counting.await.unwrap_or_else(|_| bound::estimate(bytes))
}

fn of(request: &CompletionRequest) -> u64 {
    let messages: u64 = request.messages.iter().map(|m| PER_MESSAGE + m.parts.iter().map(part).sum::<u64>()).sum();
    let tools: u64 = request
        .tools
        .iter()
        .map(|tool| match &tool.kind {
            Some(Kind::Function(f)) => text(&f.name) + text(f.description()) + text(f.parameters_json()),
            Some(Kind::NativeJson(json)) => text(json),
            None => 0,
        })
        .sum();
    let format = match request.response_format.as_ref().and_then(|f| f.format.as_ref()) {
        Some(Format::JsonSchema(schema)) => text(schema.schema_json()),
        _ => 0,
    };
    messages + tools + format
}

fn part(part: &Part) -> u64 {
    match &part.content {
        Some(Content::Text(t)) => text(&t.text),
        Some(Content::Refusal(r)) => text(&r.text),
        Some(Content::Reasoning(r)) => text(&r.text),
        Some(Content::ToolCall(c)) => text(&c.name) + text(&c.arguments_json),
        Some(Content::ToolResult(r)) => r.content.iter().map(self::part).sum(),
        Some(Content::Opaque(o)) => text(&o.json),
        // What OpenAI's models take for an image of low detail; of other media nothing is known.
        Some(Content::Image(_)) => 85,
        Some(Content::Audio(_) | Content::File(_)) | None => 0,
    }
}

fn text(text: &str) -> u64 {
    bpe_openai::o200k_base().count(text) as u64
}

#[cfg(test)]
mod tests {
    use tollgate_proto::v1::{Message, TextPart};

    use super::*;

    fn saying(text: &str) -> CompletionRequest {
        let part = Part { content: Some(Content::Text(TextPart { text: text.into() })), ..Part::default() };
        let message = Message { parts: vec![part], ..Message::default() };
        CompletionRequest { messages: vec![message], ..CompletionRequest::default() }
    }

    #[test]
    fn text_is_counted_as_openai_counts_it() {
        // By the tokenizer's own page: "tiktoken is great!" is six tokens of o200k_base.
        assert_eq!(of(&saying("tiktoken is great!")), 6 + PER_MESSAGE);
        assert_eq!(of(&saying("")), PER_MESSAGE);
    }

    #[test]
    fn prose_has_more_bytes_a_token_than_code_or_chinese() {
        let per_token = |text: &str| text.len() as f64 / text_of(text) as f64;
        let prose = per_token(&"The gate is open in the morning and closed in the evening. ".repeat(50));
        let chinese = per_token(&"\u{5927}\u{95e8}\u{65e9}\u{4e0a}\u{6253}\u{5f00}\u{3002}".repeat(50));
        assert!(prose > 4.0 && (2.0..12.0).contains(&prose), "{prose}");
        assert!((2.0..prose).contains(&chinese), "{chinese}");
    }

    fn text_of(said: &str) -> u64 {
        text(said)
    }
}
