use futures::StreamExt;
use tollgate_domain::{Class, Error, Failure};
use tollgate_ledger::Before;
use tollgate_proto::v1::{CreateEmbeddingResponse, Dialect};
use tollgate_providers::{EmbedCall, exchange};
use tollgate_router::Deployment;

use crate::{
    Call, Pipeline, Reply, call::Request, flow::FlowState, limit::Passed, record::Record, reserve::Reservation,
    send::identify,
};

impl Pipeline {
    /// Attempts until one answers.
    pub(crate) async fn send_embedding(
        &self,
        reservation: Reservation,
        passed: Passed,
        call: Call,
        record: Record,
    ) -> Result<Reply<CreateEmbeddingResponse>, Error> {
        let mut flow = self.flow(reservation, passed, call, record);
        let mut last = None;
        let mut response = loop {
            let (deployment, id) = flow.next_attempt(last).await?;
            match embed(flow.state(), &deployment, &id).await {
                Ok(mut response) => {
                    let now_seconds = self.clock.now_us() / 1_000_000;
                    identify(response.started.get_or_insert_default(), flow.state(), &deployment, now_seconds);
                    break response;
                }
                Err(failure) => {
                    flow.state().attempt_failed(&failure);
                    last = Some((deployment, failure));
                }
            }
        };
        let wants_routing = flow.state().call.wants_routing();
        let (usage, routing, sequence) = flow.complete(response.usage.take());
        self.ledger.durable(sequence, Before::LastFrame).await;
        response.usage = Some(usage);
        response.routing = wants_routing.then_some(routing);
        Ok(futures::stream::once(async { Ok(response) }).boxed())
    }
}

async fn embed(
    state: &mut FlowState,
    deployment: &Deployment,
    attempt_id: &str,
) -> Result<CreateEmbeddingResponse, Failure> {
    let Request::Embedding(request) = state.call.request.clone() else {
        return Err(Failure::new(Class::InvalidRequest, "not an embedding"));
    };
    let want_native = request.tollgate.as_ref().map_or(Dialect::Unspecified, |o| o.want_native());
    let call =
        EmbedCall { request: &request, want_native, drop_params: state.call.drops_params(deployment), attempt_id };
    let (head, response) = exchange::embed(&deployment.endpoint, &call).await?;
    state.head(&head);
    state.answers_as(response.started.as_ref().map_or("", |started| &started.response_id));
    Ok(response)
}
