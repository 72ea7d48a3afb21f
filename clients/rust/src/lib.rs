//! Tollgate from Rust: a connection, a key, and the contract's own clients.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tollgate_client::{Client, v1};
//! let client = Client::connect("http://127.0.0.1:4000", "tg-...").await?;
//! let spend = client.budgets().get_spend(v1::GetSpendRequest::default()).await?.into_inner();
//! println!("{:?}", spend.total);
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

pub use tollgate_proto::v1;
use tollgate_proto::v1::{
    ErrorReason, audit_service_client::AuditServiceClient, budget_service_client::BudgetServiceClient,
    completion_service_client::CompletionServiceClient, embedding_service_client::EmbeddingServiceClient,
    image_service_client::ImageServiceClient, key_admin_service_client::KeyAdminServiceClient,
    model_service_client::ModelServiceClient, moderation_service_client::ModerationServiceClient,
    rerank_service_client::RerankServiceClient, response_service_client::ResponseServiceClient,
    tenancy_service_client::TenancyServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

/// Largest message taken and sent, in bytes.
const MAX_MESSAGE_BYTES: usize = 150_000_000;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not a URL, or nobody answers there.
    #[error("cannot connect: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The key has characters that no header takes.
    #[error("the key is not a valid header value")]
    Key,
}

/// A connection with a key. Cheap to clone; every clone shares the connection.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    key: WithKey,
}

/// Adds the key to every call.
#[derive(Clone)]
pub struct WithKey(MetadataValue<Ascii>);

impl Interceptor for WithKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The transport of every service client.
pub type Transport = InterceptedService<Channel, WithKey>;

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident: $client:ident),+ $(,)?) => {
        $(
            $(#[$doc])*
            pub fn $name(&self) -> $client<Transport> {
                $client::with_interceptor(self.channel.clone(), self.key.clone())
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_MESSAGE_BYTES)
            }
        )+
    };
}

impl Client {
    /// Connects to a gateway, as in `http://127.0.0.1:4000`, with a virtual key.
    pub async fn connect(address: &str, key: &str) -> Result<Self, ConnectError> {
        let channel = Endpoint::from_shared(address.to_owned())?
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .connect()
            .await?;
        Self::over(channel, key)
    }

    /// Over a channel that was made elsewhere.
    pub fn over(channel: Channel, key: &str) -> Result<Self, ConnectError> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {key}").parse().map_err(|_| ConnectError::Key)?;
        value.set_sensitive(true);
        Ok(Self { channel, key: WithKey(value) })
    }

    services! {
        /// Completions.
        completions: CompletionServiceClient,
        /// Embeddings.
        embeddings: EmbeddingServiceClient,
        /// Rankings.
        reranks: RerankServiceClient,
        /// Moderations.
        moderations: ModerationServiceClient,
        /// Images.
        images: ImageServiceClient,
        /// Responses that are kept.
        responses: ResponseServiceClient,
        /// Models.
        models: ModelServiceClient,
        /// Virtual keys.
        keys: KeyAdminServiceClient,
        /// Organizations, teams, users, members.
        tenancy: TenancyServiceClient,
        /// Budgets, spend, ledger.
        budgets: BudgetServiceClient,
        /// The audit log.
        audit: AuditServiceClient,
    }
}

/// The reason in a status of Tollgate's; `None` for one that the transport made.
pub fn reason(status: &Status) -> Option<ErrorReason> {
    let details = status.get_error_details();
    let info = details.error_info().filter(|i| i.domain == tollgate_proto::ERROR_DOMAIN)?;
    ErrorReason::from_wire_name(&info.reason)
}
