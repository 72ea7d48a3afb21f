//! What is only read: spend and the ledger, the audit log, models.

use futures::{Stream, StreamExt, TryStreamExt};
use tollgate_proto::v1::{
    self, audit_service_client::AuditServiceClient, budget_service_client::BudgetServiceClient,
    model_service_client::ModelServiceClient,
};

use crate::{
    Error,
    admin::there,
    calls::{call, listed, request, request_id, sub_client},
};

sub_client! {
    /// What was spent.
    Spend: BudgetServiceClient
}
sub_client! {
    /// The audit log.
    Audit: AuditServiceClient
}
sub_client! {
    /// Models and how calls to them are routed.
    Models: ModelServiceClient
}

impl Spend {
    /// What was spent, grouped.
    pub async fn get(&self, asked: v1::GetSpendRequest) -> Result<v1::GetSpendResponse, Error> {
        call!(safe, self, get_spend, asked)
    }

    /// All ledger entries that `filter` lets through, oldest first.
    pub fn entries(
        &self,
        filter: v1::ListLedgerEntriesRequest,
    ) -> impl Stream<Item = Result<v1::LedgerEntry, Error>> + Send + use<> {
        listed!(self, list_ledger_entries, filter, entries)
    }

    /// What calls in flight hold at the replica that answers, and what replicas have taken ahead; of one budget, or of all for the empty id.
    pub async fn holds(&self, budget_id: &str) -> Result<v1::ListHoldsResponse, Error> {
        call!(safe, self, list_holds, v1::ListHoldsRequest { budget_id: budget_id.to_owned() })
    }

    /// Whether the ledger's invariants hold.
    pub async fn check(&self) -> Result<v1::CheckLedgerResponse, Error> {
        call!(safe, self, check_ledger, v1::CheckLedgerRequest {})
    }

    /// A provider's invoice beside the ledger, with a cause for each difference.
    pub async fn reconcile(&self, asked: v1::ReconcileInvoiceRequest) -> Result<v1::ReconcileInvoiceResponse, Error> {
        call!(safe, self, reconcile_invoice, asked)
    }

    /// Proposes a correction of the ledger, which is posted at once where it is small. Without a `request_id` the call gets one.
    pub async fn adjust(&self, mut asked: v1::CreateAdjustmentRequest) -> Result<v1::Adjustment, Error> {
        asked.request_id = request_id(asked.request_id);
        there(call!(safe, self, create_adjustment, asked)?.adjustment)
    }

    /// Posts a correction that somebody else proposed.
    pub async fn approve(&self, id: &str) -> Result<v1::Adjustment, Error> {
        there(call!(once, self, approve_adjustment, v1::ApproveAdjustmentRequest { id: id.to_owned() })?.adjustment)
    }

    /// All corrections, oldest first.
    pub fn adjustments(&self) -> impl Stream<Item = Result<v1::Adjustment, Error>> + Send + use<> {
        listed!(self, list_adjustments, v1::ListAdjustmentsRequest::default(), adjustments)
    }

    /// Gives up a replica whose disk is lost; tells what its leases held, in nano-dollars.
    pub async fn close_replica(&self, replica: &str) -> Result<i64, Error> {
        let asked = v1::CloseReplicaRequest { replica: replica.to_owned() };
        Ok(call!(once, self, close_replica, asked)?.released_nano_usd)
    }

    /// What happens to money, as it happens. Ends when it is dropped; a deadline is only where the client was given one.
    pub async fn watch(
        &self,
        filter: v1::WatchSpendRequest,
    ) -> Result<impl Stream<Item = Result<v1::WatchSpendResponse, Error>> + Send + use<>, Error> {
        let told = self.stub.clone().watch_spend(request(filter, self.timeout)).await?;
        Ok(told.into_inner().map_err(Error::from))
    }
}

impl Audit {
    /// Records that match, oldest first, up to the newest that existed when the call began.
    pub async fn query(
        &self,
        asked: v1::QueryRecordsRequest,
    ) -> Result<impl Stream<Item = Result<v1::AuditRecord, Error>> + Send + use<>, Error> {
        let told = self.stub.clone().query_records(request(asked, self.timeout)).await?;
        Ok(told.into_inner().map_err(Error::from).filter_map(|told| async { told.map(|t| t.record).transpose() }))
    }

    /// Records as they are made. Ends when it is dropped; a deadline is only where the client was given one.
    pub async fn tail(
        &self,
        asked: v1::TailRecordsRequest,
    ) -> Result<impl Stream<Item = Result<v1::AuditRecord, Error>> + Send + use<>, Error> {
        let told = self.stub.clone().tail_records(request(asked, self.timeout)).await?;
        Ok(told.into_inner().map_err(Error::from).filter_map(|told| async { told.map(|t| t.record).transpose() }))
    }

    /// The prompt and the answer of a call, where they are kept, and what opens the commitments to them.
    pub async fn body(&self, call_id: &str) -> Result<v1::GetBodyResponse, Error> {
        call!(safe, self, get_body, v1::GetBodyRequest { call_id: call_id.to_owned() })
    }

    /// Makes bodies unreadable for good.
    pub async fn erase(&self, asked: v1::EraseBodiesRequest) -> Result<v1::EraseBodiesResponse, Error> {
        call!(once, self, erase_bodies, asked)
    }

    /// Keeps bodies from being erased.
    pub async fn create_hold(&self, hold: v1::LegalHold) -> Result<v1::LegalHold, Error> {
        let made = call!(once, self, create_legal_hold, v1::CreateLegalHoldRequest { hold: Some(hold) })?.hold;
        made.ok_or_else(|| tonic::Status::internal("the gateway's answer is empty").into())
    }

    /// Legal holds, oldest first.
    pub fn holds(
        &self,
        filter: v1::ListLegalHoldsRequest,
    ) -> impl Stream<Item = Result<v1::LegalHold, Error>> + Send + use<> {
        listed!(self, list_legal_holds, filter, holds)
    }

    /// Ends a hold.
    pub async fn release_hold(&self, id: &str) -> Result<v1::LegalHold, Error> {
        let asked = v1::ReleaseLegalHoldRequest { id: id.to_owned() };
        let released = call!(once, self, release_legal_hold, asked)?.hold;
        released.ok_or_else(|| tonic::Status::internal("the gateway's answer is empty").into())
    }
}

impl Models {
    /// All models that the key may use.
    pub fn list(&self) -> impl Stream<Item = Result<v1::Model, Error>> + Send + use<> {
        listed!(self, list_models, v1::ListModelsRequest::default(), models)
    }

    /// One model with its deployments.
    pub async fn get(&self, name: &str) -> Result<v1::Model, Error> {
        let asked = v1::GetModelRequest { name: name.to_owned() };
        let model = call!(safe, self, get_model, asked)?.model;
        model.ok_or_else(|| tonic::Status::internal("the gateway's answer is empty").into())
    }

    /// Makes a deployment that lives in the gateway's store. Without a `request_id` the call gets one.
    pub async fn create(&self, mut asked: v1::CreateModelRequest) -> Result<v1::RuntimeModel, Error> {
        asked.request_id = request_id(asked.request_id);
        there(call!(safe, self, create_model, asked)?.model)
    }

    /// All deployments that live in the store, oldest first.
    pub fn created(&self) -> impl Stream<Item = Result<v1::RuntimeModel, Error>> + Send + use<> {
        listed!(self, list_runtime_models, v1::ListRuntimeModelsRequest::default(), models)
    }

    /// Takes such a deployment away; calls that it serves end in peace.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        call!(once, self, delete_model, v1::DeleteModelRequest { id: id.to_owned() }).map(drop)
    }

    /// How the deployments of a model are doing.
    pub async fn route_state(&self, model: &str) -> Result<Vec<v1::RouteState>, Error> {
        let asked = v1::GetRouteStateRequest { model: model.to_owned() };
        Ok(call!(safe, self, get_route_state, asked)?.states)
    }

    /// Where a call would go, and why, without making it.
    pub async fn explain(&self, call: v1::CompletionRequest) -> Result<v1::ExplainRouteResponse, Error> {
        let asked = v1::ExplainRouteRequest { request: Some(call) };
        call!(safe, self, explain_route, asked)
    }
}
