//! Answers that break when a part of them has reached the caller, and go on at another deployment.

use serde_json::{Value, json};
use tollgate_client::v1::{self, MidstreamPolicy, completion_event::Event, delta::Piece};
use tollgate_tests::fault_proxy::{Fault, FaultProxy};
use tollgate_tests::provider::{Cut, Step};
use tollgate_tests::support::http::{Event as Sse, Reply};

use crate::support::{World, cost, hello, request};

/// A model at two providers, one of each dialect: the first answer of `first` breaks.
async fn with_two(first: &str, second: &str, policy: &str) -> World {
    let price = json!({"input": "0.15", "output": "0.60"});
    let deployment = |provider: &str, order: u32| {
        json!({"name": format!("at-{order}"), "provider": provider, "model": format!("{provider}-upstream"), "order": order,
               "price": price, "context_window": 400_000, "max_output_tokens": 4096, "capabilities": ["assistant_prefill", "tools"]})
    };
    let model = json!({"name": "scripted", "deployments": [deployment(first, 0), deployment(second, 1)],
                       "retries": 0, "cooldown": {"time": "0s"}, "on_midstream_failure": policy});
    World::with_provider(|builder, url| {
        builder.provider_of_kind("claude", "anthropic", url).provider("other", url).set("/models/0", model)
    })
    .await
}

/// What a caller of gRPC got.
#[derive(Default, Debug)]
struct Got {
    /// Text before and after the answer broke.
    texts: Vec<String>,
    restarted: Vec<v1::Restarted>,
    /// How many pieces came before.
    restarted_at: Vec<usize>,
    started: Vec<v1::Started>,
    pieces: Vec<Piece>,
    attempts: Vec<v1::Attempt>,
    finished: usize,
    error: Option<tonic::Status>,
}

async fn streamed(world: &World, request: v1::CompletionRequest) -> Got {
    let options = v1::GatewayOptions { want_routing: true, ..request.tollgate.clone().unwrap_or_default() };
    let request = v1::CompletionRequest { tollgate: Some(options), ..request };
    let call = v1::StreamCompletionRequest { request: Some(request) };
    let mut stream = world.caller().await.completions().stream_completion(call).await.unwrap().into_inner();
    let mut got = Got { texts: vec![String::new()], ..Got::default() };
    let mut next = 0;
    loop {
        let event = match stream.message().await {
            Ok(Some(response)) => response.event.unwrap(),
            Ok(None) => return got,
            Err(status) => {
                got.error = Some(status);
                return got;
            }
        };
        assert_eq!(event.seq, next, "events are counted without gaps");
        next += 1;
        match event.event.unwrap() {
            Event::Started(started) => got.started.push(started),
            Event::Restarted(restarted) => {
                got.restarted.push(restarted);
                got.restarted_at.push(got.pieces.len());
                got.texts.push(String::new());
            }
            Event::Delta(delta) => {
                let piece = delta.piece.unwrap();
                if let Piece::Text(text) = &piece {
                    got.texts.last_mut().unwrap().push_str(text);
                }
                got.pieces.push(piece);
            }
            Event::Finished(_) => got.finished += 1,
            Event::Routing(routing) => got.attempts = routing.attempts,
            _ => {}
        }
    }
}

const STORY: &str = "Once upon a time there was a gate.";

#[tokio::test]
async fn an_answer_goes_on_from_its_text_wherever_it_breaks_in_both_dialects() {
    for (first, second) in [("scripted", "claude"), ("claude", "other"), ("scripted", "other")] {
        let world = with_two(first, second, "continue").await;
        for words in 1..8 {
            for cut in [Cut::Fin, Cut::Rst] {
                let rest: String = STORY.split(' ').skip(words as usize).map(|word| format!(" {word}")).collect();
                world.provider.script(&format!("{first}-upstream"), [Step::text(STORY).then_cuts(words, cut)]);
                world.provider.script(&format!("{second}-upstream"), [Step::text(rest)]);
                let asked = v1::CompletionRequest { max_output_tokens: Some(400), ..request() };
                let got = streamed(&world, asked).await;
                let shown = format!("{first} to {second} after {words} words, {cut:?}: {got:?}");
                assert!(got.error.is_none(), "{shown}");
                assert_eq!(got.texts.len(), 2, "{shown}");
                assert_eq!(got.texts.concat(), STORY, "{shown}");
                assert_eq!((got.finished, got.started.len()), (1, 2), "{shown}");
                let restarted = &got.restarted[0];
                assert_eq!((restarted.policy(), restarted.attempt), (MidstreamPolicy::Continue, 2), "{shown}");
                assert_eq!((restarted.reason.as_str(), restarted.discard_from_seq), ("upstream_truncated", None));
            }
        }
        let sent = world.provider.log().last().unwrap().body.unwrap();
        let last = sent["messages"].as_array().unwrap().last().unwrap();
        assert_eq!(last["role"], "assistant");
        let given = last["content"].as_str().or(last["content"][0]["text"].as_str()).unwrap();
        assert_eq!(given, "Once upon a time there was a", "the beginning is sent without white space at its end");
        let limit = sent["max_tokens"].as_u64().or(sent["max_completion_tokens"].as_u64()).unwrap();
        assert!((380..400).contains(&limit), "what is written counts against the caller's limit: {limit}");
    }
}

#[tokio::test]
async fn both_attempts_are_billed_and_marked() {
    let world = with_two("scripted", "claude", "continue").await;
    world.provider.script("scripted-upstream", [Step::text(STORY).then_cuts(4, Cut::Rst)]);
    world.provider.script("claude-upstream", [Step::text(" there was a gate.")]);
    let got = streamed(&world, request()).await;
    let marks: Vec<_> = got.attempts.iter().map(|a| (a.class.as_str(), a.took_over(), a.billed)).collect();
    assert_eq!(
        marks,
        [("upstream_truncated", MidstreamPolicy::Unspecified, true), ("ok", MidstreamPolicy::Continue, true)]
    );
    let entries = world.entries().await;
    let told: Vec<_> = entries.iter().map(|e| (e.outcome.as_str(), e.kind())).collect();
    assert_eq!(told, [("replaced", v1::LedgerEntryKind::Estimated), ("complete", v1::LedgerEntryKind::Exact)]);
    let billed = world.provider.log().records();
    assert_eq!(entries[1].cost_nano_usd, cost(billed[1].prompt_tokens, billed[1].completion_tokens));
    let truth = cost(billed[0].prompt_tokens, billed[0].completion_tokens);
    assert!((entries[0].low_nano_usd..=entries[0].high_nano_usd).contains(&truth));
    let budget = world.budget().await;
    assert_eq!(budget.spent_nano_usd, entries.iter().map(|e| e.cost_nano_usd).sum::<i64>());
    assert_eq!(budget.held_nano_usd, 0);
}

#[tokio::test]
async fn an_answer_starts_over_behind_a_word_that_what_came_is_void() {
    let world = with_two("scripted", "claude", "restart").await;
    world.provider.script("scripted-upstream", [Step::text("A draft that breaks off").then_cuts(3, Cut::Fin)]);
    world.provider.script("claude-upstream", [Step::text(STORY)]);
    let got = streamed(&world, request()).await;
    assert!(got.error.is_none(), "{got:?}");
    assert_eq!(got.texts[1], STORY);
    assert_eq!((got.restarted[0].policy(), got.restarted[0].discard_from_seq), (MidstreamPolicy::Restart, Some(0)));
    assert_eq!(got.started[1].attempt, 2);
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert_eq!(sent["messages"].as_array().unwrap().len(), 1, "nothing of the draft is sent on");
}

#[tokio::test]
async fn the_call_decides_before_the_model_does() {
    let world = with_two("scripted", "claude", "restart").await;
    world.provider.always("scripted-upstream", [Step::text(STORY).then_cuts(3, Cut::Fin)]);
    let options =
        |policy: MidstreamPolicy| v1::GatewayOptions { on_midstream_failure: policy as i32, ..Default::default() };
    let asking = |policy| v1::CompletionRequest { tollgate: Some(options(policy)), ..request() };
    let failed = streamed(&world, asking(MidstreamPolicy::Fail)).await;
    assert!(failed.error.is_some() && failed.restarted.is_empty(), "{failed:?}");
    let gone_on = streamed(&world, asking(MidstreamPolicy::Continue)).await;
    assert_eq!(gone_on.restarted[0].policy(), MidstreamPolicy::Continue);
}

#[tokio::test]
async fn nobody_goes_on_inside_a_tool_call() {
    for first in ["scripted", "claude"] {
        for policy in ["continue", "restart"] {
            let world = with_two(first, "other", policy).await;
            let tool = v1::FunctionTool {
                name: "weather".into(),
                parameters_json: Some(r#"{"type":"object","properties":{"city":{"type":"string"}}}"#.into()),
                ..Default::default()
            };
            let tools = vec![v1::Tool { kind: Some(v1::tool::Kind::Function(tool)), ..Default::default() }];
            world.provider.script(&format!("{first}-upstream"), [Step::default().then_cuts(2, Cut::Fin)]);
            let got = streamed(&world, v1::CompletionRequest { tools, ..request() }).await;
            assert!(got.pieces.iter().any(|p| matches!(p, Piece::ToolCallStart(_))), "{got:?}");
            assert!(got.error.is_some() && got.restarted.is_empty(), "{first}, {policy}: {got:?}");
            assert_eq!(world.provider.log().stats().calls, 1);
        }
    }
}

#[tokio::test]
async fn without_a_deployment_that_can_go_on_the_call_ends_with_the_error() {
    let world = with_two("scripted", "other", "continue").await;
    let mut config: Value =
        serde_yaml_ng::from_str(&std::fs::read_to_string(world.gateway.config_file()).unwrap()).unwrap();
    for deployment in config["models"][0]["deployments"].as_array_mut().unwrap() {
        deployment["capabilities"] = json!(["tools"]);
    }
    std::fs::write(world.gateway.config_file(), config.to_string()).unwrap();
    world.gateway.send_signal("HUP").unwrap();
    let hash = async || {
        let asked = v1::ListModelsRequest::default();
        let models = world.caller().await.models().list_models(asked).await.unwrap().into_inner();
        models
            .models
            .iter()
            .flat_map(|m| &m.deployments)
            .any(|d| d.capabilities.iter().any(|c| c == "assistant_prefill"))
    };
    crate::support::eventually("the new configuration is in force", async || !hash().await).await;
    world.provider.script("scripted-upstream", [Step::text(STORY).then_cuts(3, Cut::Fin)]);
    let got = streamed(&world, request()).await;
    assert!(got.restarted.is_empty(), "{got:?}");
    assert!(got.error.unwrap().message().contains("broke in the middle"), "the failure is told");
    assert_eq!(world.provider.log().stats().calls, 1);
}

fn text_of(events: &[Sse]) -> String {
    let chunks = events.iter().filter(|e| e.data != "[DONE]").map(Sse::json);
    let said = |choice: &Value| choice["delta"]["content"].as_str().or(choice["text"].as_str()).map(str::to_owned);
    chunks.filter_map(|chunk| said(&chunk["choices"][0])).collect()
}

#[tokio::test]
async fn callers_of_rest_read_the_boundary_as_a_chunk_without_choices() {
    let world = with_two("scripted", "claude", "fail").await;
    let streamed = json!({"stream": true, "stream_options": {"include_usage": true}});
    let mut prompt = json!({"model": "scripted", "prompt": "Say hello"});
    prompt.as_object_mut().unwrap().extend(streamed.as_object().unwrap().clone());
    let routes =
        [("chat/completions", hello(streamed), "chat.completion.chunk"), ("completions", prompt, "text_completion")];
    for (route, body, object) in routes {
        for (policy, second, whole) in [("continue", " there was a gate.", STORY), ("restart", STORY, STORY)] {
            world.provider.script("scripted-upstream", [Step::text(STORY).then_cuts(4, Cut::Rst)]);
            world.provider.script("claude-upstream", [Step::text(second)]);
            let caller = world.gateway.caller().with("x-tollgate-on-midstream-failure", policy);
            let (events, ended) = caller.stream(&world.v1(route), &body).await.unwrap().rest().await;
            ended.unwrap();
            assert_eq!(events.last().unwrap().data, "[DONE]");
            let at = events.iter().position(|e| e.data.contains("restarted")).unwrap();
            let boundary = events[at].json();
            assert_eq!((&boundary["object"], &boundary["choices"]), (&json!(object), &json!([])));
            let told = &boundary["tollgate"]["restarted"];
            assert_eq!(
                (&told["policy"], &told["attempt"], &told["reason"]),
                (&json!(policy), &json!(2), &json!("upstream_truncated"))
            );
            let (before, after) = events.split_at(at);
            let text = if policy == "restart" { text_of(after) } else { text_of(before) + &text_of(after) };
            assert_eq!(text, whole, "{route}, {policy}");
            assert_eq!(told["discard"] == true, policy == "restart");
            let ids: Vec<_> = events.iter().filter(|e| e.data != "[DONE]").map(|e| e.json()["id"].clone()).collect();
            assert_eq!(ids.iter().all(|id| *id == ids[0]), policy == "continue", "an answer that goes on keeps its id");
            let usage = &events[events.len() - 2].json()["usage"];
            assert!(usage["completion_tokens"].as_u64().unwrap() > 4, "usage of both attempts: {usage}");
        }
    }
}

#[tokio::test]
async fn a_policy_that_nobody_knows_is_a_bad_request() {
    let world = World::start().await;
    let caller = world.gateway.caller().with("x-tollgate-on-midstream-failure", "sometimes");
    let reply: Reply = caller.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 400);
    let told = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(told.contains("x-tollgate-on-midstream-failure") && told.contains("fail, continue or restart"), "{told}");
}

#[tokio::test]
async fn a_calls_ceiling_binds_all_of_its_attempts_together() {
    let world = with_two("scripted", "claude", "restart").await;
    world.provider.script("scripted-upstream", [Step::text(STORY).then_cuts(6, Cut::Rst)]);
    // The worst case of one attempt fits, and not that of a second on top of what the first has cost.
    let worst = {
        let asked = v1::CompletionRequest { max_output_tokens: Some(400), ..request() };
        let got = streamed(&world, asked).await;
        assert_eq!(got.restarted.len(), 1);
        world.entries().await[0].held_nano_usd
    };
    world.provider.script("scripted-upstream", [Step::text(STORY).then_cuts(6, Cut::Rst)]);
    let options = v1::GatewayOptions { max_cost_nano_usd: Some(worst + 10), ..Default::default() };
    let asked = v1::CompletionRequest { max_output_tokens: Some(400), tollgate: Some(options), ..request() };
    let got = streamed(&world, asked).await;
    assert!(got.restarted.is_empty() && got.error.is_some(), "{got:?}");
    let entries = world.entries().await;
    assert_eq!(entries.iter().filter(|e| e.call_id == entries.last().unwrap().call_id).count(), 1);
}

#[tokio::test]
async fn nobody_goes_on_inside_reasoning_that_is_signed_wherever_the_line_is_cut() {
    let provider = tollgate_tests::provider::ScriptedProvider::start().await;
    let line = FaultProxy::before(provider.address(), 5).unwrap();
    let world = World::with_provider(|b, url| {
        let deployment = |provider: &str, order: u32| {
            json!({"name": provider, "provider": provider, "model": "m", "order": order, "max_output_tokens": 4096,
                   "price": {"input": "0.15", "output": "0.60"}})
        };
        let deployments = [deployment("claude", 0), deployment("other", 1)];
        b.provider_of_kind("claude", "anthropic", &format!("http://{}/v1", line.address())).provider("other", url).set(
            "/models/0",
            json!({"name": "scripted", "deployments": deployments, "retries": 0,
                                     "cooldown": {"time": "0s"}, "on_midstream_failure": "restart"}),
        )
    })
    .await;
    let (mut inside, mut behind, mut before) = (0, 0, 0);
    for bytes in (200..3_000).step_by(50) {
        line.set(Fault::CutAfter { bytes });
        let reasoning = v1::Reasoning { effort_native: Some("low".into()), ..Default::default() };
        let asked = v1::CompletionRequest { reasoning: Some(reasoning), max_output_tokens: Some(2_000), ..request() };
        let got = streamed(&world, asked).await;
        let seen = got.restarted_at.first().map_or(got.pieces.len(), |at| *at);
        let last = seen.checked_sub(1).map(|at| &got.pieces[at]);
        match (last, got.restarted.len(), &got.error) {
            (Some(Piece::Reasoning(_)), 0, Some(_)) => inside += 1,
            (Some(Piece::Reasoning(_)), ..) => panic!("cut after {bytes} bytes, inside reasoning: {got:?}"),
            (_, 1, None) => behind += 1,
            (_, 0, None) => before += 1, // nothing had been seen, or nothing was cut
            _ => panic!("cut after {bytes} bytes: {got:?}"),
        }
    }
    assert!(inside > 0 && behind > 0 && before > 0, "{inside} inside, {behind} behind, {before} before");
}
