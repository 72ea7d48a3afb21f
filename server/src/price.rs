//! What deployments cost, and which of their models go away: the catalogue, and what the configuration says instead.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use tollgate_domain::{Price, Rates};
use tollgate_providers::catalogue::{self, Tier, Units};

use crate::{
    config::{self, Config},
    table::{listed, name_of},
};

/// So long before its retirement a model is spoken of.
const NOTICE_DAYS: i64 = 30;

/// The price that a deployment is given instead of the catalogue's.
pub(crate) fn build(price: &config::Price) -> anyhow::Result<Price> {
    let base = figures(price)?;
    let each =
        |figure: &Option<String>, name: &'static str| figure.as_deref().map(Rates::each).transpose().context(name);
    let units = Units {
        query: each(&price.per_query, "per_query")?,
        second: each(&price.per_second, "per_second")?,
        audio_second: each(&price.per_audio_second, "per_audio_second")?,
        character: price
            .per_million_characters
            .as_deref()
            .map(Rates::per_million)
            .transpose()
            .context("per_million_characters")?,
    };
    for class in ["input", "output"].into_iter().filter(|_| units == Units::default()) {
        ensure!(base.contains_key(class), "{class}: is required");
    }
    let tier = |(i, tier): (usize, &config::PriceTier)| {
        ensure!(tier.price.tiers.is_empty(), "tiers[{i}].price.tiers: a tier has none of its own");
        ensure!(tier.price.per_query.is_none(), "tiers[{i}].price.per_query: a query costs the same in every tier");
        ensure!(tier.price.per_second.is_none(), "tiers[{i}].price.per_second: a second costs the same in every tier");
        let timed = tier.price.per_audio_second.is_some() || tier.price.per_million_characters.is_some();
        ensure!(!timed, "tiers[{i}].price: sound costs the same in every tier");
        let pico_usd = figures(&tier.price).with_context(|| format!("tiers[{i}].price"))?;
        Ok(Tier { above_input_tokens: tier.above_input_tokens, pico_usd })
    };
    let tiers: Vec<Tier> = price.tiers.iter().enumerate().map(tier).collect::<anyhow::Result<_>>()?;
    if let Some(at) = tiers.windows(2).position(|pair| pair[0].above_input_tokens >= pair[1].above_input_tokens) {
        bail!("tiers[{}].above_input_tokens: must be more than that of the tier before", at + 1);
    }
    Ok(catalogue::price(&base, &tiers, units))
}

fn figures(price: &config::Price) -> anyhow::Result<BTreeMap<String, i64>> {
    let read =
        |(class, text): (&str, &str)| Ok((class.to_owned(), Rates::per_million(text).context(class.to_owned())?));
    price.figures().map(read).collect()
}

/// A line for each deployment whose model has retired, or soon will.
pub(crate) fn retirements(config: &Config, now_us: i64) -> Vec<String> {
    let Ok(now) = Timestamp::from_microsecond(now_us) else { return Vec::new() };
    let today = now.to_zoned(TimeZone::UTC).date();
    let mut warnings = Vec::new();
    for (i, model) in config.models.iter().enumerate() {
        for (j, deployment) in model.deployments.iter().enumerate() {
            let kind = config.providers.get(&deployment.provider).map_or("", |provider| &provider.kind);
            let listed = listed(deployment, kind).ok().flatten();
            let Some(day) = listed.and_then(|entry| entry.retires_on.as_deref()) else { continue };
            let Some(when) = retirement(day, today) else { continue };
            warnings.push(format!(
                "models[{i}] ({:?}).deployments[{j}]: {:?}: {} {:?} {when} {day}",
                model.name,
                name_of(deployment, &model.name),
                deployment.provider,
                deployment.model
            ));
        }
    }
    warnings
}

fn retirement(day: &str, today: Date) -> Option<&'static str> {
    let day: Date = day.parse().ok()?;
    if day <= today {
        return Some("has retired on");
    }
    (day <= today.saturating_add(NOTICE_DAYS.days())).then_some("retires on")
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{NanoUsd, ServiceTier};
    use tollgate_proto::v1::{InputUsage, Usage};

    use super::*;

    fn price(yaml: &str) -> anyhow::Result<Price> {
        build(&serde_yaml_ng::from_str(yaml).unwrap())
    }

    fn refused(yaml: &str) -> String {
        format!("{:#}", price(yaml).unwrap_err())
    }

    fn cost(price: &Price, tier: &str, input: u64) -> NanoUsd {
        let input = Some(InputUsage { total: input, ..Default::default() });
        price.cost(&Usage { input, service_tier_native: Some(tier.into()), ..Default::default() })
    }

    #[test]
    fn an_operator_gives_service_tiers_and_tiers_for_long_prompts() {
        let given = "
            input: '1'
            output: '4'
            priority_input: '2'
            flex_input: '0.5'
            tiers:
              - above_input_tokens: 100
                price: {input: '3', flex_input: '1.5'}
        ";
        let price = price(given).unwrap();
        let cost = |tier, input| cost(&price, tier, input);
        assert_eq!(
            [cost("default", 100), cost("priority", 100), cost("flex", 100)],
            [100_000, 200_000, 50_000].map(NanoUsd)
        );
        // Above: flex as given, priority the dearer of both.
        assert_eq!(
            [cost("default", 200), cost("priority", 200), cost("flex", 200)],
            [600_000, 600_000, 300_000].map(NanoUsd)
        );
        assert_eq!(price.tariff(ServiceTier::Batch), &price.standard);
    }

    #[test]
    fn a_price_that_says_too_little_or_too_much_is_refused_by_the_name_of_its_field() {
        assert!(refused("input: '1'").starts_with("output: is required"));
        assert!(refused("{input: '1', output: '1', flex_output: cheap}").starts_with("flex_output:"));
        let tiers = |first: &str, second: &str| {
            let tier = |above: &str| format!("{{above_input_tokens: {above}, price: {{input: '2'}}}}");
            format!("{{input: '1', output: '1', tiers: [{}, {}]}}", tier(first), tier(second))
        };
        assert!(refused(&tiers("10", "10")).starts_with("tiers[1].above_input_tokens:"));
        assert!(price(&tiers("10", "11")).is_ok());
    }

    #[test]
    fn a_ranking_is_priced_by_the_query() {
        let searched = Usage { search_units: Some(2), ..Default::default() };
        assert_eq!(price("per_query: '0.002'").unwrap().cost(&searched), NanoUsd(4_000_000));
        assert!(refused("per_query: '-1'").starts_with("per_query:"));
        let tier = "{input: '1', output: '1', tiers: [{above_input_tokens: 1, price: {per_query: '1'}}]}";
        assert!(refused(tier).starts_with("tiers[0].price.per_query:"));
    }

    #[test]
    fn time_alone_can_be_a_price() {
        let took = Usage { upstream_us: Some(2_500_000), ..Default::default() };
        assert_eq!(price("per_second: '0.00042'").unwrap().cost(&took), NanoUsd(1_050_000));
        assert!(refused("per_second: soon").starts_with("per_second:"));
        let tier = "{input: '1', output: '1', tiers: [{above_input_tokens: 1, price: {per_second: '1'}}]}";
        assert!(refused(tier).starts_with("tiers[0].price.per_second:"));
    }

    #[test]
    fn another_figure_is_another_version() {
        let version = |yaml| price(yaml).unwrap().version;
        let plain = version("{input: '1', output: '4'}");
        assert_eq!(plain, version("{input: '1.0', output: '4'}"));
        assert_ne!(plain, version("{input: '1', output: '4', priority_output: '8'}"));
        assert_ne!(plain, version("{input: '1', output: '4', per_query: '8'}"));
        let timed = version("{input: '1', output: '4', per_second: '8'}");
        assert!(timed != plain && timed != version("{input: '1', output: '4', per_query: '8'}"));
    }

    #[test]
    fn a_model_is_spoken_of_from_a_month_before_its_retirement() {
        let config: Config = serde_yaml_ng::from_str(
            "
            providers: {o: {kind: openai}}
            models:
              - name: speech
                deployments: [{provider: o, model: gpt-4o-mini-tts, name: tts}]
              - name: chat
                deployments: [{provider: o, model: gpt-4o-mini}]
            ",
        )
        .unwrap();
        let on = |day: &str| {
            let noon = format!("{day}T12:00:00Z").parse::<Timestamp>().unwrap();
            retirements(&config, noon.as_microsecond())
        };
        // It retires on 6 January 2027.
        assert!(on("2026-12-06").is_empty());
        let soon = on("2026-12-07");
        assert_eq!(soon.len(), 1);
        assert!(soon[0].contains("\"tts\"") && soon[0].ends_with("retires on 2027-01-06"), "{soon:?}");
        assert!(on("2027-01-06")[0].ends_with("has retired on 2027-01-06"));
    }
}
