use std::{error::Error, path::PathBuf, time::Duration};

use aws_config::{
    BehaviorVersion, Region,
    default_provider::credentials::DefaultCredentialsChain,
    imds,
    imds::credentials::ImdsCredentialsProvider,
    provider_config::ProviderConfig,
    sts::AssumeRoleProvider,
    web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider},
};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn},
    orchestrator::HttpRequest,
    result::ConnectorError,
};
use http::Uri;
use tokio::{sync::OnceCell, time::timeout};
use tollgate_domain::{Class, Failure, Secret};

use super::failed;
use crate::refusal::scrub;

/// How long keys may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a role's session is called where nobody names it.
const SESSION: &str = "tollgate";

/// Where the keys come from. With neither keys nor a token file nor a metadata endpoint: from wherever AWS's default chain finds them,
/// in its order: environment, profile, web identity, container, instance.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// Region of the requests and of STS, such as `us-east-1`; required.
    pub region: String,
    /// A key that stays; goes with `secret_access_key`.
    pub access_key_id: Option<String>,
    /// The secret of `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// The token of a session, where `access_key_id` belongs to one.
    pub session_token: Option<Secret>,
    /// A profile of the shared configuration files; absent: `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// ARN of a role that is assumed with the keys, or with the token of `web_identity_token_file`.
    pub role_arn: Option<String>,
    /// What the role's owner asks callers from other accounts for.
    pub external_id: Option<String>,
    /// What the role's session is called in AWS's logs: 2 to 64 characters of `[\w+=,.@-]`; absent: `tollgate`.
    pub role_session_name: Option<String>,
    /// File with an OpenID Connect token, read anew for each session; goes with `role_arn`.
    pub web_identity_token_file: Option<PathBuf>,
    /// Where STS is reached, as `http://host:port` or `https://host`; absent: at the region's public endpoint.
    pub sts_endpoint: Option<String>,
    /// Where an instance's metadata service is reached; keys then come from there alone. Absent: where the default chain looks for it.
    pub metadata_endpoint: Option<String>,
}

/// Where keys are taken from.
#[derive(Debug)]
pub(super) struct Source {
    settings: AwsSettings,
    /// Made at the first call: until then no file is read and nobody is asked.
    provider: OnceCell<SharedCredentialsProvider>,
}

impl Source {
    pub(super) fn new(settings: AwsSettings) -> Result<Self, Failure> {
        let needs = |what: &str| Err(failed(format!("the AWS credential needs {what}")));
        let is_uri = |text: &Option<String>| {
            text.as_ref()
                .is_none_or(|t| t.parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some()))
        };
        if settings.region.is_empty() {
            return needs("a region");
        }
        match (&settings.access_key_id, &settings.secret_access_key) {
            (Some(_), None) => return needs("secret_access_key beside access_key_id"),
            (None, Some(_)) => return needs("access_key_id beside secret_access_key"),
            (None, None) if settings.session_token.is_some() => {
                return needs("access_key_id and secret_access_key beside session_token");
            }
            _ => {}
        }
        let origins = [
            ("access_key_id", settings.access_key_id.is_some()),
            ("profile", settings.profile.is_some()),
            ("web_identity_token_file", settings.web_identity_token_file.is_some()),
            ("metadata_endpoint", settings.metadata_endpoint.is_some()),
        ];
        let named: Vec<&str> = origins.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
        if named.len() > 1 {
            return needs(&format!("one origin, not {}", named.join(" and ")));
        }
        if settings.role_arn.is_none() {
            if settings.web_identity_token_file.is_some() {
                return needs("role_arn beside web_identity_token_file");
            }
            if settings.external_id.is_some() || settings.role_session_name.is_some() {
                return needs("role_arn beside external_id and role_session_name");
            }
        }
        if !is_uri(&settings.sts_endpoint) {
            return needs("an absolute URI as sts_endpoint");
        }
        if !is_uri(&settings.metadata_endpoint) {
            return needs("an absolute URI as metadata_endpoint");
        }
        Ok(Self { settings, provider: OnceCell::new() })
    }

    /// Whether it gives the same keys for ever.
    pub(super) fn is_fixed(&self) -> bool {
        self.settings.access_key_id.is_some() && self.settings.role_arn.is_none()
    }

    /// Keys as they are now.
    pub(super) async fn fetch(&self) -> Result<Credentials, Failure> {
        let fetch = async {
            let provider = self.provider.get_or_try_init(|| provider(&self.settings)).await?;
            provider.provide_credentials().await.map_err(|error| refused(&error))
        };
        let late = || Failure::new(Class::Timeout, "no AWS credentials were given in time");
        timeout(PATIENCE, fetch).await.unwrap_or_else(|_| Err(late()))
    }
}

async fn provider(settings: &AwsSettings) -> Result<SharedCredentialsProvider, Failure> {
    let client = http_client(settings.sts_endpoint.clone());
    let region = Region::new(settings.region.clone());
    let config = ProviderConfig::without_region().with_http_client(client.clone()).with_region(Some(region.clone()));
    let session_name = settings.role_session_name.as_deref().unwrap_or(SESSION);
    if let (Some(file), Some(role)) = (&settings.web_identity_token_file, &settings.role_arn) {
        let fixed = StaticConfiguration {
            web_identity_token_file: file.clone(),
            role_arn: role.clone(),
            session_name: session_name.to_owned(),
        };
        let provider = WebIdentityTokenCredentialsProvider::builder().configure(&config).static_configuration(fixed);
        return Ok(SharedCredentialsProvider::new(provider.build()));
    }
    let origin = match (&settings.access_key_id, &settings.secret_access_key, &settings.metadata_endpoint) {
        (Some(id), Some(secret), _) => {
            let token = settings.session_token.as_ref().map(|token| token.expose().to_owned());
            SharedCredentialsProvider::new(Credentials::new(id, secret.expose(), token, None, "configuration"))
        }
        (.., Some(endpoint)) => {
            let client = imds::Client::builder().configure(&config).endpoint(endpoint);
            let client = client.map_err(|error| failed(format!("metadata_endpoint: {error}")))?.build();
            let provider = ImdsCredentialsProvider::builder().configure(&config).imds_client(client);
            SharedCredentialsProvider::new(provider.build())
        }
        _ => {
            let mut chain = DefaultCredentialsChain::builder().configure(config).region(region.clone());
            if let Some(profile) = &settings.profile {
                chain = chain.profile_name(profile);
            }
            SharedCredentialsProvider::new(chain.build().await)
        }
    };
    let Some(role) = &settings.role_arn else { return Ok(origin) };
    let mut config = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .http_client(client)
        .credentials_provider(origin.clone());
    if let Some(endpoint) = &settings.sts_endpoint {
        config = config.endpoint_url(endpoint);
    }
    let mut assumed = AssumeRoleProvider::builder(role).configure(&config.load().await).session_name(session_name);
    if let Some(id) = &settings.external_id {
        assumed = assumed.external_id(id);
    }
    Ok(SharedCredentialsProvider::new(assumed.build_from_provider(origin).await))
}

/// A client with ring and the machine's own roots, which finds STS at `sts`.
fn http_client(sts: Option<String>) -> SharedHttpClient {
    let client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    match sts {
        None => client,
        Some(endpoint) => http_client_fn(move |settings, components| {
            let inner = client.http_connector(settings, components);
            SharedHttpConnector::new(ToSts { inner, endpoint: endpoint.trim_end_matches('/').to_owned() })
        }),
    }
}

/// Sends what is meant for STS to its configured endpoint: tokens are exchanged unsigned, so their host is free.
#[derive(Debug)]
struct ToSts {
    inner: SharedHttpConnector,
    endpoint: String,
}

impl HttpConnector for ToSts {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let asked: Option<Uri> = request.uri().parse().ok();
        if let Some(uri) = asked.filter(|uri| uri.host().is_some_and(|host| host.starts_with("sts."))) {
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            if let Err(error) = request.set_uri(format!("{}{path}", self.endpoint)) {
                return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
            }
        }
        self.inner.call(request)
    }
}

fn refused(error: &CredentialsError) -> Failure {
    if let CredentialsError::CredentialsNotLoaded(_) = error {
        return failed(
            "no AWS credentials were found: configure access_key_id and secret_access_key, a profile or a web_identity_token_file, \
             or run where the environment, the container or the instance gives them",
        );
    }
    let causes: Vec<&dyn Error> = std::iter::successors(Some(error as &dyn Error), |&e| e.source()).collect();
    let class = match causes.iter().find_map(|cause| cause.downcast_ref::<ConnectorError>()) {
        Some(broken) if broken.is_timeout() => Class::Timeout,
        Some(_) => Class::Connection,
        None => Class::Authentication,
    };
    let said: Vec<String> = causes.iter().skip(1).map(ToString::to_string).collect();
    Failure::new(class, format!("no AWS credentials were given: {}", scrub(&said.join(": "))))
}
