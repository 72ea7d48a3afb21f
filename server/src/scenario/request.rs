//! Requests of simulated callers.

use tollgate_proto::v1::{
    AudioPart, CompletionRequest, FilePart, FunctionTool, ImagePart, JsonSchemaFormat, Message, Part, ResponseFormat,
    Role, TextPart, Tool, part::Content, response_format::Format, tool::Kind,
};

/// Longer prompts are of this length.
const LONGEST: usize = 64 << 20;

/// A request with a prompt of so many tokens that uses these capabilities besides text.
pub(super) fn that_uses(prompt_tokens: u64, uses: &[&str]) -> anyhow::Result<CompletionRequest> {
    let bytes = usize::try_from(prompt_tokens.saturating_mul(4)).unwrap_or(LONGEST).min(LONGEST);
    let text = TextPart { text: "word ".repeat(bytes / 5 + 1)[..bytes].to_owned() };
    let part = |content| Part { content: Some(content), ..Part::default() };
    let mut parts = vec![part(Content::Text(text))];
    let mut request = CompletionRequest::default();
    for used in uses {
        match *used {
            "vision" => parts.push(part(Content::Image(ImagePart::default()))),
            "audio_input" => parts.push(part(Content::Audio(AudioPart::default()))),
            "pdf" => parts.push(part(Content::File(FilePart::default()))),
            "tools" => {
                let function = FunctionTool { name: "look_up".into(), ..FunctionTool::default() };
                request.tools.push(Tool { kind: Some(Kind::Function(function)), ..Tool::default() });
            }
            "json_schema" => {
                let schema = JsonSchemaFormat { name: "answer".into(), ..JsonSchemaFormat::default() };
                request.response_format = Some(ResponseFormat { format: Some(Format::JsonSchema(schema)) });
            }
            other => anyhow::bail!("{other:?} is not one of vision, audio_input, pdf, tools, json_schema"),
        }
    }
    request.messages = vec![Message { role: Role::User as i32, parts, ..Message::default() }];
    Ok(request)
}
