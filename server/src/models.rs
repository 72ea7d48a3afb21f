//! The catalogue for people: `tollgate models`.

use std::fmt::Write;

use anyhow::Context;
use tollgate_domain::{NanoUsd, Price, ServiceTier, Tariff};
use tollgate_providers::catalogue::{Catalogue, Entry, Query};

const HEAD: [&str; 7] = ["model", "input", "output", "window", "most out", "retires", "can"];

/// A line for each model that is found: prices in dollars per million tokens.
pub fn table(query: &Query) -> String {
    let rows: Vec<[String; 7]> = Catalogue::embedded().search(query).map(row).collect();
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&HEAD.map(str::to_owned)).chain(&rows) {
        let [model, input, output, window, most, retires, can] = row;
        let [a, b, c, d, e, f, _] = widths;
        let line = format!("{model:a$}  {input:>b$}  {output:>c$}  {window:>d$}  {most:>e$}  {retires:f$}  {can}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(text, "{} models; prices in dollars per million tokens, `-`: not listed", rows.len());
    text
}

fn row(entry: &Entry) -> [String; 7] {
    let figure = |class: &str| entry.pico_usd.get(class).map_or("-".into(), |pico| per_million(*pico));
    [
        entry.key(),
        figure("input"),
        figure("output"),
        count(entry.context_window),
        count(entry.max_output),
        entry.retires_on.clone().unwrap_or_default(),
        entry.capabilities.join(" "),
    ]
}

/// What is found as a JSON array, as the catalogue's file says it.
pub fn json(query: &Query) -> anyhow::Result<String> {
    let found: Vec<&Entry> = Catalogue::embedded().search(query).collect();
    Ok(format!("{}\n", serde_json::to_string_pretty(&found)?))
}

/// All that is listed of one model, named `PROVIDER/MODEL`.
pub fn show(name: &str, as_json: bool) -> anyhow::Result<String> {
    let (provider, model) = name.split_once('/').with_context(|| format!("{name:?}: must be PROVIDER/MODEL"))?;
    let entry = Catalogue::embedded().find(provider, model);
    let entry =
        entry.with_context(|| format!("the catalogue lists no {name:?}; `tollgate models WORDS` searches it"))?;
    if as_json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(entry)?));
    }
    let mut text = format!("{} ({})\n", entry.key(), entry.mode);
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<18} {value}");
        }
    };
    line("also known as", entry.aliases.join(", "));
    line("context window", some(entry.context_window));
    line("most output", some(entry.max_output));
    line("vector length", some(entry.embedding_dimensions));
    line("caches from", entry.prompt_cache_min_tokens.map_or(String::new(), |n| format!("{n} tokens")));
    line("can", entry.capabilities.join(", "));
    line("retires on", entry.retires_on.clone().unwrap_or_default());
    for (unit, dollars) in &entry.other_price {
        line(&unit.replace('_', " "), format!("${dollars}"));
    }
    for (name, price) in entry.price.iter().flat_map(prices) {
        line(&name, price);
    }
    line("price version", entry.price.as_ref().map_or(String::new(), |p| p.version.clone()));
    line("confidence", entry.confidence.clone());
    line("read from", entry.sources.iter().map(|s| format!("{} of {}", s.name, s.date)).collect::<Vec<_>>().join(", "));
    line("provider's page", entry.official_page.clone().unwrap_or_default());
    Ok(text)
}

/// A line for each service tier and length of prompt.
fn prices(price: &Price) -> Vec<(String, String)> {
    let others = price.service.iter().map(|(tier, tariff)| (*tier, tariff));
    let mut lines = Vec::new();
    for (tier, Tariff { rates, tiers }) in std::iter::once((ServiceTier::Standard, &price.standard)).chain(others) {
        lines.push((format!("$/million {}", tier.name()), in_words(rates)));
        for long in tiers {
            lines.push((format!("  above {}", long.above_input_tokens), in_words(&long.rates)));
        }
    }
    lines
}

fn in_words(rates: &tollgate_domain::Rates) -> String {
    let classes = [
        ("input", Some(rates.input)),
        ("output", Some(rates.output)),
        ("cached read", rates.cached_read),
        ("cache write 5 min", rates.cache_write_5m),
        ("cache write 1 h", rates.cache_write_1h),
        ("reasoning", rates.reasoning),
        ("audio in", rates.audio_input),
        ("audio out", rates.audio_output),
        ("audio cached", rates.audio_cached_read),
        ("image in", rates.image_input),
        ("image out", rates.image_output),
    ];
    let listed = classes.into_iter().filter_map(|(name, pico)| Some(format!("{name} {}", per_million(pico?))));
    listed.collect::<Vec<_>>().join(", ")
}

/// Pico-dollars a token as dollars a million: `0.15`.
fn per_million(pico: i64) -> String {
    NanoUsd(pico.saturating_mul(1_000)).to_string()
}

fn count(tokens: Option<u64>) -> String {
    tokens.map_or("-".into(), |n| n.to_string())
}

fn some(tokens: Option<u64>) -> String {
    tokens.map_or(String::new(), |n| n.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(search: &str) -> Query {
        Query { search: search.into(), ..Query::default() }
    }

    #[test]
    fn the_table_tells_price_window_limit_and_abilities() {
        let text = table(&words("openai gpt-4o-mini-2024-07-18"));
        let line = text.lines().find(|line| line.starts_with("openai/gpt-4o-mini ")).unwrap();
        let cells: Vec<_> = line.split_whitespace().collect();
        assert_eq!(&cells[1..5], ["0.15", "0.6", "128000", "16384"]);
        assert!(cells.contains(&"tools") && cells.contains(&"json_schema"), "{line}");
        assert!(text.ends_with("1 models; prices in dollars per million tokens, `-`: not listed\n"), "{text}");
    }

    #[test]
    fn one_model_is_shown_with_every_price_and_where_it_was_read() {
        let text = show("openai/gpt-5.5", false).unwrap();
        for said in [
            "$/million standard input 5, output 30, cached read 0.5",
            "above 272000     input 10, output 45, cached read 1",
            "$/million priority input 12.5, output 75, cached read 0.5",
            "litellm-prices of 2026-11-20",
        ] {
            assert!(text.contains(said), "{said:?} in {text}");
        }
        // An alias is the model.
        assert!(show("openai/gpt-4o-mini-2024-07-18", false).unwrap().starts_with("openai/gpt-4o-mini (chat)"));
        assert!(show("openai/none", false).unwrap_err().to_string().contains("tollgate models WORDS"));
        assert!(show("none", false).is_err());
    }

    #[test]
    fn json_says_what_the_file_says() {
        let all: Vec<serde_json::Value> = serde_json::from_str(&json(&words("cohere rerank-v3.5")).unwrap()).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0]["other_price"]["per_query_usd"], "0.002");
        assert!(all[0]["source"][0]["date"].is_string());
        let one: serde_json::Value = serde_json::from_str(&show("cohere/rerank-v3.5", true).unwrap()).unwrap();
        assert_eq!(one, all[0]);
    }
}
