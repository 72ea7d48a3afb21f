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
pub(crate) async fn startup(State(gateway): State<Gateway>) -> Response {
    match gateway.health().check(HealthCheckRequest { service: String::new() }).await {
        Ok(_) => Json(json!({"status": "started"})).into_response(),
        Err(status) => {
            let reason = format!("the gateway does not answer: {}", status.message());
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not started", "reason": reason}))).into_response()
        }
    }
}

/// What was found of what the gateway needs.
#[derive(Default)]
struct Found {
    /// What does not work, with what that means. A gateway that knows no such check has nothing to say of it.
    failing: Map<String, Value>,
    /// The ledger of record, in the words of LiteLLM's answer.
    db: Option<&'static str>,
}

async fn look(gateway: &Gateway) -> Found {
    let mut found = Found::default();
    for (check, meaning) in CHECKS {
        let asked = HealthCheckRequest { service: format!("tollgate.check.{check}") };
        let Ok(reply) = gateway.health().check(asked).await else { continue };
        let fails = reply.get_ref().status() == ServingStatus::NotServing;
        if *check == "store" {
            found.db = Some(if fails { "disconnected" } else { "connected" });
        }
        if fails {
            found.failing.insert((*check).to_owned(), (*meaning).into());
        }
    }
    found
}

impl Found {
    /// The answer, with `db` and `failing` where there is something to say of them.
    fn beside(self, status: &str, reason: Option<&str>) -> Json<Value> {
        let mut told = Map::new();
        told.insert("status".into(), status.into());
        told.extend(reason.map(|reason| ("reason".to_owned(), reason.into())));
        told.extend(self.db.map(|db| ("db".to_owned(), db.into())));
        if !self.failing.is_empty() || reason.is_some() {
            told.insert("failing".into(), self.failing.into());
        }
        Json(told.into())
    }
}

pub(crate) async fn readiness(State(gateway): State<Gateway>) -> Response {
    let reason = match gateway.health().check(HealthCheckRequest { service: String::new() }).await {
        Ok(reply) if reply.get_ref().status() == ServingStatus::Serving => {
            return look(&gateway).await.beside("ready", None).into_response();
        }
        Ok(_) => {
            let found = look(&gateway).await;
            let reason = match found.failing.get("journal") {
                Some(meaning) => meaning.as_str().unwrap_or_default().to_owned(),
                None => "the gateway is not serving: it is starting or stopping".to_owned(),
            };
            return (StatusCode::SERVICE_UNAVAILABLE, found.beside("not ready", Some(&reason))).into_response();
        }
        Err(status) => format!("the gateway does not answer: {}", status.message()),
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not ready", "reason": reason}))).into_response()
}
