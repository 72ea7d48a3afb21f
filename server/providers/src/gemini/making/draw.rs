//! Images: sizes are proportions and steps there, and there is one image in an answer.

use tollgate_domain::Failure;
use tollgate_proto::v1::{EditImageHead, GenerateImageRequest};

use super::{contents, file_part, text_part};
use crate::{json::Object, left_out::LeftOut, media::HeldFile, provider::cannot};

/// Proportions that models know ("Aspect ratios").
const RATIOS: [(u64, u64); 10] = [(1, 1), (2, 3), (3, 2), (3, 4), (4, 3), (4, 5), (5, 4), (9, 16), (16, 9), (21, 9)];

/// A side of the largest step.
const MOST_PIXELS: u64 = 8_192;

/// What is asked of an image, made or edited.
pub(super) struct Wish<'a> {
    prompt: &'a str,
    n: Option<i64>,
    size: Option<&'a str>,
    quality: Option<&'a str>,
    background: Option<&'a str>,
    output_format: Option<&'a str>,
    user: Option<&'a String>,
    /// Other members, with their values where they are words.
    others: Vec<(String, String)>,
}

impl<'a> Wish<'a> {
    pub(super) fn of(request: &'a GenerateImageRequest) -> Self {
        let members: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&request.extra_json).unwrap_or_default();
        let word = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Self {
            prompt: request.prompt(),
            n: request.n,
            size: request.size.as_deref(),
            quality: request.quality.as_deref(),
            background: request.background.as_deref(),
            output_format: request.output_format.as_deref(),
            user: request.user.as_ref(),
            others: members.into_iter().map(|(name, value)| (name, word(value))).collect(),
        }
    }

    pub(super) fn of_edit(head: &'a EditImageHead) -> Self {
        Self {
            prompt: head.prompt(),
            n: head.n,
            size: head.size.as_deref(),
            quality: head.quality.as_deref(),
            background: head.background.as_deref(),
            output_format: head.output_format.as_deref(),
            user: head.user.as_ref(),
            others: head.fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect(),
        }
    }
}

pub(super) fn body(
    model: &str,
    wish: &Wish<'_>,
    images: &[HeldFile],
    left_out: &mut LeftOut,
) -> Result<Object, Failure> {
    if model.starts_with("imagen") {
        return Err(cannot(
            "model",
            "Imagen is paid by the image, which has no price here; name a model of Gemini's that draws",
        ));
    }
    let mut parts = Vec::with_capacity(images.len() + 1);
    for image in images {
        match image.file.field.trim_end_matches("[]") {
            "image" => parts.push(file_part(image, "image/png")),
            other => {
                let why = "is not known to gemini; say in the prompt what shall stay";
                return Err(cannot(other, why));
            }
        }
    }
    parts.push(text_part(wish.prompt));
    let mut config = Object::default();
    config.field("responseModalities", &["TEXT", "IMAGE"]);
    match wish.size.filter(|size| *size != "auto").map(proportions) {
        None => {}
        Some(None) => {
            left_out.because("size", "must have proportions that gemini knows, such as 1024x1024 or 1536x1024")
        }
        Some(Some((ratio, step))) => {
            let mut image = Object::default();
            image.field("aspectRatio", &ratio).maybe("imageSize", step);
            config.raw("imageConfig", &image.finish());
        }
    }
    if wish.n.is_some_and(|n| n > 1) {
        left_out.because("n", "must be 1 for gemini, which has one image in an answer");
    }
    left_out.absent(&[
        ("quality", wish.quality.is_some_and(|quality| quality != "auto")),
        ("background", wish.background.is_some_and(|background| !matches!(background, "auto" | "opaque"))),
        ("output_format", wish.output_format.is_some_and(|format| format != "png")),
    ]);
    for (name, value) in &wish.others {
        match (name.as_str(), value.as_str()) {
            // It is done when it is done, and comes as data.
            ("partial_images", _) | ("response_format", "b64_json") | ("moderation" | "input_fidelity", "auto") => {}
            _ => left_out.unsupported(name),
        }
    }
    left_out.user(wish.user);
    let mut body = Object::default();
    body.raw("contents", &contents(&parts)).raw("generationConfig", &config.finish());
    Ok(body)
}

/// `3:2`, and how large, for width and height in pixels; `None`: there is no such thing.
fn proportions(size: &str) -> Option<(String, Option<&'static str>)> {
    let (width, height) = size.split_once('x')?;
    let (width, height): (u64, u64) = (width.parse().ok()?, height.parse().ok()?);
    if width == 0 || width.max(height) > MOST_PIXELS {
        return None;
    }
    let (across, down) = RATIOS.iter().find(|(across, down)| width * down == height * across)?;
    let step = match width.max(height) {
        ..2_048 => None,
        2_048..4_096 => Some("2K"),
        _ => Some("4K"),
    };
    Some((format!("{across}:{down}"), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_in_pixels_is_a_proportion_and_a_step() {
        let told = |size: &str| proportions(size).map(|(ratio, step)| format!("{ratio} {}", step.unwrap_or("1K")));
        assert_eq!(told("1024x1024").as_deref(), Some("1:1 1K"));
        assert_eq!(told("1024x1536").as_deref(), Some("2:3 1K"));
        assert_eq!(told("2048x1152").as_deref(), Some("16:9 2K"));
        assert_eq!(told("4096x4096").as_deref(), Some("1:1 4K"));
        for none in ["1000x7", "0x0", "large", "99999999999999999999x1"] {
            assert_eq!(told(none), None, "{none}");
        }
    }
}
