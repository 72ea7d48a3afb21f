//! Images and files that a call names by URL, fetched where its provider does not fetch them and the operator allows it.
//!
//! The URL is a caller's, the network is the operator's: without care a caller could read what only the gateway can reach (server-side
//! request forgery). So: an address is judged after its name was resolved, and the very address that was judged is connected to; no
//! redirect is followed; nothing of the gateway is sent but its name; and what is refused is refused in words that tell nothing of who
//! is there.

mod address;
mod connect;
mod media;
mod parts;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt, TryStreamExt};
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{task::JoinSet, time::timeout};
use tollgate_domain::Failure;
use tollgate_proto::v1::CompletionRequest;
use url::{Position, Url};

pub use self::connect::Resolve;
use self::{connect::Connector, media::Media, parts::Named};
use crate::{
    Chat, Target,
    anthropic::without_messages,
    provider::{cannot, invalid},
};

/// Clouds read these with the rights of whoever calls them, which are not the caller's.
const STORAGE: [&str; 2] = ["s3://", "gs://"];
/// So many URLs of a call are fetched at once.
const AT_ONCE: usize = 4;
/// The longest URL.
const LONGEST_URL: usize = 8_192;
/// The most of a head that is read.
const LARGEST_HEAD: usize = 64 << 10;

/// What may be fetched for callers, and how long and how large it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRules {
    /// `https`, `http`.
    pub schemes: Vec<String>,
    /// Most bytes that are fetched for one call, all of its URLs together.
    pub max_bytes: usize,
    /// Media types in lower case, such as `image/png`.
    pub media_types: Vec<String>,
    /// How long all of a call's URLs may take together.
    pub timeout: Duration,
    /// Only these hosts, and with `*.example.com` all below it; empty: any.
    pub allow_hosts: Vec<String>,
    /// Private and loopback addresses and any port too. Metadata addresses are refused all the same.
    pub allow_private: bool,
}

impl Default for FetchRules {
    fn default() -> Self {
        let types = ["image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf"];
        Self {
            schemes: vec!["https".into()],
            max_bytes: 20_000_000,
            media_types: types.map(str::to_owned).into(),
            timeout: Duration::from_secs(10),
            allow_hosts: Vec::new(),
            allow_private: false,
        }
    }
}

/// Fetches for callers; cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    rules: Arc<FetchRules>,
    connector: Connector,
}

/// Why a URL was not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("is no URL that can be fetched")]
    BadUrl,
    #[error("must be a data: URL with a media type and base64")]
    BadDataUrl,
    #[error("must not carry a user name or a password")]
    Credentials,
    #[error("must have one of the schemes {0:?}")]
    Scheme(Vec<String>),
    /// One wording for all that would tell who is there.
    #[error("its address is not allowed or cannot be found")]
    NotAllowed,
    #[error("its server cannot be reached")]
    Unreachable,
    #[error("its server broke the connection or speaks no HTTP")]
    Broken,
    #[error("its server answered {0}")]
    Status(u16),
    #[error("its server redirects elsewhere, which is not followed: give the final address")]
    Redirect,
    #[error("is larger than what may be fetched for one call ({0} bytes)")]
    TooLarge(usize),
    #[error("must be one of {0:?} by its content-type")]
    Kind(Vec<String>),
    #[error("is not what its content-type says")]
    Lies,
    #[error("is not an image")]
    NoImage,
    #[error("all of the call's URLs together took longer than {0:?}")]
    TooSlow(Duration),
}

/// `request` with bytes in the place of URLs that its provider does not fetch itself; `None`: there are none.
///
/// Its original is left out of the copy, or what of it tells of the messages: adapters then write those from its fields. A failure names the part,
/// and is this provider's alone (`Unsupported`) unless the part is malformed.
pub(crate) async fn with_bytes(
    request: &CompletionRequest,
    provider: &str,
    target: &Target,
    adapter: &dyn Chat,
    fetcher: Option<&Fetcher>,
) -> Result<Option<CompletionRequest>, Failure> {
    let (mut ready, mut wanted) = (Vec::new(), Vec::new());
    for part in parts::named(request) {
        if STORAGE.iter().any(|scheme| part.url.starts_with(scheme)) {
            let why = "lies in storage that would be read with the operator's own rights; send the bytes";
            return Err(cannot(&part.path(), why));
        }
        match media::of_data_url(part.url) {
            Some(read) => ready.push((part, read.map_err(|refused| refused.at(&part))?)),
            None if adapter.fetches(&target.model, part.url) => {}
            None => wanted.push(part),
        }
    }
    if let Some(first) = wanted.first() {
        let Some(fetcher) = fetcher else {
            let why = format!(
                "{provider} is not asked to fetch URLs, and the gateway fetches none for it; send the bytes (a data: URL), or \
                 have fetch_urls configured for the provider"
            );
            return Err(cannot(&first.path(), &why));
        };
        ready.extend(fetcher.fetch_all(&wanted).boxed().await?);
    }
    if ready.is_empty() {
        return Ok(None);
    }
    let mut copy = request.clone();
    copy.original = copy.original.as_ref().and_then(without_messages);
    for (part, media) in ready {
        part.replace(&mut copy, media);
    }
    Ok(Some(copy))
}

impl Refused {
    fn at(&self, part: &Named<'_>) -> Failure {
        let refuse = if matches!(self, Self::BadDataUrl) { invalid } else { cannot };
        refuse(&part.path(), &self.to_string())
    }
}

impl Fetcher {
    /// By the system's resolver.
    pub fn new(rules: FetchRules) -> Self {
        Self::with_resolver(rules, connect::system())
    }

    /// By a resolver of one's own. What it finds is judged like what the system's finds.
    pub fn with_resolver(rules: FetchRules, resolver: Arc<dyn Resolve>) -> Self {
        let connector = Connector::new(resolver, rules.allow_private);
        Self { rules: Arc::new(rules), connector }
    }

    /// What each part names; the same URL is fetched once.
    async fn fetch_all<'a>(&self, parts: &[Named<'a>]) -> Result<Vec<(Named<'a>, Media)>, Failure> {
        let mut seen = HashSet::new();
        let left = AtomicUsize::new(self.rules.max_bytes);
        let once = parts.iter().filter(|part| seen.insert(part.url));
        let fetching: Vec<_> = once.map(|part| self.fetch_one(*part, &left).boxed()).collect();
        let all = futures::stream::iter(fetching).buffer_unordered(AT_ONCE).try_collect::<HashMap<&str, Media>>();
        let fetched = match (timeout(self.rules.timeout, all).await, parts.first()) {
            (Ok(fetched), _) => fetched?,
            (Err(_), Some(first)) => return Err(Refused::TooSlow(self.rules.timeout).at(first)),
            (Err(_), None) => return Ok(Vec::new()),
        };
        let of = |part: &Named<'a>| {
            let media = fetched.get(part.url).cloned()?;
            Some(match part.is_image && !media.kind.starts_with("image/") {
                true => Err(Refused::NoImage.at(part)),
                false => Ok((*part, media)),
            })
        };
        parts.iter().filter_map(of).collect()
    }

    async fn fetch_one<'a>(&self, part: Named<'a>, left: &AtomicUsize) -> Result<(&'a str, Media), Failure> {
        let fetched = self.fetch(part.url, left).await.map_err(|refused| refused.at(&part))?;
        Ok((part.url, fetched))
    }

    /// The bytes at `url`, taken from what is `left` of the call's.
    async fn fetch(&self, url: &str, left: &AtomicUsize) -> Result<Media, Refused> {
        let url = self.allowed(url)?;
        let line = self.connector.connect(&url).await?;
        let mut http = http1::Builder::new();
        http.max_buf_size(LARGEST_HEAD);
        let (mut sender, connection) =
            http.handshake::<_, Empty<Bytes>>(TokioIo::new(line)).await.map_err(|_| Refused::Broken)?;
        // Ends with this future, whether that is read to its end or dropped.
        let mut driven = JoinSet::new();
        driven.spawn(connection);
        let response = sender.send_request(self.request(&url)?).await.map_err(|_| Refused::Broken)?;
        let kind = self.head(&response, left)?;
        let data = self.read(response.into_body(), left).await?;
        if !media::is_honest(&kind, &data) {
            return Err(Refused::Lies);
        }
        Ok(Media { kind, data })
    }

    /// The URL in its one spelling, where the rules have nothing against it.
    fn allowed(&self, url: &str) -> Result<Url, Refused> {
        let url = Some(url).filter(|url| url.len() <= LONGEST_URL).and_then(|url| Url::parse(url).ok());
        let url = url.ok_or(Refused::BadUrl)?;
        let rules = &self.rules;
        if !rules.schemes.iter().any(|scheme| scheme == url.scheme()) {
            return Err(Refused::Scheme(rules.schemes.clone()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        let host = url.host_str().ok_or(Refused::BadUrl)?.trim_end_matches('.');
        let listed = |allowed: &String| match allowed.strip_prefix("*.") {
            Some(above) => host.strip_suffix(above).is_some_and(|below| below.ends_with('.')),
            None => allowed == host,
        };
        if !rules.allow_hosts.is_empty() && !rules.allow_hosts.iter().any(listed) {
            return Err(Refused::NotAllowed);
        }
        if !rules.allow_private && !matches!(url.port_or_known_default(), Some(80 | 443)) {
            return Err(Refused::NotAllowed);
        }
        Ok(url)
    }

    /// Nothing of the caller's or the gateway's headers goes with it.
    fn request(&self, url: &Url) -> Result<Request<Empty<Bytes>>, Refused> {
        let request = Request::get(&url[Position::BeforePath..Position::AfterQuery])
            .header(header::HOST, &url[Position::BeforeHost..Position::AfterPort])
            .header(header::USER_AGENT, "tollgate")
            .header(header::ACCEPT, self.rules.media_types.join(", "))
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONNECTION, "close");
        request.body(Empty::new()).map_err(|_| Refused::BadUrl)
    }

    /// The media type, once status, type and stated length have nothing against it.
    fn head(&self, response: &Response<Incoming>, left: &AtomicUsize) -> Result<String, Refused> {
        match response.status().as_u16() {
            200 => {}
            300..=399 => return Err(Refused::Redirect),
            status => return Err(Refused::Status(status)),
        }
        let text = |name| text(response.headers(), name);
        let kind = media::essence(text(header::CONTENT_TYPE));
        if !self.rules.media_types.contains(&kind) {
            return Err(Refused::Kind(self.rules.media_types.clone()));
        }
        if !matches!(text(header::CONTENT_ENCODING), "" | "identity") {
            return Err(Refused::Lies);
        }
        let stated = text(header::CONTENT_LENGTH).parse::<usize>().unwrap_or_default();
        match stated > left.load(Ordering::Relaxed) {
            true => Err(Refused::TooLarge(self.rules.max_bytes)),
            false => Ok(kind),
        }
    }

    async fn read(&self, mut body: Incoming, left: &AtomicUsize) -> Result<Bytes, Refused> {
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refused::Broken)?.into_data() else { continue };
            let take = |left: usize| left.checked_sub(data.len());
            if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
                return Err(Refused::TooLarge(self.rules.max_bytes));
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
