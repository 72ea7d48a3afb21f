//! Access tokens of Google Cloud over real sockets: how each kind of credentials file is exchanged, and when.

#![allow(clippy::unwrap_used)] // a test says by panicking

#[path = "support/upstream.rs"]
mod upstream;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use tokio::time::{advance, pause, resume};
use tollgate_domain::{Class, Failure};
use tollgate_fixtures::keys::service_account;
use tollgate_proto::v1::CompletionRequest;
use tollgate_providers::{
    ChatCall, Mode, Target,
    credential::{
        Credential, Signer,
        google::Google,
        token::{Bearer, TokenSource},
    },
    exchange::{self, Endpoint},
    registry::registry,
    transport::{Timeouts, Transport},
};
use upstream::{Received, Upstream};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const MODEL: &str = "/v1/publishers/google/models/gemini-2.5-pro:generateContent";

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/fixtures/vertex/{name}.body.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn token(n: usize) -> String {
    json!({"access_token": format!("ya29.test-{n}"), "expires_in": 3599, "token_type": "Bearer"}).to_string()
}

async fn tokens() -> Upstream {
    Upstream::start(|_, before| (200, token(before))).await
}

fn source(file: &str) -> Google {
    Google::from_json(file, Transport::new()).unwrap()
}

fn signer(upstream: &Upstream) -> Arc<Bearer<Google>> {
    Arc::new(Bearer::new(source(&service_account(&upstream.url("/token")))))
}

async fn signed(signer: &Bearer<Google>) -> String {
    let mut request = http::Request::new(Bytes::new());
    signer.sign(&mut request).await.unwrap();
    request.headers()["authorization"].to_str().unwrap().to_owned()
}

/// A call at a provider that takes the tokens that `takes` says.
async fn asked(takes: fn(&str) -> bool) -> (Upstream, Result<(), Failure>) {
    let upstream = Upstream::start(move |request: &Received, before| match request.path.as_str() {
        "/token" => (200, token(before)),
        _ if takes(request.header("authorization").unwrap()) => (200, fixture("text")),
        _ => (401, fixture("auth_error")),
    })
    .await;
    let endpoint = Endpoint {
        provider: registry("vertex").unwrap(),
        target: Target {
            base_url: upstream.url("/v1"),
            api_version: None,
            credential: Credential::Signer(signer(&upstream)),
            model: "gemini-2.5-pro".into(),
            headers: Default::default(),
        },
        timeouts: Timeouts::default(),
        transport: Transport::new(),
        fetcher: None,
    };
    let request = CompletionRequest::default();
    let call = ChatCall::new(&request, Mode::Whole);
    let answered = exchange::chat(&endpoint, &call).await.map(|_| ());
    (upstream, answered)
}

#[tokio::test]
async fn a_service_account_signs_who_it_is_for_whom_and_for_an_hour() {
    let upstream = tokens().await;
    let given = source(&service_account(&upstream.url("/token"))).fetch().await.unwrap();
    assert_eq!((given.secret.expose(), given.lifetime), ("ya29.test-0", Duration::from_secs(3_599)));
    let asked = &upstream.received("/token")[0];
    assert_eq!(asked.field("grant_type").unwrap(), "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let assertion = asked.field("assertion").unwrap();
    let header = jsonwebtoken::decode_header(&assertion).unwrap();
    assert_eq!(
        (header.alg, header.typ.as_deref(), header.kid.as_deref()),
        (Algorithm::RS256, Some("JWT"), Some("k-1"))
    );
    let key = DecodingKey::from_rsa_pem(include_bytes!("../../../tests/fixtures/src/rsa_test_key.pub.pem")).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[upstream.url("/token")]);
    let claims = jsonwebtoken::decode::<Value>(&assertion, &key, &validation).unwrap().claims;
    let email = "gateway@p1.iam.gserviceaccount.com";
    assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some(email), Some(email)));
    assert_eq!(claims["scope"], SCOPE);
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3_600);
}

#[tokio::test]
async fn many_who_wait_cause_one_exchange() {
    let upstream = tokens().await;
    let signer = signer(&upstream);
    let all = join_all((0..50).map(|_| signed(&signer))).await;
    assert!(all.iter().all(|value| value == "Bearer ya29.test-0"), "{all:?}");
    assert_eq!(upstream.received("/token").len(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_and_not_much_earlier() {
    let upstream = tokens().await;
    let signer = signer(&upstream);
    assert_eq!(signed(&signer).await, "Bearer ya29.test-0");
    for (seconds, expected) in [(3_000, "Bearer ya29.test-0"), (300, "Bearer ya29.test-1")] {
        pause();
        advance(Duration::from_secs(seconds)).await;
        resume();
        assert_eq!(signed(&signer).await, expected);
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_the_call_repeated() {
    let (upstream, answered) = asked(|token| token == "Bearer ya29.test-1").await;
    answered.unwrap();
    assert_eq!((upstream.received("/token").len(), upstream.received(MODEL).len()), (2, 2));
}

#[tokio::test]
async fn a_second_refusal_is_the_answer() {
    let (upstream, answered) = asked(|_| false).await;
    assert_eq!(answered.unwrap_err().class, Class::Authentication);
    assert_eq!((upstream.received("/token").len(), upstream.received(MODEL).len()), (2, 2));
}

#[tokio::test]
async fn a_login_is_refreshed() {
    let upstream = tokens().await;
    let file = json!({"type": "authorized_user", "client_id": "c-1", "client_secret": "shh/1", "refresh_token": "1//r",
                      "token_uri": upstream.url("/token")});
    source(&file.to_string()).fetch().await.unwrap();
    let asked = &upstream.received("/token")[0];
    let field = |name| asked.field(name).unwrap();
    assert_eq!((field("grant_type"), field("client_id")), ("refresh_token".into(), "c-1".into()));
    assert_eq!((field("client_secret"), field("refresh_token")), ("shh/1".into(), "1//r".into()));
}

#[tokio::test]
async fn a_machine_asks_its_metadata_server() {
    let upstream = tokens().await;
    Google::from_metadata(Some(&upstream.url("")), Transport::new()).fetch().await.unwrap();
    let asked = &upstream.received("/computeMetadata/v1/instance/service-accounts/default/token")[0];
    assert_eq!(asked.header("metadata-flavor"), Some("Google"));
}

#[tokio::test]
async fn another_issuers_token_is_exchanged_twice_for_a_service_accounts() {
    let upstream = Upstream::start(|request, _| match request.path.as_str() {
        "/sts" => (200, json!({"access_token": "federated", "expires_in": 60, "token_type": "Bearer"}).to_string()),
        _ => (200, json!({"accessToken": "ya29.service", "expireTime": "2026-11-21T11:00:00Z"}).to_string()),
    })
    .await;
    let file = std::env::temp_dir().join(format!("tollgate-subject-token-{}", uuid::Uuid::new_v4()));
    std::fs::write(&file, json!({"id_token": "eyJ.subject.token"}).to_string()).unwrap();
    let credentials = json!({
        "type": "external_account", "audience": "//iam.googleapis.com/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": upstream.url("/sts"),
        "service_account_impersonation_url": upstream.url("/sa:generateAccessToken"),
        "credential_source": {"file": file, "format": {"type": "json", "subject_token_field_name": "id_token"}},
    });
    let given = source(&credentials.to_string()).fetch().await.unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!((given.secret.expose(), given.lifetime), ("ya29.service", Duration::from_secs(3_600)));
    let exchanged = &upstream.received("/sts")[0];
    assert_eq!(exchanged.field("subject_token").unwrap(), "eyJ.subject.token");
    assert_eq!(exchanged.field("audience").unwrap(), "//iam.googleapis.com/pool");
    assert_eq!(exchanged.field("scope").unwrap(), SCOPE);
    let impersonated = &upstream.received("/sa:generateAccessToken")[0];
    assert_eq!(impersonated.header("authorization"), Some("Bearer federated"));
    let body: Value = serde_json::from_str(&impersonated.body).unwrap();
    assert_eq!(body, json!({"scope": [SCOPE], "lifetime": "3600s"}));
    // The file is read anew each time; without it there is no token, and the failure says which one.
    let failure = source(&credentials.to_string()).fetch().await.unwrap_err();
    assert_eq!(failure.class, Class::Authentication);
    assert!(failure.message.contains("tollgate-subject-token-"), "{}", failure.message);
}

#[tokio::test]
async fn no_secret_shows_in_what_is_printed_or_in_what_a_maker_of_tokens_repeats() {
    let upstream = Upstream::start(|request, _| {
        (400, json!({"error": "invalid_grant", "error_description": request.body}).to_string())
    })
    .await;
    let user = json!({"type": "authorized_user", "client_id": "c-1", "client_secret": "shh/1", "refresh_token": "1//r",
                      "token_uri": upstream.url("/token")});
    for file in [user.to_string(), service_account(&upstream.url("/token"))] {
        let source = source(&file);
        let failure = source.fetch().await.unwrap_err();
        let asked = upstream.received("/token").pop().unwrap();
        assert!(failure.message.contains("invalid_grant"), "{}", failure.message);
        let assertion = asked.field("assertion");
        let secrets = ["shh", "//r", "%2Fr", "PRIVATE KEY"].into_iter().chain(assertion.as_deref());
        for secret in secrets {
            assert!(!failure.message.contains(secret), "{}", failure.message);
            assert!(!format!("{source:?}").contains(secret), "{source:?}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_used_names_the_field_and_not_its_value() {
    let refused = |file: Value| Google::from_json(&file.to_string(), Transport::new()).unwrap_err().to_string();
    let account: Value = serde_json::from_str(&service_account("https://example.com/token")).unwrap();
    for field in ["type", "client_email", "private_key"] {
        let mut file = account.clone();
        file.as_object_mut().unwrap().remove(field);
        assert_eq!(refused(file), format!("{field} is missing in the credentials file"));
    }
    let mut file = account.clone();
    file["private_key"] = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----".into();
    let message = refused(file);
    assert!(message.starts_with("private_key ") && !message.contains("secret"), "{message}");
    for field in ["client_id", "client_secret", "refresh_token"] {
        let mut file = json!({"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"});
        file.as_object_mut().unwrap().remove(field);
        assert_eq!(refused(file), format!("{field} is missing in the credentials file"));
    }
    let aws = json!({"type": "external_account", "credential_source": {"environment_id": "aws1"}});
    assert_eq!(refused(aws), "credential_source of the credentials file must name a file");
    assert!(refused(json!({"type": "gdch_service_account"})).contains("must be service_account"));
    assert!(refused(json!(["x"])).contains("no JSON object"));
}
