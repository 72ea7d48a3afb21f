use std::fs;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use tollgate_domain::Secret;

/// A secret, by reference (`env:NAME`, `file:PATH`) or as it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct SecretRef(Secret);

impl SecretRef {
    /// The secret itself; the error names the reference, never the secret.
    pub fn resolve(&self) -> Result<Secret, String> {
        let text = self.0.expose();
        let found = match text.split_once(':') {
            Some(("env", name)) => {
                std::env::var(name).map_err(|_| format!("the environment variable {name} is not set"))?
            }
            Some(("file", path)) => {
                let text = fs::read_to_string(path).map_err(|e| format!("the file {path} cannot be read: {e}"))?;
                text.trim_end().to_owned()
            }
            _ => text.to_owned(),
        };
        if found.is_empty() {
            return Err("the secret is empty".into());
        }
        Ok(Secret::new(found))
    }
}

impl JsonSchema for SecretRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "`env:NAME`, `file:PATH`, or the secret itself." })
    }
}
