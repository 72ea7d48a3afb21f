//! The only place that calls a provider: connections, TLS, time limits.

use std::{error::Error as _, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, future::BoxFuture, stream::BoxStream};
use http::Version;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tollgate_domain::{Class, Error, Failure};

use crate::{Head, upload::Upload};

/// How long each step of an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP and TLS; set when the transport is made.
    pub connect: Duration,
    /// From sending to the answer's head.
    pub first_byte: Duration,
    /// From sending to the first content of a stream: pings keep no caller waiting for ever.
    pub first_token: Duration,
    /// Between two reads of a body; comments and pings count as life.
    pub idle: Duration,
    /// The whole attempt.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(120),
            first_token: Duration::from_secs(300),
            idle: Duration::from_secs(120),
            total: Duration::from_secs(1_800),
        }
    }
}

/// The bytes of an answer as they arrive. Dropping it closes the connection unless the answer was read to its end.
pub type BodyStream = BoxStream<'static, Result<Bytes, Failure>>;

/// The body of a request: known, or on its way in.
type Sent = Either<Full<Bytes>, StreamBody<BoxStream<'static, Result<Frame<Bytes>, Error>>>>;

/// Answers requests inside this process: the built-in simulated provider, and those of scenarios.
pub trait InProcess: Send + Sync {
    /// Answers as a provider would over the wire; an error: as a line that cannot be had or breaks.
    fn respond(&self, request: http::Request<Bytes>) -> BoxFuture<'static, Result<(Head, BodyStream), Failure>>;
}

/// Sends requests to providers; cheap to clone. No proxies, no redirects: a destination comes from the configuration alone.
#[derive(Clone)]
pub struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Sent>,
    in_process: Option<(&'static str, Arc<dyn InProcess>)>,
}

impl Default for Transport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport {
    /// With the default time to connect.
    pub fn new() -> Self {
        Self::with_connect_timeout(Timeouts::default().connect)
    }

    /// Gives up connecting after `limit`.
    pub fn with_connect_timeout(limit: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limit));
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        tcp.enforce_http(false);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls());
        let connector = https.https_or_http().enable_http1().enable_http2().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http1_max_headers(1_000)
            .build(connector);
        Self { client, in_process: None }
    }

    /// Answers URIs of `scheme` inside this process.
    #[must_use]
    pub fn with_in_process(mut self, scheme: &'static str, responder: Arc<dyn InProcess>) -> Self {
        self.in_process = Some((scheme, responder));
        self
    }

    /// Sends `request` and waits for the head of the answer.
    pub async fn send(
        &self,
        request: http::Request<Bytes>,
        timeouts: &Timeouts,
    ) -> Result<(Head, BodyStream), Failure> {
        let give_up = Instant::now() + timeouts.total;
        let first_byte = timeouts.first_byte.min(timeouts.total);
        if let Some((scheme, responder)) = &self.in_process
            && request.uri().scheme_str() == Some(*scheme)
        {
            let (head, body) = timeout(first_byte, responder.respond(request)).await.unwrap_or_else(|_| Err(late()))?;
            return Ok((head, watched(body, timeouts.idle, give_up).boxed()));
        }
        let sent = self.client.request(request.map(|body| Either::Left(Full::new(body))));
        let sent = async { timeout(first_byte, sent).await.ok() };
        Self::receive(sent, timeouts, give_up).await
    }

    /// Sends a request whose body is read from `upload` as the provider takes it: the time to the first byte counts from the last piece
    /// that was taken, and not while the caller is waited for.
    pub async fn send_upload(
        &self,
        head: http::Request<()>,
        body: BoxStream<'static, Result<Bytes, Error>>,
        upload: &Upload,
        timeouts: &Timeouts,
    ) -> Result<(Head, BodyStream), Failure> {
        if self.in_process.as_ref().is_some_and(|(scheme, _)| head.uri().scheme_str() == Some(*scheme)) {
            let body = body.try_fold(BytesMut::new(), |mut all, bytes| async move {
                all.extend_from_slice(&bytes);
                Ok(all)
            });
            let body = body.await.map_err(|error| Failure::new(Class::InvalidRequest, error.message))?;
            return self.send(head.map(|()| body.freeze()), timeouts).await;
        }
        let give_up = Instant::now() + timeouts.total;
        let (took, taken) = watch::channel(Instant::now());
        let body = body.map_ok(move |bytes| {
            took.send_replace(Instant::now());
            Frame::data(bytes)
        });
        let sent = self.client.request(head.map(|()| Either::Right(StreamBody::new(body.boxed()))));
        let first_byte = timeouts.first_byte;
        let sent = async {
            tokio::pin!(sent);
            loop {
                let until = match upload.awaits_caller() {
                    true => Instant::now() + first_byte,
                    false => *taken.borrow() + first_byte,
                };
                let until = until.min(give_up);
                match timeout_at(until, &mut sent).await {
                    Ok(done) => return Some(done),
                    Err(_) if Instant::now() >= give_up => return None,
                    Err(_) if upload.awaits_caller() || *taken.borrow() + first_byte > Instant::now() => {}
                    Err(_) => return None,
                }
            }
        };
        Self::receive(sent, timeouts, give_up).await
    }

    /// Sends a request whose body comes in pieces, and waits for the head of the answer: as long as the attempt may take, for the head
    /// follows the last piece.
    pub async fn send_stream(
        &self,
        request: http::Request<BodyStream>,
        timeouts: &Timeouts,
    ) -> Result<(Head, BodyStream), Failure> {
        if self.in_process.as_ref().is_some_and(|(scheme, _)| request.uri().scheme_str() == Some(*scheme)) {
            return Err(Failure::new(Class::Unsupported, "the provider takes no uploads"));
        }
        let give_up = Instant::now() + timeouts.total;
        let pieces = |body: BodyStream| {
            body.map(|read| read.map(Frame::data).map_err(|failure| Error::internal(failure.message))).boxed()
        };
        let sent = self.client.request(request.map(|body| Either::Right(StreamBody::new(pieces(body)))));
        let sent = async { timeout(timeouts.total, sent).await.ok() };
        Self::receive(sent, timeouts, give_up).await
    }

    async fn receive(
        sent: impl Future<Output = Option<Result<http::Response<hyper::body::Incoming>, hyper_util::client::legacy::Error>>>,
        timeouts: &Timeouts,
        give_up: Instant,
    ) -> Result<(Head, BodyStream), Failure> {
        let response = match sent.await {
            Some(Ok(response)) => response,
            Some(Err(error)) => {
                let failure = Failure::new(Class::Connection, unreachable_text(&error));
                return Err(Failure { may_be_billed: !error.is_connect(), ..failure });
            }
            None => return Err(late()),
        };
        let (parts, body) = response.into_parts();
        // HTTP/1.1 tells a broken body by itself, and nothing of its end.
        let is_http2 = parts.version == Version::HTTP_2;
        let head = Head { status: parts.status, headers: parts.headers };
        let bytes = futures::stream::unfold(body, move |mut body| async move {
            loop {
                let why = match body.frame().await {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => return Some((Ok(data), body)),
                        Err(_trailers) => continue,
                    },
                    Some(Err(error)) => root_cause(&error),
                    // hyper takes a reset with `NO_ERROR` for an end. It is none of an answer (RFC 9113, section 8.1).
                    None if is_http2 && !body.is_end_stream() => "the provider took it back before its end".to_owned(),
                    None => return None,
                };
                let message = format!("the connection broke in the middle of the answer: {why}");
                return Some((Err(Failure::new(Class::UpstreamTruncated, message)), body));
            }
        });
        Ok((head, watched(Box::pin(bytes), timeouts.idle, give_up).boxed()))
    }
}

/// TLS by the machine's own roots, and the common ones where it has none (bare containers).
pub(crate) fn tls() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    #[allow(clippy::expect_used)] // ring supports the default protocol versions
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3");
    let rooted = builder.clone().with_native_roots().unwrap_or_else(|_| builder.with_webpki_roots());
    rooted.with_no_client_auth()
}

/// The bytes of an answer until one of the clocks runs out, or the first error.
fn watched(
    body: impl Stream<Item = Result<Bytes, Failure>> + Unpin + Send + 'static,
    idle: Duration,
    give_up: Instant,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send {
    futures::stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        // A stream that never pauses would outrun the timer below.
        if Instant::now() >= give_up {
            let message = "the provider's answer took longer than the attempt may";
            return Some((Err(Failure::new(Class::Timeout, message)), None));
        }
        let limit = idle.min(give_up.saturating_duration_since(Instant::now()));
        match timeout(limit, body.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(body))),
            Ok(Some(Err(failure))) => Some((Err(failure), None)),
            Err(_) => {
                let message = "the provider stopped sending in the middle of the answer";
                Some((Err(Failure::new(Class::Timeout, message)), None))
            }
        }
    })
}

fn late() -> Failure {
    let failure = Failure::new(Class::Timeout, "the provider sent no answer in time");
    Failure { may_be_billed: true, ..failure }
}

fn unreachable_text(error: &hyper_util::client::legacy::Error) -> String {
    let what =
        if error.is_connect() { "could not connect to the provider" } else { "the connection broke before an answer" };
    match error.source() {
        Some(source) => format!("{what}: {}", root_cause(source)),
        None => what.to_owned(),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future};

    use hyper::client::conn::http2;
    use hyper_util::rt::TokioIo;

    use super::*;

    /// How an answer over HTTP/2 ends whose sender, behind its first bytes, does what `then` says, one after the other.
    async fn end_of<const N: usize>(then: [fn(&mut h2::SendStream<Bytes>); N]) -> Result<(), Class> {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(theirs).await.unwrap();
            let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
            tokio::spawn(async move { while connection.accept().await.is_some() {} });
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"half"), false).unwrap();
            for step in then {
                // What was sent is on its way before it is taken back.
                tokio::task::yield_now().await;
                step(&mut body);
            }
            future::pending::<()>().await;
        });
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(ours)).await.unwrap();
        tokio::spawn(connection);
        // An answer may be whole before the upload is: then alone a sender resets what it has ended.
        let upload = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let request = http::Request::post("http://provider/").body(upload).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let give_up = Instant::now() + Duration::from_secs(60);
        let received = Transport::receive(future::ready(Some(Ok(response))), &Timeouts::default(), give_up).await;
        let (_head, mut pieces) = received.unwrap();
        let (mut read, mut end) = (Vec::new(), Ok(()));
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(bytes) => read.extend_from_slice(&bytes),
                Err(failure) => end = Err(failure.class),
            }
        }
        assert_eq!(read, b"half");
        end
    }

    #[tokio::test]
    async fn an_answer_ends_where_its_sender_ended_it() {
        assert_eq!(end_of([|body| body.send_data(Bytes::new(), true).unwrap()]).await, Ok(()));
        let and_wants_no_more_of_the_upload =
            end_of([|body| body.send_data(Bytes::new(), true).unwrap(), |body| body.send_reset(h2::Reason::NO_ERROR)]);
        assert_eq!(and_wants_no_more_of_the_upload.await, Ok(()));
    }

    #[tokio::test]
    async fn an_answer_that_is_taken_back_has_no_end() {
        for end in [
            end_of([|body| body.send_reset(h2::Reason::NO_ERROR)]).await,
            end_of([|body| body.send_reset(h2::Reason::CANCEL)]).await,
        ] {
            assert_eq!(end, Err(Class::UpstreamTruncated));
        }
    }
}
