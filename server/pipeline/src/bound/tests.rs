use std::{fs, path::PathBuf};

use serde_json::Value;
use tollgate_proto::v1::{GenerateImageRequest, Message, Part, RefusalPart, TextPart, ToolCallPart, part::Content};

use super::*;
use crate::prompt;

/// Fixtures whose usage cannot be compared with their text, and why: the counts are those of the recording, the text is not.
const NOT_COMPARABLE: [(&str, &str); 8] = [
    ("anthropic/context_window_stop", "a thousand tokens of which the fixture keeps two words"),
    ("anthropic/pause_turn", "the search that the provider ran is written by the model and is no text"),
    ("bedrock/text_stream", "the text is shortened, the recorded count is not"),
    ("bedrock/usage_cached", "a recorded count beside the text `ok`"),
    ("cohere/text_stream", "the text is shortened, the recorded count is not"),
    ("cohere/usage_cached", "a recorded count beside the text `ok`"),
    ("gemini/usage_cached", "a recorded count beside the text `ok`"),
    ("openrouter/usage_cached", "a recorded count beside the text `ok`"),
];

fn envelopes() -> Vec<Value> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../providers/fixtures"));
    let folders = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|path| path.is_dir());
    let mut files: Vec<_> =
        folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".fixture.json"));
    files.sort();
    files.iter().map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
}

/// What the answer said, as the message that it becomes in the next prompt; `None`: nothing that could be measured.
fn answer(expect: &Value) -> Option<Message> {
    let text = |name: &str| expect[name].as_str().unwrap_or_default().to_owned();
    if !text("reasoning").is_empty() || expect["usage"]["reasoning_tokens"] != 0 {
        return None;
    }
    let calls = expect["tool_calls"].as_array()?.iter().map(|call| {
        let arguments_json = match &call["arguments"] {
            Value::String(text) => text.clone(),
            object => object.to_string(),
        };
        let text = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
        Content::ToolCall(ToolCallPart { id: text("id"), name: text("name"), arguments_json, ..Default::default() })
    });
    let said =
        [Content::Text(TextPart { text: text("text") }), Content::Refusal(RefusalPart { text: text("refusal") })];
    let said = said.into_iter().filter(|part| match part {
        Content::Text(t) => !t.text.is_empty(),
        Content::Refusal(r) => !r.text.is_empty(),
        _ => true,
    });
    let parts: Vec<_> = said.chain(calls).map(|content| Part { content: Some(content), ..Part::default() }).collect();
    (!parts.is_empty()).then(|| Message { parts, ..Message::default() })
}

#[test]
fn no_answer_has_more_tokens_than_its_bound() {
    let by = Bytes { most: true };
    let (mut compared, mut wrong) = (0, Vec::new());
    for envelope in envelopes() {
        let name = envelope["fixture"].as_str().unwrap().to_owned();
        let expect = &envelope["expect"];
        let (Some(tokens), Some(message)) = (expect["usage"]["completion_tokens"].as_u64(), answer(expect)) else {
            continue;
        };
        let bound = by.message() + prompt::parts(&message.parts, &by);
        let excepted = NOT_COMPARABLE.iter().any(|(fixture, _)| *fixture == name);
        match (tokens <= bound, excepted) {
            (false, false) => wrong.push(format!("{name}: {tokens} tokens, bound {bound}")),
            (true, true) => wrong.push(format!("{name} can be compared now: take it out of the list")),
            _ => compared += 1,
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(compared >= 40, "only {compared} fixtures were compared");
}

#[test]
fn the_least_leaves_out_what_may_not_be_read_and_the_most_nothing() {
    use tollgate_proto::v1::{CompletionRequest, FilePart, ImagePart};

    let part = |content| Part { content: Some(content), ..Part::default() };
    let parts = vec![
        part(Content::Text(TextPart { text: "four".into() })),
        part(Content::Image(ImagePart::default())),
        part(Content::Audio(AudioPart { data: Some(vec![0; 1_600].into()), ..Default::default() })),
        part(Content::File(FilePart::default())),
    ];
    let messages = vec![Message { parts, ..Message::default() }];
    let request = CompletionRequest { messages, ..CompletionRequest::default() };
    assert_eq!(least_input(&request), PER_REQUEST + PER_MESSAGE + 4 + LEAST_PER_IMAGE);
    let media = PER_IMAGE + (100 + 64) + PER_REMOTE_FILE;
    assert_eq!(completion_input(&request), PER_REQUEST + PER_MESSAGE + 4 + media);
}

#[test]
fn what_is_compressed_is_held_at_more_than_its_bytes() {
    use tollgate_proto::v1::FilePart;

    let held = |media_type: &str| {
        let file =
            FilePart { data: Some(vec![0; 1_000].into()), media_type: Some(media_type.into()), ..Default::default() };
        Bytes { most: true }.file(&file)
    };
    assert_eq!(held("text/plain; charset=utf-8"), 1_000);
    assert_eq!(held("application/json"), 1_000);
    for compressed in ["application/pdf", "", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"]
    {
        assert_eq!(held(compressed), PER_REMOTE_FILE, "{compressed}");
    }
}

fn ranking(query: &str, documents: &[String]) -> u64 {
    let request =
        RerankRequest { query: Some(query.into()), documents: documents.to_vec(), ..RerankRequest::default() };
    most(&Request::Rerank(request.into())).queries
}

#[test]
fn an_image_is_held_by_its_pixels() {
    assert_eq!(drawn("1024x1024"), 8_192);
    assert_eq!(drawn("3840x2160"), 64_800);
    assert_eq!(drawn("256x256"), drawn("1024x1024"));
    for unsized_ in ["", "auto", "x", "-1x5"] {
        assert_eq!(drawn(unsized_), 12_288, "{unsized_}");
    }
    let request = GenerateImageRequest { n: Some(3), ..Default::default() };
    let most = most(&Request::Image(request.into()));
    assert_eq!((most.output, most.choices), (Some(12_288), 3));
}

#[test]
fn a_query_is_held_for_every_hundred_documents_and_long_ones_count_as_several() {
    let documents = |count, bytes| vec!["x".repeat(bytes); count];
    assert_eq!(ranking("q", &documents(1, 10)), 1);
    assert_eq!(ranking("q", &documents(100, 499)), 1);
    assert_eq!(ranking("q", &documents(101, 10)), 2);
    assert_eq!(ranking("q", &documents(100, 500)), 2, "each is two pieces");
    assert_eq!(ranking("q", &documents(100, 1_000_000)), 9, "cut after 4,096 tokens, nine pieces");
    assert_eq!(ranking(&"q".repeat(10_000), &documents(1, 10)), 1);
}
