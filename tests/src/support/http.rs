//! A plain HTTP/1.1 client, so that tests see the wire and no client library's idea of it.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Someone who calls: one credential and the headers that go with it. Every call has a connection of its own.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
    /// What came behind the body.
    pub trailers: HeaderMap,
}

/// A call being answered. Dropped, it hangs up.
#[derive(Debug)]
pub struct Stream {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    buffer: BytesMut,
    _hang_up: HangUp,
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event's name, if it has one.
    pub name: Option<String>,
    /// The data lines, joined.
    pub data: String,
}

/// Ends the connection's task, and with it the connection.
#[derive(Debug)]
struct HangUp(tokio::task::JoinHandle<()>);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Caller {
    /// A caller with a bearer credential, as OpenAI's dialect wants it.
    pub fn bearer(key: impl AsRef<str>) -> Self {
        Caller::default().with("authorization", format!("Bearer {}", key.as_ref()))
    }

    /// A caller of Anthropic's dialect.
    pub fn anthropic(key: impl Into<String>) -> Self {
        Caller::default().with("x-api-key", key).with("anthropic-version", "2023-06-01")
    }

    /// ... with a further header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Posts JSON and waits for the whole answer.
    pub async fn post(&self, url: &str, body: &Value) -> Result<Reply> {
        self.stream(url, body).await?.whole().await
    }

    /// Gets a resource.
    pub async fn get(&self, url: &str) -> Result<Reply> {
        self.send("GET", url, Bytes::new()).await?.whole().await
    }

    /// Deletes a resource.
    pub async fn delete(&self, url: &str) -> Result<Reply> {
        self.send("DELETE", url, Bytes::new()).await?.whole().await
    }

    /// Posts JSON and returns when the headers are here.
    pub async fn stream(&self, url: &str, body: &Value) -> Result<Stream> {
        self.send("POST", url, body.to_string().into()).await
    }

    /// Posts a form with fields in this order; `("file", NAME)` is the file.
    pub async fn upload(&self, url: &str, fields: &[(&str, &str)], file: &str) -> Result<Reply> {
        let mut form = String::new();
        for (name, value) in fields {
            form += &match *name {
                "file" => format!(
                    "--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{value}\"\r\n\r\n{file}\r\n"
                ),
                _ => format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"),
            };
        }
        form += "--B--\r\n";
        self.exchange("POST", url, "multipart/form-data; boundary=B", Full::new(Bytes::from(form))).await?.whole().await
    }

    /// The same of what is read.
    pub async fn follow(&self, url: &str) -> Result<Stream> {
        self.send("GET", url, Bytes::new()).await
    }

    /// Posts a form, `BOUNDARY` between its parts, as its pieces come, and returns when the headers are here.
    pub async fn form(&self, url: &str, pieces: impl futures::Stream<Item = Bytes> + Send + 'static) -> Result<Stream> {
        let body = http_body_util::StreamBody::new(pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece))));
        self.exchange("POST", url, "multipart/form-data; boundary=BOUNDARY", Box::pin(body)).await
    }

    async fn send(&self, method: &str, url: &str, body: Bytes) -> Result<Stream> {
        self.exchange(method, url, "application/json", Full::new(body)).await
    }

    async fn exchange<B>(&self, method: &str, url: &str, content_type: &str, body: B) -> Result<Stream>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let uri: Uri = url.parse()?;
        let authority = uri.authority().context("a URL with a host")?.as_str();
        let socket = TcpStream::connect(authority).await?;
        socket.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        let hang_up = HangUp(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let mut request = Request::builder().method(method).uri(uri.path_and_query().map_or("/", |path| path.as_str()));
        request = request.header("host", authority).header("content-type", content_type);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response: Response<Incoming> = sender.send_request(request.body(body)?).await?;
        let (head, body) = response.into_parts();
        Ok(Stream { status: head.status, headers: head.headers, body, buffer: BytesMut::new(), _hang_up: hang_up })
    }
}

impl Reply {
    /// The body as JSON, `null` when it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header as text, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Stream {
    /// Waits for the rest and returns it as one answer.
    pub async fn whole(self) -> Result<Reply> {
        let body = self.body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Reply { status: self.status, headers: self.headers, body: body.to_bytes(), trailers })
    }

    /// The next event; `None` at the proper end, an error when the stream breaks off or is silent for ten seconds.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event = self.buffer.split_to(end + 2);
                return Ok(Some(Event::parse(&String::from_utf8_lossy(&event))));
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await;
            match frame.context("silent for ten seconds")? {
                Some(frame) => self.buffer.extend_from_slice(&frame?.into_data().unwrap_or_default()),
                None if self.buffer.is_empty() => return Ok(None),
                None => bail!("ended inside an event: {:?}", String::from_utf8_lossy(&self.buffer)),
            }
        }
    }

    /// All further events, and how the stream ended.
    pub async fn rest(mut self) -> (Vec<Event>, Result<()>) {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, Ok(())),
                Err(error) => return (events, Err(error)),
            }
        }
    }
}

impl Event {
    /// The events of a whole stream.
    pub fn all(text: &str) -> Vec<Self> {
        let events = text.split_terminator("\n\n").map(Self::parse);
        events.filter(|event| event.name.is_some() || !event.data.is_empty()).collect()
    }

    fn parse(text: &str) -> Self {
        let field = |name: &'static str| {
            let lines = text.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(':'));
            lines.map(|value| value.strip_prefix(' ').unwrap_or(value))
        };
        Event { name: field("event").next().map(str::to_owned), data: field("data").collect::<Vec<_>>().join("\n") }
    }

    /// The data as JSON, `null` when it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }
}
