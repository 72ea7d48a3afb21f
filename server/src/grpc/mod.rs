//! The doors: validate, call one room, map the error. The layers around them are in [`stack`].

mod audit;
mod budget;
mod completion;
mod deadline;
mod file;
mod key_admin;
mod media;
mod model;
mod quota;
mod response;
mod rpc;
mod stack;
mod status;
mod tenancy;
mod trace;
mod unary;
mod upload;
mod validate;

use std::sync::Arc;

use futures::{Stream, StreamExt, stream::BoxStream};
use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Status};

pub(crate) use file::Lines;
pub(crate) use stack::call;
pub use stack::{Doors, Grpc, stack};
use tollgate_control::{Control, Principal};
use tollgate_domain::{CallId, Error, Retry, Secret};
use tollgate_pipeline::{Billed, Call, Pipeline, QuotaCell, Request};
use tollgate_proto::v1::ErrorReason;

pub use deadline::Deadline;

/// What records say of the peer's address, put into every request by the listener.
#[derive(Clone, Debug)]
pub struct PeerAddr(pub Option<String>);

/// What the doors lead to.
#[derive(Clone)]
pub(crate) struct Rooms {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) control: Arc<Control>,
    pub(crate) max_upload_bytes: u64,
}

/// Who acts, as the request says.
fn principal<T>(request: &tonic::Request<T>) -> Principal {
    let bearer = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
    let key = bearer.and_then(|text| {
        let (scheme, key) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(key.trim()))
    });
    let peer = request.extensions().get::<PeerAddr>().and_then(|peer| peer.0.clone());
    Principal { credential: key, peer }
}

/// A call, as it comes through a door.
fn call_of(action: &'static str, who: Principal, extensions: &Extensions, request: Request) -> Call {
    Call {
        id: CallId::new(),
        action,
        credential: who.credential,
        peer: who.peer,
        deadline: extensions.get::<Deadline>().map(|d| d.0),
        request,
        files: None,
        again: None,
        quota: QuotaCell::default(),
        billed: Billed::default(),
        trace: extensions.get::<trace::Incoming>().map(trace::Incoming::begin).unwrap_or_default(),
    }
}

/// A stream that never ends by itself, ended by the first error or by the shutdown.
fn until_shutdown<T: Send + 'static>(
    responses: impl Stream<Item = Result<T, Status>> + Send + 'static,
    shutdown: CancellationToken,
    instead: &'static str,
) -> BoxStream<'static, Result<T, Status>> {
    let closing = futures::stream::once(async move {
        shutdown.cancelled_owned().await;
        let message = format!("the gateway is shutting down; {instead}");
        Err(status::status(Error::new(ErrorReason::Overloaded, message).retry(Retry::Later)))
    });
    let both = futures::stream::select(responses, closing).scan(false, |ended, item| {
        let go_on = !*ended;
        *ended = item.is_err();
        futures::future::ready(go_on.then_some(item))
    });
    both.boxed()
}
