//! Files and batches at Azure and at Mistral: OpenAI's objects for the caller, the provider's own words behind the gateway.

use serde_json::{Value, json};
use tollgate_client::v1::LedgerEntryKind;
use tollgate_tests::support::http::Caller;

use super::{begin, content, cost_of, get, ok, settled};
use crate::support::World;

/// A batch of the words of each kind: at half of a dollar and of four for a million tokens.
async fn world() -> World {
    World::with_provider(|builder, url| {
        let by = |provider: &str| {
            let price = json!({"input": "2", "output": "10", "batch_input": "1", "batch_output": "5"});
            json!({"provider": provider, "model": "upstream", "price": price, "max_output_tokens": 4096})
        };
        let resource = url.trim_end_matches("/v1");
        builder
            .provider_of_kind("classic", "azure", resource)
            .set("/providers/classic/api_version", "2025-04-01-preview")
            .provider_of_kind("newer", "azure", resource)
            .provider_of_kind("mistral", "mistral", &url.replace("/v1", "/mistral/v1"))
            .deployment("classic", by("classic"))
            .deployment("newer", by("newer"))
            .deployment("mistral", by("mistral"))
            .set("/batches", json!({"poll": "50ms"}))
    })
    .await
}

fn lines(model: &str, word: &str, more: &Value) -> String {
    let line = |n: usize| {
        let mut body =
            json!({"model": model, "messages": [{"role": "user", "content": word}], "max_completion_tokens": 100});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"custom_id": format!("r{n}"), "method": "POST", "url": "/v1/chat/completions", "body": body}).to_string()
    };
    format!("{}\n{}\n", line(0), line(1))
}

async fn upload(world: &World, caller: &Caller, input: &str) -> tollgate_tests::support::http::Reply {
    caller.upload(&world.v1("files"), &[("purpose", "batch"), ("file", "input.jsonl")], input).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_runs_where_its_model_is_and_is_paid_as_openais() {
    let world = world().await;
    let caller = world.gateway.caller();
    let mut corrected = 0;
    for model in ["classic", "newer", "mistral"] {
        let word = format!("hello-{model}");
        let file = ok(upload(&world, &caller, &lines(model, &word, &json!({"seed": 7}))).await);
        assert_eq!((&file["object"], &file["purpose"]), (&json!("file"), &json!("batch")));
        let batch = ok(begin(&world.v1("batches"), &caller, &file).await);
        assert_eq!(
            (&batch["object"], &batch["status"], &batch["endpoint"]),
            (&json!("batch"), &json!("validating"), &json!("/v1/chat/completions")),
            "{model}"
        );
        assert_eq!((&batch["metadata"], &batch["input_file_id"]), (&json!({"what": "nightly"}), &file["id"]));
        let charged = world.entries().await.last().unwrap().cost_nano_usd;
        assert!(charged > 0, "{model}");
        let id = batch["id"].as_str().unwrap();
        assert_eq!(get(&world, &format!("batches/{id}")).await["status"], "in_progress");

        world.provider.end_batches(&word, "completed", usize::MAX);
        let ended = settled(&world, &batch["id"]).await;
        assert_eq!(ended.status, "completed", "{model}");
        let told = get(&world, &format!("batches/{id}")).await;
        assert_eq!(told["request_counts"], json!({"total": 2, "completed": 2, "failed": 0}));
        assert_eq!(told["completion_window"], "24h", "{model}");
        let output = content(&world, &told["output_file_id"]).await;
        let answers: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((answers.len(), &answers[1]["custom_id"]), (2, &json!("r1")));
        assert_eq!(ended.cost_nano_usd, Some(cost_of(&output)), "{model}");
        corrected += cost_of(&output);
        let entries = world.entries().await;
        let last = entries.last().unwrap();
        assert_eq!((last.kind(), last.cost_nano_usd), (LedgerEntryKind::Adjustment, cost_of(&output) - charged));
        let deleted = caller.delete(&world.v1(&format!("files/{}", file["id"].as_str().unwrap()))).await.unwrap();
        assert_eq!(ok(deleted)["deleted"], true);
    }
    assert_eq!(world.budget().await.spent_nano_usd, corrected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_said_in_the_providers_words() {
    let world = world().await;
    let caller = world.gateway.caller();
    for model in ["classic", "mistral"] {
        ok(upload(&world, &caller, &lines(model, "hello", &json!({"seed": 7, "stop": "END"}))).await);
    }
    let sent = world.provider.files();
    let first = |text: &str| -> Value { serde_json::from_str(text.lines().next().unwrap()).unwrap() };
    let azures = first(&sent[0]);
    assert_eq!(
        (&azures["url"], &azures["body"]["model"], &azures["body"]["seed"]),
        (&json!("/chat/completions"), &json!("upstream"), &json!(7))
    );
    let body = json!({"model": "upstream", "messages": [{"role": "user", "content": "hello"}], "random_seed": 7, "stop": ["END"],
                      "max_tokens": 100});
    assert_eq!(first(&sent[1]), json!({"custom_id": "r0", "body": body}));

    let refused = upload(&world, &caller, &lines("mistral", "hello", &json!({"logit_bias": {"7": 1}}))).await;
    assert_eq!(refused.status, 400);
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("logit_bias") && message.contains("line 1"), "{message}");
    let without = json!({"logit_bias": {"7": 1}, "drop_params": true});
    ok(upload(&world, &caller, &lines("mistral", "hello", &without)).await);
    let body = json!({"model": "upstream", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 100});
    assert_eq!(first(&world.provider.files()[2]), json!({"custom_id": "r0", "body": body}));
    let responses =
        lines("mistral", "hello", &json!({})).replace("chat/completions", "completions").replace("messages", "prompt");
    assert_eq!(upload(&world, &caller, &responses).await.status, 400);
    assert_eq!((world.entries().await.len(), world.provider.files().len()), (0, 3), "and nothing of it is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_cancelled_expires_and_says_so_in_openais_words() {
    let world = world().await;
    let caller = world.gateway.caller();
    for (status, answered) in [("cancelled", 1), ("expired", 0), ("failed", 0)] {
        let word = format!("hello-{status}");
        let file = ok(upload(&world, &caller, &lines("mistral", &word, &json!({}))).await);
        let batch = ok(begin(&world.v1("batches"), &caller, &file).await);
        let id = batch["id"].as_str().unwrap();
        if status == "cancelled" {
            let told = caller.post(&world.v1(&format!("batches/{id}/cancel")), &json!({})).await.unwrap();
            assert_eq!(ok(told)["status"], "cancelling");
        }
        world.provider.end_batches(&word, status, answered);
        let ended = settled(&world, &batch["id"]).await;
        assert_eq!((ended.status.as_str(), ended.cost_nano_usd > Some(0)), (status, answered > 0));
    }
    let file = ok(upload(&world, &caller, &lines("mistral", "hello", &json!({}))).await);
    let asked = json!({"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "14d"});
    let refused = caller.post(&world.v1("batches"), &asked).await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("completion_window")));
    let fields = [
        ("purpose", "batch"),
        ("expires_after[anchor]", "created_at"),
        ("expires_after[seconds]", "3600"),
        ("file", "a.jsonl"),
    ];
    let refused = caller.upload(&world.v1("files"), &fields, &lines("mistral", "hello", &json!({}))).await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("expires_after")));
}
