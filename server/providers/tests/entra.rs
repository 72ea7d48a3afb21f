//! Azure with tokens of Entra ID, over real sockets: who gets asked, how often, and what is told when no token is given.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tollgate_domain::{Class, Failure, Secret};
use tollgate_proto::v1::CompletionRequest;
use tollgate_providers::{
    ChatCall, Mode, Target,
    credential::{
        Credential,
        entra::{self, Application, ClientCredentials, ManagedIdentity, WorkloadIdentity},
        token::{Bearer, TokenSource},
    },
    exchange::{self, Endpoint},
    registry::registry,
    transport::{Timeouts, Transport},
};

/// Microsoft's side: makes tokens, and serves completions to who shows the newest.
#[derive(Default)]
struct Azure {
    /// What came at the maker of tokens: query or form.
    exchanges: Vec<String>,
    /// Seconds for which tokens are good.
    lifetime: u64,
    /// Completions that were asked for, and how many of them refuse the newest token at first.
    calls: usize,
    refusals: usize,
    /// The answer of the maker of tokens instead of a token.
    trouble: Option<(u16, &'static str)>,
}

impl Azure {
    fn answer(&mut self, head: &http::request::Parts, body: &str) -> (u16, String) {
        if head.uri.path().ends_with("/token") {
            self.exchanges.push(format!("{}{body}", head.uri.query().unwrap_or_default()));
            if let Some((status, body)) = self.trouble {
                return (status, body.to_owned());
            }
            let (n, lifetime) = (self.exchanges.len(), self.lifetime);
            // As the metadata service writes it: a string.
            return (200, format!(r#"{{"access_token":"token-{n}","expires_in":"{lifetime}","token_type":"Bearer"}}"#));
        }
        self.calls += 1;
        let newest = format!("Bearer token-{}", self.exchanges.len());
        let is_newest = head.headers.get("authorization").is_some_and(|shown| shown == newest.as_str());
        assert!(!head.headers.contains_key("api-key"));
        if !is_newest || self.refusals > 0 {
            self.refusals = self.refusals.saturating_sub(1);
            return (401, format!(r#"{{"error":{{"code":"401","message":"{newest} is not valid"}}}}"#));
        }
        let message = r#"{"role":"assistant","content":"Lima."}"#;
        (
            200,
            format!(r#"{{"id":"c","model":"m","choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}]}}"#),
        )
    }
}

async fn serve(azure: Azure) -> (SocketAddr, Arc<Mutex<Azure>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let azure = Arc::new(Mutex::new(azure));
    let shared = azure.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let azure = shared.clone();
            let service = service_fn(move |request: http::Request<Incoming>| {
                let azure = azure.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let (status, body) = azure.lock().unwrap().answer(&head, &String::from_utf8_lossy(&body));
                    let response = http::Response::builder().status(status);
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, azure)
}

fn endpoint(address: SocketAddr, source: impl TokenSource + 'static) -> Endpoint {
    Endpoint {
        provider: registry("azure").unwrap(),
        target: Target {
            base_url: format!("http://{address}"),
            api_version: None,
            credential: Credential::Signer(Arc::new(Bearer::new(source))),
            model: "m".into(),
            headers: Default::default(),
        },
        timeouts: Timeouts::default(),
        transport: Transport::new(),
        fetcher: None,
    }
}

fn application(address: SocketAddr) -> Application {
    Application {
        authority: format!("http://{address}"),
        tenant: "contoso.example".into(),
        client_id: "app 1".into(),
        scope: entra::SCOPE.into(),
    }
}

fn by_secret(address: SocketAddr) -> ClientCredentials {
    let client_secret = Secret::new("s3cr&t~value");
    ClientCredentials { application: application(address), client_secret, transport: Transport::new() }
}

async fn call(endpoint: &Endpoint) -> Result<(), Failure> {
    let request = CompletionRequest::default();
    let call = ChatCall::new(&request, Mode::Whole);
    exchange::chat(endpoint, &call).await.map(|_| ())
}

#[tokio::test]
async fn many_callers_at_once_share_one_exchange() {
    let (address, azure) = serve(Azure { lifetime: 3_600, ..Azure::default() }).await;
    let endpoint = endpoint(address, by_secret(address));
    let calls = (0..32).map(|_| call(&endpoint));
    for told in futures::future::join_all(calls).await {
        told.unwrap();
    }
    let azure = azure.lock().unwrap();
    assert_eq!(azure.calls, 32);
    let form = "grant_type=client_credentials&client_id=app%201\
        &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default&client_secret=s3cr%26t~value";
    assert_eq!(azure.exchanges, [form]);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let (address, azure) = serve(Azure { lifetime: 3_600, ..Azure::default() }).await;
    let endpoint = endpoint(address, by_secret(address));
    call(&endpoint).await.unwrap();
    call(&endpoint).await.unwrap();
    assert_eq!(azure.lock().unwrap().exchanges.len(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3_300)).await;
    tokio::time::resume();
    call(&endpoint).await.unwrap();
    assert_eq!(azure.lock().unwrap().exchanges.len(), 2);
}

#[tokio::test]
async fn a_refused_token_leads_to_one_new_token_and_one_repetition() {
    let (address, azure) = serve(Azure { lifetime: 3_600, refusals: 1, ..Azure::default() }).await;
    call(&endpoint(address, by_secret(address))).await.unwrap();
    {
        let azure = azure.lock().unwrap();
        assert_eq!((azure.exchanges.len(), azure.calls), (2, 2));
    }
    let (address, azure) = serve(Azure { lifetime: 3_600, refusals: 9, ..Azure::default() }).await;
    let failure = call(&endpoint(address, by_secret(address))).await.unwrap_err();
    assert_eq!(failure.class, Class::Authentication);
    assert!(!failure.message.contains("token-"), "{}", failure.message);
    let azure = azure.lock().unwrap();
    assert_eq!((azure.exchanges.len(), azure.calls), (2, 2));
}

#[tokio::test]
async fn a_machine_shows_its_identity() {
    let (address, azure) = serve(Azure { lifetime: 3_600, ..Azure::default() }).await;
    let source = ManagedIdentity {
        endpoint: format!("http://{address}/metadata/identity/oauth2/token"),
        resource: entra::RESOURCE.into(),
        client_id: Some("app-2".into()),
        transport: Transport::new(),
    };
    call(&endpoint(address, source)).await.unwrap();
    let query = "api-version=2018-02-01&resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=app-2";
    assert_eq!(azure.lock().unwrap().exchanges, [query]);
}

#[tokio::test]
async fn a_workload_shows_its_file_as_it_is_now() {
    let (address, azure) = serve(Azure { lifetime: 0, ..Azure::default() }).await;
    let token_file = std::env::temp_dir().join(format!("tollgate-entra-{}", std::process::id()));
    let source = WorkloadIdentity {
        application: application(address),
        token_file: token_file.clone(),
        transport: Transport::new(),
    };
    let endpoint = endpoint(address, source);
    let failure = call(&endpoint).await.unwrap_err();
    assert_eq!(failure.class, Class::Authentication);
    assert!(failure.message.contains("cannot be read"), "{}", failure.message);
    for assertion in ["first.jwt", "second.jwt\n"] {
        std::fs::write(&token_file, assertion).unwrap();
        call(&endpoint).await.unwrap();
    }
    std::fs::remove_file(&token_file).unwrap();
    let azure = azure.lock().unwrap();
    assert_eq!(azure.exchanges.len(), 2);
    assert!(azure.exchanges[0].ends_with("&client_assertion=first.jwt"), "{}", azure.exchanges[0]);
    assert!(azure.exchanges[1].ends_with("&client_assertion=second.jwt"), "{}", azure.exchanges[1]);
}

#[tokio::test]
async fn what_the_maker_of_tokens_says_is_told_without_the_secret() {
    let refused =
        r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret s3cr&t~value."}"#;
    let (address, azure) = serve(Azure { trouble: Some((401, refused)), ..Azure::default() }).await;
    let source = by_secret(address);
    assert!(!format!("{source:?}").contains("s3cr"));
    let failure = call(&endpoint(address, source)).await.unwrap_err();
    assert_eq!((failure.class, failure.status), (Class::Authentication, 401));
    assert!(failure.message.contains("invalid_client: AADSTS7000215"), "{}", failure.message);
    assert!(!failure.message.contains("s3cr"), "{}", failure.message);
    let (exchanges, calls) = {
        let azure = azure.lock().unwrap();
        (azure.exchanges.len(), azure.calls)
    };
    assert_eq!((exchanges, calls), (1, 0), "nothing is asked of the provider without a token");
    azure.lock().unwrap().trouble = Some((503, "busy"));
    let failure = call(&endpoint(address, by_secret(address))).await.unwrap_err();
    assert_eq!(failure.class, Class::Overloaded, "a maker of tokens that is busy is no bad key");
}
