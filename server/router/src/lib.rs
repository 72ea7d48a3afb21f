//! Which deployment next.
//!
//! [`Table`] is the configuration as the router sees it; [`Plan`] is one call's walk through it: pure, seeded, and told what happened,
//! it answers what to do next. It sends nothing and sleeps nowhere, so its rules can be tested in microseconds.

mod plan;
mod table;

pub use plan::{Plan, Step};
pub use table::{Deployment, ModelGroup, RetryPolicy, Table, Wanted};
