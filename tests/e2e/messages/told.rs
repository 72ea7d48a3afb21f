//! What a client of Anthropic's makes of an answer.

use serde_json::{Value, json};
use tollgate_tests::support::http::{Caller, Event, Reply};

use crate::support::World;

/// A call of one message.
pub(super) fn ask(model: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "max_tokens": 4000, "messages": [{"role": "user", "content": "Say hello"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

pub(super) fn caller(world: &World) -> Caller {
    Caller::anthropic(world.gateway.key())
}

pub(super) async fn post(world: &World, body: &Value) -> Reply {
    caller(world).post(&world.v1("messages"), body).await.unwrap()
}

/// The message, whole or streamed.
pub(super) async fn said(world: &World, body: &Value, stream: bool) -> Value {
    let mut body = body.clone();
    if !stream {
        let reply = post(world, &body).await;
        assert_eq!(reply.status, 200, "{}", reply.json());
        assert_eq!(reply.header("request-id"), reply.header("x-request-id"));
        return reply.json();
    }
    body["stream"] = true.into();
    let streamed = caller(world).stream(&world.v1("messages"), &body).await.unwrap();
    if streamed.status != 200 {
        panic!("{}", streamed.whole().await.unwrap().json());
    }
    let (events, ended) = streamed.rest().await;
    ended.unwrap();
    folded(&events)
}

/// The events of a stream, put together; each must stand where the protocol has it.
pub(super) fn folded(events: &[Event]) -> Value {
    let mut message = Value::Null;
    let mut open: Option<usize> = None;
    let mut arguments = String::new();
    let mut is_ended = false;
    for event in events {
        let data = event.json();
        assert_eq!(event.name.as_deref(), data["type"].as_str(), "{event:?}");
        assert!(!is_ended, "nothing follows the end: {event:?}");
        match data["type"].as_str().unwrap() {
            "message_start" => {
                assert!(message.is_null());
                message = data["message"].clone();
            }
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert!(open.is_none() && data["index"] == content.len(), "{event:?}");
                content.push(data["content_block"].clone());
                open = Some(content.len() - 1);
                arguments.clear();
            }
            "content_block_delta" => {
                assert_eq!(data["index"].as_u64(), open.map(|at| at as u64), "{event:?}");
                let block = &mut message["content"][open.unwrap()];
                let delta = &data["delta"];
                let (name, piece) = match delta["type"].as_str().unwrap() {
                    "text_delta" => ("text", &delta["text"]),
                    "thinking_delta" => ("thinking", &delta["thinking"]),
                    "signature_delta" => ("signature", &delta["signature"]),
                    "input_json_delta" => {
                        arguments.push_str(delta["partial_json"].as_str().unwrap());
                        continue;
                    }
                    other => panic!("{other}"),
                };
                block[name] = format!("{}{}", block[name].as_str().unwrap(), piece.as_str().unwrap()).into();
            }
            "content_block_stop" => {
                let at = open.take().unwrap();
                assert_eq!(data["index"], at);
                if !arguments.is_empty() {
                    message["content"][at]["input"] = serde_json::from_str(&arguments).unwrap();
                }
            }
            "message_delta" => {
                assert!(open.is_none());
                message["stop_reason"] = data["delta"]["stop_reason"].clone();
                let usage = data["usage"].as_object().unwrap().clone();
                message["usage"].as_object_mut().unwrap().extend(usage);
            }
            "message_stop" => is_ended = true,
            "ping" | "tollgate" => {}
            other => panic!("{other}: {event:?}"),
        }
    }
    assert!(is_ended, "a stream ends with message_stop");
    message
}

/// The blocks of a type.
pub(super) fn blocks<'a>(message: &'a Value, kind: &str) -> Vec<&'a Value> {
    message["content"].as_array().unwrap().iter().filter(|block| block["type"] == kind).collect()
}

/// Everything that was said as text.
pub(super) fn text(message: &Value) -> String {
    blocks(message, "text").iter().filter_map(|block| block["text"].as_str()).collect()
}

/// An error in Anthropic's shape.
pub(super) fn error(reply: &Reply) -> (u16, String, String) {
    let body = reply.json();
    assert_eq!(body["type"], "error", "{body}");
    assert!(body.as_object().unwrap().contains_key("request_id"), "{body}");
    let word = |name: &str| body["error"][name].as_str().unwrap().to_owned();
    (reply.status.as_u16(), word("type"), word("message"))
}
