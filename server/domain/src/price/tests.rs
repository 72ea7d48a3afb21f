use proptest::prelude::*;

use super::*;

const STANDARD: &[ServiceTier] = &[ServiceTier::Standard];

fn usage(input: InputUsage, output: OutputUsage) -> Usage {
    Usage { input: Some(input), output: Some(output), ..Usage::default() }
}

fn plain(input: u64, output: u64) -> Usage {
    usage(InputUsage { total: input, ..Default::default() }, OutputUsage { total: output, ..Default::default() })
}

fn mini() -> Price {
    Price::flat(Rates { input: 150_000, output: 600_000, cached_read: Some(75_000), ..Rates::default() })
}

fn above(above_input_tokens: u64, input: i64, output: i64) -> PriceTier {
    PriceTier { above_input_tokens, rates: Rates { input, output, ..Default::default() } }
}

#[test]
fn classes_are_priced_apart_and_rounded_up_once() {
    let used = usage(
        InputUsage { total: 1_001, cached_read: 1_000, ..InputUsage::default() },
        OutputUsage { total: 1, ..OutputUsage::default() },
    );
    // 1 x 150,000 + 1,000 x 75,000 + 1 x 600,000 pico = 75,750 nano.
    assert_eq!(mini().cost(&used), NanoUsd(75_750));
    let tiny = Price::flat(Rates { input: 1, ..Rates::default() });
    assert_eq!(tiny.cost(&plain(1, 0)), NanoUsd(1));
}

#[test]
fn audio_and_images_are_taken_out_of_the_text_and_cached_audio_out_of_both() {
    let price = Price::flat(Rates {
        input: 1_000,
        output: 2_000,
        cached_read: Some(100),
        audio_input: Some(7_000),
        audio_cached_read: Some(700),
        audio_output: Some(20_000),
        image_input: Some(3_000),
        image_output: Some(30_000),
        ..Rates::default()
    });
    // 10 plain, 20 cached text, 5 cached audio, 15 fresh audio, 50 of images.
    let input =
        InputUsage { total: 100, cached_read: 25, audio: 20, audio_cached: 5, image: 50, ..InputUsage::default() };
    let output = OutputUsage { total: 10, audio: 3, image: 4, ..OutputUsage::default() };
    let input_nano = 10 + 20 / 10 + 5 * 7 / 10 + 15 * 7 + 50 * 3 + 1; // half a nano-dollar is rounded up
    assert_eq!(price.cost(&usage(input, output)), NanoUsd(input_nano + 3 * 2 + 3 * 20 + 4 * 30));
}

#[test]
fn a_long_prompt_moves_the_whole_call_to_its_tier() {
    let mut price = mini();
    price.standard.tiers = vec![above(100, 300_000, 1_200_000)];
    assert_eq!(price.cost(&plain(101, 10)), NanoUsd((101 * 300_000 + 10 * 1_200_000) / 1_000));
    assert_eq!(price.cost(&plain(100, 10)), NanoUsd((100 * 150_000 + 10 * 600_000) / 1_000));
}

#[test]
fn the_service_tier_that_served_decides_not_the_one_that_was_asked_for() {
    let mut price = mini();
    price.service.insert(ServiceTier::Priority, Tariff::flat(Rates { input: 300_000, ..Rates::default() }));
    let served_by =
        |word: Option<&str>| price.cost(&Usage { service_tier_native: word.map(str::to_owned), ..plain(1_000, 0) });
    assert_eq!(served_by(Some("priority")), NanoUsd(300_000));
    assert_eq!(served_by(Some("ON_DEMAND_PRIORITY")), NanoUsd(300_000));
    for standard in [None, Some("default"), Some("standard"), Some("on_demand"), Some("ON_DEMAND"), Some("scale")] {
        assert_eq!(served_by(standard), NanoUsd(150_000), "{standard:?}");
    }
    // Not listed: as the standard one.
    assert_eq!(served_by(Some("flex")), NanoUsd(150_000));
}

#[test]
fn only_who_asks_for_a_dearer_service_tier_has_it_held() {
    let mut price = mini();
    price.service.insert(ServiceTier::Priority, Tariff::flat(Rates { input: 300_000, ..Rates::default() }));
    price.service.insert(ServiceTier::Flex, Tariff::flat(Rates { input: 75_000, ..Rates::default() }));
    let held = |asked| price.worst_case(1_000, 0, ServiceTier::reachable(asked));
    assert_eq!(held(Some("priority")), NanoUsd(300_000));
    assert_eq!(held(Some("auto")), NanoUsd(300_000));
    for standard in [None, Some("default"), Some("standard_only"), Some("flex")] {
        assert_eq!(held(standard), NanoUsd(150_000), "{standard:?}");
    }
}

#[test]
fn what_is_affordable_is_exactly_what_the_worst_case_allows() {
    let mut price = mini();
    price.standard.tiers = vec![above(50, 100_000, 900_001)];
    for (input, amount) in [(0, 10_000), (50, 99_999), (51, 99_999), (100, 15_000), (1_000, 1)] {
        let output = price.affordable_output(input, NanoUsd(amount), STANDARD);
        let within = |output| price.worst_case(input, output, STANDARD) <= NanoUsd(amount);
        assert!(output == 0 || within(output), "{input} {amount}");
        assert!(!within(output + 1), "{input} {amount}");
    }
}

#[test]
fn list_prices_are_whole_pico_dollars() {
    assert_eq!(Rates::per_million("0.15"), Ok(150_000));
    assert_eq!(Rates::per_million("0.003625"), Ok(3_625));
}

fn rates() -> impl Strategy<Value = Rates> {
    let figure = 0..10_000_000i64;
    let maybe = || proptest::option::of(0..10_000_000i64);
    (figure.clone(), figure, proptest::array::uniform9(maybe())).prop_map(
        |(input, output, [a, b, c, d, e, f, g, h, i])| Rates {
            input,
            output,
            cached_read: a,
            cache_write_5m: b,
            cache_write_1h: c,
            reasoning: d,
            audio_input: e,
            audio_output: f,
            audio_cached_read: g,
            image_input: h,
            image_output: i,
        },
    )
}

fn tariff() -> impl Strategy<Value = Tariff> {
    (rates(), proptest::collection::btree_map(0..300u64, rates(), 0..3)).prop_map(|(rates, tiers)| {
        let tier = |(above_input_tokens, rates)| PriceTier { above_input_tokens, rates };
        Tariff { rates, tiers: tiers.into_iter().map(tier).collect() }
    })
}

/// Any counts: parts may be larger than their total.
fn any_usage() -> impl Strategy<Value = Usage> {
    (proptest::array::uniform7(0..400u64), proptest::array::uniform4(0..100u64)).prop_map(|(i, o)| {
        let input = InputUsage {
            total: i[0],
            cached_read: i[1],
            cache_write_5m: i[2],
            cache_write_1h: i[3],
            audio: i[4],
            audio_cached: i[5],
            image: i[6],
        };
        usage(input, OutputUsage { total: o[0], reasoning: o[1], audio: o[2], image: o[3] })
    })
}

proptest! {
    #[test]
    fn the_worst_case_is_never_below_any_cost_within_its_bounds(
        standard in tariff(),
        service in proptest::collection::btree_map(
            prop_oneof![Just(ServiceTier::Flex), Just(ServiceTier::Priority), Just(ServiceTier::Batch)],
            tariff(),
            0..4,
        ),
        used in any_usage(),
        asked in prop_oneof![Just(None), Just(Some("auto")), Just(Some("flex")), Just(Some("priority")), Just(Some("batch"))],
        more in (0..100u64, 0..100u64, 0..10_000_000u64),
        (per_second, took_us) in (proptest::option::of(0..10_000_000_000i64), 0..10_000_000u64),
    ) {
        let price = Price { standard, service, per_second, ..Price::default() };
        let used = Usage { upstream_us: Some(took_us), ..used };
        let reachable = ServiceTier::reachable(asked);
        let (input, output) = (used.input.unwrap_or_default().total, used.output.unwrap_or_default().total);
        let tokens = price.worst_case(input + more.0, output + more.1, reachable);
        let hold = NanoUsd(tokens.0 + price.time(took_us + more.2).0);
        for tier in reachable {
            let served = Usage { service_tier_native: Some(tier.name().to_owned()), ..used.clone() };
            prop_assert!(price.cost(&served) <= hold, "{served:?}");
        }
    }
}

#[test]
fn queries_cost_besides_tokens_and_never_more_than_was_held_for_them() {
    let price = Price { per_query: Rates::each("0.0025").ok(), ..Price::default() };
    let searched = Usage { search_units: Some(3), ..Usage::default() };
    assert_eq!(price.cost(&searched), NanoUsd(7_500_000));
    assert_eq!(price.queries(3), NanoUsd(7_500_000));
    // A thousandth of a nano-dollar and a token of as much: rounded up once, held as two.
    let tiny = Price { per_query: Some(1), ..Price::flat(Rates { input: 1, ..Rates::default() }) };
    let used = Usage { search_units: Some(1), ..plain(1, 0) };
    assert_eq!(tiny.cost(&used), NanoUsd(1));
    assert_eq!(NanoUsd(tiny.worst_case(1, 0, STANDARD).0 + tiny.queries(1).0), NanoUsd(2));
    assert!(tiny.is_told_by(&used) && !tiny.is_told_by(&searched));
    assert!(price.is_told_by(&searched) && !price.is_told_by(&plain(1, 0)));
}

#[test]
fn time_costs_by_the_microsecond_rounded_up_once() {
    // 0.00042 dollars a second, as a server rented for about one and a half dollars an hour.
    let price = Price { per_second: Rates::each("0.00042").ok(), ..Price::default() };
    let took = |us| Usage { upstream_us: Some(us), ..plain(1_000, 1_000) };
    assert_eq!(price.cost(&took(2_500_000)), NanoUsd(1_050_000));
    assert_eq!(price.time(2_500_000), NanoUsd(1_050_000));
    assert_eq!(price.cost(&took(1)), NanoUsd(1));
    assert_eq!(price.cost(&took(0)), NanoUsd(0));
    assert_eq!(price.cost(&plain(1_000, 1_000)), NanoUsd(0), "tokens cost nothing beside it unless they have figures");
    let both = Price { per_second: price.per_second, ..mini() };
    assert_eq!(both.cost(&took(2_500_000)), NanoUsd(1_050_000 + mini().cost(&plain(1_000, 1_000)).0));
}

#[test]
fn sound_is_paid_by_tokens_where_these_are_told_and_else_by_time() {
    let by_token = Rates { input: 2_500_000, output: 10_000_000, ..Rates::default() };
    let price = Price { per_audio_second: Rates::each("0.0001").ok(), ..Price::flat(by_token) };
    let timed = Usage { audio_ms: Some(8_470), ..Usage::default() };
    assert_eq!(price.cost(&timed), NanoUsd(847_000));
    assert!(price.is_heard_by(&timed));
    let counted = Usage { audio_ms: Some(8_470), ..plain(84, 12) };
    assert_eq!(price.cost(&counted), NanoUsd(84 * 2_500 + 12 * 10_000));
    assert!(price.is_heard_by(&counted));
    assert!(!price.is_heard_by(&Usage::default()), "what tells nothing is not free");
    let only_time = Price { per_audio_second: Some(1), ..Price::default() };
    assert!(!only_time.is_heard_by(&plain(84, 12)), "tokens have no price there");
    assert_eq!(only_time.cost(&timed), NanoUsd(1), "rounded up");
    // Some providers tell both: what has a price is paid.
    let by_time = Price { per_audio_second: price.per_audio_second, ..Price::default() };
    assert!(by_time.is_heard_by(&counted));
    assert_eq!(by_time.cost(&counted), NanoUsd(847_000));
}

#[test]
fn spoken_characters_cost_besides_tokens() {
    let price = Price { per_character: Rates::per_million("15").ok(), ..Price::default() };
    let spoken = Usage { characters: Some(11), ..Usage::default() };
    assert_eq!((price.cost(&spoken), price.characters(11)), (NanoUsd(165_000), NanoUsd(165_000)));
}
