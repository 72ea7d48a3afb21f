//! `GET /health` and `GET /health/services`.

use axum::extract::{Request, State};
use serde::Serialize;
use tollgate_proto::v1::{CheckHealthRequest, CircuitState, DeploymentHealth, ListModelsRequest};

use crate::{
    Gateway,
    litellm::{
        answer::{Answer, Answered},
        desk::Desk,
        failure::Failure,
        query::Query,
    },
};

#[derive(Serialize)]
struct Endpoint {
    model: String,
    model_id: String,
    model_name: String,
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

/// Why a deployment is unhealthy: what its provider says now, or what its calls met.
fn error(found: &DeploymentHealth) -> Option<String> {
    if !found.failure_class.is_empty() {
        return Some(format!("{}: {}", found.failure_class, found.failure));
    }
    let rests = found.circuit() == CircuitState::Open;
    rests.then(|| format!("its provider answers; left alone after failures of calls: {}", found.cooldown_class))
}

/// Asks the providers, once for each account; only for those who govern the platform.
pub(crate) async fn endpoints(State(gateway): State<Gateway>, request: Request) -> Answered<Endpoints> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    let (wanted, id) = (query.text("model"), query.text("model_id"));
    let asked = desk.ask(CheckHealthRequest { model: wanted.clone().unwrap_or_default() });
    let mut found = match (desk.gateway.models().check_health(asked).await.map_err(Failure::from), &wanted) {
        (Err(failure), Some(name)) if failure.is_missing_model() => {
            return Err(Failure::missing("model", "model", name));
        }
        (found, _) => found?.into_inner().deployments,
    };
    if let Some(id) = id {
        found.retain(|found| found.deployment == id);
        if found.is_empty() {
            return Err(Failure::missing("model", "model_id", &id));
        }
    }
    let (mut healthy_endpoints, mut unhealthy_endpoints) = (Vec::new(), Vec::new());
    for found in found {
        let error = error(&found);
        let whole = if error.is_some() { &mut unhealthy_endpoints } else { &mut healthy_endpoints };
        whole.push(Endpoint {
            model: format!("{}/{}", found.provider, found.provider_model),
            model_id: found.deployment,
            model_name: found.model,
            custom_llm_provider: found.provider,
            error,
        });
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

/// LiteLLM tries an integration here. Here the command line and `/metrics` tell how those are.
pub(crate) async fn services(State(gateway): State<Gateway>, request: Request) -> Answered<Service> {
    let desk = Desk::of(gateway, request);
    let mut query = Query::of(&desk)?;
    // Only for those with a key, as everything that is not a probe.
    let any = desk.ask(ListModelsRequest { page_size: 1, page_token: String::new() });
    desk.gateway.models().list_models(any).await?;
    match query.text("service") {
        None => Err(Failure::field("service", "is needed: which service to try")),
        Some(service) => {
            let message = format!(
                "{service:?} is not tried here: /metrics tells how sinks are, and `tollgate alerts test` tries the channels of alerts"
            );
            Ok(Answer::ignoring(Service { status: "not_tried", message }, query.left()))
        }
    }
}
