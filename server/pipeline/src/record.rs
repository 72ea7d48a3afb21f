use std::sync::Arc;

use tokio::time::Instant;
use tollgate_audit::{BodyHmac, Draft, Notary};
use tollgate_domain::Error;
use tollgate_ledger::End;
use tollgate_proto::v1::{AuditRecord, ErrorReason, Receipt};
use tollgate_trace::Trace;

use crate::{Call, Caller, Pipeline, Settler, settle::Unfinished, told};

/// The audit record of a call in progress: closed once, by its owner or, when the caller goes, by the settler.
pub(crate) struct Record {
    draft: Option<Draft>,
    started: Instant,
    settler: Settler,
    trace: Trace,
    /// Who calls, once that is known.
    pub(crate) who: Option<Caller>,
}

impl Record {
    /// The draft, to note things on.
    pub(crate) fn draft(&mut self) -> &mut Draft {
        // Taken only by what consumes or drops the record.
        self.draft.get_or_insert_with(|| Draft::open("unknown", None))
    }

    /// Microseconds since the call began.
    pub(crate) fn elapsed_us(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// Closes the record into `end`, which is journalled with it. Returns the journal's sequence, and the record as it stands there.
    pub(crate) fn close_with(mut self, mut end: End, error: Option<&Error>) -> (u64, Option<Arc<AuditRecord>>) {
        end.record = self.closed(error);
        self.settler.ledger().end_on_record(end)
    }

    /// The record, closed; `None`: it was closed before. What it says is logged and traced.
    fn closed(&mut self, error: Option<&Error>) -> Option<AuditRecord> {
        let record = self.draft.take()?.close(error, self.elapsed_us());
        told::call(&record, self.who.as_ref(), &self.trace);
        Some(record)
    }

    /// Passes a result on; an error closes the record first.
    pub(crate) fn try_or_close<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && let Some(record) = self.closed(Some(error))
            && !tollgate_planted::bug("refusals_unrecorded")
        {
            self.settler.ledger().end(End { record: Some(record), ..End::default() });
        }
        result
    }
}

/// The receipt of a record, where there is who signs.
pub(crate) fn receipt(notary: Option<&Notary>, record: Option<&AuditRecord>) -> Option<Receipt> {
    Some(notary?.receipt(record?))
}

impl Drop for Record {
    fn drop(&mut self) {
        let error = Error::new(ErrorReason::Cancelled, "the caller went away");
        if let Some(record) = self.closed(Some(&error)) {
            self.settler.hand_over(Unfinished::Record(Box::new(record)));
        }
    }
}

impl Pipeline {
    /// Opens the record of a call: before anything is decided about it.
    pub(crate) fn open_record(&self, call: &Call) -> Record {
        let mut draft = Draft::open(call.action, call.peer.as_deref());
        draft.call(call.id, call.model(), call.options());
        let mut hash = BodyHmac::new(&self.audit_key);
        hash.update(&call.body());
        draft.request_hmac(hash.finish());
        Record {
            draft: Some(draft),
            started: Instant::now(),
            settler: self.settler.clone(),
            trace: call.trace.clone(),
            who: None,
        }
    }
}
