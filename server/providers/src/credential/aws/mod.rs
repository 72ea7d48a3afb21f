//! Signature Version 4 of AWS, and where the keys behind it come from.
//!
//! AWS pages: "AWS Signature Version 4 for API requests" (IAM User Guide) and "Standardized credential providers" (AWS SDKs and Tools
//! Reference Guide). Bedrock's API keys are no matter of this module: they are plain keys.

mod source;

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderValue, header};
use tollgate_domain::{Class, Failure};

pub use self::source::AwsSettings;
use self::source::Source;
use super::{Signer, renewed::Renewed};

/// The service in a signature's scope.
const SERVICE: &str = "bedrock";
/// How long keys that name no end are kept.
const KEPT: Duration = Duration::from_secs(15 * 60);

/// Signs requests to Bedrock.
#[derive(Debug)]
pub struct AwsSigner {
    region: String,
    source: Source,
    held: Renewed<Identity>,
}

impl AwsSigner {
    /// With nothing fetched yet. Fails with `Authentication`, naming the setting that is missing or wrong.
    pub fn new(settings: AwsSettings) -> Result<Self, Failure> {
        let region = settings.region.clone();
        Ok(Self { region, source: Source::new(settings)?, held: Renewed::default() })
    }

    async fn fetched(&self) -> Result<(Identity, Duration), Failure> {
        // Large, and seldom needed.
        let keys = self.source.fetch().boxed().await?;
        // Both become headers.
        if [Some(keys.access_key_id()), keys.session_token()]
            .iter()
            .flatten()
            .any(|v| HeaderValue::from_str(v).is_err())
        {
            return Err(failed("the AWS keys hold characters that no header may have"));
        }
        let left = keys.expiry().map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
        Ok((keys.into(), left.unwrap_or(KEPT)))
    }
}

impl Signer for AwsSigner {
    fn sign<'a>(&'a self, request: &'a mut http::Request<Bytes>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let identity = self.held.get(self.fetched()).await?;
            signed(request, &identity, &self.region, SystemTime::now())
        }
        .boxed()
    }

    fn refused(&self, request: &http::Request<Bytes>) -> bool {
        let sent =
            request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let may_pass = self.held.forget(|identity| {
            identity
                .data::<Credentials>()
                .is_some_and(|keys| sent.contains(&format!("Credential={}/", keys.access_key_id())))
        });
        may_pass && !self.source.is_fixed()
    }
}

/// Writes the signature at a moment. The path is encoded once more for it, as every service but S3 wants.
fn signed(
    request: &mut http::Request<Bytes>,
    identity: &Identity,
    region: &str,
    time: SystemTime,
) -> Result<(), Failure> {
    let unsignable =
        |what: String| Failure::new(Class::InvalidRequest, format!("the request cannot be signed: {what}"));
    let params = v4::SigningParams::builder()
        .identity(identity)
        .region(region)
        .name(SERVICE)
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| unsignable(error.to_string()))?;
    let instructions = {
        let mut headers = Vec::with_capacity(request.headers().len());
        for (name, value) in request.headers() {
            let value = value.to_str().map_err(|_| unsignable(format!("the header {name} is not plain ASCII")))?;
            headers.push((name.as_str(), value));
        }
        let (method, uri) = (request.method().as_str(), request.uri().to_string());
        let signable = SignableRequest::new(method, uri, headers.into_iter(), SignableBody::Bytes(request.body()));
        let output = signable.and_then(|signable| sign(signable, &params.into()));
        output.map_err(|error| unsignable(error.to_string()))?.into_parts().0
    };
    instructions.apply_to_request_http1x(request);
    Ok(())
}

fn failed(message: impl Into<String>) -> Failure {
    Failure::new(Class::Authentication, message)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tollgate_domain::Secret;

    use super::*;

    fn settings() -> AwsSettings {
        AwsSettings {
            region: "us-east-1".into(),
            access_key_id: Some("AKIDEXAMPLE".into()),
            secret_access_key: Some(Secret::new("wJalrXUtnFEMI")),
            ..AwsSettings::default()
        }
    }

    /// Seconds since the epoch of the moment that all vectors share, 2026-11-20 12:00:00 UTC.
    const NOON: u64 = 1_795_176_000;

    #[tokio::test]
    async fn every_vector_is_signed_as_awss_own_library_signs_it() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/bedrock/sigv4_vectors.json");
        let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let vectors = vectors["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 5);
        for vector in vectors {
            let text = |name: &str| vector[name].as_str().map(str::to_owned);
            let asked = &vector["request"];
            let mut request = http::Request::builder()
                .method(asked["method"].as_str().unwrap())
                .uri(asked["url"].as_str().unwrap())
                .body(Bytes::from(asked["body"].as_str().unwrap().to_owned()))
                .unwrap();
            for (name, value) in asked["headers"].as_object().unwrap() {
                let name = http::HeaderName::try_from(name.as_str()).unwrap();
                request.headers_mut().insert(name, value.as_str().unwrap().parse().unwrap());
            }
            let signer = AwsSigner::new(AwsSettings {
                region: text("region").unwrap(),
                access_key_id: text("access_key_id"),
                secret_access_key: text("secret_access_key").map(Secret::new),
                session_token: text("session_token").map(Secret::new),
                ..AwsSettings::default()
            });
            let signer = signer.unwrap();
            let (identity, _) = signer.fetched().await.unwrap();
            assert_eq!(text("time").unwrap(), "20261120T120000Z");
            signed(&mut request, &identity, &signer.region, SystemTime::UNIX_EPOCH + Duration::from_secs(NOON))
                .unwrap();
            for (name, value) in vector["expect_headers"].as_object().unwrap() {
                assert_eq!(request.headers()[name.as_str()], value.as_str().unwrap(), "{}: {name}", vector["name"]);
            }
        }
    }

    #[test]
    fn what_is_missing_is_named_and_no_secret_is_told() {
        let without = |change: fn(&mut AwsSettings)| {
            let mut settings = settings();
            change(&mut settings);
            AwsSigner::new(settings).unwrap_err().message
        };
        assert!(without(|s| s.region.clear()).contains("a region"));
        assert!(without(|s| s.secret_access_key = None).contains("secret_access_key"));
        assert!(without(|s| s.access_key_id = None).contains("access_key_id"));
        assert!(without(|s| s.profile = Some("p".into())).contains("access_key_id and profile"));
        assert!(without(|s| s.external_id = Some("x".into())).contains("role_arn"));
        assert!(without(|s| s.sts_endpoint = Some("sts".into())).contains("sts_endpoint"));
        let token_file =
            AwsSettings { region: "r".into(), web_identity_token_file: Some("f".into()), ..Default::default() };
        assert!(AwsSigner::new(token_file).unwrap_err().message.contains("role_arn"));
        let shown = format!("{:?}", AwsSigner::new(settings()).unwrap());
        assert!(!shown.contains("wJalrXUtnFEMI"), "{shown}");
    }

    #[tokio::test]
    async fn keys_that_no_header_can_carry_are_refused_without_being_told() {
        let session_token = Some(Secret::new("line\nbreak"));
        let signer = AwsSigner::new(AwsSettings { session_token, ..settings() }).unwrap();
        let mut request = http::Request::new(Bytes::new());
        *request.uri_mut() = http::Uri::from_static("http://h/");
        let failure = signer.sign(&mut request).await.unwrap_err();
        assert_eq!(failure.class, Class::Authentication);
        assert!(!failure.message.contains("break"), "{}", failure.message);
    }
}
