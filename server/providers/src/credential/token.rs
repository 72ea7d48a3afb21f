//! Access tokens (RFC 6749, section 5.1), and what makes them.

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tollgate_domain::{Class, Failure, Secret};

use super::{Signer, renewed::Renewed};
use crate::{
    Head, exchange,
    refusal::{self, scrub},
    transport::{Timeouts, Transport},
};

/// How long a token's maker may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where tokens come from.
pub trait TokenSource: Send + Sync + fmt::Debug {
    /// A new token.
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Failure>>;
}

/// An access token.
#[derive(Clone, Debug)]
pub struct Token {
    /// What is sent behind `Bearer`.
    pub secret: Secret,
    /// For how long it is good.
    pub lifetime: Duration,
}

/// Signs with the token of a source.
#[derive(Debug)]
pub struct Bearer<S> {
    source: S,
    held: Renewed<HeaderValue>,
}

impl<S: TokenSource> Bearer<S> {
    /// With nothing fetched yet.
    pub fn new(source: S) -> Self {
        Self { source, held: Renewed::default() }
    }

    async fn fetched(&self) -> Result<(HeaderValue, Duration), Failure> {
        let token = self.source.fetch().await?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.secret.expose()))
            .map_err(|_| Failure::new(Class::Authentication, "the access token is no header value"))?;
        value.set_sensitive(true);
        Ok((value, token.lifetime))
    }
}

impl<S: TokenSource> Signer for Bearer<S> {
    fn sign<'a>(&'a self, request: &'a mut http::Request<Bytes>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let value = self.held.get(self.fetched()).await?;
            request.headers_mut().insert(header::AUTHORIZATION, (*value).clone());
            Ok(())
        }
        .boxed()
    }

    fn refused(&self, request: &http::Request<Bytes>) -> bool {
        let sent = request.headers().get(header::AUTHORIZATION);
        self.held.forget(|value| Some(value) == sent)
    }
}

/// Asks a maker of tokens: `POST` of a form, or `GET` where there is none.
pub async fn ask(
    transport: &Transport,
    uri: &str,
    headers: &[(&'static str, &str)],
    form: Option<String>,
) -> Result<Token, Failure> {
    let mut request = http::Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = match form {
        Some(form) => request
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form)),
        None => request.method(Method::GET).body(Bytes::new()),
    };
    let request = request.map_err(|e| failed(format!("{uri:?} cannot be asked: {e}")))?;
    given(transport, request).await
}

/// What a maker of tokens gives for `request`.
pub(super) async fn given(transport: &Transport, request: http::Request<Bytes>) -> Result<Token, Failure> {
    let timeouts = Timeouts { first_byte: PATIENCE, idle: PATIENCE, total: PATIENCE, ..Timeouts::default() };
    let (head, body) = transport.send(request, &timeouts).await.map_err(|failure| {
        let message = format!("no access token was given: {}", failure.message);
        // Nothing of the call itself was sent.
        Failure { message, may_be_billed: false, ..failure }
    })?;
    let body = exchange::read_up_to(body, 1 << 20).await;
    read(&head, &body)
}

/// A form, as `application/x-www-form-urlencoded` writes it.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let field = |(name, value): &(&str, &str)| format!("{name}={}", encoded(value));
    fields.iter().map(field).collect::<Vec<_>>().join("&")
}

/// A value of a form, or a segment of a path (RFC 3986, 2.3).
pub(crate) fn encoded(value: &str) -> String {
    const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(value, &PLAIN).to_string()
}

/// Makers of tokens like to repeat what they were shown.
pub(super) fn without(failure: Failure, shown: &[&str]) -> Failure {
    let hide = |message: String, secret: &&str| match secret.is_empty() {
        true => message,
        false => message.replace(*secret, "<hidden>").replace(&encoded(secret), "<hidden>"),
    };
    Failure { message: shown.iter().fold(failure.message, hide), ..failure }
}

fn failed(message: String) -> Failure {
    Failure::new(Class::Authentication, message)
}

fn read(head: &Head, body: &[u8]) -> Result<Token, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(alias = "accessToken")] // Google's IAM
        access_token: Option<String>,
        expires_in: Option<Seconds>,
        error: Option<String>,
        error_description: Option<String>,
    }
    /// Azure's metadata service writes it as a string.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(f64),
        Text(String),
    }
    let status = head.status.as_u16();
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    if let Some(Answer { access_token: Some(token), expires_in, .. }) = &answer
        && head.status.is_success()
    {
        let seconds = match expires_in {
            Some(Seconds::Number(seconds)) => *seconds,
            Some(Seconds::Text(text)) => text.parse().unwrap_or(0.0),
            None => 3_600.0,
        };
        let lifetime = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        return Ok(Token { secret: Secret::new(token.clone()), lifetime });
    }
    // RFC 6749, section 5.2.
    let said = match answer {
        Some(Answer { error: Some(error), error_description, .. }) => {
            format!("{error}: {}", error_description.unwrap_or_default())
        }
        _ => refusal::classify(status, &head.headers, body).message,
    };
    let class = match status {
        500.. | 429 => refusal::classify(status, &head.headers, body).class,
        _ => Class::Authentication,
    };
    let message = format!("no access token was given: {}", scrub(&said));
    Err(Failure { status, request_id: refusal::request_id(&head.headers), ..Failure::new(class, message) })
}
