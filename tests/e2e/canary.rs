//! Secrets in places where none belong: forty shapes through every field and every failure, and none of them in any output.

use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tollgate_client::v1;
use tollgate_tests::support::{
    gateway::locate,
    http::{Caller, Reply},
};

use crate::{
    media::{field, file, form},
    observing::Receiver,
    support::{World, eventually, hello, request},
    traces::{Collector, traced},
};

/// A secret, and the part of it by which it would be known again.
struct Canary {
    what: &'static str,
    text: String,
    core: String,
}

/// Shapes: `{}` is the part that is secret, in letters and digits, `{x}` in hexadecimal digits.
const SHAPES: [&str; 46] = [
    "tg-{}",
    "sk-{}",
    "sk-proj-{}",
    "sk-ant-api03-{}",
    "sk-or-v1-{x}",
    "AIza{}",
    "gsk_{}",
    "xai-{}",
    "hf_{}",
    "r8_{}",
    "pplx-{}",
    "nvapi-{}",
    "fw_{}",
    "csk-{}",
    "tgp_v1_{}",
    "AKIA{}",
    "ASIA{}",
    "aws_secret_access_key={}",
    "ya29.{}",
    "GOCSPX-{}",
    "dapi{x}",
    "ghp_{}",
    "github_pat_{}",
    "glpat-{}",
    "npm_{}",
    "pypi-{}",
    "xoxb-{}",
    "https://hooks.slack.com/services/T0/B0/{}",
    "SG.{}.{}",
    "sk_live_{}",
    "whsec_{}",
    "shpat_{x}",
    "hvs.{}",
    "glsa_{}",
    "tskey-auth-{}",
    "110201543:AA{}",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{}",
    "Bearer {}",
    "Basic {}",
    "postgres://ada:{}@db:5432/x",
    "redis://:{}@cache:6379",
    "https://{}@git.example/x",
    "Server=db;Uid=ada;Password={};",
    "DefaultEndpointsProtocol=https;AccountKey={}",
    "client_secret={}",
    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
];

fn canaries() -> Vec<Canary> {
    let canary = |(at, shape): (usize, &&'static str)| {
        let core = match shape.contains("{x}") {
            true => format!("c0{at:02}0123456789abcdef0123456789abcdef"),
            false => format!("c0{at:02}aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA2"),
        };
        Canary { what: shape, text: shape.replace("{}", &core).replace("{x}", &core), core }
    };
    SHAPES.iter().enumerate().map(canary).collect()
}

/// What must be in none of these.
struct Seen {
    canaries: Vec<Canary>,
    leaks: Vec<String>,
}

impl Seen {
    fn look(&mut self, place: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let found = self.canaries.iter().filter(|canary| text.contains(&canary.core[..16]));
        self.leaks.extend(found.map(|canary| {
            let at = text.find(&canary.core[..16]).unwrap_or_default();
            let around: String = text[..at].chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
            format!("{place}: {} behind {around:?}", canary.what)
        }));
    }

    fn reply(&mut self, place: &str, reply: &Reply) {
        self.look(place, &reply.body);
        self.look(&format!("headers of {place}"), format!("{:?}", reply.headers).as_bytes());
    }

    fn status(&mut self, place: &str, status: &tonic::Status) {
        self.look(place, format!("{} {:?}", status.message(), String::from_utf8_lossy(status.details())).as_bytes());
    }

    fn files(&mut self, dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => self.files(&path),
                false => {
                    // Some are gone by now: a journal deletes its segments.
                    let bytes = std::fs::read(&path).unwrap_or_default();
                    self.look(&path.file_name().unwrap().to_string_lossy(), &bytes);
                }
            }
        }
    }
}

/// Bodies in which a secret stands where something else belongs, or where it is recorded.
fn bodies(secret: &str) -> Vec<(&'static str, Value)> {
    let echo = |status: u16, message: String| {
        let step = json!({"status": status, "error": {"error": {"message": message, "code": secret, "param": secret}}});
        format!("[[script {step}]]")
    };
    let asking = |content: String| json!({"messages": [{"role": "user", "content": content}]});
    vec![
        ("prompt", asking(format!("keep {secret} to yourself"))),
        ("model", json!({"model": secret})),
        ("tags and metadata", json!({"metadata": {"tags": [secret], "note": secret}, "tags": [secret]})),
        ("user", json!({"user": secret})),
        ("role", json!({"messages": [{"role": secret, "content": "x"}]})),
        ("a number", json!({"temperature": secret})),
        ("a choice", json!({"tool_choice": secret})),
        ("a format", json!({"response_format": {"type": secret}})),
        ("an effort", json!({"reasoning_effort": secret})),
        ("a fallback", json!({"fallbacks": [secret]})),
        (
            "an image",
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": secret}}]}]}),
        ),
        ("a provider's 400", asking(echo(400, format!("bad value {secret}")))),
        ("a provider's 401", asking(echo(401, format!("Incorrect API key provided: {secret}")))),
        ("a provider's 500", asking(echo(500, format!("upstream said {secret}")))),
        (
            "a provider's html",
            asking(format!("[[script {}]]", json!({"status": 502, "error": format!("<p>{secret}</p>")}))),
        ),
    ]
}

async fn over_rest(world: &World, seen: &mut Seen, secret: &str) {
    let (caller, url) = (world.gateway.caller(), world.v1("chat/completions"));
    for (place, body) in bodies(secret) {
        seen.reply(place, &caller.post(&url, &hello(body)).await.unwrap());
    }
    let fits = !secret.contains('\n');
    for name in ["x-tollgate-tags", "x-tollgate-region", "x-tollgate-pin", "x-tollgate-fallbacks", "x-request-id"] {
        if fits {
            let reply = caller.clone().with(name, secret).post(&url, &hello(json!({}))).await.unwrap();
            // The caller's own id is the caller's to see.
            seen.look(name, &reply.body);
        }
    }
    if fits {
        let state = caller.clone().with("tracestate", format!("vendor={secret}"));
        let state = state.with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        seen.reply("tracestate", &state.post(&url, &hello(json!({}))).await.unwrap());
        let once = caller.clone().with("idempotency-key", secret).post(&url, &hello(json!({}))).await.unwrap();
        seen.reply("idempotency key", &once);
        seen.reply("key", &Caller::bearer(secret).post(&url, &hello(json!({}))).await.unwrap());
        let other = Caller::default().with("x-api-key", secret).with("anthropic-version", "2023-06-01");
        seen.reply("x-api-key", &other.post(&world.v1("messages"), &hello(json!({}))).await.unwrap());
    }
    let escaped = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    for path in [format!("models/{escaped}"), format!("nothing/{escaped}"), format!("responses/{escaped}")] {
        seen.reply("path", &caller.get(&world.v1(&path)).await.unwrap());
    }
    for route in ["messages", "responses", "embeddings"] {
        let body = json!({"model": secret, "max_tokens": secret, "input": "x", "messages": secret});
        seen.reply(route, &caller.post(&world.v1(route), &body).await.unwrap());
    }
    let quoted = serde_json::to_string(secret).unwrap();
    let broken = raw(world, &format!("{{\"model\": \"scripted\", \"messages\": {quoted} oops {quoted}")).await;
    seen.look("broken JSON", &broken);
}

/// What callers may say, whatever it is: the secret is in the prompt of every operation, and in what a provider says in the middle of
/// an answer. Whoever looks on gets to see none of it.
async fn in_prompts(world: &World, seen: &mut Seen, secret: &str) {
    let caller = world.gateway.caller();
    let prompt = format!("keep {secret} to yourself");
    let said = json!([{"role": "user", "content": prompt}]);
    for (route, body) in [
        ("messages", json!({"model": "scripted", "max_tokens": 16, "messages": said})),
        ("responses", json!({"model": "scripted", "input": prompt, "instructions": secret, "store": false})),
        ("completions", json!({"model": "scripted", "prompt": prompt})),
        ("embeddings", json!({"model": "embed", "input": [prompt]})),
        ("moderations", json!({"model": "judge", "input": [prompt]})),
        ("rerank", json!({"model": "rank", "query": prompt, "documents": [secret, "another"]})),
        ("images/generations", json!({"model": "draw", "prompt": prompt})),
        ("audio/speech", json!({"model": "say", "input": prompt, "voice": "coral", "instructions": secret})),
    ] {
        let reply = caller.post(&world.v1(route), &body).await.unwrap();
        // Answers are the caller's, and may repeat what was asked.
        assert_eq!(reply.status, 200, "{route}: {}", String::from_utf8_lossy(&reply.body));
    }
    let heard = [field("model", "hear"), field("prompt", &prompt), file("file", &[7; 2_500])];
    let heard = caller.form(&world.v1("audio/transcriptions"), form(&heard)).await.unwrap().whole().await.unwrap();
    assert_eq!(heard.status, 200);

    let line = json!({"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions",
                      "body": {"model": "bulk", "messages": said, "max_completion_tokens": 10}});
    let file = [("purpose", "batch"), ("file", "input.jsonl")];
    let kept = caller.upload(&world.v1("files"), &file, &format!("{line}\n")).await.unwrap();
    assert_eq!(kept.status, 200, "{}", String::from_utf8_lossy(&kept.body));
    let batch =
        json!({"input_file_id": kept.json()["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let begun = caller.post(&world.v1("batches"), &batch).await.unwrap();
    assert_eq!(begun.status, 200, "{}", String::from_utf8_lossy(&begun.body));

    let step = json!({"mid_stream_error_after": 2, "error": {"error": {"message": format!("upstream said {secret}"), "code": secret}}});
    let url = world.v1("chat/completions");
    for content in [prompt.clone(), format!("[[script {step}]]")] {
        let body = hello(json!({"stream": true, "messages": [{"role": "user", "content": content}]}));
        let (events, _) = caller.stream(&url, &body).await.unwrap().rest().await;
        assert!(events.len() > 2, "{events:?}");
        seen.look("a stream", format!("{events:?}").as_bytes());
    }
}

/// A body as it is, JSON or not.
async fn raw(world: &World, body: &str) -> Vec<u8> {
    let address = world.gateway.url().replace("http://", "");
    let mut socket = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        world.gateway.key(),
        body.len()
    );
    socket.write_all((head + body).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    answer
}

async fn over_grpc(world: &World, seen: &mut Seen, secret: &str) {
    let (caller, admin) = (world.caller().await, world.admin().await);
    let options = v1::GatewayOptions {
        tags: vec![secret.into()],
        metadata: [(secret.to_owned(), secret.to_owned())].into(),
        customer: Some(secret.into()),
        region: secret.into(),
        ..Default::default()
    };
    let asked = v1::CompletionRequest { tollgate: Some(options), ..request() };
    for asked in [asked, v1::CompletionRequest { model: Some(secret.into()), ..request() }] {
        let asked = v1::CreateCompletionRequest { request: Some(asked) };
        if let Err(status) = caller.completions().create_completion(asked).await {
            seen.status("a completion over gRPC", &status);
        }
    }
    let mut refused = Vec::new();
    let key =
        v1::Key { team_id: secret.into(), user_id: secret.into(), display_name: secret.into(), ..Default::default() };
    let made = v1::CreateKeyRequest { key: Some(key), ..Default::default() };
    refused.push(admin.keys().create_key(made).await.err());
    refused.push(admin.keys().get_key(v1::GetKeyRequest { id: secret.into(), ..Default::default() }).await.err());
    refused.push(admin.keys().rotate_key(v1::RotateKeyRequest { id: secret.into(), ..Default::default() }).await.err());
    let asked = v1::GetBudgetRequest { id: secret.into(), ..Default::default() };
    refused.push(admin.budgets().get_budget(asked).await.err());
    let asked = v1::ListLedgerEntriesRequest { page_token: secret.into(), ..Default::default() };
    refused.push(admin.budgets().list_ledger_entries(asked).await.err());
    refused.push(admin.models().get_model(v1::GetModelRequest { name: secret.into() }).await.err());
    assert!(refused.iter().filter(|refused| refused.is_some()).count() >= 5, "bad input is refused: {refused:?}");
    refused.iter().flatten().for_each(|status| seen.status("an admin RPC", status));
}

#[tokio::test]
async fn forty_shapes_of_secrets_go_through_every_field_and_failure_and_come_out_nowhere() {
    let (collector, sink, pager) = (Collector::start().await, Receiver::start().await, Receiver::start().await);
    let world = World::with_provider(|b, base_url| {
        let never = json!({"cooldown": {"time": "0s", "credential_time": "0s"}});
        let failing = json!({"provider_failures": {"percent": 1, "window": "1m", "least": 1}});
        let at = |provider: &str, model: &str, price: Value| json!({"provider": provider, "model": model, "price": price});
        let bulk = json!({"input": "2", "output": "10", "batch_input": "1", "batch_output": "5"});
        let bulk = json!({"provider": "scripted", "model": "bulk-upstream", "price": bulk, "max_output_tokens": 4096,
                          "context_window": 400_000});
        traced(b, &collector.grpc, "grpc")
            .set("/log", json!({"level": "debug"}))
            .set("/routing", never)
            .set("/models/0/retries", 0)
            .set("/metrics", json!({"otlp": {"enabled": true, "interval": "200ms"}}))
            .set("/sinks", json!({"calls": {"webhook": {"url": sink.url}, "batch": {"max_age": "20ms"}}}))
            .set(
                "/alerts",
                json!({"channels": {"hook": {"webhook": {"url": pager.url}}}, "rules": {"failing": failing}, "every": "100ms"}),
            )
            .provider_of_kind("ranker", "cohere", base_url.trim_end_matches("/v1"))
            .model("embed", "scripted", "embed-upstream")
            .deployment("judge", at("scripted", "judges", json!({"input": "0.15", "output": "0.60"})))
            .deployment("rank", at("ranker", "ranks", json!({"per_query": "0.002"})))
            .deployment("draw", at("scripted", "draws", json!({"input": "2.5", "output": "10"})))
            .deployment("say", at("scripted", "tts", json!({"per_million_characters": "15"})))
            .deployment("hear", at("scripted", "whisper", json!({"per_audio_second": "0.0001"})))
            .deployment("bulk", bulk)
    })
    .await;
    let mut seen = Seen { canaries: canaries(), leaks: Vec::new() };
    let secrets: Vec<_> = seen.canaries.iter().map(|canary| canary.text.clone()).collect();
    for secret in &secrets {
        over_rest(&world, &mut seen, secret).await;
        over_grpc(&world, &mut seen, secret).await;
        in_prompts(&world, &mut seen, secret).await;
    }
    let last = "bbf7651916cd43dd8448eb211c80319c";
    let caller = world.gateway.caller().with("traceparent", format!("00-{last}-b7ad6b7169203331-01"));
    caller.post(&world.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    collector.trace(last).await;

    let newest = world.records().await.into_iter().rev().find(|record| !record.call_id.is_empty()).unwrap().call_id;
    eventually("the sink has every call", async || sink.calls().contains(&newest)).await;
    eventually("a failure is told", async || !pager.taken().is_empty()).await;
    let before = collector.metrics();
    eventually("metrics are sent again", async || collector.metrics() != before).await;
    seen.look("what a sink gets", json!(sink.taken()).to_string().as_bytes());
    seen.look("alerts", json!(pager.taken()).to_string().as_bytes());
    seen.look("metrics at a collector", format!("{:?}", collector.metrics()).as_bytes());

    let logs = world.gateway.logs();
    let (spans, records) = (collector.spans().len(), world.records().await.len());
    assert!(logs.contains("DEBUG") && spans > 1_000 && records > 500, "{spans} spans, {records} records");
    seen.look("log", logs.as_bytes());
    seen.look("traces", &collector.raw());
    seen.look("audit records", format!("{:?}", world.records().await).as_bytes());
    seen.look("ledger entries", format!("{:?}", world.entries().await).as_bytes());
    let metrics = world.gateway.caller().get(&format!("{}/metrics", world.gateway.url())).await.unwrap();
    assert_eq!(metrics.status, 200);
    seen.reply("metrics", &metrics);
    seen.files(&world.gateway.data_dir());
    assert!(seen.leaks.is_empty(), "{} leaks:\n{}", seen.leaks.len(), seen.leaks.join("\n"));
}

#[tokio::test]
async fn a_configuration_with_secrets_in_the_wrong_places_is_refused_without_repeating_them() {
    let mut seen = Seen { canaries: canaries(), leaks: Vec::new() };
    let secrets: Vec<_> = seen.canaries.iter().map(|canary| canary.text.clone()).collect();
    let dir = tempfile::tempdir().unwrap();
    for secret in &secrets {
        for (place, config) in [
            ("a kind", json!({"providers": {"x": {"kind": secret, "api_key": secret}}})),
            ("a number", json!({"limits": {"max_body_bytes": secret}})),
            ("a setting", json!({secret: 1})),
            (
                "a price",
                json!({"providers": {"x": {"kind": "demo"}}, "models": [{"name": "m", "deployments": [
                {"provider": "x", "model": "demo", "price": {"input": secret, "output": "0"}}]}]}),
            ),
        ] {
            let file = dir.path().join("tollgate.yaml");
            std::fs::write(&file, serde_yaml_ng::to_string(&config).unwrap()).unwrap();
            let mut check = tokio::process::Command::new(locate().unwrap());
            let output = check.arg("check").arg("--config").arg(&file).output().await.unwrap();
            assert!(!output.status.success(), "{place} with {secret:?} is refused");
            seen.look(place, &[output.stdout, output.stderr].concat());
        }
    }
    assert!(seen.leaks.is_empty(), "{} leaks:\n{}", seen.leaks.len(), seen.leaks.join("\n"));
}
