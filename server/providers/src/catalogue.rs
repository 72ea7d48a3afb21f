//! List prices, limits and capabilities of known models: `catalogue/models.json`, with the source of every row.

mod price;
mod search;

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

pub use price::{Units, price};
pub use search::Query;
use serde::{Deserialize, Serialize};
use tollgate_domain::{MoneyError, Price, Rates};
use tollgate_proto::v1::{CatalogueModel, FigureSource, UnitPrice};

/// One model at one provider. What is absent is not listed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The provider's kind.
    pub provider: String,
    /// The model as sent to it.
    pub model: String,
    /// Other ids at the same price.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What it is for: `chat`, `embedding`, ...
    pub mode: String,
    /// Pico-dollars per token by class, as listed: `input`, `cached_read`, `priority_output`, ...
    pub pico_usd: BTreeMap<String, i64>,
    /// Prices in units that are not tokens, decimal dollars: `per_query_usd`, `per_audio_second_usd`, `per_million_characters_usd`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other_price: BTreeMap<String, String>,
    /// Figures for long prompts, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
    /// Most tokens of prompt and answer together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// Most tokens of an answer.
    #[serde(rename = "max_output_tokens", skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
    /// Length of its vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_dimensions: Option<u64>,
    /// The shortest prompt that is cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache_min_tokens: Option<u64>,
    /// What is listed that it can do.
    pub capabilities: Vec<String>,
    /// Day of its announced retirement, `2027-01-31`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retires_on: Option<String>,
    /// `two-sources`: two independent tables agree on input and output; `one-source`.
    pub confidence: String,
    /// Where and when its figures were read.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// The provider's page that the source cites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub official_page: Option<String>,
    /// Price, made of the figures above; `None`: it is sold in units that are not charged.
    #[serde(skip)]
    pub price: Option<Price>,
}

/// Figures for long prompts, as listed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// They hold above this many tokens of the prompt, cached ones included.
    pub above_input_tokens: u64,
    /// The figures that change.
    pub pico_usd: BTreeMap<String, i64>,
}

/// Where a figure was read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Name of the table.
    pub name: String,
    /// Its day, or the day it was read.
    pub date: String,
}

/// Kinds whose models are listed under another's: a second dialect of the same service.
const LISTED_AS: [(&str, &str); 1] = [("openai_responses", "openai")];

/// All known models.
pub struct Catalogue {
    /// By provider, id and mode.
    entries: Vec<Entry>,
    by_id: HashMap<(String, String), usize>,
}

#[derive(Deserialize)]
struct File {
    models: Vec<Entry>,
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
        let priced = |entry: Entry| Entry { price: price::of(&entry), ..entry };
        let mut entries: Vec<Entry> = file.models.into_iter().map(priced).collect();
        entries.sort_by_key(Entry::key);
        let mut by_id = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            for id in entry.ids() {
                by_id.entry((entry.provider.clone(), id.to_owned())).or_insert(at);
            }
        }
        Self { entries, by_id }
    }

    /// The row of a model, by id or alias. A model of Bedrock's is found behind the prefix of an inference profile (`us.`, `global.`)
    /// too; what a region adds to the price is not listed.
    pub fn find(&self, provider_kind: &str, model: &str) -> Option<&Entry> {
        let provider_kind =
            LISTED_AS.iter().find(|(kind, _)| *kind == provider_kind).map_or(provider_kind, |(_, as_)| as_);
        let of =
            |model: &str| self.by_id.get(&(provider_kind.to_owned(), model.to_owned())).map(|at| &self.entries[*at]);
        of(model).or_else(|| of(without_region(provider_kind, model)?))
    }

    /// Every row, by provider and id.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// Of Bedrock's models: how they are called and from where changes no price.
fn without_region<'a>(provider_kind: &str, model: &'a str) -> Option<&'a str> {
    if let Some(rest) = model.strip_prefix("invoke/").filter(|_| provider_kind == "bedrock") {
        return Some(without_region(provider_kind, rest).unwrap_or(rest));
    }
    const PREFIXES: [&str; 9] = ["us", "us-gov", "eu", "apac", "ap", "jp", "au", "ca", "global"];
    let (prefix, rest) = model.split_once('.').filter(|_| provider_kind == "bedrock")?;
    PREFIXES.contains(&prefix).then_some(rest)
}

impl Entry {
    /// Its id and its aliases.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.model).chain(&self.aliases).map(String::as_str)
    }

    /// Names the row; rows are sorted by it.
    pub fn key(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }

    /// Prices in units that are not tokens, in pico-dollars.
    pub fn unit_price(&self) -> Result<UnitPrice, MoneyError> {
        let figure = |unit: &str| self.other_price.get(unit).map(String::as_str);
        Ok(UnitPrice {
            query_pico_usd: figure("per_query_usd").map(Rates::each).transpose()?,
            audio_second_pico_usd: figure("per_audio_second_usd").map(Rates::each).transpose()?,
            character_pico_usd: figure("per_million_characters_usd").map(Rates::per_million).transpose()?,
        })
    }

    /// The contract's form.
    pub fn to_proto(&self) -> CatalogueModel {
        let count = |n: Option<u64>| n.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        CatalogueModel {
            provider: self.provider.clone(),
            model: self.model.clone(),
            aliases: self.aliases.clone(),
            mode: self.mode.clone(),
            price: self.price.as_ref().map(Price::to_proto),
            unit_price: self.unit_price().ok().filter(|_| !self.other_price.is_empty()),
            context_window: count(self.context_window),
            max_output_tokens: count(self.max_output),
            embedding_dimensions: count(self.embedding_dimensions),
            prompt_cache_min_tokens: count(self.prompt_cache_min_tokens),
            capabilities: self.capabilities.clone(),
            retires_on: self.retires_on.clone().unwrap_or_default(),
            confidence: self.confidence.clone(),
            sources: self.sources.iter().map(|s| FigureSource { name: s.name.clone(), date: s.date.clone() }).collect(),
            official_page: self.official_page.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
