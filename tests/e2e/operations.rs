//! Running it: health, reflection, TLS, draining, reload, a second process, the standalone shim.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::json;
use tollgate_client::v1;
use tollgate_tests::{
    provider::Step,
    support::{
        gateway::{Gateway, free_port, locate},
        http::Caller,
    },
};

use crate::{
    metrics::{NOT_SERVING, SERVING},
    support::{Shim, World, hello, request},
};

#[tokio::test]
async fn health_serves_and_reflection_lists_every_service() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let world = World::start().await;
    let channel = tonic::transport::Endpoint::from_shared(world.gateway.grpc()).unwrap().connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    for service in ["", "tollgate.v1.CompletionService", "tollgate.v1.AuditService"] {
        let asked = tonic_health::pb::HealthCheckRequest { service: service.into() };
        assert_eq!(health.check(asked).await.unwrap().into_inner().status, 1, "{service}");
    }
    let asked = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let stream = tokio_stream::once(asked);
    let mut replies = ServerReflectionClient::new(channel).server_reflection_info(stream).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = replies.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list");
    };
    let names: Vec<String> = list.service.into_iter().map(|s| s.name).collect();
    for service in [
        "CompletionService",
        "EmbeddingService",
        "RerankService",
        "ModerationService",
        "ImageService",
        "AudioService",
        "ModelService",
        "KeyAdminService",
        "BudgetService",
        "AuditService",
    ] {
        assert!(names.contains(&format!("tollgate.v1.{service}")), "{names:?}");
    }
}

#[tokio::test]
async fn sigterm_lets_a_stream_end_and_exits_with_zero() {
    let mut world = World::start().await;
    world.provider.always("scripted-upstream", [Step::streams(20).every_ms(50)]);
    let mut tail =
        world.admin().await.audit().tail_records(v1::TailRecordsRequest::default()).await.unwrap().into_inner();
    let mut stream = world
        .gateway
        .caller()
        .stream(&world.gateway.v1("chat/completions"), &hello(json!({"stream": true})))
        .await
        .unwrap();
    stream.next().await.unwrap();
    let channel = tonic::transport::Endpoint::from_shared(world.gateway.grpc()).unwrap().connect().await.unwrap();
    let asked = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let mut watched = health.watch(asked).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status, SERVING);
    let reading = tokio::spawn(async move { (stream.rest().await.0, Instant::now()) });
    let watching = tokio::spawn(async move {
        while let Ok(Some(told)) = watched.message().await {
            if told.status == NOT_SERVING {
                return Some(Instant::now());
            }
        }
        None
    });
    let status = world.gateway.sigterm(Duration::from_secs(10)).await.unwrap();
    assert!(status.success(), "{status:?}");
    let (events, ended) = reading.await.unwrap();
    assert_eq!(events.last().unwrap().data, "[DONE]");
    let told = watching.await.unwrap().expect("whoever watches is told that nothing new is taken");
    assert!(told < ended, "while the stream still runs");
    while let Ok(Some(_)) = tail.message().await {}
    world.gateway.restart().await;
    assert_eq!(world.entries().await[0].outcome, "complete");
}

#[tokio::test]
async fn what_outlasts_the_drain_is_cut_and_settled_before_the_end() {
    let mut world = World::with(|builder| builder.set("/drain_timeout", json!("500ms"))).await;
    world.provider.always("scripted-upstream", [Step::streams(2_000).every_ms(50)]);
    let (caller, url) = (world.gateway.caller(), world.gateway.v1("chat/completions"));
    let mut rest = caller.stream(&url, &hello(json!({"stream": true}))).await.unwrap();
    let keyed = caller.with("idempotency-key", "once");
    let mut led = keyed.stream(&url, &hello(json!({"stream": true}))).await.unwrap();
    let call = v1::StreamCompletionRequest { request: Some(request()) };
    let mut rpc = world.caller().await.completions().stream_completion(call).await.unwrap().into_inner();
    rest.next().await.unwrap();
    led.next().await.unwrap();
    rpc.message().await.unwrap().unwrap();
    let status = world.gateway.sigterm(Duration::from_secs(20)).await.unwrap();
    assert!(status.success(), "{status:?}");
    world.gateway.restart().await;
    let entries: Vec<_> = world.entries().await.into_iter().map(|e| (e.outcome.clone(), e.kind())).collect();
    assert_eq!(entries, vec![("cancelled".to_owned(), v1::LedgerEntryKind::Estimated); 3]);
    let records = world.records().await;
    let ends = records.iter().filter(|record| record.action.starts_with("completion."));
    let ends: Vec<_> = ends.map(v1::AuditRecord::error_reason).collect();
    assert_eq!(ends, [v1::ErrorReason::Cancelled; 3]);
}

#[tokio::test]
async fn a_second_gateway_on_the_same_data_is_refused() {
    let world = World::start().await;
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    let second = tokio::process::Command::new(locate().unwrap())
        .args(["serve", "--listen", &listen, "--config"])
        .arg(world.gateway.config_file())
        .stdout(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another process"));
}

#[tokio::test]
async fn a_changed_file_counts_after_sighup_and_a_broken_one_changes_nothing() {
    let world = World::start().await;
    let file = world.gateway.config_file();
    let text = std::fs::read_to_string(&file).unwrap();
    let ask = async || {
        let reply = world
            .gateway
            .caller()
            .post(&world.gateway.v1("chat/completions"), &hello(json!({"model": "renamed"})))
            .await;
        reply.unwrap().status.as_u16()
    };
    assert_eq!(ask().await, 404);
    std::fs::write(&file, "modles: []\n").unwrap();
    world.gateway.send_signal("HUP").unwrap();
    crate::support::eventually("the broken file is told of", async || {
        world.gateway.logs().contains("did you mean `models`")
    })
    .await;
    let reply = world.gateway.caller().post(&world.gateway.v1("chat/completions"), &hello(json!({}))).await.unwrap();
    assert_eq!(reply.status, 200);
    std::fs::write(
        &file,
        text.replace("name: scripted", "name: renamed").replace("\"name\":\"scripted\"", "\"name\":\"renamed\""),
    )
    .unwrap();
    world.gateway.send_signal("HUP").unwrap();
    crate::support::eventually("the new name is known", async || ask().await == 200).await;
}

#[tokio::test]
async fn a_changed_file_is_put_in_force_by_itself_and_no_stream_is_dropped() {
    let world = World::start().await;
    world.provider.script("scripted-upstream", [Step::streams(40).every_ms(50)]);
    let (url, file) = (world.gateway.v1("chat/completions"), world.gateway.config_file());
    let mut stream = world.gateway.caller().stream(&url, &hello(json!({"stream": true}))).await.unwrap();
    stream.next().await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("name: scripted\n", "name: renamed\n")).unwrap();
    let ask = async |model: &str| {
        world.gateway.caller().post(&url, &hello(json!({"model": model}))).await.unwrap().status.as_u16()
    };
    crate::support::eventually("the new name is known", async || ask("renamed").await == 200).await;
    assert_eq!(ask("scripted").await, 404);
    let whole = stream.whole().await.unwrap();
    assert!(whole.body.ends_with(b"data: [DONE]\n\n"), "{:?}", String::from_utf8_lossy(&whole.body));
}

#[tokio::test]
async fn the_standalone_shim_answers_like_the_embedded_one() {
    let world = World::start().await;
    let shim = Shim::before(&world.gateway).await;
    let at = |route: &str| format!("{}/v1/{route}", shim.url);
    let caller = world.gateway.caller();

    for (route, body) in [
        ("chat/completions", hello(json!({}))),
        ("chat/completions", hello(json!({"x_unknown": [1.0, {"y": null}]}))),
        ("chat/completions", hello(json!({"stream": true}))),
        ("chat/completions", hello(json!({"stream": true, "stream_options": {"include_usage": true}}))),
        ("chat/completions", hello(json!({"messages": "no"}))),
        ("chat/completions", hello(json!({"max_tokens": -1}))),
        ("chat/completions", hello(json!({"model": "nope"}))),
        ("nothing", json!({})),
    ] {
        world.provider.script("scripted-upstream", [Step::text("the same"), Step::text("the same")]);
        let embedded = caller.stream(&world.gateway.v1(route), &body).await.unwrap().whole().await.unwrap();
        let standalone = caller.stream(&at(route), &body).await.unwrap().whole().await.unwrap();
        assert_eq!(embedded.status, standalone.status, "{body}");
        assert_eq!(without_ids(&embedded.body), without_ids(&standalone.body), "{body}");
    }
    let bodies: Vec<_> = world.provider.log().records().iter().rev().take(8).filter_map(|r| r.body.clone()).collect();
    assert!(bodies.iter().any(|b| b["x_unknown"] == json!([1.0, {"y": null}])));
    assert_eq!(Caller::bearer("tg-no").get(&at("models")).await.unwrap().status, 401);
}

/// The provider draws an id and a time for every answer.
fn without_ids(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let keep = |piece: &&str| !piece.contains("\"id\":") && !piece.contains("\"created\":") && !piece.contains("fp_");
    text.split(',').filter(keep).collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn tls_serves_both_protocols_and_mutual_tls_refuses_strangers() {
    let dir = tempfile::tempdir().unwrap();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca_params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca_params.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    ca_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = ca_params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca_params, ca_key);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let cert = params.signed_by(&key, &issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    };
    let (server_cert, server_key) = issue("localhost");
    let (client_cert, client_key) = issue("client");
    for (name, text) in [
        ("ca.pem", ca.pem()),
        ("cert.pem", server_cert),
        ("key.pem", server_key),
        ("client.pem", client_cert.clone()),
        ("client.key", client_key.clone()),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let tls = json!({"certificate": path("cert.pem"), "private_key": path("key.pem"), "client_ca": path("ca.pem")});
    let port = free_port().unwrap();
    let _gateway = Gateway::builder().set("/tls", tls).port(port).spawn().unwrap();

    let curl = async |http: &str, with_cert: bool| {
        let mut command = tokio::process::Command::new("curl");
        command.args([
            "-sS",
            "--max-time",
            "5",
            http,
            "--cacert",
            &path("ca.pem"),
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ]);
        if with_cert {
            command.args(["--cert", &path("client.pem"), "--key", &path("client.key")]);
        }
        let output = command.arg(format!("https://localhost:{port}/health/readiness")).output().await.unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    crate::support::eventually("the port answers", async || curl("--http1.1", true).await == "200").await;
    assert_eq!(curl("--http2", true).await, "200");
    assert_eq!(curl("--http1.1", false).await, "000");
}
