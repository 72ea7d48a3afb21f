//! The caller's own bytes, edited only where the gateway must: the model, the stream, what is kept, and a cap that a budget needs.

use serde_json::value::RawValue;
use tollgate_domain::Failure;
use tollgate_proto::v1::{CompletionRequest, part::Content};

use crate::{
    ChatCall, Mode, Target, json,
    openai::{Family, unsendable},
};

/// What has to be asked for because nothing is kept at the provider.
const PROOF: &str = "reasoning.encrypted_content";

/// Whether the caller's own bytes hold reasoning without its proof: the provider, which keeps nothing, would look for it and refuse.
pub(super) fn is_foreign(request: &CompletionRequest) -> bool {
    let mut parts = request.messages.iter().flat_map(|message| &message.parts);
    parts.any(
        |part| matches!(&part.content, Some(Content::Reasoning(r)) if r.signature.is_none() && r.redacted.is_none()),
    )
}

pub(super) fn splice(
    body: &[u8],
    family: Option<&Family>,
    target: &Target,
    call: &ChatCall<'_>,
) -> Result<Vec<u8>, Failure> {
    let mut edits = vec![
        ("model", Some(serde_json::to_string(&target.model).unwrap_or_default())),
        ("stream", (call.mode == Mode::Stream).then(|| "true".to_owned())),
        ("store", Some("false".to_owned())),
        // The gateway's, as wishes to it are.
        ("background", None),
    ];
    edits.extend(json::WISHES.map(|wish| (wish, None)));
    let metadata = json::untagged_metadata(body).map_err(unsendable)?;
    edits.extend(metadata.map(|metadata| ("metadata", metadata)));
    if call.mode == Mode::Whole {
        edits.push(("stream_options", None));
    }
    if let Some(cap) = call.output_cap {
        edits.push(("max_output_tokens", Some(cap.to_string())));
    }
    if family.is_some_and(|family| family.reasons(call.request)) {
        edits.extend(with_proof(body)?.map(|include| ("include", Some(include))));
    }
    json::edit(body, &edits).map_err(unsendable)
}

/// What is included, with the proof of reasoning; `None`: it is included already.
fn with_proof(body: &[u8]) -> Result<Option<String>, Failure> {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        include: Option<Vec<&'a RawValue>>,
    }
    let body: Body<'_> = serde_json::from_slice(body).map_err(unsendable)?;
    let mut include: Vec<String> = body.include.into_iter().flatten().map(|word| word.get().to_owned()).collect();
    let proof = serde_json::to_string(PROOF).unwrap_or_default();
    if include.contains(&proof) {
        return Ok(None);
    }
    include.push(proof);
    Ok(Some(json::array(&include)))
}
