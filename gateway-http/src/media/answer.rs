//! Answers of sound and images: whole with all that headers can tell, or as they come.

use std::io;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::time::timeout;
use tollgate_proto::v1::{
    CreateSpeechResponse, CreateTranscriptionResponse, EditImageResponse, Routing, Started, StreamImageResponse, Usage,
    create_speech_response::Event as Spoken, create_transcription_response::Event as Heard,
    edit_image_response::Event as Edited, stream_image_response::Event as Drawn,
};
use tonic::{Status, Streaming, metadata::MetadataMap};

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
    Usage(Usage),
    Routing(Routing),
    Nothing,
}

/// A message of an answer.
pub(super) trait Tells: Send + 'static {
    fn told(self) -> Told;
}

macro_rules! tells {
    ($($response:ident: $event:ident),+ $(,)?) => {
        $(
            impl Tells for $response {
                fn told(self) -> Told {
                    match self.event {
                        Some($event::Started(started)) => Told::Started(started, self.content_type),
                        Some($event::Native(bytes)) => Told::Native(bytes),
                        Some($event::Usage(usage)) => Told::Usage(usage),
                        Some($event::Routing(routing)) => Told::Routing(routing),
                        _ => Told::Nothing,
                    }
                }
            }
        )+
    };
}

tells!(
    CreateSpeechResponse: Spoken,
    CreateTranscriptionResponse: Heard,
    StreamImageResponse: Drawn,
    EditImageResponse: Edited,
);

/// The provider's answer, as it came.
pub(super) async fn respond<T: Tells>(
    mut messages: Streaming<T>,
    metadata: MetadataMap,
    comes_as_it_is: bool,
) -> Result<Response, Refusal> {
    let Some(Told::Started(started, content_type)) = messages.next().await.transpose()?.map(Tells::told) else {
        return Err(Status::internal("the answer ended before its beginning").into());
    };
    let is_events = content_type.starts_with("text/event-stream");
    let kind = HeaderValue::try_from(content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    if is_events || comes_as_it_is {
        let mut headers = HeaderMap::new();
        quota::tell(&mut headers, &metadata);
        chat::tell(&mut headers, Some(&started), None);
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        return Ok((headers, streamed(messages, is_events)).into_response());
    }
    let (mut body, mut usage, mut routing) = (BytesMut::new(), None, None);
    while let Some(message) = messages.next().await {
        match message?.told() {
            Told::Native(bytes) => body.extend_from_slice(&bytes),
            Told::Usage(told) => usage = Some(told),
            Told::Routing(told) => routing = Some(told),
            Told::Started(..) | Told::Nothing => {}
        }
    }
    let mut headers = chat::told(&metadata, Some(&started), routing.as_ref(), usage.as_ref());
    headers.insert(header::CONTENT_TYPE, kind);
    Ok((headers, Body::from(body.freeze())).into_response())
}

/// The body owns the call: dropping the one ends the other. It ends once the call is settled. Where it breaks, events tell of it; sound
/// that ended as if it were complete would be believed, so the connection breaks as well.
fn streamed<T: Tells>(mut messages: Streaming<T>, is_events: bool) -> Body {
    Body::from_stream(async_stream::stream! {
        loop {
            let next = match timeout(KEEP_ALIVE, messages.next()).await {
                Ok(next) => next,
                Err(_) if is_events => {
                    yield Ok(Bytes::from_static(b": keep-alive\n\n"));
                    continue;
                }
                Err(_) => continue,
            };
            match next {
                Some(Ok(message)) => {
                    if let Told::Native(bytes) = message.told() {
                        yield Ok(bytes);
                    }
                }
                Some(Err(status)) if is_events => {
                    let mut out = BytesMut::new();
                    data(Refusal::from(status).body().as_bytes(), &mut out);
                    yield Ok(out.freeze());
                    return;
                }
                Some(Err(status)) => {
                    yield Err(io::Error::other(status.message().to_owned()));
                    return;
                }
                None => return,
            }
        }
    })
}
