//! The rows of services that speak OpenAI's dialect: what each cannot heed, and what each spells otherwise.

#![allow(clippy::unwrap_used)] // a test says by panicking

#[path = "support/sent.rs"]
mod sent;

use std::collections::HashSet;

use sent::{Sent, original, sent, written};
use serde_json::{Value, json};
use tollgate_proto::operation::Images;
use tollgate_proto::v1::{
    CompletionRequest, CreateEmbeddingRequest, Dialect, GenerateImageRequest, completion_event::Event,
};
use tollgate_providers::{
    ChatCall, EmbedCall, Mode, Target, UnaryCall, credential::Credential, openai::services::SERVICES, registry,
};

/// A body in OpenAI's JSON, with a message and these members.
fn asking(members: Value) -> String {
    let mut body = json!({"model": "alias", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body.to_string()
}

/// What is sent for the typed call, and for the caller's own bytes.
fn both(kind: &str, model: &str, text: &str) -> [Sent; 2] {
    let send = |request: CompletionRequest| sent(kind, model, &request, Mode::Whole, None);
    [send(written(text)), send(original(text))]
}

#[test]
fn every_row_has_a_name_of_its_own_a_place_and_a_line_about_it() {
    let kinds = registry::kinds();
    assert_eq!(kinds.iter().collect::<HashSet<_>>().len(), kinds.len());
    for kind in kinds {
        let adapter = registry::registry(kind).unwrap();
        assert_eq!(adapter.name(), kind);
        if let Some(base_url) = adapter.base_url() {
            let uri: http::Uri = base_url.parse().unwrap();
            assert!(uri.scheme().is_some() && uri.authority().is_some() && !base_url.ends_with('/'), "{base_url}");
        }
    }
    for service in &SERVICES {
        assert!(service.about.len() > 10 && service.about.lines().count() == 1, "{}", service.name);
    }
}

#[test]
fn what_a_service_cannot_heed_is_named_and_not_sent() {
    let text = json!({
        "model": "alias",
        "messages": [{"role": "user", "name": "ada", "content": "hi"}, {"role": "user", "content": "there"}],
        "n": 2, "logit_bias": {"7": 1}, "logprobs": true, "top_logprobs": 3, "temperature": 0.5,
    });
    for sent in both("groq", "m", &text.to_string()) {
        assert_eq!(sent.unsupported, ["n", "logit_bias", "logprobs", "top_logprobs", "messages[0].name"]);
        let messages = json!([{"role": "user", "content": "hi"}, {"role": "user", "content": "there"}]);
        assert_eq!(sent.body, json!({"model": "m", "messages": messages, "temperature": 0.5}));
    }
    let schema = json!({"type": "json_schema", "json_schema": {"name": "city", "schema": {}}});
    for sent in both("deepseek", "m", &asking(json!({"response_format": schema}))) {
        assert_eq!(sent.unsupported, ["response_format"]);
        assert!(sent.body.get("response_format").is_none());
    }
    for sent in both("deepseek", "m", &asking(json!({"response_format": {"type": "json_object"}}))) {
        assert_eq!(sent.unsupported, [""; 0]);
        assert_eq!(sent.body["response_format"]["type"], "json_object");
    }
}

#[test]
fn what_only_says_the_default_goes_unnoticed() {
    for sent in both("groq", "m", &asking(json!({"n": 1, "logprobs": false, "seed": 7}))) {
        assert_eq!(sent.unsupported, [""; 0]);
        assert_eq!(sent.body["seed"], 7);
        assert!(sent.body.get("n").is_none() && sent.body.get("logprobs").is_none());
    }
}

#[test]
fn reasoning_models_get_the_limit_that_they_take_and_no_sampling() {
    let text = asking(json!({"max_tokens": 9, "temperature": 0.5, "top_p": 1, "stop": "END"}));
    for kind in ["openai", "azure", "github_models"] {
        for model in ["gpt-5-mini", "o3"] {
            for sent in both(kind, model, &text) {
                assert_eq!(sent.unsupported, ["temperature", "stop"], "{kind} {model}");
                let messages = json!([{"role": "user", "content": "hi"}]);
                let expected = json!({"model": model, "messages": messages, "max_completion_tokens": 9});
                assert_eq!(sent.body, expected, "{kind}");
            }
        }
        for sent in both(kind, "gpt-5-chat-latest", &text) {
            assert_eq!(sent.unsupported, [""; 0], "{kind}");
            assert_eq!((&sent.body["max_tokens"], &sent.body["temperature"]), (&json!(9), &json!(0.5)));
        }
        for sent in both(kind, "gpt-5.1", &asking(json!({"temperature": 0.5, "reasoning_effort": "none"}))) {
            assert_eq!(sent.unsupported, [""; 0], "a model that does not reason can be sampled");
            assert_eq!(sent.body["temperature"], 0.5);
        }
    }
}

#[test]
fn a_service_that_knows_one_spelling_of_the_limit_gets_that_one() {
    for (kind, asked, heeded) in [
        ("together", "max_completion_tokens", "max_tokens"),
        ("groq", "max_tokens", "max_completion_tokens"),
        ("openai", "max_tokens", "max_tokens"),
    ] {
        for sent in both(kind, "m", &asking(json!({asked: 9}))) {
            let limits = ["max_tokens", "max_completion_tokens"].map(|name| sent.body.get(name).is_some());
            assert_eq!(sent.body[heeded], 9, "{kind}");
            assert_eq!(limits.into_iter().filter(|is_set| *is_set).count(), 1, "{kind}");
        }
    }
}

#[test]
fn an_effort_is_spelled_as_the_service_spells_it() {
    let encoded = |kind, request: &CompletionRequest| sent(kind, "m", request, Mode::Whole, None).body;
    let mut request = written(&asking(json!({"reasoning_effort": "high"})));
    assert_eq!(encoded("groq", &request)["reasoning_effort"], "high");
    assert_eq!(encoded("openrouter", &request)["reasoning"], json!({"effort": "high"}));
    request.reasoning.as_mut().unwrap().budget_tokens = Some(2_000);
    assert_eq!(encoded("openrouter", &request)["reasoning"], json!({"max_tokens": 2_000}));
    assert_eq!(sent("groq", "m", &request, Mode::Whole, None).left_out(), ["reasoning.budget_tokens"]);

    for sent in both("deepseek", "m", &asking(json!({"reasoning_effort": "none"}))) {
        assert_eq!(sent.body["thinking"], json!({"type": "disabled"}));
        assert!(sent.body.get("reasoning_effort").is_none());
    }
    for sent in both("deepseek", "m", &asking(json!({"reasoning_effort": "high"}))) {
        assert_eq!(sent.body["thinking"], json!({"type": "enabled"}));
        assert_eq!(sent.body["reasoning_effort"], "high");
    }
    let own = json!({"reasoning_effort": "high", "thinking": {"type": "disabled"}});
    for sent in both("deepseek", "m", &asking(own)) {
        assert_eq!(sent.body["thinking"], json!({"type": "disabled"}), "the caller's own word counts");
    }
}

#[test]
fn fireworks_never_cuts_a_prompt_unless_the_caller_wants_it() {
    let name = "context_length_exceeded_behavior";
    for sent in both("fireworks", "m", &asking(json!({}))) {
        assert_eq!(sent.body[name], "error");
    }
    for sent in both("fireworks", "m", &asking(json!({name: "truncate"}))) {
        assert_eq!(sent.body[name], "truncate");
    }
}

#[test]
fn azure_finds_a_deployment_in_the_path_or_in_the_body() {
    for sent in both("azure", "gpt-4o prod", &asking(json!({}))) {
        assert_eq!(sent.parts.uri, "https://provider.example/v1/openai/v1/chat/completions");
        assert_eq!(sent.parts.headers["api-key"], "sk-upstream-test");
        assert!(!sent.parts.headers.contains_key("authorization"));
        assert_eq!(sent.body["model"], "gpt-4o prod");
    }
    let target = Target {
        base_url: "https://contoso.openai.azure.com/openai/v1".into(),
        api_version: Some("2024-10-21".into()),
        credential: Credential::None,
        model: "gpt-4o prod".into(),
        headers: Default::default(),
    };
    let azure = registry::registry("azure").unwrap();
    let request = CreateEmbeddingRequest::default();
    let call = EmbedCall {
        request: &request,
        want_native: Dialect::Unspecified,
        drop_params: false,
        attempt_id: "a-1",
        traceparent: None,
    };
    let embedding = azure.embed().unwrap().request(&target, &call).unwrap().request;
    let resource = "https://contoso.openai.azure.com/openai";
    let deployment = format!("{resource}/deployments/gpt-4o%20prod");
    assert_eq!(embedding.uri().to_string(), format!("{deployment}/embeddings?api-version=2024-10-21"));
    let call = UnaryCall::<Images> {
        request: &GenerateImageRequest::default(),
        want_native: Dialect::Unspecified,
        drop_params: false,
        attempt_id: "a-1",
        traceparent: None,
    };
    let drawing = azure.images().unwrap().request(&target, &call).unwrap().request;
    assert_eq!(drawing.uri().to_string(), format!("{deployment}/images/generations?api-version=2024-10-21"));
    let check = azure.check(&target).unwrap();
    assert_eq!(check.uri().to_string(), format!("{resource}/models?api-version=2024-10-21"));
}

#[test]
fn an_answer_begins_where_its_id_and_model_are_known() {
    for (kind, file, id, model, extra) in [
        ("azure", "text_stream", "chatcmpl-AzS1", "gpt-4o-2024-11-20", "system_fingerprint"),
        ("perplexity", "text_stream", "5f9c", "sonar", "citations"),
    ] {
        let path = format!("{}/fixtures/{kind}/{file}.body.sse", env!("CARGO_MANIFEST_DIR"));
        let request = CompletionRequest::default();
        let mut decoder =
            registry::registry(kind).unwrap().chat().unwrap().decoder(&sent::target("m"), &call(&request, None));
        let mut events = Vec::new();
        decoder.feed(&std::fs::read(path).unwrap().into(), &mut events).unwrap();
        let Some(Event::Started(started)) = &events[0].event else { panic!("{kind} starts") };
        assert_eq!((started.response_id.as_str(), started.served_model.as_str()), (id, model));
        assert!(started.extra_json.contains(extra), "{}", started.extra_json);
    }
}

#[test]
fn a_beginning_is_marked_as_the_service_wants_it() {
    for (kind, mark) in [("moonshot", "partial"), ("qwen", "partial"), ("deepseek", "prefix")] {
        for request in [written(&asking(json!({}))), original(&asking(json!({})))] {
            let target = Target {
                base_url: "https://provider.example/v1".into(),
                api_version: None,
                credential: Credential::None,
                model: "m".into(),
                headers: Default::default(),
            };
            let adapter = registry::registry(kind).unwrap();
            let outgoing = adapter.chat().unwrap().request(&target, &call(&request, Some("Li"))).unwrap();
            let body: Value = serde_json::from_slice(outgoing.request.body()).unwrap();
            assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "Li", mark: true}), "{kind}");
        }
    }
}

fn call<'a>(request: &'a CompletionRequest, prefill: Option<&'a str>) -> ChatCall<'a> {
    ChatCall { prefill, ..ChatCall::new(request, Mode::Stream) }
}
