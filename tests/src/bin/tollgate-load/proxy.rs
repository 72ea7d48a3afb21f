//! A reverse proxy that parses nothing: what forwarding costs when nothing else is done.
//!
//! One connection pool, kept alive, `TCP_NODELAY` on both sides. A connection goes back to the pool when its answer has
//! been read to the end, so no call ever waits behind another one's stream.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, clap::Args)]
pub(crate) struct ProxyArguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9002")]
    listen: SocketAddr,
    /// Where to forward to.
    #[arg(long, default_value = "127.0.0.1:9001")]
    upstream: SocketAddr,
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Serves until killed.
pub(crate) fn serve(arguments: ProxyArguments) -> Result<()> {
    let runtime = match arguments.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        many => tokio::runtime::Builder::new_multi_thread().worker_threads(many).enable_all().build()?,
    };
    runtime.block_on(async move {
        let listener = TcpListener::bind(arguments.listen).await.context("listening")?;
        println!("bare proxy at http://{}", arguments.listen);
        let host = HeaderValue::from_str(&arguments.upstream.to_string())?;
        let pool = Arc::new(Pool { upstream: arguments.upstream, host, idle: Mutex::default() });
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                let service = service_fn(|request| forward(&pool, request));
                let mut server = http1::Builder::new();
                let _ = server.header_read_timeout(None).serve_connection(TokioIo::new(socket), service).await;
            });
        }
    })
}

struct Pool {
    upstream: SocketAddr,
    host: HeaderValue,
    idle: Mutex<Vec<SendRequest<Incoming>>>,
}

impl Pool {
    async fn take(&self) -> Result<SendRequest<Incoming>> {
        loop {
            let idle = self.idle.lock().pop();
            match idle {
                Some(mut sender) => {
                    if sender.ready().await.is_ok() {
                        return Ok(sender);
                    }
                }
                None => break,
            }
        }
        let socket = TcpStream::connect(self.upstream).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

async fn forward(pool: &Arc<Pool>, mut request: Request<Incoming>) -> Result<Response<Answer>> {
    request.headers_mut().insert(HOST, pool.host.clone());
    request.headers_mut().remove(CONNECTION);
    let mut sender = pool.take().await?;
    let response = sender.send_request(request).await?;
    Ok(response.map(|body| Answer { body, sender: Some(sender), ended: false, pool: Arc::clone(pool) }))
}

/// An answer passing through, and the connection it comes from.
struct Answer {
    body: Incoming,
    sender: Option<SendRequest<Incoming>>,
    ended: bool,
    pool: Arc<Pool>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(None) = polled {
            self.ended = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take().filter(|_| self.ended || self.body.is_end_stream()) {
            self.pool.idle.lock().push(sender);
        }
    }
}
