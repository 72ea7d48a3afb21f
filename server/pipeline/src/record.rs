use std::sync::Arc;

use tokio::time::Instant;
use tollgate_audit::{BodyHmac, Draft, Notary};
use tollgate_domain::Error;
use tollgate_ledger::End;
use tollgate_metrics::{Ended, Metrics, Payer};
use tollgate_proto::v1::{AuditRecord, ErrorReason, Receipt};
use tollgate_router::Table;
use tollgate_trace::Trace;

use crate::{Call, Caller, Pipeline, Settler, settle::Unfinished, told};

/// The audit record of a call in progress: closed once, by its owner or, when the caller goes, by the settler.
pub(crate) struct Record {
    draft: Option<Draft>,
    started: Instant,
    settler: Settler,
    trace: Trace,
    /// Who calls, once that is known.
    caller: Option<Caller>,
    /// When it had passed limits and budgets, in microseconds since it began.
    admitted_us: Option<i64>,
    metrics: Arc<Metrics>,
    /// In force when it began.
    table: Arc<Table>,
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

    /// Who calls is known.
    pub(crate) fn of(&mut self, caller: &Caller) {
        self.caller = Some(caller.clone());
    }

    /// The call has passed limits and budgets.
    pub(crate) fn admitted(&mut self) {
        self.admitted_us = Some(self.elapsed_us());
    }

    /// Closes the record into `end`, which is journalled with it. Returns the journal's sequence, and the record as it stands there.
    pub(crate) fn close_with(mut self, mut end: End, error: Option<&Error>) -> (u64, Option<Arc<AuditRecord>>) {
        end.record = self.closed(error);
        self.settler.ledger().end_on_record(end)
    }

    /// The record, closed; `None`: it was closed before. What it says is counted, logged and traced.
    fn closed(&mut self, error: Option<&Error>) -> Option<AuditRecord> {
        let record = self.draft.take()?.close(error, self.elapsed_us());
        let key = self.caller.as_ref().map(Caller::key);
        let payer = key.map_or(Payer::default(), |key| Payer { team: &key.team_id, key: &key.id, user: &key.user_id });
        let known_as = |model: &str| self.table.known_as(model);
        let (metrics, admitted_us) = (&self.metrics, self.admitted_us);
        metrics.ended(&Ended { record: &record, error, known_as: &known_as, payer, admitted_us });
        told::call(&record, self.caller.as_ref(), &self.trace);
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
        if self.draft.is_none() {
            return;
        }
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
            caller: None,
            admitted_us: None,
            metrics: self.metrics.clone(),
            table: self.table(),
        }
    }
}
