//! Whatever comes in: a 4xx that names the field, never a 5xx, a hang or a panic.

use serde_json::{Value, json};
use tollgate_client::{reason, v1};
use tollgate_tests::support::http::Caller;

use crate::support::{World, hello, request};

/// Sends raw bytes and returns status and error object.
async fn post(world: &World, route: &str, body: &[u8]) -> (u16, Value) {
    post_to(world, &world.v1(route), body).await
}

async fn post_to(world: &World, url: &str, body: &[u8]) -> (u16, Value) {
    use http_body_util::{BodyExt, Full};
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = http::Request::post(url)
        .header("authorization", format!("Bearer {}", world.gateway.key()))
        .header("content-type", "application/json")
        .body(Full::new(bytes::Bytes::copy_from_slice(body)))
        .unwrap();
    let response = client.request(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice::<Value>(&bytes).unwrap()["error"].clone())
}

#[tokio::test]
async fn malformed_bodies_are_refused_with_the_field_named() {
    let world = World::start().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_part = format!(r#"{{"model":"scripted","messages":[{{"role":"user","content":{deep}}}]}}"#);
    let hello = |more: Value| hello(more).to_string().into_bytes();
    let cases: Vec<(Vec<u8>, Value)> = vec![
        (b"".to_vec(), Value::Null),
        (b"{".to_vec(), Value::Null),
        (b"[]".to_vec(), Value::Null),
        (b"\"text\"".to_vec(), Value::Null),
        (b"{\"model\":\"\xff\"}".to_vec(), Value::Null),
        (deep.clone().into_bytes(), Value::Null),
        (deep_part.into_bytes(), Value::Null),
        (b"{}".to_vec(), json!("model")),
        (br#"{"model":"scripted","model":"other","messages":[]}"#.to_vec(), Value::Null),
        (hello(json!({"messages": []})), json!("messages")),
        (hello(json!({"messages": "hi"})), json!("messages")),
        (hello(json!({"messages": [{"content": "no role"}]})), json!("messages[0].role")),
        (hello(json!({"messages": [{"role": "user", "content": 5}]})), json!("messages[0].content")),
        (
            hello(json!({"messages": [{"role": "user", "content": [{"text": "x"}]}]})),
            json!("messages[0].content[0].type"),
        ),
        (hello(json!({"messages": [{"role": "tool", "content": "x"}]})), json!("messages[0].tool_call_id")),
        (
            hello(
                json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,%%"}}]}]}),
            ),
            json!("messages[0].content[0].image_url.url"),
        ),
        (hello(json!({"max_tokens": -1})), json!("max_completion_tokens")),
        (hello(json!({"max_completion_tokens": 0})), json!("max_completion_tokens")),
        (hello(json!({"max_completion_tokens": i64::MAX})), json!("max_completion_tokens")),
        (hello(json!({"max_tokens": "many"})), json!("max_tokens")),
        (hello(json!({"n": 0})), json!("n")),
        (hello(json!({"n": 1_000})), json!("n")),
        (hello(json!({"temperature": 3})), json!("temperature")),
        (hello(json!({"top_p": -0.1})), json!("top_p")),
        (hello(json!({"stream": "yes"})), json!("stream")),
        (hello(json!({"tools": [{"type": "function"}]})), json!("tools[0].function")),
        (hello(json!({"tool_choice": "sometimes"})), json!("tool_choice")),
        (hello(json!({"model": 5})), json!("model")),
    ];
    for (body, param) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let (status, error) = post(&world, "chat/completions", &body).await;
        assert_eq!(status, 400, "{shown} -> {error}");
        assert_eq!(error["type"], "invalid_request_error", "{shown} -> {error}");
        assert!(!error["message"].as_str().unwrap().is_empty());
        if !param.is_null() {
            assert_eq!(error["param"], param, "{shown} -> {error}");
        }
    }
    for body in [r#"{"model":"scripted"}"#, r#"{"model":"scripted","input":[]}"#, r#"{"model":"scripted","input":5}"#] {
        let (status, error) = post(&world, "embeddings", body.as_bytes()).await;
        assert_eq!(status, 400, "{body} -> {error}");
        assert_eq!(error["param"], "input", "{body} -> {error}");
    }
    assert_eq!(world.provider.log().stats().calls, 0);
    assert!(!world.gateway.logs().contains("panicked"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let world = World::with(|b| b.set("/limits", json!({"max_body_bytes": 10_000}))).await;
    let long = "x".repeat(20_000);
    let (status, error) = post(&world, "chat/completions", hello(json!({"user": long})).to_string().as_bytes()).await;
    assert_eq!((status, &error["code"]), (413, &json!("request_too_large")));
    let mut asked = request();
    asked.user = Some("x".repeat(100_000));
    let call = v1::CreateCompletionRequest { request: Some(asked) };
    let status = world.caller().await.completions().create_completion(call).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::RequestTooLarge), "{status:?}");
}

#[tokio::test]
async fn grpc_names_every_bad_field_at_once() {
    use tonic_types::StatusExt;
    let world = World::start().await;
    let asked = v1::CompletionRequest { n: Some(-1), temperature: Some(9.0), messages: Vec::new(), ..request() };
    let call = v1::CreateCompletionRequest { request: Some(asked) };
    let status = world.caller().await.completions().create_completion(call).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    let details = status.get_error_details();
    let fields: Vec<_> = details.bad_request().unwrap().field_violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["request.messages", "request.temperature", "request.n"]);
    let empty =
        world.caller().await.completions().create_completion(v1::CreateCompletionRequest { request: None }).await;
    assert_eq!(reason(&empty.unwrap_err()), Some(v1::ErrorReason::InvalidField));
}

#[tokio::test]
async fn an_original_from_outside_is_read_anew() {
    let world = World::start().await;
    let original = |body: &str| {
        Some(v1::Original {
            dialect: v1::Dialect::OpenaiChat as i32,
            body: bytes::Bytes::copy_from_slice(body.as_bytes()),
        })
    };
    let smuggled = hello(json!({"model": "other"})).to_string();
    let asked = v1::CompletionRequest { original: original(&smuggled), ..request() };
    let call = v1::CreateCompletionRequest { request: Some(asked) };
    let status = world.caller().await.completions().create_completion(call).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::ModelNotFound), "the typed model does not hide the original's");
    let asked = v1::CompletionRequest { original: original("{"), ..request() };
    let call = v1::CreateCompletionRequest { request: Some(asked) };
    let status = world.caller().await.completions().create_completion(call).await.unwrap_err();
    assert_eq!(reason(&status), Some(v1::ErrorReason::InvalidField));
}

#[tokio::test]
async fn unknown_routes_and_methods_are_answered_in_json() {
    let world = World::start().await;
    let (status, error) = post(&world, "nothing/here", b"{}").await;
    assert_eq!((status, &error["type"]), (404, &json!("invalid_request_error")));
    let (status, error) = post(&world, "models", b"{}").await;
    assert_eq!((status, &error["code"]), (405, &json!("method_not_allowed")));
    let root = world.v1("").trim_end_matches("/v1/").to_owned();
    for (path, allow) in [
        ("/v1/chat/completions", "POST"),
        ("/openai/deployments/models/chat/completions", "POST"),
        ("/engines/models/embeddings", "POST"),
        ("/v1/models/scripted", "GET,HEAD"),
        ("/v1/responses/resp_1", "GET,HEAD,DELETE"),
        ("/v1/responses/resp_1/cancel", "POST"),
        ("/v1/files", "POST,GET,HEAD"),
        ("/v1/files/file-1/content", "GET,HEAD"),
        ("/v1/batches/batch_1/cancel", "POST"),
        ("/key/info", "GET,HEAD"),
        ("/team/new", "POST"),
        ("/spend/logs", "GET,HEAD"),
    ] {
        let (caller, url) = (world.gateway.caller(), format!("{root}{path}"));
        let reply = match allow.contains("DELETE") {
            true => caller.post(&url, &json!({})).await.unwrap(),
            false => caller.delete(&url).await.unwrap(),
        };
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, allow), "{path}");
        assert_eq!(reply.json()["error"]["code"], "method_not_allowed", "{path}");
    }
    for below in ["", "/v1", "/openai", "/openai/v1", "/openai/deployments/models", "/engines/models"] {
        let url = format!("{root}{below}/messages");
        let reply = world.gateway.caller().delete(&url).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "POST"), "{url}");
        let missing = world.gateway.caller().get(&format!("{url}/nothing")).await.unwrap();
        assert_eq!(missing.status, 404, "{url}");
        for (reply, kind) in [(reply, "invalid_request_error"), (missing, "not_found_error")] {
            let (shape, told) = (&reply.json()["type"], &reply.json()["error"]["type"]);
            assert_eq!((shape, told), (&json!("error"), &json!(kind)), "{url}");
        }
    }
    // What no text can be made of.
    for (path, param) in [
        ("/v1/models/%FF", json!("model")),
        ("/v1/files/%FF", json!("file_id")),
        ("/v1/batches/%FF", json!("batch_id")),
        ("/v1/responses/%FF", json!("response_id")),
        ("/openai/deployments/%FF/models", json!(null)),
        ("/engines/models/files/%FF", json!(null)),
    ] {
        let reply = world.gateway.caller().get(&format!("{root}{path}")).await.unwrap();
        let error = &reply.json()["error"];
        assert_eq!((reply.status.as_u16(), &error["type"]), (400, &json!("invalid_request_error")), "{path}");
        assert_eq!((&error["code"], &error["param"]), (&json!("invalid_value"), &param), "{path}");
    }
    let models = Caller::anthropic(world.gateway.key()).get(&format!("{root}/v1/models/%FF")).await.unwrap();
    let messages = format!("{root}/openai/deployments/%FF/messages");
    let messages = world.gateway.caller().post(&messages, &json!({})).await.unwrap();
    for reply in [models, messages] {
        let (shape, told) = (&reply.json()["type"], &reply.json()["error"]["type"]);
        assert_eq!((reply.status.as_u16(), shape, told), (400, &json!("error"), &json!("invalid_request_error")));
    }
    let key = world.gateway.caller().post(&format!("{root}/key/%FF/regenerate"), &json!({})).await.unwrap();
    let error = &key.json()["error"];
    assert_eq!((key.status.as_u16(), &error["type"]), (400, &json!("bad_request_error")));
    assert_eq!((&error["code"], &error["param"]), (&json!("400"), &json!("key")));
    // Who may not ask is told so, and not that the thing is wrong.
    for path in ["/v1/files/file-1", "/v1/batches/batch_1", "/v1/responses/resp_1"] {
        let reply = Caller::default().get(&format!("{root}{path}")).await.unwrap();
        let error = &reply.json()["error"];
        assert_eq!((reply.status.as_u16(), &error["code"]), (401, &json!("invalid_api_key")), "{path}");
        assert_eq!(error["param"], json!(null), "{path}");
    }
}

#[tokio::test]
async fn a_bad_body_is_refused_in_the_shape_of_its_path() {
    let world = World::with(|builder| builder.set("/limits", json!({"max_body_bytes": 10_000}))).await;
    let large = hello(json!({"max_tokens": 5, "user": "x".repeat(20_000)})).to_string();
    let cases: [(&[u8], u16); 5] =
        [(b"{\"model\": ", 400), (b"[]", 400), (b"\xff", 400), (b"", 400), (large.as_bytes(), 413)];
    // A shim of its own process has a limit of its own.
    let at = |route: &str, status| if status == 413 { world.gateway.v1(route) } else { world.v1(route) };
    for route in
        ["chat/completions", "completions", "embeddings", "moderations", "rerank", "responses", "images/generations"]
    {
        for (body, status) in cases {
            let (told, error) = post_to(&world, &at(route, status), body).await;
            assert_eq!((told, &error["type"]), (status, &json!("invalid_request_error")), "{route} {body:?}");
            let mut members: Vec<_> = error.as_object().unwrap().keys().map(String::as_str).collect();
            members.sort_unstable();
            assert_eq!(members, ["code", "message", "param", "type"], "{route}");
        }
    }
    for route in ["messages", "messages/count_tokens"] {
        for (body, status) in cases {
            let kind = if status == 413 { "request_too_large" } else { "invalid_request_error" };
            let (told, error) = post_to(&world, &at(route, status), body).await;
            assert_eq!((told, &error["type"]), (status, &json!(kind)), "{route} {body:?}");
            assert!(error.get("code").is_none() && error.get("param").is_none(), "{route}: {error}");
        }
    }
    assert!(world.provider.log().records().is_empty(), "nothing was sent");
}
