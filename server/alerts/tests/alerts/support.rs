//! Receivers that are as strict as the real ones.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use serde_json::Value;

/// Reads a request, or says what is wrong with it.
pub(crate) type Check = fn(path: &str, headers: &HeaderMap, body: &[u8]) -> Result<Value, String>;

struct Inside {
    check: Check,
    says: (StatusCode, &'static str),
    fails: Mutex<usize>,
    taken: Mutex<Vec<Value>>,
    wrong: Mutex<Vec<String>>,
}

pub(crate) struct Receiver {
    pub(crate) url: String,
    inside: Arc<Inside>,
}

impl Receiver {
    pub(crate) async fn start(check: Check, status: StatusCode, body: &'static str) -> Self {
        let inside = Arc::new(Inside {
            check,
            says: (status, body),
            fails: Mutex::default(),
            taken: Mutex::default(),
            wrong: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(inside.clone());
        tokio::spawn(async move { axum::serve(listener, router.into_make_service()).await });
        Self { url, inside }
    }

    /// Fails so many times.
    pub(crate) fn fails(&self, times: usize) {
        *self.inside.fails.lock() = times;
    }

    /// What it has taken; fails where a request was wrong.
    pub(crate) fn taken(&self) -> Vec<Value> {
        assert_eq!(*self.inside.wrong.lock(), Vec::<String>::new());
        self.inside.taken.lock().clone()
    }

    pub(crate) async fn takes(&self, count: usize) -> Vec<Value> {
        let until = Instant::now() + Duration::from_secs(15);
        loop {
            let taken = self.taken();
            if taken.len() >= count {
                return taken;
            }
            assert!(Instant::now() < until, "{count} are expected: {taken:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn answer(State(inside): State<Arc<Inside>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    {
        let mut fails = inside.fails.lock();
        if *fails > 0 {
            *fails -= 1;
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    }
    match (inside.check)(uri.path(), &headers, &body) {
        Ok(taken) => inside.taken.lock().push(taken),
        Err(wrong) => {
            inside.wrong.lock().push(wrong);
            return StatusCode::BAD_REQUEST.into_response();
        }
    }
    inside.says.into_response()
}

pub(crate) fn json(headers: &HeaderMap, body: &[u8]) -> Result<Value, String> {
    match headers.get("content-type").and_then(|value| value.to_str().ok()) {
        Some("application/json") => serde_json::from_slice(body).map_err(|e| e.to_string()),
        other => Err(format!("content-type: {other:?}")),
    }
}

pub(crate) fn expect(is_so: bool, what: &str, of: &Value) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(format!("{what}: {of}")) }
}
