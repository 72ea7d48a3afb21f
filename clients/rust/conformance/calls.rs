//! The calls that a case may ask for.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::{Message, Name};
use serde_json::{Value, json};
use tollgate_client::{Client, Error, json as proto_json, v1};

use crate::{Call, Case, media, saw};

/// Makes the call of a case.
pub(crate) async fn play(address: &str, case: &Case) -> anyhow::Result<Value> {
    let call = &case.call;
    let mut client = match connected(address, case) {
        Ok(client) => client,
        Err(error) => return Ok(json!({"error": {"type": "Connect", "message": error.to_string()}})),
    };
    if let Some(ms) = call.deadline_ms {
        client = client.with_timeout(Duration::from_millis(ms));
    }
    if let Some(parent) = &call.traceparent {
        client = client.with_trace_parent(parent)?;
    }
    let mut answers = Vec::new();
    for _ in 1..call.times.unwrap_or(1) {
        answers.extend(Box::pin(once(&client, call)).await?.get("answer").cloned());
    }
    let mut last = Box::pin(once(&client, call)).await?;
    if call.times.is_some() {
        answers.extend(last.get("answer").cloned());
        last["answers"] = answers.into();
    }
    Ok(last)
}

fn connected(address: &str, case: &Case) -> anyhow::Result<Client> {
    let mut builder = Client::builder().address(address);
    if let Some(ca) = &case.tls.ca {
        builder = builder.ca_pem(fs::read(ca)?);
    }
    if let (Some(certificate), Some(key)) = (&case.tls.certificate, &case.tls.private_key) {
        builder = builder.identity_pem(fs::read(certificate)?, fs::read(key)?);
    }
    Ok(match case.key.as_deref() {
        Some(key) => builder.key(key).connect_lazy()?,
        None => builder.without_key().connect_lazy()?,
    })
}

async fn once(client: &Client, call: &Call) -> anyhow::Result<Value> {
    let take = call.take.unwrap_or(usize::MAX);
    Ok(match call.what.as_str() {
        "complete" => match client.complete(asked(call)?).await {
            Ok(answer) => saw::answer(&answer)?,
            Err(error) => failed(&error),
        },
        "stream" => streamed(client, call).await?,
        "count_tokens" => {
            let mut completions = client.completions();
            let asked = v1::CountTokensRequest { request: Some(asked(call)?) };
            told(completions.count_tokens(asked).await.map(tonic::Response::into_inner).map_err(Error::from))?
        }
        "embed" => told(client.embeddings().send(asked(call)?).await)?,
        "get_model" => told(client.models().get(&asked::<v1::GetModelRequest>(call)?.name).await)?,
        "list_models" => items(client.models().list(), take).await?,

        "create_key" => told(client.keys().create(asked(call)?).await)?,
        "rotate_key" => {
            let asked: v1::RotateKeyRequest = asked(call)?;
            told(client.keys().rotate(&asked.id, asked.grace_seconds.unwrap_or(0)).await)?
        }
        "get_key" => {
            let asked: v1::GetKeyRequest = asked(call)?;
            let keys = client.keys();
            told(if asked.secret.is_empty() { keys.get(&asked.id).await } else { keys.by_secret(&asked.secret).await })?
        }
        "update_key" => {
            let asked: v1::UpdateKeyRequest = asked(call)?;
            told(client.keys().update(asked.key.unwrap_or_default(), paths(asked.update_mask)).await)?
        }
        "block_key" => told(client.keys().block(&asked::<v1::BlockKeyRequest>(call)?.id).await)?,
        "unblock_key" => told(client.keys().unblock(&asked::<v1::UnblockKeyRequest>(call)?.id).await)?,
        "revoke_key" => told(client.keys().revoke(&asked::<v1::RevokeKeyRequest>(call)?.id).await)?,
        "list_keys" => items(client.keys().list(asked(call)?), take).await?,

        "create_team" => told(client.teams().create(asked(call)?).await)?,
        "get_team" => told(client.teams().get(&asked::<v1::GetTeamRequest>(call)?.id).await)?,
        "update_team" => {
            let asked: v1::UpdateTeamRequest = asked(call)?;
            told(client.teams().update(asked.team.unwrap_or_default(), paths(asked.update_mask)).await)?
        }
        "list_teams" => items(client.teams().list(asked(call)?), take).await?,
        "delete_team" => nothing(client.teams().delete(&asked::<v1::DeleteTeamRequest>(call)?.id).await),
        "create_user" => told(client.users().create(asked(call)?).await)?,
        "list_users" => items(client.users().list(asked(call)?), take).await?,
        "create_organization" => told(client.organizations().create(asked(call)?).await)?,
        "list_organizations" => items(client.organizations().list(asked(call)?), take).await?,

        "create_budget" => told(client.budgets().create(asked(call)?).await)?,
        "get_budget" => told(client.budgets().get(&asked::<v1::GetBudgetRequest>(call)?.id).await)?,
        "update_budget" => {
            let asked: v1::UpdateBudgetRequest = asked(call)?;
            told(client.budgets().update(asked.budget.unwrap_or_default(), paths(asked.update_mask)).await)?
        }
        "increase_budget" => {
            let asked: v1::IncreaseBudgetRequest = asked(call)?;
            told(client.budgets().increase(&asked.id, asked.increase).await)?
        }
        "list_budgets" => items(client.budgets().list(asked(call)?), take).await?,
        "delete_budget" => nothing(client.budgets().delete(&asked::<v1::DeleteBudgetRequest>(call)?.id).await),

        "get_spend" => told(client.spend().get(asked(call)?).await)?,
        "list_ledger" => items(client.spend().entries(asked(call)?), take).await?,
        "query_audit" => match client.audit().query(asked(call)?).await {
            Ok(records) => items(records, take).await?,
            Err(error) => failed(&error),
        },
        "tail_audit" => match client.audit().tail(asked(call)?).await {
            Ok(records) => items(records, take).await?,
            Err(error) => failed(&error),
        },
        _ => media::once(client, call).await?,
    })
}

/// The request of a case.
pub(crate) fn asked<M: Message + Name + Default>(call: &Call) -> anyhow::Result<M> {
    let request = if call.request.is_null() { json!({}) } else { call.request.clone() };
    proto_json::from_value(request).with_context(|| format!("request of {}", call.what))
}

fn paths(mask: Option<prost_types::FieldMask>) -> Vec<String> {
    mask.unwrap_or_default().paths
}

pub(crate) fn told<M: Message + Name>(answer: Result<M, Error>) -> anyhow::Result<Value> {
    Ok(match answer {
        Ok(message) => json!({"answer": proto_json::to_value(&message)?}),
        Err(error) => failed(&error),
    })
}

pub(crate) fn nothing(done: Result<(), Error>) -> Value {
    match done {
        Ok(()) => json!({"answer": {}}),
        Err(error) => failed(&error),
    }
}

pub(crate) fn failed(error: &Error) -> Value {
    json!({"error": saw::error(error)})
}

pub(crate) async fn items<M, S>(list: S, take: usize) -> anyhow::Result<Value>
where
    M: Message + Name,
    S: Stream<Item = Result<M, Error>>,
{
    let mut list = Box::pin(list.take(take));
    let mut items = Vec::new();
    loop {
        match list.try_next().await {
            Ok(Some(item)) => items.push(proto_json::to_value(&item)?),
            Ok(None) => return Ok(json!({"items": items})),
            Err(error) => return Ok(json!({"items": items, "error": saw::error(&error)})),
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64)
}

async fn streamed(client: &Client, call: &Call) -> anyhow::Result<Value> {
    let mut events = match client.stream(asked(call)?).await {
        Ok(events) => events,
        Err(error) => return Ok(failed(&error)),
    };
    let mut seen = saw::Stream::default();
    loop {
        match events.try_next().await {
            Ok(Some(event)) => seen.take(&event),
            Ok(None) => break,
            Err(error) => {
                let mut told = seen.told();
                told["error"] = saw::error(&error);
                return Ok(told);
            }
        }
        if call.cancel_after_events.is_some_and(|after| seen.received >= after) {
            let now = now_ms()?;
            drop(events);
            let mut told = seen.told();
            told["cancelled"] = true.into();
            told["cancelled_at_ms"] = now.into();
            return Ok(told);
        }
    }
    let mut told = saw::answer(&events.collect().await?)?;
    let members = seen.told();
    for (name, value) in members.as_object().into_iter().flatten() {
        told[name] = value.clone();
    }
    Ok(told)
}
