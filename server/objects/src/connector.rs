//! How `object_store` sends.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use tollgate_outbound::{PostError, Poster};

/// Time for one request of an object store, which may make several.
pub(crate) const REQUEST: Duration = Duration::from_secs(60);

/// Sends for `object_store`: the same client as all other posts, so the same TLS.
#[derive(Debug)]
struct Sender(Poster);

#[derive(Debug)]
pub(crate) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Sender(Poster::new())))
    }
}

#[async_trait]
impl HttpService for Sender {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let answer = self.0.send(http::Request::from_parts(head, body), REQUEST).await.map_err(|error| {
            let kind = match &error {
                PostError::Late(_) => HttpErrorKind::Timeout,
                PostError::Unreachable(_) => HttpErrorKind::Connect,
                PostError::TooLong => HttpErrorKind::Decode,
            };
            HttpError::new(kind, error)
        })?;
        let mut response = HttpResponse::new(answer.body.into());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}
