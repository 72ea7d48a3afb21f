//! One walk over what a model reads of a request, for every way to weigh it.

use tollgate_proto::v1::{
    AudioPart, CompletionRequest, FilePart, Part, part::Content, response_format::Format, tool::Kind,
};

/// What the pieces of a prompt weigh.
pub(crate) trait Weights {
    /// What the request's template adds, once.
    fn request(&self) -> u64;
    /// What a message's template adds, its role included.
    fn message(&self) -> u64;
    /// What the name of a participant adds besides itself.
    fn name(&self) -> u64;
    /// What a tool's template adds.
    fn tool(&self) -> u64;
    /// What a tool call's or its result's template adds.
    fn call(&self) -> u64;
    /// Text that the model reads.
    fn text(&self, text: &str) -> u64;
    /// What is sent along and may or may not be read: ids, signatures, members that nobody knows.
    fn aside(&self, text: &str) -> u64;
    /// An image.
    fn image(&self) -> u64;
    /// Sound.
    fn audio(&self, audio: &AudioPart) -> u64;
    /// A document.
    fn file(&self, file: &FilePart) -> u64;
}

/// The whole prompt.
pub(crate) fn weigh(request: &CompletionRequest, by: &impl Weights) -> u64 {
    let messages = request.messages.iter().map(|message| {
        let name = message.name.as_ref().map_or(0, |name| by.name() + by.text(name));
        by.message() + name + by.aside(&message.extra_json) + parts(&message.parts, by)
    });
    let tools = request.tools.iter().map(|tool| {
        let body = match &tool.kind {
            Some(Kind::Function(f)) => {
                by.text(&f.name) + by.text(f.description()) + by.text(f.parameters_json()) + by.aside(&f.extra_json)
            }
            Some(Kind::NativeJson(json)) => by.text(json),
            None => 0,
        };
        by.tool() + body + by.aside(&tool.extra_json)
    });
    let format = match request.response_format.as_ref().and_then(|f| f.format.as_ref()) {
        Some(Format::JsonSchema(s)) => by.text(&s.name) + by.text(s.description()) + by.text(s.schema_json()),
        Some(Format::NativeJson(json)) => by.text(json),
        Some(Format::Text(_) | Format::JsonObject(_)) | None => 0,
    };
    by.request() + messages.sum::<u64>() + tools.sum::<u64>() + format + by.aside(&request.extra_json)
}

/// Parts of a message, or of a tool's result.
pub(crate) fn parts(parts: &[Part], by: &impl Weights) -> u64 {
    parts.iter().map(|part| weigh_part(part, by)).sum()
}

fn weigh_part(part: &Part, by: &impl Weights) -> u64 {
    let body = match &part.content {
        Some(Content::Text(t)) => by.text(&t.text),
        Some(Content::Refusal(r)) => by.text(&r.text),
        Some(Content::Reasoning(r)) => by.text(&r.text) + by.aside(r.signature()) + by.aside(r.redacted()),
        Some(Content::Opaque(o)) => by.text(&o.json),
        Some(Content::ToolCall(c)) => by.call() + by.aside(&c.id) + by.text(&c.name) + by.text(&c.arguments_json),
        Some(Content::ToolResult(r)) => by.call() + by.aside(&r.tool_call_id) + parts(&r.content, by),
        Some(Content::Image(_)) => by.image(),
        Some(Content::Audio(audio)) => by.audio(audio),
        Some(Content::File(file)) => by.file(file),
        None => 0,
    };
    body + by.aside(&part.extra_json)
}
