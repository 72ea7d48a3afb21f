//! Liveness of this process, readiness of the gateway behind it.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::Gateway;

pub(crate) async fn liveness() -> Response {
    Json(json!({"status": "alive"})).into_response()
}

pub(crate) async fn readiness(State(mut gateway): State<Gateway>) -> Response {
    let reason = match gateway.health.check(HealthCheckRequest { service: String::new() }).await {
        Ok(reply) if reply.get_ref().status() == ServingStatus::Serving => {
            return Json(json!({"status": "ready"})).into_response();
        }
        Ok(_) => "the gateway is not serving: it is starting or stopping".to_owned(),
        Err(status) => format!("the gateway does not answer: {}", status.message()),
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not ready", "reason": reason}))).into_response()
}
