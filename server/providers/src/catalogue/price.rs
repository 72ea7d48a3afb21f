//! From listed figures to a price: which figure holds for which class, prompt length and service tier.
//!
//! A long prompt and a service tier list only what they change. What they do not list stays, with two exceptions. A class that is listed
//! at the very figure of the class it belongs to (reasoning as output) is no class of its own and follows it. And where a long prompt is
//! served at a service tier for which the sources give no figure of both together, the dearer of the two holds.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use tollgate_domain::{Price, PriceTier, Rates, ServiceTier, Tariff};
use tollgate_proto::v1::UnitPrice;

use super::{Entry, Tier};

/// Pico-dollars per token by class, as listed.
type Figures = BTreeMap<String, i64>;

/// Classes that may have a figure for a service tier of their own.
const SERVED: [&str; 3] = ["input", "output", "cached_read"];
/// Classes, and the one that each belongs to.
const BELONGS: [(&str, &str); 9] = [
    ("cached_read", "input"),
    ("cache_write_5m", "input"),
    ("cache_write_1h", "input"),
    ("audio_input", "input"),
    ("audio_cached_read", "cached_read"),
    ("image_input", "input"),
    ("reasoning", "output"),
    ("audio_output", "output"),
    ("image_output", "output"),
];

/// The price of an entry; `None`: it is sold in units that are not charged.
pub(super) fn of(entry: &Entry) -> Option<Price> {
    let base = &entry.pico_usd;
    let units = entry.unit_price().ok().map(Units::from).unwrap_or_default();
    // A model whose output is sold in other units (seconds) has no price per token that would hold.
    let writes = base.contains_key("output") || base.contains_key("image_output") || entry.mode == "embedding";
    let sold_otherwise = !entry.other_price.is_empty() && base.values().all(|figure| *figure == 0);
    let by_token = base.contains_key("input") && writes && !sold_otherwise;
    (by_token || units != Units::default()).then(|| price(base, &entry.tiers, units))
}

/// Figures in units that are not tokens, in pico-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// A query of a ranking.
    pub query: Option<i64>,
    /// A second of an attempt.
    pub second: Option<i64>,
    /// A second of sound that is listened to.
    pub audio_second: Option<i64>,
    /// A character that is spoken.
    pub character: Option<i64>,
}

impl From<UnitPrice> for Units {
    fn from(price: UnitPrice) -> Self {
        Self {
            query: price.query_pico_usd,
            second: None,
            audio_second: price.audio_second_pico_usd,
            character: price.character_pico_usd,
        }
    }
}

/// The price that listed figures make: pico-dollars per token by class, those that change for long prompts, and those of other
/// units.
pub fn price(base: &Figures, tiers: &[Tier], units: Units) -> Price {
    let service = [ServiceTier::Flex, ServiceTier::Priority, ServiceTier::Batch].into_iter();
    let service = service.filter(|tier| SERVED.iter().any(|class| base.contains_key(&listed_as(*tier, class))));
    Price {
        standard: tariff(base, tiers, None),
        service: service.map(|tier| (tier, tariff(base, tiers, Some(tier)))).collect(),
        per_query: units.query,
        per_second: units.second,
        per_audio_second: units.audio_second,
        per_character: units.character,
        version: version(base, tiers, units),
    }
}

/// Names the figures: whatever changes one of them makes another price.
fn version(base: &Figures, tiers: &[Tier], units: Units) -> String {
    let tiers: Vec<_> = tiers.iter().map(|t| (t.above_input_tokens, &t.pico_usd)).collect();
    let named = [
        (units.query, "query"),
        (units.second, "second"),
        (units.audio_second, "second of sound"),
        (units.character, "character"),
    ];
    let named = named.iter().filter_map(|(figure, unit)| figure.map(|figure| format!(" {figure} a {unit}")));
    let units: String = named.collect();
    let digest = Sha256::digest(format!("{base:?} {tiers:?}{units}").as_bytes());
    digest[..6].iter().map(|b| format!("{b:02x}")).collect()
}

fn listed_as(tier: ServiceTier, class: &str) -> String {
    format!("{}_{class}", tier.name())
}

fn tariff(listed: &Figures, tiers: &[Tier], service: Option<ServiceTier>) -> Tariff {
    let base = distinct(listed);
    let long = tiers.iter().map(|long| {
        let mut figures = base.clone();
        figures.extend(long.pico_usd.iter().map(|(class, figure)| (class.clone(), *figure)));
        if let Some(tier) = service {
            serve_long(&mut figures, listed, &long.pico_usd, tier);
        }
        PriceTier { above_input_tokens: long.above_input_tokens, rates: rates(&figures) }
    });
    let tiers = long.collect();
    let mut figures = base.clone();
    if let Some(tier) = service {
        let served = |class: &&str| Some(((*class).to_owned(), *listed.get(&listed_as(tier, class))?));
        figures.extend(SERVED.iter().filter_map(served));
    }
    Tariff { rates: rates(&figures), tiers }
}

/// A long prompt at a service tier: as listed for both together, else the dearer of both.
fn serve_long(figures: &mut Figures, base: &Figures, long: &Figures, tier: ServiceTier) {
    for class in SERVED {
        let name = listed_as(tier, class);
        let dearer = || base.get(&name).map(|served| long.get(class).map_or(*served, |long| *served.max(long)));
        if let Some(figure) = long.get(&name).copied().or_else(dearer) {
            figures.insert(class.to_owned(), figure);
        }
    }
}

/// Without classes that cost as the class they belong to.
fn distinct(listed: &Figures) -> Figures {
    let mut figures = listed.clone();
    for (class, parent) in BELONGS {
        if figures.contains_key(class) && listed.get(class) == listed.get(parent) {
            figures.remove(class);
        }
    }
    figures
}

fn rates(figures: &Figures) -> Rates {
    let figure = |name: &str| figures.get(name).copied();
    Rates {
        input: figure("input").unwrap_or(0),
        // What writes nothing but images lists no other output.
        output: figure("output").or_else(|| figure("image_output")).unwrap_or(0),
        cached_read: figure("cached_read"),
        cache_write_5m: figure("cache_write_5m"),
        cache_write_1h: figure("cache_write_1h"),
        reasoning: figure("reasoning"),
        audio_input: figure("audio_input"),
        audio_output: figure("audio_output"),
        audio_cached_read: figure("audio_cached_read"),
        image_input: figure("image_input"),
        image_output: figure("image_output"),
    }
}
