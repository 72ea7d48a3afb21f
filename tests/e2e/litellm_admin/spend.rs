//! Rows of spend: which days they are of, and how many there may be.

use std::collections::HashSet;

use futures::{StreamExt, stream};
use serde_json::json;

use super::{Desk, text};
use crate::support::hello;

#[tokio::test]
async fn a_span_of_one_day_has_the_calls_of_that_day() {
    let desk = Desk::open().await;
    assert_eq!(desk.call(desk.world.gateway.key()).await.status, 200);
    let settled = desk.world.entries().await[0].settle_time.unwrap().to_string();
    let span = format!("start_date={day}&end_date={day}", day = &settled[..10]);
    let rows = desk.get(&format!("spend/logs?{span}&summarize=false")).await;
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert_eq!(desk.get(&format!("spend/logs?{span}")).await.as_array().unwrap().len(), 1, "the sums of the day");
    let report = desk.get(&format!("global/spend/report?{span}&group_by=api_key")).await;
    assert_eq!(report.as_array().unwrap().len(), 1, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_rows_than_a_page_holds_are_one_list() {
    const CALLS: usize = 1_001;
    let desk = Desk::open().await;
    let (caller, url) = (desk.world.gateway.caller(), desk.world.v1("chat/completions"));
    let body = hello(json!({"max_completion_tokens": 20}));
    let mut calls = stream::iter(0..CALLS).map(|_| caller.post(&url, &body)).buffer_unordered(32);
    while let Some(reply) = calls.next().await {
        assert_eq!(reply.unwrap().status, 200);
    }
    let rows = desk.get("spend/logs").await;
    let rows = rows.as_array().unwrap();
    let ids: HashSet<_> = rows.iter().map(|row| text(&row["request_id"])).collect();
    assert_eq!((rows.len(), ids.len()), (CALLS, CALLS));
}
