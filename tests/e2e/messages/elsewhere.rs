//! Answers that break go on elsewhere, in one message that clients can put together.

use serde_json::json;
use tollgate_tests::provider::{Cut, Step};

use super::told::{ask, blocks, caller, folded, text};
use crate::support::World;

const STORY: &str = "Once upon a time there was a gate.";

/// A model at two providers, one of each dialect.
async fn with_two(first: &str, second: &str) -> World {
    World::with_provider(|builder, url| {
        let deployment = |provider: &str, order: u32| {
            json!({"provider": provider, "model": format!("{provider}-upstream"), "order": order,
                   "price": {"input": "0.15", "output": "0.60"}, "context_window": 400_000, "max_output_tokens": 4096,
                   "capabilities": ["assistant_prefill", "tools"]})
        };
        builder
            .provider_of_kind("claude", "anthropic", url)
            .provider("gpt", url)
            .deployment("both", deployment(first, 0))
            .deployment("both", deployment(second, 1))
            .set("/models/1/retries", json!(0))
    })
    .await
}

#[tokio::test]
async fn an_answer_goes_on_in_the_same_block_whoever_begins_it() {
    for (first, second) in [("claude", "gpt"), ("gpt", "claude")] {
        let world = with_two(first, second).await;
        for words in [1, 4] {
            let rest: String = STORY.split(' ').skip(words as usize).map(|word| format!(" {word}")).collect();
            world.provider.script(&format!("{first}-upstream"), [Step::text(STORY).then_cuts(words, Cut::Fin)]);
            world.provider.script(&format!("{second}-upstream"), [Step::text(rest)]);
            let caller = caller(&world).with("x-tollgate-on-midstream-failure", "continue");
            let body = ask("both", json!({"stream": true}));
            let (events, ended) = caller.stream(&world.v1("messages"), &body).await.unwrap().rest().await;
            ended.unwrap();
            let message = folded(&events);
            assert_eq!((text(&message).as_str(), blocks(&message, "text").len()), (STORY, 1), "{first}: {message}");
            let told = events.iter().find(|event| event.name.as_deref() == Some("tollgate")).unwrap().json();
            assert_eq!(told["restarted"]["policy"], "continue", "{told}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_starts_over_says_which_blocks_are_void() {
    for (first, second) in [("claude", "gpt"), ("gpt", "claude")] {
        let world = with_two(first, second).await;
        let draft = Step::text("A draft that breaks off").then_cuts(3, Cut::Fin);
        world.provider.script(&format!("{first}-upstream"), [draft]);
        world.provider.script(&format!("{second}-upstream"), [Step::text(STORY)]);
        let caller = caller(&world).with("x-tollgate-on-midstream-failure", "restart");
        let body = ask("both", json!({"stream": true}));
        let (events, ended) = caller.stream(&world.v1("messages"), &body).await.unwrap().rest().await;
        ended.unwrap();
        let message = folded(&events);
        let told = events.iter().find(|event| event.name.as_deref() == Some("tollgate")).unwrap().json();
        let void = told["restarted"]["discard_before_index"].as_u64().unwrap() as usize;
        assert_eq!(void, 1, "{told}");
        assert_eq!(message["content"][void]["text"], STORY, "{first}: {message}");
    }
}
