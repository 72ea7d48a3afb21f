//! Writes requests as an adapter sends them.

use serde_json::{Value, json};
use tollgate_domain::{Failure, Secret};
use tollgate_proto::v1::CompletionRequest;
use tollgate_providers::{ChatCall, Mode, Outgoing, Provider, Target, credential::Credential, registry::registry};

pub(crate) fn provider(kind: &str) -> std::sync::Arc<dyn Provider> {
    registry(kind).unwrap()
}

pub(crate) fn target(credential: Credential) -> Target {
    Target {
        base_url: "https://provider.example".into(),
        api_version: None,
        credential,
        model: "m".into(),
        headers: Default::default(),
    }
}

pub(crate) fn call(request: &CompletionRequest, mode: Mode) -> ChatCall<'_> {
    ChatCall::new(request, mode)
}

pub(crate) fn key() -> Credential {
    Credential::Key(Secret::new("sk-upstream-test"))
}

pub(crate) fn written(kind: &str, call: &ChatCall<'_>) -> Result<Outgoing, Failure> {
    provider(kind).chat().unwrap().request(&target(key()), call)
}

pub(crate) fn body(outgoing: &Outgoing) -> Value {
    serde_json::from_slice(outgoing.request.body()).unwrap()
}

pub(crate) fn read(mut request: Value) -> CompletionRequest {
    request["model"] = "alias".into();
    if request["messages"].is_null() {
        request["messages"] = json!([{"role": "user", "content": "Hi"}]);
    }
    tollgate_http::openai::read_chat(request.to_string().as_bytes()).unwrap()
}
