//! Images, sound and documents as parts: by value, or by a URL that Google fetches.

use base64::{Engine, engine::general_purpose::STANDARD};
use tollgate_domain::Failure;
use tollgate_proto::v1::{AudioPart, FilePart, ImagePart};

use super::Host;
use crate::{
    json::Object,
    provider::{cannot, invalid},
};

/// Where the Gemini API keeps what was uploaded to it.
const FILES: &str = "https://generativelanguage.googleapis.com/";
const YOUTUBE: [&str; 3] = ["https://www.youtube.com/", "https://youtube.com/", "https://youtu.be/"];
/// By the end of a path: the service asks for the type of what it fetches.
const TYPES: [(&str, &str); 20] = [
    (".png", "image/png"),
    (".jpg", "image/jpeg"),
    (".jpeg", "image/jpeg"),
    (".webp", "image/webp"),
    (".gif", "image/gif"),
    (".heic", "image/heic"),
    (".heif", "image/heif"),
    (".pdf", "application/pdf"),
    (".txt", "text/plain"),
    (".md", "text/markdown"),
    (".csv", "text/csv"),
    (".html", "text/html"),
    (".mp3", "audio/mp3"),
    (".wav", "audio/wav"),
    (".flac", "audio/flac"),
    (".ogg", "audio/ogg"),
    (".m4a", "audio/m4a"),
    (".mp4", "video/mp4"),
    (".mov", "video/mov"),
    (".webm", "video/webm"),
];

/// The Gemini API fetches what it keeps itself and YouTube's videos; Vertex AI fetches from the web and from Cloud Storage.
pub(super) fn fetches(host: Host, url: &str) -> bool {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| url.starts_with(prefix));
    match host {
        Host::GeminiApi => starts(&[FILES]) || starts(&YOUTUBE),
        Host::Vertex => starts(&["https://", "http://", "gs://"]),
    }
}

pub(super) fn image(host: Host, image: &ImagePart, path: &str) -> Result<Object, Failure> {
    match (&image.url, &image.data) {
        (Some(url), _) => file_data(host, url, image.media_type.as_deref(), "image/jpeg", path),
        (None, data) => Ok(inline(image.media_type(), data.as_deref().unwrap_or_default())),
    }
}

pub(super) fn audio(audio: &AudioPart, path: &str) -> Result<Object, Failure> {
    match &audio.data {
        Some(data) => Ok(inline(&format!("audio/{}", audio.format.as_deref().unwrap_or("wav")), data)),
        None => Err(cannot(path, "the audio must come with its bytes: the provider keeps none")),
    }
}

pub(super) fn file(host: Host, file: &FilePart, path: &str) -> Result<Object, Failure> {
    let media_type = file.media_type.as_deref();
    match (&file.data, &file.url, &file.file_id) {
        (Some(data), ..) => {
            let named = file.filename.as_deref().and_then(media_type_of);
            Ok(inline(media_type.or(named).unwrap_or("application/pdf"), data))
        }
        (None, Some(url), _) => file_data(host, url, media_type, "application/pdf", path),
        (None, None, Some(id)) => match id.starts_with("files/") && host == Host::GeminiApi {
            true => file_data(host, &format!("{FILES}v1beta/{id}"), media_type, "application/pdf", path),
            false => file_data(host, id, media_type, "application/pdf", path),
        },
        (None, None, None) => Err(invalid(path, "the file has neither data nor url nor id")),
    }
}

pub(super) fn inline(media_type: &str, data: &[u8]) -> Object {
    let mut blob = Object::default();
    blob.field("mimeType", media_type).field("data", &STANDARD.encode(data));
    let mut part = Object::default();
    part.raw("inlineData", &blob.finish());
    part
}

fn file_data(host: Host, url: &str, told: Option<&str>, otherwise: &str, path: &str) -> Result<Object, Failure> {
    if !fetches(host, url) {
        return Err(cannot(path, "the provider fetches nothing from such a URL; send the bytes"));
    }
    let mut data = Object::default();
    let is_video = YOUTUBE.iter().any(|prefix| url.starts_with(prefix));
    let known = told.or(is_video.then_some("video/mp4")).or_else(|| media_type_of(url));
    // Of what it keeps itself it knows the type.
    data.maybe("mimeType", known.or((!url.starts_with(FILES)).then_some(otherwise))).field("fileUri", url);
    let mut part = Object::default();
    part.raw("fileData", &data.finish());
    Ok(part)
}

pub(super) fn media_type_of(name: &str) -> Option<&'static str> {
    let name = name.split(['?', '#']).next().unwrap_or(name).to_ascii_lowercase();
    TYPES.iter().find(|(end, _)| name.ends_with(end)).map(|(_, media_type)| *media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_fetches_what_it_says_and_nothing_else() {
        for (url, gemini, vertex) in [
            ("https://generativelanguage.googleapis.com/v1beta/files/abc", true, true),
            ("https://www.youtube.com/watch?v=1", true, true),
            ("https://www.youtube.com.evil.example/", false, true),
            ("https://example.com/a.png", false, true),
            ("gs://bucket/a.pdf", false, true),
            ("ftp://example.com/a.png", false, false),
            ("data:image/png;base64,AA==", false, false),
        ] {
            assert_eq!((fetches(Host::GeminiApi, url), fetches(Host::Vertex, url)), (gemini, vertex), "{url}");
        }
    }
}
