//! Images.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_domain::{Class, Failure};
use tollgate_proto::{
    operation::Images,
    v1::{
        Dialect, GenerateImageRequest, GenerateImageResponse, GeneratedImage, InputUsage, Original, OutputUsage,
        Started, Usage, generated_image::Image,
    },
};

use super::request::unsendable;
use crate::{
    Target, UnaryCall,
    json::{self, Object},
    refusal,
};

/// Spliced where the caller wrote it in this dialect, else encoded.
pub(crate) fn request(target: &Target, request: &GenerateImageRequest) -> Result<Vec<u8>, Failure> {
    if let Some(original) = request.original.as_ref().filter(|o| o.dialect() == Dialect::OpenaiImages) {
        let model = serde_json::to_string(&target.model).unwrap_or_default();
        return json::edit(&original.body, &[("model", Some(model))]).map_err(unsendable);
    }
    let mut body = Object::default();
    body.field("model", &target.model).maybe("prompt", request.prompt.as_ref()).maybe("n", request.n.as_ref());
    body.maybe("size", request.size.as_ref()).maybe("quality", request.quality.as_ref());
    body.maybe("background", request.background.as_ref()).maybe("output_format", request.output_format.as_ref());
    body.maybe("user", request.user.as_ref()).merge(&request.extra_json);
    Ok(body.finish().into_bytes())
}

#[derive(Deserialize)]
struct Answer<'a> {
    created: Option<f64>,
    size: Option<String>,
    quality: Option<String>,
    background: Option<String>,
    output_format: Option<String>,
    #[serde(borrow)]
    data: Option<Vec<Row<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Row<'a> {
    /// Base64 needs no escapes; a server that writes some is read all the same.
    #[serde(borrow)]
    b64_json: Option<std::borrow::Cow<'a, str>>,
    url: Option<String>,
    revised_prompt: Option<String>,
}

/// The names of this endpoint, which are not those of chats.
#[derive(Deserialize)]
struct Tokens {
    input_tokens: f64,
    output_tokens: f64,
    input_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    image_tokens: Option<f64>,
}

pub(crate) fn answer(call: &UnaryCall<'_, Images>, body: Bytes) -> Result<GenerateImageResponse, Failure> {
    let native = (call.want_native == Dialect::OpenaiImages)
        .then(|| Original { dialect: Dialect::OpenaiImages as i32, body: body.clone() });
    Ok(GenerateImageResponse { native, ..read(&body)? })
}

/// Images as one JSON object.
pub(super) fn read(body: &[u8]) -> Result<GenerateImageResponse, Failure> {
    let broken = |what: String| Failure::new(Class::UpstreamProtocol, format!("the images cannot be read: {what}"));
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|e| broken(e.to_string()))?;
    let Some(rows) = answer.data else { return Err(refusal::in_band(200, body, true)) };
    let mut images = Vec::with_capacity(rows.len());
    for row in rows {
        let image = match (row.b64_json, row.url) {
            (Some(text), _) => Image::Data(STANDARD.decode(&*text).map_err(|e| broken(e.to_string()))?.into()),
            (None, Some(url)) => Image::Url(url),
            (None, None) => return Err(broken("one has neither data nor a URL".into())),
        };
        images.push(GeneratedImage { image: Some(image), revised_prompt: row.revised_prompt });
    }
    Ok(GenerateImageResponse {
        started: Some(Started { created: answer.created.map_or(0, |n| n as i64), ..Started::default() }),
        images,
        usage: answer.usage.and_then(|raw| usage(raw.get())),
        routing: None,
        receipt: None,
        native: None,
        size: answer.size.unwrap_or_default(),
        quality: answer.quality.unwrap_or_default(),
        background: answer.background.unwrap_or_default(),
        output_format: answer.output_format.unwrap_or_default(),
    })
}

/// Tokens; `None`: they are not told.
pub(super) fn usage(text: &str) -> Option<Usage> {
    let tokens: Tokens = serde_json::from_str(text).ok()?;
    let count = |n: f64| n.max(0.0) as u64;
    let images = |details: Option<Details>| details.and_then(|d| d.image_tokens).map(count);
    let (read, written) = (count(tokens.input_tokens), count(tokens.output_tokens));
    let image_in = images(tokens.input_tokens_details).unwrap_or(0);
    // Where it is not told apart, all of it is images.
    let image_out = images(tokens.output_tokens_details).unwrap_or(written);
    Some(Usage {
        input: Some(InputUsage { total: read, image: image_in, ..InputUsage::default() }),
        output: Some(OutputUsage { total: written, image: image_out, ..OutputUsage::default() }),
        native_json: Some(text.to_owned()),
        ..Usage::default()
    })
}
