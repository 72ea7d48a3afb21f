//! `GET /spend/logs`: the ledger, a row for each attempt that a provider billed, or its sums by day.

use std::collections::{BTreeMap, HashMap};

use axum::{
    body::Body,
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use serde::Serialize;
use tollgate_proto::v1::{LedgerEntry, LedgerEntryKind, ListLedgerEntriesRequest, Usage};

use crate::{
    Gateway,
    litellm::{answer::tell_ignored, desk::Desk, failure::Failure, money::Dollars, query::Query, times},
};

/// Most entries of a page.
const PAGE: i32 = 1_000;

/// A row, with the names that LiteLLM gives its columns.
#[derive(Serialize)]
struct LogRow {
    request_id: String,
    litellm_call_id: String,
    api_key: String,
    spend: Dollars,
    total_tokens: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    #[serde(rename = "startTime")]
    start_time: Option<String>,
    #[serde(rename = "endTime")]
    end_time: Option<String>,
    /// From the beginning of the call until the attempt was booked.
    request_duration_ms: Option<i64>,
    /// The alias that was asked for.
    model: String,
    model_group: String,
    model_id: String,
    custom_llm_provider: String,
    user: Option<String>,
    team_id: Option<String>,
    organization_id: Option<String>,
    end_user: Option<String>,
    request_tags: Vec<String>,
    cache_hit: &'static str,
    status: &'static str,
    metadata: LogMetadata,
}

/// What LiteLLM has no column for.
#[derive(Serialize)]
struct LogMetadata {
    attempt_id: String,
    upstream_model: String,
    upstream_request_id: String,
    outcome: String,
    /// `exact`, `estimated`, `recovered`, `cache_hit` or `adjustment`.
    kind: String,
}

/// Names of places by our ids, each asked for once.
#[derive(Default)]
pub(crate) struct Names {
    teams: HashMap<String, Option<String>>,
    users: HashMap<String, Option<String>>,
    organizations: HashMap<String, Option<String>>,
}

impl Names {
    pub(crate) async fn team(&mut self, desk: &Desk, id: &str) -> Option<String> {
        if !self.teams.contains_key(id) {
            self.teams.insert(id.to_owned(), desk.team_named(id).await);
        }
        self.teams.get(id).cloned().flatten()
    }

    pub(crate) async fn user(&mut self, desk: &Desk, id: &str) -> Option<String> {
        if !self.users.contains_key(id) {
            self.users.insert(id.to_owned(), desk.user_named(id).await);
        }
        self.users.get(id).cloned().flatten()
    }

    async fn organization(&mut self, desk: &Desk, id: &str) -> Option<String> {
        if !self.organizations.contains_key(id) {
            self.organizations.insert(id.to_owned(), desk.organization_named(id).await);
        }
        self.organizations.get(id).cloned().flatten()
    }
}

async fn row(desk: &Desk, names: &mut Names, entry: LedgerEntry) -> LogRow {
    let (prompt_tokens, completion_tokens) = tokens(entry.usage.as_ref());
    let given = |text: String| (!text.is_empty()).then_some(text);
    let kind = LedgerEntryKind::try_from(entry.kind).unwrap_or_default();
    let (begun, settled) = (times::of_id(&entry.call_id), entry.settle_time);
    LogRow {
        start_time: times::text(begun.or(settled).as_ref()),
        end_time: times::text(settled.as_ref()),
        request_duration_ms: begun.zip(settled).map(|(begun, settled)| times::ms_between(&begun, &settled)),
        litellm_call_id: entry.call_id.clone(),
        request_id: entry.call_id,
        api_key: entry.key_id,
        spend: Dollars(entry.cost_nano_usd),
        total_tokens: prompt_tokens.saturating_add(completion_tokens),
        prompt_tokens,
        completion_tokens,
        model_group: entry.model.clone(),
        model: entry.model,
        model_id: entry.deployment,
        custom_llm_provider: entry.provider,
        user: names.user(desk, &entry.user_id).await,
        team_id: names.team(desk, &entry.team_id).await,
        organization_id: names.organization(desk, &entry.organization_id).await,
        end_user: given(entry.customer),
        request_tags: entry.tags,
        cache_hit: if kind == LedgerEntryKind::CacheHit { "True" } else { "False" },
        status: if entry.outcome == "failed" { "failure" } else { "success" },
        metadata: LogMetadata {
            attempt_id: entry.attempt_id,
            upstream_model: entry.upstream_model,
            upstream_request_id: entry.upstream_request_id,
            outcome: entry.outcome,
            kind: kind.as_str_name().trim_start_matches("LEDGER_ENTRY_KIND_").to_lowercase(),
        },
    }
}

/// Tokens read and written.
pub(crate) fn tokens(usage: Option<&Usage>) -> (u64, u64) {
    let read = usage.and_then(|usage| usage.input.as_ref()).map_or(0, |input| input.total);
    (read, usage.and_then(|usage| usage.output.as_ref()).map_or(0, |output| output.total))
}

/// Takes the span of time from a query; a last day counts whole.
pub(crate) fn span(query: &mut Query, asked: &mut ListLedgerEntriesRequest) -> Result<(), Failure> {
    let start = query.text("start_date").map(|text| times::moment(&text)).transpose();
    let end = query.text("end_date").map(|text| times::end(&text)).transpose();
    asked.start_time = start.map_err(|what| Failure::field("start_date", what))?;
    asked.end_time = end.map_err(|what| Failure::field("end_date", what))?;
    Ok(())
}

/// One page of the ledger; `asked` goes on to the next, with an empty token behind the last.
async fn page(desk: &Desk, asked: &mut ListLedgerEntriesRequest) -> Result<Vec<LedgerEntry>, Failure> {
    asked.page_size = PAGE;
    let request = desk.ask(asked.clone());
    let page = desk.gateway.budgets().list_ledger_entries(request).await?.into_inner();
    asked.page_token = page.next_page_token;
    Ok(page.entries)
}

/// Every entry, one after the other.
pub(crate) async fn each(
    desk: &Desk,
    mut asked: ListLedgerEntriesRequest,
    mut take: impl FnMut(LedgerEntry),
) -> Result<(), Failure> {
    loop {
        page(desk, &mut asked).await?.into_iter().for_each(&mut take);
        if asked.page_token.is_empty() {
            return Ok(());
        }
    }
}

pub(crate) async fn logs(State(gateway): State<Gateway>, request: Request) -> Result<Response, Failure> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    let mut asked = ListLedgerEntriesRequest::default();
    if let Some(key) = query.text("api_key") {
        asked.key_id = desk.key(&key).await?.id;
    }
    if let Some(id) = query.text("user_id") {
        asked.user_id = desk.user(&id).await?.id;
    }
    if let Some(id) = query.text("team_id") {
        asked.team_id = desk.team(&id).await?.id;
    }
    asked.call_id = query.text("request_id").unwrap_or_default();
    span(&mut query, &mut asked)?;
    let in_span = asked.start_time.is_some() && asked.end_time.is_some();
    let by_day = query.flag("summarize")?.unwrap_or(true) && in_span && asked.call_id.is_empty();
    let mut response = match by_day {
        true => axum::Json(days(&desk, asked).await?).into_response(),
        false => rows(desk, asked).await?,
    };
    tell_ignored(&mut response, &query.left());
    Ok(response)
}

/// The rows, page by page: there is no end to how many there may be.
async fn rows(desk: Desk, mut asked: ListLedgerEntriesRequest) -> Result<Response, Failure> {
    // What can be refused is refused before the answer begins.
    let first = page(&desk, &mut asked).await?;
    let begun = (desk, asked, Names::default(), Some(first), true);
    let pages = stream::try_unfold(begun, |(desk, mut asked, mut names, entries, is_first)| async move {
        let entries = match entries {
            Some(entries) => entries,
            None if asked.page_token.is_empty() => return Ok(None),
            None => page(&desk, &mut asked).await.map_err(|failure| std::io::Error::other(format!("{failure:?}")))?,
        };
        let mut text = if is_first { b"[".to_vec() } else { Vec::new() };
        for (i, entry) in entries.into_iter().enumerate() {
            if i > 0 || !is_first {
                text.push(b',');
            }
            serde_json::to_writer(&mut text, &row(&desk, &mut names, entry).await)?;
        }
        if asked.page_token.is_empty() {
            text.push(b']');
        }
        Ok::<_, std::io::Error>(Some((Bytes::from(text), (desk, asked, names, None, false))))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(pages)).into_response())
}

/// The sums of a day: by key beside the rest, by user and by model.
#[derive(Default, Serialize)]
struct Day {
    #[serde(rename = "startTime")]
    start_time: String,
    spend: Dollars,
    users: BTreeMap<String, Dollars>,
    models: BTreeMap<String, Dollars>,
    #[serde(flatten)]
    keys: BTreeMap<String, Dollars>,
}

async fn days(desk: &Desk, asked: ListLedgerEntriesRequest) -> Result<Vec<Day>, Failure> {
    let mut days = BTreeMap::<String, Day>::new();
    each(desk, asked, |entry| {
        let name = times::day(&entry.settle_time.unwrap_or_default());
        let day = days.entry(name.clone()).or_insert_with(|| Day { start_time: name, ..Day::default() });
        let cost = entry.cost_nano_usd;
        let sums = [
            &mut day.spend,
            day.users.entry(entry.user_id).or_default(),
            day.models.entry(entry.model).or_default(),
            day.keys.entry(entry.key_id).or_default(),
        ];
        sums.into_iter().for_each(|sum| sum.0 = sum.0.saturating_add(cost));
    })
    .await?;
    let mut names = Names::default();
    let mut told = Vec::new();
    for mut day in days.into_values() {
        let mut users = BTreeMap::new();
        for (id, spend) in std::mem::take(&mut day.users) {
            users.insert(names.user(desk, &id).await.unwrap_or_default(), spend);
        }
        day.users = users;
        told.push(day);
    }
    Ok(told)
}
