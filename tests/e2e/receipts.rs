//! Receipts: every answer and every refusal that is on record brings one where the table of `docs/audit-log.md` says, and the log holds what
//! it promises.

mod refused;
mod rest;
mod rpcs;

use std::collections::BTreeSet;

use prost::Message;
use serde_json::{Value, json};
use tollgate_client::v1;
use tollgate_tlog::verify::ReceiptVerdict;

use crate::{audit_log::Export, support::World};

const HEADER: &str = "x-tollgate-receipt";

/// A model for every operation: what callers of REST write is the provider's own dialect, or is not.
async fn world() -> World {
    World::with_provider(|builder, url| {
        let priced = |model: &str, price: Value| json!({"provider": "scripted", "model": model, "price": price});
        let tokens = || json!({"input": "2.5", "output": "10"});
        crate::files::quick(builder)
            .set("/routing", json!({"cooldown": {"time": "0s", "credential_time": "0s"}}))
            .provider_of_kind("anthropic", "anthropic", url)
            .model("claude", "anthropic", "claude-upstream")
            .provider_of_kind("native", "openai_responses", url)
            .model("native", "native", "o4-upstream")
            .provider_of_kind("ranker", "cohere", url.trim_end_matches("/v1"))
            .deployment("rank", json!({"provider": "ranker", "model": "ranks", "price": {"per_query": "0.002"}}))
            .deployment("embed", priced("text-embedding-3-small", tokens()))
            .deployment("judge", priced("judges", tokens()))
            .deployment("draw", priced("draws", tokens()))
            .deployment("say", priced("tts", json!({"per_million_characters": "15"})))
            .deployment("say-tokens", priced("tts-tokens", tokens()))
            .deployment("hear", priced("whisper", json!({"per_audio_second": "0.0001"})))
            .deployment("hear-tokens", priced("transcribe", tokens()))
            .budget_usd("100")
    })
    .await
}

/// A receipt as REST writes it.
fn read(text: &str) -> v1::Receipt {
    tollgate_tlog::from_base64(text).unwrap_or_else(|error| panic!("{text:?} is no receipt: {error}"))
}

/// What asked for a receipt, and what the record that it promises is of.
struct Promised {
    whose: String,
    action: &'static str,
    receipt: v1::Receipt,
}

/// Shows of every receipt that a later export holds the very record, each of a call of its own.
async fn are_kept(world: &World, promised: &[Promised]) {
    let export = Export::of(&world.admin().await).await;
    let records = world.records().await;
    let mut positions = BTreeSet::new();
    for Promised { whose, action, receipt } in promised {
        let verdict = export.receipt(receipt);
        assert!(matches!(verdict, ReceiptVerdict::Held { .. }), "{whose}: {verdict:?}");
        let record = records.iter().find(|record| record.sequence == receipt.sequence).unwrap();
        assert_eq!(&record.action, action, "{whose}: {record:?}");
        assert_eq!(
            tollgate_tlog::leaf_hash(&record.encode_to_vec()).0.as_slice(),
            receipt.leaf_hash.as_ref(),
            "{whose}"
        );
        assert!(positions.insert(receipt.sequence), "{whose}: the receipt of another call");
    }
}

/// The first cells of the rows of a table of `docs/audit-log.md`, below a heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let page = include_str!("../../docs/audit-log.md");
    let (_, table) = page.split_once(heading).unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let of_row = |row: &str| row.split('|').nth(1).unwrap().split(" (").next().unwrap().trim().to_owned();
    rows.skip(2).map(of_row).collect()
}
