//! Sound and images: the same stages as a completion's, with files on the way there and bytes on the way back.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use prost::Message;
use tollgate_bodies::Digest;
use tollgate_domain::{Error, Failure};
use tollgate_ledger::Before;
use tollgate_proto::v1::{Receipt, Routing, Started, StreamedImage, Transcript, Usage};
use tollgate_providers::{
    exchange::{self, MediaAnswering},
    media::{MediaAsk, MediaCall, MediaEvent},
    upload::{Parts, Upload},
};
use tollgate_router::Deployment;

use crate::{
    Call, Pipeline, Reply,
    bodies::Filed,
    call::Request,
    flow::{Closed, Ending, FlowState},
    idempotency::Kept,
    limit::Passed,
    permit::Permit,
    record::Record,
    reserve::Reservation,
    send::{broken, identify},
    told,
};

/// What an answer tells, in order.
#[derive(Clone, Debug)]
pub enum MediaTold {
    /// Who serves it, and the media type of its answer; first.
    Started(Started, String),
    /// The next bytes of the answer, as they came.
    Native(Bytes),
    /// The next bytes of sound.
    Audio(Bytes),
    /// The next words.
    Delta(String),
    /// The whole transcript.
    Transcript(Transcript),
    /// An image, or what is there of it.
    Image(StreamedImage),
    /// What it consumed.
    Usage(Usage),
    /// How it was routed, where it is asked for.
    Routing(Routing),
    /// The audit log's promise, where it is asked for; last.
    Receipt(Receipt),
}

impl Kept for MediaTold {
    fn size(&self) -> usize {
        match self {
            Self::Started(started, content_type) => started.encoded_len() + content_type.len(),
            Self::Native(bytes) | Self::Audio(bytes) => bytes.len(),
            Self::Delta(text) => text.len(),
            Self::Transcript(transcript) => transcript.encoded_len(),
            Self::Image(image) => image.encoded_len(),
            Self::Usage(usage) => usage.encoded_len(),
            Self::Routing(routing) => routing.encoded_len(),
            Self::Receipt(receipt) => receipt.encoded_len(),
        }
    }
}

/// The files of a call, and the digest of them that its record commits to.
#[derive(Clone)]
pub struct Files {
    pub(crate) upload: Upload,
    /// Runs over the request and every byte of its files.
    witness: Arc<Mutex<Witness>>,
}

#[derive(Default)]
struct Witness {
    digest: Digest,
    filed: Filed,
    /// No more than this is kept of the files.
    room: usize,
}

impl Files {
    /// So much of them is kept.
    fn keep(&self, room: usize) {
        self.witness.lock().room = room;
    }

    /// The digest of the request and its files, and what is kept of them; `None`: not all of them came.
    pub(crate) fn passed(&self) -> Option<([u8; 32], Filed)> {
        let Witness { digest, filed, .. } = std::mem::take(&mut *self.witness.lock());
        self.upload.is_whole().then(|| (digest.finish(), filed))
    }
}

impl Pipeline {
    /// The files of a call about to be made: at most `most_bytes` in at most `most_files`.
    pub fn files(&self, request: &Request, parts: Parts, most_bytes: u64, most_files: u64) -> Files {
        let mut begun = Witness::default();
        begun.digest.update(&request.body());
        let witness = Arc::new(Mutex::new(begun));
        let seen = witness.clone();
        let see = Box::new(move |bytes: &[u8]| {
            let Witness { digest, filed, room } = &mut *seen.lock();
            digest.update(bytes);
            filed.bytes = filed.bytes.saturating_add(bytes.len() as u64);
            let left = room.saturating_sub(filed.kept.len());
            filed.kept.extend_from_slice(&bytes[..bytes.len().min(left)]);
        });
        Files { upload: Upload::new(parts, most_bytes, most_files, see), witness }
    }

    /// The life of a call of sound or images: the stages of a completion.
    pub async fn media(self: &Arc<Self>, call: Call) -> Result<Reply<MediaTold>, Error> {
        self.enter(&self.media, call, Self::serve_media).await
    }

    async fn serve_media(
        self: Arc<Self>,
        permit: Permit,
        mut call: Call,
        mut record: Record,
    ) -> Result<Reply<MediaTold>, Error> {
        let limits = call.trace.stage("limits");
        let passed = record.try_or_close(told::ended(limits, self.pass(&permit, &call).await)).await?;
        if let Some(files) = &call.files {
            files.keep(record.bodies().map_or(0, |bodies| bodies.room_for_files()));
            // What is small is known whole before money is held for it.
            record.try_or_close(files.upload.begin().await).await?;
            if let (Request::Transcription(head), true) = (&mut call.request, files.upload.is_whole()) {
                Arc::make_mut(head).upload_bytes = i64::try_from(files.upload.taken()).ok();
            }
        }
        let reserving = call.trace.stage("reserve");
        let reserved = told::ended(reserving, self.reserve(permit, &call).await);
        let reservation = record.try_or_close(reserved).await?;
        self.send_media(reservation, passed, call, record).await
    }

    /// Attempts until one answers, then its events. After the first of them the answer breaks with the provider's.
    async fn send_media(
        &self,
        reservation: Reservation,
        passed: Passed,
        call: Call,
        record: Record,
    ) -> Result<Reply<MediaTold>, Error> {
        let mut flow = self.flow(reservation, passed, call, record);
        let mut last = None;
        let (deployment, mut answering, first) = loop {
            let (deployment, id) = flow.next_attempt(last).await?;
            let failure = match open(flow.state(), &deployment, &id).await {
                Ok((answering, first)) => break (deployment, answering, first),
                Err(failure) => failure,
            };
            let upload = flow.state().call.files.as_ref().map(|files| files.upload.clone());
            // What the caller did not send, no provider failed at.
            if let Some(error) = upload.as_ref().and_then(Upload::error) {
                return Err(flow.fail(Ending::Free, "upload", error).await);
            }
            flow.state().attempt_failed(&failure);
            if upload.is_some_and(|upload| upload.is_lost()) {
                let attempts = flow.state().attempt_number();
                let error = failure.into_error(&deployment.provider, &deployment.name, attempts);
                return Err(flow.end_with(error.with("retryDenied", "UPLOAD_SENT")).await);
            }
            last = Some((deployment, failure));
        };
        let content_type = std::mem::take(&mut answering.content_type);
        let mut started = Started::default();
        let state = flow.state();
        state.answers_with(&content_type);
        started.response_id = state.call.id.to_string();
        identify(&mut started, state, &deployment, self.clock.now_us() / 1_000_000);
        let ledger = self.ledger.clone();
        Ok(async_stream::stream! {
            yield Ok(MediaTold::Started(started, content_type));
            let mut usage = None;
            let mut first = first;
            loop {
                let event = match first.take() {
                    Some(event) => Some(Ok(event)),
                    None => answering.events.next().await,
                };
                match event {
                    Some(Ok(MediaEvent::Usage(told))) => usage = Some(told),
                    Some(Ok(event)) => {
                        let told = passed_on(event);
                        if let Some(told) = told {
                            flow.state().observe_media(&told);
                            yield Ok(told);
                        }
                    }
                    Some(Err(failure)) => {
                        yield Err(broken(flow, &deployment, failure).await);
                        return;
                    }
                    None => break,
                }
            }
            // Settled, and as durable as configured, before the last frame.
            let wants_routing = flow.state().call.wants_routing();
            let settling = flow.state().call.trace.stage("settle");
            let Closed { usage: total, routing, sequence, receipt } = flow.complete(usage);
            ledger.durable(sequence, Before::LastFrame).await;
            drop(settling);
            yield Ok(MediaTold::Usage(total));
            if wants_routing {
                yield Ok(MediaTold::Routing(routing));
            }
            if let Some(receipt) = receipt {
                yield Ok(MediaTold::Receipt(receipt));
            }
        }
        .boxed())
    }
}

/// What is passed on as it is.
fn passed_on(event: MediaEvent) -> Option<MediaTold> {
    Some(match event {
        MediaEvent::Native(bytes) => MediaTold::Native(bytes),
        MediaEvent::Audio(bytes) => MediaTold::Audio(bytes),
        MediaEvent::Delta(text) => MediaTold::Delta(text),
        MediaEvent::Transcript(transcript) => MediaTold::Transcript(transcript),
        MediaEvent::Image(image) => MediaTold::Image(image),
        MediaEvent::Usage(_) => return None,
    })
}

/// Sends the call and reads up to its first content.
async fn open(
    state: &mut FlowState,
    deployment: &Deployment,
    attempt_id: &str,
) -> Result<(MediaAnswering, Option<MediaEvent>), Failure> {
    let request = state.call.request.clone();
    let Some(ask) = request.media() else {
        return Err(Failure::new(tollgate_domain::Class::InvalidRequest, "not a call of sound or images"));
    };
    let upload = state.call.files.as_ref().map(|files| files.upload.clone());
    let want_native = state.call.options().is_some_and(|options| options.want_native != 0);
    let traceparent = state.traceparent();
    let call = MediaCall {
        ask,
        upload: upload.as_ref(),
        held: &[],
        want_native,
        drop_params: state.call.drops_params(deployment),
        output_cap: Some(state.most_output(deployment)),
        attempt_id,
        traceparent: traceparent.as_ref(),
    };
    state.sends();
    let mut answering = exchange::media(&deployment.endpoint, &call).await?;
    state.head(&answering.head);
    state.dropped_fields = std::mem::take(&mut answering.dropped);
    let first = answering.events.next().await.transpose()?;
    Ok((answering, first))
}

impl Request {
    /// As providers of sound and images are asked; `None`: it is another operation.
    fn media(&self) -> Option<MediaAsk<'_>> {
        Some(match self {
            Self::Speech(request) => MediaAsk::Speech(request),
            Self::Transcription(head) => MediaAsk::Transcription(head),
            Self::ImageStream(request) => MediaAsk::ImageStream(request),
            Self::ImageEdit(head) => MediaAsk::ImageEdit(head),
            _ => return None,
        })
    }
}
