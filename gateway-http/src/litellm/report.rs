//! `GET /global/spend/report`: spend by day and team or customer, or by key, each with its models.

use std::collections::BTreeMap;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tollgate_proto::v1::{LedgerEntry, ListLedgerEntriesRequest};

use crate::{
    Gateway,
    litellm::{answer::tell_ignored, desk::Desk, failure::Failure, money::Dollars, query::Query, spend, times},
};

/// What was spent on a model with a key.
#[derive(Default)]
struct Sum {
    spend: i64,
    input_tokens: u64,
    output_tokens: u64,
    requests: i64,
}

impl Sum {
    fn add(&mut self, entry: &LedgerEntry) {
        let (read, written) = spend::tokens(entry.usage.as_ref());
        self.spend = self.spend.saturating_add(entry.cost_nano_usd);
        self.input_tokens = self.input_tokens.saturating_add(read);
        self.output_tokens = self.output_tokens.saturating_add(written);
        self.requests += 1;
    }
}

#[derive(Serialize)]
struct ModelOfKey {
    model: String,
    api_key: String,
    spend: Dollars,
    total_tokens: u64,
    input_tokens: u64,
    output_tokens: u64,
    requests: i64,
}

#[derive(Serialize)]
struct Part {
    #[serde(skip_serializing_if = "Option::is_none")]
    team_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<String>,
    total_spend: Dollars,
    metadata: Vec<ModelOfKey>,
}

#[derive(Serialize)]
struct DayReport {
    group_by_day: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    teams: Option<Vec<Part>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customers: Option<Vec<Part>>,
}

#[derive(Serialize)]
struct ModelTotal {
    model: String,
    total_cost: Dollars,
    total_input_tokens: u64,
    total_output_tokens: u64,
}

#[derive(Serialize)]
struct KeyReport {
    api_key: String,
    total_cost: Dollars,
    total_input_tokens: u64,
    total_output_tokens: u64,
    model_details: Vec<ModelTotal>,
}

pub(crate) async fn global(State(gateway): State<Gateway>, request: Request) -> Result<Response, Failure> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    let mut asked = ListLedgerEntriesRequest::default();
    spend::span(&mut query, &mut asked)?;
    let missing = [("start_date", asked.start_time.is_none()), ("end_date", asked.end_time.is_none())];
    if let Some((name, _)) = missing.iter().find(|(_, missing)| *missing) {
        return Err(Failure::field(name, "is needed, as in 2026-11-20"));
    }
    if let Some(key) = query.text("api_key") {
        asked.key_id = desk.key(&key).await?.id;
    }
    if let Some(id) = query.text("team_id") {
        asked.team_id = desk.team(&id).await?.id;
    }
    if let Some(id) = query.text("internal_user_id") {
        asked.user_id = desk.user(&id).await?.id;
    }
    let customer = query.text("customer_id");
    let wanted = move |entry: &LedgerEntry| customer.as_ref().is_none_or(|customer| entry.customer == *customer);
    let mut response = match query.text("group_by").as_deref().unwrap_or("team") {
        "team" => axum::Json(by_day(&desk, asked, wanted, true).await?).into_response(),
        "customer" => axum::Json(by_day(&desk, asked, wanted, false).await?).into_response(),
        "api_key" => axum::Json(by_key(&desk, asked, wanted).await?).into_response(),
        _ => return Err(Failure::field("group_by", "must be team, customer or api_key")),
    };
    tell_ignored(&mut response, &query.left());
    Ok(response)
}

async fn by_day(
    desk: &Desk,
    asked: ListLedgerEntriesRequest,
    wanted: impl Fn(&LedgerEntry) -> bool,
    of_teams: bool,
) -> Result<Vec<DayReport>, Failure> {
    type Models = BTreeMap<(String, String), Sum>;
    let mut days = BTreeMap::<String, BTreeMap<String, Models>>::new();
    spend::each(desk, asked, |entry| {
        if wanted(&entry) {
            let day = days.entry(times::day(&entry.settle_time.unwrap_or_default())).or_default();
            let part = if of_teams { &entry.team_id } else { &entry.customer };
            let models = day.entry(part.clone()).or_default();
            models.entry((entry.model.clone(), entry.key_id.clone())).or_default().add(&entry);
        }
    })
    .await?;
    let mut report = Vec::new();
    for (day, parts) in days {
        let mut told = Vec::new();
        for (id, models) in parts {
            let total = models.values().fold(0_i64, |sum, model| sum.saturating_add(model.spend));
            let mut part = Part {
                team_name: None,
                team_id: None,
                customer: None,
                total_spend: Dollars(total),
                metadata: models.into_iter().map(model_of_key).collect(),
            };
            match of_teams {
                true => {
                    let alias = desk.team_alias(&id).await;
                    part.team_name = Some(alias);
                    part.team_id = desk.team_named(&id).await;
                }
                false => part.customer = Some(id),
            }
            told.push(part);
        }
        let (teams, customers) = if of_teams { (Some(told), None) } else { (None, Some(told)) };
        report.push(DayReport { group_by_day: format!("{day}T00:00:00+00:00"), teams, customers });
    }
    Ok(report)
}

fn model_of_key(((model, api_key), sum): ((String, String), Sum)) -> ModelOfKey {
    ModelOfKey {
        model,
        api_key,
        spend: Dollars(sum.spend),
        total_tokens: sum.input_tokens.saturating_add(sum.output_tokens),
        input_tokens: sum.input_tokens,
        output_tokens: sum.output_tokens,
        requests: sum.requests,
    }
}

async fn by_key(
    desk: &Desk,
    asked: ListLedgerEntriesRequest,
    wanted: impl Fn(&LedgerEntry) -> bool,
) -> Result<Vec<KeyReport>, Failure> {
    let mut keys = BTreeMap::<String, BTreeMap<String, Sum>>::new();
    spend::each(desk, asked, |entry| {
        if wanted(&entry) {
            keys.entry(entry.key_id.clone()).or_default().entry(entry.model.clone()).or_default().add(&entry);
        }
    })
    .await?;
    let report = keys.into_iter().map(|(api_key, models)| {
        let total = |part: fn(&Sum) -> u64| models.values().fold(0_u64, |sum, model| sum.saturating_add(part(model)));
        let spend = models.values().fold(0_i64, |sum, model| sum.saturating_add(model.spend));
        KeyReport {
            api_key,
            total_cost: Dollars(spend),
            total_input_tokens: total(|m| m.input_tokens),
            total_output_tokens: total(|m| m.output_tokens),
            model_details: models.iter().map(model_total).collect(),
        }
    });
    Ok(report.collect())
}

fn model_total((model, sum): (&String, &Sum)) -> ModelTotal {
    ModelTotal {
        model: model.clone(),
        total_cost: Dollars(sum.spend),
        total_input_tokens: sum.input_tokens,
        total_output_tokens: sum.output_tokens,
    }
}

impl Desk {
    /// How people call a team; calls of none belong to nobody.
    async fn team_alias(&self, id: &str) -> String {
        if id.is_empty() {
            return "Unassigned Team".to_owned();
        }
        let alias = self.team(id).await.map(|team| team.display_name).unwrap_or_default();
        if alias.is_empty() { id.to_owned() } else { alias }
    }
}
