//! Page tokens: a cursor bound to the query that made it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use tollgate_domain::Error;

/// The page size to use for what was asked: 0 is `default`, larger ones are capped.
pub(crate) fn size(asked: i32, default: usize) -> Result<usize, Error> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(1_000)),
        Err(_) => Err(Error::invalid_field("page_size", "must not be negative")),
    }
}

fn bind(query: &str) -> String {
    let hash = Sha256::digest(query.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash[..9])
}

/// The token that goes on after `cursor` of `query`.
pub(crate) fn token(query: &str, cursor: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}{cursor}", bind(query)))
}

/// The cursor in `token`; empty for the first page.
pub(crate) fn cursor(query: &str, token: &str) -> Result<String, Error> {
    if token.is_empty() {
        return Ok(String::new());
    }
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.as_deref()
        .and_then(|t| t.strip_prefix(&bind(query)))
        .map(str::to_owned)
        .ok_or_else(|| Error::invalid_field("page_token", "is not one that this query gave out"))
}

/// A page of `all`, which are sorted by id, and the token of the next.
pub(crate) fn of<T>(
    all: impl Iterator<Item = T>,
    id: impl Fn(&T) -> &str,
    query: &str,
    asked_size: i32,
    page_token: &str,
) -> Result<(Vec<T>, String), Error> {
    let size = size(asked_size, 100)?;
    let after = cursor(query, page_token)?;
    let mut rest = all.filter(|thing| *id(thing) > *after);
    let page: Vec<T> = rest.by_ref().take(size).collect();
    let next = match (rest.next(), page.last()) {
        (Some(_), Some(last)) => token(query, id(last)),
        _ => String::new(),
    };
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_its_query() {
        let given = token("entries of k1", "42");
        assert_eq!(cursor("entries of k1", &given).unwrap(), "42");
        assert!(cursor("entries of k2", &given).is_err());
        assert!(cursor("entries of k1", "???").is_err());
        assert_eq!(cursor("anything", "").unwrap(), "");
    }
}
