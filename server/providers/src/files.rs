//! Files and batches at providers: requests that are passed through, and the usage in what a batch writes.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use http::{Method, header};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use tollgate_domain::{Class, Error, Failure};
use tollgate_proto::v1::{CompletionRequest, CreateEmbeddingRequest, CreateModerationRequest, Usage};

use crate::{
    Target,
    exchange::{self, Endpoint},
    openai, openai_responses,
    provider::{self, cannot},
    transport::BodyStream,
};

/// Keeps files and runs batches: OpenAI's objects towards the caller, whatever they are at the provider.
pub trait Files: Send + Sync {
    /// A request, by OpenAI's path of it: `/files/ID`, `/batches`. The content type is that of the body.
    fn request(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<http::Request<Bytes>, Failure>;

    /// A line of a batch's input as it is taken there.
    fn line(&self, target: &Target, line: &Line<'_>) -> Result<String, Failure> {
        let _ = target;
        Ok(line.written.to_owned())
    }

    /// What begins a batch, in the provider's words.
    fn begins(&self, target: &Target, asked: Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        let _ = target;
        Ok(asked)
    }

    /// A batch of the provider's as OpenAI's object.
    fn told(&self, batch: Map<String, Value>) -> Map<String, Value> {
        batch
    }

    /// Whether it deletes files by itself after a time.
    fn deletes_files(&self) -> bool {
        true
    }
}

/// A line of a batch's input.
pub struct Line<'a> {
    /// What it asks for, in OpenAI's words: `/v1/chat/completions`, ...
    pub url: &'a str,
    /// What it asks.
    pub request: LineAsk<'a>,
    /// The output limit that the gateway sets.
    pub cap: Option<u64>,
    /// Leave out what the provider cannot heed, instead of refusing the file.
    pub drop_params: bool,
    /// It as OpenAI takes it, with the provider's model and the limit in it.
    pub written: &'a str,
}

/// What a line asks.
#[derive(Clone, Copy)]
pub enum LineAsk<'a> {
    /// A completion, whatever its dialect.
    Chat(&'a CompletionRequest),
    /// Embeddings.
    Embedding(&'a CreateEmbeddingRequest),
    /// A moderation.
    Moderation(&'a CreateModerationRequest),
}

/// A line as the provider takes it.
pub fn line(endpoint: &Endpoint, line: &Line<'_>) -> Result<String, Failure> {
    offered(endpoint)?.line(&endpoint.target, line)
}

impl Files for openai::OpenAi {
    fn request(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<http::Request<Bytes>, Failure> {
        let request = built(method, format!("{}{path}", target.base_url), content_type, body)?;
        target.dress(request, header::AUTHORIZATION, "Bearer ")
    }
}

/// A request that nobody has signed yet.
pub(crate) fn built(
    method: Method,
    uri: String,
    content_type: Option<&str>,
    body: Bytes,
) -> Result<http::Request<Bytes>, Failure> {
    let mut request = http::Request::builder().method(method).uri(uri);
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    request.body(body).map_err(provider::unsendable)
}

fn offered(endpoint: &Endpoint) -> Result<&dyn Files, Failure> {
    let none = || Failure::new(Class::Unsupported, "the provider keeps no files");
    endpoint.provider.files().ok_or_else(none)
}

/// Asks for an object, with a JSON body where there is one.
pub async fn call(endpoint: &Endpoint, method: Method, path: &str, body: Option<String>) -> Result<Bytes, Failure> {
    let content_type = body.is_some().then_some("application/json");
    let body = Bytes::from(body.unwrap_or_default());
    let request = offered(endpoint)?.request(&endpoint.target, method, path, content_type, body)?;
    exchange::object(endpoint, request).await
}

/// The same of a batch: what is asked and told is OpenAI's object.
pub async fn batch(
    endpoint: &Endpoint,
    method: Method,
    path: &str,
    body: Option<Map<String, Value>>,
) -> Result<Map<String, Value>, Failure> {
    let files = offered(endpoint)?;
    let body = match body {
        Some(body) if path == "/batches" => Some(files.begins(&endpoint.target, body)?),
        body => body,
    };
    let answer = call(endpoint, method, path, body.map(|body| Value::Object(body).to_string())).await?;
    match serde_json::from_slice(&answer) {
        Ok(Value::Object(object)) if object.get("id").is_some_and(Value::is_string) => Ok(files.told(object)),
        _ => Err(Failure::new(Class::UpstreamProtocol, "the provider's answer is no object with an id")),
    }
}

/// The bytes of a file.
pub async fn content(endpoint: &Endpoint, id: &str) -> Result<BodyStream, Failure> {
    let path = format!("/files/{}/content", escaped(id));
    let request = offered(endpoint)?.request(&endpoint.target, Method::GET, &path, None, Bytes::new())?;
    exchange::stream(endpoint, request).await
}

/// What stands in a segment of a path as it is (RFC 3986, "unreserved").
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An id of the provider's as a segment of a path.
pub fn escaped(id: &str) -> String {
    utf8_percent_encode(id, SEGMENT).to_string()
}

/// What is said of a file beside its bytes.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// What it is called.
    pub filename: String,
    /// What it is for.
    pub purpose: String,
    /// Media type of the bytes; empty: `application/octet-stream`.
    pub media_type: String,
    /// When the provider deletes it, in seconds after it was made.
    pub expires_after_seconds: Option<i64>,
}

/// Uploads a file while its bytes come; an error among them ends the upload, and is the answer.
pub async fn upload(
    endpoint: &Endpoint,
    form: &Form,
    bytes: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
) -> Result<Bytes, Result<Error, Failure>> {
    let boundary = format!("tollgate-{}", uuid::Uuid::new_v4().simple());
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let files = offered(endpoint).map_err(Err)?;
    if form.expires_after_seconds.is_some() && !files.deletes_files() {
        return Err(Err(cannot("expires_after", "is not known to this provider; delete the file when it is used")));
    }
    let request =
        files.request(&endpoint.target, Method::POST, "/files", Some(&content_type), Bytes::new()).map_err(Err)?;
    let broken = Arc::new(Mutex::new(None));
    let body = multipart(form, &boundary, bytes, broken.clone());
    let answer = exchange::upload(endpoint, request, body).await;
    // Whose fault it was that the upload broke is known here, and not by the line.
    match broken.lock().take() {
        Some(error) => Err(Ok(error)),
        None => answer.map_err(Err),
    }
}

/// The form, byte for byte (RFC 7578). Names are quoted as browsers do (WHATWG, "multipart/form-data encoding algorithm").
fn multipart(
    form: &Form,
    boundary: &str,
    bytes: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
    broken: Arc<Mutex<Option<Error>>>,
) -> BoxStream<'static, Result<Bytes, Failure>> {
    let mut head = String::new();
    let mut field = |name: &str, value: &str| {
        head.push_str(&format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
    };
    field("purpose", &form.purpose);
    if let Some(seconds) = form.expires_after_seconds {
        field("expires_after[anchor]", "created_at");
        field("expires_after[seconds]", &seconds.to_string());
    }
    let filename = form.filename.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    let media_type = Some(form.media_type.as_str()).filter(|it| !it.is_empty() && it.chars().all(plain));
    let media_type = media_type.unwrap_or("application/octet-stream");
    head.push_str(&format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{filename}\"\r\ncontent-type: {media_type}\r\n\r\n"
    ));
    let tail = format!("\r\n--{boundary}--\r\n");
    let bytes = bytes.map(move |read| {
        read.map_err(|error| {
            *broken.lock() = Some(error);
            Failure::new(Class::Connection, "the upload was given up")
        })
    });
    let before = futures::stream::once(async { Ok(Bytes::from(head)) });
    before.chain(bytes).chain(futures::stream::once(async { Ok(Bytes::from(tail)) })).boxed()
}

/// A line of what a batch wrote.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered {
    /// It was answered, with what it consumed.
    With(Box<Usage>),
    /// It was answered, and nothing is said of what it consumed.
    Untold,
    /// It failed: nobody pays for it.
    Failed,
}

/// Reads a line of a batch's output. `None`: it is none.
pub fn answered(line: &[u8]) -> Option<Answered> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        response: Option<Response<'a>>,
    }
    #[derive(Deserialize)]
    struct Response<'a> {
        #[serde(default)]
        status_code: u16,
        #[serde(borrow)]
        body: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        usage: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Kind {
        input_tokens: Option<serde::de::IgnoredAny>,
    }
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let Some(response) = line.response.filter(|response| (200..300).contains(&response.status_code)) else {
        return Some(Answered::Failed);
    };
    let body = response.body.and_then(|body| serde_json::from_str::<Body<'_>>(body.get()).ok());
    let usage = body.and_then(|body| body.usage).map(RawValue::get).filter(|usage| *usage != "null");
    let usage = usage.and_then(|usage| match serde_json::from_str::<Kind>(usage).ok()?.input_tokens {
        Some(_) => openai_responses::usage(usage),
        None => openai::usage(usage),
    });
    Some(usage.map_or(Answered::Untold, |usage| Answered::With(Box::new(usage))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn line(status: u16, body: &str) -> Option<Answered> {
        answered(
            format!(r#"{{"id":"r","custom_id":"1","response":{{"status_code":{status},"body":{body}}},"error":null}}"#)
                .as_bytes(),
        )
    }

    fn tokens(answered: Option<Answered>) -> (u64, u64, u64) {
        let Some(Answered::With(usage)) = answered else { panic!("{answered:?}") };
        let input = usage.input.unwrap();
        (input.total, input.cached_read, usage.output.unwrap().total)
    }

    #[test]
    fn a_line_tells_its_usage_in_either_dialect() {
        let chat = r#"{"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}}"#;
        assert_eq!(tokens(line(200, chat)), (7, 2, 3));
        let response = r#"{"usage":{"input_tokens":7,"output_tokens":3,"input_tokens_details":{"cached_tokens":2}}}"#;
        assert_eq!(tokens(line(200, response)), (7, 2, 3));
        assert_eq!(line(200, "{}"), Some(Answered::Untold));
        assert_eq!(line(200, r#"{"usage":null}"#), Some(Answered::Untold));
        assert_eq!(line(400, chat), Some(Answered::Failed));
        assert_eq!(answered(br#"{"response":null,"error":{"code":"batch_expired"}}"#), Some(Answered::Failed));
        assert_eq!(answered(b"{"), None);
    }

    #[test]
    fn an_id_stays_in_its_segment() {
        assert_eq!(escaped("file-a_b.c"), "file-a_b.c");
        assert_eq!(escaped("../models?x"), "..%2Fmodels%3Fx");
    }

    #[tokio::test]
    async fn a_form_says_what_a_file_is_and_no_name_breaks_out_of_it() {
        let form = Form {
            filename: "a\"\r\nb.jsonl".into(),
            purpose: "batch".into(),
            media_type: "application/jsonl".into(),
            expires_after_seconds: Some(3_600),
        };
        let bytes = futures::stream::iter([Ok(Bytes::from_static(b"one")), Ok(Bytes::from_static(b"two"))]);
        let parts: Vec<_> = multipart(&form, "B", bytes, Arc::default()).map(Result::unwrap).collect().await;
        let text = String::from_utf8(parts.concat()).unwrap();
        let expected = [
            "--B",
            "content-disposition: form-data; name=\"purpose\"",
            "",
            "batch",
            "--B",
            "content-disposition: form-data; name=\"expires_after[anchor]\"",
            "",
            "created_at",
            "--B",
            "content-disposition: form-data; name=\"expires_after[seconds]\"",
            "",
            "3600",
            "--B",
            "content-disposition: form-data; name=\"file\"; filename=\"a%22%0D%0Ab.jsonl\"",
            "content-type: application/jsonl",
            "",
            "onetwo",
            "--B--",
            "",
        ];
        assert_eq!(text, expected.join("\r\n"));
    }
}
