//! What the routes answer with.

use axum::{
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::litellm::failure::Failure;

/// Names the fields of which nothing was made.
const IGNORED: &str = "x-tollgate-ignored-fields";

/// JSON, and which fields of the request it does not heed.
pub(crate) struct Answer<T> {
    body: T,
    ignored: Vec<String>,
}

/// What a route gives.
pub(crate) type Answered<T> = Result<Answer<T>, Failure>;

impl<T> Answer<T> {
    pub(crate) fn ignoring(body: T, ignored: Vec<String>) -> Self {
        Self { body, ignored }
    }
}

/// Tells of ignored fields in a response's headers.
pub(crate) fn tell_ignored(response: &mut Response, ignored: &[String]) {
    if ignored.is_empty() {
        return;
    }
    // Names come from outside: what no header can hold is told as such.
    let plain =
        |name: &String| name.chars().take(64).map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '?' }).collect();
    let names: Vec<String> = ignored.iter().take(64).map(plain).collect();
    if let Ok(value) = HeaderValue::try_from(names.join(", ")) {
        response.headers_mut().insert(IGNORED, value);
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        // Not by way of `Value`, which would make floats of the money.
        let mut response = axum::Json(&self.body).into_response();
        tell_ignored(&mut response, &self.ignored);
        response
    }
}
