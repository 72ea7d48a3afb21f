//! What a secret looks like: keys of providers, clouds and services, tokens, private keys, passwords in URLs and connection strings.
//!
//! Callers and providers put secrets where none belong: into tags, model names, error messages. [`redact`] takes them out of what is
//! recorded, logged or answered. It knows shapes, not values: what has no shape (a password that stands alone) it cannot know.

mod lines;
mod shapes;

use std::{borrow::Cow, ops::Range};

pub use lines::{Hidden, keep_crashes_quiet};
use shapes::{ASSIGNED, KEYS, Key, Named};

/// What stands in a secret's place.
pub const HIDDEN: &str = "<hidden>";

/// A value behind `password=` of fewer characters is none worth hiding.
const SHORTEST: usize = 6;

/// `text` with [`HIDDEN`] in place of every secret; unchanged, and not copied, where there is none.
pub fn redact(text: &str) -> Cow<'_, str> {
    let found = secrets(text);
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    for secret in found {
        clean.push_str(&text[from..secret.start]);
        clean.push_str(HIDDEN);
        from = secret.end;
    }
    clean.push_str(&text[from..]);
    Cow::Owned(clean)
}

/// The same in place: a text without a secret is not touched.
pub fn clean(text: &mut String) {
    if let Cow::Owned(clean) = redact(text) {
        *text = clean;
    }
}

/// Whether a secret is in it.
pub fn has_secret(text: &str) -> bool {
    !secrets(text).is_empty()
}

/// Where secrets are, in order and apart from each other.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        // What is looked for is ASCII, so what is found begins and ends between characters.
        match starting_at(bytes, at) {
            Some(secret) => {
                at = secret.end;
                found.push(secret);
            }
            None => at += 1,
        }
    }
    found
}

/// The secret that begins here, or that what begins here leads to.
fn starting_at(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    match bytes[at] {
        b'-' => private_key(bytes, at),
        b':' => user_info(bytes, at),
        first if first.is_ascii_alphanumeric() && is_boundary(bytes, at) => known_key(bytes, at)
            .or_else(|| web_token(bytes, at))
            .or_else(|| bot_token(bytes, at))
            .or_else(|| assigned(bytes, at)),
        _ => None,
    }
}

fn is_boundary(bytes: &[u8], at: usize) -> bool {
    at == 0 || !bytes[at - 1].is_ascii_alphanumeric()
}

/// How far a run of such bytes goes.
fn run(bytes: &[u8], from: usize, is_part: impl Fn(u8) -> bool) -> usize {
    from + bytes[from..].iter().take_while(|byte| is_part(**byte)).count()
}

/// Bytes that a known key begins with: most words begin with none of them, and every line of the log is read word by word.
const KEYS_BEGIN: [bool; 256] = {
    let (mut begins, mut at) = ([false; 256], 0);
    while at < KEYS.len() {
        begins[KEYS[at].prefix.as_bytes()[0] as usize] = true;
        at += 1;
    }
    begins
};

/// A key that is known by how it begins.
fn known_key(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    if !KEYS_BEGIN[usize::from(bytes[at])] {
        return None;
    }
    let here = &bytes[at..];
    KEYS.iter().filter(|key| here.starts_with(key.prefix.as_bytes())).find_map(|Key { prefix, least, alphabet }| {
        let from = at + prefix.len();
        let end = run(bytes, from, |byte| alphabet.has(byte));
        let has_digit = bytes[from..end].iter().any(u8::is_ascii_digit);
        (end - from >= *least && has_digit).then_some(at..end)
    })
}

/// A JSON web token: a header, a payload and a signature, the former two objects in base64.
fn web_token(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    if !bytes[at..].starts_with(b"eyJ") {
        return None;
    }
    let end = run(bytes, at, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let dots = bytes[at..end].iter().filter(|byte| **byte == b'.').count();
    (dots >= 2 && end - at >= 32).then_some(at..end)
}

/// A Telegram bot's: its number, a colon, 35 characters.
fn bot_token(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let colon = run(bytes, at, |byte| byte.is_ascii_digit());
    if !(8..=10).contains(&(colon - at)) || !bytes[colon..].starts_with(b":AA") {
        return None;
    }
    let end = run(bytes, colon + 1, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    (end - colon > 34).then_some(at..end)
}

/// A private key in PEM, to the end of its block, or of the text.
fn private_key(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const END: &[u8] = b"-----END ";
    let here = &bytes[at..];
    if !here.starts_with(BEGIN) {
        return None;
    }
    let title = run(bytes, at + BEGIN.len(), |byte| byte.is_ascii_alphanumeric() || byte == b' ');
    let is_private = bytes[at..title].windows(11).any(|window| window == b"PRIVATE KEY");
    let end = here.windows(END.len()).position(|window| window == END).map(|end| {
        let title = run(bytes, at + end + END.len(), |byte| byte.is_ascii_alphanumeric() || byte == b' ');
        run(bytes, title, |byte| byte == b'-')
    });
    is_private.then(|| at..end.unwrap_or(bytes.len()))
}

/// What stands before the host in `scheme://user:password@host`.
fn user_info(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let is_scheme = at > 0 && bytes[at - 1].is_ascii_alphanumeric() && bytes[at..].starts_with(b"://");
    if !is_scheme {
        return None;
    }
    let from = at + 3;
    let stops =
        |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'' | b'`' | b'<');
    let authority = run(bytes, from, |byte| !stops(byte));
    let host = bytes[from..authority].iter().rposition(|byte| *byte == b'@')?;
    (host > 0).then_some(from..from + host)
}

/// The longest name that is compared.
const LONGEST_NAME: usize = 40;

/// The value of `password=...`, `"api_key": "..."`, `Bearer ...` and their like.
fn assigned(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let end = run(bytes, at, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    // Names only are compared, and they are short.
    let mut name = [0; LONGEST_NAME];
    let name = name.get_mut(..end - at)?;
    if at > 0 && matches!(bytes[at - 1], b'_' | b'-') {
        return None;
    }
    for (lower, byte) in name.iter_mut().zip(&bytes[at..end]) {
        *lower = if *byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
    }
    let named = ASSIGNED.iter().find(|named| named.is(name))?;
    let skip = |from: usize, what: &[u8]| run(bytes, from, |byte| what.contains(&byte));
    let from = match named {
        Named::Scheme(_) => Some(skip(end, b" ")).filter(|from| *from > end)?,
        _ => {
            let sign = skip(end, b"\\\"' ");
            let length = match &bytes[sign..] {
                [b'=' | b':', ..] => 1,
                // As URLs write `=`.
                [b'%', b'3', b'D' | b'd', ..] => 3,
                _ => return None,
            };
            Some(skip(sign + length, b"\\\"' "))?
        }
    };
    let stops = |byte: u8| byte.is_ascii_whitespace() || b"\"'`\\;&,<>(){}[]".contains(&byte) || !byte.is_ascii();
    let value = from..run(bytes, from, |byte| !stops(byte));
    let text = &bytes[value.clone()];
    let is_reference = text.starts_with(b"env:") || text.starts_with(b"file:");
    let is_word = text.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-' | b'.' | b'*'));
    let least = if matches!(named, Named::Scheme(_)) { 12 } else { SHORTEST };
    (text.len() >= least && !is_reference && !is_word).then_some(value)
}

#[cfg(test)]
mod tests;
