//! `tollgate budgets`.

use clap::{Args, Subcommand, ValueEnum};
use tollgate_client::v1::{
    self, Budget, BudgetAlert, BudgetEnforcement, BudgetIncrease, BudgetScope, BudgetWindow, CalendarUnit,
    CalendarWindow, EveryWindow, HoldMode, RollingWindow, ScopeKind, WhenTight, budget_window::Window,
};

use crate::{
    Connection, Failure, One, amount,
    edit::{Fields, word},
    output::Row,
    time,
};

/// Commands about budgets.
#[derive(Subcommand, Debug)]
pub enum BudgetsCommand {
    /// Makes a budget.
    Create {
        /// The limit, in dollars.
        #[arg(value_parser = amount::parse)]
        limit: i64,
        #[command(flatten)]
        /// What it is on.
        scope: ScopeArgs,
        /// A name for people.
        #[arg(long, default_value = "")]
        name: String,
        #[command(flatten)]
        /// How it works.
        settings: Settings,
    },
    /// Lists budgets as they stand this moment, oldest first.
    List {
        #[command(flatten)]
        /// Only those on this.
        scope: ScopeArgs,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Shows a budget as it stands this moment.
    Show(One),
    /// Changes what is given of a budget.
    Update {
        /// Its id.
        id: String,
        /// Another limit, in dollars.
        #[arg(long, value_parser = amount::parse)]
        limit: Option<i64>,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        /// How it works.
        settings: Settings,
    },
    /// Raises the limit for a time.
    Increase {
        /// Its id.
        id: String,
        /// By how much, in dollars.
        #[arg(value_parser = amount::parse)]
        amount: i64,
        /// Until when: in `7d`, on `2027-01-01`, or RFC 3339.
        #[arg(long, value_parser = time::future)]
        until: prost_types::Timestamp,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Takes a budget away; what was spent stays in the ledger.
    Delete(One),
    /// Lists the alerts that budgets have raised, oldest first.
    Alerts {
        /// Only of this budget.
        #[arg(long, default_value = "")]
        budget: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
}

/// What a budget is on.
#[derive(Args, Debug)]
pub struct ScopeArgs {
    /// A key, by its id.
    #[arg(long, group = "subject")]
    key: Option<String>,
    /// A team, by its id.
    #[arg(long, group = "subject")]
    team: Option<String>,
    /// An organization, by its id.
    #[arg(long, group = "subject")]
    org: Option<String>,
    /// A user, by the id, over all teams.
    #[arg(long, group = "subject")]
    user: Option<String>,
    /// A user in one team: TEAM/USER.
    #[arg(long, group = "subject")]
    member: Option<String>,
    /// An end customer by name; `*`: each by itself.
    #[arg(long, group = "subject")]
    customer: Option<String>,
    /// A tag of calls; `*`: each by itself.
    #[arg(long, group = "subject")]
    tag: Option<String>,
    /// Everything that goes through the gateway.
    #[arg(long, group = "subject")]
    gateway: bool,
    /// Only calls that ask for this model.
    #[arg(long = "for-model", default_value = "")]
    model: String,
    /// Only attempts at this provider.
    #[arg(long = "for-provider", default_value = "")]
    provider: String,
}

/// How a budget works.
#[derive(Args, Debug)]
pub struct Settings {
    /// When it begins anew: `hour`, `day`, `week`, `month` (with a time zone: `month:Europe/Berlin`), `30d` from now on, `rolling:7d`, or
    /// `total` for never.
    #[arg(long, value_parser = window)]
    window: Option<WindowArg>,
    /// What happens at the limit.
    #[arg(long, value_enum)]
    enforcement: Option<Enforcement>,
    /// Percentages at which an alert is raised: `50,80,100`.
    #[arg(long, value_delimiter = ',')]
    alerts: Vec<i32>,
    /// At most this percentage of the limit in any hour.
    #[arg(long)]
    pace: Option<i32>,
    /// What happens when it affords less output than a call may produce.
    #[arg(long, value_enum)]
    when_tight: Option<Tight>,
    /// How much is held for a call.
    #[arg(long, value_enum)]
    hold: Option<Hold>,
    /// A soft budget refuses from this percentage of its limit on.
    #[arg(long)]
    hard_at: Option<i32>,
    #[command(flatten)]
    connection: Connection,
}

/// A window; nothing within: never.
#[derive(Debug, Clone)]
pub(crate) struct WindowArg(Option<BudgetWindow>);

/// What happens at the limit.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub(crate) enum Enforcement {
    /// Calls that do not fit are refused.
    Hard,
    /// Only counts.
    Soft,
}

/// What happens when a budget affords less output.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub(crate) enum Tight {
    /// The call is refused.
    Refuse,
    /// Its output limit is lowered.
    Clamp,
}

/// How much is held.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub(crate) enum Hold {
    /// The whole worst case.
    Strict,
    /// Input and a tranche of output, extended as the answer grows.
    Progressive,
}

fn window(text: &str) -> Result<WindowArg, String> {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let calendar =
        |unit: CalendarUnit| Ok(Window::Calendar(CalendarWindow { unit: unit.into(), time_zone: rest.to_owned() }));
    let window = match kind {
        "total" | "never" => return Ok(WindowArg(None)),
        "hour" => calendar(CalendarUnit::Hour),
        "day" => calendar(CalendarUnit::Day),
        "week" => calendar(CalendarUnit::Week),
        "month" => calendar(CalendarUnit::Month),
        "rolling" => time::seconds(rest).map(|seconds| Window::Rolling(RollingWindow { seconds })),
        _ => time::seconds(text)
            .map(|seconds| Window::Every(EveryWindow { seconds, anchor: None }))
            .map_err(|_| format!("{text:?} is no window: hour, day, week, month[:ZONE], 30d, rolling:7d or total")),
    };
    Ok(WindowArg(Some(BudgetWindow { window: Some(window?) })))
}

fn window_told(window: Option<&BudgetWindow>) -> String {
    match window.and_then(|window| window.window.as_ref()) {
        None => "total".into(),
        Some(Window::Calendar(calendar)) => {
            let unit = word(calendar.unit().as_str_name(), "CALENDAR_UNIT_");
            if calendar.time_zone.is_empty() { unit } else { format!("{unit}:{}", calendar.time_zone) }
        }
        Some(Window::Every(every)) => length(every.seconds),
        Some(Window::Rolling(rolling)) => format!("rolling:{}", length(rolling.seconds)),
    }
}

fn length(seconds: i64) -> String {
    let unit = [(86_400, 'd'), (3_600, 'h'), (60, 'm')].into_iter().find(|(each, _)| seconds % each == 0);
    unit.map_or_else(|| format!("{seconds}s"), |(each, unit)| format!("{}{unit}", seconds / each))
}

impl ScopeArgs {
    fn scope(&self) -> Result<BudgetScope, Failure> {
        let mut scope =
            BudgetScope { model: self.model.clone(), provider: self.provider.clone(), ..BudgetScope::default() };
        let subjects = [
            (ScopeKind::Key, &self.key),
            (ScopeKind::Team, &self.team),
            (ScopeKind::Organization, &self.org),
            (ScopeKind::User, &self.user),
            (ScopeKind::Customer, &self.customer),
            (ScopeKind::Tag, &self.tag),
        ];
        if let Some((kind, id)) = subjects.into_iter().find_map(|(kind, id)| id.as_ref().map(|id| (kind, id))) {
            scope.kind = kind.into();
            scope.id.clone_from(id);
        } else if let Some(member) = &self.member {
            let pair = member.split_once('/');
            let (team, user) = pair.ok_or_else(|| Failure::Usage("--member: is TEAM/USER, two ids".into()))?;
            scope.kind = ScopeKind::Member.into();
            scope.id = user.to_owned();
            scope.team_id = team.to_owned();
        } else if self.gateway {
            scope.kind = ScopeKind::Gateway.into();
        }
        Ok(scope)
    }
}

impl Settings {
    /// Puts what is given into the budget and names its fields.
    fn set(&self, budget: &mut Budget, fields: &mut Fields) {
        let enforcement = self.enforcement.map(|enforcement| match enforcement {
            Enforcement::Hard => BudgetEnforcement::Hard,
            Enforcement::Soft => BudgetEnforcement::Soft,
        });
        let tight = self.when_tight.map(|tight| match tight {
            Tight::Refuse => WhenTight::Refuse,
            Tight::Clamp => WhenTight::Clamp,
        });
        let hold = self.hold.map(|hold| match hold {
            Hold::Strict => HoldMode::Strict,
            Hold::Progressive => HoldMode::Progressive,
        });
        let alerts = Some(self.alerts.clone()).filter(|alerts| !alerts.is_empty());
        fields.set("window", &mut budget.window, self.window.as_ref().map(|window| window.0.clone()));
        fields.set("enforcement", &mut budget.enforcement, enforcement.map(Into::into));
        fields.set("alert_percents", &mut budget.alert_percents, alerts);
        fields.set("pace_percent_per_hour", &mut budget.pace_percent_per_hour, self.pace.map(Some));
        fields.set("when_tight", &mut budget.when_tight, tight.map(Into::into));
        fields.set("hold_mode", &mut budget.hold_mode, hold.map(Into::into));
        fields.set("hard_at_percent", &mut budget.hard_at_percent, self.hard_at.map(Some));
    }
}

/// A scope as people read it: `team:team_0198...`, with model and provider where it has them.
fn scope_told(scope: Option<&BudgetScope>) -> String {
    let Some(scope) = scope else { return String::new() };
    let mut text = word(scope.kind().as_str_name(), "SCOPE_KIND_");
    for part in [&scope.team_id, &scope.id] {
        if !part.is_empty() {
            text += &format!(":{part}");
        }
    }
    for (name, part) in [("org", &scope.organization_id), ("model", &scope.model), ("provider", &scope.provider)] {
        if !part.is_empty() {
            text += &format!(" {name}={part}");
        }
    }
    text
}

impl Row for Budget {
    const COLUMNS: &'static [&'static str] =
        &["id", "name", "scope", "window", "limit", "spent", "held", "used", "enforcement", "resets"];

    fn cells(&self) -> Vec<String> {
        let limit = self.effective_limit_nano_usd;
        let used = (limit > 0).then(|| i128::from(self.spent_nano_usd) * 100 / i128::from(limit));
        vec![
            self.id.clone(),
            self.display_name.clone(),
            scope_told(self.scope.as_ref()),
            window_told(self.window.as_ref()),
            amount::dollars(limit),
            amount::dollars(self.spent_nano_usd),
            amount::dollars(self.held_nano_usd),
            used.map(|percent| format!("{percent}%")).unwrap_or_default(),
            word(self.enforcement().as_str_name(), "BUDGET_ENFORCEMENT_"),
            time::told(self.reset_time.as_ref()),
        ]
    }
}

impl Row for BudgetAlert {
    const COLUMNS: &'static [&'static str] = &["time", "budget", "scope", "percent", "spent", "limit"];

    fn cells(&self) -> Vec<String> {
        vec![
            time::told(self.time.as_ref()),
            self.budget_id.clone(),
            scope_told(self.scope.as_ref()),
            format!("{}%", self.percent),
            amount::dollars(self.spent_nano_usd),
            amount::dollars(self.limit_nano_usd),
        ]
    }
}

/// Runs a command about budgets.
pub(crate) async fn run(command: BudgetsCommand) -> Result<(), Failure> {
    match command {
        BudgetsCommand::Create { limit, scope, name, settings } => {
            let scope = scope.scope()?;
            if scope.kind == 0 {
                return Err(Failure::Usage(
                    "what is the budget on? give --key, --team, --org, --user, --member, --customer, --tag or --gateway".into(),
                ));
            }
            let mut budget =
                Budget { limit_nano_usd: limit, display_name: name, scope: Some(scope), ..Budget::default() };
            settings.set(&mut budget, &mut Fields::default());
            let asked = v1::CreateBudgetRequest { budget: Some(budget), ..Default::default() };
            settings.connection.printer().one(&settings.connection.client()?.budgets().create(asked).await?)
        }
        BudgetsCommand::List { scope, connection } => {
            let scope = Some(scope.scope()?);
            let filter = v1::ListBudgetsRequest { page_size: 1_000, scope, ..Default::default() };
            connection.printer().all(connection.client()?.budgets().list(filter)).await
        }
        BudgetsCommand::Show(One { id, connection }) => {
            connection.printer().one(&connection.client()?.budgets().get(&id).await?)
        }
        BudgetsCommand::Update { id, limit, name, settings } => {
            let budgets = settings.connection.client()?.budgets();
            let mut budget = budgets.get(&id).await?;
            let mut fields = Fields::default();
            settings.set(&mut budget, &mut fields);
            fields.set("limit_nano_usd", &mut budget.limit_nano_usd, limit);
            fields.set("display_name", &mut budget.display_name, name);
            let fields = fields.named("--limit, --window, --alerts, ...")?;
            settings.connection.printer().one(&budgets.update(budget, fields).await?)
        }
        BudgetsCommand::Increase { id, amount, until, reason, connection } => {
            let increase = BudgetIncrease { amount_nano_usd: amount, expire_time: Some(until), reason };
            connection.printer().one(&connection.client()?.budgets().increase(&id, Some(increase)).await?)
        }
        BudgetsCommand::Delete(One { id, connection }) => {
            connection.client()?.budgets().delete(&id).await?;
            connection.printer().note(&format!("{id} is gone"));
            Ok(())
        }
        BudgetsCommand::Alerts { budget, connection } => {
            let filter = v1::ListBudgetAlertsRequest { page_size: 1_000, budget_id: budget, ..Default::default() };
            connection.printer().all(connection.client()?.budgets().alerts(filter)).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_as_they_are_told() {
        for text in ["hour", "month:Europe/Berlin", "30d", "90s", "rolling:7d"] {
            assert_eq!(window_told(window(text).unwrap().0.as_ref()), text);
        }
        assert_eq!(window_told(window("total").unwrap().0.as_ref()), "total");
        for wrong in ["", "year", "rolling", "rolling:x", "7"] {
            assert!(window(wrong).is_err(), "{wrong}");
        }
    }
}
