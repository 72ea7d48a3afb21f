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

/// Modes of models whose seconds are those of sound, and whose characters are spoken.
const TRANSCRIPTION: &str = "audio_transcription";
const SPEECH: &str = "audio_speech";

/// Prices beside which tokens without figures of their own cost nothing.
const OTHER_UNITS: [&str; 4] = ["per_query", "per_second", "per_audio_second", "per_million_characters"];

/// From how many thousand tokens of the prompt on other figures hold.
const TIERS: [u64; 7] = [32, 100, 128, 200, 256, 272, 512];

/// The price that a row gives, in its parameters or else in `model_info`; `None`: it gives none, the catalogue's holds.
pub(super) fn price(sections: [&Section<'_>; 2], kind: &str, model: &str) -> Option<Value> {
    let listed = Catalogue::embedded().find(kind, model);
    // What a second or a character is one of follows from what the model is for.
    let said = sections.iter().find_map(|section| section.text("mode"));
    let mode = said.as_deref().or(listed.map(|entry| entry.mode.as_str())).unwrap_or_default();
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
    if mode != TRANSCRIPTION
        && let Some(text) = per_second(sections)
    {
        price.insert("per_second".into(), text.into());
    }
    if let Some(text) = per_audio_second(sections, mode) {
        price.insert("per_audio_second".into(), text.into());
    }
    if let Some(text) = per_character(sections, mode, &figure) {
        price.insert("per_million_characters".into(), text.into());
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
    for class in ["input", "output"] {
        let by_other_units = OTHER_UNITS.iter().any(|unit| price.contains_key(*unit));
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

/// What a second of sound costs that is listened to. Of a model that writes sound down, seconds are seconds of sound: what it costs to write
/// them goes before what it costs to read them, as there.
fn per_audio_second(sections: [&Section<'_>; 2], mode: &str) -> Option<String> {
    let by_mode = ["output_cost_per_second", "input_cost_per_second"];
    let keys =
        ["input_cost_per_audio_per_second"].into_iter().chain(by_mode.into_iter().filter(|_| mode == TRANSCRIPTION));
    let (mut found, mut free) = (None, false);
    for key in keys {
        // All are read, so that all are accounted for.
        let read: Vec<_> = sections.iter().filter_map(|section| Some((*section, section.decimal(key)?))).collect();
        let Some((section, figure)) = read.first() else { continue };
        match figure.plain(12) {
            None => section.ignored(key, "is too large"),
            // Rows of whisper say 0 of the side that they do not charge.
            Some(text) if text == "0" => free = true,
            Some(_) if found.is_some() => section.ignored(key, "sound has a price by the second already, which holds"),
            Some(text) => found = Some(text),
        }
    }
    found.or_else(|| free.then(|| "0".to_owned()))
}

/// What a million characters cost that are spoken. Characters of prompts and answers are not counted: their tokens are.
fn per_character(sections: [&Section<'_>; 2], mode: &str, figure: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    const KEY: &str = "input_cost_per_character";
    let text = figure(KEY)?;
    let given = sections.iter().find(|section| section.has(KEY));
    if !mode.is_empty() && mode != SPEECH {
        given.iter().for_each(|section| {
            section.ignored(KEY, "only spoken text is charged by the character; give prices per token")
        });
        return None;
    }
    if mode.is_empty() {
        given.iter().for_each(|section| {
            section.differently(KEY, "of text that is spoken; other calls are charged by their tokens")
        });
    }
    Some(text)
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
