//! The doors of the scripted provider: connections, routes, and the way of one call from arrival to answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;

use super::answer::{Answer, Ask, Usage};
use super::batches::Kept;
use super::connection::Connection;
use super::log::{Attempt, Call, Log, Outcome};
use super::playback::{Playback, Reply, ResetFlag};
use super::respond::{Dialect, dress, json_reply, refuse, set};
use super::script::{Malformed, Scripts, Step};
use super::{anthropic, azure, control, embeddings, gemini, media, openai, operations, responses, text};

/// What all connections share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) log: Arc<Log>,
    pub(super) scripts: Mutex<Scripts>,
    pub(super) api_key: String,
    /// Bytes of bodies that arrived.
    pub(super) received: AtomicU64,
    /// How often the list of models was asked for.
    pub(super) listed: AtomicU64,
    pub(super) batches: Kept,
}

/// The call ends without an answer: the connection is dropped.
#[derive(Debug)]
pub(super) struct NoReply;

impl std::fmt::Display for NoReply {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("dropped without an answer")
    }
}

impl std::error::Error for NoReply {}

type Answered = Result<Response<Reply>, NoReply>;

/// Accepts connections until dropped.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: let some calls end first.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Without this a stream of small events waits 40 ms for every delayed acknowledgement.
        let _ = socket.set_nodelay(true);
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let connection = Connection::new(socket);
            let reset = connection.reset_flag();
            let service = service_fn(|request| route(&state, &reset, request));
            let mut server = http1::Builder::new();
            // Errors here are callers that left, or cuts the script asked for; both are in the log.
            let _ = server.header_read_timeout(None).serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

async fn route(state: &State, reset: &ResetFlag, request: Request<Incoming>) -> Answered {
    let (head, mut body) = request.into_parts();
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame.map_err(|_| NoReply)?.into_data() {
            state.received.fetch_add(bytes.len() as u64, Ordering::AcqRel);
            read.extend_from_slice(&bytes);
        }
    }
    let body = read.freeze();
    let path = head.uri.path();
    if let Some(verb) = path.strip_prefix("/_control/") {
        return Ok(control::handle(state, &head.method, verb, &body));
    }
    let call = Arrival { state, reset, uri: &head.uri, path, headers: &head.headers };
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if let Some(asked) = media::read(path, content_type.unwrap_or_default(), &body) {
        return call.media(asked).await;
    }
    match head.method {
        Method::POST if path.ends_with("/chat/completions") => call.converse(Dialect::OpenAi, &body).await,
        Method::POST if path.ends_with("/completions") => call.converse(Dialect::Text, &body).await,
        Method::POST if path.ends_with("/responses") => call.converse(Dialect::Responses, &body).await,
        Method::POST if path.ends_with("/messages") => call.converse(Dialect::Anthropic, &body).await,
        Method::POST if gemini::address(path).is_some() => call.converse(Dialect::Gemini, &body).await,
        Method::POST if path.ends_with("/embeddings") => {
            call.single(&body, |body| embeddings::read(body).map(operations::Ask::Embed)).await
        }
        Method::POST if path.ends_with("/rerank") => call.single(&body, operations::rerank).await,
        Method::POST if path.ends_with("/moderations") => call.single(&body, operations::moderate).await,
        Method::POST if path.ends_with("/images/generations") => call.single(&body, operations::draw).await,
        _ if ["/files", "/batches", "/batch/jobs"].iter().any(|kept| path.contains(kept)) => {
            match call.admit(Dialect::OpenAi) {
                Ok(()) => Ok(state.batches.answer(&head.method, path, &head.headers, body).await),
                Err((status, message)) => Ok(json_reply(StatusCode::UNAUTHORIZED, &openai::error(status, message))),
            }
        }
        Method::GET if path.ends_with("/models") => Ok(call.models()),
        // Self-hosted servers of OpenAI's dialect have a health route, and gateways may ask for it.
        Method::GET if path.starts_with("/health") => {
            Ok(json_reply(StatusCode::OK, &serde_json::json!({ "status": "ok" })))
        }
        _ => {
            let message = format!("Unknown request URL: {} {path}.", head.method);
            Ok(json_reply(StatusCode::NOT_FOUND, &openai::error(404, Some(&message))))
        }
    }
}

/// A call that has arrived, and what its connection offers.
struct Arrival<'a> {
    state: &'a State,
    reset: &'a ResetFlag,
    uri: &'a Uri,
    path: &'a str,
    headers: &'a HeaderMap,
}

impl Arrival<'_> {
    async fn converse(&self, dialect: Dialect, bytes: &Bytes) -> Answered {
        let mut body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        azure::address(self.path, &mut body);
        let mut attempt = self.open(&body);
        if let Err((status, message)) = self.admit(dialect) {
            return Ok(refuse(dialect, attempt, status, message, &Step::default()));
        }
        let read = match dialect {
            Dialect::OpenAi => openai::read(&body),
            Dialect::Text => text::read(&body),
            Dialect::Responses => responses::read(&body),
            Dialect::Anthropic => anthropic::read(&body),
            Dialect::Gemini => gemini::read(self.path, &body),
        };
        let ask = match read {
            Ok(ask) => ask,
            Err(message) => {
                return Ok(refuse(dialect, attempt, 400, Some(&message), &Step::default()));
            }
        };
        let step = self.step(ask.directive.as_ref(), &ask.model);
        let answer = ask.answer(&step);
        let status = before_answer(&step, &answer.usage, &mut attempt).await?;
        let failed_whole = !ask.stream && step.mid_stream_error_after.is_some();
        if status >= 400 || failed_whole {
            return Ok(refuse(dialect, attempt, if failed_whole { 500 } else { status }, None, &step));
        }
        match ask.stream {
            true => Ok(self.stream(dialect, &ask, &answer, &step, attempt)),
            false => {
                generate(&answer, &ask, &step, &mut attempt).await;
                let seq = attempt.record.seq;
                let document = match dialect {
                    Dialect::OpenAi => openai::whole(&ask, &answer, &step, seq, attempt.record.started_at_ms / 1000),
                    Dialect::Text => text::whole(&ask, &answer, &step, seq, attempt.record.started_at_ms / 1000),
                    Dialect::Responses => {
                        responses::whole(&ask, &answer, &step, seq, attempt.record.started_at_ms / 1000)
                    }
                    Dialect::Anthropic => anthropic::whole(&ask, &answer, &step, seq),
                    Dialect::Gemini => gemini::whole(&ask, &answer, &step, seq),
                };
                Ok(self.whole(dialect, document, &step, attempt))
            }
        }
    }

    /// A call that is answered in one document.
    async fn single(&self, bytes: &Bytes, read: fn(&Value) -> Result<operations::Ask, String>) -> Answered {
        let mut body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        azure::address(self.path, &mut body);
        let mut attempt = self.open(&body);
        let admitted = self.admit(Dialect::OpenAi);
        let admitted = admitted.map_err(|(status, message)| (status, message.map(str::to_owned)));
        let ask = match admitted.and_then(|()| read(&body).map_err(|message| (400, Some(message)))) {
            Ok(ask) => ask,
            Err((status, message)) => {
                return Ok(refuse(Dialect::OpenAi, attempt, status, message.as_deref(), &Step::default()));
            }
        };
        let step = self.step(ask.directive(), ask.model());
        let usage = ask.usage(&step);
        let status = before_answer(&step, &usage, &mut attempt).await?;
        if status >= 400 {
            return Ok(refuse(Dialect::OpenAi, attempt, status, None, &step));
        }
        attempt.wrote(usage.completion_tokens, false);
        Ok(self.whole(Dialect::OpenAi, ask.whole(&step), &step, attempt))
    }

    /// A call of sound or images.
    async fn media(&self, asked: Result<media::Ask, String>) -> Answered {
        let body = asked.as_ref().map_or(Value::Null, |ask| ask.body.clone());
        let mut attempt = self.open(&body);
        let dialect = if gemini::address(self.path).is_some() { Dialect::Gemini } else { Dialect::OpenAi };
        let admitted = self.admit(dialect);
        let admitted = admitted.map_err(|(status, message)| (status, message.map(str::to_owned)));
        let ask = match admitted.and_then(|()| asked.map_err(|message| (400, Some(message)))) {
            Ok(ask) => ask,
            Err((status, message)) => {
                return Ok(refuse(dialect, attempt, status, message.as_deref(), &Step::default()));
            }
        };
        let step = self.step(None, ask.model());
        let answer = ask.answer(&step);
        let usage = Usage { prompt_tokens: answer.read, completion_tokens: answer.written, ..Usage::default() };
        let status = before_answer(&step, &usage, &mut attempt).await?;
        if status >= 400 {
            return Ok(refuse(dialect, attempt, status, None, &step));
        }
        attempt.record.usage_sent = step.usage != Some(false);
        let request_id = attempt.record.provider_request_id.clone();
        let usual = || if dialect == Dialect::Gemini { gemini::error(503, None) } else { openai::error(500, None) };
        let error = step.error.clone().unwrap_or_else(usual);
        let error = format!("data: {error}\n\n").into();
        let playback = Playback::stream(answer.frames, error, &step, attempt, Arc::clone(self.reset));
        let mut response = Response::new(Reply::Played(Box::new(playback)));
        set(&mut response, header::CONTENT_TYPE, answer.content_type);
        dress(&mut response, dialect, &request_id, &step);
        Ok(response)
    }

    fn models(&self) -> Response<Reply> {
        self.state.listed.fetch_add(1, Ordering::AcqRel);
        if let Err((status, message)) = self.admit(Dialect::OpenAi) {
            return json_reply(StatusCode::UNAUTHORIZED, &openai::error(status, message));
        }
        let scripted: Vec<String> = self.state.scripts.lock().models().cloned().collect();
        let names = ["scripted-large", "scripted-small"].map(str::to_owned).into_iter().chain(scripted);
        let model = |name| serde_json::json!({ "id": name, "object": "model", "created": 0, "owned_by": "script" });
        let list: Vec<_> = names.map(model).collect();
        json_reply(StatusCode::OK, &serde_json::json!({ "object": "list", "data": list }))
    }

    fn open(&self, body: &Value) -> Attempt {
        let addressed = gemini::address(self.path);
        let call = Call {
            model: addressed.map_or_else(|| body["model"].as_str().unwrap_or_default(), |(model, _)| model),
            stream: body["stream"] == true || addressed.is_some_and(|(_, method)| method.starts_with("stream")),
            body: Some(body),
        };
        self.state.log.open(self.path, self.headers, call)
    }

    /// Checks the credential. `Err` is the status and the message, when it is not the usual one.
    fn admit(&self, dialect: Dialect) -> Result<(), (u16, Option<&'static str>)> {
        let header = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let key = match dialect {
            Dialect::OpenAi | Dialect::Text | Dialect::Responses if azure::is_here(self.path) => {
                header("api-key").or(bearer)
            }
            Dialect::OpenAi | Dialect::Text | Dialect::Responses => bearer,
            Dialect::Anthropic => header("x-api-key").or(bearer),
            Dialect::Gemini => header("x-goog-api-key").or(bearer),
        };
        if key != Some(self.state.api_key.as_str()) {
            return Err((401, None));
        }
        if !azure::is_found(self.uri) {
            return Err((404, Some("Resource not found")));
        }
        match dialect {
            Dialect::Anthropic if header("anthropic-version").is_none() => {
                Err((400, Some("anthropic-version: header is required")))
            }
            _ => Ok(()),
        }
    }

    fn step(&self, directive: Option<&Step>, model: &str) -> Step {
        directive.cloned().unwrap_or_else(|| self.state.scripts.lock().next(model))
    }

    fn stream(
        &self,
        dialect: Dialect,
        ask: &Ask,
        answer: &Answer,
        step: &Step,
        mut attempt: Attempt,
    ) -> Response<Reply> {
        let (seq, created) = (attempt.record.seq, attempt.record.started_at_ms / 1000);
        attempt.record.usage_sent = ask.include_usage && step.usage != Some(false);
        let request_id = attempt.record.provider_request_id.clone();
        let (frames, usual) = match dialect {
            Dialect::OpenAi => (openai::stream(ask, answer, step, seq, created), openai::error(500, None)),
            Dialect::Text => (text::stream(ask, answer, step, seq, created), openai::error(500, None)),
            Dialect::Responses => (responses::stream(ask, answer, step, seq, created), responses::broken()),
            Dialect::Anthropic => (anthropic::stream(ask, answer, step, seq), anthropic::error(529, None, &request_id)),
            Dialect::Gemini => (gemini::stream(ask, answer, step, seq), gemini::error(503, None)),
        };
        let error = step.error.as_ref().unwrap_or(&usual);
        let event = match dialect {
            Dialect::OpenAi | Dialect::Text => format!("data: {error}\n\n"),
            Dialect::Responses => responses::sse("error", error),
            Dialect::Anthropic => anthropic::sse(error),
            Dialect::Gemini => gemini::sse(error),
        };
        let playback = Playback::stream(frames, event.into(), step, attempt, Arc::clone(self.reset));
        let mut response = Response::new(Reply::Played(Box::new(playback)));
        set(&mut response, header::CONTENT_TYPE, "text/event-stream; charset=utf-8");
        set(&mut response, header::CACHE_CONTROL, "no-cache");
        dress(&mut response, dialect, &request_id, step);
        response
    }

    fn whole(&self, dialect: Dialect, document: Vec<u8>, step: &Step, mut attempt: Attempt) -> Response<Reply> {
        let mut document = Bytes::from(document);
        attempt.record.usage_sent = step.usage != Some(false);
        let request_id = attempt.record.provider_request_id.clone();
        if matches!(step.malformed, Some(Malformed::Json | Malformed::Sse)) {
            document.truncate(document.len() / 2);
        }
        let mut response = if step.cut_after_chunks.or(step.stall_after_chunks).is_some() {
            let half = Playback::half(&document, step, attempt, Arc::clone(self.reset));
            let mut response = Response::new(Reply::Played(Box::new(half)));
            set(&mut response, header::CONTENT_LENGTH, &document.len().to_string());
            response
        } else {
            attempt.end(Outcome::Complete);
            Response::new(Reply::Whole(Some(document)))
        };
        set(&mut response, header::CONTENT_TYPE, "application/json");
        dress(&mut response, dialect, &request_id, step);
        response
    }
}

/// What happens between arrival and headers. The prompt is billed from here on unless the call is refused.
async fn before_answer(step: &Step, usage: &Usage, attempt: &mut Attempt) -> Result<u16, NoReply> {
    let status = step.status.unwrap_or(200);
    if status < 400 && !step.no_reply {
        attempt.record.status = status;
        attempt.record.prompt_tokens = usage.prompt_tokens;
        attempt.record.cached_tokens = usage.cached_tokens;
    }
    if let Some(delay) = step.delay_ms {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    if step.no_reply {
        attempt.end(Outcome::ScriptedCut);
        return Err(NoReply);
    }
    Ok(status)
}

/// Takes the time a stream of the same answer would take, billing as it goes.
async fn generate(answer: &Answer, ask: &Ask, step: &Step, attempt: &mut Attempt) {
    attempt.wrote(answer.usage.reasoning_tokens, false);
    let calls = answer.tools.iter().flat_map(|tool| &tool.arguments);
    for (at, piece) in answer.text.iter().chain(calls).enumerate() {
        let pause = if at == 0 { step.first_token_ms } else { step.chunk_delay_ms };
        if let Some(pause) = pause {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        (0..ask.choices.max(1)).for_each(|_| attempt.wrote(piece.tokens, true));
    }
}
