//! Claude by InvokeModel: Anthropic's own body, with the version in place of the model, and streaming said by the path.

use tollgate_domain::{Class, Failure};

use crate::{Chat, ChatCall, Target, Written, anthropic::Anthropic, json};

/// The version of Anthropic's API that Bedrock speaks.
const VERSION: &str = "bedrock-2023-05-31";

/// The body, and what it goes without.
pub(super) fn body(target: &Target, call: &ChatCall<'_>) -> Result<Written, Failure> {
    let native = Anthropic.request(target, call)?;
    let edits = [("model", None), ("stream", None), ("anthropic_version", Some(format!("\"{VERSION}\"")))];
    let body = json::edit(native.request.body(), &edits)
        .map_err(|error| Failure::new(Class::InvalidRequest, format!("the request cannot be sent: {error}")))?;
    Ok(Written { body, unsupported: native.unsupported, dropped: native.dropped })
}
