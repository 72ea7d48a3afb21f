//! Receivers that are as strict as the real ones, and records to send them.

use std::{
    io::Read as _,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tollgate_proto::v1::{
    Attempt, AuditRecord, ErrorReason, FinishReason, InputUsage, OutputUsage, RouteNeeds, Routing, Usage,
};
use tollgate_sinks::{Batching, Kind, Options, Owner, Owners, Publisher, SinkOptions, Sinks};

/// What a request is read as: the events in it, or what is wrong with it.
pub(crate) type Check = fn(&Request) -> Result<Vec<Value>, String>;

pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn requires(&self, name: &str, value: &str) -> Result<(), String> {
        match self.header(name) == value {
            true => Ok(()),
            false => Err(format!("{name}: {:?} instead of {value:?}", self.header(name))),
        }
    }

    pub(crate) fn posted_to(&self, path: &str) -> Result<(), String> {
        match self.method == Method::POST && self.path == path {
            true => Ok(()),
            false => Err(format!("{} {} instead of POST {path}", self.method, self.path)),
        }
    }

    pub(crate) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|e| e.to_string())
    }

    pub(crate) fn gunzipped(&self) -> Result<Vec<u8>, String> {
        self.requires("content-encoding", "gzip")?;
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(self.body.as_slice()).read_to_end(&mut plain).map_err(|e| e.to_string())?;
        Ok(plain)
    }
}

#[derive(Clone)]
pub(crate) enum Mood {
    Takes,
    Fails,
    Hangs,
    /// Takes so many requests, and answers no more.
    Stalls(usize),
    /// Refuses every request that has this in it.
    Refuses(String),
    /// Answers so.
    Says(StatusCode, Value),
    /// Takes a request, and answers with these bytes.
    Answers(Vec<u8>),
}

struct Inside {
    check: Check,
    status: StatusCode,
    mood: Mutex<Mood>,
    taken: Mutex<Vec<Value>>,
    wrong: Mutex<Vec<String>>,
    requests: Mutex<usize>,
}

/// A server that reads requests as the real receiver does.
pub(crate) struct Receiver {
    pub(crate) url: String,
    inside: Arc<Inside>,
}

impl Receiver {
    pub(crate) fn start(check: Check, status: StatusCode) -> Self {
        let inside = Arc::new(Inside {
            check,
            status,
            mood: Mutex::new(Mood::Takes),
            taken: Mutex::default(),
            wrong: Mutex::default(),
            requests: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(inside.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router.into_make_service()).await.unwrap();
            });
        });
        Self { url, inside }
    }

    pub(crate) fn is(&self, mood: Mood) {
        *self.inside.mood.lock() = mood;
    }

    /// What it has taken; fails where a request was wrong.
    pub(crate) fn taken(&self) -> Vec<Value> {
        assert_eq!(*self.inside.wrong.lock(), Vec::<String>::new());
        self.inside.taken.lock().clone()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.taken().iter().map(|event| event["id"].as_str().unwrap_or("?").to_owned()).collect()
    }

    pub(crate) fn requests(&self) -> usize {
        *self.inside.requests.lock()
    }
}

async fn answer(
    State(inside): State<Arc<Inside>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    *inside.requests.lock() += 1;
    let mood = inside.mood.lock().clone();
    match &mood {
        Mood::Fails => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Hangs => return std::future::pending().await,
        Mood::Stalls(after) if *inside.requests.lock() > *after => return std::future::pending().await,
        Mood::Refuses(what) if String::from_utf8_lossy(&body).contains(what) => {
            return StatusCode::BAD_REQUEST.into_response();
        }
        _ => {}
    }
    let request = Request { method, path: uri.path().to_owned(), headers, body: body.to_vec() };
    match (inside.check)(&request) {
        Ok(events) => inside.taken.lock().extend(events),
        Err(wrong) => inside.wrong.lock().push(wrong),
    }
    match mood {
        Mood::Says(status, body) => (status, axum::Json(body)).into_response(),
        Mood::Answers(body) => body.into_response(),
        // S3 always names the object's hash.
        _ => (inside.status, [("etag", "\"0123456789abcdef\"")]).into_response(),
    }
}

/// A record of a call that was served; all are of the same length.
pub(crate) fn record(n: i64) -> Arc<AuditRecord> {
    let usage = Usage {
        input: Some(InputUsage { total: 100, cached_read: 40, ..InputUsage::default() }),
        output: Some(OutputUsage { total: 20, reasoning: 5, ..OutputUsage::default() }),
        cost_nano_usd: 1_234_567,
        ..Usage::default()
    };
    let attempt = Attempt {
        id: format!("call_{n:06}-1"),
        deployment: "openai/gpt".into(),
        provider: "openai".into(),
        class: "ok".into(),
        upstream_status: 200,
        first_content_us: Some(120_000),
        end_us: 450_000,
        billed: true,
        ..Attempt::default()
    };
    Arc::new(AuditRecord {
        sequence: 1_000 + n,
        time: Some(tollgate_domain::timestamp(1_763_776_800_000_000)),
        action: "completion.create".into(),
        key_id: "key_1".into(),
        call_id: format!("call_{n:06}"),
        model: "fast".into(),
        duration_us: 500_000,
        usage: Some(usage),
        routing: Some(Routing {
            attempts: vec![attempt],
            needs: Some(RouteNeeds { tags: vec!["nightly".into()], ..RouteNeeds::default() }),
            config_hash: "c0ffee".into(),
            ..Routing::default()
        }),
        tags: vec!["nightly".into()],
        metadata: [("email".to_owned(), "ann@example.org".to_owned())].into(),
        peer: "192.0.2.7:4711".into(),
        finish_reasons: vec![FinishReason::Stop as i32],
        ..AuditRecord::default()
    })
}

pub(crate) fn failed(n: i64) -> Arc<AuditRecord> {
    let mut record = (*record(n)).clone();
    record.error_reason = ErrorReason::ProviderModelUnavailable as i32;
    Arc::new(record)
}

pub(crate) fn id(n: i64) -> String {
    format!("replica-1-{}", 1_000 + n)
}

/// Small batches and quick retries.
pub(crate) fn hasty(name: &str, kind: Kind) -> SinkOptions {
    let mut options = SinkOptions::new(name, kind);
    options.batching = Batching { max_records: 10, max_bytes: 1 << 20, max_age: Duration::from_millis(50) };
    options.first_retry = Duration::from_millis(20);
    options.longest_retry = Duration::from_millis(40);
    options.timeout = Duration::from_secs(20);
    options.memory_records = 10;
    options
}

pub(crate) struct World {
    dir: tempfile::TempDir,
    owners: Owners,
    publisher: Publisher,
    sinks: Option<Sinks>,
}

impl World {
    pub(crate) fn with(sinks: Vec<SinkOptions>) -> Self {
        let owner = Owner {
            key_name: "ci".into(),
            organization_id: "org_1".into(),
            team_id: "team_1".into(),
            user_id: "user_1".into(),
        };
        Self::where_owners_are(Arc::new(move |_| owner.clone()), sinks)
    }

    pub(crate) fn where_owners_are(owners: Owners, sinks: Vec<SinkOptions>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self { dir, owners, publisher: Publisher::default(), sinks: None };
        world.start(sinks);
        world
    }

    pub(crate) fn start(&mut self, sinks: Vec<SinkOptions>) {
        let options = Options {
            dir: self.dir.path().join("sinks"),
            replica: "replica-1".into(),
            owners: self.owners.clone(),
            hash_key: b"key".to_vec(),
            sinks,
        };
        self.sinks = Some(Sinks::start(options, &self.publisher).unwrap());
    }

    pub(crate) fn publish(&self, numbers: std::ops::Range<i64>) {
        numbers.for_each(|n| self.publisher.publish(&record(n)));
    }

    pub(crate) fn publish_one(&self, record: &Arc<AuditRecord>) {
        self.publisher.publish(record);
    }

    pub(crate) fn stats(&self, sink: usize) -> tollgate_sinks::SinkStats {
        self.publisher.stats()[sink].clone()
    }

    pub(crate) fn close(&mut self, grace: Duration) {
        self.sinks.take().unwrap().close(&self.publisher, grace);
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("sinks")
    }
}

/// Looks again and again until it is so.
pub(crate) fn eventually<T: std::fmt::Debug>(what: &str, mut look: impl FnMut() -> T, is_so: impl Fn(&T) -> bool) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let found = look();
        if is_so(&found) {
            return found;
        }
        assert!(Instant::now() < until, "{what}: {found:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The events of an array, each of which must be an object with these.
pub(crate) fn each(events: &Value, requires: &[&str]) -> Result<Vec<Value>, String> {
    let events = events.as_array().ok_or("no array")?;
    for event in events {
        if let Some(missing) = requires.iter().find(|name| event.get(**name).is_none_or(Value::is_null)) {
            return Err(format!("{missing} is missing in {event}"));
        }
    }
    Ok(events.clone())
}

pub(crate) fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 27 && text.ends_with('Z') && text.contains('T'))
}

pub(crate) fn expect(is_so: bool, what: &str, of: &Value) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(format!("{what}: {of}")) }
}

pub(crate) fn none() -> Value {
    json!({})
}
