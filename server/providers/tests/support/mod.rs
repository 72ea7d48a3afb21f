//! Serves fixtures over real sockets, cut as one likes, and folds what an adapter makes of them to the fixtures' normal form.

pub(crate) mod cohere;
pub(crate) mod fold;
pub(crate) mod operations;
pub(crate) mod serve;

use std::{fs, path::PathBuf};

use serde_json::Value;

/// One fixture.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) envelope: Value,
    pub(crate) body: Vec<u8>,
}

impl Fixture {
    pub(crate) fn is_stream(&self) -> bool {
        self.envelope["request"]["stream"].as_bool().unwrap_or(false)
    }

    pub(crate) fn expect(&self) -> &Value {
        &self.envelope["expect"]
    }

    pub(crate) fn path(&self) -> &str {
        self.envelope["request"]["path"].as_str().unwrap()
    }
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"))
}

/// All fixtures of a provider, by name.
pub(crate) fn fixtures(provider: &str) -> Vec<Fixture> {
    let mut names: Vec<PathBuf> = fs::read_dir(root().join(provider)).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|p| p.to_string_lossy().ends_with(".fixture.json"));
    names.sort();
    names
        .into_iter()
        .map(|path| {
            let envelope: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let body = path.with_file_name(envelope["response"]["body_file"].as_str().unwrap());
            Fixture { name: envelope["fixture"].as_str().unwrap().into(), body: fs::read(body).unwrap(), envelope }
        })
        .collect()
}
