//! One suite for every adapter: each fixture over real sockets, whole, cut into single bytes, and cut at random places.

#![allow(clippy::unwrap_used)] // a test says by panicking

mod support;

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use serde_json::Value;
use support::{
    Fixture, fixtures,
    fold::{counts, differences, fold},
    operations,
    serve::{Cut, serve},
};
use tollgate_domain::{Failure, Secret};
use tollgate_proto::v1::{
    CompletionEvent, CompletionRequest, CreateEmbeddingRequest, Dialect, EmbeddingInput, Message, Part, Role, TextPart,
    completion_event::Event, embedding_input::Input, part::Content,
};
use tollgate_providers::{
    ChatCall, EmbedCall, Mode, Provider, Target,
    credential::Credential,
    exchange::{self, Endpoint},
    registry::registry,
    transport::{Timeouts, Transport},
};

/// Fixtures of operations that no adapter offers yet. They are played as chats all the same: one that passes is news.
const NOT_SERVED: [(&str, &str); 5] = [
    ("openai/completions_stream", "legacy completions are not part of the contract"),
    ("openai/transcription_json", "transcriptions are not part of the contract"),
    ("openai/transcription_verbose_json", "transcriptions are not part of the contract"),
    ("openai/transcription_stream", "transcriptions are not part of the contract"),
    ("openai/models_list", "models are listed from the configuration"),
];

/// Fixtures that an adapter cannot pass, with the reason. One that starts passing is news: take it out.
const EXCEPTIONS: [(&str, &str); 0] = [];

const CUTS: [Cut; 4] = [Cut::Whole, Cut::Bytes, Cut::Random(1), Cut::Random(2)];

/// How a deployment of a kind is set up for its fixtures.
struct Setup {
    kind: &'static str,
    /// Path of the base URL.
    base: &'static str,
    api_version: Option<&'static str>,
    /// Where the model's name stands in the path of a fixture's request: behind this, up to the next of `:/?`; empty: in the body alone.
    model_after: &'static str,
}

const fn setup(kind: &'static str, base: &'static str) -> Setup {
    Setup { kind, base, api_version: None, model_after: "" }
}

const SETUPS: [Setup; 10] = [
    setup("openai", "/v1"),
    setup("anthropic", "/v1"),
    setup("vllm", "/v1"),
    setup("groq", "/openai/v1"),
    setup("deepseek", ""),
    setup("xai", "/v1"),
    setup("together", "/v1"),
    setup("fireworks", "/inference/v1"),
    setup("openrouter", "/api/v1"),
    setup("cohere", ""),
];

impl Setup {
    fn of(kind: &str) -> &'static Self {
        SETUPS.iter().find(|s| s.kind == kind).unwrap_or_else(|| panic!("{kind} is set up"))
    }

    fn model(&self, path: &str) -> String {
        let named = path.split_once(self.model_after).filter(|_| !self.model_after.is_empty());
        named.map_or("m", |(_, rest)| rest.split([':', '/', '?']).next().unwrap_or(rest)).to_owned()
    }

    fn endpoint(&self, fixture: &Fixture, address: std::net::SocketAddr) -> Endpoint {
        Endpoint {
            provider: adapter(self.kind),
            target: Target {
                base_url: format!("http://{address}{}", self.base),
                api_version: self.api_version.map(str::to_owned),
                credential: Credential::Key(Secret::new("sk-upstream-test")),
                model: self.model(fixture.path()),
                headers: Default::default(),
            },
            timeouts: Timeouts { idle: Duration::from_secs(5), ..Timeouts::default() },
            transport: Transport::new(),
        }
    }
}

fn adapter(kind: &str) -> Arc<dyn Provider> {
    match registry(kind) {
        Some(adapter) => adapter,
        None if kind == "cohere" => Arc::new(support::cohere::Cohere),
        None => panic!("{kind} is in the registry"),
    }
}

fn request() -> CompletionRequest {
    let part = Part { content: Some(Content::Text(TextPart { text: "Hi".into() })), ..Part::default() };
    let message = Message { role: Role::User as i32, parts: vec![part], ..Message::default() };
    CompletionRequest { model: Some("alias".into()), messages: vec![message], ..CompletionRequest::default() }
}

async fn chat(kind: &str, fixture: &Fixture, body: Vec<u8>, cut: Cut) -> (Vec<CompletionEvent>, Option<Failure>) {
    let endpoint = Setup::of(kind).endpoint(fixture, serve(&fixture.envelope, body, cut).await);
    let request = request();
    let call = ChatCall {
        request: &request,
        mode: if fixture.is_stream() { Mode::Stream } else { Mode::Whole },
        output_cap: None,
        max_output: Some(4_096),
        want_native: Dialect::Unspecified,
        drop_params: false,
        prefill: None,
        attempt_id: "a-1",
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
    let endpoint = Setup::of(kind).endpoint(fixture, serve(&fixture.envelope, fixture.body.clone(), cut).await);
    let inputs = vec![EmbeddingInput { input: Some(Input::Text("x".into())) }];
    let request = CreateEmbeddingRequest { inputs, ..CreateEmbeddingRequest::default() };
    let call =
        EmbedCall { request: &request, want_native: Dialect::Unspecified, drop_params: false, attempt_id: "a-1" };
    let response = exchange::unary(&endpoint, &call).await.unwrap().response;
    let expect = fixture.expect();
    let wanted: Vec<f32> = serde_json::from_value(expect["embedding"].clone()).unwrap();
    let mut wrong = Vec::new();
    if response.embeddings[0].values != wanted {
        wrong.push(format!("embedding: expected {wanted:?}, got {:?}", response.embeddings[0].values));
    }
    let seen = counts(&response.usage.unwrap());
    for name in ["prompt_tokens", "total_tokens"] {
        if seen[name] != expect["usage"][name] {
            wrong.push(format!("usage.{name}: expected {}, got {}", expect["usage"][name], seen[name]));
        }
    }
    wrong
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
                async || Setup::of(kind).endpoint(&fixture, serve(&fixture.envelope, fixture.body.clone(), cut).await);
            let differences = if let Some(seen) = operations::seen(fixture.path(), endpoint).await {
                differences(fixture.expect(), &seen)
            } else if fixture.path().ends_with("/embeddings") {
                embed(kind, &fixture, cut).await
            } else {
                let (events, failure) = chat(kind, &fixture, fixture.body.clone(), cut).await;
                check_order(&events);
                differences(fixture.expect(), &fold(&events, failure.as_ref()))
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

/// A stream that is cut short ends with its end, or with a failure: never silently.
async fn truncation_is_told(kind: &str) {
    for fixture in fixtures(kind).into_iter().filter(Fixture::is_stream) {
        if NOT_SERVED.iter().any(|(name, _)| *name == fixture.name) {
            continue;
        }
        let events = fixture.body.windows(2).enumerate().filter(|(_, w)| w == b"\n\n").map(|(at, _)| at + 2);
        let others = (0..fixture.body.len()).step_by((fixture.body.len() / 25).max(1));
        for end in events.chain(others) {
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
            let mut folders: Vec<String> = std::fs::read_dir(support::root())
                .unwrap()
                .map(|e| e.unwrap())
                .filter(|e| e.file_type().unwrap().is_dir())
                .map(|e| e.file_name().into_string().unwrap())
                .collect();
            folders.sort();
            let mut tested = vec![$(stringify!($name)),+];
            tested.sort();
            assert_eq!(folders, tested);
            for (name, reason) in NOT_SERVED {
                let (folder, _) = name.split_once('/').unwrap();
                assert!(fixtures(folder).iter().any(|f| f.name == name), "{name} ({reason}) does not exist");
            }
        }
    };
}

providers!(openai, anthropic, vllm, groq, deepseek, together, openrouter, xai, fireworks, cohere);

#[test]
fn the_normal_form_tells_differences() {
    let expect: Value = serde_json::json!({"text": "a", "usage": null});
    assert_eq!(differences(&expect, &serde_json::json!({"text": "a", "usage": null})), Vec::<String>::new());
    assert_eq!(differences(&expect, &serde_json::json!({"text": "b", "usage": null})).len(), 1);
}
