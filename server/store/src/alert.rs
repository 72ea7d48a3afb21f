use tollgate_proto::v1::BudgetAlert;

use crate::{AlertRule, Batch};

/// The alerts that a budget's spend calls for; the store keeps those that it does not have yet.
pub fn raise_alerts<'a>(
    budget_id: &'a str,
    window: i64,
    spent: i64,
    rule: &'a AlertRule,
    batch: &Batch,
) -> impl Iterator<Item = BudgetAlert> + 'a {
    // The time of the entry that moved it, not of the shipment: a replay says the same.
    let moved = batch.rows().filter(|r| r.entry.charges.iter().any(|c| c.budget_id == budget_id && c.window == window));
    let time = moved.filter_map(|r| r.entry.settle_time).last();
    let limit = rule.limit_nano_usd;
    let passed = move |percent: &&i32| i128::from(spent) * 100 >= i128::from(limit) * i128::from(**percent);
    rule.percents.iter().filter(passed).map(move |percent| BudgetAlert {
        budget_id: budget_id.to_owned(),
        // Of a rolling window there is one alert per length of the window.
        window: rule.rolling_from.map_or(window, |from| window - window.rem_euclid((window - from).max(1))),
        percent: *percent,
        spent_nano_usd: spent,
        limit_nano_usd: limit,
        time,
        scope: rule.scope.clone(),
    })
}
