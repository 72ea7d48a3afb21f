//! List prices, limits and capabilities of known models: `catalogue/models.json`, with the source of every row.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tollgate_domain::{Price, PriceTier, Rates};

/// One model at one provider.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The provider's kind.
    pub provider: String,
    /// The model as sent to it.
    pub model: String,
    /// Other ids at the same price.
    pub aliases: Vec<String>,
    /// What it is for: `chat`, `embedding`, ...
    pub mode: String,
    /// Price; `None`: it is not sold by tokens or queries.
    pub price: Option<Price>,
    /// Most tokens of prompt and answer together.
    pub context_window: Option<u64>,
    /// Most tokens of an answer.
    pub max_output: Option<u64>,
    /// What is listed that it can do.
    pub capabilities: Vec<String>,
}

/// All known models.
pub struct Catalogue {
    entries: Vec<Entry>,
    by_id: HashMap<(String, String), usize>,
}

#[derive(Deserialize)]
struct File {
    models: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    provider: String,
    model: String,
    #[serde(default)]
    aliases: Vec<String>,
    mode: String,
    pico_usd: BTreeMap<String, i64>,
    #[serde(default)]
    tiers: Vec<Tier>,
    #[serde(default)]
    other_price: OtherPrice,
    context_window: Option<u64>,
    max_output_tokens: Option<u64>,
    capabilities: Vec<String>,
}

/// Units that are not tokens, in dollars.
#[derive(Deserialize, Default)]
struct OtherPrice {
    per_query_usd: Option<String>,
}

#[derive(Deserialize)]
struct Tier {
    above_input_tokens: u64,
    pico_usd: BTreeMap<String, i64>,
}

static EMBEDDED: LazyLock<Catalogue> = LazyLock::new(|| {
    // The file is part of the program and checked by the tests below.
    #[allow(clippy::expect_used)]
    let file: File = serde_json::from_str(include_str!("../catalogue/models.json")).expect("the catalogue is valid");
    Catalogue::new(file)
});

impl Catalogue {
    /// The catalogue that this program was built with. Read on first use.
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }

    fn new(file: File) -> Self {
        let entries: Vec<Entry> = file.models.into_iter().map(entry).collect();
        let mut by_id = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            for id in std::iter::once(&entry.model).chain(&entry.aliases) {
                by_id.entry((entry.provider.clone(), id.clone())).or_insert(at);
            }
        }
        Self { entries, by_id }
    }

    /// The row of a model, by id or alias.
    pub fn find(&self, provider_kind: &str, model: &str) -> Option<&Entry> {
        self.by_id.get(&(provider_kind.to_owned(), model.to_owned())).map(|at| &self.entries[*at])
    }

    /// Every row.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

fn entry(row: Row) -> Entry {
    let mut figures = format!("{:?} {:?}", row.pico_usd, row.tiers.iter().map(|t| &t.pico_usd).collect::<Vec<_>>());
    let per_query = row.other_price.per_query_usd.as_deref().and_then(|dollars| Rates::each(dollars).ok());
    if let Some(per_query) = per_query {
        figures.push_str(&format!(" {per_query} a query"));
    }
    let digest = Sha256::digest(figures.as_bytes());
    let version = digest[..6].iter().map(|b| format!("{b:02x}")).collect();
    let base = &row.pico_usd;
    let tiers = row.tiers.iter().map(|tier| {
        // A tier lists what changes; the rest stays.
        let mut figures = base.clone();
        figures.extend(tier.pico_usd.iter().map(|(k, v)| (k.clone(), *v)));
        PriceTier { above_input_tokens: tier.above_input_tokens, rates: rates(&figures) }
    });
    // A model whose output is sold in units that are not counted here has no price per token that would hold.
    let by_token = base.contains_key("input") && (base.contains_key("output") || row.mode == "embedding");
    let price = (by_token || per_query.is_some()).then(|| Price {
        rates: rates(base),
        tiers: tiers.collect(),
        per_query,
        version,
    });
    Entry {
        provider: row.provider,
        model: row.model,
        aliases: row.aliases,
        mode: row.mode,
        price,
        context_window: row.context_window,
        max_output: row.max_output_tokens,
        capabilities: row.capabilities,
    }
}

fn rates(figures: &BTreeMap<String, i64>) -> Rates {
    let figure = |name: &str| figures.get(name).copied();
    Rates {
        input: figure("input").unwrap_or(0),
        output: figure("output").unwrap_or(0),
        cached_read: figure("cached_read"),
        cache_write_5m: figure("cache_write_5m"),
        cache_write_1h: figure("cache_write_1h"),
        reasoning: figure("reasoning"),
        audio_input: figure("audio_input"),
        audio_output: figure("audio_output"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use tollgate_domain::NanoUsd;
    use tollgate_proto::v1::Usage;

    use super::*;

    fn rows() -> Vec<Value> {
        let file: Value = serde_json::from_str(include_str!("../catalogue/models.json")).unwrap();
        file["models"].as_array().unwrap().clone()
    }

    #[test]
    fn every_row_is_sound() {
        const CLASSES: [&str; 18] = [
            "input",
            "output",
            "cached_read",
            "cache_write_5m",
            "cache_write_1h",
            "reasoning",
            "audio_input",
            "audio_output",
            "audio_cached_read",
            "image_input",
            "image_output",
            "batch_input",
            "batch_output",
            "batch_cached_read",
            "flex_input",
            "flex_output",
            "priority_input",
            "priority_output",
        ];
        const MODES: [&str; 9] = [
            "chat",
            "responses",
            "completion",
            "embedding",
            "rerank",
            "moderation",
            "audio_transcription",
            "audio_speech",
            "image_generation",
        ];
        let rows = rows();
        assert_eq!(rows.len(), 384);
        for row in &rows {
            let id = format!("{}/{}", row["provider"], row["model"]);
            for (class, figure) in row["pico_usd"].as_object().unwrap() {
                assert!(CLASSES.contains(&class.as_str()), "{id}: class {class}");
                assert!(figure.as_i64().unwrap() >= 0, "{id}: {class}");
            }
            assert!(MODES.contains(&row["mode"].as_str().unwrap()), "{id}: mode");
            assert!(!row["source"].as_array().unwrap().is_empty(), "{id}: source");
            let tiers: Vec<u64> = row["tiers"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|t| t["above_input_tokens"].as_u64().unwrap())
                .collect();
            assert!(tiers.is_sorted(), "{id}: tiers ascend");
            if let (Some(read), Some(input)) =
                (row["pico_usd"]["cached_read"].as_i64(), row["pico_usd"]["input"].as_i64())
            {
                assert!(read <= input, "{id}: a cached read is not dearer than input");
            }
        }
    }

    #[test]
    fn an_id_names_one_row() {
        let mut seen = BTreeSet::new();
        for row in rows() {
            let id = (row["provider"].to_string(), row["model"].to_string(), row["mode"].to_string());
            assert!(seen.insert(id.clone()), "{id:?} stands twice");
        }
    }

    #[test]
    fn figures_are_pico_dollars_per_token() {
        let mini = Catalogue::embedded().find("openai", "gpt-4o-mini-2024-07-18").unwrap();
        let rates = &mini.price.as_ref().unwrap().rates;
        assert_eq!((rates.input, rates.output, rates.cached_read), (150_000, 600_000, Some(75_000)));
        assert_eq!((mini.context_window, mini.max_output), (Some(128_000), Some(16_384)));
        assert!(Catalogue::embedded().find("openai", "no-such-model").is_none());
    }

    #[test]
    fn rankings_are_sold_by_the_query_or_by_tokens_and_moderations_are_free() {
        let price = |kind, model| Catalogue::embedded().find(kind, model).unwrap().price.clone().unwrap();
        let searched = Usage { search_units: Some(1), ..Usage::default() };
        assert_eq!(price("cohere", "rerank-v3.5").cost(&searched), NanoUsd(2_000_000));
        assert_eq!(price("cohere", "rerank-v4.0-pro").cost(&searched), NanoUsd(2_500_000));
        let by_token = price("cohere", "rerank-v5.0-fast");
        assert_eq!((by_token.rates.input, by_token.per_query), (20_000, None));
        assert_eq!(price("openai", "omni-moderation-latest").worst_case(1_000_000, 0), NanoUsd(0));
    }
}
