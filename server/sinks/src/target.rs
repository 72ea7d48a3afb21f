use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode};
use tollgate_outbound::{Answer, PostError, Poster};

use crate::Event;

/// Why a receiver did not take everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It may later; `after`: what it asks for.
    Later { reason: String, after: Option<Duration> },
    /// It never will: the batch, or a record in it, is wrong in its eyes.
    Refused(String),
}

/// How a sending ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// So many of the first are dealt with.
    pub(crate) done: usize,
    /// So many of those it refused for good.
    pub(crate) refused: usize,
    /// Why it took no more; `None`: it took all.
    pub(crate) why: Option<Why>,
}

impl Report {
    /// All are taken.
    pub(crate) fn all(batch: &[Event]) -> Self {
        Self { done: batch.len(), ..Self::default() }
    }

    /// None is taken.
    pub(crate) fn none(why: Why) -> Self {
        Self { why: Some(why), ..Self::default() }
    }
}

/// A receiver of events.
#[async_trait]
pub(crate) trait Target: Send + Sync {
    /// Sends a batch, which is never empty. `limit` is for each request: what was taken before one that is late stays taken.
    async fn send(&self, batch: &[Event], limit: Duration) -> Report;

    /// Whether an event says anything to this receiver.
    fn wants(&self, _event: &Event) -> bool {
        true
    }
}

/// Sends a request for each event, until one may pass later. An event of which no request can be made is refused.
pub(crate) async fn one_by_one(
    poster: &Poster,
    batch: &[Event],
    limit: Duration,
    request: impl Fn(&Event) -> http::Result<Request<Bytes>> + Sync,
) -> Report {
    let mut report = Report::default();
    for event in batch {
        let Ok(request) = request(event) else {
            report = Report { done: report.done + 1, refused: report.refused + 1, why: None };
            continue;
        };
        match judged(poster.send(request, limit).await) {
            Ok(_) => {}
            Err(Why::Refused(_)) => report.refused += 1,
            Err(why) => return Report { why: Some(why), ..report },
        }
        report.done += 1;
    }
    report
}

/// `Ok`: taken, with the answer. A request that is wrong (400, 413, 415, 422) is refused; all else may pass: also a key that is not accepted
/// or an address that is not there, which an operator can put right.
pub(crate) fn judged(answer: Result<Answer, PostError>) -> Result<Answer, Why> {
    let answer = answer.map_err(|error| Why::Later { reason: error.to_string(), after: None })?;
    if answer.status.is_success() {
        return Ok(answer);
    }
    let reason = format!("{}: {}", answer.status, answer.excerpt());
    Err(match answer.status {
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Why::Refused(reason),
        _ => Why::Later { reason, after: answer.retry_after() },
    })
}
