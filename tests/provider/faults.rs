//! Ways to go wrong, each on purpose.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_tests::provider::{Cut, Malformed, Outcome, ScriptedProvider, Step};

use crate::{caller, chat, chat_url, text_of};

fn streamed() -> Value {
    chat("hi", json!({ "stream": true, "stream_options": { "include_usage": true } }))
}

#[tokio::test]
async fn a_refusal_has_its_status_body_and_headers() {
    let provider = ScriptedProvider::start().await;
    let page = Step { error: Some("<html>502</html>".into()), ..Step::fails(502) };
    provider.script("m", [Step::fails(429).retry_after(3), page]);

    let limited = caller().post(&chat_url(&provider), &streamed()).await.unwrap();
    let broken = caller().post(&chat_url(&provider), &streamed()).await.unwrap();

    assert_eq!((limited.status.as_u16(), limited.header("retry-after")), (429, "3"));
    assert_eq!(limited.json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!((broken.status.as_u16(), &broken.body[..]), (502, &b"<html>502</html>"[..]));
    let attempts = provider.log().settled(2).await;
    assert!(attempts.iter().all(|attempt| attempt.outcome == Outcome::Failed && attempt.prompt_tokens == 0));
}

#[tokio::test]
async fn a_cut_stream_breaks_after_what_it_wrote() {
    for cut in [Cut::Fin, Cut::Rst] {
        let provider = ScriptedProvider::start().await;
        provider.script("m", [Step::streams(9).then_cuts(3, cut)]);

        let (events, end) = caller().stream(&chat_url(&provider), &streamed()).await.unwrap().rest().await;

        assert!(end.is_err(), "{cut:?} looked like a proper end");
        assert_eq!(text_of(&events), "the toll is");
        let attempt = &provider.log().settled(1).await[0];
        assert_eq!((attempt.outcome, attempt.completion_tokens), (Outcome::ScriptedCut, 3));
    }
}

#[tokio::test]
async fn a_whole_answer_is_cut_in_the_middle_of_its_body() {
    let provider = ScriptedProvider::start().await;
    provider.script("m", [Step::default().then_cuts(1, Cut::Fin), Step { no_reply: true, ..Step::default() }]);

    let half = caller().stream(&chat_url(&provider), &chat("hi", json!({}))).await.unwrap();
    assert_eq!(half.status, 200);
    assert!(half.whole().await.is_err());
    assert!(caller().post(&chat_url(&provider), &chat("hi", json!({}))).await.is_err());

    let attempts = provider.log().settled(2).await;
    assert_eq!((attempts[0].completion_tokens, attempts[1].completion_tokens), (16, 0));
    assert_eq!((attempts[0].prompt_tokens, attempts[1].prompt_tokens), (4, 0));
}

#[tokio::test]
async fn hanging_up_on_a_stalled_stream_is_noticed_at_once() {
    let provider = ScriptedProvider::start().await;
    provider.script("m", [Step::streams(9).then_stalls(2)]);

    let mut stream = caller().stream(&chat_url(&provider), &streamed()).await.unwrap();
    for _ in 0..3 {
        stream.next().await.unwrap();
    }
    assert_eq!(provider.log().stats().open_streams, 1);
    let hung_up = Instant::now();
    drop(stream);
    let attempt = &provider.log().settled(1).await[0];

    assert!(hung_up.elapsed() < Duration::from_millis(100));
    assert_eq!((attempt.outcome, attempt.chunks, attempt.completion_tokens), (Outcome::CutByClient, 2, 2));
    assert!(attempt.hung_up);
}

#[tokio::test]
async fn hanging_up_before_the_answer_bills_what_was_generated() {
    let provider = ScriptedProvider::start().await;
    provider.script("m", [Step::streams(1000).every_ms(10)]);
    let url = chat_url(&provider);

    let call = chat("hi", json!({}));
    let waiting = tokio::time::timeout(Duration::from_millis(100), async { caller().post(&url, &call).await });
    assert!(waiting.await.is_err());
    let attempt = &provider.log().settled(1).await[0];

    assert_eq!(attempt.outcome, Outcome::CutByClient);
    assert!((2..30).contains(&attempt.completion_tokens), "{} tokens in 100 ms", attempt.completion_tokens);
}

#[tokio::test]
async fn an_error_event_ends_a_stream_properly() {
    let provider = ScriptedProvider::start().await;
    provider.script("m", [Step::streams(5).then_errs(2)]);

    let (events, end) = caller().stream(&chat_url(&provider), &streamed()).await.unwrap().rest().await;

    end.unwrap();
    assert_eq!(text_of(&events), "the toll");
    assert_eq!(events.last().unwrap().json()["error"]["type"], "server_error");
    assert_eq!(provider.log().settled(1).await[0].outcome, Outcome::Failed);
}

#[tokio::test]
async fn malformed_answers_are_malformed() {
    let provider = ScriptedProvider::start().await;
    let broken = |malformed| Step { malformed: Some(malformed), ..Step::streams(4) };
    provider.script("m", [broken(Malformed::Json), broken(Malformed::Sse), broken(Malformed::Json)]);
    let url = chat_url(&provider);

    let (events, end) = caller().stream(&url, &streamed()).await.unwrap().rest().await;
    end.unwrap();
    let unreadable = events.iter().filter(|event| event.json().is_null() && event.data != "[DONE]").count();
    assert_eq!(unreadable, 1);

    let (_, end) = caller().stream(&url, &streamed()).await.unwrap().rest().await;
    assert!(end.unwrap_err().to_string().contains("ended inside an event"));

    let whole = caller().post(&url, &chat("hi", json!({}))).await.unwrap();
    assert_eq!(whole.status, 200);
    assert!(whole.json().is_null());
}

#[tokio::test]
async fn deltas_keep_the_scripted_pace() {
    let provider = ScriptedProvider::start().await;
    provider.script("m", [Step { first_token_ms: Some(40), ..Step::streams(5).every_ms(10).after_ms(20) }]);

    let start = Instant::now();
    let mut stream = caller().stream(&chat_url(&provider), &streamed()).await.unwrap();
    let headers = start.elapsed();
    stream.next().await.unwrap(); // the role
    stream.next().await.unwrap();
    let first = start.elapsed();
    stream.rest().await.1.unwrap();
    let all = start.elapsed();

    assert!(headers >= Duration::from_millis(20));
    assert!(first >= Duration::from_millis(60));
    assert!((Duration::from_millis(100)..Duration::from_millis(300)).contains(&all), "{all:?}");
}
