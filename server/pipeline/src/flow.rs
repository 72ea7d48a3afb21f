//! A call that has money held: its attempts, what they consumed, and how it ends.
//!
//! [`Flow`] is owned by the reply. It ends in exactly one of three ways: [`Flow::complete`], [`Flow::fail`], or, when the caller goes,
//! by being dropped, which hands its state to the settler.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use prost::Message;
use tokio::{sync::mpsc, time::Instant};
use tollgate_domain::{Class, Error, Failure, NanoUsd, Price};
use tollgate_ledger::{Ask, At, End, Hold, Opening};
use tollgate_proto::{
    operation::Answered,
    v1::{
        Attempt, BodyPartKind, BudgetCharge, CompletionEvent, ErrorReason, FinishReason, Finished, InputUsage,
        LedgerEntry, LedgerEntryKind, MidstreamPolicy, OutputUsage, PartialUsage, Receipt, Routing, Started, Usage,
        completion_event::Event, delta::Piece,
    },
};
use tollgate_providers::{Head, headroom, refusal};
use tollgate_redact::clean;
use tollgate_router::{Deployment, Plan, Trial};
use tollgate_store::{Cooling, Idempotency, LedgerRow};
use tollgate_trace::Guard;

use crate::{
    Call, Carried, Files, Gates, MediaTold, Settler, bound,
    cooldowns::{self, concerns_others},
    limit::{Passed, Place},
    permit::Permit,
    reasoning::Memory,
    record::{Record, promise},
    reserve::{Bound, LAG, Reservation, TRANCHE},
    route,
    settle::Unfinished,
    takeover::Takeover,
    told,
};

/// How an attempt ended, for the money's sake.
pub(crate) enum Ending {
    /// Its answer is complete; with the provider's own figures where it gave any.
    Complete(Option<Usage>),
    /// It failed or was cut after the provider had begun to answer.
    Cut(&'static str, Option<Usage>),
    /// The provider bills nothing.
    Free,
}

/// An attempt that is journalled as open.
struct OpenAttempt {
    id: String,
    deployment: Arc<Deployment>,
    record: Attempt,
    /// Bytes of what arrived, for estimates.
    produced: u64,
    answered: bool,
    /// When it was sent.
    sent: Option<Instant>,
    /// Pieces of what arrived.
    pieces: u64,
    /// How long its recording is likely to be, in milliseconds.
    heard_ms: u64,
    /// Money held in the budgets of this provider and deployment alone.
    at_provider: Option<Hold>,
    /// Its slot and its part of the deployment's limits.
    place: Place,
    /// Tells the router how it went.
    trial: Trial,
    /// What of it is traced.
    span: Guard,
    /// What its answer says of itself; known where it is traced.
    said: told::Answered,
}

/// Why an attempt cannot be opened.
pub(crate) enum Refused {
    /// The call affords no more of them.
    Call(Error),
    /// A budget on the provider or the deployment does not: elsewhere it may be made.
    Here(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

/// What lets a call pass.
pub(crate) struct Gated {
    pub(crate) gates: Arc<Gates>,
    pub(crate) passed: Passed,
    /// The router's clock counts from here.
    pub(crate) route_begun: Instant,
    /// What other replicas should know of deployments.
    pub(crate) found: mpsc::UnboundedSender<Cooling>,
    /// What providers thought before they called tools.
    pub(crate) memory: Memory,
}

/// Everything about a call in progress.
pub(crate) struct FlowState {
    pub(crate) call: Call,
    pub(crate) permit: Permit,
    pub(crate) gated: Gated,
    hold: Hold,
    pub(crate) plan: Plan,
    seed: u64,
    bound: Bound,
    record: Record,
    settler: Settler,
    started: Instant,
    attempts: Vec<Attempt>,
    open: Option<OpenAttempt>,
    pub(crate) dropped_fields: Vec<String>,
    reasons: Vec<FinishReason>,
    total: Usage,
    idempotency: Option<Idempotency>,
    /// How the next attempt takes over from one whose answer had begun to reach the caller.
    takes_over: MidstreamPolicy,
    /// Deployments that had no room when they were looked at, and why.
    pub(crate) full: Vec<(Arc<Deployment>, Error)>,
    /// What the budgets of the last deployment said that was passed over for them.
    pub(crate) used_up: Option<Error>,
}

/// How a call ended.
pub(crate) struct Closed {
    /// What it consumed, over all attempts.
    pub(crate) usage: Usage,
    /// How it was routed.
    pub(crate) routing: Routing,
    /// The journal's sequence to wait for.
    pub(crate) sequence: u64,
    /// The promise that the log holds its record, to be given out when that sequence is durable.
    pub(crate) receipt: Option<Receipt>,
}

/// Owns a [`FlowState`] until the call ends.
pub(crate) struct Flow {
    state: Option<Box<FlowState>>,
    settler: Settler,
}

impl Flow {
    pub(crate) fn new(
        reservation: Reservation,
        gated: Gated,
        call: Call,
        mut record: Record,
        settler: Settler,
        idempotency: Option<Idempotency>,
    ) -> Self {
        let Reservation { permit, hold, plan, seed, bound } = reservation;
        record.admitted();
        if let Some(bodies) = record.bodies() {
            bodies.expects_answer();
        }
        let total = Usage { held_nano_usd: hold.amount().0, ..Usage::default() };
        let state = FlowState {
            call,
            permit,
            gated,
            hold,
            plan,
            seed,
            bound,
            record,
            settler: settler.clone(),
            started: Instant::now(),
            attempts: Vec::new(),
            open: None,
            dropped_fields: Vec::new(),
            reasons: Vec::new(),
            total,
            idempotency,
            takes_over: MidstreamPolicy::Unspecified,
            full: Vec::new(),
            used_up: None,
        };
        Self { state: Some(Box::new(state)), settler }
    }

    /// The state; there is one until the flow ends.
    #[allow(clippy::expect_used)]
    pub(crate) fn state(&mut self) -> &mut FlowState {
        self.state.as_mut().expect("a flow has its state until it is consumed")
    }

    pub(crate) fn ledger(&self) -> Arc<tollgate_ledger::Ledger> {
        self.settler.ledger().clone()
    }

    /// Ends the call with an error, with no attempt open.
    pub(crate) async fn end_with(&mut self, error: Error) -> Error {
        Self { state: self.state.take(), settler: self.settler.clone() }.fail(Ending::Free, "", error).await
    }

    /// The answer is complete: settles, closes the record, and tells what it consumed.
    pub(crate) fn complete(mut self, usage: Option<Usage>) -> Closed {
        #[allow(clippy::expect_used)]
        let mut state = self.state.take().expect("a flow ends once");
        let mut end = state.end_attempt(Ending::Complete(usage), "ok");
        if let Some(row) = &mut end.settled {
            row.idempotency = state.idempotency.take();
        }
        state.call.billed.set();
        state.close(end, None)
    }

    /// Its budgets afford no more: what was written so far is the answer.
    pub(crate) fn cut(mut self) -> Closed {
        #[allow(clippy::expect_used)]
        let mut state = self.state.take().expect("a flow ends once");
        if let Some(open) = &mut state.open {
            open.trial.succeeded();
        }
        let end = state.end_attempt(Ending::Cut("budget", None), "ok");
        state.close(end, None)
    }

    /// The call failed for good: settles what was billed and closes the record.
    pub(crate) async fn fail(mut self, ending: Ending, class: &str, mut error: Error) -> Error {
        let Some(mut state) = self.state.take() else { return error };
        let end = state.end_attempt(ending, class);
        let call_id = state.call.id.to_string();
        let wants_routing = state.call.wants_routing();
        let Closed { usage, routing, sequence, receipt } = state.close(end, Some(&error));
        if wants_routing && !routing.attempts.is_empty() {
            error = error.with("route", routing.in_words());
        }
        if usage.cost_nano_usd > 0 {
            error.partial = Some(Box::new(PartialUsage { call_id, usage: Some(usage) }));
        }
        promise(self.settler.ledger(), sequence, receipt, &mut error).await;
        error
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if tollgate_planted::bug("hang_up_forgotten") {
            std::mem::forget(self.state.take());
        }
        if let Some(state) = self.state.take() {
            self.settler.hand_over(Unfinished::Flow(state));
        }
    }
}

impl FlowState {
    /// Holds what an attempt at `deployment` can cost and journals that it is about to be sent. Returns its id and the journal's
    /// sequence to wait for.
    pub(crate) async fn open_attempt(
        &mut self,
        deployment: &Arc<Deployment>,
        place: Place,
        trial: Trial,
    ) -> Result<(String, u64), Refused> {
        let number = self.attempts.len() as u32 + 1;
        let id = self.call.id.attempt(number).to_string();
        let bound = self.bound.held(deployment);
        let ledger = self.settler.ledger().clone();
        self.within_ceiling(bound)?;
        let more = bound.0 - self.hold.amount().0;
        if more > 0 && !tollgate_planted::bug("retry_reuses_hold") {
            ledger.hold_more(&mut self.hold, NanoUsd(more)).await?;
        }
        let at = At { provider: &deployment.provider, deployment: &deployment.name };
        let scopes = ledger.scopes_at(&self.permit.payer(self.call.model()), at);
        let at_provider = match scopes.is_empty() {
            true => None,
            false => Some(ledger.hold(&scopes, Ask::exactly(bound, Duration::ZERO)).await.map_err(Refused::Here)?),
        };
        let sequence = self.journal_open(&id, deployment, at_provider.as_ref())?;
        self.open = Some(OpenAttempt {
            id: id.clone(),
            deployment: deployment.clone(),
            record: Attempt {
                id: id.clone(),
                deployment: deployment.name.clone(),
                provider: deployment.provider.clone(),
                start_us: self.elapsed_us(),
                took_over: self.takes_over as i32,
                ..Attempt::default()
            },
            produced: 0,
            answered: false,
            sent: None,
            pieces: 0,
            heard_ms: 0,
            at_provider,
            place,
            trial,
            span: self.call.trace.attempt(),
            said: told::Answered::default(),
        });
        Ok((id, sequence))
    }

    /// A place at `deployment`, if it has one.
    pub(crate) async fn place(&self, deployment: &Deployment) -> Result<Place, Error> {
        self.gated.gates.place_now(deployment, &self.gated.passed, &self.next_id()).await
    }

    /// A place at the first of these that has one: they were full, for the reasons given.
    pub(crate) async fn place_in_turn(
        &self,
        full: Vec<(Arc<Deployment>, Error)>,
    ) -> Result<(Arc<Deployment>, Place), Error> {
        let id = self.next_id();
        let (gates, passed, deadline) = (&self.gated.gates, &self.gated.passed, self.call.deadline);
        let waiting = full.into_iter().map(|(deployment, error)| {
            let id = &id;
            Box::pin(async move {
                let place = gates.place_in_turn(&deployment, passed, id, deadline, error).await?;
                Ok((deployment, place))
            })
        });
        // Where none has room in time: what the last of them said.
        futures::future::select_ok(waiting).await.map(|(placed, _)| placed)
    }

    /// A call's own ceiling binds all of its attempts together.
    fn within_ceiling(&self, bound: NanoUsd) -> Result<(), Error> {
        let spent = self.total.cost_nano_usd;
        let Some(ceiling) = self.call.options().and_then(|o| o.max_cost_nano_usd) else { return Ok(()) };
        if spent == 0 || spent.saturating_add(bound.0) <= ceiling {
            return Ok(());
        }
        let message = format!(
            "another attempt may cost up to ${bound}: with the ${} of those before that is more than the call's ceiling of ${}",
            NanoUsd(spent),
            NanoUsd(ceiling)
        );
        Err(Error::new(ErrorReason::CallCostCeiling, message).with("maxCostNanoUsd", ceiling.to_string()))
    }

    fn next_id(&self) -> String {
        self.call.id.attempt(self.attempts.len() as u32 + 1).to_string()
    }

    /// What a crash from here on would book.
    fn journal_open(&self, id: &str, deployment: &Deployment, at_provider: Option<&Hold>) -> Result<u64, Error> {
        let bound = self.bound.held(deployment);
        let output = self.bound.output(deployment);
        let output = self.bound.tranche.map_or(output, |tranche| output.min(tranche + LAG));
        let usage = Usage {
            input: Some(InputUsage { total: self.bound.input, ..InputUsage::default() }),
            output: Some(OutputUsage { total: output, ..OutputUsage::default() }),
            estimated: true,
            cost_nano_usd: bound.0,
            held_nano_usd: bound.0,
            search_units: (self.bound.queries > 0).then_some(self.bound.queries),
            upstream_us: by_time(deployment).then(|| self.bound.longest_us(deployment)),
            audio_ms: (self.bound.audio_ms > 0).then_some(self.bound.audio_ms),
            characters: (self.bound.characters > 0).then_some(self.bound.characters),
            ..Usage::default()
        };
        let (charges, lease_windows) = charges(&self.hold, at_provider);
        let entry = LedgerEntry {
            usage: Some(usage),
            cost_nano_usd: bound.0,
            held_nano_usd: bound.0,
            high_nano_usd: bound.0,
            charges,
            ..self.entry(id, deployment)
        };
        self.settler.ledger().open_attempt(Opening { bound: entry, lease_windows, action: self.call.action })
    }

    /// While money is held in tranches: holds the next one once half of the last is used. An error: there is none, the answer must end.
    pub(crate) async fn extend(&mut self) -> Result<(), Error> {
        let (Some(tranche), Some(open)) = (self.bound.tranche, &mut self.open) else { return Ok(()) };
        // A token has about four bytes; counted as three, and never less than the pieces it came in.
        let written = open.pieces.max(open.produced / 3);
        if written < tranche.saturating_sub(TRANCHE / 2) {
            return Ok(());
        }
        let deployment = open.deployment.clone();
        let before = self.bound.held(&deployment);
        let mut bound = self.bound;
        bound.tranche = Some(tranche + TRANCHE);
        let more = NanoUsd(bound.held(&deployment).0 - before.0);
        if more.0 > 0 {
            let ledger = self.settler.ledger().clone();
            if let Some(at_provider) = &mut open.at_provider {
                ledger.hold_more(at_provider, more).await?;
            }
            ledger.hold_more(&mut self.hold, more).await?;
        }
        self.bound = bound;
        if let Some(open) = &self.open {
            self.journal_open(&open.id, &deployment, open.at_provider.as_ref())?;
        }
        Ok(())
    }

    /// Whether money is held in tranches.
    pub(crate) fn is_stepwise(&self) -> bool {
        self.bound.tranche.is_some()
    }

    /// Ends of the choices that have none, for an answer that is cut short.
    pub(crate) fn unfinished(&mut self) -> Vec<CompletionEvent> {
        let choices = self.bound.choices().min(1_024) as usize;
        self.reasons.resize(self.reasons.len().max(choices), FinishReason::Unspecified);
        let open = self.reasons.iter_mut().enumerate().filter(|(_, reason)| **reason == FinishReason::Unspecified);
        let end = |(choice, reason): (usize, &mut FinishReason)| {
            *reason = FinishReason::Length;
            let finished = Finished {
                choice: choice as u32,
                reason: FinishReason::Length as i32,
                native_reason: "budget".into(),
                ..Finished::default()
            };
            CompletionEvent { event: Some(Event::Finished(finished)), ..CompletionEvent::default() }
        };
        open.map(end).collect()
    }

    /// The most tokens that the answer can have: money is held for so many.
    pub(crate) fn most_output(&self, deployment: &Deployment) -> u64 {
        self.bound.output(deployment)
    }

    /// Output limit to set upstream.
    pub(crate) fn cap_for(&self, deployment: &Deployment) -> Option<u64> {
        self.bound.cap_for(deployment)
    }

    /// The open attempt is sent now: its time counts from here.
    pub(crate) fn sends(&mut self) {
        if let Some(open) = &mut self.open {
            open.sent = Some(Instant::now());
        }
    }

    /// Notes the head of the answer.
    pub(crate) fn head(&mut self, head: &Head) {
        let (elapsed, now_us) = (self.elapsed_us(), self.route_now_us());
        if let Some(open) = &mut self.open {
            open.deployment.state().told(&headroom::told(&head.headers), now_us);
            open.answered = true;
            open.span.happened("head");
            open.record.head_us = Some(elapsed);
            open.record.upstream_status = u32::from(head.status.as_u16());
            open.record.upstream_request_id = refusal::request_id(&head.headers);
        }
    }

    /// The id of the answer stands for that of the request, where its head names none.
    pub(crate) fn answers_as(&mut self, started: &Started) {
        let Some(open) = &mut self.open else { return };
        if open.record.upstream_request_id.is_empty() {
            open.record.upstream_request_id.clone_from(&started.response_id);
        }
        if self.call.trace.is_recorded() {
            open.said = told::Answered { model: started.served_model.clone(), id: started.response_id.clone() };
            // It may repeat what it was sent, as its head may.
            clean(&mut open.said.id);
        }
    }

    /// What the provider of the open attempt is told of the trace.
    pub(crate) fn traceparent(&self) -> Option<HeaderValue> {
        self.open.as_ref()?.span.traceparent()
    }

    /// Watches an event pass: what was produced, and how choices end.
    pub(crate) fn observe(&mut self, event: &CompletionEvent) {
        match &event.event {
            Some(Event::Started(started)) => self.answers_as(started),
            Some(Event::Delta(delta)) => {
                let text: &str = match &delta.piece {
                    Some(Piece::Text(t) | Piece::Reasoning(t) | Piece::Refusal(t) | Piece::ToolArguments(t)) => t,
                    Some(Piece::ReasoningSignature(t) | Piece::ReasoningRedacted(t) | Piece::OpaqueJson(t)) => t,
                    Some(Piece::ToolCallStart(start)) => &start.name,
                    None => "",
                };
                if let Some(bodies) = self.record.bodies() {
                    bodies.observe(delta, text);
                }
                let (elapsed, route_now_us) = (self.elapsed_us(), self.route_now_us());
                if let Some(open) = &mut self.open {
                    open.produced += text.len() as u64;
                    open.pieces += 1;
                    if open.record.first_content_us.is_none() {
                        open.record.first_content_us = Some(elapsed);
                        open.span.happened("first_content");
                        open.trial.first_content(route_now_us);
                    }
                    let written = open.pieces.max(open.produced / 4);
                    self.gated.passed.written(i64::try_from(written).unwrap_or(i64::MAX));
                }
            }
            Some(Event::Finished(finished)) => {
                let choice = finished.choice as usize;
                if choice < 1_024 {
                    self.reasons.resize(self.reasons.len().max(choice + 1), FinishReason::Unspecified);
                    self.reasons[choice] = finished.reason();
                }
            }
            _ => {}
        }
    }

    /// Watches an answer in one piece pass: the provider's own, where that is passed on, else the message without what the gateway adds.
    pub(crate) fn observe_answer<O: Carried>(&mut self, response: &mut O::Response) {
        let Some(bodies) = self.record.bodies() else { return };
        if let Some(native) = response.envelope().native {
            return bodies.original(&native.body);
        }
        let envelope = response.envelope();
        let added = (envelope.started.take(), envelope.usage.take());
        bodies.message(O::MESSAGE, &response.encode_to_vec());
        let envelope = response.envelope();
        (*envelope.started, *envelope.usage) = added;
    }

    /// The media type of an answer that is passed on as it comes.
    pub(crate) fn answers_with(&mut self, media_type: &str) {
        if let Some(bodies) = self.record.bodies() {
            bodies.answers_as(media_type);
        }
    }

    /// Watches what passes of sound or images.
    pub(crate) fn observe_media(&mut self, told: &MediaTold) {
        let image;
        let bytes: &[u8] = match told {
            MediaTold::Native(bytes) | MediaTold::Audio(bytes) => bytes,
            MediaTold::Delta(text) => text.as_bytes(),
            MediaTold::Transcript(transcript) => transcript.text.as_bytes(),
            MediaTold::Image(told) => {
                image = told.encode_to_vec();
                &image
            }
            _ => return,
        };
        if let Some(bodies) = self.record.bodies() {
            match told {
                MediaTold::Delta(text) => bodies.text(BodyPartKind::Text, 0, text),
                MediaTold::Transcript(transcript) => bodies.text(BodyPartKind::Text, 0, &transcript.text),
                MediaTold::Image(_) => bodies.message("tollgate.v1.StreamedImage", bytes),
                MediaTold::Audio(_) => bodies.bytes(BodyPartKind::Audio, bytes),
                _ => bodies.bytes(BodyPartKind::Original, bytes),
            }
        }
        let (elapsed, route_now_us) = (self.elapsed_us(), self.route_now_us());
        if let Some(open) = &mut self.open {
            open.produced += bytes.len() as u64;
            open.pieces += 1;
            if open.record.first_content_us.is_none() {
                open.record.first_content_us = Some(elapsed);
                open.trial.first_content(route_now_us);
            }
        }
    }

    /// Whether files of it have not all come: no provider can have served it.
    fn awaits_files(&self) -> bool {
        let is_answered = self.open.as_ref().is_some_and(|open| open.answered);
        !is_answered && self.call.files.as_ref().is_some_and(|files| !files.upload.is_whole())
    }

    /// An attempt failed and another may follow: settles it now.
    pub(crate) fn attempt_failed(&mut self, failure: &Failure) {
        let answered =
            self.open.as_ref().is_some_and(|o| o.answered && (o.produced > 0 || failure.class.leaves_doubt()));
        // A line that broke before the head came tells nothing of what the provider did.
        let answered = (answered || failure.may_be_billed) && !self.awaits_files();
        if let Some(open) = &mut self.open {
            open.record.upstream_status = u32::from(failure.status);
            open.record.native_code.clone_from(&failure.native_code);
            if !failure.request_id.is_empty() {
                open.record.upstream_request_id.clone_from(&failure.request_id);
            }
        }
        if matches!(failure.class, Class::Authentication | Class::Permission | Class::QuotaExceeded | Class::NotFound) {
            let deployment = self.open.as_ref().map_or("", |o| o.deployment.name.as_str());
            tracing::warn!(
                deployment,
                class = failure.class.name(),
                message = failure.message,
                "the operator should look at this"
            );
        }
        self.tell_router(failure);
        let ending = Self::ending_of(failure, answered);
        let end = self.end_attempt(ending, failure.class.name());
        self.settler.ledger().end(end);
    }

    /// An answer broke of which the caller has seen a part, and another attempt shall take over.
    pub(crate) fn replaced(&mut self, failure: &Failure, takeover: &Takeover) {
        self.tell_router(failure);
        let end = self.end_attempt(Ending::Cut("replaced", failure.usage.clone()), failure.class.name());
        self.settler.ledger().end(end);
        self.takes_over = takeover.policy();
        self.reasons.clear();
        self.bound.begin();
        if let Some(beginning) = takeover.beginning() {
            let more = self.bound.go_on_from(beginning.len() as u64);
            self.plan.needs_prefill(bound::estimate(more));
        }
    }

    /// Whether the next attempt takes over from one whose answer had begun to reach the caller.
    pub(crate) fn takes_over(&self) -> bool {
        self.takes_over != MidstreamPolicy::Unspecified
    }

    /// The router learns that the open attempt failed.
    pub(crate) fn tell_router(&mut self, failure: &Failure) {
        let now_us = self.route_now_us();
        let Some(open) = &mut self.open else { return };
        if let Some(headroom) = &failure.headroom {
            open.deployment.state().told(headroom, now_us);
        }
        if let Some(until_us) = open.trial.failed(failure, &open.deployment.cooldown, now_us) {
            let (deployment, class) = (&open.deployment.name, failure.class.name());
            let seconds = until_us.saturating_sub(now_us) as f64 / 1e6;
            tracing::warn!(deployment, class, seconds, "a deployment is left alone for a while");
            if concerns_others(failure.class) {
                let left = Duration::from_micros(until_us.saturating_sub(now_us));
                let told = cooldowns::named(deployment, self.plan.model(), &self.permit.table);
                let found = Cooling { deployment: told, class: class.to_owned(), left };
                // Where there is one replica nobody listens.
                let _ = self.gated.found.send(found);
            }
        }
    }

    /// Microseconds on the router's clock.
    pub(crate) fn route_now_us(&self) -> u64 {
        u64::try_from(self.gated.route_begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// What a failure means for the money: a refusal costs nothing, a broken answer what it had consumed.
    pub(crate) fn ending_of(failure: &Failure, answered: bool) -> Ending {
        if answered || failure.usage.is_some() { Ending::Cut("failed", failure.usage.clone()) } else { Ending::Free }
    }

    /// Which attempt is open, from 1.
    pub(crate) fn attempt_number(&self) -> u32 {
        self.attempts.len() as u32 + u32::from(self.open.is_some())
    }

    /// The caller has gone.
    pub(crate) fn abandon(mut self: Box<Self>) {
        // A head may be on its way: from the first byte sent the provider may bill.
        let ending = if self.awaits_files() { Ending::Free } else { Ending::Cut("cancelled", None) };
        let end = self.end_attempt(ending, "cancelled");
        let error = Error::new(ErrorReason::Cancelled, "the caller went away");
        self.close(end, Some(&error));
    }

    fn elapsed_us(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn entry(&self, id: &str, deployment: &Deployment) -> LedgerEntry {
        let key = self.permit.caller.key();
        LedgerEntry {
            attempt_id: id.to_owned(),
            call_id: self.call.id.to_string(),
            key_id: self.permit.caller.key_id().to_owned(),
            model: self.call.model().to_owned(),
            deployment: deployment.name.clone(),
            provider: deployment.provider.clone(),
            price_version: deployment.price.as_ref().map_or("unpriced", |p| &p.version).to_owned(),
            organization_id: key.organization_id.clone(),
            team_id: key.team_id.clone(),
            user_id: key.user_id.clone(),
            customer: self.permit.account.customer.clone(),
            tags: self.permit.account.tags.clone(),
            upstream_model: deployment.endpoint.target.model.clone(),
            ..LedgerEntry::default()
        }
    }

    /// Closes the open attempt, if there is one, and turns its cost into spend once that is journalled (by whoever takes the `End`).
    fn end_attempt(&mut self, ending: Ending, class: &str) -> End {
        let Some(mut open) = self.open.take() else { return End::default() };
        open.record.end_us = self.elapsed_us();
        open.record.class = class.to_owned();
        // What a provider says may repeat what it was sent.
        clean(&mut open.record.native_code);
        clean(&mut open.record.upstream_request_id);
        open.heard_ms = self.likely_ms();
        let (kind, outcome, usage) = match ending {
            Ending::Free if tollgate_planted::bug("deny_counted_as_spend") => {
                ("failed", None).classify(&open, &self.bound)
            }
            Ending::Free => {
                open.trace(self.call.action);
                self.attempts.push(open.record);
                return End { released: Some(open.id), ..End::default() };
            }
            Ending::Complete(usage) => {
                open.trial.succeeded();
                ("complete", usage).classify(&open, &self.bound)
            }
            Ending::Cut(outcome, usage) => (outcome, usage).classify(&open, &self.bound),
        };
        let held = self.bound.held(&open.deployment);
        let mut usage = usage;
        // What is longer than could be is the gateway's own delay in giving up.
        let took = open.sent.map_or(0, |sent| u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
        usage.upstream_us = by_time(&open.deployment).then(|| took.min(self.bound.longest_us(&open.deployment)));
        self.say_of_sound(&mut usage);
        let price = open.deployment.price.as_ref();
        let mut cost = price.map_or(NanoUsd(0), |p| p.cost(&usage));
        let (low, high) = match kind {
            LedgerEntryKind::Exact => (cost, cost),
            _ => {
                cost = cost.min(held);
                (NanoUsd(0), held.max(cost))
            }
        };
        if cost > held && price.is_some() {
            tracing::warn!(attempt = open.id, cost = %cost, held = %held, "the provider billed more than was held");
        }
        usage.cost_nano_usd = cost.0;
        usage.held_nano_usd = held.0;
        let (charges, lease_windows) = charges(&self.hold, open.at_provider.as_ref());
        let entry = LedgerEntry {
            kind: kind as i32,
            usage: Some(usage.clone()),
            cost_nano_usd: cost.0,
            held_nano_usd: held.0,
            low_nano_usd: low.0,
            high_nano_usd: high.0,
            outcome: outcome.to_owned(),
            charges,
            upstream_request_id: open.record.upstream_request_id.clone(),
            ..self.entry(&open.id, &open.deployment)
        };
        self.total.add(&usage);
        open.place.used(tokens(&usage));
        open.trial.used(u64::try_from(tokens(&usage)).unwrap_or(0), self.route_now_us());
        open.record.billed = true;
        open.record.usage = Some(usage);
        open.trace(self.call.action);
        self.attempts.push(open.record);
        let row = LedgerRow { entry, lease_windows, idempotency: None };
        if tollgate_planted::bug("hold_kept") {
            std::mem::forget(std::mem::replace(&mut self.hold, Hold::nothing()));
        }
        self.hold.settle(cost);
        if let Some(at_provider) = &mut open.at_provider {
            at_provider.settle(cost);
        }
        End { settled: Some(row), ..End::default() }
    }

    /// What the gateway knows of sound where the provider says nothing: what was asked to be spoken, and about how long a recording is.
    fn say_of_sound(&self, usage: &mut Usage) {
        if self.bound.characters > 0 {
            usage.characters = Some(self.bound.characters);
        }
        let is_told = usage.audio_ms.is_some() || !usage.estimated;
        if self.bound.audio_ms > 0 && !is_told {
            usage.audio_ms = Some(self.likely_ms());
        }
    }

    /// How long the recording is likely to be, in milliseconds; 0: there is none.
    fn likely_ms(&self) -> u64 {
        let told = |files: &Files| files.upload.told_ms().unwrap_or_else(|| bound::likely_ms(files.upload.taken()));
        self.call.files.as_ref().filter(|_| self.bound.audio_ms > 0).map_or(0, told)
    }

    fn routing(&self) -> Routing {
        Routing {
            attempts: self.attempts.clone(),
            candidates: self.plan.candidates(),
            dropped_fields: self.dropped_fields.clone(),
            config_hash: self.permit.table.config_hash.clone(),
            seed: self.seed,
            needs: Some(route::told(self.plan.needs(), &self.call)),
        }
    }

    /// Closes the record together with `end`; what is still held returns.
    fn close(mut self: Box<Self>, end: End, error: Option<&Error>) -> Closed {
        let routing = self.routing();
        let usage = self.total.clone();
        self.gated.passed.used(tokens(&usage));
        if error.is_none() {
            let output = usage.output.map_or(0, |o| i64::try_from(o.total).unwrap_or(i64::MAX));
            self.gated.gates.learn(self.permit.caller.key_id(), self.call.model(), output);
        }
        let passed = self.call.files.as_ref().and_then(Files::passed);
        if let (Some((digest, filed)), Some(bodies)) = (passed, self.record.bodies()) {
            bodies.with_files(digest, filed);
        }
        let draft = self.record.draft();
        draft.finished(&self.reasons);
        draft.served(routing.clone(), Some(usage.clone()));
        let (sequence, receipt) = self.record.close_with(end, error);
        Closed { usage, routing, sequence, receipt }
    }
}

/// Provider figures beyond this multiple of what is possible are a slip: better an estimate than a ruined ledger.
const IMPLAUSIBLE: u64 = 4;

/// The budgets of a call and of its attempt.
fn charges(hold: &Hold, at_provider: Option<&Hold>) -> (Vec<BudgetCharge>, Vec<i64>) {
    let (mut charges, mut lease_windows) = hold.charges();
    if let Some(more) = at_provider {
        let (more_charges, more_windows) = more.charges();
        charges.extend(more_charges);
        lease_windows.extend(more_windows);
    }
    (charges, lease_windows)
}

trait Classify {
    fn classify(self, open: &OpenAttempt, bound: &Bound) -> (LedgerEntryKind, &'static str, Usage);
}

impl Classify for (&'static str, Option<Usage>) {
    fn classify(self, open: &OpenAttempt, bound: &Bound) -> (LedgerEntryKind, &'static str, Usage) {
        let (outcome, usage) = self;
        let window = open.deployment.context_window.unwrap_or(0);
        let possible = window.max(bound.input.saturating_add(bound.output(&open.deployment))).max(1_000_000);
        let plausible = |u: &Usage| {
            let (i, o) = (u.input.unwrap_or_default(), u.output.unwrap_or_default());
            let read = [i.cached_read, i.cache_write_5m, i.cache_write_1h, i.audio, i.audio_cached, i.image];
            let written = [o.reasoning, o.audio, o.image];
            let parts_fit = read.iter().all(|part| *part <= i.total) && written.iter().all(|part| *part <= o.total);
            let queries_fit = bound.queries == 0 || u.search_units.is_none_or(|units| units <= bound.queries);
            let time_fits =
                bound.audio_ms == 0 || u.audio_ms.is_none_or(|ms| ms <= bound.audio_ms.saturating_mul(IMPLAUSIBLE));
            parts_fit
                && queries_fit
                && time_fits
                && i.total.saturating_add(o.total) <= possible.saturating_mul(IMPLAUSIBLE)
        };
        let price = open.deployment.price.as_ref();
        let is_ranked = |u: &Usage| bound.queries == 0 || price.is_none_or(|p| p.is_told_by(u));
        let is_heard = |u: &Usage| bound.audio_ms == 0 || price.is_none_or(|p| p.is_heard_by(u));
        let is_told = |u: &Usage| is_ranked(u) && is_heard(u);
        match usage {
            Some(usage) if plausible(&usage) && is_told(&usage) && !usage.estimated => {
                (LedgerEntryKind::Exact, outcome, Usage { estimated: false, ..usage })
            }
            // A complete answer whose provider counts not everything: Ollama leaves out a prompt that it had cached.
            Some(usage) if plausible(&usage) && outcome == "complete" => (LedgerEntryKind::Estimated, outcome, usage),
            reported => {
                let known = reported.as_ref().filter(|u| plausible(u));
                if let (Some(reported), None) = (&reported, known) {
                    tracing::warn!(attempt = open.id, ?reported, "the provider's usage is not plausible; estimating");
                }
                if bound.audio_ms > 0 {
                    return (LedgerEntryKind::Estimated, outcome, open.heard(price, known));
                }
                // What was reported before a break is kept: the input is final by then, the output at least this much.
                let input = known.and_then(|u| u.input).filter(|i| i.total > 0);
                let output = known.and_then(|u| u.output).unwrap_or_default();
                let search_units = known.and_then(|u| u.search_units).unwrap_or(bound.queries);
                let usage = Usage {
                    input: Some(
                        input.unwrap_or(InputUsage { total: bound::estimate(bound.input), ..InputUsage::default() }),
                    ),
                    output: Some(bound.unsaid(&open.deployment, output, open.produced)),
                    search_units: (search_units > 0).then_some(search_units),
                    audio_ms: known.and_then(|u| u.audio_ms),
                    estimated: true,
                    service_tier_native: reported.as_ref().and_then(|u| u.service_tier_native.clone()),
                    native_json: reported.and_then(|u| u.native_json),
                    ..Usage::default()
                };
                if tollgate_planted::bug("missing_usage_is_nothing") {
                    return (LedgerEntryKind::Estimated, outcome, Usage { estimated: true, ..Usage::default() });
                }
                (LedgerEntryKind::Estimated, outcome, usage)
            }
        }
    }
}

/// Whether time costs something there.
fn by_time(deployment: &Deployment) -> bool {
    deployment.price.as_ref().is_some_and(|price| price.per_second.is_some())
}

impl OpenAttempt {
    /// Says of its span what it was.
    fn trace(&mut self, action: &str) {
        told::attempt(&mut self.span, &self.record, &self.deployment, action, &self.said);
    }

    /// What a recording may have cost that the provider counts in another unit than its price, or not at all: time where time is paid, else
    /// the tokens of that time.
    fn heard(&self, price: Option<&Price>, known: Option<&Usage>) -> Usage {
        let estimated = Usage { audio_ms: known.and_then(|u| u.audio_ms), estimated: true, ..Usage::default() };
        let by_time = price.is_none_or(|p| p.per_audio_second.is_some());
        if by_time {
            return Usage { native_json: known.and_then(|u| u.native_json.clone()), ..estimated };
        }
        let heard = estimated.audio_ms.unwrap_or(self.heard_ms).div_ceil(1_000) * bound::HEARD_PER_SECOND;
        Usage {
            input: Some(InputUsage { total: heard, audio: heard, ..InputUsage::default() }),
            output: Some(OutputUsage { total: bound::estimate(self.produced), ..OutputUsage::default() }),
            native_json: known.and_then(|u| u.native_json.clone()),
            ..estimated
        }
    }
}

/// What counts against rates of tokens.
fn tokens(usage: &Usage) -> i64 {
    let (input, output) = (usage.input.map_or(0, |i| i.total), usage.output.map_or(0, |o| o.total));
    i64::try_from(input.saturating_add(output)).unwrap_or(i64::MAX)
}
