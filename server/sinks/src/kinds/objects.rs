//! Objects by date and hour, in S3, Google Cloud Storage, Azure Blob Storage or a local directory.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{
    Attribute, Attributes, ObjectStore, PutOptions, PutPayload,
    aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder,
    client::{
        ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    },
    gcp::GoogleCloudStorageBuilder,
    local::LocalFileSystem,
    path::Path,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tollgate_domain::Secret;
use tollgate_outbound::{PostError, Poster};

use super::{REQUEST, gzip};
use crate::{
    Event, json,
    target::{Report, Target, Why},
};

/// Where objects are kept.
#[derive(Clone, Debug)]
pub enum ObjectPlace {
    /// S3, or what speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// The region.
        region: String,
        /// Where it is, for what is not AWS; `None`: AWS.
        endpoint: Option<String>,
        /// Id and secret of a key; `None`: from the machine's metadata, or the container's or web identity's variables.
        key: Option<(Secret, Secret)>,
        /// Token of a session that the key belongs to.
        session_token: Option<Secret>,
    },
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

/// What an object looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// An event a line, many in an object.
    #[default]
    Ndjson,
    /// The same, gzipped.
    NdjsonGz,
    /// An object for each event.
    Json,
}

/// Objects.
#[derive(Clone, Debug)]
pub struct Objects {
    /// Where.
    pub place: ObjectPlace,
    /// Before the date in their names; empty: nothing.
    pub prefix: String,
    /// What they look like.
    pub form: Form,
}

impl Objects {
    pub(super) fn open(self, replica: &str) -> Result<Client, String> {
        Ok(Client { store: store(self.place)?, prefix: self.prefix, form: self.form, replica: replica.to_owned() })
    }
}

/// Sends for `object_store`: the same client as all other sinks, so the same TLS.
#[derive(Debug)]
struct Sender(Poster);

#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Sender(Poster::new())))
    }
}

#[async_trait]
impl HttpService for Sender {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        use http_body_util::BodyExt;
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

fn store(place: ObjectPlace) -> Result<Arc<dyn ObjectStore>, String> {
    let wrong = |error: object_store::Error| error.to_string();
    // The sink tries again itself, with what is newer behind what is older.
    let retry = object_store::RetryConfig { max_retries: 0, ..object_store::RetryConfig::default() };
    Ok(match place {
        ObjectPlace::S3 { bucket, region, endpoint, key, session_token } => {
            let mut builder = AmazonS3Builder::from_env()
                .with_http_connector(Connector)
                .with_retry(retry)
                .with_bucket_name(bucket)
                .with_region(region);
            if let Some((id, secret)) = key {
                builder = builder.with_access_key_id(id.expose()).with_secret_access_key(secret.expose());
            }
            if let Some(token) = session_token {
                builder = builder.with_token(token.expose());
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
            }
            Arc::new(builder.build().map_err(wrong)?)
        }
        ObjectPlace::Gcs { bucket, service_account, endpoint } => {
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_http_connector(Connector)
                .with_retry(retry)
                .with_bucket_name(bucket);
            if let Some(account) = service_account {
                builder = builder.with_service_account_key(account.expose());
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_base_url(endpoint.trim_end_matches('/')).with_skip_signature(true);
            }
            Arc::new(builder.build().map_err(wrong)?)
        }
        ObjectPlace::Azure { account, container, access_key, endpoint } => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_http_connector(Connector)
                .with_retry(retry)
                .with_account(account)
                .with_container_name(container);
            if let Some(key) = access_key {
                builder = builder.with_access_key(key.expose());
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
            }
            Arc::new(builder.build().map_err(wrong)?)
        }
        ObjectPlace::Local { dir } => {
            std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            Arc::new(LocalFileSystem::new_with_prefix(&dir).map_err(wrong)?)
        }
    })
}

pub(super) struct Client {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    form: Form,
    replica: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Events of one hour, and of one object.
    fn group<'a>(&self, batch: &'a [Event]) -> &'a [Event] {
        let Some(first) = batch.first() else { return batch };
        let same = batch.iter().take_while(|event| hour(event) == hour(first)).count();
        &batch[..if self.form == Form::Json { 1 } else { same }]
    }

    /// `PREFIX/2026/11/22/01/REPLICA-FIRST-LAST-HASH.ndjson`: the same events give the same name, so that a repetition is no second object.
    fn name(&self, group: &[Event]) -> Path {
        let (first, last) = (group.first(), group.last());
        let sequence = |event: Option<&Event>| event.map_or(0, |event| event.record().sequence);
        let mut hash = Sha256::new();
        group.iter().for_each(|event| hash.update(event.id.as_bytes()));
        let hash: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let ending = match self.form {
            Form::Ndjson => "ndjson",
            Form::NdjsonGz => "ndjson.gz",
            Form::Json => "json",
        };
        let span = match self.form {
            Form::Json => format!("{:020}", sequence(first)),
            _ => format!("{:020}-{:020}-{hash}", sequence(first), sequence(last)),
        };
        let date = first.map(hour).unwrap_or_default();
        let prefix = self.prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        Path::from(format!("{prefix}{slash}{date}/{}-{span}.{ending}", self.replica))
    }

    async fn put(&self, group: &[Event]) -> Result<(), Why> {
        let mut lines = Vec::new();
        for event in group {
            lines.extend(Value::Object(json::whole(event)).to_string().into_bytes());
            lines.push(b'\n');
        }
        let (bytes, content_type) = match self.form {
            Form::Ndjson => (lines, "application/x-ndjson"),
            Form::NdjsonGz => (gzip(&lines), "application/gzip"),
            Form::Json => (lines, "application/json"),
        };
        let mut options = PutOptions::default();
        // A local file has no attributes.
        if !self.store.to_string().starts_with("LocalFileSystem") {
            options.attributes = Attributes::from_iter([(Attribute::ContentType, content_type)]);
        }
        let put = self.store.put_opts(&self.name(group), PutPayload::from(Bytes::from(bytes)), options).await;
        put.map(drop).map_err(|error| Why::Later { reason: excerpt(&error.to_string()), after: None })
    }
}

/// `2026/11/22/01`, UTC.
fn hour(event: &Event) -> String {
    let time = crate::event::rfc3339(event.end_us());
    let date = time.get(..13).unwrap_or("0000-00-00T00");
    date.replace(['-', 'T'], "/")
}

fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[async_trait]
impl Target for Client {
    async fn send(&self, batch: &[Event], limit: Duration) -> Report {
        let mut done = 0;
        while done < batch.len() {
            let group = self.group(&batch[done..]);
            let late = || Why::Later { reason: format!("no answer within {limit:?}"), after: None };
            if let Err(why) = timeout(limit, self.put(group)).await.unwrap_or_else(|_| Err(late())) {
                return Report { done, why: Some(why), ..Report::default() };
            }
            done += group.len();
        }
        Report::all(batch)
    }
}
