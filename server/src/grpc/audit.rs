use futures::{StreamExt, stream::BoxStream};
use tokio_util::sync::CancellationToken;
use tollgate_proto::v1::{
    QueryRecordsRequest, QueryRecordsResponse, TailRecordsRequest, TailRecordsResponse,
    audit_service_server::AuditService,
};
use tonic::{Request, Response, Status};

use super::{Rooms, principal, status::status, until_shutdown};

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
        let responses = records.map(|r| r.map(|record| TailRecordsResponse { record: Some(record) }).map_err(status));
        Ok(Response::new(until_shutdown(responses, self.shutdown.clone(), "go on with after_sequence elsewhere")))
    }
}
