//! <https://develop.sentry.dev/sdk/data-model/envelopes/>: an event in an envelope for each failure.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tollgate_domain::Secret;
use tollgate_outbound::Poster;
use url::Url;

use super::{USER_AGENT, post, secret_header};
use crate::{
    Event,
    event::rfc3339,
    json,
    target::{Report, Target, one_by_one},
};

/// Sentry, or what speaks its protocol.
#[derive(Clone, Debug)]
pub struct Sentry {
    /// `https://PUBLIC_KEY@HOST/PROJECT`.
    pub dsn: Secret,
    /// `environment` of the events.
    pub environment: Option<String>,
}

impl Sentry {
    pub(super) fn open(self, replica: &str) -> Result<Client, String> {
        let (url, key) = read(self.dsn.expose()).ok_or("dsn: must be of the form https://PUBLIC_KEY@HOST/PROJECT")?;
        let auth = format!("Sentry sentry_version=7, sentry_client={USER_AGENT}, sentry_key={key}");
        Ok(Client {
            url,
            auth: secret_header(&auth, "dsn")?,
            environment: self.environment,
            replica: replica.to_owned(),
            poster: Poster::new(),
        })
    }
}

/// The endpoint of envelopes, and the public key. Behind a path the project is its last part.
fn read(dsn: &str) -> Option<(String, String)> {
    let mut url = Url::parse(dsn).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let key = Some(url.username().to_owned()).filter(|key| !key.is_empty())?;
    let path = url.path().trim_end_matches('/').to_owned();
    let (before, project) = path.rsplit_once('/').filter(|(_, project)| !project.is_empty())?;
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_path(&format!("{before}/api/{project}/envelope/"));
    Some((url.to_string(), key))
}

pub(super) struct Client {
    url: String,
    auth: HeaderValue,
    environment: Option<String>,
    replica: String,
    poster: Poster,
}

impl Client {
    fn envelope(&self, event: &Event) -> String {
        let record = event.record();
        let error = event.error().unwrap_or("UNKNOWN");
        let digest = Sha256::digest(event.id.as_bytes());
        // Sentry knows repetitions by it.
        let id: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let provider = event.attempt().map(|attempt| attempt.provider.as_str()).unwrap_or_default();
        let class = event.attempt().map(|attempt| attempt.class.as_str()).unwrap_or_default();
        let mut tags = json!({ "action": record.action, "reason": error, "model": record.model, "provider": provider });
        if let Some(tags) = tags.as_object_mut() {
            tags.retain(|_, value| value.as_str().is_some_and(|value| !value.is_empty()));
        }
        let mut body = json!({
            "event_id": id,
            "timestamp": rfc3339(event.end_us()),
            "platform": "other",
            "level": "error",
            "logger": "tollgate",
            "server_name": self.replica,
            "release": USER_AGENT.replace('/', "@"),
            "message": { "formatted": format!("{}: {error}", record.action) },
            "exception": { "values": [{ "type": error, "value": format!("{} {} {class}", record.model, provider).trim() }] },
            // One issue for a reason at a provider, not one for each model or caller.
            "fingerprint": [error, provider, class],
            "tags": tags,
            "extra": Value::Object(json::whole(event)),
        });
        if !event.user_id.is_empty() {
            body["user"] = json!({ "id": event.user_id });
        }
        if let Some(environment) = &self.environment {
            body["environment"] = json!(environment);
        }
        let body = body.to_string();
        let head = json!({ "event_id": id, "sent_at": rfc3339(event.end_us()) });
        let item = json!({ "type": "event", "content_type": "application/json", "length": body.len() });
        format!("{head}\n{item}\n{body}\n")
    }
}

#[async_trait]
impl Target for Client {
    async fn send(&self, batch: &[Event], limit: Duration) -> Report {
        let request = |event: &Event| {
            let request = post(&self.url, "application/x-sentry-envelope").header("x-sentry-auth", self.auth.clone());
            request.body(Bytes::from(self.envelope(event)))
        };
        one_by_one(&self.poster, batch, limit, request).await
    }

    /// Failures alone.
    fn wants(&self, event: &Event) -> bool {
        event.error().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_leads_to_its_projects_envelopes() {
        let found = read("https://abc@o1.ingest.example.org/42").unwrap();
        assert_eq!(found, ("https://o1.ingest.example.org/api/42/envelope/".into(), "abc".into()));
        let below = read("http://abc:old@127.0.0.1:9000/sentry/7").unwrap();
        assert_eq!(below.0, "http://127.0.0.1:9000/sentry/api/7/envelope/");
        for bad in ["", "https://host/1", "https://abc@host/", "ftp://abc@host/1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
