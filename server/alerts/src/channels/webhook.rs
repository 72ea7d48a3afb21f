//! A JSON object for each notice, signed so that the receiver knows whom it is from.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::json;
use tollgate_domain::Secret;
use tollgate_outbound::{Poster, SIGNATURE, sign};

use super::{Messenger, SENDING, SendError, checked, judged, post};
use crate::{Notice, notice::rfc3339};

/// Anything that takes JSON over HTTP.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where to.
    pub url: Secret,
    /// Signs each body; `None`: there is no signature.
    pub secret: Option<Secret>,
    /// Headers sent along.
    pub headers: Vec<(String, Secret)>,
}

impl Webhook {
    pub(super) fn open(self) -> Result<Hook, String> {
        let read = |(name, value): &(String, Secret)| {
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("headers.{name}: is no name of a header"))?;
            let wrong = |_| format!("headers.{name}: has characters that no header can carry");
            let mut value = HeaderValue::from_str(value.expose()).map_err(wrong)?;
            value.set_sensitive(true);
            Ok::<_, String>((header, value))
        };
        Ok(Hook {
            url: checked(self.url.expose(), "url")?,
            headers: self.headers.iter().map(read).collect::<Result<_, _>>()?,
            secret: self.secret,
            poster: Poster::new(),
        })
    }
}

pub(super) struct Hook {
    url: String,
    secret: Option<Secret>,
    headers: Vec<(HeaderName, HeaderValue)>,
    poster: Poster,
}

#[async_trait]
impl Messenger for Hook {
    async fn send(&self, notice: &Notice) -> Result<(), SendError> {
        let body = json!({
            "id": notice.dedup_key(),
            "rule": notice.rule,
            "subject": notice.subject,
            "state": notice.state.name(),
            "severity": notice.severity.name(),
            "summary": notice.summary,
            "details": notice.details,
            "since": rfc3339(notice.since_us),
            "time": rfc3339(notice.time_us),
            "source": notice.source,
        })
        .to_string();
        let mut request = post(&self.url);
        if let Some(secret) = &self.secret {
            request = request.header(SIGNATURE, sign(secret, notice.time_us.div_euclid(1_000_000), body.as_bytes()));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Bytes::from(body));
        let request = request.map_err(|e| SendError { message: e.to_string(), later: false, after: None })?;
        judged(self.poster.send(request, SENDING).await)
    }
}
