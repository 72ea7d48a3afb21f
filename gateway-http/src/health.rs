//! Liveness of this process, readiness of the gateway behind it.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::Gateway;

pub(crate) async fn liveness() -> Response {
    Json(json!({"status": "alive"})).into_response()
}

/// Checks of the gateway, and what each that fails means for its callers.
const CHECKS: &[(&str, &str)] = &[
    ("journal", "the journal cannot be written: no call can begin"),
    (
        "store",
        "the ledger of record does not take entries: calls go on and wait for it in the journal, changes by admins are refused",
    ),
    (
        "redis",
        "Redis cannot be reached: PostgreSQL hands out leases of budgets, and rate limits are kept in equal parts",
    ),
    ("deployments", "no deployment takes calls: none is configured, or all rest after failures"),
];

/// Whether the gateway has started: its stores are read and its port answers, whatever its checks say.
pub(crate) async fn startup(State(mut gateway): State<Gateway>) -> Response {
    match gateway.health.check(HealthCheckRequest { service: String::new() }).await {
        Ok(_) => Json(json!({"status": "started"})).into_response(),
        Err(status) => {
            let reason = format!("the gateway does not answer: {}", status.message());
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not started", "reason": reason}))).into_response()
        }
    }
}

/// What does not work of what the gateway needs, with what that means. A gateway that knows no such check has nothing to say of it.
async fn failing(gateway: &mut Gateway) -> Map<String, Value> {
    let mut failing = Map::new();
    for (check, meaning) in CHECKS {
        let asked = HealthCheckRequest { service: format!("tollgate.check.{check}") };
        let told = gateway.health.check(asked).await;
        if told.is_ok_and(|reply| reply.get_ref().status() == ServingStatus::NotServing) {
            failing.insert((*check).to_owned(), (*meaning).into());
        }
    }
    failing
}

pub(crate) async fn readiness(State(mut gateway): State<Gateway>) -> Response {
    let reason = match gateway.health.check(HealthCheckRequest { service: String::new() }).await {
        Ok(reply) if reply.get_ref().status() == ServingStatus::Serving => {
            let failing = failing(&mut gateway).await;
            return match failing.is_empty() {
                true => Json(json!({"status": "ready"})).into_response(),
                false => Json(json!({"status": "ready", "failing": failing})).into_response(),
            };
        }
        Ok(_) => {
            let failing = failing(&mut gateway).await;
            let reason = match failing.get("journal") {
                Some(meaning) => meaning.as_str().unwrap_or_default(),
                None => "the gateway is not serving: it is starting or stopping",
            };
            let told = json!({"status": "not ready", "reason": reason, "failing": failing});
            return (StatusCode::SERVICE_UNAVAILABLE, Json(told)).into_response();
        }
        Err(status) => format!("the gateway does not answer: {}", status.message()),
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not ready", "reason": reason}))).into_response()
}
