//! Access tokens of Google Cloud.
//!
//! Provider pages: "Using OAuth 2.0 for server to server applications", "About the metadata server", "Application default credentials" and
//! "Workload identity federation" of the Google Cloud documentation; RFC 7523 (assertions) and RFC 8693 (token exchange).

mod federated;
mod service_account;

use std::fmt;

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Map, Value};
use tollgate_domain::{Failure, Secret};

use self::{federated::Federated, service_account::ServiceAccount};
use super::token::{self, Token, TokenSource, without};
use crate::transport::Transport;

/// What the tokens are for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// Where a machine of Google's finds its metadata.
const METADATA: &str = "http://metadata.google.internal";

/// A credentials file that cannot be used; the text names the field and never its value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// Where tokens come from: a credentials file, or the machine that this runs on.
pub struct Google {
    transport: Transport,
    source: Source,
}

enum Source {
    ServiceAccount(Box<ServiceAccount>),
    User { client_id: String, client_secret: Secret, refresh_token: Secret, token_uri: String },
    Federated(Federated),
    Metadata { uri: String },
}

impl Google {
    /// Reads a credentials file: the JSON of a service account's key (`service_account`), of a person's login (`authorized_user`), or of
    /// workload identity federation by a file (`external_account`).
    pub fn from_json(text: &str, transport: Transport) -> Result<Self, Unusable> {
        // The reader's own words would quote what stands there.
        let Ok(file) = serde_json::from_str::<Map<String, Value>>(text) else {
            return Err(Unusable("the credentials file is no JSON object".into()));
        };
        let fields = Fields(&file);
        let source = match fields.text("type")? {
            "service_account" => Source::ServiceAccount(Box::new(ServiceAccount::read(fields)?)),
            "authorized_user" => Source::User {
                client_id: fields.text("client_id")?.to_owned(),
                client_secret: Secret::new(fields.text("client_secret")?),
                refresh_token: Secret::new(fields.text("refresh_token")?),
                token_uri: fields.text("token_uri").unwrap_or(TOKEN_URI).to_owned(),
            },
            "external_account" => Source::Federated(Federated::read(fields)?),
            _ => {
                let known = "must be service_account, authorized_user or external_account";
                return Err(Unusable(format!("type of the credentials file: {known}")));
            }
        };
        Ok(Self { transport, source })
    }

    /// The account of the machine that this runs on, from its metadata server at `base_url`; `None`: where Google's machines have it.
    pub fn from_metadata(base_url: Option<&str>, transport: Transport) -> Self {
        let base_url = base_url.unwrap_or(METADATA);
        let uri = format!("{base_url}/computeMetadata/v1/instance/service-accounts/default/token");
        Self { transport, source: Source::Metadata { uri } }
    }
}

impl TokenSource for Google {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Failure>> {
        async move {
            match &self.source {
                Source::ServiceAccount(account) => account.fetch(&self.transport).await,
                Source::User { client_id, client_secret, refresh_token, token_uri } => {
                    let form = token::form(&[
                        ("grant_type", "refresh_token"),
                        ("client_id", client_id),
                        ("client_secret", client_secret.expose()),
                        ("refresh_token", refresh_token.expose()),
                    ]);
                    let given = token::ask(&self.transport, token_uri, &[], Some(form)).await;
                    given.map_err(|failure| without(failure, &[client_secret.expose(), refresh_token.expose()]))
                }
                Source::Federated(federated) => federated.fetch(&self.transport).await,
                Source::Metadata { uri } => {
                    token::ask(&self.transport, uri, &[("metadata-flavor", "Google")], None).await
                }
            }
        }
        .boxed()
    }
}

impl fmt::Debug for Google {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Source::ServiceAccount(_) => "service account",
            Source::User { .. } => "authorized user",
            Source::Federated(_) => "external account",
            Source::Metadata { .. } => "metadata server",
        };
        f.debug_tuple("Google").field(&source).finish()
    }
}

/// The members of a credentials file, or of an object inside it.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn text(self, name: &str) -> Result<&'a str, Unusable> {
        let text = self.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        text.ok_or_else(|| Unusable(format!("{name} is missing in the credentials file")))
    }

    fn object(self, name: &str) -> Result<Fields<'a>, Unusable> {
        let object = self.0.get(name).and_then(Value::as_object).map(Fields);
        object.ok_or_else(|| Unusable(format!("{name} is missing in the credentials file")))
    }
}
