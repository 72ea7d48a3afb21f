//! Keys for AWS from where they really come from, over real sockets: STS, an instance's metadata service, and Bedrock's refusals.

#![allow(clippy::unwrap_used)] // a test says by panicking

#[path = "support/script.rs"]
mod script;

use std::{io::Write, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use script::Scripted;
use tollgate_domain::{Class, Secret};
use tollgate_providers::{
    Target,
    credential::{
        Credential, Signer,
        aws::{AwsSettings, AwsSigner},
    },
    exchange::{self, Endpoint},
    registry::registry,
    transport::{Timeouts, Transport},
};

const ROLE: &str = "arn:aws:iam::123456789012:role/caller";

/// What STS answers; the keys are numbered, so that one can tell them apart.
fn session(action: &str, number: usize) -> (u16, &'static str, String) {
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
         <SessionToken>session{number}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
         <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/caller/tollgate</Arn>\
         <AssumedRoleId>AROA:tollgate</AssumedRoleId></AssumedRoleUser></{action}Result></{action}Response>"
    );
    (200, "content-type: text/xml\r\n", body)
}

fn refusal(code: &str, message: &str) -> (u16, &'static str, String) {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
    );
    (403, "content-type: text/xml\r\n", body)
}

fn token_file() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"header.payload.signature").unwrap();
    file
}

fn web_identity(file: &tempfile::NamedTempFile, sts: String) -> AwsSettings {
    AwsSettings {
        region: "eu-central-1".into(),
        role_arn: Some(ROLE.into()),
        web_identity_token_file: Some(file.path().to_owned()),
        sts_endpoint: Some(sts),
        ..AwsSettings::default()
    }
}

fn request() -> http::Request<Bytes> {
    let uri = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/m/converse";
    http::Request::post(uri).body(Bytes::from_static(b"{}")).unwrap()
}

fn header<'a>(request: &'a http::Request<Bytes>, name: &str) -> &'a str {
    request.headers()[name].to_str().unwrap()
}

#[tokio::test]
async fn a_web_identity_is_exchanged_once_for_all_who_wait_and_not_before_the_first_call() {
    let sts = Scripted::start(|_, number| session("AssumeRoleWithWebIdentity", number)).await;
    let file = token_file();
    let signer = AwsSigner::new(web_identity(&file, sts.url())).unwrap();
    assert_eq!(sts.asked(), Vec::<String>::new());
    let mut requests: Vec<_> = (0..8).map(|_| request()).collect();
    for signed in join_all(requests.iter_mut().map(|request| signer.sign(request))).await {
        signed.unwrap();
    }
    for request in &requests {
        assert!(header(request, "authorization").contains("Credential=ASIA0/"), "{request:?}");
        assert!(header(request, "authorization").contains("/eu-central-1/bedrock/aws4_request"), "{request:?}");
        assert_eq!(header(request, "x-amz-security-token"), "session0");
    }
    let asked = sts.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].contains("WebIdentityToken=header.payload.signature"), "{}", asked[0]);
    assert!(asked[0].contains("RoleSessionName=tollgate"), "{}", asked[0]);
}

#[tokio::test]
async fn keys_that_were_refused_are_fetched_anew_but_not_those_that_came_since() {
    let sts = Scripted::start(|_, number| session("AssumeRoleWithWebIdentity", number)).await;
    let file = token_file();
    let signer = AwsSigner::new(web_identity(&file, sts.url())).unwrap();
    let (mut first, mut second, mut third) = (request(), request(), request());
    signer.sign(&mut first).await.unwrap();
    assert!(signer.refused(&first), "another signature may pass");
    signer.sign(&mut second).await.unwrap();
    assert!(header(&second, "authorization").contains("Credential=ASIA1/"));
    assert!(signer.refused(&first), "an older call is refused later");
    signer.sign(&mut third).await.unwrap();
    assert!(header(&third, "authorization").contains("Credential=ASIA1/"));
    assert_eq!(sts.asked().len(), 2);
}

#[tokio::test]
async fn a_role_is_assumed_with_the_keys_that_are_given() {
    let sts = Scripted::start(|_, number| session("AssumeRole", number)).await;
    let signer = AwsSigner::new(AwsSettings {
        region: "eu-central-1".into(),
        access_key_id: Some("AKIDEXAMPLE".into()),
        secret_access_key: Some(Secret::new("secret-of-the-key")),
        role_arn: Some(ROLE.into()),
        external_id: Some("partner-7".into()),
        role_session_name: Some("gateway".into()),
        sts_endpoint: Some(sts.url()),
        ..AwsSettings::default()
    });
    let mut request = request();
    signer.unwrap().sign(&mut request).await.unwrap();
    assert_eq!(header(&request, "x-amz-security-token"), "session0");
    let asked = sts.asked();
    assert_eq!(asked.len(), 1);
    for wanted in ["Credential=AKIDEXAMPLE/", "ExternalId=partner-7", "RoleSessionName=gateway"] {
        assert!(asked[0].contains(wanted), "{wanted}: {}", asked[0]);
    }
    assert!(!asked[0].contains("secret-of-the-key"));
}

#[tokio::test]
async fn an_instances_keys_are_read_by_the_second_version_of_its_metadata_service() {
    let imds = Scripted::start(|request, _| {
        let line = request.lines().next().unwrap_or_default();
        let has_token = request.to_lowercase().contains("x-aws-ec2-metadata-token: for-a-while");
        match line.split(' ').nth(1).unwrap_or_default() {
            "/latest/api/token" if line.starts_with("PUT") => {
                (200, "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n", "for-a-while".into())
            }
            _ if !has_token => (401, "", String::new()),
            "/latest/meta-data/iam/security-credentials/" => (200, "", "the-role".into()),
            "/latest/meta-data/iam/security-credentials/the-role" => {
                let keys = r#"{"Code":"Success","LastUpdated":"2026-11-20T12:00:00Z","Type":"AWS-HMAC","AccessKeyId":"ASIAI",
                    "SecretAccessKey":"secret","Token":"of-the-instance","Expiration":"2099-01-01T00:00:00Z"}"#;
                (200, "content-type: application/json\r\n", keys.into())
            }
            _ => (404, "", String::new()),
        }
    })
    .await;
    let metadata_endpoint = Some(imds.url());
    let signer =
        AwsSigner::new(AwsSettings { region: "us-east-1".into(), metadata_endpoint, ..AwsSettings::default() });
    let mut request = request();
    signer.unwrap().sign(&mut request).await.unwrap();
    assert!(header(&request, "authorization").contains("Credential=ASIAI/"));
    assert_eq!(header(&request, "x-amz-security-token"), "of-the-instance");
}

#[tokio::test]
async fn why_no_keys_came_is_told_without_the_token() {
    let sts = Scripted::start(|_, _| refusal("AccessDenied", "Not authorized to perform it")).await;
    let file = token_file();
    let refused = AwsSigner::new(web_identity(&file, sts.url())).unwrap().sign(&mut request()).await.unwrap_err();
    assert_eq!(refused.class, Class::Authentication);
    assert!(refused.message.contains("Not authorized to perform it"), "{}", refused.message);
    assert!(!refused.message.contains("payload"), "{}", refused.message);

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let signer = AwsSigner::new(web_identity(&file, format!("http://{nobody}"))).unwrap();
    let away = signer.sign(&mut request()).await.unwrap_err();
    assert_eq!(away.class, Class::Connection, "{}", away.message);

    let gone = AwsSettings { web_identity_token_file: Some("/no/such/file".into()), ..web_identity(&file, sts.url()) };
    let missing = AwsSigner::new(gone).unwrap().sign(&mut request()).await.unwrap_err();
    assert_eq!(missing.class, Class::Authentication);
    assert!(missing.message.contains("No such file"), "{}", missing.message);
}

fn bedrock(base_url: String, credential: Credential) -> Endpoint {
    Endpoint {
        provider: registry("bedrock").unwrap(),
        target: Target {
            base_url,
            api_version: None,
            credential,
            model: "amazon.nova-lite-v1:0".into(),
            headers: Default::default(),
        },
        timeouts: Timeouts::default(),
        transport: Transport::new(),
        fetcher: None,
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_call_whose_session_has_expired_is_signed_anew_and_sent_again() {
    let sts = Scripted::start(|_, number| session("AssumeRoleWithWebIdentity", number)).await;
    let upstream = Scripted::start(|request, _| match request.contains("Credential=ASIA0/") {
        true => (
            403,
            "x-amzn-errortype: ExpiredTokenException\r\n",
            r#"{"message":"The security token session0 in the request is expired"}"#.into(),
        ),
        false => (400, "x-amzn-errortype: ValidationException\r\n", r#"{"message":"messages is missing"}"#.into()),
    })
    .await;
    let file = token_file();
    let signer = Arc::new(AwsSigner::new(web_identity(&file, sts.url())).unwrap());
    let endpoint = bedrock(upstream.url(), Credential::Signer(signer));
    exchange::check(&endpoint, PATIENCE).await.unwrap();
    assert_eq!(upstream.asked().len(), 2);
    assert_eq!(sts.asked().len(), 2);
}

#[tokio::test]
async fn keys_that_stay_are_not_tried_twice_and_their_token_is_not_told() {
    let upstream = Scripted::start(|_, _| {
        let body = r#"{"message":"The security token a-session-token is invalid"}"#;
        (403, "x-amzn-errortype: UnrecognizedClientException\r\n", body.into())
    })
    .await;
    let signer = AwsSigner::new(AwsSettings {
        region: "us-east-1".into(),
        access_key_id: Some("ASIAEXAMPLE".into()),
        secret_access_key: Some(Secret::new("secret")),
        session_token: Some(Secret::new("a-session-token")),
        ..AwsSettings::default()
    });
    let endpoint = bedrock(upstream.url(), Credential::Signer(Arc::new(signer.unwrap())));
    let failure = exchange::check(&endpoint, PATIENCE).await.unwrap_err();
    assert_eq!(failure.class, Class::Authentication);
    assert!(!failure.message.contains("a-session-token"), "{}", failure.message);
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test]
async fn a_check_passes_when_the_question_alone_is_found_wrong() {
    for (status, name, message, passes) in [
        (400, "ValidationException", "messages is missing", true),
        (400, "ValidationException", "The provided model identifier is invalid.", false),
        (403, "AccessDeniedException", "You don't have access to the model.", false),
        (429, "ThrottlingException", "Too many requests", false),
        (404, "ResourceNotFoundException", "no such profile", false),
    ] {
        let upstream =
            Scripted::start(move |_, _| (status, "", format!(r#"{{"__type":"{name}","message":"{message}"}}"#)));
        let endpoint = bedrock(upstream.await.url(), Credential::Key(Secret::new("bedrock-api-key")));
        let checked = exchange::check(&endpoint, PATIENCE).await;
        assert_eq!(checked.is_ok(), passes, "{message}: {checked:?}");
    }
}
