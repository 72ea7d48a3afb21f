//! `kill -9` at each step of a call: whatever the step, the next start has one row for what the provider may bill, and none for what it
//! cannot have seen. Needs a gateway that is built with the feature `tollgate-planted/planted`: `./scripts/planted-bugs` runs it.

use serde_json::{Value, json};
use tollgate_client::v1::{
    Batch, GetBatchRequest,
    LedgerEntryKind::{self, Exact, Recovered},
};
use tollgate_tests::provider::Step;

use crate::{
    files,
    support::{World, eventually, hello},
};

/// The step, whether the call is streamed, and what the ledger has afterwards.
const STEPS: [(&str, Option<LedgerEntryKind>); 11] = [
    ("before_hold", None),
    ("held", None),
    ("before_open", None),
    ("opened", Some(Recovered)),
    ("head", Some(Recovered)),
    ("in_the_answer", Some(Recovered)),
    ("before_settlement", Some(Recovered)),
    ("settled", Some(Exact)),
    ("before_the_last_frame", Some(Exact)),
    ("before_shipping", Some(Exact)),
    ("shipped", Some(Exact)),
];

#[tokio::test]
#[ignore = "needs a gateway with planted bugs"]
async fn a_death_at_any_step_neither_loses_nor_doubles() {
    for (step, expected) in STEPS {
        let mut world = World::with(|b| b.environment("TOLLGATE_KILL_AT", step)).await;
        world.provider.always("scripted-upstream", [Step::streams(5).every_ms(5)]);
        let body = hello(json!({"stream": true}));
        let stream = world.gateway.caller().stream(&world.gateway.v1("chat/completions"), &body).await;
        let saw_the_end = match stream {
            Ok(stream) => stream.rest().await.0.last().is_some_and(|event| event.data == "[DONE]"),
            Err(_) => false,
        };
        dies_and_is_started_again(&mut world, step).await;
        let entries = world.entries().await;
        let kinds: Vec<_> = entries.iter().map(|e| e.kind()).collect();
        assert_eq!(kinds, expected.into_iter().collect::<Vec<_>>(), "{step}");
        assert!(!saw_the_end || kinds == [Exact], "{step}: an answer that was seen whole is booked as it was");
        let billed = world.provider.log().stats().calls > 0;
        assert!(!billed || !entries.is_empty(), "{step}: the provider saw a call that the ledger does not know");
        let checked = world.admin().await.budgets().check_ledger(tollgate_client::v1::CheckLedgerRequest {}).await;
        assert!(checked.unwrap().into_inner().findings.is_empty(), "{step}");
        assert_eq!(world.budget().await.held_nano_usd, 0, "{step}");
        let exported = crate::audit_log::Export::of(&world.admin().await).await.intact();
        assert_eq!(exported.entries, entries.len() as u64, "{step}: each entry stands in one record");
    }
}

async fn dies_and_is_started_again(world: &mut World, step: &str) {
    let alive = format!("{}/health/liveness", world.gateway.url());
    eventually(&format!("{step}: it dies"), async || world.gateway.caller().get(&alive).await.is_err()).await;
    world.gateway.forget_environment("TOLLGATE_KILL_AT");
    world.gateway.restart().await;
}

/// The dead one has claimed the batch for half a minute.
async fn settled_once_the_claim_is_over(world: &World, id: &Value) -> Batch {
    let asked = GetBatchRequest { id: id.as_str().unwrap().to_owned() };
    for _ in 0..400 {
        let batch = world.caller().await.batches().get_batch(asked.clone()).await.unwrap().into_inner().batch.unwrap();
        if batch.cost_nano_usd.is_some() {
            return batch;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the batch is not settled")
}

/// Between the correction of a batch's charge and the mark that it is settled: before and after the correction has come to the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a gateway with planted bugs"]
async fn a_death_behind_a_batchs_correction_corrects_it_once() {
    for step in ["batch_corrected", "batch_correction_shipped"] {
        let mut world = World::with(|b| files::quick(b).environment("TOLLGATE_KILL_AT", step)).await;
        let batch = files::begun(&world, 3, "hello").await;
        world.provider.end_batches("hello", "completed", usize::MAX);
        dies_and_is_started_again(&mut world, step).await;
        let ended = settled_once_the_claim_is_over(&world, &batch["id"]).await;
        let told = files::get(&world, &format!("batches/{}", ended.id)).await;
        let cost = files::cost_of(&files::content(&world, &told["output_file_id"]).await);
        assert_eq!(ended.cost_nano_usd, Some(cost), "{step}");
        let entries = world.entries().await;
        let kinds: Vec<_> = entries.iter().map(|e| e.kind()).collect();
        assert_eq!(kinds, [LedgerEntryKind::Estimated, LedgerEntryKind::Adjustment], "{step}");
        assert_eq!(entries.iter().map(|entry| entry.cost_nano_usd).sum::<i64>(), cost, "{step}");
        assert_eq!(world.budget().await.spent_nano_usd, cost, "{step}");
        let corrected = world.records().await.iter().filter(|record| record.action == "batch.settle").count();
        assert_eq!(corrected, 1, "{step}: on record once");
        let checked = world.admin().await.budgets().check_ledger(tollgate_client::v1::CheckLedgerRequest {}).await;
        assert!(checked.unwrap().into_inner().findings.is_empty(), "{step}");
    }
}
