//! Answers of sound and images: whole with all that headers can tell, or as they come. Those of OpenAI's dialect pass as they are.

use std::io;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::json;
use tokio::time::timeout;
use tollgate_proto::v1::{
    CreateSpeechResponse, CreateTranscriptionResponse, EditImageResponse, Receipt, Routing, Started,
    StreamImageResponse, StreamedImage, Transcript, Usage, create_speech_response::Event as Spoken,
    create_transcription_response::Event as Heard, edit_image_response::Event as Edited,
    stream_image_response::Event as Drawn,
};
use tonic::{Status, Streaming, metadata::MetadataMap};

use super::write::{Shape, Writer};
use crate::{
    chat,
    error::Refusal,
    quota,
    stream::{KEEP_ALIVE, data},
};

/// What a message of an answer tells.
pub(super) enum Told {
    Started(Started, String),
    Native(Bytes),
    Audio(Bytes),
    Delta(String),
    Transcript(Transcript),
    Image(StreamedImage),
    Usage(Usage),
    Routing(Routing),
    Receipt(Receipt),
    Nothing,
}

impl Told {
    /// Whether it is said in the contract's words, for want of the caller's.
    fn is_foreign(&self) -> bool {
        matches!(self, Self::Audio(_) | Self::Delta(_) | Self::Transcript(_) | Self::Image(_))
    }
}

/// A message of an answer.
pub(super) trait Tells: Send + 'static {
    fn told(self) -> Told;
}

macro_rules! tells {
    ($($response:ident: $event:ident { $($told:ident),* })+) => {
        $(
            impl Tells for $response {
                fn told(self) -> Told {
                    match self.event {
                        Some($event::Started(started)) => Told::Started(started, self.content_type),
                        Some($event::Native(bytes)) => Told::Native(bytes),
                        Some($event::Usage(usage)) => Told::Usage(usage),
                        Some($event::Routing(routing)) => Told::Routing(routing),
                        Some($event::Receipt(receipt)) => Told::Receipt(receipt),
                        $(Some($event::$told(told)) => Told::$told(told),)*
                        None => Told::Nothing,
                    }
                }
            }
        )+
    };
}

tells! {
    CreateSpeechResponse: Spoken { Audio }
    CreateTranscriptionResponse: Heard { Delta, Transcript }
    StreamImageResponse: Drawn { Image }
    EditImageResponse: Edited { Image }
}

/// How an answer is passed on that is no stream of events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// When all of it is there.
    Whole,
    /// As it comes.
    AsItComes,
    /// As it comes, and its receipt behind it: the caller takes trailers.
    WithTrailer,
    /// When all of it is there, unless it has more bytes than this: its receipt is in a header.
    WithHeader(usize),
}

/// What an answer tells, message by message.
type Answer = BoxStream<'static, Result<Told, Status>>;

/// The provider's answer as it came, or as `shape` has it where the provider speaks another dialect.
pub(super) async fn respond<T: Tells>(
    mut messages: Streaming<T>,
    metadata: MetadataMap,
    passed: Passed,
    shape: impl FnOnce() -> Shape,
) -> Result<Response, Refusal> {
    let Some(Told::Started(started, content_type)) = messages.next().await.transpose()?.map(Tells::told) else {
        return Err(Status::internal("the answer ended before its beginning").into());
    };
    let first = messages.next().await.transpose()?.map(Tells::told);
    let mut writer = match first.as_ref().is_some_and(Told::is_foreign) {
        true => Writer::new(shape(), &started),
        false => Writer::Native,
    };
    let mut answer = stream::iter(first.map(Ok)).chain(messages.map(|message| message.map(Tells::told))).boxed();
    let content_type = writer.content_type().map_or(content_type, str::to_owned);
    let is_events = content_type.starts_with("text/event-stream");
    let kind = HeaderValue::try_from(content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let most = match passed {
        _ if is_events => 0,
        Passed::Whole => usize::MAX,
        Passed::WithHeader(most) => most,
        Passed::AsItComes | Passed::WithTrailer => 0,
    };
    let (mut body, mut usage, mut routing, mut receipt) = (BytesMut::new(), None, None, None);
    let mut is_whole = false;
    while most > 0 && body.len() <= most {
        match answer.next().await.transpose()? {
            Some(Told::Usage(told)) => usage = Some(told),
            Some(Told::Routing(told)) => routing = Some(told),
            Some(Told::Receipt(told)) => receipt = Some(told),
            Some(told) => body.extend_from_slice(&writer.told(told)),
            None => {
                is_whole = true;
                break;
            }
        }
    }
    if is_whole {
        let mut headers = chat::told(&metadata, Some(&started), routing.as_ref(), usage.as_ref());
        chat::tell_receipt(&mut headers, receipt.as_ref());
        let (body, own) = writer.whole(body.freeze(), usage);
        headers.insert(header::CONTENT_TYPE, own.map_or(kind, HeaderValue::from_static));
        return Ok((headers, Body::from(body)).into_response());
    }
    let mut headers = HeaderMap::new();
    quota::tell(&mut headers, &metadata);
    chat::tell(&mut headers, Some(&started), None);
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let body = match is_events {
        true => Body::from_stream(events(answer, writer)),
        false => {
            if passed == Passed::WithTrailer {
                headers.insert(header::TRAILER, HeaderValue::from_static(chat::RECEIPT));
            }
            Body::new(StreamBody::new(frames(body.freeze(), answer, writer)))
        }
    };
    Ok((headers, body).into_response())
}

/// Bytes as they come, behind those that are there. The body owns the call: dropping the one ends the other. It ends once the call is
/// settled, with its receipt in the trailer. Sound that ended as if it were complete would be believed: where it breaks, the connection
/// does, too.
fn frames(
    begun: Bytes,
    mut answer: Answer,
    mut writer: Writer,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static {
    async_stream::stream! {
        if !begun.is_empty() {
            yield Ok(Frame::data(begun));
        }
        while let Some(told) = answer.next().await {
            match told {
                Ok(Told::Receipt(receipt)) => {
                    let mut trailers = HeaderMap::new();
                    chat::tell_receipt(&mut trailers, Some(&receipt));
                    yield Ok(Frame::trailers(trailers));
                }
                Ok(told) => {
                    let bytes = writer.told(told);
                    if !bytes.is_empty() {
                        yield Ok(Frame::data(bytes));
                    }
                }
                Err(status) => {
                    yield Err(io::Error::other(status.message().to_owned()));
                    return;
                }
            }
        }
    }
}

/// The answer's events as they come, and behind them one of the gateway's own where it was asked for what that tells. An event tells of
/// a break, too.
fn events(mut answer: Answer, mut writer: Writer) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    async_stream::stream! {
        let mut held = Bytes::new();
        // Whether the provider's last event has its end.
        let mut is_ended = true;
        loop {
            let next = match timeout(KEEP_ALIVE, answer.next()).await {
                Ok(next) => next,
                Err(_) => {
                    yield Ok(Bytes::from_static(b": keep-alive\n\n"));
                    continue;
                }
            };
            let mut out = BytesMut::new();
            if !is_ended {
                out.extend_from_slice(b"\n\n");
            }
            let nothing = out.len();
            match next {
                Some(Ok(Told::Routing(routing))) => tell(&mut out, "route", &routing.in_words()),
                Some(Ok(Told::Receipt(receipt))) => tell(&mut out, "receipt", &chat::receipt_text(&receipt)),
                Some(Ok(told)) => {
                    let mut bytes = writer.told(told);
                    if bytes.is_empty() {
                        continue;
                    }
                    is_ended = bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n");
                    let end = std::mem::replace(&mut held, bytes.split_off(bytes.len() - last_word(&bytes)));
                    for bytes in [end, bytes] {
                        if !bytes.is_empty() {
                            yield Ok(bytes);
                        }
                    }
                }
                Some(Err(status)) => {
                    data(Refusal::from(status).event().as_bytes(), &mut out);
                    yield Ok(out.freeze());
                    return;
                }
                None => {
                    if !held.is_empty() {
                        yield Ok(held);
                    }
                    return;
                }
            }
            if out.len() > nothing {
                is_ended = true;
                yield Ok(out.freeze());
            }
        }
    }
}

/// What the gateway itself has to tell.
fn tell(out: &mut BytesMut, name: &str, what: &str) {
    out.extend_from_slice(b"event: tollgate\n");
    data(json!({"type": "tollgate", name: what}).to_string().as_bytes(), out);
}

/// How many bytes of a stream's own last word these end with: whoever reads it reads no further, so that it comes behind everything.
fn last_word(bytes: &[u8]) -> usize {
    const DONE: &[u8] = b"data: [DONE]";
    let text = bytes.trim_ascii_end();
    if text.ends_with(DONE) { bytes.len() - text.len() + DONE.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_stream_is_known_by_its_line() {
        assert_eq!(last_word(b"data: {}\n\ndata: [DONE]\n\n"), 14);
        assert_eq!(last_word(b"data: [DONE]"), 12);
        assert_eq!(last_word(b"data: {\"type\": \"[DONE]\"}\n\n"), 0);
        assert_eq!(last_word(b""), 0);
    }
}
