//! The gateway: `app` wires the rooms, `grpc` holds the doors, `listen` the one port.

#![allow(clippy::result_large_err)] // tonic's Status is what its traits return

pub mod app;
pub mod audit_export;
pub mod audit_log;
mod backend;
mod claims;
mod clock;
pub mod config;
mod endpoint;
mod exporting;
mod first_run;
pub mod grpc;
mod health;
mod health_checks;
pub mod import;
pub mod ledger_check;
mod listen;
mod metrics;
pub mod models;
mod observing;
mod price;
mod request_body;
mod runtime_models;
pub mod scenario;
mod secrets;
mod snapshot;
mod table;
pub mod telemetry;
mod traces;
mod version;

pub use observing::{check as check_observing, test_alerts};
pub use table::build as build_table;
