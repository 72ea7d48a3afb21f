//! URLs of images and files over real sockets: what reaches a provider that does not fetch, and what is refused.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};
use tollgate_domain::{Class, Failure, Secret};
use tollgate_proto::v1::{CompletionRequest, Dialect, Original};
use tollgate_providers::{
    ChatCall, Head, Mode, Target,
    credential::Credential,
    exchange::{self, Endpoint},
    fetch::{FetchRules, Fetcher},
    registry::registry,
    transport::{BodyStream, InProcess, Timeouts, Transport},
};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest of it";
const PNG_BASE64: &str = "iVBORw0KGgpyZXN0IG9mIGl0";

/// Keeps what it is sent and answers nothing much.
#[derive(Default)]
struct Recorder(Mutex<Vec<Value>>);

impl InProcess for Recorder {
    fn respond(&self, request: http::Request<Bytes>) -> BoxFuture<'static, Result<(Head, BodyStream), Failure>> {
        self.0.lock().unwrap().push(serde_json::from_slice(request.body()).unwrap());
        let body =
            r#"{"id":"x","model":"m","choices":[{"index":0,"message":{"content":"ok"},"finish_reason":"stop"}]}"#;
        let head = Head { status: http::StatusCode::OK, headers: Default::default() };
        async move { Ok((head, futures::stream::once(async { Ok(Bytes::from_static(body.as_bytes())) }).boxed())) }
            .boxed()
    }
}

/// A provider that fetches nothing, behind a gateway that fetches by these rules.
struct World {
    provider: Arc<Recorder>,
    endpoint: Endpoint,
}

impl World {
    fn of(kind: &str, rules: Option<FetchRules>) -> Self {
        let provider = Arc::new(Recorder::default());
        let target = Target {
            base_url: "sim://provider/v1".into(),
            api_version: None,
            credential: Credential::Key(Secret::new("sk-upstream-test")),
            model: "m".into(),
            headers: Default::default(),
        };
        let endpoint = Endpoint {
            provider: registry(kind).unwrap(),
            target,
            timeouts: Timeouts::default(),
            transport: Transport::new().with_in_process("sim", provider.clone()),
            fetcher: rules.map(Fetcher::new),
        };
        Self { provider, endpoint }
    }

    fn fetching(rules: FetchRules) -> Self {
        Self::of("openai_compatible", Some(rules))
    }

    async fn call(&self, request: &CompletionRequest) -> Result<(), Failure> {
        let call = ChatCall::new(request, Mode::Whole);
        exchange::chat(&self.endpoint, &call).await.map(|_| ())
    }

    /// The content of the last message that the provider was sent.
    async fn content_for(&self, request: &CompletionRequest) -> Value {
        self.call(request).await.unwrap();
        let body = self.provider.0.lock().unwrap().pop().unwrap();
        body["messages"].as_array().unwrap().last().unwrap()["content"].clone()
    }

    async fn refusal(&self, request: &CompletionRequest) -> String {
        let failure = self.call(request).await.unwrap_err();
        assert_eq!(failure.class, Class::Unsupported, "{}", failure.message);
        assert!(self.provider.0.lock().unwrap().is_empty(), "nothing is sent on");
        failure.message
    }
}

#[tokio::test]
async fn nobody_reads_storage_with_the_operators_rights() {
    for (kind, url) in
        [("vertex", "gs://bucket/a.png"), ("bedrock", "s3://bucket/a.png"), ("openai", "s3://bucket/a.png")]
    {
        let refusal = World::of(kind, None).refusal(&asks_of(url)).await;
        assert!(refusal.starts_with("messages[1].content[1].image_url"), "{refusal}");
        assert!(refusal.contains("send the bytes"), "{refusal}");
    }
}

/// Loopback over plain HTTP.
fn rules() -> FetchRules {
    FetchRules { schemes: vec!["http".into()], allow_private: true, ..FetchRules::default() }
}

/// A call in OpenAI's dialect, as the shim hands it on: with its original.
fn request(messages: &Value) -> CompletionRequest {
    let text = json!({"model": "alias", "messages": messages}).to_string();
    let original = Original { dialect: Dialect::OpenaiChat as i32, body: text.clone().into_bytes().into() };
    CompletionRequest { original: Some(original), ..tollgate_http::openai::read_chat(text.as_bytes()).unwrap() }
}

fn image(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}})
}

fn asks_of(url: &str) -> CompletionRequest {
    let content = json!([{"type": "text", "text": "What is this?"}, image(url)]);
    request(&json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]))
}

/// Where images are: answers every request with these bytes and keeps the heads of requests.
struct Images {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    gone: mpsc::UnboundedReceiver<()>,
}

impl Images {
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<Vec<u8>> = Arc::new(answer.into());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (left, gone) = mpsc::unbounded_channel();
        let heads = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, heads, left) = (answer.clone(), heads.clone(), left.clone());
                tokio::spawn(async move {
                    let mut buffer = vec![0; 16_384];
                    let n = stream.read(&mut buffer).await.unwrap_or(0);
                    heads.lock().unwrap().push(String::from_utf8_lossy(&buffer[..n]).into_owned());
                    let _ = stream.write_all(&answer).await;
                    // Open until the other side goes.
                    while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
                    let _ = left.send(());
                });
            }
        });
        Self { address, asked, gone }
    }

    async fn of(kind: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 200 X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
        Self::answering([head.as_bytes(), body].concat()).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn by_default_nothing_is_fetched_and_the_refusal_names_the_part_and_the_ways_out() {
    let images = Images::of("image/png", PNG).await;
    let world = World::of("openai_compatible", None);
    let refusal = world.refusal(&asks_of(&images.url("a.png"))).await;
    assert!(refusal.starts_with("messages[1].content[1].image_url: openai_compatible"), "{refusal}");
    assert!(refusal.contains("data: URL") && refusal.contains("fetch_urls"), "{refusal}");
    assert!(images.asked().is_empty());
}

#[tokio::test]
async fn a_provider_that_fetches_gets_the_url_as_it_was_written() {
    let images = Images::of("image/png", PNG).await;
    let world = World::of("openai", Some(rules()));
    let url = images.url("a.png");
    assert_eq!(world.content_for(&asks_of(&url)).await[1], image(&url));
    assert!(images.asked().is_empty());
}

#[tokio::test]
async fn what_a_url_names_is_sent_as_bytes_and_nothing_of_ours_goes_there() {
    let images = Images::of("image/png; charset=binary", PNG).await;
    let world = World::fetching(rules());
    let content = world.content_for(&asks_of(&images.url("a%20b.png?size=1#top"))).await;
    assert_eq!(content[0], json!({"type": "text", "text": "What is this?"}));
    assert_eq!(content[1], image(&format!("data:image/png;base64,{PNG_BASE64}")), "the detail stays");
    let asked = images.asked().pop().unwrap().to_lowercase();
    let (line, headers) = asked.split_once("\r\n").unwrap();
    assert_eq!(line, "get /a%20b.png?size=1 http/1.1");
    let mut names: Vec<_> = headers.lines().filter_map(|header| header.split_once(": ")).collect();
    names.sort_unstable();
    let wanted = [
        ("accept", "image/png, image/jpeg, image/gif, image/webp, application/pdf"),
        ("accept-encoding", "identity"),
        ("connection", "close"),
        ("host", &images.address.to_string()),
        ("user-agent", "tollgate"),
    ];
    assert_eq!(names, wanted);
}

#[tokio::test]
async fn several_urls_are_fetched_together_and_each_once() {
    let (first, second) = (Images::of("image/png", PNG).await, Images::of("image/gif", b"GIF89a").await);
    let content: Vec<Value> = [&first, &second, &first].iter().map(|images| image(&images.url("a"))).collect();
    let world = World::fetching(rules());
    let sent = world.content_for(&request(&json!([{"role": "user", "content": content}]))).await;
    let kinds = [0, 1, 2].map(|at| sent[at]["image_url"]["url"].as_str().unwrap()[..14].to_owned());
    assert_eq!(kinds, ["data:image/png", "data:image/gif", "data:image/png"]);
    assert_eq!((first.asked().len(), second.asked().len()), (1, 1));
}

#[tokio::test]
async fn files_and_the_results_of_tools_are_fetched_too() {
    let files = Images::of("application/pdf", b"%PDF-1.7").await;
    let images = Images::of("image/png", PNG).await;
    let file = json!({"type": "file", "file": {"file_url": files.url("papers/report.pdf")}});
    let call = json!({"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}});
    let messages = json!([
        {"role": "user", "content": [file]},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "here"}, image(&images.url("a.png"))]}
    ]);
    let request = request(&messages);
    let world = World::fetching(rules());
    world.call(&request).await.unwrap();
    let sent = world.provider.0.lock().unwrap().pop().unwrap();
    let file = &sent["messages"][0]["content"][0]["file"];
    assert_eq!(file, &json!({"filename": "report.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjc="}));
    let result = sent["messages"][2]["content"][1]["image_url"]["url"].as_str().unwrap();
    assert!(result.ends_with(PNG_BASE64), "{result}");
    let refusal = World::of("openai_compatible", None).refusal(&request).await;
    assert!(refusal.starts_with("messages[0].content[0].file.file_url: "), "{refusal}");
}

#[tokio::test]
async fn a_data_url_is_bytes_already_and_needs_no_leave() {
    let mut request = asks_of("https://images.example.com/a.png");
    let part = &mut request.messages[1].parts[1];
    if let Some(tollgate_proto::v1::part::Content::Image(image)) = &mut part.content {
        image.url = Some(format!("data:image/png;base64,{PNG_BASE64}"));
    }
    let sent = World::of("openai_compatible", None).content_for(&request).await;
    assert_eq!(sent[1]["image_url"]["url"], format!("data:image/png;base64,{PNG_BASE64}"));
}

#[tokio::test]
async fn private_addresses_are_refused_unless_they_are_allowed() {
    let images = Images::of("image/png", PNG).await;
    let world = World::fetching(FetchRules { allow_private: false, ..rules() });
    let port = images.address.port();
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0x7f.1"] {
        let refusal = world.refusal(&asks_of(&format!("http://{host}:{port}/a.png"))).await;
        assert!(refusal.ends_with("its address is not allowed or cannot be found"), "{host}: {refusal}");
        let refusal = world.refusal(&asks_of(&format!("http://{host}/a.png"))).await;
        assert!(refusal.ends_with("its address is not allowed or cannot be found"), "{host}: {refusal}");
    }
    assert!(images.asked().is_empty());
}

#[tokio::test]
async fn what_is_not_what_was_asked_for_is_refused_without_its_words() {
    let secret = "the body's own words";
    let answer = |head: &str| format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{secret}", secret.len());
    let cases = [
        (answer("302 X\r\nlocation: http://127.0.0.1/"), "redirects elsewhere, which is not followed"),
        (answer("304 X"), "redirects elsewhere"),
        (answer("404 X"), "answered 404"),
        (answer("206 X\r\ncontent-type: image/png"), "answered 206"),
        (answer("200 X"), "by its content-type"),
        (answer("200 X\r\ncontent-type: text/html"), "by its content-type"),
        (answer("200 X\r\ncontent-type: image/png"), "is not what its content-type says"),
        (answer("200 X\r\ncontent-type: image/png\r\ncontent-encoding: gzip"), "is not what its content-type says"),
        ("SSH-2.0-OpenSSH_9.9\r\n".into(), "speaks no HTTP"),
    ];
    for (answer, why) in cases {
        let images = Images::answering(answer.clone()).await;
        let refusal = World::fetching(rules()).refusal(&asks_of(&images.url("a.png"))).await;
        assert!(
            refusal.starts_with("messages[1].content[1].image_url: ") && refusal.contains(why),
            "{answer}: {refusal}"
        );
        assert!(!refusal.contains("words") && !refusal.contains("SSH") && !refusal.contains("127.0.0.1"), "{refusal}");
        assert_eq!(images.asked().len(), 1);
    }
    let files = Images::of("application/pdf", b"%PDF-1.7").await;
    let refusal = World::fetching(rules()).refusal(&asks_of(&files.url("a.pdf"))).await;
    assert!(refusal.ends_with("is not an image"), "{refusal}");
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_read_and_while_it_is() {
    let world = World::fetching(FetchRules { max_bytes: PNG.len(), ..rules() });
    let stated = "HTTP/1.1 200 X\r\ncontent-type: image/png\r\ncontent-length: 1000000\r\n\r\n";
    // Nothing follows the head: whoever waited for the body would wait for ever.
    let images = Images::answering(stated).await;
    let refusal = world.refusal(&asks_of(&images.url("a.png"))).await;
    assert!(refusal.contains("larger than what may be fetched for one call (18 bytes)"), "{refusal}");
    let chunk = [b"13\r\n".as_slice(), PNG, b"!\r\n"].concat();
    let head = b"HTTP/1.1 200 X\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n".as_slice();
    let images = Images::answering([head, &chunk].concat()).await;
    let refusal = world.refusal(&asks_of(&images.url("a.png"))).await;
    assert!(refusal.contains("larger"), "{refusal}");
    // All of a call's URLs together.
    let (first, second) = (Images::of("image/png", PNG).await, Images::of("image/png", PNG).await);
    assert!(world.call(&asks_of(&first.url("a.png"))).await.is_ok());
    world.provider.0.lock().unwrap().clear();
    let both = json!([{"role": "user", "content": [image(&first.url("a.png")), image(&second.url("a.png"))]}]);
    assert!(world.refusal(&request(&both)).await.contains("larger"));
}

/// Polls `call`, which is not over yet, until the images' server was asked.
async fn until_asked(images: &Images, call: &mut (impl Future<Output = impl Sized> + Unpin)) {
    futures::future::poll_fn(|context| {
        assert!(call.poll_unpin(context).is_pending());
        match images.asked().is_empty() {
            true => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            false => Poll::Ready(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_slow_server_is_given_up_after_the_time_of_all() {
    let half = "HTTP/1.1 200 X\r\ncontent-type: image/png\r\ncontent-length: 18\r\n\r\n\u{89}PNG";
    for answer in ["", half] {
        let images = Images::answering(answer).await;
        let world = World::fetching(FetchRules { timeout: Duration::from_secs(3_600), ..rules() });
        let request = asks_of(&images.url("a.png"));
        let mut call = Box::pin(world.refusal(&request));
        until_asked(&images, &mut call).await;
        // From here on nothing happens but that time passes.
        tokio::time::pause();
        let refusal = call.await;
        tokio::time::resume();
        assert!(refusal.ends_with("took longer than 3600s"), "{refusal}");
    }
}

#[tokio::test]
async fn a_caller_who_goes_takes_the_fetch_along() {
    let mut images = Images::answering("HTTP/1.1 200 X\r\ncontent-type: image/png\r\n\r\n").await;
    let world = World::fetching(rules());
    let request = asks_of(&images.url("a.png"));
    let mut call = Box::pin(world.call(&request));
    until_asked(&images, &mut call).await;
    drop(call);
    assert_eq!(images.gone.recv().await, Some(()), "the line is closed");
    assert!(world.provider.0.lock().unwrap().is_empty());
}
