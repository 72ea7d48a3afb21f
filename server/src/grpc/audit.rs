use futures::{StreamExt, stream::BoxStream};
use tokio_util::sync::CancellationToken;
use tollgate_domain::{Error, Retry};
use tollgate_proto::v1::{
    ErrorReason, QueryRecordsRequest, QueryRecordsResponse, TailRecordsRequest, TailRecordsResponse,
    audit_service_server::AuditService,
};
use tonic::{Request, Response, Status};

use super::{Rooms, principal, status::status};

/// `AuditService`.
pub(crate) struct Door {
    pub(crate) rooms: Rooms,
    /// A tail ends only by this.
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl AuditService for Door {
    type QueryRecordsStream = BoxStream<'static, Result<QueryRecordsResponse, Status>>;
    type TailRecordsStream = BoxStream<'static, Result<TailRecordsResponse, Status>>;

    async fn query_records(
        &self,
        request: Request<QueryRecordsRequest>,
    ) -> Result<Response<Self::QueryRecordsStream>, Status> {
        let who = principal(&request);
        let records = self.rooms.control.query_records(&who, request.into_inner()).await.map_err(status)?;
        let responses = records.map(|r| r.map(|record| QueryRecordsResponse { record: Some(record) }).map_err(status));
        Ok(Response::new(responses.boxed()))
    }

    async fn tail_records(
        &self,
        request: Request<TailRecordsRequest>,
    ) -> Result<Response<Self::TailRecordsStream>, Status> {
        let who = principal(&request);
        let records = self.rooms.control.tail_records(&who, request.into_inner()).await.map_err(status)?;
        let shutdown = self.shutdown.clone();
        let closing = futures::stream::once(async move {
            shutdown.cancelled_owned().await;
            let message = "the gateway is shutting down; go on with after_sequence elsewhere";
            Err(status(Error::new(ErrorReason::Overloaded, message).retry(Retry::Later)))
        });
        let responses = records.map(|r| r.map(|record| TailRecordsResponse { record: Some(record) }).map_err(status));
        let until_shutdown = futures::stream::select(responses, closing).scan(false, |ended, item| {
            let go_on = !*ended;
            *ended = item.is_err();
            futures::future::ready(go_on.then_some(item))
        });
        Ok(Response::new(until_shutdown.boxed()))
    }
}
