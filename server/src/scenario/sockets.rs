//! The same scenarios over real sockets and in real time: the simulator decides as the pipeline does over TCP.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use tollgate_domain::Failure;
use tollgate_providers::{
    Head,
    transport::{BodyStream, InProcess, Timeouts, Transport},
};

use super::{AttemptSeen, Outcome, Scenario, Verdict, read, run, run::simulate};
use crate::config::{self, Config};

/// The providers of a scenario behind a TCP port: a path begins with the name of a deployment.
async fn listen(providers: Arc<dyn InProcess>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(answer).with_state(providers);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn answer(State(providers): State<Arc<dyn InProcess>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let (deployment, path) = parts.uri.path().trim_start_matches('/').split_once('/').unwrap();
    let uri = format!("{}://{deployment}/{path}", super::SCHEME);
    let mut asked = http::Request::builder().method(parts.method).uri(uri).body(body).unwrap();
    *asked.headers_mut() = parts.headers;
    let (head, body) = providers.respond(asked).await.unwrap();
    // A failure within the body ends the connection where it stands: once what came before has left.
    let body = body.then(async |bytes| match bytes {
        Ok(bytes) => Ok(bytes),
        Err(failure) => {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(std::io::Error::other(failure.message))
        }
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// The way there: a real client over real connections.
struct Line {
    transport: Transport,
    address: Arc<tokio::sync::OnceCell<SocketAddr>>,
    providers: Arc<dyn InProcess>,
}

impl InProcess for Line {
    fn respond(&self, request: http::Request<Bytes>) -> BoxFuture<'static, Result<(Head, BodyStream), Failure>> {
        let (transport, address, providers) = (self.transport.clone(), self.address.clone(), self.providers.clone());
        async move {
            let address = *address.get_or_init(|| listen(providers)).await;
            let (mut parts, body) = request.into_parts();
            let deployment = parts.uri.host().unwrap_or_default().to_owned();
            parts.uri = format!("http://{address}/{deployment}{}", parts.uri.path()).parse().unwrap();
            transport.send(http::Request::from_parts(parts, body), &Timeouts::default()).await
        }
        .boxed()
    }
}

/// For each call: how it ended, and who was tried with what result.
fn decisions(verdict: &Verdict) -> Vec<String> {
    let tried = |a: &AttemptSeen| format!("{}: {}", a.deployment, a.class);
    let of = |o: &Outcome| {
        let tried: Vec<_> = o.attempts.iter().map(tried).collect();
        format!("{} {} after {tried:?}, {} times taken over", o.status, o.reason, o.restarted)
    };
    verdict.outcomes.iter().map(of).collect()
}

/// The scenario's configuration. Of calls that fail at the same moment it is chance which one is the last before a cooldown.
fn without_cooldowns(scenario: &Scenario, dir: &Path) -> Config {
    let mut config = config::load(scenario.config.as_ref().map(|own| dir.join(own)).as_deref()).unwrap();
    let never = config::Cooldown { time: config::Span::seconds(0), ..config::Cooldown::default() };
    config.models.iter_mut().for_each(|model| model.cooldown = Some(never.clone()));
    config
}

/// The examples that are over within some seconds, and do not turn on who comes first of calls that come at once.
const EXAMPLES: [&str; 10] = [
    "03-a-long-prompt",
    "08-before-the-price-change",
    "09-after-the-price-change",
    "17-broken-before-the-first-token",
    "18-broken-in-the-middle",
    "20-the-callers-mistake",
    "21-a-content-policy",
    "25-cycles-end",
    "26-the-call-names-its-fallback",
    "27-an-answer-goes-on-elsewhere",
];

#[test]
fn examples_decide_the_same_over_real_sockets_in_real_time() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/scenarios"));
    let real = EXAMPLES.map(|name| {
        let dir = dir.clone();
        runtime.spawn(async move {
            let scenario = read(&dir.join(format!("{name}.yaml"))).unwrap();
            let config = without_cooldowns(&scenario, &dir);
            let reach = |providers| {
                Arc::new(Line { transport: Transport::new(), address: Default::default(), providers })
                    as Arc<dyn InProcess>
            };
            simulate(&scenario, &config, &dir, reach, &|_, _| {}).await.unwrap()
        })
    });
    for (name, real) in EXAMPLES.into_iter().zip(real) {
        let real = runtime.block_on(real).unwrap();
        let scenario = read(&dir.join(format!("{name}.yaml"))).unwrap();
        let config = without_cooldowns(&scenario, &dir);
        let simulated = run(&scenario, &config, &dir, &|_, _| {}).unwrap();
        assert!(real.passed(), "{name}: {:?}", real.checks);
        assert_eq!(decisions(&simulated), decisions(&real), "{name}");
    }
}
