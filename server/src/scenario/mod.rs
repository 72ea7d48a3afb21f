//! Routing rules as tests: scenarios in virtual time, through the real pipeline and router.

mod expect;
mod file;
mod provider;
mod report;
mod run;
mod store;

pub use expect::Check;
pub use file::{Scenario, read};
pub(crate) use provider::{SCHEME, base_url};
pub use report::{junit, tell};
pub use run::{AttemptSeen, Outcome, Verdict, run};

/// JSON Schema of a scenario.
pub fn json_schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(Scenario)).unwrap_or_default()
}
