//! From a provider's configuration to where and how it is reached.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use http::{HeaderMap, HeaderName, HeaderValue};
use tollgate_domain::Secret;
use tollgate_providers::{
    Target, bedrock,
    credential::{
        Absent, Credential,
        aws::{AwsSettings, AwsSigner},
        entra::{self, Application, ClientCredentials, ManagedIdentity, WorkloadIdentity},
        google::Google,
        token::Bearer,
    },
    demo,
    exchange::Endpoint,
    fetch::Fetcher,
    registry,
    transport::{Timeouts, Transport},
    vertex,
};

use crate::config::{self, MissingSecrets, Provider, SecretRef};

/// `simulated`: nothing leaves the process, and no credential is read. Beside the endpoint: why it has no credential, where the
/// configuration goes without.
pub(crate) fn build(
    provider: &Provider,
    simulated: Option<&Transport>,
    missing_secrets: MissingSecrets,
) -> anyhow::Result<(Endpoint, Option<String>)> {
    let Some(adapter) = registry::registry(&provider.kind) else {
        bail!("kind: {:?} is not known; known are {:?}", provider.kind, registry::kinds());
    };
    only_of_its_kind(provider)?;
    let placed = base_url(provider)?;
    let known = provider.base_url.clone().or(placed).or(adapter.base_url().map(str::to_owned));
    let Some(base_url) = known else {
        match provider.kind.as_str() {
            "bedrock" => bail!("region: is required for the kind \"bedrock\", or a base_url"),
            "vertex" => bail!("project and location: are required for the kind \"vertex\", or a base_url"),
            kind => bail!("base_url: is required for the kind {kind:?}"),
        }
    };
    let uri: http::Uri = base_url.parse().with_context(|| format!("base_url: {base_url:?} is not a URL"))?;
    if uri.scheme().is_none() || uri.authority().is_none() {
        bail!("base_url: {base_url:?} needs a scheme and a host, as in https://host/v1");
    }
    let t = &provider.timeouts;
    let timeouts = Timeouts {
        connect: t.connect.duration(),
        first_byte: t.first_byte.duration(),
        first_token: t.first_token.duration(),
        idle: t.idle.duration(),
        total: t.total.duration(),
    };
    let transport = simulated.cloned().unwrap_or_else(|| {
        Transport::with_connect_timeout(timeouts.connect).with_in_process(demo::SCHEME, demo::responder())
    });
    let shown = || anyhow::Ok((credential(provider, &transport)?, headers(provider)?));
    let ((credential, headers), missing) = match simulated {
        Some(_) => ((Credential::Key(Secret::new("simulated")), HeaderMap::new()), None),
        None => match shown() {
            Ok(shown) => (shown, None),
            Err(error) if missing_secrets == MissingSecrets::GoWithout => {
                ((Credential::Signer(Arc::new(Absent)), HeaderMap::new()), Some(format!("{error:#}")))
            }
            Err(error) => return Err(error),
        },
    };
    let target = Target {
        base_url: base_url.trim_end_matches('/').to_owned(),
        api_version: provider.api_version.clone(),
        credential,
        model: String::new(),
        headers,
    };
    let rules = provider.fetch_urls.as_ref().map(config::FetchUrls::rules).transpose().context("fetch_urls")?;
    // A simulation asks nobody.
    let fetcher = rules.filter(|_| simulated.is_none()).map(Fetcher::new);
    Ok((Endpoint { provider: adapter, target, timeouts, transport, fetcher }, missing))
}

/// A setting that does nothing would be believed to do something.
fn only_of_its_kind(provider: &Provider) -> anyhow::Result<()> {
    for (name, is_set, kind) in [
        ("api_version", provider.api_version.is_some(), "azure"),
        ("entra", provider.entra.is_some(), "azure"),
        ("region", provider.region.is_some(), "bedrock"),
        ("aws", provider.aws.is_some(), "bedrock"),
        ("project", provider.project.is_some(), "vertex"),
        ("location", provider.location.is_some(), "vertex"),
        ("google", provider.google.is_some(), "vertex"),
    ] {
        ensure!(!is_set || provider.kind == kind, "{name}: is for the kind {kind:?} alone");
    }
    let ways =
        [provider.api_key.is_some(), provider.aws.is_some(), provider.google.is_some(), provider.entra.is_some()];
    ensure!(ways.iter().filter(|way| **way).count() < 2, "api_key: is not used beside aws, google or entra");
    Ok(())
}

/// Where a cloud's service is, by the place that it runs in.
fn base_url(provider: &Provider) -> anyhow::Result<Option<String>> {
    Ok(match provider.kind.as_str() {
        "bedrock" => provider.region.as_deref().map(bedrock::base_url),
        "vertex" => match (&provider.project, &provider.location) {
            (Some(project), Some(location)) => Some(vertex::base_url(project, location)),
            (None, None) => None,
            (None, _) => bail!("project: is required beside location"),
            (_, None) => bail!("location: is required beside project"),
        },
        _ => None,
    })
}

fn headers(provider: &Provider) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &provider.headers {
        let header = HeaderName::try_from(name).with_context(|| format!("headers: {name:?} is no header name"))?;
        let value = value.resolve().map_err(|why| anyhow::anyhow!("headers.{name}: {why}"))?;
        let value = HeaderValue::try_from(value.expose());
        let mut value = value.with_context(|| format!("headers.{name}: is no header value"))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

fn credential(provider: &Provider, transport: &Transport) -> anyhow::Result<Credential> {
    if let Some(key) = secret(&provider.api_key, "api_key")? {
        return Ok(Credential::Key(key));
    }
    Ok(match provider.kind.as_str() {
        "azure" if provider.entra.is_some() => {
            by_entra(provider.entra.as_ref().unwrap_or(&config::Entra::default()), transport).context("entra")?
        }
        "bedrock" => by_aws(provider).context("aws")?,
        "vertex" => by_google(&provider.google.clone().unwrap_or_default(), transport).context("google")?,
        _ => Credential::None,
    })
}

fn by_aws(provider: &Provider) -> anyhow::Result<Credential> {
    let aws = provider.aws.clone().unwrap_or_default();
    let text =
        |reference: &Option<SecretRef>, name| anyhow::Ok(secret(reference, name)?.map(|s| s.expose().to_owned()));
    let settings = AwsSettings {
        region: provider.region.clone().context("the provider's region is required to sign with keys of AWS")?,
        access_key_id: text(&aws.access_key_id, "access_key_id")?,
        secret_access_key: secret(&aws.secret_access_key, "secret_access_key")?,
        session_token: secret(&aws.session_token, "session_token")?,
        profile: aws.profile,
        role_arn: aws.role_arn,
        external_id: aws.external_id,
        role_session_name: aws.role_session_name,
        web_identity_token_file: aws.web_identity_token_file,
        sts_endpoint: aws.sts_endpoint,
        metadata_endpoint: aws.metadata_endpoint,
    };
    let signer = AwsSigner::new(settings).map_err(|failure| anyhow::anyhow!(failure.message))?;
    Ok(Credential::Signer(Arc::new(signer)))
}

fn by_google(google: &config::Google, transport: &Transport) -> anyhow::Result<Credential> {
    let source = match secret(&google.credentials, "credentials")? {
        Some(file) => Google::from_json(file.expose(), transport.clone()).context("credentials")?,
        None => Google::from_metadata(google.metadata_url.as_deref(), transport.clone()),
    };
    Ok(Credential::Signer(Arc::new(Bearer::new(source))))
}

fn by_entra(entra: &config::Entra, transport: &Transport) -> anyhow::Result<Credential> {
    let transport = transport.clone();
    if entra.managed_identity {
        let proofs = entra.client_secret.is_some() || entra.token_file.is_some() || entra.tenant_id.is_some();
        ensure!(!proofs, "managed_identity: goes with client_id alone");
        let identity = ManagedIdentity {
            endpoint: entra.authority.clone().unwrap_or_else(|| entra::METADATA.to_owned()),
            resource: entra.scope.clone().unwrap_or_else(|| entra::RESOURCE.to_owned()),
            client_id: entra.client_id.clone(),
            transport,
        };
        return Ok(Credential::Signer(Arc::new(Bearer::new(identity))));
    }
    let authority = entra.authority.as_deref().unwrap_or(entra::AUTHORITY);
    let application = Application {
        authority: authority.trim_end_matches('/').to_owned(),
        tenant: entra.tenant_id.clone().context("tenant_id: is required")?,
        client_id: entra.client_id.clone().context("client_id: is required")?,
        scope: entra.scope.clone().unwrap_or_else(|| entra::SCOPE.to_owned()),
    };
    match (secret(&entra.client_secret, "client_secret")?, &entra.token_file) {
        (Some(client_secret), None) => {
            let by_secret = ClientCredentials { application, client_secret, transport };
            Ok(Credential::Signer(Arc::new(Bearer::new(by_secret))))
        }
        (None, Some(token_file)) => {
            let by_token = WorkloadIdentity { application, token_file: token_file.clone(), transport };
            Ok(Credential::Signer(Arc::new(Bearer::new(by_token))))
        }
        _ => bail!("one of client_secret, token_file and managed_identity is required"),
    }
}

fn secret(reference: &Option<SecretRef>, name: &'static str) -> anyhow::Result<Option<Secret>> {
    reference.as_ref().map(SecretRef::resolve).transpose().map_err(anyhow::Error::msg).context(name)
}
