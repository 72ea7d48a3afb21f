//! Prices of a row: dollars a token as dollars a million, digit by digit.

use serde_json::{Map, Value};
use tollgate_providers::catalogue::Catalogue;

use super::{decimal::Decimal, section::Section};

/// Our class of a price, and LiteLLM's name of it.
const FIGURES: &[(&str, &str)] = &[
    ("input", "input_cost_per_token"),
    ("output", "output_cost_per_token"),
    ("cached_read", "cache_read_input_token_cost"),
    ("cache_write_5m", "cache_creation_input_token_cost"),
    ("cache_write_1h", "cache_creation_input_token_cost_above_1hr"),
    ("reasoning", "output_cost_per_reasoning_token"),
    ("audio_input", "input_cost_per_audio_token"),
    ("audio_output", "output_cost_per_audio_token"),
    ("audio_cached_read", "cache_read_input_audio_token_cost"),
    ("image_input", "input_cost_per_image_token"),
    ("image_output", "output_cost_per_image_token"),
    ("flex_input", "input_cost_per_token_flex"),
    ("flex_output", "output_cost_per_token_flex"),
    ("flex_cached_read", "cache_read_input_token_cost_flex"),
    ("priority_input", "input_cost_per_token_priority"),
    ("priority_output", "output_cost_per_token_priority"),
    ("priority_cached_read", "cache_read_input_token_cost_priority"),
    ("batch_input", "input_cost_per_token_batches"),
    ("batch_output", "output_cost_per_token_batches"),
];

/// From how many thousand tokens of the prompt on other figures hold.
const TIERS: [u64; 7] = [32, 100, 128, 200, 256, 272, 512];

/// The price that a row gives, in its parameters or else in `model_info`; `None`: it gives none, the catalogue's holds.
pub(super) fn price(sections: [&Section<'_>; 2], kind: &str, model: &str) -> Option<Value> {
    let figure = |key: &str| {
        // Both are read, so that both are accounted for.
        let read: Vec<_> = sections.iter().filter_map(|section| Some((*section, section.decimal(key)?))).collect();
        let (section, decimal) = *read.first()?;
        let text = million(decimal);
        if text.is_none() {
            section.ignored(key, "is too large");
        } else if decimal.shifted(6).places() > 6 {
            section.differently(key, "rounded up to a millionth of a dollar for a million tokens");
        }
        text
    };
    let mut price = figures(&figure, "");
    if let Some(text) = per_second(sections) {
        price.insert("per_second".into(), text.into());
    }
    let tiers: Vec<Value> = TIERS.iter().filter_map(|thousands| tier(&figure, *thousands)).collect();
    let query = sections.iter().find_map(|section| section.decimal("input_cost_per_query"));
    if let Some(text) = query.and_then(|decimal| decimal.plain(12)) {
        price.insert("per_query".into(), text.into());
    }
    if price.is_empty() && tiers.is_empty() {
        return None;
    }
    // What is not said of the two is what it is anyway, or nothing.
    let listed = Catalogue::embedded().find(kind, model);
    for class in ["input", "output"] {
        let by_other_units = price.contains_key("per_query") || price.contains_key("per_second");
        if !price.contains_key(class) && !by_other_units {
            let known =
                listed.and_then(|entry| entry.pico_usd.get(class)).map(|pico| Decimal::parse(&pico.to_string()));
            let known = known.flatten().and_then(|pico| pico.shifted(-6).plain(6));
            price.insert(class.into(), known.unwrap_or_else(|| "0".to_owned()).into());
        }
    }
    if !tiers.is_empty() {
        price.insert("tiers".into(), tiers.into());
    }
    Some(price.into())
}

/// What a second costs, of reading and of writing together: either holds where its tokens cost nothing, as there.
fn per_second(sections: [&Section<'_>; 2]) -> Option<String> {
    let mut sum: Option<Decimal> = None;
    for (second, token) in
        [("input_cost_per_second", "input_cost_per_token"), ("output_cost_per_second", "output_cost_per_token")]
    {
        // Both are read, so that both are accounted for.
        let read: Vec<_> = sections.iter().filter_map(|section| Some((*section, section.decimal(second)?))).collect();
        let Some((section, figure)) = read.first() else { continue };
        if sections.iter().filter_map(|section| section.decimal(token)).any(|figure| figure.ceiling() != Some(0)) {
            section.ignored(second, "tokens have a price, which holds, as it does there");
            continue;
        }
        match sum.map_or(Some(*figure), |sum| sum.plus(*figure)).filter(|sum| sum.plain(12).is_some()) {
            Some(more) => sum = Some(more),
            None => section.ignored(second, "is too large"),
        }
    }
    sum.and_then(|sum| sum.plain(12))
}

fn figures(figure: &dyn Fn(&str) -> Option<String>, suffix: &str) -> Map<String, Value> {
    let given = FIGURES
        .iter()
        .filter_map(|(class, key)| Some(((*class).to_owned(), figure(&format!("{key}{suffix}"))?.into())));
    given.collect()
}

fn tier(figure: &dyn Fn(&str) -> Option<String>, thousands: u64) -> Option<Value> {
    let price = figures(figure, &format!("_above_{thousands}k_tokens"));
    (!price.is_empty()).then(|| serde_json::json!({ "above_input_tokens": thousands * 1_000, "price": price }))
}

fn million(token: Decimal) -> Option<String> {
    token.shifted(6).plain(6)
}
