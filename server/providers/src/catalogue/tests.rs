use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tollgate_domain::{NanoUsd, ServiceTier};
use tollgate_proto::v1::{InputUsage, OutputUsage, Usage};

use super::*;

fn facts() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../catalogue/price-facts.json")).unwrap();
    file["models"].as_array().unwrap().clone()
}

fn listed(provider: &str, model: &str) -> &'static Entry {
    Catalogue::embedded().find(provider, model).unwrap()
}

/// `"0.15"` dollars per million is 150,000 pico-dollars: the digits, shifted by six.
fn pico(figures: &Value) -> Value {
    let shifted = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        assert!(fraction.len() <= 6, "{text} is finer than a pico-dollar a token");
        format!("{whole}{fraction:0<6}").parse::<i64>().unwrap()
    };
    let figures = figures.as_object().unwrap();
    figures.iter().map(|(class, text)| (class.clone(), json!(shifted(text.as_str().unwrap())))).collect()
}

/// A row of the facts in the catalogue's form.
fn as_entry(fact: &Value) -> Value {
    let mut row = Map::new();
    for name in ["provider", "model", "mode", "capabilities", "confidence", "source"] {
        row.insert(name.into(), fact[name].clone());
    }
    row.insert("pico_usd".into(), pico(&fact["price_per_million_usd"]));
    let tiers = fact["tiers"].as_array().into_iter().flatten();
    let tiers: Vec<_> =
        tiers.map(|t| json!({"above_input_tokens": t["above_prompt_tokens"], "pico_usd": pico(&t["price"])})).collect();
    row.insert("tiers".into(), tiers.into());
    row.insert("aliases".into(), fact["aliases"].clone());
    row.insert("max_output_tokens".into(), fact["max_output"].clone());
    for name in [
        "other_price",
        "context_window",
        "embedding_dimensions",
        "prompt_cache_min_tokens",
        "retires_on",
        "official_page",
    ] {
        row.insert(name.into(), fact[name].clone());
    }
    row.retain(|name, value| !value.is_null() && (*value != json!([]) || name == "capabilities"));
    row.into()
}

fn by_key(rows: Vec<Value>) -> BTreeMap<String, Value> {
    let count = rows.len();
    let keyed: BTreeMap<_, _> =
        rows.into_iter().map(|row| (format!("{}/{}", row["provider"], row["model"]), row)).collect();
    assert_eq!(keyed.len(), count, "a row stands twice");
    keyed
}

#[test]
fn the_catalogue_says_what_the_facts_say_and_nothing_else() {
    let entries = Catalogue::embedded().entries();
    let ours = by_key(entries.iter().map(|entry| serde_json::to_value(entry).unwrap()).collect());
    let theirs = by_key(facts().iter().map(as_entry).collect());
    for (key, row) in &theirs {
        assert_eq!(ours.get(key), Some(row), "{key} of the facts");
    }
    for (key, row) in &ours {
        assert_eq!(theirs.get(key), Some(row), "{key} of the catalogue");
    }
}

#[test]
fn every_row_is_sound() {
    for entry in Catalogue::embedded().entries() {
        let id = entry.key();
        assert!(!entry.sources.is_empty(), "{id}: source");
        assert!(entry.tiers.is_sorted_by_key(|t| t.above_input_tokens), "{id}: tiers ascend");
        assert!(entry.pico_usd.values().all(|figure| *figure >= 0), "{id}: a figure");
        if let (Some(read), Some(input)) = (entry.pico_usd.get("cached_read"), entry.pico_usd.get("input")) {
            assert!(read <= input, "{id}: a cached read is not dearer than input");
        }
        let units = entry.unit_price().unwrap();
        let units = [units.query_pico_usd, units.audio_second_pico_usd, units.character_pico_usd];
        assert_eq!(units.iter().flatten().count(), entry.other_price.len(), "{id}: a unit that nobody reads");
        let is_day = |day: &String| day.len() == 10 && day.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        assert!(entry.retires_on.iter().all(is_day), "{id}: retirement");
    }
}

#[test]
fn an_id_names_one_row() {
    let mut seen = BTreeSet::new();
    for entry in Catalogue::embedded().entries() {
        for id in entry.ids() {
            assert!(seen.insert((&entry.provider, id)), "{}/{id} stands twice", entry.provider);
        }
    }
}

#[test]
fn figures_are_pico_dollars_per_token() {
    let mini = listed("openai", "gpt-4o-mini-2024-07-18");
    let rates = &mini.price.as_ref().unwrap().standard.rates;
    assert_eq!((rates.input, rates.output, rates.cached_read), (150_000, 600_000, Some(75_000)));
    assert_eq!((mini.context_window, mini.max_output), (Some(128_000), Some(16_384)));
    assert!(Catalogue::embedded().find("openai", "no-such-model").is_none());
}

#[test]
fn units_that_are_not_tokens_are_pico_dollars_too() {
    assert_eq!(listed("cohere", "rerank-v3.5").unit_price().unwrap().query_pico_usd, Some(2_000_000_000));
    assert_eq!(listed("groq", "whisper-large-v3-turbo").unit_price().unwrap().audio_second_pico_usd, Some(11_110_000));
    assert_eq!(listed("openai", "tts-1").unit_price().unwrap().character_pico_usd, Some(15_000_000));
    let spoken = listed("openai", "tts-1").price.clone().unwrap();
    assert_eq!((spoken.per_character, &spoken.standard.rates), (Some(15_000_000), &Rates::default()));
    let heard = listed("openai", "gpt-4o-transcribe").price.clone().unwrap();
    assert_eq!((heard.per_audio_second, heard.standard.rates.input), (Some(100_000_000), 2_500_000));
    // Free, and listed as such.
    assert!(listed("openai", "omni-moderation-latest").price.is_some());
}

#[test]
fn rankings_are_sold_by_the_query_or_by_tokens() {
    let price = |model| listed("cohere", model).price.clone().unwrap();
    let searched = Usage { search_units: Some(1), ..Usage::default() };
    assert_eq!(price("rerank-v3.5").cost(&searched), NanoUsd(2_000_000));
    assert_eq!(price("rerank-v4.0-pro").cost(&searched), NanoUsd(2_500_000));
    let by_token = price("rerank-v5.0-fast");
    assert_eq!((by_token.standard.rates.input, by_token.per_query), (20_000, None));
    assert_ne!(price("rerank-v4.0-fast").version, price("rerank-v4.0-pro").version);
}

#[test]
fn a_regional_profile_of_bedrock_is_the_model_behind_it() {
    let model = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    let profile = Catalogue::embedded().find("bedrock", &format!("us.{model}")).unwrap();
    assert_eq!(profile.key(), listed("bedrock", model).key());
    assert!(Catalogue::embedded().find("openai", "us.gpt-4o").is_none());
}

#[test]
fn another_dialect_of_a_service_has_its_prices() {
    assert_eq!(listed("openai_responses", "gpt-5.4").key(), "openai/gpt-5.4");
}

fn cost(entry: &Entry, tier: &str, input: u64, cached_read: u64, output: u64, reasoning: u64) -> NanoUsd {
    entry.price.as_ref().unwrap().cost(&Usage {
        input: Some(InputUsage { total: input, cached_read, ..Default::default() }),
        output: Some(OutputUsage { total: output, reasoning, ..Default::default() }),
        service_tier_native: Some(tier.into()),
        ..Default::default()
    })
}

#[test]
fn the_tier_that_served_has_its_own_figures_and_keeps_those_that_are_not_listed_for_it() {
    // Input 0.3 and 0.54, cached 0.03 for both, output and reasoning 2.5 and 4.5 dollars a million.
    let flash = listed("gemini", "gemini-2.5-flash");
    assert_eq!(cost(flash, "default", 1_000, 500, 100, 60), NanoUsd(500 * 300 + 500 * 30 + 100 * 2_500));
    assert_eq!(cost(flash, "priority", 1_000, 500, 100, 60), NanoUsd(500 * 540 + 500 * 30 + 100 * 4_500));
    assert_eq!(cost(flash, "flex", 1_000, 500, 100, 60), NanoUsd(500 * 150 + 500 * 30 + 100 * 1_250));
}

#[test]
fn a_long_prompt_at_another_service_tier_costs_the_dearer_of_both_where_nobody_lists_the_two_together() {
    let gpt = listed("openai", "gpt-5.5");
    let long = 300_000;
    // Standard above 272,000: 10 in, 45 out. Priority lists 12.5 and 75, flex 2.5 and 15; batch has figures of its own there: 5, 22.5.
    assert_eq!(cost(gpt, "default", long, 0, 10, 0), NanoUsd(300_000 * 10_000 + 10 * 45_000));
    assert_eq!(cost(gpt, "priority", long, 0, 10, 0), NanoUsd(300_000 * 12_500 + 10 * 75_000));
    assert_eq!(cost(gpt, "flex", long, 0, 10, 0), NanoUsd(300_000 * 10_000 + 10 * 45_000));
    assert_eq!(cost(gpt, "batch", long, 0, 10, 0), NanoUsd(300_000 * 5_000 + 10 * 22_500));
}

#[test]
fn a_class_that_costs_as_its_parent_follows_it_into_the_tier_for_long_prompts() {
    // Images are listed at the price of text, and no figure for them at long prompts.
    let grok = listed("xai", "grok-4.5").price.as_ref().unwrap();
    let images =
        |total| Usage { input: Some(InputUsage { total, image: total, ..Default::default() }), ..Default::default() };
    assert_eq!(grok.cost(&images(1_000)), NanoUsd(1_000 * 2_000));
    assert_eq!(grok.cost(&images(300_000)), NanoUsd(300_000 * 4_000));
}

#[test]
fn every_priced_model_holds_at_least_what_any_reachable_tier_charges() {
    for entry in Catalogue::embedded().entries() {
        let Some(price) = &entry.price else { continue };
        for asked in [None, Some("auto"), Some("flex"), Some("priority")] {
            let reachable = ServiceTier::reachable(asked);
            for tokens in [10, 250_000, 500_000] {
                let hold = price.worst_case(tokens, tokens, reachable);
                let dearest = reachable.iter().map(|t| cost(entry, t.name(), tokens, tokens / 2, tokens, 0)).max();
                assert!(dearest.unwrap() <= hold, "{} {asked:?} {tokens}", entry.key());
            }
        }
    }
}
