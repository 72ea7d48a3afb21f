use std::fs;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use sha2::Sha256;
use tollgate_domain::Secret;

/// A secret, by reference or as it is:
///
/// - `env:NAME`, `file:PATH`;
/// - `template:TEXT`, where `{env:NAME}` and `{file:PATH}` in the text stand for their values, percent-encoded as URLs want them;
/// - `derive:REFERENCE`, 64 hex digits that follow from another secret and tell nothing of it;
/// - `text:...`, or anything else: the secret itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct SecretRef(Secret);

/// What a value in a URL is written without.
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl SecretRef {
    /// The secret itself; the error names the reference, never the secret.
    pub fn resolve(&self) -> Result<Secret, String> {
        resolve(self.0.expose(), &|name| std::env::var(name).ok()).map(Secret::new)
    }
}

fn resolve(reference: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let found = match reference.split_once(':') {
        Some(("env", name)) => {
            environment(name).ok_or_else(|| format!("the environment variable {name} is not set"))?
        }
        Some(("file", path)) => {
            let text = fs::read_to_string(path).map_err(|e| format!("the file {path} cannot be read: {e}"))?;
            text.trim_end().to_owned()
        }
        Some(("template", text)) => filled(text, environment)?,
        Some(("derive", from)) => derived(&resolve(from, environment)?)?,
        Some(("text", text)) => text.to_owned(),
        _ => reference.to_owned(),
    };
    match found.is_empty() {
        true => Err(match reference.split_once(':') {
            Some((kind @ ("env" | "file"), name)) => format!("the secret of {kind}:{name} is empty"),
            _ => "the secret is empty".into(),
        }),
        false => Ok(found),
    }
}

fn filled(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut full = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (reference, behind) = after.split_once('}').ok_or("the template has a `{` without its `}`")?;
        if !reference.starts_with("env:") && !reference.starts_with("file:") {
            return Err("a template has only {env:NAME} and {file:PATH} in braces".into());
        }
        full.push_str(before);
        full.extend(utf8_percent_encode(&resolve(reference, environment)?, IN_URL));
        rest = behind;
    }
    full.push_str(rest);
    Ok(full)
}

fn derived(secret: &str) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|e| e.to_string())?;
    mac.update(b"tollgate derived secret");
    Ok(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

impl JsonSchema for SecretRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "`env:NAME`, `file:PATH`, `template:TEXT` with {env:NAME} in it, `derive:REFERENCE`, or the secret itself (`text:...`)." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(reference: &str) -> Result<String, String> {
        resolve(reference, &|name| (name == "PASSWORD").then(|| "p@ss/w rd".to_owned()))
    }

    #[test]
    fn a_reference_is_followed_and_named_where_it_leads_nowhere() {
        assert_eq!(found("env:PASSWORD").unwrap(), "p@ss/w rd");
        assert_eq!(found("text:env:PASSWORD").unwrap(), "env:PASSWORD");
        assert_eq!(found("sk-1:2").unwrap(), "sk-1:2");
        assert_eq!(found("env:NONE").unwrap_err(), "the environment variable NONE is not set");
        assert_eq!(found("").unwrap_err(), "the secret is empty");
    }

    #[test]
    fn a_template_is_filled_with_what_urls_can_carry() {
        assert_eq!(found("template:redis://:{env:PASSWORD}@h:1").unwrap(), "redis://:p%40ss%2Fw%20rd@h:1");
        assert_eq!(found("template:redis://{env:NONE}").unwrap_err(), "the environment variable NONE is not set");
        assert!(found("template:{PASSWORD}").is_err() && found("template:{env:PASSWORD").is_err());
    }

    #[test]
    fn a_derived_secret_follows_from_the_other_and_is_long_enough() {
        let one = found("derive:env:PASSWORD").unwrap();
        assert_eq!((one.len(), &one), (64, &found("derive:env:PASSWORD").unwrap()));
        assert_ne!(one, found("derive:text:another").unwrap());
        assert_eq!(found("derive:env:NONE").unwrap_err(), "the environment variable NONE is not set");
    }
}
