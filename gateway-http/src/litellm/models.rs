//! `GET /model/info`: every deployment that the key may use, with its limits and list prices.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use serde::Serialize;
use tollgate_proto::v1::{Deployment, ListModelsRequest, Model, Price};

use crate::{
    Gateway,
    litellm::{
        answer::{Answer, Answered},
        desk::Desk,
        failure::Failure,
        money::PicoDollars,
        query::Query,
    },
};

#[derive(Serialize)]
pub(crate) struct Listed {
    data: Vec<ModelRow>,
}

#[derive(Serialize)]
struct ModelRow {
    model_name: String,
    litellm_params: Params,
    model_info: Info,
}

/// No credential and no address: those stay with the operator.
#[derive(Serialize)]
struct Params {
    model: String,
    custom_llm_provider: String,
    weight: u32,
    order: u32,
    tags: Vec<String>,
    region_name: Option<String>,
}

#[derive(Serialize)]
struct Info {
    id: String,
    db_model: bool,
    max_tokens: Option<i64>,
    max_input_tokens: Option<i64>,
    max_output_tokens: Option<i64>,
    #[serde(flatten)]
    price: Prices,
    #[serde(flatten)]
    supports: BTreeMap<String, bool>,
}

/// Dollars for each token; absent: not known.
#[derive(Default, Serialize)]
pub(crate) struct Prices {
    input_cost_per_token: Option<PicoDollars>,
    output_cost_per_token: Option<PicoDollars>,
    cache_read_input_token_cost: Option<PicoDollars>,
    cache_creation_input_token_cost: Option<PicoDollars>,
    output_cost_per_reasoning_token: Option<PicoDollars>,
}

impl Prices {
    pub(crate) fn of(price: Option<&Price>) -> Self {
        price.map_or_else(Self::default, |price| Self {
            input_cost_per_token: Some(PicoDollars(price.input_pico_usd)),
            output_cost_per_token: Some(PicoDollars(price.output_pico_usd)),
            cache_read_input_token_cost: price.cached_read_pico_usd.map(PicoDollars),
            cache_creation_input_token_cost: price.cache_write_5m_pico_usd.map(PicoDollars),
            output_cost_per_reasoning_token: price.reasoning_pico_usd.map(PicoDollars),
        })
    }
}

/// What LiteLLM calls a capability; those that it has no name for go by ours.
fn supports(capability: &str) -> String {
    let name = match capability {
        "tools" => "function_calling",
        "json_schema" => "response_schema",
        "prompt_cache" => "prompt_caching",
        other => other,
    };
    format!("supports_{name}")
}

fn row(model: &Model, deployment: &Deployment) -> ModelRow {
    ModelRow {
        model_name: model.name.clone(),
        litellm_params: Params {
            model: format!("{}/{}", deployment.provider, deployment.provider_model),
            custom_llm_provider: deployment.provider.clone(),
            weight: deployment.weight,
            order: deployment.order,
            tags: deployment.tags.clone(),
            region_name: (!deployment.region.is_empty()).then(|| deployment.region.clone()),
        },
        model_info: Info {
            id: deployment.name.clone(),
            db_model: deployment.name.starts_with("model_"),
            max_tokens: deployment.max_output_tokens,
            max_input_tokens: deployment.context_window,
            max_output_tokens: deployment.max_output_tokens,
            price: Prices::of(deployment.price.as_ref()),
            supports: deployment.capabilities.iter().map(|name| (supports(name), true)).collect(),
        },
    }
}

/// Every model that the caller may use.
pub(crate) async fn all(desk: &Desk) -> Result<Vec<Model>, Failure> {
    let (mut models, mut page_token) = (Vec::new(), String::new());
    loop {
        let asked = desk.ask(ListModelsRequest { page_size: 0, page_token });
        let page = desk.gateway.models().list_models(asked).await?.into_inner();
        models.extend(page.models);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(models);
        }
    }
}

pub(crate) async fn info(State(gateway): State<Gateway>, request: Request) -> Answered<Listed> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    let wanted = query.text("litellm_model_id");
    let models = all(&desk).await?;
    let rows = models.iter().flat_map(|model| model.deployments.iter().map(move |deployment| row(model, deployment)));
    let data: Vec<_> = rows.filter(|row| wanted.as_ref().is_none_or(|id| row.model_info.id == *id)).collect();
    match wanted {
        Some(id) if data.is_empty() => Err(Failure::missing("model", "litellm_model_id", &id)),
        _ => Ok(Answer::ignoring(Listed { data }, query.left())),
    }
}
