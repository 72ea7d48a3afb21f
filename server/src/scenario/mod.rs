//! Routing rules as tests: scenarios in virtual time, through the real pipeline and router.

mod answer;
mod expect;
mod file;
mod init;
mod provider;
mod replay;
mod report;
mod request;
mod run;
mod sim;
#[cfg(test)]
mod sockets;
mod store;

pub use expect::Check;
pub use file::{Scenario, read};
pub use init::starter;
pub(crate) use provider::{SCHEME, base_url};
pub use replay::{Comparison, replay};
pub use report::{compared, junit, table, tell};
pub use run::{AttemptSeen, Outcome, Verdict, run};

/// JSON Schema of a scenario.
pub fn json_schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(Scenario)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_published_schema_is_the_one_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/scenario.schema.json");
        let text = format!("{:#}\n", super::json_schema());
        if std::env::var_os("TOLLGATE_UPDATE_DOCS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let published = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(published, text, "run the tests with TOLLGATE_UPDATE_DOCS=1 and look at what changes");
    }
}
