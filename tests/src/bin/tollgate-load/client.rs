//! One connection of the load side: sends a call, times its answer, and checks that it is whole.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::calls::Call;

/// No single call may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// When the parts of an answer arrived.
#[derive(Debug, Default)]
pub(crate) struct Timing {
    /// The first bytes of the body.
    pub(crate) first: Option<Instant>,
    /// Pauses between reads of the body.
    pub(crate) gaps: Vec<Duration>,
}

/// A kept-alive connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender })
    }

    /// Makes a call and reads its answer to the end. An error means the connection is of no more use.
    pub(crate) async fn make(&mut self, call: &Call) -> Result<Timing> {
        tokio::time::timeout(PATIENCE, self.read(call)).await.context("timed out")?
    }

    async fn read(&mut self, call: &Call) -> Result<Timing> {
        let mut body = self.start(call).await?.into_body();
        let mut timing = Timing::default();
        let mut before = None;
        let mut end = [0; 14];
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            remember_end(&mut end, &data);
            if call.stream {
                let now = Instant::now();
                timing.gaps.extend(before.replace(now).map(|before| now - before));
                timing.first.get_or_insert(now);
            }
        }
        match call.stream && &end != b"data: [DONE]\n\n" {
            true => bail!("the stream ended before its end"),
            false => Ok(timing),
        }
    }

    /// Makes a call and returns when the headers of a good answer are here.
    pub(crate) async fn start(&mut self, call: &Call) -> Result<Response<Incoming>> {
        let mut request = Request::post("/v1/chat/completions").body(Full::new(call.body.clone()))?;
        *request.headers_mut() = call.headers.clone();
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if response.status() != call.expects {
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            bail!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
        }
        Ok(response)
    }
}

/// Keeps the last bytes of a body that arrives in pieces.
fn remember_end(end: &mut [u8; 14], data: &[u8]) {
    let fresh = data.len().min(end.len());
    end.rotate_left(fresh);
    let at = end.len() - fresh;
    end[at..].copy_from_slice(&data[data.len() - fresh..]);
}
