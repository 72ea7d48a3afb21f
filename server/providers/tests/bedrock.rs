//! What Bedrock is sent: what Converse asks for that no other dialect does, and the makers' own bodies behind InvokeModel.

#![allow(clippy::unwrap_used)] // a test says by panicking

use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_domain::{Class, Failure, Secret};
use tollgate_proto::v1::{
    CompletionRequest, CreateEmbeddingRequest, Dialect, EmbeddingInput, FilePart, Message, Part, Reasoning,
    ReasoningPart, Role, TextPart, embedding_input::Input, part::Content,
};
use tollgate_providers::{
    ChatCall, EmbedCall, Head, Mode, Outgoing, Target, bedrock, credential::Credential, registry::registry,
};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const NOVA: &str = "amazon.nova-pro-v1:0";

fn target(model: &str) -> Target {
    Target {
        base_url: bedrock::base_url("us-east-1"),
        api_version: None,
        credential: Credential::Key(Secret::new("bedrock-api-key")),
        model: model.into(),
        headers: Default::default(),
    }
}

fn outgoing(model: &str, request: &CompletionRequest, mode: Mode, prefill: Option<&str>) -> Result<Outgoing, Failure> {
    let call = ChatCall { max_output: Some(4_096), prefill, ..ChatCall::new(request, mode) };
    registry("bedrock").unwrap().chat().unwrap().request(&target(model), &call)
}

/// The body, what the provider cannot heed, and what was dropped.
fn sent(model: &str, request: &CompletionRequest) -> (Value, Vec<String>, Vec<String>) {
    let outgoing = outgoing(model, request, Mode::Whole, None).unwrap();
    let unsupported = outgoing.unsupported.into_iter().map(|parameter| parameter.field).collect();
    (serde_json::from_slice(outgoing.request.body()).unwrap(), unsupported, outgoing.dropped)
}

fn read(mut request: Value) -> CompletionRequest {
    request["model"] = json!("alias");
    if request.get("messages").is_none() {
        request["messages"] = json!([{"role": "user", "content": "Hi"}]);
    }
    tollgate_http::openai::read_chat(request.to_string().as_bytes()).unwrap()
}

fn part(content: Content) -> Part {
    Part { content: Some(content), ..Part::default() }
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role: role as i32, parts, ..Message::default() }
}

const TOOL: &str = r#"{"type":"function","function":{"name":"look","description":"","parameters":{"type":"object"}}}"#;

fn tool() -> Value {
    serde_json::from_str(TOOL).unwrap()
}

/// A conversation in which `look` was called, by an id of another provider's.
fn called(id: &str) -> Value {
    let call = json!({"id": id, "type": "function", "function": {"name": "look", "arguments": ""}});
    json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": id, "content": "seen"},
    ])
}

#[test]
fn the_path_says_model_and_operation_and_an_arn_is_one_segment() {
    let uri = |model: &str, mode| outgoing(model, &read(json!({})), mode, None).unwrap().request.uri().to_string();
    let host = "https://bedrock-runtime.us-east-1.amazonaws.com/model";
    assert_eq!(uri("amazon.nova-pro-v1:0", Mode::Whole), format!("{host}/amazon.nova-pro-v1%3A0/converse"));
    assert_eq!(
        uri("arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.x", Mode::Stream),
        format!("{host}/arn%3Aaws%3Abedrock%3Aus-west-2%3A123456789012%3Ainference-profile%2Fus.x/converse-stream")
    );
    assert_eq!(uri("invoke/anthropic.c", Mode::Whole), format!("{host}/anthropic.c/invoke"));
    assert_eq!(uri("invoke/anthropic.c", Mode::Stream), format!("{host}/anthropic.c/invoke-with-response-stream"));
    assert_eq!(bedrock::base_url("cn-north-1"), "https://bedrock-runtime.cn-north-1.amazonaws.com.cn");
}

#[test]
fn an_api_key_is_sent_as_a_bearer() {
    let outgoing = outgoing(NOVA, &read(json!({})), Mode::Whole, None).unwrap();
    assert_eq!(outgoing.request.headers()["authorization"], "Bearer bedrock-api-key");
}

#[test]
fn caching_hints_become_cache_points_behind_what_they_close_where_the_model_keeps_a_cache() {
    let hint = json!({"type": "ephemeral"});
    let mut tool = tool();
    tool["cache_control"] = hint.clone();
    let request = read(json!({
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": hint}, {"type": "text", "text": "there"}]},
        ],
        "tools": [tool],
    }));
    let (body, _, dropped) = sent(CLAUDE, &request);
    assert_eq!(body["system"], json!([{"text": "Long."}, {"cachePoint": {"type": "default", "ttl": "1h"}}]));
    let point = json!({"cachePoint": {"type": "default"}});
    assert_eq!(body["messages"][0]["content"], json!([{"text": "Hi"}, point, {"text": "there"}]));
    assert_eq!(body["toolConfig"]["tools"][1], point);
    assert_eq!(dropped, Vec::<String>::new());
    let (body, unsupported, dropped) = sent("meta.llama3-70b-instruct-v1:0", &request);
    assert!(!body.to_string().contains("cachePoint"));
    assert_eq!(unsupported, Vec::<String>::new());
    assert_eq!(
        dropped,
        ["messages[0].cache_control", "messages[1].content[0].cache_control", "tools[0].cache_control"]
    );
}

#[test]
fn tools_stand_wherever_the_conversation_holds_calls() {
    let history = called("call_A");
    let (body, unsupported, _) = sent(NOVA, &read(json!({"messages": history})));
    assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["name"], "look", "of the calls themselves");
    assert_eq!(unsupported, Vec::<String>::new());
    let (body, ..) = sent(NOVA, &read(json!({"messages": history, "tools": [tool()]})));
    let spec = &body["toolConfig"]["tools"][0]["toolSpec"];
    assert_eq!(*spec, json!({"name": "look", "inputSchema": {"json": {"type": "object"}}}), "no empty description");
    assert!(sent(NOVA, &read(json!({}))).0.get("toolConfig").is_none());
}

#[test]
fn no_tools_are_offered_to_a_model_that_may_call_none() {
    let fresh = json!({"tools": [tool()], "tool_choice": "none"});
    let (body, unsupported, _) = sent(NOVA, &read(fresh));
    assert!(body.get("toolConfig").is_none());
    assert_eq!(unsupported, Vec::<String>::new());
    let running = json!({"messages": called("call_A"), "tools": [tool()], "tool_choice": "none"});
    let (body, unsupported, _) = sent(CLAUDE, &read(running.clone()));
    assert_eq!(body["additionalModelRequestFields"], json!({"tool_choice": {"type": "none"}}));
    assert!(body["toolConfig"].get("toolChoice").is_none());
    assert_eq!(unsupported, Vec::<String>::new());
    assert_eq!(sent(NOVA, &read(running)).1, ["tool_choice"]);
}

#[test]
fn one_call_at_a_time_is_told_to_claude_in_its_own_words_alone() {
    let named = json!({"type": "function", "function": {"name": "look"}});
    let request = json!({"tools": [tool()], "tool_choice": named, "parallel_tool_calls": false});
    let (body, unsupported, _) = sent(CLAUDE, &read(request.clone()));
    let choice = json!({"type": "tool", "name": "look", "disable_parallel_tool_use": true});
    assert_eq!(body["additionalModelRequestFields"]["tool_choice"], choice);
    assert!(body["toolConfig"].get("toolChoice").is_none());
    assert_eq!(unsupported, Vec::<String>::new());
    let (body, unsupported, _) = sent(NOVA, &read(request));
    assert_eq!(body["toolConfig"]["toolChoice"], json!({"tool": {"name": "look"}}));
    assert_eq!(unsupported, ["parallel_tool_calls"]);
}

#[test]
fn a_call_and_its_result_keep_one_id_that_bedrock_takes() {
    for (id, stays) in [("call_A-1", true), ("call.with/odd", false), (&"x".repeat(65), false)] {
        let (body, ..) = sent(NOVA, &read(json!({"messages": called(id)})));
        let used = &body["messages"][1]["content"][0]["toolUse"];
        assert_eq!(used["toolUseId"], body["messages"][2]["content"][0]["toolResult"]["toolUseId"]);
        assert_eq!(used["input"], json!({}));
        let told = used["toolUseId"].as_str().unwrap();
        assert_eq!(told == id, stays);
        assert!(told.len() <= 64 && told.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)), "{told}");
    }
}

#[test]
fn documents_have_clean_names_of_their_own_and_never_stand_alone() {
    let file = |name: &str, media_type: &str| {
        part(Content::File(FilePart {
            data: Some(Bytes::from_static(b"x")),
            media_type: Some(media_type.into()),
            filename: Some(name.into()),
            ..FilePart::default()
        }))
    };
    let parts = vec![
        file("Q3 report_(final).v2.pdf", "application/pdf"),
        file("q3/Q3  report (final) v2.pdf", "application/pdf"),
        file("notes.md", "text/plain; charset=utf-8"),
        file("\u{e9}.csv", "text/csv"),
    ];
    let request = CompletionRequest { messages: vec![message(Role::User, parts)], ..CompletionRequest::default() };
    let (body, ..) = sent(NOVA, &request);
    let content = body["messages"][0]["content"].as_array().unwrap();
    let told: Vec<_> = content.iter().filter_map(|b| b.get("document")).map(|d| (&d["name"], &d["format"])).collect();
    let expected =
        [("Q3 report (final) v2", "pdf"), ("Q3 report (final) v2 (2)", "pdf"), ("notes", "md"), ("document", "csv")];
    assert_eq!(told, expected.map(|(n, f)| (json!(n), json!(f))).iter().map(|(n, f)| (n, f)).collect::<Vec<_>>());
    assert_eq!(content[0]["document"]["source"], json!({"bytes": "eA=="}));
    assert!(content[4]["text"].as_str().unwrap().contains("notes"));

    let unknown = vec![file("x.zip", "application/zip")];
    let request = CompletionRequest { messages: vec![message(Role::User, unknown)], ..CompletionRequest::default() };
    let failure = outgoing(NOVA, &request, Mode::Whole, None).unwrap_err();
    assert!(failure.message.starts_with("messages[0].content[0].media_type"), "{}", failure.message);
}

#[test]
fn only_what_lies_in_s3_is_named_by_its_url() {
    let provider = registry("bedrock").unwrap();
    let chat = provider.chat().unwrap();
    assert!(chat.fetches("m", "s3://bucket/cat.png") && !chat.fetches("m", "https://example.com/cat.png"));
    let image = |url: &str| {
        let content = json!([{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]);
        outgoing(NOVA, &read(json!({"messages": [{"role": "user", "content": content}]})), Mode::Whole, None)
    };
    let body: Value = serde_json::from_slice(image("s3://bucket/cat.JPG").unwrap().request.body()).unwrap();
    let location = json!({"s3Location": {"uri": "s3://bucket/cat.JPG"}});
    assert_eq!(body["messages"][0]["content"][1], json!({"image": {"format": "jpeg", "source": location}}));
    let failure = image("https://example.com/cat.png").unwrap_err();
    assert_eq!(failure.class, Class::Unsupported);
    assert!(failure.message.contains("messages[0].content[1]"), "{}", failure.message);
}

#[test]
fn reasoning_goes_back_unchanged_and_without_its_proof_not_at_all() {
    let thought = |text: &str, signature: Option<&str>, redacted: Option<&str>| {
        part(Content::Reasoning(ReasoningPart {
            text: text.into(),
            signature: signature.map(str::to_owned),
            redacted: redacted.map(str::to_owned),
            native_id: None,
            format: None,
        }))
    };
    let parts = vec![
        thought("I think.", Some("sig=="), None),
        thought("", None, Some("RXRr")),
        thought("somebody else's", None, None),
        part(Content::Text(TextPart { text: "Hello".into() })),
    ];
    let request = CompletionRequest { messages: vec![message(Role::Assistant, parts)], ..CompletionRequest::default() };
    let (body, _, dropped) = sent(CLAUDE, &request);
    let expected = json!([
        {"reasoningContent": {"reasoningText": {"text": "I think.", "signature": "sig=="}}},
        {"reasoningContent": {"redactedContent": "RXRr"}},
        {"text": "Hello"},
    ]);
    assert_eq!(body["messages"][0]["content"], expected);
    assert_eq!(dropped, ["messages[0].content[2].reasoning"]);
}

#[test]
fn a_tool_loop_that_lost_its_thoughts_goes_on_without_thinking() {
    let mut request = read(json!({"messages": called("toolu_1"), "tools": [tool()], "reasoning_effort": "high"}));
    let (body, _, dropped) = sent(CLAUDE, &request);
    assert!(body.get("additionalModelRequestFields").is_none() && body.get("outputConfig").is_none(), "{body}");
    assert_eq!(dropped, ["reasoning_effort"]);
    assert_eq!(sent(NOVA, &request).0["outputConfig"], json!({"effort": "high"}), "only Claude insists on them");
    let signature = Some("sig==".to_owned());
    let thought = ReasoningPart { text: "I think.".into(), signature, ..ReasoningPart::default() };
    request.messages[1].parts.insert(0, part(Content::Reasoning(thought)));
    let (body, _, dropped) = sent(CLAUDE, &request);
    assert_eq!(body["additionalModelRequestFields"], json!({"thinking": {"type": "adaptive"}}));
    assert_eq!(dropped, Vec::<String>::new());
}

#[test]
fn a_reasoning_budget_stays_below_the_output_limit() {
    // What is asked for, our own cap; what is thought, what is said of it.
    let cases = [
        (None, Some(8_192), Some(8_192), Ok(8_191)),
        (None, Some(8_192), Some(20_000), Ok(10_000)),
        (None, Some(8_192), Some(1_024), Err(())),
        (Some(9_000), None, None, Err(())),
        (Some(12_000), None, None, Ok(10_000)),
    ];
    for (asked, max_output, output_cap, thought) in cases {
        let mut request = read(json!({}));
        request.max_output_tokens = asked;
        request.reasoning = Some(Reasoning { budget_tokens: Some(10_000), effort_native: None });
        let call = ChatCall { max_output, output_cap, ..ChatCall::new(&request, Mode::Whole) };
        for kind in ["bedrock", "anthropic"] {
            let outgoing = registry(kind).unwrap().chat().unwrap().request(&target(CLAUDE), &call).unwrap();
            let body: Value = serde_json::from_slice(outgoing.request.body()).unwrap();
            let thinking = &[&body["thinking"], &body["additionalModelRequestFields"]["thinking"]];
            let budget = thinking.iter().find_map(|thinking| thinking["budget_tokens"].as_i64());
            assert_eq!(budget, thought.ok(), "{kind} {asked:?} {output_cap:?}");
            let said = (outgoing.unsupported.len(), outgoing.dropped.len());
            let expected = match (asked, thought) {
                (Some(_), Err(())) => (1, 0),
                (_, Ok(10_000)) => (0, 0),
                _ => (0, 1),
            };
            assert_eq!(said, expected, "{kind} {asked:?} {output_cap:?}");
        }
    }
}

#[test]
fn form_effort_tier_and_labels_have_members_of_their_own() {
    let format = json!({"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object"}}});
    let request = read(json!({
        "response_format": format, "reasoning_effort": "high", "service_tier": "flex", "top_k": 40,
        "metadata": {"team": "maps"},
    }));
    let (body, unsupported, _) = sent(CLAUDE, &request);
    let schema = json!({"schema": r#"{"type":"object"}"#, "name": "city"});
    let text_format = json!({"type": "json_schema", "structure": {"jsonSchema": schema}});
    assert_eq!(body["outputConfig"], json!({"textFormat": text_format, "effort": "high"}));
    assert_eq!(body["additionalModelRequestFields"], json!({"top_k": 40, "thinking": {"type": "adaptive"}}));
    assert_eq!(body["serviceTier"], json!({"type": "flex"}));
    assert_eq!(body["requestMetadata"], json!({"team": "maps"}));
    assert_eq!(unsupported, Vec::<String>::new());
    let (body, unsupported, _) = sent(NOVA, &request);
    assert_eq!(unsupported, ["top_k"]);
    assert!(body.get("additionalModelRequestFields").is_none());
    // An answer that is gone on with is past its thinking.
    let begun = outgoing(CLAUDE, &request, Mode::Whole, Some("The")).unwrap();
    let body: Value = serde_json::from_slice(begun.request.body()).unwrap();
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": [{"text": "The"}]}));
    assert_eq!(body["additionalModelRequestFields"], json!({"top_k": 40}));
    assert!(body["outputConfig"].get("effort").is_none());
}

#[test]
fn what_converse_cannot_say_is_named() {
    let request = read(json!({
        "n": 2, "seed": 1, "temperature": 1.5, "logprobs": true, "service_tier": "scale", "store": true,
        "response_format": {"type": "json_object"}, "metadata": {"jobs": ["a"]}, "reasoning_effort": "none",
    }));
    let (body, unsupported, _) = sent(NOVA, &request);
    let expected = [
        "seed",
        "logprobs",
        "store",
        "metadata",
        "n",
        "temperature",
        "response_format",
        "reasoning_effort",
        "service_tier",
    ];
    assert_eq!(unsupported, expected);
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["messages"]);
}

#[test]
fn claude_behind_invoke_gets_its_makers_body() {
    let request = read(json!({"max_tokens": 9}));
    let outgoing = outgoing(&format!("invoke/{CLAUDE}"), &request, Mode::Stream, None).unwrap();
    let body: Value = serde_json::from_slice(outgoing.request.body()).unwrap();
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]);
    assert_eq!(body, json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": messages}));
    assert!(!outgoing.request.headers().contains_key("anthropic-version"));
}

fn embed_call(request: &CreateEmbeddingRequest) -> EmbedCall<'_> {
    EmbedCall { request, want_native: Dialect::Unspecified, drop_params: false, attempt_id: "a-1", traceparent: None }
}

fn texts(texts: &[&str]) -> CreateEmbeddingRequest {
    let input = |text: &&str| EmbeddingInput { input: Some(Input::Text((*text).to_owned())) };
    CreateEmbeddingRequest { inputs: texts.iter().map(input).collect(), ..CreateEmbeddingRequest::default() }
}

fn embedded(model: &str, request: &CreateEmbeddingRequest) -> Result<Value, Failure> {
    let provider = registry("bedrock").unwrap();
    let outgoing = provider.embed().unwrap().request(&target(model), &embed_call(request))?;
    assert!(outgoing.request.uri().path().ends_with("/invoke"));
    Ok(serde_json::from_slice(outgoing.request.body()).unwrap())
}

#[test]
fn embeddings_are_asked_for_in_the_words_of_the_models_maker() {
    let titan = "amazon.titan-embed-text-v2:0";
    let short = CreateEmbeddingRequest { dimensions: Some(256), ..texts(&["a"]) };
    assert_eq!(embedded(titan, &short).unwrap(), json!({"inputText": "a", "dimensions": 256}));
    let failure = embedded(titan, &texts(&["a", "b"])).unwrap_err();
    assert!(failure.message.starts_with("inputs:"), "{}", failure.message);
    let cohere = "cohere.embed-multilingual-v3";
    let both = embedded(cohere, &texts(&["a", "b"])).unwrap();
    assert_eq!(both, json!({"texts": ["a", "b"], "input_type": "search_document"}));
    let query = CreateEmbeddingRequest { extra_json: r#"{"input_type":"search_query"}"#.into(), ..texts(&["a"]) };
    assert_eq!(embedded(cohere, &query).unwrap()["input_type"], "search_query");
    let longer = CreateEmbeddingRequest { dimensions: Some(1_024), ..texts(&["a"]) };
    assert_eq!(embedded("us.cohere.embed-v4:0", &longer).unwrap()["output_dimension"], 1_024);
    assert!(embedded(NOVA, &texts(&["a"])).unwrap_err().message.starts_with("model:"));
}

#[test]
fn coheres_vectors_are_read_in_both_shapes_and_their_usage_from_the_head() {
    let provider = registry("bedrock").unwrap();
    let embed = provider.embed().unwrap();
    let request = texts(&["a", "b"]);
    for body in [r#"{"embeddings":[[0.5],[1]]}"#, r#"{"embeddings":{"float":[[0.5],[1]]}}"#] {
        let answer = embed.answer(&embed_call(&request), Bytes::from_static(body.as_bytes())).unwrap();
        let vectors: Vec<_> = answer.embeddings.iter().map(|e| (e.index, e.values.as_slice())).collect();
        assert_eq!(vectors, [(0, [0.5].as_slice()), (1, [1.0].as_slice())]);
        assert_eq!(answer.usage, None);
    }
    let mut headers = http::HeaderMap::new();
    headers.insert("x-amzn-bedrock-input-token-count", "7".parse().unwrap());
    let usage = embed.usage(&Head { status: http::StatusCode::OK, headers }).unwrap();
    assert_eq!(usage.input.unwrap().total, 7);
}

fn decoded(body: &str) -> Result<Vec<tollgate_proto::v1::CompletionEvent>, Failure> {
    let request = read(json!({}));
    let call = ChatCall::new(&request, Mode::Whole);
    let mut decoder = registry("bedrock").unwrap().chat().unwrap().decoder(&target("m"), &call);
    let mut events = Vec::new();
    decoder.feed(&Bytes::from(body.to_owned()), &mut events)?;
    decoder.end(&mut events)?;
    Ok(events)
}

#[test]
fn a_malformed_answer_is_a_failure_that_knows_what_it_used() {
    let body = r#"{"output":{"message":{"content":[]}},"stopReason":"malformed_tool_use","usage":{"inputTokens":3,"outputTokens":4}}"#;
    let failure = decoded(body).unwrap_err();
    assert_eq!((failure.class, failure.native_code.as_str()), (Class::ServerError, "malformed_tool_use"));
    assert_eq!(failure.usage.unwrap().output.unwrap().total, 4);
}

#[test]
fn writes_to_a_cache_that_lasts_are_told_apart() {
    use tollgate_proto::v1::completion_event::Event;
    let usage = r#"{"inputTokens":1,"outputTokens":2,"cacheReadInputTokenCount":4,"cacheWriteInputTokenCount":8,
        "cacheDetails":[{"ttl":"1h","inputTokens":5},{"ttl":"5m","inputTokens":3}]}"#;
    let body =
        format!(r#"{{"output":{{"message":{{"content":[{{"text":"x"}}]}}}},"stopReason":"end_turn","usage":{usage}}}"#);
    let events = decoded(&body).unwrap();
    let Some(Event::Usage(usage)) = events.last().and_then(|e| e.event.clone()) else { panic!("usage comes last") };
    let input = usage.input.unwrap();
    assert_eq!((input.total, input.cached_read, input.cache_write_5m, input.cache_write_1h), (13, 4, 3, 5));
}
