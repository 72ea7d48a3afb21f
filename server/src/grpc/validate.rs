//! What a request must be before anything is done about it: all violations at once, by field path.

use std::collections::BTreeMap;

use tollgate_domain::{Error, TAGS_FIT, Violation, tags_fit};
use tollgate_proto::v1::{
    CompletionRequest, CreateBatchRequest, CreateEmbeddingRequest, CreateModerationRequest, CreateSpeechRequest,
    Dialect, EditImageHead, GatewayOptions, GenerateImageRequest, Part, RerankRequest, Role, TranscriptionHead,
    UploadField, embedding_input::Input, moderation_input::Input as Judged, part::Content,
};

/// Deepest nesting of parts: a tool result holds parts, but no tool result.
const MAX_PART_DEPTH: usize = 4;

#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn expect(&mut self, holds: bool, field: impl FnOnce() -> String, description: &str) {
        if !holds {
            self.0.push(Violation { field: field(), description: description.into() });
        }
    }

    fn result(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::invalid(self.0)) }
    }

    /// An object whose members the contract does not name: a second `model` or `max_tokens` behind ours would win at many servers.
    fn extra(&mut self, text: &str, named: &[&str], field: impl Fn() -> String) {
        if text.is_empty() {
            return;
        }
        let Ok(members) = serde_json::from_str::<BTreeMap<String, &serde_json::value::RawValue>>(text) else {
            return self.expect(false, field, "must be the text of a JSON object");
        };
        // The field holds 64 signed bits; some services draw unsigned seeds.
        let is_beyond = |name: &str| {
            let said = members.get(name).filter(|_| name == "seed");
            said.and_then(|said| said.get().parse::<u64>().ok()).is_some_and(|seed| i64::try_from(seed).is_err())
        };
        for name in named.iter().filter(|n| members.contains_key(**n) && !is_beyond(n)) {
            self.expect(false, &field, &format!("must not hold {name:?}: the request has a field for it"));
        }
    }

    fn json(&mut self, text: &str, field: impl FnOnce() -> String) {
        let is_json = text.is_empty() || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        self.expect(is_json, field, "must be JSON text");
    }
}

/// Members of a chat request that the contract names, or that are the gateway's to set.
const NAMED: [&str; 24] = [
    "model",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "n",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "max_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "service_tier",
    "user",
    "stream",
    "stream_options",
];
const NAMED_IN_MESSAGE: [&str; 4] = ["role", "content", "tool_calls", "tool_call_id"];
const NAMED_IN_EMBEDDING: [&str; 5] = ["model", "input", "dimensions", "user", "encoding_format"];
const NAMED_IN_IMAGE: [&str; 9] =
    ["model", "prompt", "n", "size", "quality", "background", "output_format", "user", "stream"];
const NAMED_IN_SPEECH: [&str; 6] = ["model", "input", "instructions", "response_format", "speed", "user"];
const NAMED_IN_TRANSCRIPTION: [&str; 7] =
    ["model", "file", "language", "prompt", "response_format", "temperature", "stream"];
const NAMED_IN_MODERATION: [&str; 2] = ["model", "input"];
const NAMED_IN_RERANK: [&str; 6] = ["model", "query", "documents", "top_n", "return_documents", "max_tokens_per_doc"];

fn at(field: &str) -> impl FnOnce() -> String {
    move || format!("request.{field}")
}

fn finite(value: Option<f64>, low: f64, high: f64) -> bool {
    value.is_none_or(|v| (low..=high).contains(&v))
}

/// A completion.
pub(crate) fn completion(request: &CompletionRequest) -> Result<(), Error> {
    let mut v = Violations::default();
    v.expect(!request.model().is_empty(), at("model"), "is required");
    v.expect(request.model().len() <= 256, at("model"), "must be at most 256 bytes");
    v.expect(!request.messages.is_empty(), at("messages"), "must have at least one message");
    for (i, message) in request.messages.iter().enumerate() {
        let known = Role::try_from(message.role).is_ok_and(|r| r != Role::Unspecified);
        v.expect(known || !message.role_native.is_empty(), || format!("request.messages[{i}].role"), "is required");
        for (j, part) in message.parts.iter().enumerate() {
            check_part(&mut v, part, &format!("request.messages[{i}].parts[{j}]"), 0);
        }
        v.extra(&message.extra_json, &NAMED_IN_MESSAGE, || format!("request.messages[{i}].extra_json"));
    }
    for (i, tool) in request.tools.iter().enumerate() {
        v.expect(tool.kind.is_some(), || format!("request.tools[{i}]"), "must be a function or native JSON");
        if let Some(tollgate_proto::v1::tool::Kind::Function(function)) = &tool.kind {
            v.expect(!function.name.is_empty(), || format!("request.tools[{i}].function.name"), "is required");
            v.json(function.parameters_json(), || format!("request.tools[{i}].function.parameters_json"));
        }
    }
    v.expect(finite(request.temperature, 0.0, 2.0), at("temperature"), "must be 0 to 2");
    v.expect(finite(request.top_p, 0.0, 1.0), at("top_p"), "must be 0 to 1");
    v.expect(finite(request.frequency_penalty, -2.0, 2.0), at("frequency_penalty"), "must be -2 to 2");
    v.expect(finite(request.presence_penalty, -2.0, 2.0), at("presence_penalty"), "must be -2 to 2");
    v.expect(request.top_k.is_none_or(|k| k >= 0), at("top_k"), "must not be negative");
    v.expect(request.n.is_none_or(|n| (1..=128).contains(&n)), at("n"), "must be 1 to 128");
    v.expect(request.top_logprobs.is_none_or(|n| (0..=20).contains(&n)), at("top_logprobs"), "must be 0 to 20");
    // The upper bound keeps every worst case within 64 bits of nano-dollars.
    let limit_fits = request.max_output_tokens.is_none_or(|n| (1..=1_000_000_000).contains(&n));
    v.expect(limit_fits, at("max_output_tokens"), "must be 1 to 1000000000");
    let bias_fits = request.logit_bias.iter().all(|b| (-100.0..=100.0).contains(&b.bias));
    v.expect(bias_fits, at("logit_bias"), "biases must be -100 to 100");
    let budget = request.reasoning.as_ref().and_then(|r| r.budget_tokens);
    v.expect(budget.is_none_or(|n| n >= 0), at("reasoning.budget_tokens"), "must not be negative");
    let is_beta = |name: &String| {
        (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
    };
    let betas_fit = request.betas.len() <= 32 && request.betas.iter().all(is_beta);
    v.expect(betas_fit, at("betas"), "must be at most 32 names of 1 to 128 visible ASCII characters without commas");
    v.extra(&request.extra_json, &NAMED, || "request.extra_json".into());
    options(&mut v, request.tollgate.as_ref());
    v.result()
}

fn check_part(v: &mut Violations, part: &Part, path: &str, depth: usize) {
    v.expect(depth < MAX_PART_DEPTH, || path.to_owned(), "parts are nested too deep");
    v.expect(part.content.is_some(), || path.to_owned(), "must have content");
    match &part.content {
        Some(Content::Image(image)) => {
            v.expect(
                image.url.is_some() != image.data.is_some(),
                || format!("{path}.image"),
                "needs either url or data",
            );
            let typed = image.data.is_none() || image.media_type.is_some();
            v.expect(typed, || format!("{path}.image.media_type"), "is required with data");
        }
        Some(Content::ToolResult(result)) => {
            v.expect(!result.tool_call_id.is_empty(), || format!("{path}.tool_result.tool_call_id"), "is required");
            for (k, inner) in result.content.iter().enumerate().filter(|_| depth < MAX_PART_DEPTH) {
                check_part(v, inner, &format!("{path}.tool_result.content[{k}]"), depth + 1);
            }
        }
        Some(Content::ToolCall(call)) => {
            v.expect(!call.name.is_empty(), || format!("{path}.tool_call.name"), "is required");
        }
        Some(Content::Opaque(opaque)) => v.json(&opaque.json, || format!("{path}.opaque.json")),
        _ => {}
    }
    v.json(&part.extra_json, || format!("{path}.extra_json"));
    v.json(&part.cache_control_json, || format!("{path}.cache_control_json"));
}

/// Embeddings.
pub(crate) fn embedding(request: &CreateEmbeddingRequest) -> Result<(), Error> {
    let mut v = Violations::default();
    v.expect(!request.model().is_empty(), || "model".into(), "is required");
    v.expect((1..=2_048).contains(&request.inputs.len()), || "inputs".into(), "must have 1 to 2048 inputs");
    for (i, input) in request.inputs.iter().enumerate() {
        let filled = match &input.input {
            Some(Input::Text(text)) => !text.is_empty(),
            Some(Input::Tokens(tokens)) => !tokens.ids.is_empty(),
            None => false,
        };
        v.expect(filled, || format!("inputs[{i}]"), "must not be empty");
    }
    v.expect(request.dimensions.is_none_or(|n| n > 0), || "dimensions".into(), "must be positive");
    v.extra(&request.extra_json, &NAMED_IN_EMBEDDING, || "extra_json".into());
    options(&mut v, request.tollgate.as_ref());
    v.result()
}

/// A ranking.
pub(crate) fn rerank(request: &RerankRequest) -> Result<(), Error> {
    let mut v = Violations::default();
    v.expect(!request.model().is_empty(), || "model".into(), "is required");
    v.expect(!request.query().is_empty(), || "query".into(), "is required");
    let count = request.documents.len();
    v.expect((1..=10_000).contains(&count), || "documents".into(), "must be 1 to 10000 documents");
    v.expect(request.top_n.is_none_or(|n| n > 0), || "top_n".into(), "must be positive");
    let cut = request.max_tokens_per_document;
    v.expect(cut.is_none_or(|n| n > 0), || "max_tokens_per_document".into(), "must be positive");
    v.extra(&request.extra_json, &NAMED_IN_RERANK, || "extra_json".into());
    options(&mut v, request.tollgate.as_ref());
    v.result()
}

/// A moderation.
pub(crate) fn moderation(request: &CreateModerationRequest) -> Result<(), Error> {
    let mut v = Violations::default();
    v.expect(!request.model().is_empty(), || "model".into(), "is required");
    v.expect((1..=2_048).contains(&request.inputs.len()), || "inputs".into(), "must have 1 to 2048 inputs");
    for (i, input) in request.inputs.iter().enumerate() {
        let filled = match &input.input {
            Some(Judged::Text(text) | Judged::ImageUrl(text)) => !text.is_empty(),
            None => false,
        };
        v.expect(filled, || format!("inputs[{i}]"), "must not be empty");
    }
    v.extra(&request.extra_json, &NAMED_IN_MODERATION, || "extra_json".into());
    options(&mut v, request.tollgate.as_ref());
    v.result()
}

/// Images.
pub(crate) fn image(request: &GenerateImageRequest) -> Result<(), Error> {
    let mut v = Violations::default();
    v.expect(!request.model().is_empty(), || "model".into(), "is required");
    v.expect(!request.prompt().is_empty(), || "prompt".into(), "is required");
    v.expect(request.n.is_none_or(|n| (1..=10).contains(&n)), || "n".into(), "must be 1 to 10");
    // The upper bound keeps every worst case within 64 bits of nano-dollars.
    v.expect(request.size().len() <= 11, || "size".into(), "must be a width and a height of at most five digits");
    v.extra(&request.extra_json, &NAMED_IN_IMAGE, || "extra_json".into());
    options(&mut v, request.tollgate.as_ref());
    v.result()
}

/// A text to speak.
pub(crate) fn speech(request: &CreateSpeechRequest) -> Result<(), Error> {
    let mut v = Violations::default();
    v.expect(!request.model().is_empty(), || "model".into(), "is required");
    v.expect(!request.input().is_empty(), || "input".into(), "is required");
    // The upper bound keeps every worst case within 64 bits of nano-dollars.
    v.expect(request.input().len() <= 1_000_000, || "input".into(), "must be at most 1000000 bytes");
    v.expect(request.speed.is_none_or(f64::is_finite), || "speed".into(), "must be a finite number");
    v.extra(&request.extra_json, &NAMED_IN_SPEECH, || "extra_json".into());
    options(&mut v, request.tollgate.as_ref());
    v.result()
}

/// What is asked of a recording.
pub(crate) fn transcription(head: &TranscriptionHead) -> Result<(), Error> {
    let mut v = Violations::default();
    v.expect(!head.model().is_empty(), || "model".into(), "is required");
    v.expect(finite(head.temperature, 0.0, 1.0), || "temperature".into(), "must be 0 to 1");
    v.form(&head.fields, &NAMED_IN_TRANSCRIPTION, head.tollgate.as_ref(), Dialect::OpenaiAudio);
    v.result()
}

/// What is asked of images.
pub(crate) fn image_edit(head: &EditImageHead) -> Result<(), Error> {
    let mut v = Violations::default();
    v.expect(!head.model().is_empty(), || "model".into(), "is required");
    v.expect(!head.prompt().is_empty(), || "prompt".into(), "is required");
    v.expect(head.n.is_none_or(|n| (1..=10).contains(&n)), || "n".into(), "must be 1 to 10");
    v.expect(head.size().len() <= 11, || "size".into(), "must be a width and a height of at most five digits");
    let images_fit = head.images.is_none_or(|n| (1..=17).contains(&n));
    v.expect(images_fit, || "image".into(), "must be 1 to 16 images, and at most one mask");
    v.form(&head.fields, &NAMED_IN_IMAGE, head.tollgate.as_ref(), Dialect::OpenaiImages);
    v.result()
}

/// Of a batch: what else it says is checked against the file that it reads, or not heeded.
pub(super) fn batch(request: &CreateBatchRequest) -> Result<(), Error> {
    let mut v = Violations::default();
    let fits = request.tollgate.as_ref().is_none_or(|wishes| tags_fit(&wishes.tags));
    v.expect(fits, || "tollgate.tags".into(), TAGS_FIT);
    v.result()
}

impl Violations {
    /// Fields of a form that the contract does not name, and wishes beside them.
    fn form(&mut self, fields: &[UploadField], named: &[&str], wishes: Option<&GatewayOptions>, dialect: Dialect) {
        self.expect(fields.len() <= 64, || "fields".into(), "must be at most 64 fields");
        for field in fields.iter().filter(|field| named.contains(&field.name.as_str())) {
            let what = format!("must not hold {:?}: the request has a field for it", field.name);
            self.expect(false, || "fields".into(), &what);
        }
        options(self, wishes);
        let Some(wishes) = wishes else { return };
        let has_key = wishes.idempotency_key.is_some();
        // Whether two uploads are the same is known when both are there.
        self.expect(!has_key, || "tollgate.idempotency_key".into(), "is not taken with uploads; leave it out");
        let is_native = wishes.want_native == 0 || wishes.want_native() == dialect;
        let what = format!("must be {} or absent", dialect.as_str_name());
        self.expect(is_native, || "tollgate.want_native".into(), &what);
    }
}

fn options(v: &mut Violations, options: Option<&GatewayOptions>) {
    let Some(options) = options else { return };
    v.expect(tags_fit(&options.tags), at("tollgate.tags"), TAGS_FIT);
    let labels = &options.metadata;
    let labels_fit = labels.len() <= 32 && labels.iter().all(|(k, l)| (1..=128).contains(&k.len()) && l.len() <= 1_024);
    v.expect(labels_fit, at("tollgate.metadata"), "must be at most 32 pairs of at most 128 and 1024 bytes");
    let key_fits = options.idempotency_key.as_ref().is_none_or(|k| (1..=256).contains(&k.len()));
    v.expect(key_fits, at("tollgate.idempotency_key"), "must have 1 to 256 bytes");
    let ceiling_fits = options.max_cost_nano_usd.is_none_or(|c| c >= 0);
    v.expect(ceiling_fits, at("tollgate.max_cost_nano_usd"), "must not be negative");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extra_cannot_say_again_what_a_field_says() {
        let extra_json = r#"{"model":"dearer","x":1,"max_tokens":9}"#.to_owned();
        let error = completion(&CompletionRequest { extra_json, ..CompletionRequest::default() }).unwrap_err();
        let said: Vec<_> = error.violations.iter().filter(|v| v.field == "request.extra_json").collect();
        assert_eq!(said.len(), 2, "{said:?}");
    }

    #[test]
    fn a_seed_beyond_the_field_may_be_an_extra() {
        let said = |extra_json: &str| {
            let request = CompletionRequest { extra_json: extra_json.into(), ..CompletionRequest::default() };
            let error = completion(&request).unwrap_err();
            error.violations.iter().any(|v| v.field == "request.extra_json")
        };
        assert!(!said(r#"{"seed":18446744073709551615}"#));
        assert!(said(r#"{"seed":7}"#) && said(r#"{"seed":"x"}"#));
    }

    #[test]
    fn every_violation_is_named_at_once() {
        let request = CompletionRequest {
            n: Some(0),
            max_output_tokens: Some(-1),
            temperature: Some(f64::NAN),
            extra_json: "{".into(),
            ..CompletionRequest::default()
        };
        let error = completion(&request).unwrap_err();
        let fields: Vec<_> = error.violations.iter().map(|v| v.field.as_str()).collect();
        let expected = ["model", "messages", "temperature", "n", "max_output_tokens", "extra_json"];
        assert_eq!(fields, expected.map(|f| format!("request.{f}")));
    }
}
