use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use tokio::time::{Instant, timeout_at};
use tollgate_domain::{Class, Error, Failure, Retry};
use tollgate_ledger::Before;
use tollgate_proto::v1::{
    CompletionEvent, Dialect, ErrorReason, MidstreamPolicy, Started, completion_event::Event, delta::Piece,
};
use tollgate_providers::{
    ChatCall, Mode,
    exchange::{self, Answering},
};
use tollgate_router::{Deployment, Step, Trial};

use crate::{
    Call, Pipeline, Reply,
    call::Request,
    defaults,
    flow::{Closed, Ending, Flow, FlowState, Gated, Refused},
    limit::{Passed, Place},
    reasoning::Gathered,
    record::Record,
    reserve::Reservation,
    route::all_cooling,
    takeover::{self, Joint, Told},
    told,
};

/// How soon to come back where a deployment was left alone while its queue was waited in.
const LEFT_ALONE: Duration = Duration::from_secs(1);

impl Pipeline {
    pub(crate) fn flow(&self, reservation: Reservation, passed: Passed, call: Call, record: Record) -> Flow {
        let idempotency = crate::idempotency::of(&reservation.permit, &call);
        let gates = Gated {
            gates: self.gates.clone(),
            passed,
            route_begun: self.begun,
            found: self.found.clone(),
            memory: self.memory.clone(),
        };
        Flow::new(reservation, gates, call, record, self.settler.clone(), idempotency)
    }

    /// Attempts until one answers, then its events. A stream that fails before its first content is replaced invisibly; after it,
    /// the reply ends with the error, or another attempt takes over behind a `restarted` event.
    pub(crate) async fn send(
        &self,
        reservation: Reservation,
        passed: Passed,
        call: Call,
        record: Record,
    ) -> Result<Reply<CompletionEvent>, Error> {
        let group = reservation.permit.routes.own().map_or(MidstreamPolicy::Unspecified, |g| g.on_midstream_failure);
        let mode = match call.request {
            Request::Completion(_, mode) => mode,
            _ => Mode::Whole,
        };
        let may_call_tools = matches!(&call.request, Request::Completion(request, _) if !request.tools.is_empty());
        let mut told = Told::nothing(takeover::policy(&call, group), mode);
        let mut flow = self.flow(reservation, passed, call, record);
        let (mut deployment, mut answering, first) = flow.answer(None, None).await?;
        let ledger = self.ledger.clone();
        let now_seconds = self.clock.now_us() / 1_000_000;
        Ok(async_stream::stream! {
            let mut seq = 0;
            let mut usage: Option<CompletionEvent> = None;
            let mut first = first.into_iter();
            let mut joint: Option<Joint> = None;
            let mut gathered = Gathered::default();
            loop {
                let event = match first.next() {
                    Some(event) => Some(Ok(event)),
                    None => answering.events.next().await,
                };
                match event {
                    Some(Ok(event)) if matches!(event.event, Some(Event::Usage(_))) => usage = Some(event),
                    Some(Ok(mut event)) => {
                        if seq > 1 {
                            tollgate_planted::step("in_the_answer");
                        }
                        if let Some(joint) = &mut joint {
                            joint.fit(&mut event);
                        }
                        told.observe(&event);
                        let state = flow.state();
                        state.observe(&event);
                        fill(&mut event, state, &deployment, now_seconds);
                        // Nothing must come back where no tools can be called.
                        if may_call_tools {
                            gathered.observe(&event);
                        }
                        // Before the next piece is asked for: what it may cost is held.
                        let extended = state.extend().await;
                        yield Ok(numbered(event, &mut seq));
                        if let Err(error) = extended {
                            tracing::debug!(%error, "a budget affords no more of this answer");
                            drop(answering);
                            for finished in flow.state().unfinished() {
                                yield Ok(numbered(finished, &mut seq));
                            }
                            let settling = flow.state().call.trace.stage("settle");
                            let Closed { usage: total, sequence, receipt, .. } = flow.cut();
                            ledger.durable(sequence, Before::LastFrame).await;
                            drop(settling);
                            let usage = CompletionEvent { event: Some(Event::Usage(total)), ..CompletionEvent::default() };
                            yield Ok(numbered(usage, &mut seq));
                            if let Some(receipt) = receipt {
                                let receipt = CompletionEvent { event: Some(Event::Receipt(receipt)), ..CompletionEvent::default() };
                                yield Ok(numbered(receipt, &mut seq));
                            }
                            return;
                        }
                    }
                    Some(Err(failure)) => {
                        let Some(takeover) = told.takeover(&failure, deployment.signs_reasoning()) else {
                            yield Err(broken(flow, &deployment, failure).await);
                            return;
                        };
                        flow.state().replaced(&failure, &takeover);
                        match flow.answer(Some((deployment, failure.clone())), takeover.beginning()).await {
                            Ok(next) => {
                                let begun: Vec<_>;
                                (deployment, answering, begun) = next;
                                first = begun.into_iter();
                            }
                            Err(error) => {
                                yield Err(error);
                                return;
                            }
                        }
                        joint = Joint::new(&takeover);
                        if joint.is_none() {
                            told.forget();
                        }
                        usage = None;
                        gathered = Gathered::default();
                        yield Ok(numbered(takeover.event(flow.state().attempt_number(), &failure), &mut seq));
                    }
                    None => break,
                }
            }
            // Settled, and as durable as configured, before the last frame.
            let wants_routing = flow.state().call.wants_routing();
            let mut last = usage.unwrap_or_default();
            let reported = match last.event.take() {
                Some(Event::Usage(usage)) => Some(usage),
                _ => None,
            };
            flow.state().keep_reasoning(deployment.reasoning_format(), gathered);
            tollgate_planted::step("before_settlement");
            let settling = flow.state().call.trace.stage("settle");
            let Closed { usage: total, routing, sequence, receipt } = flow.complete(reported);
            tollgate_planted::step("settled");
            ledger.durable(sequence, Before::LastFrame).await;
            drop(settling);
            tollgate_planted::step("before_the_last_frame");
            last.event = Some(Event::Usage(total));
            yield Ok(numbered(last, &mut seq));
            if wants_routing {
                yield Ok(numbered(CompletionEvent { event: Some(Event::Routing(routing)), ..CompletionEvent::default() }, &mut seq));
            }
            if let Some(receipt) = receipt {
                yield Ok(numbered(CompletionEvent { event: Some(Event::Receipt(receipt)), ..CompletionEvent::default() }, &mut seq));
            }
        }
        .boxed())
    }
}

impl Flow {
    /// Attempts until one answers, up to its first content. `beginning`: what they go on from.
    async fn answer(
        &mut self,
        mut last: Option<(Arc<Deployment>, Failure)>,
        beginning: Option<&str>,
    ) -> Result<(Arc<Deployment>, Answering, Vec<CompletionEvent>), Error> {
        loop {
            let (deployment, id) = self.next_attempt(last).await?;
            match open_chat(self.state(), &deployment, &id, beginning).await {
                Ok((answering, first)) => return Ok((deployment, answering, first)),
                Err(failure) => {
                    self.state().attempt_failed(&failure);
                    last = Some((deployment, failure));
                }
            }
        }
    }

    /// The next deployment to try, and a place there; or the error that is left when nothing is. Where all that is left is at its
    /// rate, the call waits for the first to have room.
    async fn next_place(
        &mut self,
        last: &mut Option<(Arc<Deployment>, Failure)>,
        is_told: bool,
    ) -> Result<(Arc<Deployment>, Place, Trial), Error> {
        let mut refused = None;
        let mut before = last.as_ref().filter(|_| !is_told).map(|(deployment, failure)| (deployment, failure));
        loop {
            let state = self.state();
            let now_us = state.route_now_us();
            let (pause, deployment) = match state.plan.next(before.take(), now_us) {
                Step::Try { pause, deployment } => (pause, deployment),
                Step::GiveUp { soonest } => {
                    let is_callers = last.as_ref().is_some_and(|(_, failure)| !failure.class.worth_elsewhere());
                    // What was full may have room by now, or soon.
                    while !is_callers && !state.full.is_empty() {
                        match state.place_in_turn(state.full.clone()).await {
                            Ok((deployment, place)) => {
                                state.full.retain(|(full, _)| !Arc::ptr_eq(full, &deployment));
                                match deployment.state().begin(state.route_now_us()) {
                                    Some(trial) => return Ok((deployment, place, trial)),
                                    None => refused = Some(all_cooling(&deployment, LEFT_ALONE)),
                                }
                            }
                            Err(error) => {
                                state.full.clear();
                                refused = Some(error);
                            }
                        }
                    }
                    let (attempts, used_up) = (self.state().attempt_number(), self.state().used_up.take());
                    let error = match (last.take(), refused.or(used_up), soonest) {
                        (Some((d, failure)), denied, _) => {
                            let error = failure.into_error(&d.provider, &d.name, attempts);
                            denied
                                .iter()
                                .fold(error, |error, denied| error.with("retryDenied", denied.reason.wire_name()))
                        }
                        (None, Some(error), _) => error,
                        (None, None, Some((deployment, until_us))) => {
                            all_cooling(&deployment, Duration::from_micros(until_us.saturating_sub(now_us)))
                        }
                        (None, None, None) => {
                            Error::new(ErrorReason::Overloaded, "no deployment can be tried now").retry(Retry::Later)
                        }
                    };
                    return Err(self.end_with(error).await);
                }
            };
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            match state.place(&deployment).await {
                Ok(place) => {
                    let now_us = state.route_now_us();
                    let trial = match state.plan.begins_anyway() {
                        true => Some(deployment.state().begin_anyway(now_us)),
                        false => deployment.state().begin(now_us),
                    };
                    match trial {
                        Some(trial) => return Ok((deployment, place, trial)),
                        None => state.plan.passed_over(&deployment, now_us),
                    }
                }
                Err(error) => {
                    state.plan.is_full(&deployment);
                    state.full.push((deployment, error));
                }
            }
        }
    }

    /// The next deployment to try, journalled as open; or the error that is left when nothing is. Those whose own budget affords no more are
    /// passed over.
    pub(crate) async fn next_attempt(
        &mut self,
        mut last: Option<(Arc<Deployment>, Failure)>,
    ) -> Result<(Arc<Deployment>, String), Error> {
        let mut is_told = false;
        let error = loop {
            let routing = self.state().call.trace.stage("route");
            let (deployment, place, trial) = told::ended(routing, self.next_place(&mut last, is_told).await)?;
            tollgate_planted::step("before_open");
            match self.state().open_attempt(&deployment, place, trial).await {
                Ok((id, sequence)) => {
                    let ledger = self.ledger();
                    ledger.durable(sequence, Before::FirstByte).await;
                    tollgate_planted::step("opened");
                    return Ok((deployment, id));
                }
                Err(Refused::Here(error)) => {
                    let state = self.state();
                    state.plan.is_used_up(&deployment);
                    state.used_up = Some(error);
                    is_told = true;
                }
                Err(Refused::Call(error)) => break error,
            }
        };
        // Without room for a further attempt, the failure of the last one is what the caller should know.
        let error = match last {
            Some((deployment, failure)) => failure
                .into_error(&deployment.provider, &deployment.name, self.state().attempt_number())
                .with("retryDenied", error.reason.wire_name()),
            None => error,
        };
        Err(self.end_with(error).await)
    }
}

/// Sends the call and reads up to its first content.
async fn open_chat(
    state: &mut FlowState,
    deployment: &Deployment,
    attempt_id: &str,
    beginning: Option<&str>,
) -> Result<(Answering, Vec<CompletionEvent>), Failure> {
    let Request::Completion(request, mode) = state.call.request.clone() else {
        return Err(Failure::new(Class::InvalidRequest, "not a completion"));
    };
    // An answer that is held in tranches is streamed upstream, whole as it may be asked for: only so can it be extended and cut.
    let stepwise = mode == Mode::Whole && state.is_stepwise();
    let format = deployment.reasoning_format();
    let (request, left_out) = state.fit_reasoning(&request, format);
    let request = defaults::fill(request, deployment.defaults.as_deref())?;
    let traceparent = state.traceparent();
    let chat = ChatCall {
        request: &request,
        mode: if stepwise { Mode::Stream } else { mode },
        output_cap: state.cap_for(deployment),
        max_output: deployment.max_output_tokens,
        want_native: match &request.tollgate {
            // Whoever takes over may speak another dialect: from there on chunks are the gateway's own.
            Some(options) if !stepwise && !state.takes_over() => options.want_native(),
            _ => Dialect::Unspecified,
        },
        drop_params: state.call.drops_params(deployment),
        prefill: beginning,
        attempt_id,
        traceparent: traceparent.as_ref(),
    };
    // An answer in one piece has its first content when it has its last.
    let patience = match chat.mode {
        Mode::Stream => Instant::now() + deployment.endpoint.timeouts.first_token,
        Mode::Whole => Instant::now() + deployment.endpoint.timeouts.total,
    };
    state.sends();
    let mut answering = exchange::chat(&deployment.endpoint, &chat).await?;
    tollgate_planted::step("head");
    state.head(&answering.head);
    state.dropped_fields = left_out;
    state.dropped_fields.append(&mut answering.dropped);
    let mut first = Vec::new();
    loop {
        let next = timeout_at(patience, answering.events.next()).await;
        let Some(event) = next.map_err(|_| wordless())?.transpose()? else { break };
        let is_content = !matches!(event.event, None | Some(Event::Started(_)));
        first.push(event);
        if is_content {
            break;
        }
    }
    Ok((answering, first))
}

fn wordless() -> Failure {
    let message = "the provider began to answer and said nothing in the time to the first token";
    Failure { may_be_billed: true, ..Failure::new(Class::Timeout, message) }
}

/// What only the gateway knows of the winning attempt.
fn fill(event: &mut CompletionEvent, state: &FlowState, deployment: &Deployment, now_seconds: i64) {
    match &mut event.event {
        Some(Event::Started(started)) => identify(started, state, deployment, now_seconds),
        Some(Event::Delta(delta)) => {
            if matches!(delta.piece, Some(Piece::ReasoningSignature(_) | Piece::ReasoningRedacted(_))) {
                delta.reasoning_format = deployment.reasoning_format().to_owned();
            }
        }
        _ => {}
    }
}

pub(crate) fn identify(started: &mut Started, state: &FlowState, deployment: &Deployment, now_seconds: i64) {
    started.call_id = state.call.id.to_string();
    started.provider.clone_from(&deployment.provider);
    started.deployment.clone_from(&deployment.name);
    started.attempt = state.attempt_number();
    started.dropped_params.clone_from(&state.dropped_fields);
    started.output_cap = state.cap_for(deployment).map(|cap| i64::try_from(cap).unwrap_or(i64::MAX));
    if started.response_id.is_empty() {
        started.response_id = format!("chatcmpl-{}", started.call_id);
    }
    if started.created == 0 {
        started.created = now_seconds;
    }
    if started.served_model.is_empty() {
        started.served_model.clone_from(&deployment.endpoint.target.model);
    }
}

fn numbered(mut event: CompletionEvent, seq: &mut u64) -> CompletionEvent {
    event.seq = *seq;
    *seq += 1;
    event
}

pub(crate) async fn broken(mut flow: Flow, deployment: &Deployment, failure: Failure) -> Error {
    let attempts = flow.state().attempt_number();
    let class = failure.class.name();
    flow.state().tell_router(&failure);
    let ending = Ending::Cut("failed", failure.usage.clone());
    let error = failure.into_error(&deployment.provider, &deployment.name, attempts);
    flow.fail(ending, class, error).await
}
