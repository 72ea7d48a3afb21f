//! Answers of simulated providers, in the dialect that they were asked in.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tollgate_domain::Failure;
use tollgate_providers::{Head, transport::BodyStream};

/// An answer in the dialect that it was asked in.
pub(super) struct Answer {
    anthropic: bool,
    stream: bool,
    model: String,
    /// What it says that it used. Prompt and answer are the whole, the others parts of them.
    pub(super) prompt: u64,
    pub(super) cached_read: u64,
    pub(super) cache_write: u64,
    pub(super) tokens: u64,
    pub(super) reasoning: u64,
}

/// How an answer is sent.
pub(super) struct Manner {
    /// Between two tokens.
    pub(super) between: Duration,
    /// The line breaks after so many tokens.
    pub(super) break_after: Option<(u64, Failure)>,
    /// The whole answer, where it is not ours to make.
    pub(super) body: Option<Bytes>,
}

impl Answer {
    /// An answer of so many tokens, or of as many as are asked for at most.
    pub(super) fn to(asked: &Value, path: &str, tokens: u64) -> Self {
        let most = ["max_completion_tokens", "max_tokens"].iter().find_map(|field| asked[*field].as_u64());
        Self {
            anthropic: path.ends_with("/messages"),
            stream: asked["stream"].as_bool().unwrap_or(false),
            model: asked["model"].as_str().unwrap_or_default().to_owned(),
            // As many as the gateway estimates: four bytes each.
            prompt: (asked["messages"].to_string().len() as u64).div_ceil(4),
            tokens: most.map_or(tokens, |most| tokens.min(most)),
            cached_read: 0,
            cache_write: 0,
            reasoning: 0,
        }
    }

    /// Sends it. `guard` lives until it was read or dropped.
    pub(super) fn send<T: Send + 'static>(self, manner: Manner, guard: T) -> (Head, BodyStream) {
        let Manner { between, break_after, body } = manner;
        if let Some(body) = body {
            return (head(200, "application/json"), futures::stream::once(async { Ok(body) }).boxed());
        }
        if !self.stream {
            let body = Bytes::from(self.whole().to_string());
            let pause = between.saturating_mul(u32::try_from(self.tokens).unwrap_or(u32::MAX));
            let bytes = async move {
                let _guard = guard;
                tokio::time::sleep(pause).await;
                match break_after {
                    Some((_, failure)) => Err(failure),
                    None => Ok(body),
                }
            };
            return (head(200, "application/json"), futures::stream::once(bytes).boxed());
        }
        let stream = async_stream::stream! {
            let _guard = guard;
            for chunk in self.opening() {
                yield Ok(chunk);
            }
            for token in 0..self.tokens {
                if let Some((_, failure)) = break_after.as_ref().filter(|(after, _)| token >= *after) {
                    yield Err(failure.clone());
                    return;
                }
                if token > 0 && !between.is_zero() {
                    tokio::time::sleep(between).await;
                }
                yield Ok(self.token());
            }
            if let Some((_, failure)) = break_after {
                yield Err(failure);
                return;
            }
            for chunk in self.closing() {
                yield Ok(chunk);
            }
        };
        (head(200, "text/event-stream"), stream.boxed())
    }

    fn event(&self, kind: &str, data: &Value) -> Bytes {
        match self.anthropic {
            true => Bytes::from(format!("event: {kind}\ndata: {data}\n\n")),
            false => Bytes::from(format!("data: {data}\n\n")),
        }
    }

    fn chunk(&self, delta: &Value, finish: &Value) -> Value {
        json!({"id": "chatcmpl-sim", "object": "chat.completion.chunk", "created": 0, "model": self.model,
               "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    }

    fn opening(&self) -> Vec<Bytes> {
        match self.anthropic {
            true => {
                let mut usage = self.anthropic_usage();
                usage["output_tokens"] = json!(1);
                let message = json!({"id": "msg_sim", "type": "message", "role": "assistant", "model": self.model,
                                     "content": [], "stop_reason": null, "usage": usage});
                let block =
                    json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
                vec![
                    self.event("message_start", &json!({"type": "message_start", "message": message})),
                    self.event("content_block_start", &block),
                ]
            }
            false => vec![self.event("", &self.chunk(&json!({"role": "assistant", "content": ""}), &Value::Null))],
        }
    }

    fn token(&self) -> Bytes {
        match self.anthropic {
            true => {
                let delta = json!({"type": "text_delta", "text": "word "});
                self.event("content_block_delta", &json!({"type": "content_block_delta", "index": 0, "delta": delta}))
            }
            false => self.event("", &self.chunk(&json!({"content": "word "}), &Value::Null)),
        }
    }

    fn closing(&self) -> Vec<Bytes> {
        match self.anthropic {
            true => vec![
                self.event("content_block_stop", &json!({"type": "content_block_stop", "index": 0})),
                self.event(
                    "message_delta",
                    &json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
                            "usage": {"output_tokens": self.tokens}}),
                ),
                self.event("message_stop", &json!({"type": "message_stop"})),
            ],
            false => {
                let mut usage = self.chunk(&json!({}), &Value::Null);
                usage["choices"] = json!([]);
                usage["usage"] = self.openai_usage();
                vec![
                    self.event("", &self.chunk(&json!({}), &json!("stop"))),
                    self.event("", &usage),
                    Bytes::from_static(b"data: [DONE]\n\n"),
                ]
            }
        }
    }

    fn openai_usage(&self) -> Value {
        json!({"prompt_tokens": self.prompt, "completion_tokens": self.tokens, "total_tokens": self.prompt + self.tokens,
               "prompt_tokens_details": {"cached_tokens": self.cached_read},
               "completion_tokens_details": {"reasoning_tokens": self.reasoning}})
    }

    /// Which counts what was cached beside the rest.
    fn anthropic_usage(&self) -> Value {
        json!({"input_tokens": self.prompt.saturating_sub(self.cached_read + self.cache_write), "output_tokens": self.tokens,
               "cache_read_input_tokens": self.cached_read, "cache_creation_input_tokens": self.cache_write})
    }

    fn whole(&self) -> Value {
        let text = "word ".repeat(usize::try_from(self.tokens).unwrap_or(usize::MAX).min(100_000));
        match self.anthropic {
            true => json!({"id": "msg_sim", "type": "message", "role": "assistant", "model": self.model,
                           "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
                           "usage": self.anthropic_usage()}),
            false => json!({"id": "chatcmpl-sim", "object": "chat.completion", "created": 0, "model": self.model,
                            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                            "usage": self.openai_usage()}),
        }
    }
}

pub(super) fn head(status: u16, content_type: &'static str) -> Head {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    Head { status: StatusCode::from_u16(status).unwrap_or_default(), headers }
}
