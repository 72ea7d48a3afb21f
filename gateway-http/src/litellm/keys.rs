//! `/key/*`: virtual keys.

use std::collections::HashMap;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tollgate_proto::v1::{
    BlockKeyRequest, BudgetIncrease, BudgetScope, CreateKeyRequest, IncreaseBudgetRequest, Key, KeyState,
    ListKeysRequest, MoveKeyRequest, RevokeKeyRequest, RotateKeyRequest, UnblockKeyRequest, UpdateKeyRequest, User,
};

use crate::{
    Gateway,
    error::Refusal,
    forward::{self, Named},
    litellm::{
        answer::{Answer, Answered, tell_ignored},
        desk::Desk,
        failure::Failure,
        fields::Fields,
        key_fields::{self, KeyWish},
        key_rows::{KeyRow, scope},
        labels,
        purse::{Held, Purse},
        query::Query,
        times, users,
    },
};

/// A key; `key` is its secret this once, and its token where it was made before.
#[derive(Serialize)]
pub(crate) struct KeyMade {
    key: String,
    #[serde(flatten)]
    row: KeyRow,
}

/// A key made with another thing.
pub(crate) struct Made {
    pub(crate) key: Key,
    pub(crate) secret: String,
}

/// Makes a key with the budgets of its purse: both or neither.
pub(crate) async fn make(desk: &Desk, wish: KeyWish, place: Key, purse: &Purse) -> Result<Made, Failure> {
    make_with(desk, wish, place, purse, String::new()).await
}

/// The same with a secret of the caller's own, where it is not empty.
async fn make_with(desk: &Desk, wish: KeyWish, place: Key, purse: &Purse, secret: String) -> Result<Made, Failure> {
    let blocked = wish.blocked == Some(true);
    let budgets = purse.budgets(&BudgetScope::default());
    let key = wish.key(desk, place).await?;
    let asked = CreateKeyRequest { key: Some(key), budgets, unique_display_name: true, secret, ..Default::default() };
    let made = desk.gateway.keys().create_key(desk.ask(asked)).await;
    let made = made.map_err(|status| Failure::from(status).called("secret", "key"))?.into_inner();
    let mut key = made.key.unwrap_or_default();
    if blocked {
        key = block_key(desk, &key.id, true).await?;
    }
    Ok(Made { key, secret: made.secret })
}

pub(crate) async fn generate(State(gateway): State<Gateway>, request: Request) -> Answered<KeyMade> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let wish = KeyWish::take(&mut fields)?;
    let purse = Purse::take_with_id(&mut fields, &desk).await?;
    let secret = fields.text("key")?.unwrap_or_default();
    let key_type = fields.text("key_type")?;
    let (organization_id, team_id) = (fields.text("organization_id")?, fields.text("team_id")?);
    let user_id = fields.text("user_id")?;
    let mut ignored = fields.finish()?;
    ignored.extend(purse.ignored());
    let place = place(&desk, organization_id, team_id, user_id).await?;
    let role = key_fields::role(key_type.as_deref(), &place)?;
    let made = make_with(&desk, wish, Key { role: role as i32, ..place }, &purse, secret).await?;
    let row = KeyRow::of(&desk, &made.key).await?;
    Ok(Answer::ignoring(KeyMade { key: made.secret, row }, ignored))
}

/// Where a key is to lie. A user that does not exist yet is made, as scripts expect that never call `user/new`.
async fn place(
    desk: &Desk,
    organization_id: Option<String>,
    team_id: Option<String>,
    user_id: Option<String>,
) -> Result<Key, Failure> {
    let mut place = Key::default();
    if let Some(id) = organization_id {
        place.organization_id = desk.organization(&id).await?.id;
    }
    if let Some(id) = team_id {
        let team = desk.team(&id).await?;
        (place.team_id, place.organization_id) = (team.id, team.organization_id);
    }
    if let Some(id) = user_id {
        let mut metadata = HashMap::new();
        labels::choose_id(&mut metadata, labels::USER_ID, Some(id.clone()));
        let fresh = User { organization_id: place.organization_id.clone(), metadata, ..User::default() };
        place.user_id = users::find_or_make(desk, &id, fresh).await?.id;
    }
    Ok(place)
}

/// The key that a body means, by `key`, `token` or, without these, by its alias.
async fn meant(desk: &Desk, fields: &mut Fields) -> Result<Key, Failure> {
    let named = match fields.text("key")? {
        Some(key) => Some(key),
        None => fields.text("token")?,
    };
    match named {
        Some(key) => desk.key(&key).await,
        None => match fields.text("key_alias")? {
            Some(alias) => desk.key_of_alias(&alias).await,
            None => Err(Failure::field("key", "is needed: the key, its token, or its key_alias")),
        },
    }
}

pub(crate) async fn update(State(gateway): State<Gateway>, request: Request) -> Answered<KeyMade> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let key = meant(&desk, &mut fields).await?;
    let (key, ignored) = change(&desk, key, fields).await?;
    let row = KeyRow::of(&desk, &key).await?;
    Ok(Answer::ignoring(KeyMade { key: row.token.clone(), row }, ignored))
}

/// Changes a key by the fields of a request: money first, so that a limit never lags behind the rights.
async fn change(desk: &Desk, mut key: Key, mut fields: Fields) -> Result<(Key, Vec<String>), Failure> {
    let wish = KeyWish::take(&mut fields)?;
    let purse = Purse::take_with_id(&mut fields, desk).await?;
    let raise = fields.money("temp_budget_increase")?;
    let until = fields.text("temp_budget_expiry")?;
    let team_id = fields.patch::<String>("team_id", "a string")?;
    let user_id = fields.patch::<String>("user_id", "a string")?;
    if let Some(organization_id) = fields.text("organization_id")?
        && desk.organization(&organization_id).await?.id != key.organization_id
    {
        return Err(Failure::field("organization_id", "a key stays in its organization; make another key there"));
    }
    let ignored = fields.finish()?;
    purse.change(desk, &scope(&key.id)).await?;
    if raise.is_some() || until.is_some() {
        increase(desk, &key.id, raise.flatten(), until).await?;
    }
    let blocked = wish.blocked;
    let (changed, paths) = wish.over(desk, key.clone()).await?;
    if !paths.is_empty() {
        let renamed = paths.iter().any(|path| path == "display_name");
        let update_mask = Some(prost_types::FieldMask { paths });
        let asked = desk.ask(UpdateKeyRequest { key: Some(changed), update_mask, unique_display_name: renamed });
        key = desk.gateway.keys().update_key(asked).await?.into_inner().key.unwrap_or_default();
    }
    if team_id.is_some() || user_id.is_some() {
        key = move_key(desk, key, team_id, user_id).await?;
    }
    if let Some(blocked) = blocked.filter(|blocked| *blocked != (key.state() == KeyState::Blocked)) {
        key = block_key(desk, &key.id, blocked).await?;
    }
    Ok((key, ignored))
}

async fn move_key(
    desk: &Desk,
    key: Key,
    team_id: Option<Option<String>>,
    user_id: Option<Option<String>>,
) -> Result<Key, Failure> {
    let mut asked = MoveKeyRequest { id: key.id.clone(), team_id: None, user_id: None };
    if let Some(team_id) = team_id {
        asked.team_id = Some(match team_id.filter(|id| !id.is_empty()) {
            Some(id) => desk.team(&id).await?.id,
            None => String::new(),
        });
    }
    if let Some(user_id) = user_id {
        asked.user_id = Some(match user_id.filter(|id| !id.is_empty()) {
            Some(id) => desk.user(&id).await?.id,
            None => String::new(),
        });
    }
    let stays = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|id| id == is);
    if stays(&asked.team_id, &key.team_id) && stays(&asked.user_id, &key.user_id) {
        return Ok(key);
    }
    let moved = desk.gateway.tenancy().move_key(desk.ask(asked)).await?.into_inner();
    Ok(moved.key.unwrap_or_default())
}

/// Raises the key's budget for a time, or ends that.
async fn increase(desk: &Desk, key_id: &str, by: Option<i64>, until: Option<String>) -> Result<(), Failure> {
    let budgets = desk.budgets_on(&scope(key_id)).await?;
    let Some(budget) = Held::of(&budgets).max else {
        return Err(Failure::field("temp_budget_increase", "the key has no max_budget to raise"));
    };
    let increase = match (by, until) {
        (None | Some(0), _) => None,
        (Some(_), None) => return Err(Failure::field("temp_budget_expiry", "is needed: until when it is raised")),
        (Some(amount_nano_usd), Some(until)) => {
            let expires = times::moment(&until).map_err(|what| Failure::field("temp_budget_expiry", what))?;
            Some(BudgetIncrease { amount_nano_usd, expire_time: Some(expires), reason: "key/update".into() })
        }
    };
    let asked = desk.ask(IncreaseBudgetRequest { id: budget.id.clone(), increase });
    desk.gateway.budgets().increase_budget(asked).await?;
    Ok(())
}

pub(crate) async fn block(State(gateway): State<Gateway>, request: Request) -> Answered<KeyRow> {
    set_blocked(gateway, request, true).await
}

pub(crate) async fn unblock(State(gateway): State<Gateway>, request: Request) -> Answered<KeyRow> {
    set_blocked(gateway, request, false).await
}

async fn set_blocked(gateway: Gateway, request: Request, blocked: bool) -> Answered<KeyRow> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let key = meant(&desk, &mut fields).await?;
    let ignored = fields.finish()?;
    let key = block_key(&desk, &key.id, blocked).await?;
    Ok(Answer::ignoring(KeyRow::of(&desk, &key).await?, ignored))
}

async fn block_key(desk: &Desk, id: &str, blocked: bool) -> Result<Key, Failure> {
    let (mut keys, id) = (desk.gateway.keys(), id.to_owned());
    let key = match blocked {
        true => keys.block_key(desk.ask(BlockKeyRequest { id })).await?.into_inner().key,
        false => keys.unblock_key(desk.ask(UnblockKeyRequest { id })).await?.into_inner().key,
    };
    Ok(key.unwrap_or_default())
}

/// What was deleted, as the caller named it.
#[derive(Serialize)]
pub(crate) struct Deleted {
    deleted_keys: Vec<String>,
}

pub(crate) async fn delete(State(gateway): State<Gateway>, request: Request) -> Answered<Deleted> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let (keys, aliases) = (fields.texts("keys")?, fields.texts("key_aliases")?);
    let ignored = fields.finish()?;
    if keys.is_none() && aliases.is_none() {
        return Err(Failure::field("keys", "is needed, or key_aliases: what to delete"));
    }
    // Found first, all of them: a name that is wrong deletes nothing.
    let mut found = Vec::new();
    for named in keys.unwrap_or_default() {
        if named.is_empty() {
            return Err(Failure::field("keys", "names a key by an empty text"));
        }
        found.push((desk.key(&named).await?.id, named));
    }
    for alias in aliases.unwrap_or_default() {
        found.push((desk.key_of_alias(&alias).await?.id, alias));
    }
    let mut deleted_keys = Vec::new();
    for (id, named) in found {
        desk.gateway.keys().revoke_key(desk.ask(RevokeKeyRequest { id })).await?;
        deleted_keys.push(named);
    }
    Ok(Answer::ignoring(Deleted { deleted_keys }, ignored))
}

pub(crate) async fn regenerate(State(gateway): State<Gateway>, request: Request) -> Answered<KeyMade> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let key = meant(&desk, &mut fields).await?;
    rotate(&desk, key, fields).await
}

pub(crate) async fn regenerate_named(
    State(gateway): State<Gateway>,
    path: Named,
    request: Request,
) -> Answered<KeyMade> {
    let (desk, fields) = Desk::open(gateway, request).await?;
    let named = forward::named(path, "key", "key").map_err(Refusal::from)?;
    let key = desk.key(&named).await?;
    rotate(&desk, key, fields).await
}

/// A new secret, after whatever else the body changes.
async fn rotate(desk: &Desk, key: Key, mut fields: Fields) -> Answered<KeyMade> {
    let grace_seconds = fields.seconds("grace_period")?;
    let secret = fields.text("new_key")?.unwrap_or_default();
    let (key, ignored) = change(desk, key, fields).await?;
    let asked = desk.ask(RotateKeyRequest { id: key.id, grace_seconds, secret });
    let made = desk.gateway.keys().rotate_key(asked).await;
    let made = made.map_err(|status| Failure::from(status).called("secret", "new_key"))?.into_inner();
    let row = KeyRow::of(desk, &made.key.unwrap_or_default()).await?;
    Ok(Answer::ignoring(KeyMade { key: made.secret, row }, ignored))
}

/// A key under the name by which it was asked for.
#[derive(Serialize)]
pub(crate) struct KeyInfo {
    key: String,
    info: KeyRow,
}

pub(crate) async fn info(State(gateway): State<Gateway>, request: Request) -> Answered<KeyInfo> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    let named = query.text("key").unwrap_or_default();
    let key = desk.key(&named).await?;
    let info = KeyRow::of(&desk, &key).await?;
    let shown = if named.is_empty() { info.token.clone() } else { named };
    Ok(Answer::ignoring(KeyInfo { key: shown, info }, query.left()))
}

/// A page of keys, by their tokens or as rows.
#[derive(Serialize)]
struct KeyList<T> {
    keys: Vec<T>,
    total_count: usize,
    current_page: usize,
    total_pages: usize,
}

pub(crate) async fn list(State(gateway): State<Gateway>, request: Request) -> Result<Response, Failure> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    let (page, size) = (query.count("page", 1, 1_000_000)?, query.count("size", 10, 100)?);
    let mut asked = ListKeysRequest::default();
    if let Some(id) = query.text("organization_id") {
        asked.organization_id = desk.organization(&id).await?.id;
    }
    if let Some(id) = query.text("team_id") {
        asked.team_id = desk.team(&id).await?.id;
    }
    if let Some(id) = query.text("user_id") {
        asked.user_id = desk.user(&id).await?.id;
    }
    let (alias, hash) = (query.text("key_alias"), query.text("key_hash"));
    let whole = query.flag("return_full_object")?.unwrap_or(false);
    let deleted = query.text("status").is_some_and(|status| status == "deleted");
    let mut keys = desk.keys(asked).await?;
    keys.retain(|key| {
        (key.state() == KeyState::Revoked) == deleted
            && alias.as_ref().is_none_or(|alias| key.display_name == *alias)
            && hash.as_ref().is_none_or(|hash| key.id == *hash)
    });
    // LiteLLM shows the newest first.
    keys.reverse();
    let total_count = keys.len();
    let total_pages = total_count.div_ceil(size);
    let shown: Vec<_> = keys.into_iter().skip((page - 1).saturating_mul(size)).take(size).collect();
    let mut response = if whole {
        let mut rows = Vec::new();
        for key in &shown {
            rows.push(KeyRow::of(&desk, key).await?);
        }
        axum::Json(KeyList { keys: rows, total_count, current_page: page, total_pages }).into_response()
    } else {
        let keys: Vec<_> = shown.into_iter().map(|key| key.id).collect();
        axum::Json(KeyList { keys, total_count, current_page: page, total_pages }).into_response()
    };
    tell_ignored(&mut response, &query.left());
    Ok(response)
}
