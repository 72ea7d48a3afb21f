//! The Responses API on any provider: its events in their order, tools and reasoning.

mod background;
mod kept;

use serde_json::{Value, json};
use tollgate_client::v1;
use tollgate_tests::{
    provider::{Cut, Step},
    support::{
        GatewayBuilder,
        http::{Event, Reply},
    },
};

use crate::support::World;

/// A model of each dialect: `gpt` (chat completions), `claude`, `gemini`, and `native`, which speaks responses itself.
const MODELS: [&str; 4] = ["gpt", "claude", "gemini-3-thinker", "native"];

async fn world() -> World {
    world_with(json!({})).await
}

async fn world_with(responses: Value) -> World {
    world_of(|builder| builder.set("/responses", responses)).await
}

/// A hard budget caps outputs.
async fn without_budget() -> World {
    world_of(|builder| builder.set("/keys/0/budget_usd", Value::Null)).await
}

async fn world_of(configure: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> World {
    World::with_provider(|builder, url| {
        let kinds = [
            ("gpt", "openai"),
            ("claude", "anthropic"),
            ("gemini-3-thinker", "gemini"),
            ("native", "openai_responses"),
        ];
        let builder = kinds.into_iter().fold(builder, |builder, (model, kind)| {
            let builder = builder.provider_of_kind(kind, kind, url);
            let upstream = if model == "native" { "o4-upstream" } else { model };
            builder.model(model, kind, upstream)
        });
        configure(builder).set("/routing", json!({"cooldown": {"time": "0s"}}))
    })
    .await
}

fn body(model: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "input": "Say hello"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn tool() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
                            "additionalProperties": false});
    json!({"type": "function", "name": "weather", "parameters": parameters, "strict": true})
}

async fn post(world: &World, body: &Value) -> Reply {
    world.gateway.caller().post(&world.v1("responses"), body).await.unwrap()
}

async fn made(world: &World, body: &Value) -> Value {
    let reply = post(world, body).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    reply.json()
}

async fn streamed(world: &World, body: &Value) -> Vec<Event> {
    let mut body = body.clone();
    body["stream"] = true.into();
    let stream = world.gateway.caller().stream(&world.v1("responses"), &body).await.unwrap();
    assert_eq!(stream.status, 200);
    let (events, ended) = stream.rest().await;
    ended.unwrap();
    events
}

fn text(response: &Value) -> &str {
    let message = response["output"].as_array().unwrap().iter().find(|item| item["type"] == "message");
    message.unwrap_or_else(|| panic!("{response}"))["content"][0]["text"].as_str().unwrap()
}

fn item<'a>(response: &'a Value, kind: &str) -> &'a Value {
    let found = response["output"].as_array().unwrap().iter().find(|item| item["type"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {response}"))
}

/// Whether the names are those of their data, the numbers have no gap, and every place was opened before it was filled.
fn check_order(events: &[Event]) {
    let (mut items, mut parts) = (0, Vec::<(u64, u64)>::new());
    for (number, event) in events.iter().enumerate() {
        let data = event.json();
        assert_eq!(event.name.as_deref(), data["type"].as_str(), "{data}");
        assert_eq!(data["sequence_number"], number, "{data}");
        let place = data["output_index"].as_u64();
        match data["type"].as_str().unwrap() {
            "response.output_item.added" => {
                assert_eq!(place, Some(items), "items come in order: {data}");
                items += 1;
            }
            "response.content_part.added" => parts.push((place.unwrap(), data["content_index"].as_u64().unwrap())),
            "response.output_text.delta" | "response.output_text.done" | "response.content_part.done" => {
                assert!(parts.contains(&(place.unwrap(), data["content_index"].as_u64().unwrap())), "{data}");
            }
            _ if place.is_some() => assert!(place.unwrap() < items, "{data}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_of_the_body_label_a_response() {
    let world = world().await;
    made(&world, &body("gpt", json!({"metadata": {"tags": ["b"]}, "tags": ["a"]}))).await;
    assert_eq!(world.entries().await[0].tags, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_comes_whole_from_every_dialect() {
    let world = world().await;
    for model in MODELS {
        world.provider.script("*", [Step::text("Good morning.")]);
        let asked = json!({"instructions": "Be kind.", "metadata": {"trip": "7"}, "max_output_tokens": 500});
        let response = made(&world, &body(model, asked)).await;
        assert_eq!((response["object"].as_str(), response["status"].as_str()), (Some("response"), Some("completed")));
        assert_eq!(text(&response), "Good morning.", "{model}");
        assert!(response["id"].as_str().unwrap().starts_with("resp_"), "{model}: {response}");
        let sum =
            response["usage"]["input_tokens"].as_u64().unwrap() + response["usage"]["output_tokens"].as_u64().unwrap();
        assert_eq!(response["usage"]["total_tokens"], sum);
        assert_eq!((&response["store"], &response["previous_response_id"]), (&json!(true), &Value::Null));
        if model != "native" {
            assert_eq!(response["instructions"], "Be kind.");
            assert_eq!(response["metadata"], json!({"trip": "7"}));
            assert_eq!(response["max_output_tokens"], 500);
        }
        let sent = world.provider.log().last().unwrap().body.unwrap().to_string();
        assert!(sent.contains("Be kind.") && sent.contains("500"), "{model}: {sent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_a_stream_stands_in_its_place() {
    let world = world().await;
    for model in MODELS {
        world.provider.script("*", [Step::text("Good morning to all.")]);
        let events = streamed(&world, &body(model, json!({}))).await;
        check_order(&events);
        let kinds: Vec<_> = events.iter().map(|event| event.name.clone().unwrap()).collect();
        let mut told = kinds.clone();
        told.dedup();
        let expected = [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ];
        assert_eq!(told, expected, "{model}");
        let deltas: String = events.iter().filter_map(|e| e.json()["delta"].as_str().map(str::to_owned)).collect();
        assert_eq!(deltas, "Good morning to all.", "{model}");
        let last = events.last().unwrap().json()["response"].clone();
        assert_eq!(text(&last), "Good morning to all.");
        assert_eq!((&last["status"], &last["store"]), (&json!("completed"), &json!(true)), "{model}");
        assert!(last["usage"]["output_tokens"].as_u64().unwrap() > 0);
        let kept = world.gateway.caller().get(&world.v1(&format!("responses/{}", last["id"].as_str().unwrap()))).await;
        assert_eq!(kept.unwrap().json(), last, "{model}: what was streamed is what is kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_reaches_its_limit_is_incomplete() {
    let world = world().await;
    for model in MODELS {
        let asked = body(model, json!({"max_output_tokens": 3}));
        let events = streamed(&world, &asked).await;
        let last = events.last().unwrap().json();
        for response in [last["response"].clone(), made(&world, &asked).await] {
            assert_eq!(response["status"], "incomplete", "{model}");
            assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}), "{model}");
        }
        assert_eq!(last["type"], "response.incomplete");
    }
}

/// Three turns: a call, its result, an answer. `keeps`: the gateway keeps them, else the client sends all of it again.
async fn tool_loop(world: &World, model: &str, streams: bool, keeps: bool) {
    let more = json!({"tools": [tool()], "reasoning": {"effort": "high", "summary": "auto"}, "store": keeps,
                      "include": ["reasoning.encrypted_content"], "max_output_tokens": 4_000});
    let mut asked = body(model, more);
    let ask = async |asked: &Value| match streams {
        true => {
            let events = streamed(world, asked).await;
            check_order(&events);
            events.last().unwrap().json()["response"].clone()
        }
        false => made(world, asked).await,
    };
    let first = ask(&asked).await;
    let call = item(&first, "function_call");
    assert_eq!(call["name"], "weather", "{first}");
    serde_json::from_str::<Value>(call["arguments"].as_str().unwrap()).unwrap();
    let output = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "{\"is\":\"fine\"}"});
    if keeps {
        asked["previous_response_id"] = first["id"].clone();
        asked["input"] = json!([output]);
    } else {
        assert_eq!(first["store"], false);
        let mut input = vec![json!({"role": "user", "content": "Say hello"})];
        input.extend(first["output"].as_array().unwrap().clone());
        input.push(output);
        asked["input"] = input.into();
    }
    let second = ask(&asked).await;
    assert!(!text(&second).is_empty());
    let sent = world.provider.log().last().unwrap().body.unwrap().to_string();
    assert!(sent.contains("weather") && sent.contains("fine"), "the call and its result: {sent}");
    if keeps {
        assert_eq!(second["previous_response_id"], first["id"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_make_the_round_trip_with_and_without_a_kept_conversation() {
    let world = world().await;
    for model in MODELS {
        for (streams, keeps) in [(false, false), (false, true), (true, false), (true, true)] {
            tool_loop(&world, model, streams, keeps).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_reasoning_goes_back_to_its_provider_unchanged_and_to_no_other() {
    let world = world().await;
    let asked = json!({"tools": [tool()], "reasoning": {"effort": "high"}, "store": false, "max_output_tokens": 4_000});
    for model in ["claude", "native"] {
        let first = made(&world, &body(model, asked.clone())).await;
        let thought = item(&first, "reasoning");
        assert!(!thought["summary"][0]["text"].as_str().unwrap().is_empty(), "{model}");
        let proof = thought["encrypted_content"].as_str().unwrap();
        assert_eq!(proof.starts_with("tg1."), model == "claude", "{proof}");
        let mut input = vec![json!({"role": "user", "content": "Say hello"})];
        input.extend(first["output"].as_array().unwrap().clone());
        let call_id = &item(&first, "function_call")["call_id"];
        input.push(json!({"type": "function_call_output", "call_id": call_id, "output": "fine"}));
        let again = |model: &str| {
            let mut again = body(model, asked.clone());
            again["input"] = input.clone().into();
            again
        };
        // The scripted providers refuse reasoning that is not exactly what they gave out.
        made(&world, &again(model)).await;
        let sent = world.provider.log().last().unwrap().body.unwrap().to_string();
        assert!(sent.contains("little to think about"), "{model}: {sent}");
        // That of Gemini takes no history of calls but its own.
        for other in ["gpt", "claude", "native"].into_iter().filter(|other| *other != model) {
            made(&world, &again(other)).await;
            let sent = world.provider.log().last().unwrap().body.unwrap().to_string();
            assert!(!sent.contains(proof), "{model}'s reasoning was given to {other}: {sent}");
        }
        input[1]["encrypted_content"] = "tg1.torn".into();
        let mut torn = body(model, json!({}));
        torn["input"] = input.into();
        let reply = post(&world, &torn).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]["param"]),
            (400, &json!("input[1].encrypted_content"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_of_the_same_dialect_gets_the_callers_bytes_and_gives_its_own_back() {
    let world = without_budget().await;
    let odd = json!({"type": "x_unheard_of", "n": 1.50, "deep": [{"z": null, "a": 18446744073709551615u64}]});
    let mut asked = body(
        "native",
        json!({"x_new": {"b": 1, "a": [2.0]}, "truncation": "auto", "tools": [{"type": "web_search"}],
                                          "store": false, "text": {"verbosity": "low"}, "service_tier": "flex"}),
    );
    asked["input"] = json!([{"role": "user", "content": [{"type": "input_text", "text": "hi", "x_part": true}]}, odd]);
    for streams in [false, true] {
        let response = match streams {
            false => made(&world, &asked).await,
            true => streamed(&world, &asked).await.last().unwrap().json()["response"].clone(),
        };
        assert_eq!(response["x_scripted"], json!({"kept": 1.0}), "members of the provider's own come back");
        let sent = world.provider.log().last().unwrap();
        assert_eq!(sent.path, "/v1/responses");
        let mut sent = sent.body.unwrap();
        assert_eq!(sent["stream"].as_bool().unwrap_or_default(), streams);
        sent.as_object_mut().unwrap().shift_remove("stream");
        // A model that reasons is asked for the proof, for nothing is kept there.
        assert_eq!(sent["include"], json!(["reasoning.encrypted_content"]));
        sent.as_object_mut().unwrap().shift_remove("include");
        let mut expected = asked.clone();
        expected["model"] = "o4-upstream".into();
        assert_eq!(sent, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_dialect_has_no_counterpart_for_is_refused_by_name_or_left_out() {
    let world = world().await;
    for model in ["gpt", "claude"] {
        let asked = body(model, json!({"truncation": "auto", "prompt_cache_key": "k", "service_tier": "auto"}));
        let reply = post(&world, &asked).await;
        assert_eq!(reply.status, 400, "{model}");
        let error = &reply.json()["error"];
        assert_eq!(
            (&error["code"], &error["param"]),
            (&json!("unsupported_parameter"), &json!("truncation")),
            "{model}"
        );
        let mut dropping = asked.clone();
        dropping["drop_params"] = true.into();
        let reply = post(&world, &dropping).await;
        assert_eq!(reply.status, 200, "{model}");
        assert!(reply.header("x-tollgate-dropped-params").contains("truncation"), "{model}");
        let hosted = body(model, json!({"tools": [{"type": "web_search"}, tool()], "tool_choice": "auto"}));
        let reply = post(&world, &hosted).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!("tools[0]")), "{model}");
        let mut hinted = asked;
        hinted.as_object_mut().unwrap().shift_remove("truncation");
        assert_eq!(post(&world, &hinted).await.status, 200, "{model}: a hint is no demand");
    }
}

/// As some clients write a history that is kept: by reference, whoever gave the ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_ends_with_response_failed() {
    let world = world().await;
    for model in MODELS {
        for cut in [Cut::Fin, Cut::Rst] {
            world.provider.script("*", [Step::text("one two three four").then_cuts(2, cut)]);
            let events = streamed(&world, &body(model, json!({}))).await;
            check_order(&events);
            let last = events.last().unwrap().json();
            assert_eq!(last["type"], "response.failed", "{model} {cut:?}");
            assert_eq!(last["response"]["status"], "failed");
            assert_eq!(last["response"]["error"]["code"], "stream_truncated", "{model}: {last}");
            assert_eq!(last["response"]["id"], events[0].json()["response"]["id"]);
        }
        world.provider.script("*", [Step::text("one two three four").then_errs(2)]);
        let events = streamed(&world, &body(model, json!({}))).await;
        assert_eq!(events.last().unwrap().json()["type"], "response.failed", "{model}");
        world.provider.always("*", [Step::fails(429)]);
        let reply = post(&world, &body(model, json!({"stream": true}))).await;
        assert_eq!(reply.status, 429, "{model}: before its first event it is a plain error");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_stream_goes_on_elsewhere_where_it_is_asked_to() {
    let price = json!({"input": "0.15", "output": "0.60"});
    let world = World::with_provider(|builder, url| {
        let at = |provider: &str, order: u32| {
            json!({"provider": provider, "model": format!("{provider}-upstream"), "order": order, "price": price,
                   "capabilities": ["assistant_prefill"]})
        };
        let builder =
            builder.provider_of_kind("claude", "anthropic", url).provider_of_kind("native", "openai_responses", url);
        builder.set(
            "/models/0",
            json!({"name": "scripted", "deployments": [at("native", 0), at("claude", 1)], "retries": 0,
                                        "cooldown": {"time": "0s"}}),
        )
    })
    .await;
    world.provider.script("native-upstream", [Step::text("one two three").then_cuts(2, Cut::Fin)]);
    world.provider.script("claude-upstream", [Step::text(" three")]);
    let caller = world.gateway.caller().with("x-tollgate-on-midstream-failure", "continue");
    let asked = body("scripted", json!({"stream": true}));
    let (events, ended) = caller.stream(&world.v1("responses"), &asked).await.unwrap().rest().await;
    ended.unwrap();
    check_order(&events);
    let last = events.last().unwrap().json();
    assert_eq!((last["type"].as_str(), text(&last["response"])), (Some("response.completed"), "one two three"));
    let caller = world.gateway.caller().with("x-tollgate-on-midstream-failure", "restart");
    let reply = caller.post(&world.v1("responses"), &asked).await.unwrap();
    assert_eq!(reply.json()["error"]["param"], "x-tollgate-on-midstream-failure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_is_named() {
    let world = world().await;
    for (more, param) in [
        (json!({"background": true, "store": false}), "store"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"input": 7}), "input"),
        (json!({"input": null}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": [{"role": "robot", "content": "x"}]}), "input[0].role"),
        (json!({"input": [{"role": "user"}]}), "input[0].content"),
        (json!({"input": [{"type": "function_call", "name": "f"}]}), "input[0].call_id"),
        (json!({"input": [{"type": "item_reference", "id": "msg_1"}]}), "input[0].id"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
        (json!({"tool_choice": "maybe"}), "tool_choice"),
        (json!({"text": {"format": {"type": "json_schema"}}}), "text.format.name"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"model": "nowhere"}), "model"),
        (json!({"previous_response_id": "resp_none"}), "previous_response_id"),
    ] {
        let mut asked = body("gpt", json!({}));
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = post(&world, &asked).await;
        assert!(reply.status.is_client_error(), "{more}: {}", reply.status);
        assert_eq!(reply.json()["error"]["param"], param, "{more}: {}", reply.json());
    }
    let caller = world.gateway.caller();
    let reply = caller.get(&world.v1("responses")).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "POST"));
    let reply = caller.post(&world.v1("responses/resp_1"), &json!({})).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "GET,HEAD,DELETE"));
    let counted = caller.post(&world.v1("responses/input_tokens"), &body("gpt", json!({}))).await.unwrap().json();
    assert_eq!(counted["object"], "response.input_tokens");
    assert!(counted["input_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_original_of_responses_is_read_anew_and_stands_alone() {
    let world = world().await;
    let original = |body: Value| v1::Original {
        dialect: v1::Dialect::OpenaiResponses as i32,
        body: body.to_string().into_bytes().into(),
    };
    let call = |body: Value| v1::CreateCompletionRequest {
        request: Some(v1::CompletionRequest { original: Some(original(body)), ..Default::default() }),
    };
    let mut completions = world.caller().await.completions();
    let answer = completions.create_completion(call(body("claude", json!({})))).await.unwrap().into_inner();
    assert_eq!(answer.completion.unwrap().choices.len(), 1);
    let status = completions.create_completion(call(body("claude", json!({"previous_response_id": "resp_1"})))).await;
    assert!(status.unwrap_err().message().contains("previous_response_id"));
}
