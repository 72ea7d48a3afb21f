//! The caller's own bytes, edited only where the gateway must: model, stream, an output limit that a budget needs, and
//! what is left of the messages where the gateway changed them.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{Dialect, Original};

use super::{
    request::{limit, thinking, within},
    turns::Turns,
};
use crate::{
    ChatCall, Mode, Written,
    json::{self, Object},
};

type Edits<'a> = BTreeMap<&'a str, Option<String>>;

/// What still holds of an original once the messages were changed in the contract's fields alone; `None`: nothing.
pub fn without_messages(original: &Original) -> Option<Original> {
    if original.dialect() != Dialect::AnthropicMessages {
        return None;
    }
    let body = json::edit(&original.body, &[("messages", None)]).ok()?;
    Some(Original { dialect: original.dialect, body: body.into() })
}

/// The body behind the members that a host begins it with.
pub(super) fn body(beginning: &Object, original: &[u8], call: &ChatCall<'_>) -> Result<Written, Failure> {
    let beginning = beginning.finish();
    let members: BTreeMap<&str, &RawValue> = serde_json::from_str(&beginning).map_err(unsendable)?;
    let mut written = Written::whole(Vec::new());
    // Wishes to the gateway too, which the provider refuses.
    let mut edits: Edits<'_> = ["model", "stream"].into_iter().chain(json::WISHES).map(|name| (name, None)).collect();
    edits.extend(members.into_iter().map(|(name, json)| (name, Some(json.get().to_owned()))));
    if call.mode == Mode::Stream {
        edits.insert("stream", Some("true".to_owned()));
    }
    let metadata = json::untagged_metadata(original).map_err(unsendable)?;
    edits.extend(metadata.map(|metadata| ("metadata", metadata)));
    output_limit(call, &mut edits, &mut written);
    messages(original, call, &mut edits, &mut written)?;
    let edits: Vec<_> = edits.into_iter().collect();
    written.body = json::edit(original, &edits).map_err(unsendable)?;
    Ok(written)
}

/// A limit is required, and more than the budget of thinking.
fn output_limit(call: &ChatCall<'_>, edits: &mut Edits<'_>, written: &mut Written) {
    if call.output_cap.is_none() && call.request.max_output_tokens.is_some() {
        return;
    }
    let limit = limit(call);
    edits.insert("max_tokens", Some(limit.to_string()));
    if let Some(reasoning) = &call.request.reasoning {
        let fits = within(reasoning, Some(limit), call.request, &mut written.unsupported, &mut written.dropped);
        if fits.budget_tokens != reasoning.budget_tokens {
            edits.insert("thinking", fits.budget_tokens.and_then(|_| thinking(&fits)));
        }
    }
}

/// From the contract's fields where the gateway changed them, or has the model go on from a beginning.
fn messages(original: &[u8], call: &ChatCall<'_>, edits: &mut Edits<'_>, written: &mut Written) -> Result<(), Failure> {
    if call.prefill.is_none() && json::holds(original, "messages") {
        return Ok(());
    }
    let mut turns = Turns::read(&call.request.messages, true)?;
    if let Some(prefill) = call.prefill {
        turns.begin_answer(prefill);
    }
    // The provider would refuse it, in an answer that is gone on with and in a tool loop that lost its thoughts.
    if call.request.reasoning.is_some() && (call.prefill.is_some() || turns.have_lost_thoughts()) {
        edits.insert("thinking", None);
        written.dropped.push("thinking".into());
    }
    edits.insert("messages", Some(turns.messages()));
    written.unsupported.append(&mut turns.unsupported);
    written.dropped.append(&mut turns.dropped);
    Ok(())
}

fn unsendable(error: impl std::fmt::Display) -> Failure {
    Failure::new(Class::InvalidRequest, format!("the request cannot be sent on: {error}"))
}
