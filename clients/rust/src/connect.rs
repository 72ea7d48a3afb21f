//! How a client comes to its connection.

use std::{env, fmt, time::Duration};

use tonic::{
    Request, Status,
    metadata::{Ascii, AsciiMetadataValue, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::Client;

/// Where a gateway listens unless it is told otherwise.
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:4000";
/// How long a call may take unless the client says otherwise: completions, embeddings, images.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest time that an admin call takes.
pub(crate) const ADMIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not a URL, or nobody answers there.
    #[error("cannot connect to {address}: {source}")]
    Transport {
        /// Where to.
        address: String,
        /// What happened.
        source: tonic::transport::Error,
    },
    /// There is none, or it has characters that no header takes.
    #[error("the key {0}")]
    Key(&'static str),
    /// It is not of the form of `traceparent` in W3C's Trace Context.
    #[error("the trace parent is not of the form 00-<32 hex digits>-<16 hex digits>-<2 hex digits>")]
    TraceParent,
}

/// Settings of a connection; what is not set comes from the environment, else from the defaults.
#[derive(Clone, Default)]
#[must_use]
pub struct Builder {
    address: Option<String>,
    key: Option<String>,
    keyless: bool,
    timeout: Option<Duration>,
    ca_pem: Option<Vec<u8>>,
    identity_pem: Option<(Vec<u8>, Vec<u8>)>,
    domain: Option<String>,
}

/// Without the key.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("address", &self.address)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Address of the gateway: `http://host:port`, or `https://host:port` for TLS. Else `TOLLGATE_ADDRESS`, else `http://127.0.0.1:4000`.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Virtual key, `tg-...`. Else `TOLLGATE_API_KEY`.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// No key at all, whatever the environment says: for what a gateway tells everybody.
    pub fn without_key(mut self) -> Self {
        self.keyless = true;
        self
    }

    /// How long a call may take, which the gateway is told too: ten minutes for those that models serve unless said here, one for admin
    /// calls at most.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Trusts this certificate authority, PEM, instead of those of the system.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// Shows this certificate with its key, both PEM, to a gateway that asks for one.
    pub fn identity_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity_pem = Some((certificate.into(), key.into()));
        self
    }

    /// Name that the gateway's certificate must have, where it is not that of the address.
    pub fn domain(mut self, name: impl Into<String>) -> Self {
        self.domain = Some(name.into());
        self
    }

    /// Connects.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let (endpoint, address) = self.endpoint()?;
        let failed = |source| ConnectError::Transport { address, source };
        let channel = endpoint.connect().await.map_err(failed)?;
        self.over(channel)
    }

    /// Connects with the first call, and again whenever it must.
    pub fn connect_lazy(self) -> Result<Client, ConnectError> {
        let channel = self.endpoint()?.0.connect_lazy();
        self.over(channel)
    }

    fn endpoint(&self) -> Result<(Endpoint, String), ConnectError> {
        let address = self.address.clone().or_else(|| env::var("TOLLGATE_ADDRESS").ok());
        let address = address.unwrap_or_else(|| DEFAULT_ADDRESS.to_owned());
        let failed = |source| ConnectError::Transport { address: address.clone(), source };
        let mut endpoint = Endpoint::from_shared(address.clone())
            .map_err(failed)?
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_while_idle(true)
            .user_agent(concat!("tollgate-rust/", env!("CARGO_PKG_VERSION")))
            .map_err(failed)?;
        if endpoint.uri().scheme_str() == Some("https") {
            let mut tls = ClientTlsConfig::new();
            tls = match &self.ca_pem {
                Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                None => tls.with_enabled_roots(),
            };
            if let Some((certificate, key)) = &self.identity_pem {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            if let Some(name) = &self.domain {
                tls = tls.domain_name(name);
            }
            endpoint = endpoint.tls_config(tls).map_err(failed)?;
        }
        Ok((endpoint, address))
    }

    fn over(self, channel: Channel) -> Result<Client, ConnectError> {
        if self.keyless {
            return Ok(Client { channel, common: Common::default(), timeout: self.timeout });
        }
        let key = self.key.or_else(|| env::var("TOLLGATE_API_KEY").ok());
        let key = key.ok_or(ConnectError::Key("is missing: give one, or set TOLLGATE_API_KEY"))?;
        let mut client = Client::over(channel, &key)?;
        client.timeout = self.timeout;
        Ok(client)
    }
}

/// Adds to every call what all have in common.
#[derive(Clone, Default)]
pub struct Common {
    key: Option<MetadataValue<Ascii>>,
    trace_parent: Option<AsciiMetadataValue>,
}

impl Common {
    pub(crate) fn new(key: &str) -> Result<Self, ConnectError> {
        let broken = |_| ConnectError::Key("has characters that no header takes");
        let mut key: MetadataValue<Ascii> = format!("Bearer {key}").parse().map_err(broken)?;
        key.set_sensitive(true);
        Ok(Self { key: Some(key), trace_parent: None })
    }

    pub(crate) fn trace_parent(&mut self, value: &str) -> Result<(), ConnectError> {
        let lengths: Vec<usize> = value.split('-').map(str::len).collect();
        let hexadecimal = value.bytes().all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if lengths != [2, 32, 16, 2] || !hexadecimal {
            return Err(ConnectError::TraceParent);
        }
        self.trace_parent = Some(value.parse().map_err(|_| ConnectError::TraceParent)?);
        Ok(())
    }
}

impl Interceptor for Common {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.key {
            request.metadata_mut().insert("authorization", key.clone());
        }
        if let Some(parent) = &self.trace_parent {
            request.metadata_mut().insert("traceparent", parent.clone());
        }
        Ok(request)
    }
}

/// The transport of every service client.
pub type Transport = InterceptedService<Channel, Common>;
