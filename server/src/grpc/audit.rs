use futures::{Stream, StreamExt, stream::BoxStream};
use tokio_util::sync::CancellationToken;
use tollgate_audit::Piece;
use tollgate_client::json;
use tollgate_control::Exported;
use tollgate_proto::v1::{
    CreateLegalHoldRequest, CreateLegalHoldResponse, EraseBodiesRequest, EraseBodiesResponse, ExportLogRequest,
    ExportLogResponse, GetBodyRequest, GetBodyResponse, GetConsistencyProofRequest, GetConsistencyProofResponse,
    GetInclusionProofRequest, GetInclusionProofResponse, ListLegalHoldsRequest, ListLegalHoldsResponse,
    ListLogsRequest, ListLogsResponse, QueryRecordsRequest, QueryRecordsResponse, ReleaseLegalHoldRequest,
    ReleaseLegalHoldResponse, TailRecordsRequest, TailRecordsResponse, audit_service_server::AuditService,
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
    type ExportLogStream = BoxStream<'static, Result<ExportLogResponse, Status>>;

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

    async fn get_body(&self, request: Request<GetBodyRequest>) -> Result<Response<GetBodyResponse>, Status> {
        let who = principal(&request);
        let found = self.rooms.control.get_body(&who, &request.get_ref().call_id).await;
        Ok(Response::new(found.map_err(status)?))
    }

    async fn erase_bodies(
        &self,
        request: Request<EraseBodiesRequest>,
    ) -> Result<Response<EraseBodiesResponse>, Status> {
        let who = principal(&request);
        let erased = self.rooms.control.erase_bodies(&who, request.into_inner()).await;
        Ok(Response::new(erased.map_err(status)?))
    }

    async fn create_legal_hold(
        &self,
        request: Request<CreateLegalHoldRequest>,
    ) -> Result<Response<CreateLegalHoldResponse>, Status> {
        let who = principal(&request);
        let made = self.rooms.control.create_hold(&who, request.into_inner()).await;
        Ok(Response::new(CreateLegalHoldResponse { hold: Some(made.map_err(status)?) }))
    }

    async fn list_legal_holds(
        &self,
        request: Request<ListLegalHoldsRequest>,
    ) -> Result<Response<ListLegalHoldsResponse>, Status> {
        let who = principal(&request);
        let (holds, next_page_token) = self.rooms.control.list_holds(&who, request.get_ref()).await.map_err(status)?;
        Ok(Response::new(ListLegalHoldsResponse { holds, next_page_token }))
    }

    async fn release_legal_hold(
        &self,
        request: Request<ReleaseLegalHoldRequest>,
    ) -> Result<Response<ReleaseLegalHoldResponse>, Status> {
        let who = principal(&request);
        let released = self.rooms.control.release_hold(&who, &request.get_ref().id).await;
        Ok(Response::new(ReleaseLegalHoldResponse { hold: Some(released.map_err(status)?) }))
    }

    async fn list_logs(&self, request: Request<ListLogsRequest>) -> Result<Response<ListLogsResponse>, Status> {
        let logs = self.rooms.control.list_logs(&principal(&request)).await;
        logs.map(Response::new).map_err(status)
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<GetInclusionProofRequest>,
    ) -> Result<Response<GetInclusionProofResponse>, Status> {
        let proof = self.rooms.control.inclusion_proof(&principal(&request), request.get_ref()).await;
        proof.map(Response::new).map_err(status)
    }

    async fn get_consistency_proof(
        &self,
        request: Request<GetConsistencyProofRequest>,
    ) -> Result<Response<GetConsistencyProofResponse>, Status> {
        let proof = self.rooms.control.consistency_proof(&principal(&request), request.get_ref()).await;
        proof.map(Response::new).map_err(status)
    }

    async fn export_log(&self, request: Request<ExportLogRequest>) -> Result<Response<Self::ExportLogStream>, Status> {
        let who = principal(&request);
        let include_ledger = request.into_inner().include_ledger;
        let pieces = self.rooms.control.export_log(&who, include_ledger).await.map_err(status)?;
        Ok(Response::new(files(pieces, include_ledger).boxed()))
    }
}

/// So much of a file is told at once, in bytes.
const AT_ONCE: usize = 1 << 20;
/// Where the ledger's entries stand.
const LEDGER: &str = "ledger.jsonl";

/// An export in pieces that fit into messages; the ledger's entries as lines of one file.
fn files(mut pieces: Exported, include_ledger: bool) -> impl Stream<Item = Result<ExportLogResponse, Status>> + Send {
    let of = |path: &str, data: Vec<u8>| ExportLogResponse { path: path.to_owned(), data: data.into() };
    async_stream::try_stream! {
        let mut lines = Vec::new();
        while let Some(piece) = pieces.next().await {
            match piece.map_err(status)? {
                Piece::File(file) => {
                    for part in file.bytes.chunks(AT_ONCE) {
                        yield of(&file.path, part.to_vec());
                    }
                }
                Piece::Entry(entry) => {
                    let line = json::to_string(&*entry).map_err(|error| Status::internal(error.to_string()))?;
                    lines.extend_from_slice(line.as_bytes());
                    lines.push(b'\n');
                    if lines.len() >= AT_ONCE / 2 {
                        yield of(LEDGER, std::mem::take(&mut lines));
                    }
                }
            }
        }
        if include_ledger {
            yield of(LEDGER, lines);
        }
    }
}
