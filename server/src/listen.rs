//! One port for gRPC, gRPC-Web and REST: an accept loop of our own, since tonic's TLS cannot serve HTTP/1.1.

use std::{convert::Infallible, fs, io, sync::Arc, time::Duration};

use anyhow::Context;
use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, header};
use hyper::{body::Incoming, rt::Executor};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use crate::{
    config::{KeptPeer, Tls},
    grpc::{Grpc, PeerAddr},
    request_body::RequestBody,
};

const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long calls that are cut may take to be dropped.
const DROPPING: Duration = Duration::from_secs(5);

/// Joins gRPC, gRPC-Web and REST by content type.
pub(crate) fn front(grpc: Grpc, rest: axum::Router, origins: &[String]) -> anyhow::Result<axum::Router> {
    let web = GrpcWebLayer::new().layer(grpc.clone());
    let dispatch = service_fn(move |request: Request<Body>| {
        let (grpc, web, rest) = (grpc.clone(), web.clone(), rest.clone());
        async move {
            let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
            let response: Response<Body> = if kind.starts_with(b"application/grpc-web") {
                web.oneshot(RequestBody::of(request)).await.unwrap_or_else(|e| match e {}).map(Body::new)
            } else if kind.starts_with(b"application/grpc") {
                crate::grpc::call(grpc, RequestBody::of(request)).await.map(Body::new)
            } else {
                rest.oneshot(request).await.unwrap_or_else(|e| match e {})
            };
            Ok::<_, Infallible>(response)
        }
    });
    Ok(axum::Router::new().fallback_service(dispatch).layer(cors(origins)?))
}

/// Keys travel in a header that no browser adds by itself, so any origin may call unless the operator says otherwise.
fn cors(origins: &[String]) -> anyhow::Result<CorsLayer> {
    let origin = match origins.iter().any(|o| o == "*") {
        true => AllowOrigin::any(),
        false => {
            let parse =
                |o: &String| HeaderValue::from_str(o).with_context(|| format!("cors_origins: {o:?} is no origin"));
            AllowOrigin::list(origins.iter().map(parse).collect::<anyhow::Result<Vec<_>>>()?)
        }
    };
    Ok(CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::OPTIONS])
        .allow_headers(AllowHeaders::mirror_request()) // `*` does not cover `authorization` (Fetch standard)
        .expose_headers(Any)
        .max_age(Duration::from_secs(3_600)))
}

/// Reads the certificates.
pub(crate) fn acceptor(tls: &Tls) -> anyhow::Result<TlsAcceptor> {
    let read =
        |path: &std::path::Path| fs::read(path).with_context(|| format!("tls: {} cannot be read", path.display()));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(&tls.certificate)?)
        .collect::<Result<_, _>>()
        .context("tls.certificate: is not a PEM chain")?;
    let key = PrivateKeyDer::from_pem_slice(&read(&tls.private_key)?).context("tls.private_key: is not a PEM key")?;
    let builder = ServerConfig::builder();
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in CertificateDer::pem_slice_iter(&read(path)?) {
                roots.add(authority.context("tls.client_ca: is not PEM")?).context("tls.client_ca")?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().context("tls.client_ca")?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder.with_single_cert(chain, key).context("tls: certificate and key do not fit together")?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// Serves until `shutdown`, then lets calls in flight go on for `drain` at most. When it returns they have ended, or were dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    app: axum::Router,
    peers: KeptPeer,
    shutdown: CancellationToken,
    drain: Duration,
) {
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let mut builder = auto::Builder::new(Tracked(tasks.clone()));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(10))
        .adaptive_window(true)
        .max_concurrent_streams(1_000)
        .max_header_list_size(16 << 10);
    let builder = Arc::new(builder);
    let graceful = GracefulShutdown::new();
    let handshaking = CancellationToken::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of files, most likely: others need a moment to end.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => break,
        };
        // Without this a streamed answer waits for the peer's delayed acknowledgements.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let app = with_peer(app.clone(), PeerAddr(peers.told(peer)));
        let (builder, tls, watcher) = (builder.clone(), tls.clone(), graceful.watcher());
        let (handshaking, cut) = (handshaking.clone(), cut.clone());
        let serving = async move {
            let service = TowerToHyperService::new(app);
            let ended = match tls {
                None => {
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    watcher.watch(connection.into_owned()).await
                }
                Some(tls) => {
                    let Some(stream) = handshake(tls, stream, handshaking).await else { return };
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    watcher.watch(connection.into_owned()).await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, error, "connection ended");
            }
        };
        tasks.spawn(async move {
            cut.run_until_cancelled_owned(serving).await;
        });
    }
    drop(listener);
    handshaking.cancel();
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("the drain timeout passed; calls still in flight are cut and settled");
        cut.cancel();
    }
    tasks.close();
    if tokio::time::timeout(DROPPING, tasks.wait()).await.is_err() {
        tracing::error!("calls that were cut do not end; the next start books what they hold");
    }
}

/// Spawns what serves a connection's streams where it can be awaited.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

async fn handshake(
    tls: TlsAcceptor,
    stream: TcpStream,
    closing: CancellationToken,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let accepted: Result<io::Result<_>, _> = tokio::select! {
        accepted = tokio::time::timeout(HANDSHAKE, tls.accept(stream)) => accepted,
        () = closing.cancelled() => return None,
    };
    match accepted {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake");
            None
        }
        Err(_) => None,
    }
}

type AppFuture = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

fn with_peer(
    app: axum::Router,
    peer: PeerAddr,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future = AppFuture> + Clone + Send {
    service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        let app = app.clone();
        Box::pin(async move { app.oneshot(request).await }) as AppFuture
    })
}
