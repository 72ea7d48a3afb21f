//! What LiteLLM says of money on a key, team, user, organization or customer, as budgets on that scope.
//!
//! `max_budget` is a hard budget, `soft_budget` one that only alerts, each entry of `budget_limits` and `model_max_budget` a hard one more. Which
//! is which is told by what the budgets are, so that budgets made over gRPC show as well. Only those of `budget_limits` are told by their names:
//! nothing else about them differs from `max_budget`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tollgate_proto::v1::{
    Budget, BudgetEnforcement, BudgetScope, BudgetWindow, DeleteBudgetRequest, UpdateBudgetRequest,
};

use crate::litellm::{budgets, desk::Desk, duration, failure::Failure, fields::Fields, money, money::Dollars, times};

/// A budget that a request describes.
#[derive(Clone, Debug, PartialEq)]
struct Limit {
    nano_usd: i64,
    window: Option<BudgetWindow>,
}

/// What a request says of money; `None` where it says nothing.
#[derive(Default)]
pub(crate) struct Purse {
    max: Option<Option<i64>>,
    soft: Option<Option<i64>>,
    window: Option<Option<BudgetWindow>>,
    further: Vec<Limit>,
    models: Option<BTreeMap<String, Limit>>,
}

/// How a window's limit is given in `budget_limits`, `model_max_budget` and alike.
#[derive(Deserialize)]
struct Given {
    #[serde(alias = "budget_limit", alias = "max_budget")]
    amount: Box<RawValue>,
    #[serde(alias = "time_period", alias = "budget_duration", default)]
    period: Option<String>,
}

impl Given {
    fn limit(&self, field: &str) -> Result<Limit, Failure> {
        let wrong = |what: &str| Failure::field(field, what);
        let nano_usd = money::nano_usd(self.amount.get()).map_err(wrong)?;
        let window = self.period.as_deref().map(duration::window).transpose().map_err(wrong)?;
        Ok(Limit { nano_usd, window })
    }
}

impl Purse {
    /// Takes the fields that are about money.
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, Failure> {
        let window = match fields.patch::<String>("budget_duration", "a duration such as 30d")? {
            None => None,
            Some(None) => Some(None),
            Some(Some(text)) => {
                Some(Some(duration::window(&text).map_err(|what| Failure::field("budget_duration", what))?))
            }
        };
        let form = "a list of {budget_duration, max_budget}";
        let further = fields.take::<Vec<Given>>("budget_limits", form)?.unwrap_or_default();
        let form = "an object of {budget_limit, time_period} by model";
        let models = fields.take::<BTreeMap<String, Given>>("model_max_budget", form)?;
        let of_model = |(name, given): (String, Given)| Ok::<_, Failure>((name, given.limit("model_max_budget")?));
        let models = models.map(|models| models.into_iter().map(of_model).collect());
        Ok(Self {
            max: fields.money("max_budget")?,
            soft: fields.money("soft_budget")?,
            window,
            further: further.iter().map(|given| given.limit("budget_limits")).collect::<Result<_, _>>()?,
            models: models.transpose()?,
        })
    }

    /// The same, with what the budget of a `budget_id` says where the request itself says nothing.
    pub(crate) async fn take_with_id(fields: &mut Fields, desk: &Desk) -> Result<Self, Failure> {
        let mut purse = Self::take(fields)?;
        let Some(id) = fields.text("budget_id")? else { return Ok(purse) };
        let (limit, window) = budgets::named(desk, &id).await?;
        purse.max.get_or_insert(limit);
        purse.window.get_or_insert(window);
        Ok(purse)
    }

    /// A hard limit and nothing else.
    pub(crate) fn of(max: Option<i64>, window: Option<BudgetWindow>) -> Self {
        Self { max: Some(max), window: Some(window), ..Self::default() }
    }

    /// The limit and the window, as a `budget_id` keeps them.
    pub(crate) fn main(&self) -> (Option<i64>, Option<BudgetWindow>) {
        (self.max.flatten(), self.window.clone().flatten())
    }

    /// Whether there are limits for single models or several windows.
    pub(crate) fn has_more(&self) -> bool {
        self.soft.flatten().is_some() || !self.further.is_empty() || self.models.as_ref().is_some_and(|m| !m.is_empty())
    }

    /// A window without a limit means nothing.
    pub(crate) fn ignored(&self) -> Option<String> {
        let limited = self.max.flatten().is_some() || self.soft.flatten().is_some();
        (self.window.clone().flatten().is_some() && !limited).then(|| "budget_duration".to_owned())
    }

    /// The budgets to make on a scope that has none.
    pub(crate) fn budgets(&self, scope: &BudgetScope) -> Vec<Budget> {
        let window = self.window.clone().flatten();
        let limit = |nano_usd| Limit { nano_usd, window: window.clone() };
        let max = self.max.flatten().map(|max| hard(scope, &limit(max)));
        let soft = self.soft.flatten().map(|amount| soft(scope, &limit(amount)));
        let further = self.further.iter().map(|limit| of_several(scope, limit));
        let models = self.models.iter().flatten().map(|(model, limit)| of_model(scope, model, limit));
        max.into_iter().chain(soft).chain(further).chain(models).collect()
    }

    /// Makes them on a scope that has none, or only the first of them: then an earlier attempt ended in between, and this one goes on. `None`:
    /// the scope has others, or all of them.
    pub(crate) async fn fill(&self, desk: &Desk, scope: &BudgetScope) -> Result<Option<Vec<Budget>>, Failure> {
        let (wanted, mut made) = (self.budgets(scope), desk.budgets_on(scope).await?);
        let has_begun =
            made.len() < wanted.len() && made.iter().zip(&wanted).all(|(made, wanted)| is_same(made, wanted));
        if !made.is_empty() && !has_begun {
            return Ok(None);
        }
        for budget in wanted.into_iter().skip(made.len()) {
            made.push(desk.create_budget(budget).await?);
        }
        Ok(Some(made))
    }

    /// Changes what a scope has to what the request says.
    pub(crate) async fn change(&self, desk: &Desk, scope: &BudgetScope) -> Result<(), Failure> {
        let all = desk.budgets_on(scope).await?;
        if !self.further.is_empty() {
            return Err(Failure::field(
                "budget_limits",
                "is set when it is made; change a window by its budget over gRPC",
            ));
        }
        let had = Held::of(&all);
        let inherited = had.max.or(had.soft).and_then(|b| b.window.clone());
        let window = self.window.clone().unwrap_or(inherited);
        let limit = |nano_usd| Limit { nano_usd, window: window.clone() };
        let wanted = [(self.max, had.max, hard(scope, &limit(0))), (self.soft, had.soft, soft(scope, &limit(0)))];
        let mut found = false;
        for (amount, budget, fresh) in wanted {
            found |= budget.is_some() || amount.flatten().is_some();
            match (amount, budget) {
                (Some(Some(amount)), None) => {
                    desk.create_budget(Budget { limit_nano_usd: amount, ..fresh }).await?;
                }
                (Some(None), Some(budget)) => delete(desk, &budget.id).await?,
                (amount, Some(budget)) => {
                    let amount = amount.flatten().unwrap_or(budget.limit_nano_usd);
                    update(desk, budget, &limit(amount)).await?;
                }
                _ => {}
            }
        }
        if self.window.clone().flatten().is_some() && !found {
            return Err(Failure::field("budget_duration", "there is no max_budget that it could be of; give both"));
        }
        let Some(models) = &self.models else { return Ok(()) };
        for budget in had.models.values().filter(|b| !models.contains_key(&model_of(b))) {
            delete(desk, &budget.id).await?;
        }
        for (model, limit) in models {
            match had.models.get(model) {
                Some(budget) => update(desk, budget, limit).await?,
                None => drop(desk.create_budget(of_model(scope, model, limit)).await?),
            }
        }
        Ok(())
    }
}

fn hard(scope: &BudgetScope, limit: &Limit) -> Budget {
    Budget {
        scope: Some(scope.clone()),
        limit_nano_usd: limit.nano_usd,
        window: limit.window.clone(),
        enforcement: BudgetEnforcement::Hard as i32,
        ..Budget::default()
    }
}

/// It raises one alert, where it is reached.
fn soft(scope: &BudgetScope, limit: &Limit) -> Budget {
    Budget { enforcement: BudgetEnforcement::Soft as i32, alert_percents: vec![100], ..hard(scope, limit) }
}

/// How the budgets of `budget_limits` are called, also by the import.
const OF_SEVERAL: &str = "LiteLLM budget_limits";

/// One window of several.
fn of_several(scope: &BudgetScope, limit: &Limit) -> Budget {
    let length = duration::told(limit.window.as_ref());
    let display_name = length.map_or_else(|| OF_SEVERAL.to_owned(), |length| format!("{OF_SEVERAL} {length}"));
    Budget { display_name, ..hard(scope, limit) }
}

/// Whether a budget is one window of several, so that `max_budget` does not mean it. The import calls those of the budget table
/// `LiteLLM budget ID budget_limits 1d`.
fn is_of_several(budget: &Budget) -> bool {
    let name = budget.display_name.trim_end();
    let name = match name.rsplit_once(' ') {
        Some((head, length)) if duration::seconds(length).is_ok() => head,
        _ => name,
    };
    name == OF_SEVERAL || (name.starts_with("LiteLLM budget ") && name.ends_with(" budget_limits"))
}

fn of_model(scope: &BudgetScope, model: &str, limit: &Limit) -> Budget {
    hard(&BudgetScope { model: model.to_owned(), ..scope.clone() }, limit)
}

/// Whether a budget is the one that was asked for.
fn is_same(made: &Budget, wanted: &Budget) -> bool {
    made.limit_nano_usd == wanted.limit_nano_usd
        && made.enforcement() == wanted.enforcement()
        && made.display_name == wanted.display_name
        && model_of(made) == model_of(wanted)
        && duration::told(made.window.as_ref()) == duration::told(wanted.window.as_ref())
}

fn model_of(budget: &Budget) -> String {
    budget.scope.as_ref().map(|scope| scope.model.clone()).unwrap_or_default()
}

async fn update(desk: &Desk, budget: &Budget, limit: &Limit) -> Result<(), Failure> {
    let mut paths = Vec::new();
    if budget.limit_nano_usd != limit.nano_usd {
        paths.push("limit_nano_usd".to_owned());
    }
    // A window that stays goes on; a new one begins a new account.
    if duration::told(budget.window.as_ref()) != duration::told(limit.window.as_ref()) {
        paths.push("window".to_owned());
    }
    if paths.is_empty() {
        return Ok(());
    }
    let budget = Budget {
        id: budget.id.clone(),
        etag: budget.etag.clone(),
        limit_nano_usd: limit.nano_usd,
        window: limit.window.clone(),
        ..Budget::default()
    };
    let asked = UpdateBudgetRequest { budget: Some(budget), update_mask: Some(prost_types::FieldMask { paths }) };
    desk.gateway.budgets().update_budget(desk.ask(asked)).await?;
    Ok(())
}

async fn delete(desk: &Desk, id: &str) -> Result<(), Failure> {
    desk.gateway.budgets().delete_budget(desk.ask(DeleteBudgetRequest { id: id.to_owned() })).await?;
    Ok(())
}

/// The budgets of a scope, by what LiteLLM calls them. Of several the oldest counts.
pub(crate) struct Held<'a> {
    pub(crate) max: Option<&'a Budget>,
    soft: Option<&'a Budget>,
    several: Vec<&'a Budget>,
    models: BTreeMap<String, &'a Budget>,
}

impl<'a> Held<'a> {
    pub(crate) fn of(all: &'a [Budget]) -> Self {
        let mut held = Self { max: None, soft: None, several: Vec::new(), models: BTreeMap::new() };
        for budget in all
            .iter()
            .filter(|b| b.scope.as_ref().is_some_and(|scope| scope.provider.is_empty() && scope.deployment.is_empty()))
        {
            let place = match (model_of(budget).as_str(), budget.enforcement()) {
                ("", BudgetEnforcement::Soft) => &mut held.soft,
                ("", _) if is_of_several(budget) => {
                    held.several.push(budget);
                    continue;
                }
                ("", _) => &mut held.max,
                (_, BudgetEnforcement::Soft) => continue,
                (model, _) => {
                    held.models.entry(model.to_owned()).or_insert(budget);
                    continue;
                }
            };
            place.get_or_insert(budget);
        }
        held
    }
}

/// How money stands, in LiteLLM's fields.
#[derive(Default, Serialize)]
pub(crate) struct Standing {
    spend: Dollars,
    max_budget: Option<Dollars>,
    soft_budget: Option<Dollars>,
    budget_duration: Option<String>,
    budget_reset_at: Option<String>,
    budget_id: Option<String>,
    budget_limits: Vec<WindowStanding>,
    model_max_budget: BTreeMap<String, ModelStanding>,
}

#[derive(Serialize)]
struct WindowStanding {
    budget_duration: Option<String>,
    max_budget: Dollars,
    reset_at: Option<String>,
    spend: Dollars,
}

#[derive(Serialize)]
struct ModelStanding {
    budget_limit: Dollars,
    time_period: Option<String>,
    spend: Dollars,
}

impl Standing {
    /// Of budgets as they stand; `total` is what was spent over all time, which counts where there is no hard budget.
    pub(crate) fn of(all: &[Budget], total: i64) -> Self {
        let held = Held::of(all);
        let main = held.max.or(held.soft);
        let of_model = |budget: &Budget| ModelStanding {
            budget_limit: Dollars(budget.limit_nano_usd),
            time_period: duration::told(budget.window.as_ref()),
            spend: Dollars(budget.spent_nano_usd),
        };
        let of_several = |budget: &&Budget| WindowStanding {
            budget_duration: duration::told(budget.window.as_ref()),
            max_budget: Dollars(budget.effective_limit_nano_usd),
            reset_at: times::text(budget.reset_time.as_ref()),
            spend: Dollars(budget.spent_nano_usd),
        };
        Self {
            spend: Dollars(held.max.map_or(total, |budget| budget.spent_nano_usd)),
            max_budget: held.max.map(|budget| Dollars(budget.effective_limit_nano_usd)),
            soft_budget: held.soft.map(|budget| Dollars(budget.limit_nano_usd)),
            budget_duration: main.and_then(|budget| duration::told(budget.window.as_ref())),
            budget_reset_at: main.and_then(|budget| times::text(budget.reset_time.as_ref())),
            budget_id: main.map(|budget| budget.id.clone()),
            budget_limits: held.several.iter().map(of_several).collect(),
            model_max_budget: held.models.iter().map(|(model, budget)| (model.clone(), of_model(budget))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(display_name: &str) -> Budget {
        let scope = BudgetScope { id: "key_1".into(), ..BudgetScope::default() };
        Budget { display_name: display_name.into(), ..hard(&scope, &Limit { nano_usd: 5, window: None }) }
    }

    #[test]
    fn windows_of_budget_limits_are_told_from_max_budget() {
        let window = duration::window("1mo").ok();
        let made = of_several(&BudgetScope::default(), &Limit { nano_usd: 5, window });
        assert_eq!(made.display_name, "LiteLLM budget_limits 30d");
        let without = of_several(&BudgetScope::default(), &Limit { nano_usd: 5, window: None });
        let imported = "LiteLLM budget free tier budget_limits 1d";
        for name in [made.display_name.as_str(), &without.display_name, imported] {
            let all = [called(name)];
            let held = Held::of(&all);
            assert!(held.max.is_none() && held.several.len() == 1, "{name}");
        }
        for name in ["", "LiteLLM max_budget", "LiteLLM budget budget_limits max_budget", "budget_limits 1d"] {
            let all = [called(name)];
            let held = Held::of(&all);
            assert!(held.max.is_some() && held.several.is_empty(), "{name}");
        }
    }
}
