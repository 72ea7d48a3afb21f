//! From a URL to a line: names are resolved, what they resolve to is judged, and only what was judged is connected to.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::{Refused, address::Reach};
use crate::transport;

/// How long one address of several may take.
const EACH: Duration = Duration::from_secs(3);

/// Finds the addresses of a name.
pub trait Resolve: Send + Sync {
    /// All of them; none, or an error, where there are none.
    fn resolve(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

struct System;

impl Resolve for System {
    fn resolve(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        }
        .boxed()
    }
}

/// The system's resolver.
pub(super) fn system() -> Arc<dyn Resolve> {
    Arc::new(System)
}

/// A line, plain or encrypted.
pub(super) trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

#[derive(Clone)]
pub(super) struct Connector {
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    allow_private: bool,
}

impl Connector {
    pub(super) fn new(resolver: Arc<dyn Resolve>, allow_private: bool) -> Self {
        Self { resolver, tls: TlsConnector::from(Arc::new(transport::tls())), allow_private }
    }

    /// Trusts these authorities and no others.
    #[cfg(test)]
    pub(super) fn trusting(mut self, tls: rustls::ClientConfig) -> Self {
        self.tls = TlsConnector::from(Arc::new(tls));
        self
    }

    pub(super) async fn connect(&self, url: &Url) -> Result<Box<dyn Line>, Refused> {
        let host = url.host().ok_or(Refused::BadUrl)?;
        let port = url.port_or_known_default().ok_or(Refused::BadUrl)?;
        let found = match &host {
            Host::Ipv4(address) => vec![IpAddr::from(*address)],
            Host::Ipv6(address) => vec![IpAddr::from(*address)],
            // A name that is not there reads as one that is not allowed: nobody learns the names of the operator's network.
            Host::Domain(name) => self.resolver.resolve((*name).to_owned()).await.unwrap_or_default(),
        };
        let allowed: Vec<IpAddr> = found.into_iter().filter(|address| self.may_reach(*address)).collect();
        if allowed.is_empty() {
            return Err(Refused::NotAllowed);
        }
        let tcp = dial(&allowed, port).await.ok_or(Refused::Unreachable)?;
        if url.scheme() != "https" {
            return Ok(Box::new(tcp));
        }
        let name = match host {
            Host::Ipv4(address) => ServerName::from(IpAddr::from(address)),
            Host::Ipv6(address) => ServerName::from(IpAddr::from(address)),
            Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|_| Refused::BadUrl)?,
        };
        Ok(Box::new(self.tls.connect(name, tcp).await.map_err(|_| Refused::Broken)?))
    }

    fn may_reach(&self, address: IpAddr) -> bool {
        match Reach::of(address) {
            Reach::Public => true,
            Reach::Private => self.allow_private,
            Reach::Never => false,
        }
    }
}

/// The first of the addresses that answers.
async fn dial(addresses: &[IpAddr], port: u16) -> Option<TcpStream> {
    for address in addresses {
        if let Ok(Ok(stream)) = timeout(EACH, TcpStream::connect(SocketAddr::new(*address, port))).await {
            return Some(stream);
        }
    }
    None
}
