//! Claude by InvokeModel: Anthropic's own body, with the version in place of the model, and streaming said by the path.

use tollgate_domain::{Class, Failure};

use crate::{Chat, ChatCall, Target, Written, anthropic::Anthropic, json};

/// The version of Anthropic's API that Bedrock speaks.
const VERSION: &str = "bedrock-2023-05-31";

/// The body, and what it goes without.
pub(super) fn body(target: &Target, call: &ChatCall<'_>) -> Result<Written, Failure> {
    let native = Anthropic.request(target, call)?;
    let mut edits = vec![("model", None), ("stream", None), ("anthropic_version", Some(format!("\"{VERSION}\"")))];
    // What is a header elsewhere.
    if !call.request.betas.is_empty() {
        edits.push(("anthropic_beta", serde_json::to_string(&call.request.betas).ok()));
    }
    let body = json::edit(native.request.body(), &edits)
        .map_err(|error| Failure::new(Class::InvalidRequest, format!("the request cannot be sent: {error}")))?;
    Ok(Written { body, unsupported: native.unsupported, dropped: native.dropped })
}
