//! What a conversation goes on from, and keeping what it came to.

use axum::http::request::Parts;
use serde_json::{Value, json, value::RawValue};
use tollgate_proto::v1::{
    GetConversationRequest, GetResponseRequest, ResponseState, StoreResponseRequest, StoredResponse,
    get_response_request::By,
};

use crate::{
    Gateway,
    error::Refusal,
    forward,
    openai::{
        Invalid,
        members::{Members, edited, items, string},
    },
};

/// A turn of a conversation, as it was asked for.
pub(super) struct Turn {
    /// The request that stands alone: what it goes on from and what it refers to is in its `input`.
    pub(super) body: String,
    /// The items of this turn alone.
    pub(super) items: Vec<String>,
    /// The response that it goes on from.
    pub(super) previous: Option<String>,
}

impl Turn {
    /// Reads a body, and from the gateway's store what it goes on from.
    pub(super) async fn read(gateway: &Gateway, parts: &Parts, body: &str) -> Result<Self, Refusal> {
        let mut m = Members::read(body, "")?;
        let previous: Option<String> = m.take::<String>("previous_response_id")?.filter(|id| !id.is_empty());
        let mut own = own_items(m.raw("input"))?;
        let mut changes = previous.is_some();
        for (i, item) in own.iter_mut().enumerate() {
            if let Some(id) = reference(item, i)? {
                *item = find(gateway, parts, &id, i).await?;
                changes = true;
            }
        }
        let mut all = Vec::new();
        if let Some(id) = &previous {
            all = conversation(gateway, parts, id).await?;
        }
        // Untouched where nothing has to be put in.
        let body = match changes {
            false => edited_if_there(body)?,
            true => {
                all.extend(own.iter().cloned());
                let input = format!("[{}]", all.join(","));
                edited(body, "", &[("input", Some(&input)), ("previous_response_id", None)])?
            }
        };
        Ok(Self { body, items: own, previous })
    }
}

/// An id that is null is none, and no provider need see it.
fn edited_if_there(body: &str) -> Result<String, Invalid> {
    match Members::read(body, "")?.peek("previous_response_id") {
        Some(_) => edited(body, "", &[("previous_response_id", None)]),
        None => Ok(body.to_owned()),
    }
}

fn own_items(input: Option<&str>) -> Result<Vec<String>, Invalid> {
    let Some(input) = input else { return Ok(Vec::new()) };
    if let Some(text) = string(input) {
        return Ok(vec![json!({"type": "message", "role": "user", "content": text}).to_string()]);
    }
    if !input.starts_with('[') {
        return Err(Invalid::at("input", "must be a string or an array of items"));
    }
    Ok(items(input, "input")?.into_iter().map(str::to_owned).collect())
}

/// The id of the item that an item refers to.
fn reference(item: &str, place: usize) -> Result<Option<String>, Invalid> {
    let mut m = Members::read(item, &format!("input[{place}]"))?;
    let kind: Option<String> = m.take("type")?;
    // The type may be left out where there is nothing but the id.
    let bare = kind.is_none() && m.peek("role").is_none();
    match kind.as_deref() == Some("item_reference") || bare {
        true => Ok(Some(m.take("id")?.ok_or_else(|| Invalid::at(m.path("id"), "is required"))?)),
        false => Ok(None),
    }
}

/// An item of a response that is kept: of an answer, or of what was asked, whose ids say where.
async fn find(gateway: &Gateway, parts: &Parts, id: &str, place: usize) -> Result<String, Refusal> {
    let gone = || {
        let message = format!("there is no item {id:?} among the responses that this key keeps; send the item itself");
        Refusal::new(404, "invalid_request_error", "item_not_found", message).about(&format!("input[{place}].id"))
    };
    let by = match id.split_once('_').and_then(|(_, rest)| rest.rsplit_once("_i")) {
        Some((stem, _)) => By::Id(format!("resp_{stem}")),
        None => By::ItemId(id.to_owned()),
    };
    let response = get(gateway, parts, by).await.map_err(|refusal| refusal.or(404, gone))?;
    let is_it = |item: &String| id_of(item).as_deref() == Some(id);
    let found = output_items(&response.response_json).into_iter().find(is_it);
    found.or_else(|| shown_items(&response).into_iter().find(is_it)).ok_or_else(gone)
}

/// Everything up to a response, in order.
async fn conversation(gateway: &Gateway, parts: &Parts, id: &str) -> Result<Vec<String>, Refusal> {
    let asked = forward::request(gateway, parts, GetConversationRequest { id: id.to_owned() });
    let turns = gateway.responses().get_conversation(asked).await;
    let turns =
        turns.map_err(|status| Refusal::from(status).about_named("previous_response_id"))?.into_inner().responses;
    let is_made = |turn: &StoredResponse| matches!(turn.state(), ResponseState::Running | ResponseState::Cancelling);
    if turns.last().is_some_and(is_made) {
        let what = "is still being made in the background; go on from it when it has ended";
        return Err(Invalid::at("previous_response_id", what).into());
    }
    let items = turns.into_iter().flat_map(|turn| {
        let output = output_items(&turn.response_json);
        turn.input_items_json.into_iter().chain(output)
    });
    Ok(items.collect())
}

/// One response that the caller's key keeps.
pub(super) async fn get(gateway: &Gateway, parts: &Parts, by: By) -> Result<StoredResponse, Refusal> {
    let asked = forward::request(gateway, parts, GetResponseRequest { by: Some(by) });
    let answer = gateway.responses().get_response(asked).await;
    Ok(answer.map_err(Refusal::from)?.into_inner().response.unwrap_or_default())
}

pub(super) fn output_items(response: &str) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Output<'a> {
        #[serde(borrow, default)]
        output: Vec<&'a RawValue>,
    }
    let output = serde_json::from_str::<Output<'_>>(response).map(|response| response.output);
    output.unwrap_or_default().into_iter().map(|item| item.get().to_owned()).collect()
}

pub(super) fn id_of(item: &str) -> Option<String> {
    let item: Value = serde_json::from_str(item).ok()?;
    item["id"].as_str().map(str::to_owned)
}

/// The items that were asked in a turn, as they are shown: each with an id, messages in their long form.
pub(super) fn shown_items(response: &StoredResponse) -> Vec<String> {
    let stem = response.id.split_once('_').map_or(response.id.as_str(), |(_, stem)| stem);
    let shown = response.input_items_json.iter().enumerate().map(|(i, text)| {
        let mut item: Value = serde_json::from_str(text).unwrap_or_default();
        let kind = item["type"].as_str().unwrap_or("message").to_owned();
        let prefix = match kind.as_str() {
            "message" => "msg",
            "reasoning" => "rs",
            "function_call" => "fc",
            "custom_tool_call" => "ctc",
            "function_call_output" => "fco",
            "custom_tool_call_output" => "ctco",
            _ => "item",
        };
        if kind == "message" {
            lengthen(&mut item);
        }
        if !item["id"].is_string() {
            item["id"] = format!("{prefix}_{stem}_i{i}").into();
        }
        item["type"] = kind.into();
        item.to_string()
    });
    shown.collect()
}

fn lengthen(message: &mut Value) {
    if let Some(text) = message["content"].as_str() {
        message["content"] = match message["role"].as_str() {
            Some("assistant") => json!([{"type": "output_text", "text": text, "annotations": []}]),
            _ => json!([{"type": "input_text", "text": text}]),
        };
    }
    if !message["status"].is_string() {
        message["status"] = "completed".into();
    }
}

/// Keeps an answer with what was asked.
pub(super) struct Keeper {
    pub(super) gateway: Gateway,
    pub(super) parts: Parts,
    pub(super) items: Vec<String>,
    pub(super) previous: Option<String>,
    /// The caller wants it kept.
    pub(super) wanted: bool,
}

impl Keeper {
    /// Tells whether it is kept. That it could not be changes nothing about the answer, which is paid for: it says `store: false`.
    pub(super) async fn keep(&mut self, id: String, response_json: String) -> bool {
        if !self.wanted || id.is_empty() {
            return false;
        }
        let response = StoredResponse {
            id,
            previous_response_id: self.previous.clone().unwrap_or_default(),
            input_items_json: std::mem::take(&mut self.items),
            item_ids: output_items(&response_json).iter().filter_map(|item| id_of(item)).collect(),
            response_json,
            ..StoredResponse::default()
        };
        let asked = forward::request(&self.gateway, &self.parts, StoreResponseRequest { response: Some(response) });
        match self.gateway.responses().store_response(asked).await {
            Ok(kept) => kept.into_inner().expire_time.is_some(),
            Err(status) => {
                tracing::warn!(code = ?status.code(), "a response could not be kept");
                false
            }
        }
    }
}
