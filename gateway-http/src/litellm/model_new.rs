//! `POST /model/new` and `POST /model/delete`: deployments that live in the store.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::value::RawValue;
use tollgate_proto::v1::{CreateModelRequest, DeleteModelRequest, Price, RateLimits, RuntimeModel};

use crate::{
    Gateway,
    litellm::{
        answer::{Answer, Answered},
        desk::Desk,
        failure::Failure,
        fields::Fields,
        models::Prices,
        money,
    },
};

/// What LiteLLM calls a provider, and our kind, where they differ.
const KINDS: &[(&str, &str)] = &[
    ("azure_ai", "azure"),
    ("azure_text", "azure"),
    ("cohere_chat", "cohere"),
    ("custom_openai", "openai_compatible"),
    ("fireworks_ai", "fireworks"),
    ("hosted_vllm", "vllm"),
    ("huggingface", "tgi"),
    ("ollama_chat", "ollama"),
    ("openai_like", "openai_compatible"),
    ("text-completion-openai", "openai"),
    ("together_ai", "together"),
    ("zai", "zhipu"),
];

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
    let model = model(model_name, &mut params, &mut info)?;
    let mut ignored = fields.finish()?;
    ignored.extend(params.finish()?.into_iter().map(|name| format!("litellm_params.{name}")));
    ignored.extend(info.finish()?.into_iter().map(|name| format!("model_info.{name}")));
    let asked = desk.ask(CreateModelRequest { model: Some(model), request_id: String::new() });
    let made = desk.gateway.models().create_model(asked).await?.into_inner().model.unwrap_or_default();
    Ok(Answer::ignoring(shown(made), ignored))
}

/// The deployment that a request describes.
fn model(model_name: String, params: &mut Fields, info: &mut Fields) -> Result<RuntimeModel, Failure> {
    let named = params.needed("model")?;
    let given = params.text("custom_llm_provider")?;
    let (provider, provider_model) = match (given, named.split_once('/')) {
        (Some(provider), Some((prefix, rest))) if prefix == provider => (provider, rest.to_owned()),
        (Some(provider), _) => (provider, named),
        (None, Some((prefix, rest))) => (prefix.to_owned(), rest.to_owned()),
        (None, None) => ("openai".to_owned(), named),
    };
    let kind = KINDS.iter().find(|(theirs, _)| *theirs == provider).map_or(provider, |(_, ours)| (*ours).to_owned());
    let api_key = params.text("api_key")?.unwrap_or_default();
    let limits = RateLimits {
        requests_per_minute: params.count("rpm")?.flatten(),
        tokens_per_minute: params.count("tpm")?.flatten(),
        concurrent_requests: params.count("max_parallel_requests")?.flatten(),
        requests_per_day: params.count("rpd")?.flatten(),
        full_burst: true,
    };
    let limited = limits != RateLimits { full_burst: true, ..RateLimits::default() };
    let number = |fields: &mut Fields, name: &str| -> Result<u32, Failure> {
        let number = fields.count(name)?.flatten().unwrap_or(0);
        u32::try_from(number).map_err(|_| Failure::field(name, "must not be negative, nor above 4294967295"))
    };
    let longest = match info.count("max_output_tokens")?.flatten() {
        None => info.count("max_tokens")?.flatten(),
        given => given,
    };
    let mut tags = params.texts("tags")?.unwrap_or_default();
    tags.extend(info.texts("tags")?.unwrap_or_default());
    Ok(RuntimeModel {
        model: model_name,
        kind,
        base_url: params.text("api_base")?.or(params.text("base_url")?).unwrap_or_default(),
        api_key,
        api_version: params.text("api_version")?.unwrap_or_default(),
        provider_model,
        price: price(params, info)?,
        context_window: info.count("max_input_tokens")?.flatten(),
        max_output_tokens: longest,
        order: number(params, "order")?,
        weight: number(params, "weight")?,
        tags,
        region: params.text("region_name")?.unwrap_or_default(),
        limits: limited.then_some(limits),
        ..RuntimeModel::default()
    })
}

/// A price by the token, in either of the two objects.
fn price(params: &mut Fields, info: &mut Fields) -> Result<Option<Price>, Failure> {
    let mut figure = |name: &str| -> Result<Option<i64>, Failure> {
        let of_params = params.pico_usd(name)?.flatten();
        let of_info = info.pico_usd(name)?.flatten();
        Ok(of_params.or(of_info))
    };
    let input = figure("input_cost_per_token")?;
    let output = figure("output_cost_per_token")?;
    let cached_read_pico_usd = figure("cache_read_input_token_cost")?;
    let cache_write_5m_pico_usd = figure("cache_creation_input_token_cost")?;
    let reasoning_pico_usd = figure("output_cost_per_reasoning_token")?;
    match (input, output) {
        (None, None) => Ok(None),
        (Some(input_pico_usd), Some(output_pico_usd)) => Ok(Some(Price {
            input_pico_usd,
            output_pico_usd,
            cached_read_pico_usd,
            cache_write_5m_pico_usd,
            reasoning_pico_usd,
            ..Price::default()
        })),
        (None, _) => Err(Failure::field("input_cost_per_token", "is needed beside output_cost_per_token")),
        (_, None) => Err(Failure::field("output_cost_per_token", "is needed beside input_cost_per_token")),
    }
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
