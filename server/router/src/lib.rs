//! Which deployment next.
//!
//! [`Table`] is the configuration as the router sees it; [`Plan`] is one call's walk through it: seeded, and told what happened, it answers
//! what to do next. It sends nothing and sleeps nowhere, so its rules can be tested in microseconds. What it knows of how deployments do
//! ([`DeploymentState`]) is counted without locks; time is whatever the caller says.

mod defaults;
mod headroom;
mod needs;
pub mod pattern;
mod plan;
mod recent;
mod retry;
mod routes;
mod state;
mod strategy;
mod table;

pub use defaults::Defaults;
pub use needs::{Needs, Tags};
pub use plan::{Plan, Step};
pub use recent::Recent;
pub use retry::{RetriesByClass, RetryBudget, RetryPolicy};
pub use routes::Routes;
pub use state::{Circuit, CooldownPolicy, DeploymentState, Standing, States, Trial};
pub use strategy::Strategy;
pub use table::{Deployment, HealthCheck, Mirror, ModelGroup, Sticky, Table, Wanted, stable_hash};
