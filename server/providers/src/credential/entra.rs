//! Access tokens of Microsoft Entra ID, for [`Bearer`](super::token::Bearer): by a secret, by the machine's identity, or by a token of
//! another issuer that lies in a file.
//!
//! Provider pages: "OAuth 2.0 client credentials flow", "Managed identities: acquire a token" (instance metadata) and "Workload identity
//! federation" of Microsoft Learn.

use std::{fmt, path::PathBuf};

use futures::{FutureExt, future::BoxFuture};
use tollgate_domain::{Class, Failure, Secret};

use super::token::{Token, TokenSource, ask, encoded, form, without};
use crate::transport::Transport;

/// Where tokens are made in the public cloud; sovereign clouds have hosts of their own.
pub const AUTHORITY: &str = "https://login.microsoftonline.com";
/// What a token for Azure OpenAI is asked for.
pub const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
/// What a machine's token for Azure OpenAI is asked for: the scope without its last part.
pub const RESOURCE: &str = "https://cognitiveservices.azure.com";
/// Where a machine in Azure asks for its token.
pub const METADATA: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

/// Who asks for a token, and what for.
#[derive(Clone, Debug)]
pub struct Application {
    /// Where tokens are made, without a slash at its end: [`AUTHORITY`].
    pub authority: String,
    /// The directory: its id or a domain of it.
    pub tenant: String,
    /// The application's id.
    pub client_id: String,
    /// What the token is good for: [`SCOPE`].
    pub scope: String,
}

impl Application {
    /// Asks with these fields, of which none may be told, as proof.
    async fn ask(&self, transport: &Transport, proof: &[(&str, &str)]) -> Result<Token, Failure> {
        let uri = format!("{}/{}/oauth2/v2.0/token", self.authority, encoded(&self.tenant));
        let about =
            [("grant_type", "client_credentials"), ("client_id", self.client_id.as_str()), ("scope", &self.scope)];
        let fields = [&about, proof].concat();
        let shown: Vec<&str> = proof.iter().map(|(_, value)| *value).collect();
        ask(transport, &uri, &[], Some(form(&fields))).await.map_err(|failure| without(failure, &shown))
    }
}

/// By the application's secret.
pub struct ClientCredentials {
    /// Who asks.
    pub application: Application,
    /// The application's secret.
    pub client_secret: Secret,
    /// What sends.
    pub transport: Transport,
}

impl TokenSource for ClientCredentials {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Failure>> {
        let proof = [("client_secret", self.client_secret.expose())];
        async move { self.application.ask(&self.transport, &proof).await }.boxed()
    }
}

/// By a token of another issuer, as Kubernetes writes one for each pod.
pub struct WorkloadIdentity {
    /// Who asks.
    pub application: Application,
    /// The file with the other issuer's token; read anew each time, because it is renewed there.
    pub token_file: PathBuf,
    /// What sends.
    pub transport: Transport,
}

impl TokenSource for WorkloadIdentity {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Failure>> {
        async move {
            let file = self.token_file.display();
            let assertion = tokio::fs::read_to_string(&self.token_file).await.map_err(|error| {
                Failure::new(Class::Authentication, format!("the token file {file} cannot be read: {error}"))
            })?;
            let assertion = assertion.trim();
            if assertion.is_empty() {
                return Err(Failure::new(Class::Authentication, format!("the token file {file} is empty")));
            }
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
            let proof = [("client_assertion_type", kind), ("client_assertion", assertion)];
            self.application.ask(&self.transport, &proof).await
        }
        .boxed()
    }
}

/// By the identity of the machine that this runs on.
#[derive(Clone)]
pub struct ManagedIdentity {
    /// Where the machine asks: [`METADATA`].
    pub endpoint: String,
    /// What the token is good for: [`RESOURCE`].
    pub resource: String,
    /// Which of the machine's identities, where the operator gave it several.
    pub client_id: Option<String>,
    /// What sends.
    pub transport: Transport,
}

impl TokenSource for ManagedIdentity {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, Failure>> {
        let mut query = vec![("api-version", "2018-02-01"), ("resource", self.resource.as_str())];
        query.extend(self.client_id.as_deref().map(|id| ("client_id", id)));
        let uri = format!("{}?{}", self.endpoint, form(&query));
        async move { ask(&self.transport, &uri, &[("metadata", "true")], None).await }.boxed()
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCredentials").field(&self.application).finish()
    }
}

impl fmt::Debug for WorkloadIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkloadIdentity").field(&self.application).field(&self.token_file).finish()
    }
}

impl fmt::Debug for ManagedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManagedIdentity").field(&self.endpoint).field(&self.client_id).finish()
    }
}
