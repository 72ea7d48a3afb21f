//! What an adapter sends for a chat request in OpenAI's JSON.

use serde_json::Value;
use tollgate_domain::Secret;
use tollgate_proto::v1::{CompletionRequest, Dialect, Original};
use tollgate_providers::{ChatCall, Mode, Target, credential::Credential, registry::registry};

/// A request, and what it goes without.
pub(crate) struct Sent {
    pub(crate) parts: http::request::Parts,
    pub(crate) body: Value,
    pub(crate) unsupported: Vec<String>,
    pub(crate) dropped: Vec<String>,
}

impl Sent {
    /// All that it goes without.
    pub(crate) fn left_out(&self) -> Vec<String> {
        self.unsupported.iter().chain(&self.dropped).cloned().collect()
    }
}

/// The typed fields alone: adapters write the body from them.
pub(crate) fn written(text: &str) -> CompletionRequest {
    tollgate_http::openai::read_chat(text.as_bytes()).unwrap()
}

/// With the caller's own bytes, which adapters of the dialect splice.
pub(crate) fn original(text: &str) -> CompletionRequest {
    let original = Original { dialect: Dialect::OpenaiChat as i32, body: text.as_bytes().to_vec().into() };
    CompletionRequest { original: Some(original), ..written(text) }
}

pub(crate) fn target(model: &str) -> Target {
    Target {
        base_url: "https://provider.example/v1".into(),
        api_version: None,
        credential: Credential::Key(Secret::new("sk-upstream-test")),
        model: model.into(),
        headers: Default::default(),
    }
}

pub(crate) fn sent(kind: &str, model: &str, request: &CompletionRequest, mode: Mode, output_cap: Option<u64>) -> Sent {
    let target = target(model);
    let call = ChatCall { output_cap, ..ChatCall::new(request, mode) };
    let provider = registry(kind).unwrap();
    let outgoing = provider.chat().unwrap().request(&target, &call).unwrap();
    let (parts, body) = outgoing.request.into_parts();
    let unsupported = outgoing.unsupported.into_iter().map(|parameter| parameter.field).collect();
    Sent { parts, body: serde_json::from_slice(&body).unwrap(), unsupported, dropped: outgoing.dropped }
}
