//! One suite for every adapter: each fixture over real sockets, whole, cut into single bytes, and cut at random places.

#![allow(clippy::unwrap_used)] // a test says by panicking

mod operations;

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use tollgate_domain::{Failure, Secret};
use tollgate_fixtures::{
    Fixture, fixtures,
    fold::{counts, differences, fold},
    keys::service_account,
    serve::{Cut, serve},
    setup::Setup,
};
use tollgate_proto::v1::{
    CompletionEvent, CompletionRequest, CreateEmbeddingRequest, Dialect, EmbeddingInput, Message, Original, Part, Role,
    TextPart, completion_event::Event, embedding_input::Input, part::Content,
};
use tollgate_providers::{
    ChatCall, EmbedCall, Mode, Target,
    credential::{Credential, google::Google, token::TokenSource},
    exchange::{self, Endpoint},
    registry::registry,
    transport::{Timeouts, Transport},
};

/// Fixtures of operations that no adapter offers yet. They are played as chats all the same: one that passes is news.
const NOT_SERVED: [(&str, &str); 4] = [
    ("openai/transcription_json", "transcriptions are not part of the contract"),
    ("openai/transcription_verbose_json", "transcriptions are not part of the contract"),
    ("openai/transcription_stream", "transcriptions are not part of the contract"),
    ("openai/models_list", "models are listed from the configuration"),
];

/// Fixtures that an adapter cannot pass, with the reason. One that starts passing is news: take it out.
const EXCEPTIONS: [(&str, &str); 0] = [];

const CUTS: [Cut; 4] = [Cut::Whole, Cut::Bytes, Cut::Random(1), Cut::Random(2)];

fn endpoint(setup: &Setup, fixture: &Fixture, address: std::net::SocketAddr) -> Endpoint {
    Endpoint {
        provider: registry(setup.kind).unwrap_or_else(|| panic!("{} is in the registry", setup.kind)),
        target: Target {
            base_url: format!("http://{address}{}", setup.base(fixture.path())),
            api_version: setup.api_version.map(str::to_owned),
            credential: Credential::Key(Secret::new("sk-upstream-test")),
            model: setup.model(fixture.path()),
            headers: Default::default(),
        },
        timeouts: Timeouts { idle: Duration::from_secs(5), ..Timeouts::default() },
        transport: Transport::new(),
        fetcher: None,
    }
}

fn request() -> CompletionRequest {
    let part = Part { content: Some(Content::Text(TextPart { text: "Hi".into() })), ..Part::default() };
    let message = Message { role: Role::User as i32, parts: vec![part], ..Message::default() };
    CompletionRequest { model: Some("alias".into()), messages: vec![message], ..CompletionRequest::default() }
}

/// The same as a prompt to be completed.
fn prompt() -> Original {
    let body = r#"{"model":"alias","prompt":"Hi","stream":true}"#;
    Original { dialect: Dialect::OpenaiCompletions as i32, body: body.into() }
}

async fn chat(kind: &str, fixture: &Fixture, body: Vec<u8>, cut: Cut) -> (Vec<CompletionEvent>, Option<Failure>) {
    let endpoint = endpoint(Setup::of(kind), fixture, serve(&fixture.envelope, body, cut).await);
    let request = CompletionRequest { original: fixture.is_text().then(prompt), ..request() };
    let call = ChatCall {
        max_output: Some(4_096),
        ..ChatCall::new(&request, if fixture.asks_for_stream() { Mode::Stream } else { Mode::Whole })
    };
    let mut events = Vec::new();
    let mut answering = match exchange::chat(&endpoint, &call).await {
        Ok(answering) => answering,
        Err(failure) => return (events, Some(failure)),
    };
    while let Some(event) = answering.events.next().await {
        match event {
            Ok(event) => events.push(event),
            Err(failure) => return (events, Some(failure)),
        }
    }
    (events, None)
}

async fn embed(kind: &str, fixture: &Fixture, cut: Cut) -> Vec<String> {
    let endpoint = endpoint(Setup::of(kind), fixture, serve(&fixture.envelope, fixture.body.clone(), cut).await);
    let expect = fixture.expect();
    let wanted = match &expect["embeddings"] {
        Value::Array(many) => many.clone(),
        _ => vec![expect["embedding"].clone()],
    };
    let wanted: Vec<Vec<f32>> = wanted.into_iter().map(|v| serde_json::from_value(v).unwrap()).collect();
    let inputs = vec![EmbeddingInput { input: Some(Input::Text("x".into())) }; wanted.len()];
    let request = CreateEmbeddingRequest { inputs, ..CreateEmbeddingRequest::default() };
    let call = EmbedCall {
        request: &request,
        want_native: Dialect::Unspecified,
        drop_params: false,
        attempt_id: "a-1",
        traceparent: None,
    };
    let response = exchange::unary(&endpoint, &call).await.unwrap().response;
    let mut wrong = Vec::new();
    let vectors: Vec<_> = response.embeddings.iter().map(|e| e.values.clone()).collect();
    if vectors != wanted {
        wrong.push(format!("embeddings: expected {wanted:?}, got {vectors:?}"));
    }
    let seen = response.usage.as_ref().map_or(Value::Null, counts);
    if expect["usage"].is_null() && !seen.is_null() {
        wrong.push(format!("usage: expected none, got {seen}"));
    }
    for name in ["prompt_tokens", "total_tokens"] {
        if seen[name] != expect["usage"][name] {
            wrong.push(format!("usage.{name}: expected {}, got {}", expect["usage"][name], seen[name]));
        }
    }
    wrong
}

/// A fixture of a maker of tokens, asked with a service account's key.
async fn token(fixture: &Fixture, cut: Cut) -> Vec<String> {
    let address = serve(&fixture.envelope, fixture.body.clone(), cut).await;
    let file = service_account(&format!("http://{address}{}", fixture.path()));
    let fetched = Google::from_json(&file, Transport::new()).unwrap().fetch().await;
    let expect = fixture.expect();
    let mut seen = fold(&[], fetched.as_ref().err());
    let body: Value = serde_json::from_slice(&fixture.body).unwrap();
    if let Ok(token) = &fetched {
        seen["expires_in"] = token.lifetime.as_secs().into();
        // What is written into `authorization` is of this type alone.
        seen["token_type"] = "Bearer".into();
        if body["access_token"] != token.secret.expose() {
            return vec!["the token is another one".into()];
        }
    }
    differences(expect, &seen)
}

fn check_order(events: &[CompletionEvent]) {
    let is = |f: fn(&Event) -> bool| events.iter().filter_map(|e| e.event.as_ref()).position(f);
    let started = is(|e| matches!(e, Event::Started(_)));
    assert!(started.is_none_or(|at| at == 0), "started comes first");
    let usage = is(|e| matches!(e, Event::Usage(_)));
    let with_event = events.iter().filter(|e| e.event.is_some()).count();
    assert!(usage.is_none_or(|at| at + 1 == with_event), "usage comes last");
}

async fn conforms(kind: &str) {
    let mut wrong = Vec::new();
    let mut served = 0;
    for fixture in fixtures(kind) {
        if NOT_SERVED.iter().any(|(name, _)| *name == fixture.name) {
            let (events, failure) = chat(kind, &fixture, fixture.body.clone(), Cut::Whole).await;
            if differences(fixture.expect(), &fold(&events, failure.as_ref())).is_empty() {
                wrong.push(format!("{} passes now: take it out of the list", fixture.name));
            }
            continue;
        }
        served += 1;
        for cut in CUTS {
            let endpoint =
                async || endpoint(Setup::of(kind), &fixture, serve(&fixture.envelope, fixture.body.clone(), cut).await);
            let differences = if let Some(seen) = operations::seen(fixture.path(), endpoint).await {
                differences(fixture.expect(), &seen)
            } else if fixture.is_embedding() {
                embed(kind, &fixture, cut).await
            } else if fixture.path() == "/token" {
                token(&fixture, cut).await
            } else {
                let (events, failure) = chat(kind, &fixture, fixture.body.clone(), cut).await;
                check_order(&events);
                if fixture.is_unusable() {
                    unusable(fixture.expect(), &failure)
                } else {
                    differences(fixture.expect(), &fold(&events, failure.as_ref()))
                }
            };
            let excepted = EXCEPTIONS.iter().any(|(name, _): &(&str, &str)| *name == fixture.name);
            match (excepted, differences.is_empty()) {
                (true, true) => wrong.push(format!("{} passes now: take it out of the exceptions", fixture.name)),
                (false, false) => wrong.push(format!("{} cut {cut:?}: {}", fixture.name, differences.join("; "))),
                _ => {}
            }
        }
    }
    assert!(served > 0, "{kind} has fixtures");
    assert!(wrong.is_empty(), "{} of {kind}'s checks fail:\n{}", wrong.len(), wrong.join("\n"));
}

/// An answer that the normal form calls unusable (`finish_reason` "error") is no answer but a failure, worth a second try, with its usage.
fn unusable(expect: &Value, failure: &Option<Failure>) -> Vec<String> {
    let Some(failure) = failure else { return vec!["an answer that cannot be used was passed on".into()] };
    let seen = serde_json::json!({
        "retryable": failure.retryable(),
        "native_finish_reason": failure.native_code,
        "usage": failure.usage.as_ref().map_or(Value::Null, counts),
    });
    let wanted = serde_json::json!({
        "retryable": true,
        "native_finish_reason": expect["native_finish_reason"],
        "usage": expect["usage"],
    });
    differences(&wanted, &seen)
}

/// A stream that is cut short ends with its end, or with a failure: never silently.
async fn truncation_is_told(kind: &str) {
    for fixture in fixtures(kind).into_iter().filter(Fixture::is_stream) {
        if NOT_SERVED.iter().any(|(name, _)| *name == fixture.name) {
            continue;
        }
        let lines = fixture.body.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        let others = (0..fixture.body.len()).step_by((fixture.body.len() / 25).max(1));
        for end in lines.chain(others) {
            let (events, failure) = chat(kind, &fixture, fixture.body[..end].to_vec(), Cut::Whole).await;
            let finished = events.iter().any(|e| matches!(e.event, Some(Event::Finished(_))));
            assert!(failure.is_some() || finished, "{} cut after {end} bytes ends silently", fixture.name);
        }
    }
}

macro_rules! providers {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn conforms_whole_and_cut_anywhere() {
                super::conforms(stringify!($name)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn never_ends_silently() {
                super::truncation_is_told(stringify!($name)).await;
            }
        })+

        /// Every folder of fixtures is somebody's.
        #[test]
        fn no_fixture_is_forgotten() {
            let mut tested = vec![$(stringify!($name)),+];
            tested.sort();
            assert_eq!(tollgate_fixtures::folders(), tested);
            for (name, reason) in NOT_SERVED {
                let (folder, _) = name.split_once('/').unwrap();
                assert!(fixtures(folder).iter().any(|f| f.name == name), "{name} ({reason}) does not exist");
            }
        }
    };
}

tollgate_fixtures::for_each_kind!(providers);

#[test]
fn the_normal_form_tells_differences() {
    let expect: Value = serde_json::json!({"text": "a", "usage": null});
    assert_eq!(differences(&expect, &serde_json::json!({"text": "a", "usage": null})), Vec::<String>::new());
    assert_eq!(differences(&expect, &serde_json::json!({"text": "b", "usage": null})).len(), 1);
}

/// Providers whose fixtures name the service tier that served, and the member that does.
const SERVED_BY: [(&str, &str); 4] = [
    ("openai", "\"service_tier\":\""),
    ("anthropic", "\"service_tier\":\""),
    ("groq", "\"service_tier\":\""),
    ("openrouter", "\"service_tier\":\""),
];

#[tokio::test]
async fn the_service_tier_that_served_stands_in_the_usage_in_the_providers_word() {
    for (kind, member) in SERVED_BY {
        let mut told = 0;
        for fixture in fixtures(kind) {
            let text = String::from_utf8_lossy(&fixture.body).into_owned();
            let word = text.split_once(member).and_then(|(_, rest)| rest.split('"').next());
            let (Some(word), true) = (word, fixture.expect()["usage"]["completion_tokens"].is_u64()) else { continue };
            let (events, _) = chat(kind, &fixture, fixture.body.clone(), Cut::Whole).await;
            let usage = events.iter().find_map(|e| match &e.event {
                Some(Event::Usage(usage)) => Some(usage),
                _ => None,
            });
            assert_eq!(usage.unwrap().service_tier_native.as_deref(), Some(word), "{}", fixture.name);
            told += 1;
        }
        assert!(told > 0, "no fixture of {kind} names a tier");
    }
}
