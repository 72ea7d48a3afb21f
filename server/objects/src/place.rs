use std::sync::Arc;

use http::HeaderMap;
use object_store::{
    ObjectStore, RetryConfig, StaticCredentialProvider,
    aws::{AmazonS3, AmazonS3Builder, AwsCredentialProvider, Checksum},
    azure::MicrosoftAzureBuilder,
    client::ClientOptions,
    gcp::{GcpCredential, GoogleCloudStorageBuilder},
    local::LocalFileSystem,
};
use tollgate_domain::Secret;

use crate::connector::Connector;

/// A bucket of S3, or of what speaks its protocol.
#[derive(Clone, Debug)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// The region.
    pub region: String,
    /// Where it is, for what is not AWS; `None`: AWS.
    pub endpoint: Option<String>,
    /// Id and secret of a key; `None`: from the machine's metadata, or the container's or web identity's variables.
    pub key: Option<(Secret, Secret)>,
    /// Token of a session that the key belongs to.
    pub session_token: Option<Secret>,
}

impl S3 {
    /// `headers` go with every request, signed as the others are. `credentials`: from one that is open already.
    pub(crate) fn open(
        &self,
        retries: usize,
        headers: HeaderMap,
        credentials: Option<AwsCredentialProvider>,
    ) -> Result<AmazonS3, String> {
        let mut builder = AmazonS3Builder::from_env()
            .with_http_connector(Connector)
            .with_retry(retry(retries))
            .with_bucket_name(&self.bucket)
            .with_region(&self.region);
        if !headers.is_empty() {
            builder = builder
                .with_client_options(ClientOptions::new().with_default_headers(headers))
                // Object lock asks for a checksum.
                .with_checksum_algorithm(Checksum::SHA256);
        }
        if let Some((id, secret)) = &self.key {
            builder = builder.with_access_key_id(id.expose()).with_secret_access_key(secret.expose());
        }
        if let Some(token) = &self.session_token {
            builder = builder.with_token(token.expose());
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
        }
        if let Some(credentials) = credentials {
            builder = builder.with_credentials(credentials);
        }
        builder.build().map_err(wrong)
    }
}

/// Where objects are kept.
#[derive(Clone, Debug)]
pub enum ObjectPlace {
    /// S3, or what speaks its protocol.
    S3(S3),
    /// Google Cloud Storage.
    Gcs {
        /// The bucket.
        bucket: String,
        /// JSON of a service account; `None`: the machine's.
        service_account: Option<Secret>,
        /// Where it is, for emulators: requests go there without credentials.
        endpoint: Option<String>,
    },
    /// Azure Blob Storage.
    Azure {
        /// The storage account.
        account: String,
        /// The container.
        container: String,
        /// The account's key; `None`: the machine's identity.
        access_key: Option<Secret>,
        /// Where it is, for what is not Azure itself.
        endpoint: Option<String>,
    },
    /// A directory of this machine; made where it is missing.
    Local {
        /// The directory.
        dir: std::path::PathBuf,
    },
}

impl ObjectPlace {
    /// What it is called in settings and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::S3(_) => "s3",
            Self::Gcs { .. } => "gcs",
            Self::Azure { .. } => "azure",
            Self::Local { .. } => "local",
        }
    }
}

/// Opens it without reaching for anybody. A request is tried no second time: whoever puts knows what is to come before what.
pub fn open(place: &ObjectPlace) -> Result<Arc<dyn ObjectStore>, String> {
    store(place, 0)
}

/// The error of an object store that is not reached for.
fn wrong(error: object_store::Error) -> String {
    error.to_string()
}

fn retry(max_retries: usize) -> RetryConfig {
    RetryConfig { max_retries, ..RetryConfig::default() }
}

pub(crate) fn store(place: &ObjectPlace, retries: usize) -> Result<Arc<dyn ObjectStore>, String> {
    Ok(match place {
        ObjectPlace::S3(s3) => Arc::new(s3.open(retries, HeaderMap::new(), None)?),
        ObjectPlace::Gcs { bucket, service_account, endpoint } => {
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_http_connector(Connector)
                .with_retry(retry(retries))
                .with_bucket_name(bucket);
            if let Some(account) = service_account {
                builder = builder.with_service_account_key(account.expose());
            }
            if let Some(endpoint) = endpoint {
                // Puts ask for a credential though nothing is to be signed: without one here they would ask the machine's.
                let none = GcpCredential { bearer: "none".into() };
                builder = builder
                    .with_base_url(endpoint.trim_end_matches('/'))
                    .with_skip_signature(true)
                    .with_credentials(Arc::new(StaticCredentialProvider::new(none)));
            }
            Arc::new(builder.build().map_err(wrong)?)
        }
        ObjectPlace::Azure { account, container, access_key, endpoint } => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_http_connector(Connector)
                .with_retry(retry(retries))
                .with_account(account)
                .with_container_name(container);
            if let Some(key) = access_key {
                builder = builder.with_access_key(key.expose());
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint.clone());
            }
            Arc::new(builder.build().map_err(wrong)?)
        }
        ObjectPlace::Local { dir } => {
            std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            Arc::new(LocalFileSystem::new_with_prefix(dir).map_err(wrong)?)
        }
    })
}

/// The beginning of an answer, for logs.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
