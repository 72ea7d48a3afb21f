//! JSON arrays to a URL of one's own, signed so that the receiver knows whom they are from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use tollgate_domain::Secret;
use tollgate_outbound::{Poster, SIGNATURE, sign};

use super::{checked, headers, post};
use crate::{
    Event, json,
    target::{Report, Target, Why, judged},
};

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
    pub(super) fn open(self) -> Result<Client, String> {
        Ok(Client {
            url: checked(self.url.expose(), "url")?,
            secret: self.secret,
            headers: headers(&self.headers)?,
            poster: Poster::new(),
        })
    }
}

pub(super) struct Client {
    url: String,
    secret: Option<Secret>,
    headers: Vec<(HeaderName, HeaderValue)>,
    poster: Poster,
}

#[async_trait]
impl Target for Client {
    async fn send(&self, batch: &[Event], limit: Duration) -> Report {
        let body = Value::Array(batch.iter().map(|event| Value::Object(json::whole(event))).collect()).to_string();
        let mut request = post(&self.url, "application/json");
        if let Some(secret) = &self.secret {
            let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            request = request.header(SIGNATURE, sign(secret, seconds, body.as_bytes()));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let Ok(request) = request.body(Bytes::from(body)) else {
            return Report::none(Why::Refused("makes no request".into()));
        };
        match judged(self.poster.send(request, limit).await) {
            Ok(_) => Report::all(batch),
            Err(why) => Report::none(why),
        }
    }
}
