//! Embeddings: the answer is OpenAI's.

use tollgate_domain::Failure;

use crate::{EmbedCall, Target, Written, conversation::texts, json::Object, left_out::LeftOut};

pub(super) fn body(target: &Target, call: &EmbedCall<'_>) -> Result<Written, Failure> {
    let request = call.request;
    let mut left_out = LeftOut::default();
    let mut body = Object::default();
    body.field("model", &target.model).field("input", &texts(request)?).field("encoding_format", "float");
    body.maybe("output_dimension", request.dimensions.as_ref());
    for (name, json) in left_out.known(&request.extra_json, &["metadata"]) {
        body.raw(&name, &json);
    }
    left_out.user(request.user.as_ref());
    Ok(left_out.of(&body))
}
