//! One attempt, start to end: write the request, send it, read the answer.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http::{HeaderValue, header};
use tokio::time::{Instant, timeout, timeout_at};
use tollgate_domain::{Class, Failure, Secret};
use tollgate_proto::{operation::Answered, v1::CompletionEvent};

use crate::{
    ChatCall, Decoder, Head, Offered, Outgoing, Provider, Target, UnaryCall, Unsupported,
    credential::Credential,
    fetch::{Fetcher, with_bytes},
    foreign::Common,
    headroom,
    media::{HeldFile, MediaCall, MediaEvent, MediaOutgoing},
    openai::form::Form,
    refusal,
    transport::{BodyStream, Timeouts, Transport},
    upload::{Part, Upload},
};

/// A provider as one deployment reaches it.
#[derive(Clone)]
pub struct Endpoint {
    /// The adapter.
    pub provider: Arc<dyn Provider>,
    /// Where to send.
    pub target: Target,
    /// Time limits.
    pub timeouts: Timeouts,
    /// What sends.
    pub transport: Transport,
    /// Fetches images and files that calls name by URL, where the provider does not; `None`: such calls are refused.
    pub fetcher: Option<Fetcher>,
}

/// The provider has accepted the call and is answering.
pub struct Answering {
    /// Head of the answer.
    pub head: Head,
    /// The provider's request id, or empty.
    pub request_id: String,
    /// Fields that were dropped on the way out.
    pub dropped: Vec<String>,
    /// The events. Ends after the answer's end or after the first failure. Dropping it closes the connection at once.
    pub events: BoxStream<'static, Result<CompletionEvent, Failure>>,
}

/// A whole answer of the provider's.
pub struct Answer<T> {
    /// Its head.
    pub head: Head,
    /// Fields that were dropped on the way out.
    pub dropped: Vec<String>,
    /// What it says.
    pub response: T,
}

/// The most of an error body that is read.
pub(crate) const MAX_REFUSAL: usize = 1 << 20;
/// The most of a whole answer that is held.
pub(crate) const MAX_WHOLE: usize = 64 << 20;
/// Whose call it is, and where its prompt may be cached: providers that know no such thing give the same answer.
const HINTS: [&str; 4] = ["prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier"];
/// How long to read on after the answer's end, so that the connection can be used again.
const AFTER_END: Duration = Duration::from_secs(1);

/// Sends `call` and waits for the answer's head.
pub async fn chat(endpoint: &Endpoint, call: &ChatCall<'_>) -> Result<Answering, Failure> {
    let Some(adapter) = endpoint.provider.chat() else {
        return Err(Failure::new(Class::Unsupported, "the provider offers no completions"));
    };
    let fetched =
        with_bytes(call.request, endpoint.provider.name(), &endpoint.target, adapter, endpoint.fetcher.as_ref())
            .await?;
    let call = &ChatCall { request: fetched.as_ref().unwrap_or(call.request), ..*call };
    let common = Common::of(call, &endpoint.target.model, adapter);
    let call = &ChatCall { request: common.as_ref().map_or(call.request, |common| &common.request), ..*call };
    let mut outgoing = adapter.request(&endpoint.target, call)?;
    if let Some(Common { unsupported, dropped, .. }) = &common {
        outgoing.unsupported.extend_from_slice(unsupported);
        outgoing.dropped.extend_from_slice(dropped);
    }
    let (mut request, dropped) = allowed(endpoint, outgoing, call.drop_params)?;
    trace(&mut request, call.traceparent);
    let decoder = adapter.decoder(&endpoint.target, call);
    let Accepted { head, body, shown } = accepted(endpoint, request).await?;
    let request_id = refusal::request_id(&head.headers);
    let events = events(decoder, body, head.status.as_u16(), request_id.clone(), shown);
    Ok(Answering { head, request_id, dropped, events })
}

/// Sends `call` and reads the whole answer.
pub async fn unary<O: Offered>(endpoint: &Endpoint, call: &UnaryCall<'_, O>) -> Result<Answer<O::Response>, Failure> {
    let Some(adapter) = O::by(&*endpoint.provider) else {
        return Err(Failure::new(Class::Unsupported, format!("the provider offers no {}", O::NAME)));
    };
    let outgoing = adapter.request(&endpoint.target, call)?;
    let (mut request, dropped) = allowed(endpoint, outgoing, call.drop_params)?;
    trace(&mut request, call.traceparent);
    let Accepted { head, body, shown } = accepted(endpoint, request).await?;
    let request_id = refusal::request_id(&head.headers);
    let read = read_whole(body, MAX_WHOLE).await.and_then(|bytes| adapter.answer(call, bytes.freeze()));
    let mut response = read.map_err(|failure| {
        let may_be_billed = failure.may_be_billed || failure.class.leaves_doubt();
        Failure { may_be_billed, ..known(failure, head.status.as_u16(), &request_id, shown.as_ref()) }
    })?;
    let usage = response.envelope().usage;
    *usage = usage.take().or_else(|| adapter.usage(&head));
    Ok(Answer { head, dropped, response })
}

/// The provider has accepted a call of sound or images and is answering.
pub struct MediaAnswering {
    /// Head of the answer.
    pub head: Head,
    /// The media type of what is told.
    pub content_type: String,
    /// Fields that were dropped on the way out.
    pub dropped: Vec<String>,
    /// The events. Ends after the answer's end or after the first failure. Dropping it closes the connection at once.
    pub events: BoxStream<'static, Result<MediaEvent, Failure>>,
}

/// Sends `call` with its files and waits for the answer's head.
pub async fn media(endpoint: &Endpoint, call: &MediaCall<'_>) -> Result<MediaAnswering, Failure> {
    let Some(adapter) = endpoint.provider.media(call.ask.kind()) else {
        return Err(Failure::new(Class::Unsupported, "the provider does not offer this operation"));
    };
    let held = match (adapter.holds(), call.upload) {
        (Some(most), Some(upload)) => HeldFile::all(upload, most).await?,
        _ => Vec::new(),
    };
    let call = &MediaCall { held: &held, ..*call };
    let MediaOutgoing { request, form, unsupported, dropped } = adapter.request(&endpoint.target, call)?;
    let (mut request, dropped) = allowed(endpoint, Outgoing { request, unsupported, dropped }, call.drop_params)?;
    trace(&mut request, call.traceparent);
    let accepted = match (form, call.upload) {
        (Some(form), Some(upload)) => {
            let (fields, parts) = (form.fields, late_fields(upload, form.takes_late_fields));
            let form = Form::new();
            let content_type = HeaderValue::try_from(form.content_type());
            let content_type = content_type.map_err(|error| crate::provider::unsendable(error.into()))?;
            request.headers_mut().insert(header::CONTENT_TYPE, content_type);
            let body = form.write(&fields, parts);
            if upload.is_whole() && !upload.is_lost() {
                // Of known length, as servers like it best.
                let whole = body.try_fold(BytesMut::new(), |mut all, bytes| async move {
                    all.extend_from_slice(&bytes);
                    Ok(all)
                });
                let whole = whole.await.map_err(|error| Failure::new(Class::InvalidRequest, error.message))?;
                accepted(endpoint, request.map(|_| whole.freeze())).await?
            } else {
                uploaded(endpoint, request, body.boxed(), upload).await?
            }
        }
        _ => accepted(endpoint, request).await?,
    };
    let Accepted { head, mut body, shown } = accepted;
    let (status, request_id) = (head.status.as_u16(), refusal::request_id(&head.headers));
    let mut decoder = adapter.decoder(call, &head);
    let told = || head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = decoder.content_type().or_else(told).unwrap_or("application/octet-stream").to_owned();
    let events = async_stream::stream! {
        let mut events = Vec::new();
        let mut read_on = None;
        loop {
            let is_done = decoder.done();
            let (is_end, read) = match next(&mut body, is_done, &mut read_on).await {
                Some(Ok(bytes)) => match decoder.feed(&bytes, &mut events) {
                    // What cannot be read behind the answer's end harms nothing.
                    Err(_) if decoder.done() => (true, decoder.end(&mut events)),
                    read => (false, read),
                },
                Some(Err(failure)) => {
                    let ended = decoder.end(&mut events);
                    // Nor does a line that breaks there; before it, the usage so far is worth keeping.
                    let read = match decoder.done() {
                        true => ended,
                        false => Err(Failure { usage: ended.err().and_then(|known| known.usage), ..failure }),
                    };
                    (true, read)
                }
                None => (true, decoder.end(&mut events)),
            };
            for event in events.drain(..) {
                yield Ok(event);
            }
            if let Err(failure) = read {
                let may_be_billed = failure.may_be_billed || failure.class.leaves_doubt();
                yield Err(Failure { may_be_billed, ..known(failure, status, &request_id, shown.as_ref()) });
                return;
            }
            if is_end {
                return;
            }
        }
    };
    Ok(MediaAnswering { head, content_type, dropped, events: events.boxed() })
}

/// An upload as it goes into a form. Fields behind its files are passed on in their place; to those who are asked in other words they were
/// said before, if they were known.
fn late_fields(upload: &Upload, are_taken: bool) -> BoxStream<'static, Result<Part, tollgate_domain::Error>> {
    let parts = upload.read();
    if are_taken {
        return parts.boxed();
    }
    let (upload, were_known) = (upload.clone(), upload.is_whole());
    let parts = parts.try_filter_map(move |part| {
        let told = match part {
            Part::Field(_) if were_known => Ok(None),
            Part::Field(field) => {
                let why = "must stand before the file, for a provider that is asked in words of its own";
                let error = tollgate_domain::Error::invalid_field(&field.name, why);
                upload.refuse(error.clone());
                Err(error)
            }
            part => Ok(Some(part)),
        };
        futures::future::ready(told)
    });
    parts.boxed()
}

/// Sends a form while its files come in: it is signed before and sent once.
async fn uploaded(
    endpoint: &Endpoint,
    mut request: http::Request<bytes::Bytes>,
    body: BoxStream<'static, Result<bytes::Bytes, tollgate_domain::Error>>,
    upload: &Upload,
) -> Result<Accepted, Failure> {
    let shown = signed(endpoint, &mut request).await?;
    let head = request.map(|_| ());
    let (head, body) = endpoint.transport.send_upload(head, body, upload, &endpoint.timeouts).await?;
    taken(endpoint, head, body, shown).await
}

/// Sends a request and reads the whole answer.
pub(crate) async fn object(endpoint: &Endpoint, request: http::Request<bytes::Bytes>) -> Result<bytes::Bytes, Failure> {
    let Accepted { head, body, shown } = accepted(endpoint, request).await?;
    whole(head, body, shown).await
}

async fn whole(head: Head, body: BodyStream, shown: Option<Secret>) -> Result<bytes::Bytes, Failure> {
    let request_id = refusal::request_id(&head.headers);
    let read = read_whole(body, MAX_WHOLE).await;
    read.map(BytesMut::freeze).map_err(|failure| {
        let may_be_billed = failure.may_be_billed || failure.class.leaves_doubt();
        Failure { may_be_billed, ..known(failure, head.status.as_u16(), &request_id, shown.as_ref()) }
    })
}

/// Sends a request and hands the answer on as it comes.
pub(crate) async fn stream(endpoint: &Endpoint, request: http::Request<bytes::Bytes>) -> Result<BodyStream, Failure> {
    Ok(accepted(endpoint, request).await?.body)
}

/// Sends a request whose body comes in pieces, once: it is not sent again with a new signature.
pub(crate) async fn upload(
    endpoint: &Endpoint,
    mut request: http::Request<bytes::Bytes>,
    body: BodyStream,
) -> Result<bytes::Bytes, Failure> {
    let shown = signed(endpoint, &mut request).await?;
    let (head, answer) = endpoint.transport.send_stream(request.map(|_| body), &endpoint.timeouts).await?;
    let Accepted { head, body, shown } = taken(endpoint, head, answer, shown).await?;
    whole(head, body, shown).await
}

/// Signs a request that is sent once. Returns what is shown by it.
async fn signed(endpoint: &Endpoint, request: &mut http::Request<bytes::Bytes>) -> Result<Option<Secret>, Failure> {
    Ok(match &endpoint.target.credential {
        Credential::Signer(signer) => {
            signer.sign(request).await?;
            shown(request)
        }
        credential => credential.key().cloned(),
    })
}

/// Asks whether the provider is there and heeds the credential, for at most `limit`; see [`Provider::is_answered_by`].
pub async fn check(endpoint: &Endpoint, limit: Duration) -> Result<(), Failure> {
    let request = endpoint.provider.check(&endpoint.target)?;
    match timeout(limit, accepted(endpoint, request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(failure)) if endpoint.provider.is_answered_by(&failure) => Ok(()),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::new(Class::Timeout, "the provider did not answer a check in time")),
    }
}

/// Tells the provider which trace the request belongs to; before it is signed.
fn trace(request: &mut http::Request<bytes::Bytes>, traceparent: Option<&HeaderValue>) {
    if let Some(traceparent) = traceparent {
        request.headers_mut().insert("traceparent", traceparent.clone());
    }
}

/// The request, and what it goes without; or the refusal of the first thing that it would have to go without.
fn allowed(
    endpoint: &Endpoint,
    outgoing: Outgoing,
    drop_params: bool,
) -> Result<(http::Request<bytes::Bytes>, Vec<String>), Failure> {
    let Outgoing { request, unsupported, mut dropped } = outgoing;
    dropped.extend(heeded(endpoint.provider.name(), unsupported, drop_params)?);
    Ok((request, dropped))
}

/// What a call goes without; or the refusal of the first thing that it would have to go without.
pub(crate) fn heeded(
    provider: &str,
    unsupported: Vec<Unsupported>,
    drop_params: bool,
) -> Result<impl Iterator<Item = String>, Failure> {
    let (hints, unsupported): (Vec<_>, Vec<_>) =
        unsupported.into_iter().partition(|parameter| HINTS.contains(&parameter.field.as_str()));
    match unsupported.first() {
        Some(first) if !drop_params => Err(first.refused_by(provider)),
        _ => Ok(hints.into_iter().chain(unsupported).map(|parameter| parameter.field)),
    }
}

/// The provider takes the call.
struct Accepted {
    head: Head,
    body: BodyStream,
    /// What was shown to it and must be seen by nobody else.
    shown: Option<Secret>,
}

/// Sends, with a new signature where the first was refused, and turns anything but success into the adapter's reading of it.
async fn accepted(endpoint: &Endpoint, mut request: http::Request<bytes::Bytes>) -> Result<Accepted, Failure> {
    let Credential::Signer(signer) = &endpoint.target.credential else {
        let shown = endpoint.target.credential.key().cloned();
        return sent(endpoint, request, shown).await;
    };
    let unsigned = request.clone();
    signer.sign(&mut request).await?;
    let signed = request.clone();
    match sent(endpoint, request, shown(&signed)).await {
        Err(failure) if failure.class == Class::Authentication && signer.refused(&signed) => {
            let mut again = unsigned;
            signer.sign(&mut again).await?;
            let shown = shown(&again);
            sent(endpoint, again, shown).await
        }
        told => told,
    }
}

/// The token that a request carries: of its own, or beside an AWS signature.
fn shown(request: &http::Request<bytes::Bytes>) -> Option<Secret> {
    let text = |name: &str| request.headers().get(name)?.to_str().ok();
    let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    bearer.or_else(|| text("x-amz-security-token")).map(Secret::new)
}

async fn sent(
    endpoint: &Endpoint,
    request: http::Request<bytes::Bytes>,
    shown: Option<Secret>,
) -> Result<Accepted, Failure> {
    let (head, body) = endpoint.transport.send(request, &endpoint.timeouts).await?;
    taken(endpoint, head, body, shown).await
}

async fn taken(endpoint: &Endpoint, head: Head, body: BodyStream, shown: Option<Secret>) -> Result<Accepted, Failure> {
    if head.status.is_success() {
        return Ok(Accepted { head, body, shown });
    }
    // What cannot be read of a refusal does not change that it is one.
    let read = timeout(Duration::from_secs(10), read_up_to(body, MAX_REFUSAL)).await.unwrap_or_default();
    let mut failure = endpoint.provider.refusal(&head, &read);
    hide(&mut failure, shown.as_ref());
    failure.headroom = Some(headroom::told(&head.headers)).filter(|told| !told.is_untold()).map(Box::new);
    Err(failure)
}

/// A failure in an answer, with what its head says where it does not say so itself.
fn known(mut failure: Failure, status: u16, request_id: &str, shown: Option<&Secret>) -> Failure {
    if failure.status == 0 {
        failure.status = status;
    }
    if failure.request_id.is_empty() {
        request_id.clone_into(&mut failure.request_id);
    }
    hide(&mut failure, shown);
    failure
}

/// Providers like to repeat what they were sent.
fn hide(failure: &mut Failure, shown: Option<&Secret>) {
    if let Some(secret) = shown.filter(|secret| !secret.expose().is_empty()) {
        failure.message = failure.message.replace(secret.expose(), "<hidden>");
    }
}

pub(crate) async fn read_up_to(mut body: BodyStream, limit: usize) -> BytesMut {
    let mut read = BytesMut::new();
    while let Some(Ok(bytes)) = body.next().await {
        let room = limit - read.len();
        read.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if read.len() == limit {
            break;
        }
    }
    read
}

async fn read_whole(mut body: BodyStream, limit: usize) -> Result<BytesMut, Failure> {
    let mut read = BytesMut::new();
    while let Some(bytes) = body.next().await {
        read.extend_from_slice(&bytes?);
        if read.len() > limit {
            return Err(Failure::new(Class::UpstreamProtocol, "the provider's answer is larger than 64 MiB"));
        }
    }
    Ok(read)
}

/// The next bytes of an answer. Once its end has come, those that come soon: `read_on` is until when.
async fn next(
    body: &mut BodyStream,
    is_done: bool,
    read_on: &mut Option<Instant>,
) -> Option<Result<bytes::Bytes, Failure>> {
    if !is_done {
        return body.next().await;
    }
    let until = *read_on.get_or_insert_with(|| Instant::now() + AFTER_END);
    timeout_at(until, body.next()).await.unwrap_or_default()
}

struct Reading {
    decoder: Box<dyn Decoder>,
    body: Option<BodyStream>,
    ready: VecDeque<CompletionEvent>,
    failure: Option<Failure>,
    /// Until when to read on, once the answer's end has come.
    read_on: Option<Instant>,
    status: u16,
    request_id: String,
    shown: Option<Secret>,
}

impl Reading {
    /// Reads until there is an event or the end. Events of one read are all ready at once.
    async fn fill(&mut self) {
        let mut events = Vec::new();
        while events.is_empty() {
            let Some(body) = &mut self.body else { break };
            let read = match next(body, self.decoder.done(), &mut self.read_on).await {
                Some(Ok(_)) if self.decoder.done() => continue,
                Some(Ok(bytes)) => self.decoder.feed(&bytes, &mut events),
                Some(Err(failure)) => {
                    self.body = None;
                    // A connection that breaks behind the answer's end harms nothing; before it, the usage so far is worth keeping.
                    self.decoder.end(&mut events).map_err(|known| Failure { usage: known.usage, ..failure })
                }
                None => {
                    self.body = None;
                    self.decoder.end(&mut events)
                }
            };
            if let Err(failure) = read {
                self.body = None;
                self.failure = Some(known(failure, self.status, &self.request_id, self.shown.as_ref()));
                break;
            }
        }
        self.ready.extend(events);
    }
}

fn events(
    decoder: Box<dyn Decoder>,
    body: BodyStream,
    status: u16,
    request_id: String,
    shown: Option<Secret>,
) -> BoxStream<'static, Result<CompletionEvent, Failure>> {
    let reading = Reading {
        decoder,
        body: Some(body),
        ready: VecDeque::new(),
        failure: None,
        read_on: None,
        status,
        request_id,
        shown,
    };
    futures::stream::unfold(reading, |mut reading| async move {
        if reading.ready.is_empty() && reading.failure.is_none() {
            reading.fill().await;
        }
        if let Some(event) = reading.ready.pop_front() {
            return Some((Ok(event), reading));
        }
        let failure = reading.failure.take()?;
        reading.body = None;
        Some((Err(failure), reading))
    })
    .boxed()
}
