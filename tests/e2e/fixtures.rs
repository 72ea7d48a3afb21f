//! Every fixture of every provider through the running gateway: by gRPC and by the shim, in one piece and in single bytes.
//!
//! Each fixture is a deployment of its own, whose provider answers with its bytes and to its request line alone. What comes out of
//! either door is folded to the fixtures' normal form. What the shim prints is read as the provider's own dialect where its bytes are
//! passed on, and as OpenAI's where they are not: the way that clients of either read it.

mod one_answer;

use bytes::Bytes;
use futures::StreamExt;
use one_answer::Operation;
use serde_json::{Value, json};
use tollgate_client::{Client, v1};
use tollgate_domain::{Class, Failure};
use tollgate_providers::{ChatCall, Mode, Target, registry::registry};
use tollgate_tests::support::{Gateway, GatewayBuilder, http::Caller};
use tonic_types::StatusExt;
use v1::{CompletionEvent, completion_event::Event, delta::Piece, part::Content};

use tollgate_fixtures::{
    Fixture, fixtures,
    fold::{counts, differences, fold},
    keys::service_account,
    serve::{Cut, serve},
    setup::Setup,
};

fn keys_of_aws() -> Value {
    let aws =
        json!({"access_key_id": "AKIDEXAMPLE", "secret_access_key": "example-secret", "session_token": "example"});
    json!({"region": "us-east-1", "api_key": null, "aws": aws})
}

/// Fixtures of operations that the contract does not have.
const NOT_SERVED: [(&str, &str); 4] = [
    ("openai/transcription_json", "transcriptions"),
    ("openai/transcription_verbose_json", "transcriptions"),
    ("openai/transcription_stream", "transcriptions"),
    ("openai/models_list", "models are listed from the configuration"),
];

const CUTS: [Cut; 3] = [Cut::Whole, Cut::Bytes, Cut::Random(3)];

/// What a kind is configured with besides.
fn more(setup: &Setup) -> Value {
    match setup.kind {
        "azure" => json!({"api_version": setup.api_version}),
        "bedrock" => keys_of_aws(),
        _ => json!({}),
    }
}

/// Where tokens are made.
const TOKEN: &str = "/token";

fn served(kind: &str) -> Vec<Fixture> {
    // Tokens are no calls: they have a test of their own.
    let is_served = |f: &Fixture| f.path() != TOKEN && !NOT_SERVED.iter().any(|(name, _)| *name == f.name);
    fixtures(kind).into_iter().filter(is_served).collect()
}

fn alias(fixture: &Fixture, cut: Cut) -> String {
    format!("{}/{cut:?}", fixture.name)
}

/// A gateway that leaves no deployment alone and tries none twice.
fn patient() -> GatewayBuilder {
    Gateway::builder().set("/routing", json!({"cooldown": {"time": "0s", "credential_time": "0s"}}))
}

async fn started(builder: GatewayBuilder) -> Gateway {
    let mut models = builder.config()["models"].clone();
    models.as_array_mut().unwrap().iter_mut().for_each(|model| model["retries"] = json!(0));
    builder.set("/models", models).start().await
}

fn deployment(provider: &str, model: &str) -> Value {
    let price = json!({"input": "1", "output": "1"});
    json!({"provider": provider, "model": model, "max_output_tokens": 4_096, "price": price})
}

/// A gateway with a model for each fixture of a kind and each way to cut it.
async fn gateway(setup: &Setup, all: &[Fixture]) -> Gateway {
    let mut builder = patient();
    for (i, fixture) in all.iter().enumerate() {
        for cut in CUTS {
            let address = serve(&fixture.envelope, fixture.body.clone(), cut).await;
            let provider = format!("{}-{i}-{}", setup.kind, CUTS.iter().position(|c| *c == cut).unwrap());
            let mut settings = json!({
                "kind": setup.kind, "base_url": format!("http://{address}{}", setup.base(fixture.path())), "api_key": "sk-upstream-test",
            });
            settings.as_object_mut().unwrap().extend(more(setup).as_object().unwrap().clone());
            let deployment = deployment(&provider, &setup.model(fixture.path()));
            builder =
                builder.set(&format!("/providers/{provider}"), settings).deployment(&alias(fixture, cut), deployment);
        }
    }
    started(builder).await
}

/// A service account's key is exchanged before the first call, and what becomes of the exchange becomes of the call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vertex_tokens() {
    let all = fixtures("vertex");
    let setup = Setup::of("vertex");
    let text = all.iter().find(|f| f.name == "vertex/text").unwrap();
    let tokens: Vec<_> = all.iter().filter(|f| f.path() == TOKEN).collect();
    assert_eq!(tokens.len(), 2);
    for (token, cut) in tokens.iter().flat_map(|token| CUTS.map(|cut| (token, cut))) {
        let provider = serve(&text.envelope, text.body.clone(), Cut::Whole).await;
        let maker = serve(&token.envelope, token.body.clone(), cut).await;
        let settings = json!({
            "kind": "vertex", "base_url": format!("http://{provider}{}", setup.base(text.path())),
            "google": {"credentials": service_account(&format!("http://{maker}{TOKEN}"))},
        });
        let builder = patient().set("/providers/google", settings);
        let gateway = started(builder.deployment("m", deployment("google", &setup.model(text.path())))).await;
        let client = Client::connect(&gateway.grpc(), gateway.key()).await.unwrap();
        let is_given = token.expect()["ok"] == true;
        let expected = if is_given { text } else { *token };
        let by_grpc = asked(&client, "m", expected).await;
        assert!(by_grpc.is_empty(), "{} cut {cut:?} by gRPC: {by_grpc:?}", token.name);
        let by_rest = asked_by_rest(&gateway, setup, "m", expected).await;
        assert!(by_rest.is_empty(), "{} cut {cut:?} by the shim: {by_rest:?}", token.name);
    }
}

async fn conforms(kind: &str) {
    let setup = Setup::of(kind);
    let all = served(kind);
    assert!(!all.is_empty(), "{kind} has fixtures");
    let gateway = gateway(setup, &all).await;
    let client = Client::connect(&gateway.grpc(), gateway.key()).await.unwrap();
    let mut wrong = Vec::new();
    for fixture in &all {
        for cut in CUTS {
            let model = alias(fixture, cut);
            let (by_grpc, by_rest) = if let Some(operation) = Operation::of(fixture) {
                (
                    operation.asked(&client, &model, fixture).await,
                    operation.asked_by_rest(&gateway, &model, fixture).await,
                )
            } else if fixture.is_embedding() {
                (embedded(&client, &model, fixture).await, embedded_by_rest(&gateway, &model, fixture).await)
            } else {
                (asked(&client, &model, fixture).await, asked_by_rest(&gateway, setup, &model, fixture).await)
            };
            for (door, differences) in [("gRPC", by_grpc), ("the shim", by_rest)] {
                if !differences.is_empty() {
                    wrong.push(format!("{} cut {cut:?} by {door}: {}", fixture.name, differences.join("; ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {kind}'s checks fail:\n{}", wrong.len(), wrong.join("\n"));
}

/// The body of a call that completes a prompt as it stands, where the fixture answers one.
fn text_body(model: &str, fixture: &Fixture) -> Option<Value> {
    let stream = fixture.asks_for_stream();
    fixture.is_text().then(|| json!({"model": model, "prompt": "Hi", "stream": stream}))
}

fn original(body: &Value) -> v1::Original {
    v1::Original { dialect: v1::Dialect::OpenaiCompletions as i32, body: body.to_string().into() }
}

fn request(model: &str) -> v1::CompletionRequest {
    let part = v1::Part { content: Some(Content::Text(v1::TextPart { text: "Hi".into() })), ..v1::Part::default() };
    let message = v1::Message { role: v1::Role::User as i32, parts: vec![part], ..v1::Message::default() };
    let tollgate = v1::GatewayOptions { want_routing: true, ..v1::GatewayOptions::default() };
    v1::CompletionRequest {
        model: Some(model.into()),
        messages: vec![message],
        tollgate: Some(tollgate),
        ..v1::CompletionRequest::default()
    }
}

async fn asked(client: &Client, model: &str, fixture: &Fixture) -> Vec<String> {
    let original = text_body(model, fixture).as_ref().map(original);
    let request = Some(v1::CompletionRequest { original, ..request(model) });
    let mut events = Vec::new();
    let ended = match fixture.asks_for_stream() {
        true => match client.completions().stream_completion(v1::StreamCompletionRequest { request }).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                let mut ended = Ok(());
                while let Some(next) = stream.next().await {
                    match next {
                        Ok(response) => events.extend(response.event),
                        Err(status) => ended = Err(status),
                    }
                }
                ended
            }
            Err(status) => Err(status),
        },
        false => client.completions().create_completion(v1::CreateCompletionRequest { request }).await.map(|answer| {
            events = events_of(answer.into_inner().completion.unwrap());
        }),
    };
    let failure = ended.err().map(|status| failure(&status));
    compared(fixture, &events, failure.as_ref())
}

/// What differs, but for what the gateway tells on purpose otherwise.
fn compared(fixture: &Fixture, events: &[CompletionEvent], failure: Option<&Failure>) -> Vec<String> {
    if fixture.is_unusable() {
        // An answer that nobody can use is no answer: the gateway tells a failure.
        let is_told = failure.is_some_and(|failure| failure.class == Class::ServerError);
        return if is_told { Vec::new() } else { vec!["an answer that cannot be used was passed on".into()] };
    }
    let mut expect = fixture.expect().clone();
    // A provider's refusal of the operator's credential is nothing that a caller should read.
    let is_credential = failure.is_some_and(|f| matches!(f.class, Class::Authentication | Class::Permission));
    if let Some(error) = expect["error"].as_object_mut() {
        // Callers learn it from the code; the adapters' own suite compares it.
        error.remove("retryable");
        if is_credential {
            error.remove("message_contains");
        }
        // A call for the whole answer gets that or an error.
        if !fixture.asks_for_stream() {
            expect.as_object_mut().unwrap().remove("text");
        }
    }
    // Where the provider tells no usage, the gateway estimates and says so.
    if expect["usage"].is_null() {
        expect.as_object_mut().unwrap().remove("usage");
    }
    differences(&expect, &fold(events, failure))
}

/// A collected answer as the events that it was collected from.
fn events_of(completion: v1::Completion) -> Vec<CompletionEvent> {
    let event = |event| CompletionEvent { event: Some(event), ..CompletionEvent::default() };
    let mut events = Vec::new();
    for choice in completion.choices {
        let mut logprobs_json = choice.logprobs_json;
        for (part, content) in (0..).zip(choice.message.into_iter().flat_map(|m| m.parts)) {
            for piece in pieces(content.content.unwrap()) {
                let logprobs_json = std::mem::take(&mut logprobs_json);
                let delta =
                    v1::Delta { choice: choice.index, part, piece: Some(piece), logprobs_json, ..v1::Delta::default() };
                events.push(event(Event::Delta(delta)));
            }
        }
        events.extend(choice.finished.map(|finished| event(Event::Finished(finished))));
    }
    events.extend(completion.usage.map(|usage| event(Event::Usage(usage))));
    events
}

fn pieces(content: Content) -> Vec<Piece> {
    match content {
        Content::Text(text) => vec![Piece::Text(text.text)],
        Content::Refusal(refusal) => vec![Piece::Refusal(refusal.text)],
        Content::Reasoning(reasoning) => {
            let text = (!reasoning.text.is_empty()).then_some(Piece::Reasoning(reasoning.text));
            let signature = reasoning.signature.map(Piece::ReasoningSignature);
            let redacted = reasoning.redacted.map(Piece::ReasoningRedacted);
            [text, signature, redacted].into_iter().flatten().collect()
        }
        Content::ToolCall(call) => {
            let start = v1::ToolCallStart { id: call.id, name: call.name, type_native: call.type_native };
            vec![Piece::ToolCallStart(start), Piece::ToolArguments(call.arguments_json)]
        }
        Content::Opaque(opaque) => vec![Piece::OpaqueJson(opaque.json)],
        other => panic!("no part of an answer: {other:?}"),
    }
}

/// The attempt's failure as the caller learns it.
fn failure(status: &tonic::Status) -> Failure {
    let details = status.get_error_details();
    let info = details.error_info().expect("every error says why");
    let value = |name: &str| info.metadata.get(name).cloned().unwrap_or_default();
    // "deployment;class;1ms"
    let class = value("route").split(';').nth(1).and_then(Class::named);
    let mut failure = Failure::new(class.unwrap_or_else(|| panic!("no class in {info:?}")), status.message());
    failure.status = value("upstreamStatus").parse().unwrap();
    failure.native_code = value("nativeCode");
    failure.retry_after = details.retry_info().and_then(|info| info.retry_delay);
    failure
}

async fn asked_by_rest(gateway: &Gateway, setup: &Setup, model: &str, fixture: &Fixture) -> Vec<String> {
    let body = json!({
        "model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": fixture.asks_for_stream(),
        "stream_options": if fixture.asks_for_stream() { json!({"include_usage": true}) } else { Value::Null },
    });
    let caller = gateway.caller().with("x-tollgate-want-routing", "true");
    let prompt = text_body(model, fixture);
    let reply = match &prompt {
        Some(body) => caller.post(&gateway.v1("completions"), body).await.unwrap(),
        None => caller.post(&gateway.v1("chat/completions"), &body).await.unwrap(),
    };
    let unusable = fixture.is_unusable().then_some("server_error");
    let expected_class = fixture.expect()["error"]["class"].as_str().or(unusable);
    if !reply.status.is_success() {
        let class = reply.header("x-tollgate-route").split(';').nth(1).map(str::to_owned);
        let error = &reply.json()["error"];
        let is_shaped = error["message"].is_string() && error["type"].is_string();
        return match class.as_deref() == expected_class && is_shaped {
            true => Vec::new(),
            false => vec![format!("status {} with {class:?}: {}", reply.status, reply.json())],
        };
    }
    let mut body = reply.body.clone();
    let mut error = None;
    if fixture.asks_for_stream() {
        let text = String::from_utf8(body.to_vec()).unwrap();
        error = text
            .split("data: ")
            .map(str::trim)
            .filter_map(|d| serde_json::from_str::<Value>(d).ok())
            .find_map(|d| d.get("error").filter(|e| e.get("type").is_some()).cloned());
        // The gateway's own last words are no provider's.
        let keep = |event: &&str| !event.contains(r#""tollgate":"#);
        body = Bytes::from(text.split_inclusive("\n\n").filter(keep).collect::<String>());
    }
    let original = prompt.as_ref().map(original);
    let asked = v1::CompletionRequest { original, ..v1::CompletionRequest::default() };
    let call = ChatCall {
        want_native: v1::Dialect::Unspecified,
        ..ChatCall::new(&asked, if fixture.asks_for_stream() { Mode::Stream } else { Mode::Whole })
    };
    let reader = registry(if setup.is_native { setup.kind } else { "openai" }).unwrap();
    let target = Target {
        base_url: String::new(),
        api_version: None,
        credential: Default::default(),
        model: "m".into(),
        headers: Default::default(),
    };
    let mut decoder = reader.chat().unwrap().decoder(&target, &call);
    let mut events = Vec::new();
    let read = decoder.feed(&body, &mut events).and_then(|()| decoder.end(&mut events));
    match (expected_class, read) {
        (Some(_), _) => {
            let said = fold(&events, None)["text"].clone();
            let is_told = error.is_some() && said == fixture.expect()["text"];
            if is_told { Vec::new() } else { vec![format!("no error is told behind {said}")] }
        }
        (None, Ok(())) => compared_by_rest(setup, fixture, &events),
        (None, Err(failure)) => vec![format!("what the shim printed cannot be read: {failure:?}")],
    }
}

/// OpenAI's form has no room for some facts.
fn compared_by_rest(setup: &Setup, fixture: &Fixture, events: &[CompletionEvent]) -> Vec<String> {
    let mut expect = fixture.expect().clone();
    let facts = expect.as_object_mut().unwrap();
    if !setup.is_native {
        for name in ["native_finish_reason", "stop_sequence", "inner_stop_reason"] {
            facts.remove(name);
        }
        if let Some(usage) = facts["usage"].as_object_mut() {
            usage.remove("cache_write_tokens");
        }
    }
    if facts["usage"].is_null() {
        facts.remove("usage");
    }
    differences(&expect, &fold(events, None))
}

fn different_embeddings(fixture: &Fixture, values: &[Vec<f32>], usage: &Value) -> Vec<String> {
    let expect = fixture.expect();
    let wanted: Vec<Vec<f32>> = match &expect["embeddings"] {
        Value::Array(_) => serde_json::from_value(expect["embeddings"].clone()).unwrap(),
        _ => vec![serde_json::from_value(expect["embedding"].clone()).unwrap()],
    };
    let mut wrong = Vec::new();
    if values != wanted {
        wrong.push(format!("expected {wanted:?}, got {values:?}"));
    }
    for (name, count) in expect["usage"].as_object().into_iter().flatten() {
        if usage.get(name).is_some_and(|seen| seen != count) {
            wrong.push(format!("usage.{name}: expected {count}, got {}", usage[name]));
        }
    }
    wrong
}

/// As many inputs as there are vectors.
fn inputs(fixture: &Fixture) -> usize {
    fixture.expect()["embeddings"].as_array().map_or(1, Vec::len)
}

async fn embedded(client: &Client, model: &str, fixture: &Fixture) -> Vec<String> {
    let input = v1::EmbeddingInput { input: Some(v1::embedding_input::Input::Text("x".into())) };
    let request = v1::CreateEmbeddingRequest {
        model: Some(model.into()),
        inputs: vec![input; inputs(fixture)],
        ..v1::CreateEmbeddingRequest::default()
    };
    match client.embeddings().create_embedding(request).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            let values: Vec<_> = answer.embeddings.into_iter().map(|e| e.values).collect();
            different_embeddings(fixture, &values, &counts(&answer.usage.unwrap()))
        }
        Err(status) => vec![status.to_string()],
    }
}

async fn embedded_by_rest(gateway: &Gateway, model: &str, fixture: &Fixture) -> Vec<String> {
    let body = json!({"model": model, "input": vec!["x"; inputs(fixture)], "encoding_format": "float"});
    let reply = Caller::bearer(gateway.key()).post(&gateway.v1("embeddings"), &body).await.unwrap();
    let answer = reply.json();
    let floats = |row: &Value| match &row["embedding"] {
        // A provider of the same dialect answers as it likes.
        Value::String(text) => {
            use base64::{Engine, engine::general_purpose::STANDARD};
            let bytes = STANDARD.decode(text).unwrap();
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        }
        list => serde_json::from_value(list.clone()).unwrap_or_default(),
    };
    let values: Vec<Vec<f32>> = answer["data"].as_array().into_iter().flatten().map(floats).collect();
    different_embeddings(fixture, &values, &answer["usage"])
}

macro_rules! providers {
    ($($name:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            conforms(stringify!($name)).await;
        })+

        #[test]
        fn every_folder_of_fixtures_is_played() {
            let mut played = vec![$(stringify!($name)),+];
            played.sort_unstable();
            assert_eq!(tollgate_fixtures::folders(), played);
        }
    };
}

tollgate_fixtures::for_each_kind!(providers);
