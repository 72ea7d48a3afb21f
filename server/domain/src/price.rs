use std::collections::BTreeMap;

use tollgate_proto::v1::{self, InputUsage, OutputUsage, Usage};

use crate::{
    NanoUsd,
    money::{MoneyError, decimal},
};

/// Pico-dollars per token, by class. A class without a figure costs as the class it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Fresh input.
    pub input: i64,
    /// Output.
    pub output: i64,
    /// Input read from the provider's cache.
    pub cached_read: Option<i64>,
    /// Input written to a five-minute cache.
    pub cache_write_5m: Option<i64>,
    /// Input written to a one-hour cache.
    pub cache_write_1h: Option<i64>,
    /// Reasoning.
    pub reasoning: Option<i64>,
    /// Audio input.
    pub audio_input: Option<i64>,
    /// Audio output.
    pub audio_output: Option<i64>,
    /// Audio input read from the provider's cache; without a figure as `cached_read`.
    pub audio_cached_read: Option<i64>,
    /// Image input.
    pub image_input: Option<i64>,
    /// Image output.
    pub image_output: Option<i64>,
}

/// Rates that replace the base rates for the whole call once its prompt is longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceTier {
    /// Holds above this many input tokens, cached ones included.
    pub above_input_tokens: u64,
    /// The rates.
    pub rates: Rates,
}

/// What one service tier charges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tariff {
    /// Base rates.
    pub rates: Rates,
    /// Rates for longer prompts, ascending.
    pub tiers: Vec<PriceTier>,
}

/// What a deployment charges. The hold keeps the version, so that a change never re-prices a call in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// Where the provider does not say that another service tier served the call.
    pub standard: Tariff,
    /// Other service tiers; one that is not listed costs as the standard one.
    pub service: BTreeMap<ServiceTier, Tariff>,
    /// Pico-dollars for a query of a ranking, besides its tokens; `None`: only tokens cost.
    pub per_query: Option<i64>,
    /// Pico-dollars for a second of an attempt, besides its tokens; `None`: time costs nothing.
    pub per_second: Option<i64>,
    /// Pico-dollars for a second of sound that is listened to, where the provider counts no tokens.
    pub per_audio_second: Option<i64>,
    /// Pico-dollars for a character that is spoken, besides tokens.
    pub per_character: Option<i64>,
    /// Names this price in ledger entries.
    pub version: String,
}

/// What of a provider's capacity serves a call: the tiers that have a price of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ServiceTier {
    /// On demand.
    Standard,
    /// Slower, cheaper, not always there.
    Flex,
    /// Faster, dearer.
    Priority,
    /// Some time later.
    Batch,
}

impl ServiceTier {
    /// The tier that a provider's word for it means: `service_tier` of OpenAI, Groq and Anthropic, `trafficType` of Vertex. What is not
    /// known (`default`, `on_demand`, `scale`, `provisioned_throughput`, ...) has no price of its own and costs as the standard one.
    pub fn named(native: &str) -> Self {
        let word = native.to_ascii_lowercase();
        match word.strip_prefix("on_demand_").unwrap_or(&word) {
            "flex" => Self::Flex,
            // OpenAI's `fast` is listed nowhere by itself; who asks to be served faster pays for it.
            "priority" | "fast" => Self::Priority,
            "batch" => Self::Batch,
            _ => Self::Standard,
        }
    }

    /// The tiers that may serve a call which asks for this: a provider may always fall back to the standard one, and `auto` leaves the
    /// choice to it.
    pub fn reachable(asked: Option<&str>) -> &'static [Self] {
        match asked.map_or(Self::Standard, Self::named) {
            Self::Standard if asked.is_some_and(|word| word.eq_ignore_ascii_case("auto")) => {
                &[Self::Standard, Self::Flex, Self::Priority]
            }
            Self::Standard => &[Self::Standard],
            Self::Flex => &[Self::Standard, Self::Flex],
            Self::Priority => &[Self::Standard, Self::Priority],
            Self::Batch => &[Self::Standard, Self::Batch],
        }
    }

    /// Its name in prices: `standard`, `flex`, `priority`, `batch`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Rates {
    /// Reads a figure in dollars per million tokens as pico-dollars per token: the same integer with six digits.
    pub fn per_million(dollars: &str) -> Result<i64, MoneyError> {
        decimal(dollars, 6)
    }

    /// Reads a figure in dollars as pico-dollars: the integer with twelve digits.
    pub fn each(dollars: &str) -> Result<i64, MoneyError> {
        decimal(dollars, 12)
    }

    fn pico(&self, input: &InputUsage, output: &OutputUsage) -> i128 {
        let cached_read = self.cached_read.unwrap_or(self.input);
        let audio_cached = input.audio_cached.min(input.audio).min(input.cached_read);
        let special_in = [
            (audio_cached, self.audio_cached_read.unwrap_or(cached_read)),
            (input.cached_read - audio_cached, cached_read),
            (input.cache_write_5m, self.cache_write_5m.unwrap_or(self.input)),
            (input.cache_write_1h, self.cache_write_1h.or(self.cache_write_5m).unwrap_or(self.input)),
            (input.audio - audio_cached, self.audio_input.unwrap_or(self.input)),
            (input.image, self.image_input.unwrap_or(self.input)),
        ];
        let special_out = [
            (output.reasoning, self.reasoning.unwrap_or(self.output)),
            (output.audio, self.audio_output.unwrap_or(self.output)),
            (output.image, self.image_output.unwrap_or(self.output)),
        ];
        class_cost(input.total, &special_in, self.input) + class_cost(output.total, &special_out, self.output)
    }

    fn dearest_input(&self) -> i64 {
        let others = [
            self.cached_read,
            self.cache_write_5m,
            self.cache_write_1h,
            self.audio_input,
            self.audio_cached_read,
            self.image_input,
        ];
        others.into_iter().flatten().fold(self.input, i64::max)
    }

    fn dearest_output(&self) -> i64 {
        [self.reasoning, self.audio_output, self.image_output].into_iter().flatten().fold(self.output, i64::max)
    }

    /// The contract's form.
    pub fn to_proto(&self) -> v1::Price {
        v1::Price {
            input_pico_usd: self.input,
            output_pico_usd: self.output,
            cached_read_pico_usd: self.cached_read,
            cache_write_5m_pico_usd: self.cache_write_5m,
            cache_write_1h_pico_usd: self.cache_write_1h,
            reasoning_pico_usd: self.reasoning,
            audio_input_pico_usd: self.audio_input,
            audio_output_pico_usd: self.audio_output,
            audio_cached_read_pico_usd: self.audio_cached_read,
            image_input_pico_usd: self.image_input,
            image_output_pico_usd: self.image_output,
            ..v1::Price::default()
        }
    }
}

impl From<&v1::Price> for Rates {
    fn from(price: &v1::Price) -> Self {
        Self {
            input: price.input_pico_usd,
            output: price.output_pico_usd,
            cached_read: price.cached_read_pico_usd,
            cache_write_5m: price.cache_write_5m_pico_usd,
            cache_write_1h: price.cache_write_1h_pico_usd,
            reasoning: price.reasoning_pico_usd,
            audio_input: price.audio_input_pico_usd,
            audio_output: price.audio_output_pico_usd,
            audio_cached_read: price.audio_cached_read_pico_usd,
            image_input: price.image_input_pico_usd,
            image_output: price.image_output_pico_usd,
        }
    }
}

impl From<&v1::Price> for Tariff {
    fn from(price: &v1::Price) -> Self {
        let tiers = price.tiers.iter().map(|tier| PriceTier {
            above_input_tokens: u64::try_from(tier.above_input_tokens).unwrap_or_default(),
            rates: tier.price.as_ref().map(Rates::from).unwrap_or_default(),
        });
        Self { rates: price.into(), tiers: tiers.collect() }
    }
}

impl From<&v1::Price> for Price {
    /// The price that [`Price::to_proto`] wrote.
    fn from(price: &v1::Price) -> Self {
        let service = price
            .service_tiers
            .iter()
            .filter_map(|tier| Some((ServiceTier::named(&tier.tier), Tariff::from(tier.price.as_ref()?))));
        Self {
            standard: price.into(),
            service: service.collect(),
            per_query: price.per_query_pico_usd,
            per_second: price.per_second_pico_usd,
            per_audio_second: price.per_audio_second_pico_usd,
            per_character: price.per_character_pico_usd,
            version: price.version.clone(),
        }
    }
}

/// Classes are disjoint. Parts beyond their total (a provider's slip, or classes that it counts twice) are left out: what is charged is
/// never more tokens than there were.
fn class_cost(total: u64, special: &[(u64, i64)], base: i64) -> i128 {
    let mut plain = total;
    let mut cost = 0;
    for (tokens, rate) in special {
        let tokens = plain.min(*tokens);
        plain -= tokens;
        cost += i128::from(tokens) * i128::from(*rate);
    }
    cost + i128::from(plain) * i128::from(base)
}

/// Rounds up, once: so the hold, computed alike from larger counts, is never below the settlement.
fn ceil_nano(pico: i128) -> NanoUsd {
    if tollgate_planted::bug("float_price") {
        return NanoUsd((pico as f64 / 1_000.0).round() as i64);
    }
    let nano = pico.div_euclid(1_000) + i128::from(pico.rem_euclid(1_000) != 0);
    NanoUsd(i64::try_from(nano).unwrap_or(i64::MAX))
}

impl Tariff {
    /// The same for prompts of every length.
    pub fn flat(rates: Rates) -> Self {
        Self { rates, tiers: Vec::new() }
    }

    fn rates_for(&self, input_tokens: u64) -> &Rates {
        if tollgate_planted::bug("tier_ignored") {
            return &self.rates;
        }
        self.tiers.iter().rev().find(|t| input_tokens > t.above_input_tokens).map_or(&self.rates, |t| &t.rates)
    }

    /// The rates of every prompt of at most so many tokens.
    fn in_reach(&self, input_tokens: u64) -> impl Iterator<Item = &Rates> {
        let longer = self.tiers.iter().filter(move |t| input_tokens > t.above_input_tokens).map(|t| &t.rates);
        std::iter::once(&self.rates).chain(longer)
    }

    fn to_proto(&self) -> v1::Price {
        let tiers = self.tiers.iter().map(|t| v1::PriceTier {
            above_input_tokens: i64::try_from(t.above_input_tokens).unwrap_or(i64::MAX),
            price: Some(t.rates.to_proto()),
        });
        v1::Price { tiers: tiers.collect(), ..self.rates.to_proto() }
    }
}

impl Price {
    /// One rate for everything, without a version.
    pub fn flat(rates: Rates) -> Self {
        Self { standard: Tariff::flat(rates), ..Self::default() }
    }

    /// What a service tier charges.
    pub fn tariff(&self, tier: ServiceTier) -> &Tariff {
        self.service.get(&tier).unwrap_or(&self.standard)
    }

    /// What `usage` costs at the service tier that it names.
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        let input = usage.input.unwrap_or_default();
        let output = usage.output.unwrap_or_default();
        let tariff = self.tariff(ServiceTier::named(usage.service_tier_native()));
        let tokens = tariff.rates_for(input.total).pico(&input, &output);
        // Sound whose tokens have a price is not paid by its length as well.
        let by_tokens = (input.total > 0 || output.total > 0) && self.tokens_cost();
        let heard = if by_tokens { 0 } else { usage.audio_ms() };
        let others = self.pico_of_queries(usage.search_units.unwrap_or(0))
            + self.pico_of_time(usage.upstream_us.unwrap_or(0))
            + self.pico_of_sound(heard)
            + self.pico_of_characters(usage.characters());
        ceil_nano(tokens.saturating_add(others))
    }

    /// Rounded up to the pico-dollar, so that no moment is free.
    fn pico_of_time(&self, us: u64) -> i128 {
        let millionths = i128::from(us) * i128::from(self.per_second.unwrap_or(0));
        millionths.div_euclid(1_000_000) + i128::from(millionths.rem_euclid(1_000_000) != 0)
    }

    /// What so many microseconds cost, besides their tokens.
    pub fn time(&self, us: u64) -> NanoUsd {
        ceil_nano(self.pico_of_time(us))
    }

    fn pico_of_sound(&self, audio_ms: u64) -> i128 {
        let pico = i128::from(audio_ms) * i128::from(self.per_audio_second.unwrap_or(0));
        // Up, as all that is rounded.
        pico.div_euclid(1_000) + i128::from(pico.rem_euclid(1_000) != 0)
    }

    fn pico_of_characters(&self, characters: u64) -> i128 {
        i128::from(characters) * i128::from(self.per_character.unwrap_or(0))
    }

    /// What so much sound costs where it is paid by its length.
    pub fn sound(&self, audio_ms: u64) -> NanoUsd {
        ceil_nano(self.pico_of_sound(audio_ms))
    }

    /// What so many characters cost, besides tokens.
    pub fn characters(&self, characters: u64) -> NanoUsd {
        ceil_nano(self.pico_of_characters(characters))
    }

    /// Whether `usage`, of something that listens, tells what costs: tokens where these have a price, else the time.
    pub fn is_heard_by(&self, usage: &Usage) -> bool {
        let has_tokens = usage.input.is_some_and(|input| input.total > 0);
        match self.per_audio_second {
            Some(_) if has_tokens && self.tokens_cost() => true,
            Some(_) => usage.audio_ms.is_some(),
            None => has_tokens || !self.tokens_cost(),
        }
    }

    fn tokens_cost(&self) -> bool {
        self.standard.rates.dearest_input() > 0 || self.standard.rates.dearest_output() > 0
    }

    fn pico_of_queries(&self, queries: u64) -> i128 {
        i128::from(queries) * i128::from(self.per_query.unwrap_or(0))
    }

    /// What so many queries cost, besides their tokens.
    pub fn queries(&self, queries: u64) -> NanoUsd {
        ceil_nano(self.pico_of_queries(queries))
    }

    /// Whether `usage`, of a ranking, tells everything that costs.
    pub fn is_told_by(&self, usage: &Usage) -> bool {
        let reads_cost = self.standard.rates.dearest_input() > 0;
        let has_read = usage.input.is_some_and(|input| input.total > 0);
        (self.per_query.is_none() || usage.search_units.is_some()) && (!reads_cost || has_read)
    }

    /// The most that a call of at most these counts can cost at these service tiers: every class at its dearest, prompts of every length
    /// in reach.
    pub fn worst_case(&self, input_tokens: u64, output_tokens: u64, served_at: &[ServiceTier]) -> NanoUsd {
        let costs = self.in_reach(input_tokens, served_at).map(|rates| {
            i128::from(input_tokens) * i128::from(rates.dearest_input())
                + i128::from(output_tokens) * i128::from(rates.dearest_output())
        });
        ceil_nano(costs.max().unwrap_or(0))
    }

    /// The most output tokens with which [`Price::worst_case`] stays within `amount`; all there are where output is free.
    pub fn affordable_output(&self, input_tokens: u64, amount: NanoUsd, served_at: &[ServiceTier]) -> u64 {
        let afforded = self.in_reach(input_tokens, served_at).map(|rates| {
            let left = i128::from(amount.0) * 1_000 - i128::from(input_tokens) * i128::from(rates.dearest_input());
            match rates.dearest_output() {
                0 if left >= 0 => u64::MAX,
                0 => 0,
                rate => u64::try_from(left.max(0) / i128::from(rate)).unwrap_or(u64::MAX),
            }
        });
        afforded.min().unwrap_or(0)
    }

    fn in_reach(&self, input_tokens: u64, served_at: &[ServiceTier]) -> impl Iterator<Item = &Rates> {
        served_at.iter().flat_map(move |tier| self.tariff(*tier).in_reach(input_tokens))
    }

    /// The contract's form.
    pub fn to_proto(&self) -> v1::Price {
        let service_tiers = self.service.iter().map(|(tier, tariff)| v1::ServiceTierPrice {
            tier: tier.name().to_owned(),
            price: Some(tariff.to_proto()),
        });
        v1::Price {
            service_tiers: service_tiers.collect(),
            version: self.version.clone(),
            per_query_pico_usd: self.per_query,
            per_second_pico_usd: self.per_second,
            per_audio_second_pico_usd: self.per_audio_second,
            per_character_pico_usd: self.per_character,
            ..self.standard.to_proto()
        }
    }
}

#[cfg(test)]
mod tests;
