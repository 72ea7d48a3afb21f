//! Answers to chats, read as a call would read them: by the adapter's decoder, behind the transport.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use http::{HeaderMap, StatusCode};
use tokio::runtime::{Builder, Runtime};
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    CompletionEvent, CompletionRequest, Delta, Dialect, GatewayOptions, Message, Part, Role, TextPart,
    completion_event::Event, delta::Piece, part::Content,
};
use tollgate_providers::{
    ChatCall, Head, Mode, Target,
    credential::Credential,
    exchange::{Endpoint, chat},
    registry::registry,
    transport::{BodyStream, InProcess, Timeouts, Transport},
};

use super::{frames, input::Input};

const SCHEME: &str = "fuzz";

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    /// The body of the next answer.
    static BODY: RefCell<Vec<Result<Bytes, Failure>>> = const { RefCell::new(Vec::new()) };
}

struct Served;

impl InProcess for Served {
    fn respond(&self, _request: http::Request<Bytes>) -> BoxFuture<'static, Result<(Head, BodyStream), Failure>> {
        let body = futures::stream::iter(BODY.take()).boxed();
        async move { Ok((Head { status: StatusCode::OK, headers: HeaderMap::new() }, body)) }.boxed()
    }
}

/// The events of an answer, and what ended it if it did not end well.
#[derive(Debug, PartialEq)]
struct Told {
    events: Vec<CompletionEvent>,
    failure: Option<String>,
}

/// Reads the input's body in one piece and cut as it says, and checks what comes out.
pub(crate) fn check(kind: &str, model: &str, input: &Input<'_>) {
    let body = match (kind, input.flag(5), input.flag(6)) {
        ("bedrock", true, _) => frames::from_lines(input.body),
        ("bedrock", false, true) => frames::repaired(input.body),
        _ => input.body.to_vec(),
    };
    let body = Bytes::from(body);
    let whole = told(kind, model, input, vec![body.clone()]);
    let cut = told(kind, model, input, input.cut(&body));
    assert_eq!(whole, cut, "the same bytes, in one piece and cut");
    in_order(&whole);
}

fn told(kind: &str, model: &str, input: &Input<'_>, pieces: Vec<Bytes>) -> Told {
    static TRANSPORT: OnceLock<Transport> = OnceLock::new();
    let transport = TRANSPORT.get_or_init(|| Transport::new().with_in_process(SCHEME, Arc::new(Served)));
    let endpoint = Endpoint {
        provider: registry(kind).expect("the adapter is registered"),
        target: Target {
            base_url: format!("{SCHEME}://provider"),
            api_version: None,
            credential: Credential::None,
            model: model.to_owned(),
            headers: HeaderMap::new(),
        },
        timeouts: Timeouts::default(),
        transport: transport.clone(),
        fetcher: None,
    };
    let part = Part { content: Some(Content::Text(TextPart { text: "Hi".into() })), ..Part::default() };
    let message = Message { role: Role::User as i32, parts: vec![part], ..Message::default() };
    let options = GatewayOptions { native_usage: input.flag(2), ..GatewayOptions::default() };
    let request =
        CompletionRequest { messages: vec![message], tollgate: Some(options), ..CompletionRequest::default() };
    let call = ChatCall {
        max_output: Some(100),
        want_native: if input.flag(1) { native(kind) } else { Dialect::Unspecified },
        drop_params: true,
        ..ChatCall::new(&request, if input.flag(0) { Mode::Stream } else { Mode::Whole })
    };
    let breaks = input.flag(3).then(|| Err(Failure::new(Class::UpstreamTruncated, "the connection broke")));
    BODY.set(pieces.into_iter().map(Ok).chain(breaks).collect());
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let mut answering = chat(&endpoint, &call).await.expect("the call can be sent");
            let mut told = Told { events: Vec::new(), failure: None };
            while let Some(read) = answering.events.next().await {
                assert_eq!(told.failure, None, "nothing follows a failure");
                match read {
                    Ok(event) => told.events.push(event),
                    Err(failure) => told.failure = Some(format!("{failure:?}")),
                }
            }
            number_ids(&mut told.events);
            told
        })
    })
}

/// The dialect in which a kind's own chunks may be passed on.
fn native(kind: &str) -> Dialect {
    match kind {
        "anthropic" | "bedrock" | "vertex" => Dialect::AnthropicMessages,
        _ => Dialect::OpenaiChat,
    }
}

/// Ids that the gateway makes are random: they are numbered instead.
fn number_ids(events: &mut [CompletionEvent]) {
    let is_made = |id: &str| id.strip_prefix("call_").is_some_and(|id| id.len() == 32);
    let mut made = 0;
    for event in events {
        if let Some(Event::Delta(Delta { piece: Some(Piece::ToolCallStart(start)), .. })) = &mut event.event
            && is_made(&start.id)
        {
            start.id = format!("made {made}");
            made += 1;
        }
    }
}

/// What the contract says of the order, and what `Decoder` promises of an answer that ended well.
fn in_order(told: &Told) {
    let mut is_started = false;
    let mut is_counted = false;
    // By choice: whether it is finished.
    let mut choices: HashMap<u32, bool> = HashMap::new();
    // By choice and part: whether it is done.
    let mut parts: HashMap<(u32, u32), bool> = HashMap::new();
    let mut tools: HashSet<(u32, u32)> = HashSet::new();
    for event in &told.events {
        let Some(event) = &event.event else { continue };
        assert!(!is_counted, "nothing follows usage: {event:?}");
        assert_ne!(matches!(event, Event::Started(_)), is_started, "started is first and comes once: {event:?}");
        is_started = true;
        match event {
            Event::Delta(Delta { choice, part, piece, .. }) => {
                let is_finished = choices.entry(*choice).or_default();
                assert!(!*is_finished, "nothing of a choice follows its end: {event:?}");
                if let Some(piece) = piece {
                    let is_done = parts.entry((*choice, *part)).or_default();
                    assert!(!*is_done, "nothing of a part follows its end: {event:?}");
                    match piece {
                        Piece::ToolCallStart(_) => {
                            assert!(tools.insert((*choice, *part)), "a tool call starts once: {event:?}");
                        }
                        Piece::ToolArguments(_) => {
                            assert!(tools.contains(&(*choice, *part)), "a tool call starts first: {event:?}");
                        }
                        _ => {}
                    }
                }
            }
            Event::PartDone(done) => {
                let is_done = parts.entry((done.choice, done.part)).or_default();
                assert!(!std::mem::replace(is_done, true), "a part is done once: {event:?}");
            }
            Event::Finished(finished) => {
                let is_finished = choices.entry(finished.choice).or_default();
                assert!(!std::mem::replace(is_finished, true), "a choice is finished once: {event:?}");
            }
            Event::Usage(_) => is_counted = true,
            Event::Started(_) => {}
            other => panic!("no decoder tells this: {other:?}"),
        }
    }
    if told.failure.is_none() {
        assert!(!choices.is_empty(), "an answer that ended well has a choice");
        assert!(choices.values().all(|is_finished| *is_finished), "every choice is finished: {choices:?}");
        assert!(parts.values().all(|is_done| *is_done), "every part is done: {parts:?}");
    }
}
