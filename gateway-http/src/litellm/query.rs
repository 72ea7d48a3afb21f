//! The parameters of a URL, taken one by one, so that what nobody took is known at the end.

use std::collections::HashMap;

use crate::litellm::{desk::Desk, failure::Failure};

/// The parameters of a URL, taken one by one.
pub(crate) struct Query(HashMap<String, String>);

impl Query {
    pub(crate) fn of(desk: &Desk) -> Result<Self, Failure> {
        let uri: axum::http::Uri =
            format!("/?{}", desk.query()).parse().map_err(|_| Failure::field("query", "is not well-formed"))?;
        let read = axum::extract::Query::<HashMap<String, String>>::try_from_uri(&uri);
        read.map(|query| Self(query.0)).map_err(|error| Failure::field("query", error.to_string()))
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|text| !text.is_empty())
    }

    /// Yes or no; `None` where it says nothing.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        match self.text(name).as_deref() {
            None => Ok(None),
            Some("true" | "True" | "1") => Ok(Some(true)),
            Some("false" | "False" | "0") => Ok(Some(false)),
            Some(_) => Err(Failure::field(name, "must be true or false")),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn count(&mut self, name: &str, default: usize, most: usize) -> Result<usize, Failure> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let count = text.parse().ok().filter(|count| (1..=most).contains(count));
        count.ok_or_else(|| Failure::field(name, format!("must be 1 to {most}")))
    }

    /// What nobody took.
    pub(crate) fn left(self) -> Vec<String> {
        let mut left: Vec<_> = self.0.into_keys().collect();
        left.sort();
        left
    }
}
