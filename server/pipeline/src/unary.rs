//! Operations with one answer: the same stages as a completion's, over one message.

use std::sync::Arc;

use prost::Message;
use tollgate_domain::Failure;
use tollgate_ledger::Before;
use tollgate_proto::{
    operation::{Answered, Asked, Embeddings, Images, Moderations, Reranking},
    v1::{CreateEmbeddingResponse, CreateModerationResponse, Dialect, GenerateImageResponse, RerankResponse},
};
use tollgate_providers::{Offered, UnaryCall, exchange};
use tollgate_router::Deployment;

use crate::{
    Call, Pipeline,
    call::Request,
    flow::{Closed, FlowState},
    idempotency::Kept,
    limit::Passed,
    record::Record,
    reserve::Reservation,
    send::identify,
};

/// An operation that the pipeline carries.
pub trait Carried: Offered {
    /// The full name of its answer.
    const MESSAGE: &'static str;
    /// As calls carry its request.
    fn request(asked: Arc<Self::Request>) -> Request;
    /// Its request, out of a call.
    fn asked(request: &Request) -> Option<&Arc<Self::Request>>;
    /// As answers are kept for repetitions.
    fn answer(response: Self::Response) -> Answer;
    /// Its answer, as it was kept.
    fn response(answer: Answer) -> Option<Self::Response>;
}

macro_rules! carried {
    ($($operation:ident: $name:ident($response:ty)),+ $(,)?) => {
        /// What an operation answered.
        #[derive(Clone)]
        pub enum Answer {
            $(
                #[doc = concat!("Of [`", stringify!($operation), "`].")]
                $name($response),
            )+
        }

        impl Kept for Answer {
            fn size(&self) -> usize {
                match self {
                    $(Self::$name(response) => response.encoded_len(),)+
                }
            }
        }

        $(
            impl Carried for $operation {
                const MESSAGE: &'static str = concat!("tollgate.v1.", stringify!($response));

                fn request(asked: Arc<Self::Request>) -> Request {
                    Request::$name(asked)
                }

                fn asked(request: &Request) -> Option<&Arc<Self::Request>> {
                    match request {
                        Request::$name(asked) => Some(asked),
                        _ => None,
                    }
                }

                fn answer(response: Self::Response) -> Answer {
                    Answer::$name(response)
                }

                fn response(answer: Answer) -> Option<Self::Response> {
                    match answer {
                        Answer::$name(response) => Some(response),
                        _ => None,
                    }
                }
            }
        )+
    };
}

carried! {
    Embeddings: Embedding(CreateEmbeddingResponse),
    Reranking: Rerank(RerankResponse),
    Moderations: Moderation(CreateModerationResponse),
    Images: Image(GenerateImageResponse),
}

impl Pipeline {
    /// Attempts until one answers; settles, and closes the record, whatever happens.
    pub(crate) async fn send_unary<O: Carried>(
        &self,
        asked: &O::Request,
        reservation: Reservation,
        passed: Passed,
        call: Call,
        record: Record,
    ) -> Result<O::Response, tollgate_domain::Error> {
        let mut flow = self.flow(reservation, passed, call, record);
        let mut last = None;
        let mut response = loop {
            let (deployment, id) = flow.next_attempt(last).await?;
            match attempt::<O>(flow.state(), asked, &deployment, &id).await {
                Ok(mut response) => {
                    let now_seconds = self.clock.now_us() / 1_000_000;
                    let started = response.envelope().started.get_or_insert_default();
                    if started.response_id.is_empty() {
                        started.response_id = flow.state().call.id.to_string();
                    }
                    identify(started, flow.state(), &deployment, now_seconds);
                    break response;
                }
                Err(failure) => {
                    flow.state().attempt_failed(&failure);
                    last = Some((deployment, failure));
                }
            }
        };
        flow.state().observe_answer::<O>(&mut response);
        let wants_routing = flow.state().call.wants_routing();
        let settling = flow.state().call.trace.stage("settle");
        let Closed { usage, routing, sequence, receipt } = flow.complete(response.envelope().usage.take());
        self.ledger.durable(sequence, Before::LastFrame).await;
        drop(settling);
        let envelope = response.envelope();
        *envelope.usage = Some(usage);
        *envelope.routing = wants_routing.then_some(routing);
        *envelope.receipt = receipt;
        Ok(response)
    }
}

async fn attempt<O: Carried>(
    state: &mut FlowState,
    asked: &O::Request,
    deployment: &Deployment,
    attempt_id: &str,
) -> Result<O::Response, Failure> {
    let want_native = asked.options().map_or(Dialect::Unspecified, |o| o.want_native());
    let drop_params = state.call.drops_params(deployment);
    let traceparent = state.traceparent();
    let traceparent = traceparent.as_ref();
    let call = UnaryCall::<O> { request: asked, want_native, drop_params, attempt_id, traceparent };
    state.sends();
    let exchange::Answer { head, dropped, mut response } = exchange::unary(&deployment.endpoint, &call).await?;
    state.head(&head);
    if let Some(started) = response.envelope().started {
        state.answers_as(started);
    }
    state.dropped_fields = dropped;
    Ok(response)
}
