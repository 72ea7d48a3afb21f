use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use tollgate_audit::{Draft, Notary};
use tollgate_domain::Error;
use tollgate_ledger::{Before, End, Ledger};
use tollgate_metrics::{Ended, Metrics, Payer};
use tollgate_proto::v1::{AuditRecord, ErrorReason, Receipt};
use tollgate_router::Table;
use tollgate_trace::Trace;

use crate::{
    Call, Caller, Pipeline, Settler,
    bodies::{Passing, Whose},
    settle::Unfinished,
    told,
};

/// A refusal waits no longer than this for its record to be durable.
const DURABLE_WITHIN: Duration = Duration::from_secs(2);

/// The audit record of a call in progress: closed once, by its owner or, when the caller goes, by the settler.
pub(crate) struct Record {
    draft: Option<Draft>,
    // In boxes: a record is part of every call's future.
    bodies: Option<Box<Passing>>,
    witness: Option<Box<Witness>>,
    started: Instant,
    settler: Settler,
    /// Signs a receipt for it, where the call wants one.
    notary: Option<Arc<Notary>>,
}

/// Who else hears what a record says: counts, the log and traces.
struct Witness {
    trace: Trace,
    /// Who calls, once that is known.
    caller: Option<Caller>,
    /// When the call had passed limits and budgets, in microseconds since it began.
    admitted_us: Option<i64>,
    /// Whether it gets the answer of an earlier call.
    replayed: bool,
    metrics: Arc<Metrics>,
    /// In force when it began.
    table: Arc<Table>,
}

impl Witness {
    fn hear(&self, record: &AuditRecord, error: Option<&Error>) {
        let key = self.caller.as_ref().map(Caller::key);
        let payer = key.map_or(Payer::default(), |key| Payer { team: &key.team_id, key: &key.id, user: &key.user_id });
        let known_as = |model: &str| self.table.known_as(model);
        let (admitted_us, replayed) = (self.admitted_us, self.replayed);
        self.metrics.ended(&Ended { record, error, known_as: &known_as, payer, admitted_us, replayed });
        told::call(record, self.caller.as_ref(), &self.trace);
    }
}

/// A record that its owner gave up.
pub(crate) struct Unclosed {
    draft: Draft,
    bodies: Option<Box<Passing>>,
    witness: Option<Box<Witness>>,
    elapsed_us: i64,
}

impl Unclosed {
    /// Closes it, with what is kept of its bodies.
    fn close(self, end: &mut End, error: Option<&Error>) {
        let Self { mut draft, bodies, witness, elapsed_us } = self;
        if let Some(closed) = bodies.map(|bodies| bodies.close()) {
            draft.bodies(closed.request_commitment, closed.answer_commitment, closed.told);
            end.body = closed.kept;
        }
        let record = draft.close(error, elapsed_us);
        if let Some(witness) = witness {
            witness.hear(&record, error);
        }
        end.record = Some(record);
    }

    /// How it ends when the caller goes.
    pub(crate) fn abandoned(self) -> End {
        let mut end = End::default();
        self.close(&mut end, Some(&Error::new(ErrorReason::Cancelled, "the caller went away")));
        end
    }
}

impl Record {
    /// The draft, to note things on.
    pub(crate) fn draft(&mut self) -> &mut Draft {
        // Taken only by what consumes or drops the record.
        self.draft.get_or_insert_with(|| Draft::open("unknown", None))
    }

    /// The bodies of the call, while they pass.
    pub(crate) fn bodies(&mut self) -> Option<&mut Passing> {
        self.bodies.as_deref_mut()
    }

    /// It is known whose the call is.
    pub(crate) fn belongs_to(&mut self, whose: Whose) {
        if let Some(bodies) = &mut self.bodies {
            bodies.belongs_to(whose);
        }
    }

    /// Who calls is known.
    pub(crate) fn of(&mut self, caller: &Caller) {
        if let Some(witness) = &mut self.witness {
            witness.caller = Some(caller.clone());
        }
    }

    /// The call has passed limits and budgets.
    pub(crate) fn admitted(&mut self) {
        let elapsed = self.elapsed_us();
        if let Some(witness) = &mut self.witness {
            witness.admitted_us = Some(elapsed);
        }
    }

    /// The call gets the answer of an earlier one, under its idempotency key.
    pub(crate) fn replays(&mut self, call_id: &str) {
        self.draft().subject(call_id, vec!["replayed: the idempotency key was seen before".into()]);
        if let Some(witness) = &mut self.witness {
            witness.replayed = true;
        }
    }

    /// Microseconds since the call began.
    pub(crate) fn elapsed_us(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn take(&mut self) -> Option<Unclosed> {
        let elapsed_us = self.elapsed_us();
        let draft = self.draft.take()?;
        Some(Unclosed { draft, bodies: self.bodies.take(), witness: self.witness.take(), elapsed_us })
    }

    /// Closes the record into `end`, which is journalled with it. Returns the journal's sequence, and the promise that the log holds the
    /// record: to be given out when that sequence is durable.
    pub(crate) fn close_with(mut self, end: End, error: Option<&Error>) -> (u64, Option<Receipt>) {
        self.close(end, error)
    }

    fn close(&mut self, mut end: End, error: Option<&Error>) -> (u64, Option<Receipt>) {
        if let Some(open) = self.take() {
            open.close(&mut end, error);
        }
        let (sequence, record) = self.settler.ledger().end_on_record(end);
        // Strangers get none: a position in the log tells how busy the gateway is.
        let record = record.filter(|record| !record.key_id.is_empty());
        let receipt = record.and_then(|record| self.notary.as_ref()?.receipt(&record));
        (sequence, receipt)
    }

    /// Passes a result on; an error closes the record first.
    pub(crate) async fn try_or_close<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        match result {
            Ok(passed) => Ok(passed),
            // In a box: it is part of every call's future, and of few calls' lives.
            Err(error) => Err(Box::pin(self.refuse(error)).await),
        }
    }

    async fn refuse(&mut self, mut error: Error) -> Error {
        if self.draft.is_none() {
            return error;
        }
        if tollgate_planted::bug("refusals_unrecorded") {
            drop(self.take());
            return error;
        }
        let (sequence, receipt) = self.close(End::default(), Some(&error));
        promise(self.settler.ledger(), sequence, receipt, &mut error).await;
        error
    }
}

/// Has an error carry a receipt, once what that promises is as durable as configured: in time, or it is told without.
pub(crate) async fn promise(ledger: &Ledger, sequence: u64, receipt: Option<Receipt>, error: &mut Error) {
    let Some(receipt) = receipt else { return };
    if timeout(DURABLE_WITHIN, ledger.durable(sequence, Before::LastFrame)).await.is_ok() {
        error.receipt = Some(Box::new(receipt));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(open) = self.take() {
            self.settler.hand_over(Unfinished::Record(Box::new(open)));
        }
    }
}

impl Pipeline {
    /// Journals the end of something that is no call. Once that is as durable as configured: the promise that the log holds its record,
    /// where it is wanted.
    pub async fn end(&self, end: End, wants_receipt: bool) -> Option<Receipt> {
        let (sequence, record) = self.ledger.end_on_record(end);
        self.ledger.durable(sequence, Before::LastFrame).await;
        self.promised(wants_receipt, record.as_deref())
    }

    /// The same of what failed.
    pub async fn end_failed(&self, end: End, wants_receipt: bool, mut error: Error) -> Error {
        let (sequence, record) = self.ledger.end_on_record(end);
        let receipt = self.promised(wants_receipt, record.as_deref());
        promise(&self.ledger, sequence, receipt, &mut error).await;
        error
    }

    fn promised(&self, is_wanted: bool, record: Option<&AuditRecord>) -> Option<Receipt> {
        let record = record.filter(|record| is_wanted && !record.key_id.is_empty())?;
        self.notary.as_ref()?.receipt(record)
    }

    /// Opens the record of a call: before anything is decided about it.
    pub(crate) fn open_record(&self, call: &Call) -> Record {
        let mut draft = Draft::open(call.action, call.peer.as_deref());
        draft.call(call.id, call.model(), call.options());
        let witness = Box::new(Witness {
            trace: call.trace.clone(),
            caller: None,
            admitted_us: None,
            replayed: false,
            metrics: self.metrics.clone(),
            table: self.table(),
        });
        Record {
            draft: Some(draft),
            bodies: Some(Box::new(Passing::open(&self.bodies, call))),
            witness: Some(witness),
            started: Instant::now(),
            settler: self.settler.clone(),
            notary: self.notary.clone().filter(|_| call.wants_receipt()),
        }
    }
}
