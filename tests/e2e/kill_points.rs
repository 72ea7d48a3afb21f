//! `kill -9` at each step of a call: whatever the step, the next start has one row for what the provider may bill, and none for what it
//! cannot have seen. Needs a gateway that is built with the feature `tollgate-planted/planted`: `./scripts/planted-bugs` runs it.

use serde_json::json;
use tollgate_client::v1::LedgerEntryKind::{self, Exact, Recovered};
use tollgate_tests::provider::Step;

use crate::support::{World, hello};

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
        let mut died = false;
        for _ in 0..500 {
            died = world.gateway.caller().get(&format!("{}/health/liveness", world.gateway.url())).await.is_err();
            if died {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(died, "{step}: the gateway lives");
        world.gateway.forget_environment("TOLLGATE_KILL_AT");
        world.gateway.restart().await;
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
