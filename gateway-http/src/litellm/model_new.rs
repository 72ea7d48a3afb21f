//! `POST /model/new` and `POST /model/delete`: deployments that live in the store.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::value::RawValue;
use tollgate_proto::v1::{
    CatalogueModel, CreateModelRequest, DeleteModelRequest, GetCatalogueModelRequest, Price, RateLimits, RuntimeModel,
};

use crate::{
    Gateway,
    litellm::{
        answer::{Answer, Answered},
        desk::Desk,
        failure::Failure,
        fields::Fields,
        models::Prices,
        money,
        providers::{Served, is_classic, listings, meant, with_mode},
    },
};

/// What a model is for whose seconds are seconds of sound.
const TRANSCRIPTION: &str = "audio_transcription";

/// A deployment as LiteLLM shows it; its credential is in no answer.
#[derive(Serialize)]
pub(crate) struct Made {
    model_id: String,
    model_name: String,
    litellm_params: ShownParams,
    model_info: ShownInfo,
}

#[derive(Serialize)]
struct ShownParams {
    model: String,
    custom_llm_provider: String,
    api_base: Option<String>,
    rpm: Option<i64>,
    tpm: Option<i64>,
}

#[derive(Serialize)]
struct ShownInfo {
    id: String,
    db_model: bool,
    #[serde(flatten)]
    price: Prices,
}

type Object = BTreeMap<String, Box<RawValue>>;

pub(crate) async fn new(State(gateway): State<Gateway>, request: Request) -> Answered<Made> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let model_name = fields.needed("model_name")?;
    let params = fields.take::<Object>("litellm_params", "an object")?.unwrap_or_default();
    let info = fields.take::<Object>("model_info", "an object")?.unwrap_or_default();
    let (mut params, mut info) = (Fields::of(params), Fields::of(info));
    let account = account(&mut params, &mut info)?;
    let named = base_model(&mut params, &mut info)?;
    let mut ignored = fields.finish()?;
    // As in the file: where the catalogue does not list what is named, the model itself is looked up, and no other name.
    let base = match named.as_ref().map(|(_, named)| named).or(account.served.base_model.as_ref()) {
        Some(named) => listed(&desk, listings(account.served.kind, named)).await?,
        None => None,
    };
    if let (Some((place, _)), None) = (&named, &base) {
        ignored.push((*place).to_owned());
    }
    let base_model = base.as_ref().map(|base| format!("{}/{}", base.provider, base.model)).unwrap_or_default();
    let entry = match base {
        Some(base) => Some(base),
        None => listed(&desk, [(account.served.kind.to_owned(), account.served.model.clone())]).await?,
    };
    let model = RuntimeModel { base_model, ..model(model_name, account, entry.as_ref(), &mut params, &mut info)? };
    ignored.extend(params.finish()?.into_iter().map(|name| format!("litellm_params.{name}")));
    ignored.extend(info.finish()?.into_iter().map(|name| format!("model_info.{name}")));
    let asked = desk.ask(CreateModelRequest { model: Some(model), request_id: String::new() });
    let made = desk.gateway.models().create_model(asked).await?.into_inner().model.unwrap_or_default();
    Ok(Answer::ignoring(shown(made), ignored))
}

/// Who serves a deployment, and on whose account.
struct Account {
    served: Served,
    /// What it is for, where the request says so.
    mode: Option<String>,
    api_key: String,
    api_version: String,
}

/// Reads it as that of a row of the file, but for variables of the environment: whoever makes models chooses the address that keys go to.
fn account(params: &mut Fields, info: &mut Fields) -> Result<Account, Failure> {
    let named = params.needed("model")?;
    let custom = params.text("custom_llm_provider")?;
    let base = params.text("api_base")?.or(params.text("base_url")?);
    let is_given = base.is_some();
    let meant =
        meant(&named, custom.as_deref(), is_given).map_err(|why| Failure::field("litellm_params.model", why))?;
    let mut served = meant.served(base.as_deref(), is_given);
    if served.lacks_address() {
        return Err(Failure::field("litellm_params.api_base", "is needed for this provider"));
    }
    let mode = info.text("mode")?;
    served.kind = with_mode(served.kind, mode.as_deref());
    let api_key = params.text("api_key")?.unwrap_or_default();
    if api_key.is_empty() && !is_given && meant.known.needs_key() {
        let way_out = "is needed for this provider: keys of the environment are for models of the file";
        return Err(Failure::field("litellm_params.api_key", way_out));
    }
    // Left where it is, a version that is not heeded is told as ignored.
    let is_versioned = served.kind == "azure" && !meant.is_foundry();
    let version = if is_versioned { params.text("api_version")? } else { None };
    let api_version = version.filter(|version| is_classic(version)).unwrap_or_default();
    Ok(Account { served, mode, api_key, api_version })
}

/// The model of the catalogue that the request names, by LiteLLM's name of it, behind its place.
fn base_model(params: &mut Fields, info: &mut Fields) -> Result<Option<(&'static str, String)>, Failure> {
    let of_params = params.text("base_model")?.map(|named| ("litellm_params.base_model", named));
    let of_info = info.text("base_model")?.map(|named| ("model_info.base_model", named));
    Ok(of_info.or(of_params))
}

/// What the catalogue lists by the first of these names.
async fn listed(
    desk: &Desk,
    names: impl IntoIterator<Item = (String, String)>,
) -> Result<Option<CatalogueModel>, Failure> {
    let mut models = desk.gateway.models();
    for (provider, model) in names {
        let asked = desk.ask(GetCatalogueModelRequest { provider, model });
        match models.get_catalogue_model(asked).await.map_err(Failure::from) {
            Ok(found) => return Ok(found.into_inner().model),
            Err(failure) if failure.is_missing_model() => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(None)
}

/// The deployment that a request describes. `entry`: what the catalogue says of its model.
fn model(
    model_name: String,
    account: Account,
    entry: Option<&CatalogueModel>,
    params: &mut Fields,
    info: &mut Fields,
) -> Result<RuntimeModel, Failure> {
    let limits = RateLimits {
        requests_per_minute: params.count("rpm")?.flatten(),
        tokens_per_minute: params.count("tpm")?.flatten(),
        concurrent_requests: params.count("max_parallel_requests")?.flatten(),
        requests_per_day: params.count("rpd")?.flatten(),
        full_burst: true,
    };
    let limited = limits != RateLimits { full_burst: true, ..RateLimits::default() };
    let longest = match info.count("max_output_tokens")?.flatten() {
        None => info.count("max_tokens")?.flatten(),
        given => given,
    };
    let mut tags = params.texts("tags")?.unwrap_or_default();
    tags.extend(info.texts("tags")?.unwrap_or_default());
    let mode = account.mode.as_deref().or(entry.map(|entry| entry.mode.as_str())).unwrap_or_default();
    Ok(RuntimeModel {
        model: model_name,
        price: price(params, info, mode, entry)?,
        kind: account.served.kind.to_owned(),
        base_url: account.served.base_url.unwrap_or_default(),
        api_key: account.api_key,
        api_version: account.api_version,
        provider_model: account.served.model,
        context_window: info.count("max_input_tokens")?.flatten(),
        max_output_tokens: longest,
        order: order(params)?,
        weight: weight(params)?,
        tags,
        region: params.text("region_name")?.unwrap_or_default(),
        limits: limited.then_some(limits),
        ..RuntimeModel::default()
    })
}

fn order(params: &mut Fields) -> Result<u32, Failure> {
    let order = params.count("order")?.flatten().unwrap_or(0);
    u32::try_from(order).map_err(|_| Failure::field("order", "must not be negative, nor above 4294967295"))
}

/// Its share; 0, which stands for 1, where it is not given. Shares of a file are brought to integers for all rows of a model together.
fn weight(params: &mut Fields) -> Result<u32, Failure> {
    let field = |what: &str| Failure::field("litellm_params.weight", what);
    let fraction = "must be a whole number: multiply the weights of all deployments of the model until they are";
    let whole = |text: &str| Ok(text.strip_suffix(".0").unwrap_or(text).parse::<i64>().unwrap_or(-1));
    match params.number("weight", whole)?.flatten().map(u32::try_from) {
        None => Ok(0),
        Some(Ok(0)) => Err(field("0 is not taken; leave it out, or give an order so that others come first")),
        Some(weight) => weight.map_err(|_| field(fraction)),
    }
}

/// A price by the token and by the second, each figure in either of the two objects. What is not said of reading and writing is what the
/// catalogue says, or nothing.
fn price(
    params: &mut Fields,
    info: &mut Fields,
    mode: &str,
    entry: Option<&CatalogueModel>,
) -> Result<Option<Price>, Failure> {
    let mut figure = |name: &str| -> Result<Option<i64>, Failure> {
        let of_params = params.pico_usd(name)?.flatten();
        let of_info = info.pico_usd(name)?.flatten();
        Ok(of_params.or(of_info))
    };
    let input = figure("input_cost_per_token")?;
    let output = figure("output_cost_per_token")?;
    let mut given = Price {
        cached_read_pico_usd: figure("cache_read_input_token_cost")?,
        cache_write_5m_pico_usd: figure("cache_creation_input_token_cost")?,
        cache_write_1h_pico_usd: figure("cache_creation_input_token_cost_above_1hr")?,
        reasoning_pico_usd: figure("output_cost_per_reasoning_token")?,
        per_audio_second_pico_usd: figure("input_cost_per_audio_per_second")?,
        ..Price::default()
    };
    if mode == TRANSCRIPTION {
        // What it costs to write sound down goes before what it costs to listen, as in the file.
        for name in ["output_cost_per_second", "input_cost_per_second"] {
            let second = figure(name)?;
            let sound = &mut given.per_audio_second_pico_usd;
            *sound = sound.filter(|pico| *pico > 0).or(second).or(*sound);
        }
    } else {
        // Beside a price of tokens a second has none: not taken, it is told as ignored.
        for (name, tokens) in [("input_cost_per_second", input), ("output_cost_per_second", output)] {
            if tokens.unwrap_or(0) == 0
                && let Some(second) = figure(name)?
            {
                let sum = given.per_second_pico_usd.unwrap_or(0).checked_add(second);
                given.per_second_pico_usd = Some(sum.ok_or_else(|| Failure::field(name, "is too large"))?);
            }
        }
    }
    if given == Price::default() && input.is_none() && output.is_none() {
        return Ok(None);
    }
    let by_time = given.per_second_pico_usd.is_some() || given.per_audio_second_pico_usd.is_some();
    let listed = entry.and_then(|entry| entry.price.as_ref()).filter(|_| !by_time);
    given.input_pico_usd = input.or(listed.map(|price| price.input_pico_usd)).unwrap_or(0);
    given.output_pico_usd = output.or(listed.map(|price| price.output_pico_usd)).unwrap_or(0);
    Ok(Some(given))
}

fn shown(made: RuntimeModel) -> Made {
    Made {
        model_id: made.id.clone(),
        model_name: made.model,
        litellm_params: ShownParams {
            model: format!("{}/{}", made.kind, made.provider_model),
            custom_llm_provider: made.kind,
            api_base: (!made.base_url.is_empty()).then_some(made.base_url),
            rpm: made.limits.and_then(|limits| limits.requests_per_minute),
            tpm: made.limits.and_then(|limits| limits.tokens_per_minute),
        },
        model_info: ShownInfo { id: made.id, db_model: true, price: Prices::of(made.price.as_ref()) },
    }
}

#[derive(Serialize)]
pub(crate) struct Deleted {
    message: String,
}

pub(crate) async fn delete(State(gateway): State<Gateway>, request: Request) -> Answered<Deleted> {
    let (desk, mut fields) = Desk::open(gateway, request).await?;
    let id = fields.needed("id")?;
    let ignored = fields.finish()?;
    let asked = desk.ask(DeleteModelRequest { id: id.clone() });
    desk.gateway.models().delete_model(asked).await?;
    Ok(Answer::ignoring(Deleted { message: format!("Model: {id} deleted successfully") }, ignored))
}

/// Prices are read to the pico-dollar.
impl Fields {
    fn pico_usd(&mut self, name: &str) -> Result<Option<Option<i64>>, Failure> {
        self.number(name, money::pico_usd)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields::of(serde_json::from_str(&value.to_string()).unwrap())
    }

    fn price_of(params: Value, mode: &str, entry: Option<&CatalogueModel>) -> (Price, Vec<String>) {
        let (mut params, mut info) = (fields(params), fields(json!({})));
        let price = price(&mut params, &mut info, mode, entry).unwrap().unwrap();
        (price, params.finish().unwrap())
    }

    #[test]
    fn an_account_is_that_of_a_row_of_the_file() {
        let openai = "https://api.openai.com/v1";
        for (mut params, expected) in [
            (json!({"model": "claude-x", "api_base": "https://h"}), ("anthropic", "https://h/v1", "claude-x")),
            (json!({"model": "gemini/g", "api_base": "https://h"}), ("gemini", "https://h/v1beta", "g")),
            (json!({"model": "openai/m", "api_base": "https://h/v1/"}), ("openai_compatible", "https://h/v1", "m")),
            (json!({"model": "openai/m", "api_base": openai}), ("openai", openai, "m")),
            (json!({"model": "ollama_chat/l", "api_base": "http://h/api/chat"}), ("ollama", "http://h", "l")),
            (json!({"model": "azure/d", "api_base": "https://h/openai/v1"}), ("azure", "https://h", "d")),
            (json!({"model": "vllm/m", "base_url": "http://h/v1"}), ("vllm", "http://h/v1", "m")),
            (json!({"model": "gpt-x"}), ("openai", "", "gpt-x")),
        ] {
            params["api_key"] = "sk-x".into();
            let served = account(&mut fields(params), &mut fields(json!({}))).unwrap().served;
            let base_url = served.base_url.unwrap_or_default();
            assert_eq!((served.kind, base_url.as_str(), served.model.as_str()), expected);
        }
    }

    #[test]
    fn what_is_missing_of_an_account_is_named() {
        let refused = |params: Value| {
            let failure = account(&mut fields(params), &mut fields(json!({}))).err();
            format!("{:?}", failure.unwrap())
        };
        assert!(refused(json!({"model": "openai/gpt-x"})).contains("litellm_params.api_key"));
        assert!(refused(json!({"model": "azure/x", "api_key": "sk-x"})).contains("litellm_params.api_base"));
        assert!(refused(json!({"model": "my-model", "api_key": "sk-x"})).contains("PROVIDER/MODEL"));
        assert!(account(&mut fields(json!({"model": "ollama/x"})), &mut fields(json!({}))).is_ok());
    }

    #[test]
    fn a_weight_is_whole_and_not_nothing() {
        let of = |given: Value| weight(&mut fields(json!({"weight": given})));
        assert_eq!((of(json!(3)).unwrap(), of(json!(2.0)).unwrap(), of(json!(null)).unwrap()), (3, 2, 0));
        for refused in [json!(0), json!(0.5), json!(-1), json!("3")] {
            assert!(format!("{:?}", of(refused).unwrap_err()).contains("litellm_params.weight"));
        }
    }

    #[test]
    fn a_price_of_one_side_has_the_other_from_the_catalogue_or_none() {
        let listed = Price { input_pico_usd: 5, output_pico_usd: 7, ..Price::default() };
        let entry = CatalogueModel { price: Some(listed), ..CatalogueModel::default() };
        let (price, _) = price_of(json!({"input_cost_per_token": 3e-12}), "chat", Some(&entry));
        assert_eq!((price.input_pico_usd, price.output_pico_usd), (3, 7));
        let (price, _) = price_of(json!({"input_cost_per_token": 3e-12}), "", None);
        assert_eq!((price.input_pico_usd, price.output_pico_usd), (3, 0));
    }

    #[test]
    fn a_second_costs_where_tokens_cost_nothing_and_of_sound_where_sound_is_written_down() {
        let both = json!({"input_cost_per_second": 0.1, "output_cost_per_second": 0.2});
        let (price, ignored) = price_of(both.clone(), "chat", None);
        assert_eq!((price.per_second_pico_usd, ignored.len()), (Some(300_000_000_000), 0));
        let (price, _) = price_of(both, TRANSCRIPTION, None);
        assert_eq!((price.per_second_pico_usd, price.per_audio_second_pico_usd), (None, Some(200_000_000_000)));
        let beside = json!({"input_cost_per_second": 0.1, "input_cost_per_token": 1e-6});
        let (price, ignored) = price_of(beside, "chat", None);
        assert_eq!((price.per_second_pico_usd, ignored), (None, vec!["input_cost_per_second".to_owned()]));
    }
}
