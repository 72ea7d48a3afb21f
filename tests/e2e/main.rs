//! The built gateway from outside: real processes, real sockets, the scripted provider as the second witness.

#![allow(clippy::unwrap_used)] // a test says by panicking

mod alert_rules;
mod audit_log;
mod authorization;
mod bad_input;
mod budgets;
mod calls;
mod canary;
mod catalogue;
mod cli;
mod cluster;
mod crash;
mod deployments;
mod dialects;
mod files;
mod fixtures;
mod headroom;
mod idempotency;
mod import_litellm;
mod kill_points;
mod ledger_check;
mod limits;
mod litellm_admin;
mod litellm_cases;
mod litellm_config;
mod lossless;
mod media;
mod messages;
mod metrics;
mod midstream;
mod one_answer;
mod operations;
mod reconcile;
mod replay;
mod responses;
mod routing;
mod runtime_models;
mod scenarios;
mod scopes;
mod support;
mod surface;
mod tenancy;
mod traces;
mod urls;
mod utilisation;
