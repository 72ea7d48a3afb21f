//! `GET /health` and `GET /health/services`. Nobody is called for them: whether a deployment takes calls is known from the calls that it had.

use axum::extract::{Request, State};
use serde::Serialize;
use tollgate_proto::v1::{CircuitState, GetRouteStateRequest, ListModelsRequest};

use crate::{
    Gateway,
    litellm::{
        answer::{Answer, Answered},
        desk::Desk,
        failure::Failure,
        models,
        query::Query,
    },
};

#[derive(Serialize)]
struct Endpoint {
    model: String,
    model_id: String,
    custom_llm_provider: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Endpoints {
    healthy_endpoints: Vec<Endpoint>,
    unhealthy_endpoints: Vec<Endpoint>,
    healthy_count: usize,
    unhealthy_count: usize,
}

pub(crate) async fn endpoints(State(gateway): State<Gateway>, request: Request) -> Answered<Endpoints> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    let wanted = query.text("model");
    let (mut healthy_endpoints, mut unhealthy_endpoints) = (Vec::new(), Vec::new());
    for model in models::all(&desk).await?.iter().filter(|m| wanted.as_ref().is_none_or(|name| m.name == *name)) {
        let asked = desk.ask(GetRouteStateRequest { model: model.name.clone() });
        let states = desk.gateway.models.clone().get_route_state(asked).await?.into_inner().states;
        for deployment in &model.deployments {
            let state = states.iter().find(|state| state.deployment == deployment.name);
            let rests = state.filter(|state| state.circuit() == CircuitState::Open);
            let endpoint = Endpoint {
                model: format!("{}/{}", deployment.provider, deployment.provider_model),
                model_id: deployment.name.clone(),
                custom_llm_provider: deployment.provider.clone(),
                error: rests.map(|state| format!("left alone after failures: {}", state.cooldown_class)),
            };
            if rests.is_some() { &mut unhealthy_endpoints } else { &mut healthy_endpoints }.push(endpoint);
        }
    }
    if let Some(name) = wanted.filter(|_| healthy_endpoints.is_empty() && unhealthy_endpoints.is_empty()) {
        return Err(Failure::missing("model", "model", &name));
    }
    let (healthy_count, unhealthy_count) = (healthy_endpoints.len(), unhealthy_endpoints.len());
    let told = Endpoints { healthy_endpoints, unhealthy_endpoints, healthy_count, unhealthy_count };
    Ok(Answer::ignoring(told, query.left()))
}

#[derive(Serialize)]
pub(crate) struct Service {
    status: &'static str,
    message: String,
}

/// LiteLLM tries an integration here. This gateway sends nothing to such services, so there is none to try.
pub(crate) async fn services(State(gateway): State<Gateway>, request: Request) -> Answered<Service> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    // Only for those with a key, as everything that is not a probe.
    let any = desk.ask(ListModelsRequest { page_size: 1, page_token: String::new() });
    desk.gateway.models.clone().list_models(any).await?;
    match query.text("service") {
        None => Err(Failure::field("service", "is needed: which service to try")),
        Some(service) => {
            let message = format!("{service:?} is not connected: this gateway sends to no such service");
            Ok(Answer::ignoring(Service { status: "not_configured", message }, query.left()))
        }
    }
}
