//! The scripted provider held to the wire it imitates and to its own books.

mod anthropic;
mod books;
mod embeddings;
mod faults;
mod openai;
mod scripts;

use serde_json::{Value, json};
use tollgate_tests::provider::{ScriptedProvider, UPSTREAM_KEY};
use tollgate_tests::support::http::{Caller, Event};

fn chat_url(provider: &ScriptedProvider) -> String {
    provider.base_url() + "/chat/completions"
}

fn caller() -> Caller {
    Caller::bearer(UPSTREAM_KEY)
}

/// One user message, and whatever else the call should carry.
fn chat(text: &str, extra: Value) -> Value {
    let mut call = json!({ "model": "m", "messages": [{ "role": "user", "content": text }] });
    for (name, value) in extra.as_object().into_iter().flatten() {
        call[name] = value.clone();
    }
    call
}

/// The text the content deltas of a chat stream add up to.
fn text_of(events: &[Event]) -> String {
    let delta = |event: &Event| event.json()["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    events.iter().filter_map(delta).collect()
}
