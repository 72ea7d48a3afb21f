//! Posts to other people's servers that are no providers: receivers of records, chat rooms, pagers.
//!
//! No proxies, no redirects: a destination comes from the configuration alone. An answer is read to a limit and within a time.

mod backoff;
mod signature;

use std::{sync::Arc, time::Duration};

pub use backoff::Backoff;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
pub use signature::{SIGNATURE, sign};
use tokio::time::timeout;

/// Time for TCP and TLS.
const CONNECT: Duration = Duration::from_secs(5);

/// An answer beyond this is not read: 4 MiB.
const LARGEST_ANSWER: usize = 4 << 20;

/// Asked to wait for longer than this, one waits for this.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Why there is no answer. Says nothing of what was sent, nor of where its secrets went.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// It took too long.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The line cannot be had, or broke.
    #[error("{0}")]
    Unreachable(String),
    /// The answer is longer than anything that is read.
    #[error("the answer is longer than {LARGEST_ANSWER} bytes")]
    TooLong,
}

/// What the other side said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// For how long it asks to be left alone, where it says so in seconds; at most an hour.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
    }

    /// The beginning of its body, for logs.
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.chars().filter(|c| !c.is_control()).take(200).collect()
    }
}

/// Sends requests; cheap to clone, and its clones share connections.
#[derive(Clone)]
pub struct Poster {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Poster")
    }
}

impl Default for Poster {
    fn default() -> Self {
        Self::new()
    }
}

impl Poster {
    /// Trusts the system's authorities.
    pub fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.enforce_http(false);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls());
        let connector = https.https_or_http().enable_http1().enable_http2().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(connector);
        Self { client }
    }

    /// Sends `request` and reads the whole answer, all within `limit`.
    pub async fn send(&self, request: Request<Bytes>, limit: Duration) -> Result<Answer, PostError> {
        let exchange = async {
            let answer = self.client.request(request.map(Full::new)).await;
            let (head, body) = answer.map_err(|error| unreachable(&error))?.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await;
            let body = body.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
                true => PostError::TooLong,
                false => PostError::Unreachable(error.to_string()),
            })?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        timeout(limit, exchange).await.unwrap_or(Err(PostError::Late(limit)))
    }
}

/// The innermost cause: what lies around it only says that a client failed.
fn unreachable(error: &hyper_util::client::legacy::Error) -> PostError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let during = if error.is_connect() { "cannot connect" } else { "the connection broke" };
    PostError::Unreachable(format!("{during}: {cause}"))
}

fn tls() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    #[allow(clippy::expect_used)] // ring supports the default protocol versions
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3");
    let rooted = builder.clone().with_native_roots().unwrap_or_else(|_| builder.with_webpki_roots());
    rooted.with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(value: &'static str) -> Option<Duration> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, http::HeaderValue::from_static(value))]);
        Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Bytes::new() }.retry_after()
    }

    #[test]
    fn who_asks_to_be_left_alone_is_for_so_many_seconds_and_at_most_an_hour() {
        assert_eq!(told("7"), Some(Duration::from_secs(7)));
        assert_eq!(told(" 0 "), Some(Duration::ZERO));
        assert_eq!(told("99999"), Some(Duration::from_secs(3_600)));
        assert_eq!(told("Wed, 21 Oct 2026 07:28:00 GMT"), None, "a date says nothing: whose clock would it be?");
        assert_eq!(told("-1"), None);
        let silent = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new() };
        assert_eq!(silent.retry_after(), None);
    }
}
