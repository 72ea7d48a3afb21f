//! What goes along with a call: the key, the trace, the deadline, and whatever the listener put into the request.

use std::{collections::HashMap, time::Duration};

use axum::{
    body::Body,
    extract::{Path, rejection::PathRejection},
    http::{HeaderMap, header, request::Parts},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};

use crate::{
    Gateway, ReadHere,
    error::Refusal,
    openai::{Invalid, members},
};

/// Headers that reach the gateway as metadata; no other does.
const PASSED_ON: [&str; 3] = ["traceparent", "tracestate", "x-request-id"];
/// Deadlines beyond this mean none.
const LONGEST: f64 = 86_400.0;

/// The model that a path names, as Azure's do: it counts before the body's.
#[derive(Clone, Debug)]
pub(crate) struct ModelInPath(pub(crate) String);

/// What a path names, by the names of its route. What is no text in UTF-8 is for the route to refuse: in JSON.
pub(crate) type Named = Result<Path<HashMap<String, String>>, PathRejection>;

/// One of them. `field`: what callers call it.
pub(crate) fn named(path: Named, name: &str, field: &str) -> Result<String, Invalid> {
    let Path(mut params) = path.map_err(|_| Invalid::at(field, "is no text in UTF-8"))?;
    Ok(params.remove(name).unwrap_or_default())
}

/// Wraps `message` with what comes along with it.
pub(crate) fn request<T>(gateway: &Gateway, parts: &Parts, message: T) -> tonic::Request<T> {
    let mut extensions = parts.extensions.clone();
    if gateway.options.embedded {
        extensions.insert(ReadHere);
    }
    let mut metadata = MetadataMap::new();
    let key = bearer(&parts.headers);
    if let Some(value) = key.and_then(|k| MetadataValue::try_from(format!("Bearer {k}")).ok()) {
        metadata.insert("authorization", value);
    }
    for name in PASSED_ON {
        let value = parts.headers.get(name).and_then(|v| MetadataValue::try_from(v.as_bytes()).ok());
        if let Some(value) = value {
            metadata.insert(MetadataKey::from_static(name), value);
        }
    }
    let mut request = tonic::Request::from_parts(metadata, extensions, message);
    let seconds = parts.headers.get("x-request-timeout").and_then(|v| v.to_str().ok()?.trim().parse::<f64>().ok());
    if let Some(seconds) = seconds.filter(|s| *s > 0.0 && *s < LONGEST) {
        request.set_timeout(Duration::from_secs_f64(seconds));
    }
    request
}

/// The key, from any of the headers that clients of the field use.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    if let Some(value) = text(header::AUTHORIZATION.as_str()) {
        let (scheme, key) = value.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| key.trim());
    }
    text("x-api-key").or_else(|| text("api-key")).map(str::trim)
}

/// Reads the body, no more of it than is allowed.
pub(crate) async fn read(gateway: &Gateway, parts: &Parts, body: Body) -> Result<Bytes, Refusal> {
    let limit = gateway.options.max_body_bytes;
    let told = parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|length| length > limit) {
        return Err(Refusal::too_large(limit));
    }
    match Limited::new(body, limit).collect().await {
        Ok(read) => match parts.extensions.get::<ModelInPath>() {
            Some(ModelInPath(model)) => Ok(members::with_model(&read.to_bytes(), model)?),
            None => Ok(read.to_bytes()),
        },
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_large(limit)),
        Err(error) => {
            let message = format!("the body could not be read: {error}");
            Err(Refusal::new(400, "invalid_request_error", "invalid_body", message))
        }
    }
}

/// A header's text.
pub(crate) fn text<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok().map(str::trim).filter(|t| !t.is_empty())
}
