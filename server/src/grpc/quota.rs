//! How a call's limits stand, in the response metadata that OpenAI's headers of the same names say it in, what its key has spent, and its id
//! where no event says it yet.

use tollgate_limits::Standing;
use tollgate_pipeline::QuotaCell;
use tonic::{
    Response,
    metadata::{MetadataKey, MetadataMap, MetadataValue},
};

/// What the key had spent before the call, in nano-dollars, where it has a budget.
const KEY_SPENT: &str = "x-tollgate-key-spent-nano-usd";

/// The id of a call whose answer opens before a provider has answered.
const CALL_ID: &str = "x-tollgate-request-id";

/// A response with `x-ratelimit-*` metadata where limits apply, what the key has spent where that is counted, and the call's id where the
/// answer opens before it is told.
pub(crate) fn with_quota<T>(message: T, quota: &QuotaCell) -> Response<T> {
    let mut response = Response::new(message);
    if let Some(spent) = quota.key_spent.get() {
        response.metadata_mut().insert(KEY_SPENT, (*spent).into());
    }
    if let Some(Ok(id)) = quota.opened_as.get().map(|id| MetadataValue::try_from(id.to_string())) {
        response.metadata_mut().insert(CALL_ID, id);
    }
    if let Some(quota) = quota.limits.get() {
        for (unit, standing) in [("requests", quota.requests), ("tokens", quota.tokens)] {
            if let Some(standing) = standing {
                tell(response.metadata_mut(), unit, standing);
            }
        }
    }
    response
}

fn tell(metadata: &mut MetadataMap, unit: &str, standing: Standing) {
    let reset = tollgate_http::reset(u64::try_from(standing.reset_us).unwrap_or(0));
    for (what, text) in
        [("limit", standing.limit.to_string()), ("remaining", standing.remaining.to_string()), ("reset", reset)]
    {
        let name = MetadataKey::from_bytes(format!("x-ratelimit-{what}-{unit}").as_bytes());
        if let (Ok(name), Ok(value)) = (name, MetadataValue::try_from(text)) {
            metadata.insert(name, value);
        }
    }
}
