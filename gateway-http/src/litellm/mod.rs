//! LiteLLM's admin routes, as translations onto the admin services of the contract.
//!
//! Every RPC goes out under the key that came with the request, so that nothing can be done here that the authorization matrix forbids there. A
//! field that would restrict or redirect calls and has no counterpart is refused by name; one whose loss changes no call is ignored and told in
//! `x-tollgate-ignored-fields`.

mod answer;
mod budgets;
mod customers;
mod desk;
mod duration;
mod failure;
mod fields;
mod health;
mod key_fields;
mod key_rows;
mod keys;
mod labels;
mod model_new;
pub(crate) mod models;
mod money;
mod organizations;
pub mod providers;
mod purse;
mod query;
mod report;
mod spend;
mod team_members;
mod teams;
mod times;
mod users;

use axum::{
    Router,
    routing::{get, post},
};

use crate::Gateway;

/// Every admin route.
pub(crate) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/key/generate", post(keys::generate))
        .route("/key/update", post(keys::update))
        .route("/key/info", get(keys::info))
        .route("/key/list", get(keys::list))
        .route("/key/delete", post(keys::delete))
        .route("/key/block", post(keys::block))
        .route("/key/unblock", post(keys::unblock))
        .route("/key/regenerate", post(keys::regenerate))
        .route("/key/{key}/regenerate", post(keys::regenerate_named))
        .route("/team/new", post(teams::new))
        .route("/team/update", post(teams::update))
        .route("/team/info", get(teams::info))
        .route("/team/list", get(teams::list))
        .route("/team/member_add", post(team_members::add))
        .route("/user/new", post(users::new))
        .route("/user/info", get(users::info))
        .route("/organization/new", post(organizations::new))
        .route("/organization/info", get(organizations::info).post(organizations::info_posted))
        .route("/budget/new", post(budgets::new))
        .route("/customer/new", post(customers::new))
        .route("/end_user/new", post(customers::new))
        .route("/model/new", post(model_new::new))
        .route("/model/delete", post(model_new::delete))
        .route("/spend/logs", get(spend::logs))
        .route("/global/spend/report", get(report::global))
        .route("/health", get(health::endpoints))
        .route("/health/services", get(health::services))
}
