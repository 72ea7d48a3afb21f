//! Errors are Anthropic's in shape and word, before an answer and within it.

use serde_json::{Value, json};
use tollgate_tests::{
    provider::{Cut, Step},
    support::http::Caller,
};

use super::{
    MODELS,
    told::{ask, caller, error, post},
    world,
};
use crate::support::World;

#[tokio::test]
async fn refusals_have_anthropics_shape_and_words() {
    let world = world().await;
    let url = world.v1("messages");
    let refused = async |caller: &Caller, body: &Value| error(&caller.post(&url, body).await.unwrap());
    let (status, kind, _) = refused(&Caller::anthropic("tg-wrong"), &ask("claude", json!({}))).await;
    assert_eq!((status, kind.as_str()), (401, "authentication_error"));
    let (status, kind, _) = refused(&Caller::default(), &ask("claude", json!({}))).await;
    assert_eq!((status, kind.as_str()), (401, "authentication_error"));
    let (status, kind, _) = refused(&caller(&world), &ask("nobody", json!({}))).await;
    assert_eq!((status, kind.as_str()), (404, "not_found_error"));
    for (wrong, field) in [
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]}), "messages[0].content[0].text"),
        (json!({"messages": [{"role": "robot", "content": "hi"}]}), "messages[0].role"),
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens"),
        (json!({"tool_choice": {"type": "perhaps"}}), "tool_choice.type"),
        (json!({"messages": []}), "messages"),
        (json!({"system": [{"type": "image"}]}), "system[0].source"),
        (json!({"thread": {"type": "create"}}), "thread"),
        (json!({"max_tokens": 0}), "max"),
    ] {
        let (status, kind, message) = refused(&caller(&world), &ask("claude", wrong)).await;
        assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
        assert!(message.contains(field), "{message}");
    }
    // By this word SDKs that would have the provider hold the conversation send all of it.
    let threaded = post(&world, &ask("claude", json!({"thread": {"type": "create"}}))).await.json();
    let details = json!({"error_code": "thread_unsupported_request", "unsupported": ["thread"]});
    assert_eq!(threaded["error"]["details"], details);
    assert!(world.provider.log().records().is_empty(), "nothing was sent");
    for path in ["messages", "messages/batches"] {
        let reply = caller(&world).get(&world.v1(path)).await.unwrap();
        assert_eq!(error(&reply).0, if path == "messages" { 405 } else { 404 });
    }
    let models = Caller::anthropic("tg-wrong").get(&world.v1("models")).await.unwrap();
    assert_eq!(error(&models).1, "authentication_error");
    let bearer = Caller::bearer(world.gateway.key()).post(&url, &ask("claude", json!({}))).await.unwrap();
    assert_eq!(bearer.status, 200, "a key comes in either header");
}

#[tokio::test]
async fn what_a_provider_fails_with_is_told_in_anthropics_words() {
    let world = world().await;
    for model in MODELS {
        for (status, told, kind) in [
            (503, 529, "overloaded_error"),
            (500, 502, "api_error"),
            (429, 429, "rate_limit_error"),
            (401, 502, "api_error"),
            (400, 400, "invalid_request_error"),
        ] {
            let content = format!(r#"[[script {{"status": {status}}}]]"#);
            let reply = post(&world, &ask(model, json!({"messages": [{"role": "user", "content": content}]}))).await;
            let (code, word, _) = error(&reply);
            assert_eq!((code, word.as_str()), (told, kind), "{model} at {status}");
            assert!(!reply.header("request-id").is_empty());
            assert_eq!(reply.json()["request_id"], reply.header("request-id"));
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_ends_with_an_error_event() {
    let world = world().await;
    let broken = Step::streams(10).then_cuts(4, Cut::Fin);
    for (model, upstream) in [
        ("claude", "claude-upstream"),
        ("gpt", "gpt-upstream"),
        ("llama", "llama-upstream"),
        ("gemini", "gemini-3-upstream"),
    ] {
        for step in [broken.clone(), Step::streams(10).then_errs(4)] {
            world.provider.script(upstream, [step]);
            let body = ask(model, json!({"stream": true}));
            let (events, ended) = caller(&world).stream(&world.v1("messages"), &body).await.unwrap().rest().await;
            ended.unwrap();
            assert!(events.iter().any(|event| event.data.contains("text_delta")), "{model}: {events:?}");
            let last = events.last().unwrap();
            assert_eq!(last.name.as_deref(), Some("error"), "{model}: {last:?}");
            let error = last.json();
            assert_eq!(error["type"], "error");
            assert!(error["error"]["type"].is_string() && error["error"]["message"].is_string(), "{error}");
            assert!(error["request_id"].is_string(), "{error}");
            assert!(!events.iter().any(|event| event.name.as_deref() == Some("message_stop")));
        }
    }
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_said_to_be_so() {
    let world = World::with_provider(|builder, url| {
        let deployment = |window: u64| {
            json!({"provider": "scripted-openai", "model": "m", "context_window": window, "max_output_tokens": 100,
                   "price": {"input": "1", "output": "1"}})
        };
        builder
            .provider("scripted-openai", url)
            .deployment("small", deployment(1_000))
            .deployment("large", deployment(400_000))
    })
    .await;
    let content = "toll ".repeat(5_000);
    let long = ask("small", json!({"max_tokens": 50, "messages": [{"role": "user", "content": content}]}));
    let (status, kind, message) = error(&post(&world, &long).await);
    assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
    assert!(message.starts_with("prompt is too long"), "{message}");
    let object = json!({"error": {"message": "This model's maximum context length is 8192 tokens.",
                                  "code": "context_length_exceeded"}});
    world.provider.script("m", [Step { error: Some(object), ..Step::fails(400) }]);
    let (status, _, message) = error(&post(&world, &ask("large", json!({}))).await);
    assert_eq!(status, 400);
    assert!(message.starts_with("prompt is too long"), "{message}");
}

#[tokio::test]
async fn a_spent_budget_is_a_rate_limit_that_no_client_retries() {
    let world = World::with_provider(|builder, url| {
        builder
            .provider_of_kind("anthropic", "anthropic", url)
            .model("claude", "anthropic", "claude-upstream")
            .budget_usd("0.0000001")
    })
    .await;
    let reply = post(&world, &ask("claude", json!({}))).await;
    assert_eq!((error(&reply).0, error(&reply).1.as_str()), (429, "rate_limit_error"));
    assert_eq!(reply.header("x-should-retry"), "false");
}
