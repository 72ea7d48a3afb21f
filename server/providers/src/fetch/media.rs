//! What the bytes are: by what the server says, and by how they begin.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::Refused;

/// Bytes and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Media {
    /// Such as `image/png`, in lower case and without parameters.
    pub(super) kind: String,
    pub(super) data: Bytes,
}

/// How the formats begin that models read: PNG (ISO 15948), JPEG (ITU-T T.81), GIF (87a and 89a), PDF (ISO 32000).
const BEGINNINGS: [(&str, &[u8]); 5] = [
    ("image/png", b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", b"\xff\xd8\xff"),
    ("image/gif", b"GIF87a"),
    ("image/gif", b"GIF89a"),
    ("application/pdf", b"%PDF-"),
];
/// A RIFF file, whose form stands behind its length.
const WEBP: &str = "image/webp";

/// The media type of a header's value: `image/png; charset=x` is `image/png`.
pub(super) fn essence(value: &str) -> String {
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // Never registered, often sent.
    if kind == "image/jpg" { "image/jpeg".into() } else { kind }
}

/// What the bytes show themselves to be.
fn shown(data: &[u8]) -> Option<&'static str> {
    if data.starts_with(b"RIFF") && data.get(8..12) == Some(b"WEBP") {
        return Some(WEBP);
    }
    BEGINNINGS.iter().find(|(_, beginning)| data.starts_with(beginning)).map(|(kind, _)| *kind)
}

/// Whether the bytes are what they are said to be, as far as their beginning tells.
pub(super) fn is_honest(kind: &str, data: &[u8]) -> bool {
    let has_a_beginning = kind == WEBP || BEGINNINGS.iter().any(|(known, _)| *known == kind);
    match shown(data) {
        Some(shown) => shown == kind,
        None => !has_a_beginning,
    }
}

/// The bytes of a `data:` URL (RFC 2397); `None`: it is another kind of URL.
pub(super) fn of_data_url(url: &str) -> Option<Result<Media, Refused>> {
    let rest = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).and(url.get(5..))?;
    let read = || {
        let (kind, data) = rest.split_once(',')?;
        let (kind, _) = kind.rsplit_once(';').filter(|(_, how)| how.eq_ignore_ascii_case("base64"))?;
        let data = STANDARD.decode(data).ok()?.into();
        Some(Media { kind: essence(kind), data }).filter(|media| !media.kind.is_empty())
    };
    Some(read().ok_or(Refused::BadDataUrl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_beginnings() {
        let honest = [
            ("image/png", b"\x89PNG\r\n\x1a\nrest".as_slice()),
            ("image/jpeg", b"\xff\xd8\xff\xe0"),
            ("image/gif", b"GIF89a"),
            ("image/webp", b"RIFF\x10\0\0\0WEBPVP8 "),
            ("application/pdf", b"%PDF-1.7"),
            ("text/plain", b"words"),
        ];
        for (kind, data) in honest {
            assert!(is_honest(kind, data), "{kind}");
        }
        let lies = [
            ("image/png", b"GIF89a".as_slice()),
            ("image/png", b"<html>"),
            ("image/webp", b"RIFF\x10\0\0\0WAVEfmt "),
            ("application/pdf", b""),
            ("text/plain", b"%PDF-1.7"),
        ];
        for (kind, data) in lies {
            assert!(!is_honest(kind, data), "{kind}");
        }
    }

    #[test]
    fn data_urls_are_bytes_already() {
        let read = |url| of_data_url(url).map(|read| read.map(|media| (media.kind, media.data.to_vec())).ok());
        assert_eq!(read("data:image/png;base64,AQI="), Some(Some(("image/png".into(), vec![1, 2]))));
        assert_eq!(read("DATA:image/jpg;x=y;BASE64,"), Some(Some(("image/jpeg".into(), vec![]))));
        assert_eq!(read("https://example.com/data:"), None);
        for bad in ["data:", "data:image/png,raw", "data:;base64,AQI=", "data:image/png;base64,*"] {
            assert_eq!(read(bad), Some(None), "{bad}");
        }
    }
}
