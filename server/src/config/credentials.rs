//! How the gateway is known to clouds, whose credentials expire.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::SecretRef;

/// Keys for AWS. What is absent comes from AWS's default chain: environment, profile, web identity, container, instance.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Aws {
    /// A key that stays; goes with `secret_access_key`.
    pub access_key_id: Option<SecretRef>,
    /// The secret of `access_key_id`.
    pub secret_access_key: Option<SecretRef>,
    /// The token of a session, where `access_key_id` belongs to one.
    pub session_token: Option<SecretRef>,
    /// A profile of AWS's shared files; absent: `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// ARN of a role that is assumed with the keys, or with the token of `web_identity_token_file`.
    pub role_arn: Option<String>,
    /// What the role's owner asks callers from other accounts for.
    pub external_id: Option<String>,
    /// What the role's session is called in AWS's logs; absent: `tollgate`.
    pub role_session_name: Option<String>,
    /// File with an OpenID Connect token, read anew for each session; goes with `role_arn`.
    pub web_identity_token_file: Option<PathBuf>,
    /// Where STS is reached; absent: at the region's public endpoint.
    pub sts_endpoint: Option<String>,
    /// Where an instance's metadata service is reached; keys then come from there alone.
    pub metadata_endpoint: Option<String>,
}

/// An account of Google Cloud.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Google {
    /// A credentials file, `file:PATH`, or its JSON by `env:NAME`: a service account's key, a person's login, or workload identity
    /// federation. Absent: the account of the machine, from its metadata server.
    pub credentials: Option<SecretRef>,
    /// Where the metadata server is; absent: where Google's machines have it.
    pub metadata_url: Option<String>,
}

/// An application of Microsoft Entra ID: by its secret, by another issuer's token in a file, or by the machine's identity.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Entra {
    /// The directory: its id or a domain of it. Not for a managed identity.
    pub tenant_id: Option<String>,
    /// The application's id; of a managed identity only where the machine has several.
    pub client_id: Option<String>,
    /// The application's secret.
    pub client_secret: Option<SecretRef>,
    /// File with another issuer's token (workload identity), read anew each time.
    pub token_file: Option<PathBuf>,
    /// The identity of the machine that this runs on.
    pub managed_identity: bool,
    /// Where tokens are made; absent: `https://login.microsoftonline.com`, or the machine's metadata service.
    pub authority: Option<String>,
    /// What the token is good for; absent: `https://cognitiveservices.azure.com/.default`.
    pub scope: Option<String>,
}
