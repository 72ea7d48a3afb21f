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
}

/// Rates that replace the base rates for the whole call once its prompt is longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceTier {
    /// Holds above this many input tokens, cached ones included.
    pub above_input_tokens: u64,
    /// The rates.
    pub rates: Rates,
}

/// What a deployment charges. The hold keeps the version, so that a change never re-prices a call in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// Base rates.
    pub rates: Rates,
    /// Ascending tiers.
    pub tiers: Vec<PriceTier>,
    /// Pico-dollars for a query of a ranking, besides its tokens; `None`: only tokens cost.
    pub per_query: Option<i64>,
    /// Names this price in ledger entries.
    pub version: String,
}

impl Rates {
    /// Reads a figure in dollars per million tokens as pico-dollars per token: the same integer with six digits.
    pub fn per_million(dollars: &str) -> Result<i64, MoneyError> {
        decimal(dollars, 6)
    }

    /// Reads a figure in dollars as pico-dollars.
    pub fn each(dollars: &str) -> Result<i64, MoneyError> {
        decimal(dollars, 12)
    }

    fn pico(&self, input: &InputUsage, output: &OutputUsage) -> i128 {
        // Classes are made disjoint first; parts beyond their total (a provider's slip) never go negative.
        let special_in = [
            (input.cached_read, self.cached_read.unwrap_or(self.input)),
            (input.cache_write_5m, self.cache_write_5m.unwrap_or(self.input)),
            (input.cache_write_1h, self.cache_write_1h.or(self.cache_write_5m).unwrap_or(self.input)),
            (input.audio, self.audio_input.unwrap_or(self.input)),
        ];
        let special_out = [
            (output.reasoning, self.reasoning.unwrap_or(self.output)),
            (output.audio, self.audio_output.unwrap_or(self.output)),
        ];
        class_cost(input.total, &special_in, self.input) + class_cost(output.total, &special_out, self.output)
    }

    fn dearest_input(&self) -> i64 {
        let others = [self.cached_read, self.cache_write_5m, self.cache_write_1h, self.audio_input];
        others.into_iter().flatten().fold(self.input, i64::max)
    }

    fn dearest_output(&self) -> i64 {
        [self.reasoning, self.audio_output].into_iter().flatten().fold(self.output, i64::max)
    }
}

fn class_cost(total: u64, special: &[(u64, i64)], base: i64) -> i128 {
    let parts: u128 = special.iter().map(|(tokens, _)| u128::from(*tokens)).sum();
    let plain = u128::from(total).saturating_sub(parts) as i128;
    plain * i128::from(base)
        + special.iter().map(|(tokens, rate)| i128::from(*tokens) * i128::from(*rate)).sum::<i128>()
}

/// Rounds up, once: so the hold, computed alike from larger counts, is never below the settlement.
fn ceil_nano(pico: i128) -> NanoUsd {
    if tollgate_planted::bug("float_price") {
        return NanoUsd((pico as f64 / 1_000.0).round() as i64);
    }
    let nano = pico.div_euclid(1_000) + i128::from(pico.rem_euclid(1_000) != 0);
    NanoUsd(i64::try_from(nano).unwrap_or(i64::MAX))
}

impl Price {
    fn rates_for(&self, input_tokens: u64) -> &Rates {
        if tollgate_planted::bug("tier_ignored") {
            return &self.rates;
        }
        self.tiers.iter().rev().find(|t| input_tokens > t.above_input_tokens).map_or(&self.rates, |t| &t.rates)
    }

    /// What `usage` costs.
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        let input = usage.input.unwrap_or_default();
        let output = usage.output.unwrap_or_default();
        let tokens = self.rates_for(input.total).pico(&input, &output);
        ceil_nano(tokens.saturating_add(self.pico_of_queries(usage.search_units.unwrap_or(0))))
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
        let reads_cost = self.rates.dearest_input() > 0;
        let has_read = usage.input.is_some_and(|input| input.total > 0);
        (self.per_query.is_none() || usage.search_units.is_some()) && (!reads_cost || has_read)
    }

    /// The most that a call of at most these counts can cost: every class at its dearest, at the dearest tier in reach.
    pub fn worst_case(&self, input_tokens: u64, output_tokens: u64) -> NanoUsd {
        let in_reach = self.tiers.iter().filter(|t| input_tokens > t.above_input_tokens).map(|t| &t.rates);
        let pico = std::iter::once(&self.rates)
            .chain(in_reach)
            .map(|rates| {
                i128::from(input_tokens) * i128::from(rates.dearest_input())
                    + i128::from(output_tokens) * i128::from(rates.dearest_output())
            })
            .max()
            .unwrap_or(0);
        ceil_nano(pico)
    }

    /// The most output tokens with which [`Price::worst_case`] stays within `amount`; all there are where output is free.
    pub fn affordable_output(&self, input_tokens: u64, amount: NanoUsd) -> u64 {
        let in_reach = self.tiers.iter().filter(|t| input_tokens > t.above_input_tokens).map(|t| &t.rates);
        let afforded = std::iter::once(&self.rates).chain(in_reach).map(|rates| {
            let left = i128::from(amount.0) * 1_000 - i128::from(input_tokens) * i128::from(rates.dearest_input());
            match rates.dearest_output() {
                0 if left >= 0 => u64::MAX,
                0 => 0,
                rate => u64::try_from(left.max(0) / i128::from(rate)).unwrap_or(u64::MAX),
            }
        });
        afforded.min().unwrap_or(0)
    }

    /// The contract's form.
    pub fn to_proto(&self) -> v1::Price {
        let price = |rates: &Rates| v1::Price {
            input_pico_usd: rates.input,
            output_pico_usd: rates.output,
            cached_read_pico_usd: rates.cached_read,
            cache_write_5m_pico_usd: rates.cache_write_5m,
            cache_write_1h_pico_usd: rates.cache_write_1h,
            reasoning_pico_usd: rates.reasoning,
            audio_input_pico_usd: rates.audio_input,
            audio_output_pico_usd: rates.audio_output,
            tiers: Vec::new(),
            version: String::new(),
            per_query_pico_usd: None,
        };
        let tiers = self.tiers.iter().map(|t| v1::PriceTier {
            above_input_tokens: i64::try_from(t.above_input_tokens).unwrap_or(i64::MAX),
            price: Some(price(&t.rates)),
        });
        v1::Price {
            tiers: tiers.collect(),
            version: self.version.clone(),
            per_query_pico_usd: self.per_query,
            ..price(&self.rates)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: InputUsage, output: OutputUsage) -> Usage {
        Usage { input: Some(input), output: Some(output), ..Usage::default() }
    }

    fn mini() -> Price {
        Price {
            rates: Rates { input: 150_000, output: 600_000, cached_read: Some(75_000), ..Rates::default() },
            ..Price::default()
        }
    }

    #[test]
    fn classes_are_priced_apart_and_rounded_up_once() {
        let used = usage(
            InputUsage { total: 1_001, cached_read: 1_000, ..InputUsage::default() },
            OutputUsage { total: 1, ..OutputUsage::default() },
        );
        // 1 x 150,000 + 1,000 x 75,000 + 1 x 600,000 pico = 75,750 nano.
        assert_eq!(mini().cost(&used), NanoUsd(75_750));
        let tiny = Price { rates: Rates { input: 1, ..Rates::default() }, ..Price::default() };
        assert_eq!(
            tiny.cost(&usage(InputUsage { total: 1, ..Default::default() }, OutputUsage::default())),
            NanoUsd(1)
        );
    }

    #[test]
    fn a_long_prompt_moves_the_whole_call_to_its_tier() {
        let mut price = mini();
        price.tiers = vec![PriceTier {
            above_input_tokens: 100,
            rates: Rates { input: 300_000, output: 1_200_000, ..Default::default() },
        }];
        let long =
            usage(InputUsage { total: 101, ..Default::default() }, OutputUsage { total: 10, ..Default::default() });
        assert_eq!(price.cost(&long), NanoUsd((101 * 300_000 + 10 * 1_200_000) / 1_000));
        let short =
            usage(InputUsage { total: 100, ..Default::default() }, OutputUsage { total: 10, ..Default::default() });
        assert_eq!(price.cost(&short), NanoUsd((100 * 150_000 + 10 * 600_000) / 1_000));
    }

    #[test]
    fn the_worst_case_is_never_below_any_cost_within_its_bounds() {
        let mut price = mini();
        price.rates.cache_write_5m = Some(187_500);
        price.rates.reasoning = Some(700_000);
        price.tiers = vec![PriceTier {
            above_input_tokens: 50,
            rates: Rates { input: 100_000, output: 900_000, ..Default::default() },
        }];
        for input in [0u64, 1, 49, 50, 51, 200] {
            for output in [0u64, 1, 77] {
                let hold = price.worst_case(200, 77);
                for cached in [0, input] {
                    let used = usage(
                        InputUsage { total: input, cache_write_5m: cached, ..Default::default() },
                        OutputUsage { total: output, reasoning: output, ..Default::default() },
                    );
                    assert!(price.cost(&used) <= hold, "{used:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_affordable_is_exactly_what_the_worst_case_allows() {
        let mut price = mini();
        price.tiers = vec![PriceTier {
            above_input_tokens: 50,
            rates: Rates { input: 100_000, output: 900_001, ..Default::default() },
        }];
        for (input, amount) in [(0, 10_000), (50, 99_999), (51, 99_999), (100, 15_000), (1_000, 1)] {
            let output = price.affordable_output(input, NanoUsd(amount));
            let within = |output| price.worst_case(input, output) <= NanoUsd(amount);
            assert!(output == 0 || within(output), "{input} {amount}");
            assert!(!within(output + 1), "{input} {amount}");
        }
    }

    #[test]
    fn queries_cost_besides_tokens_and_never_more_than_was_held_for_them() {
        let price = Price { per_query: Rates::each("0.0025").ok(), ..Price::default() };
        let searched = Usage { search_units: Some(3), ..Usage::default() };
        assert_eq!(price.cost(&searched), NanoUsd(7_500_000));
        assert_eq!(price.queries(3), NanoUsd(7_500_000));
        // A thousandth of a nano-dollar and a token of as much: rounded up once, held as two.
        let tiny = Price { rates: Rates { input: 1, ..Rates::default() }, per_query: Some(1), ..Price::default() };
        let read = InputUsage { total: 1, ..InputUsage::default() };
        let used = Usage { search_units: Some(1), ..usage(read, OutputUsage::default()) };
        assert_eq!(tiny.cost(&used), NanoUsd(1));
        assert_eq!(NanoUsd(tiny.worst_case(1, 0).0 + tiny.queries(1).0), NanoUsd(2));
        assert!(tiny.is_told_by(&used) && !tiny.is_told_by(&searched));
        assert!(price.is_told_by(&searched) && !price.is_told_by(&usage(read, OutputUsage::default())));
    }

    #[test]
    fn list_prices_are_whole_pico_dollars() {
        assert_eq!(Rates::per_million("0.15"), Ok(150_000));
        assert_eq!(Rates::per_million("0.003625"), Ok(3_625));
    }
}
