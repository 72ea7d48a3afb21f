//! What is only read: spend and the ledger, the audit log, models.

use futures::{Stream, StreamExt, TryStreamExt};
use tollgate_proto::v1::{
    self, audit_service_client::AuditServiceClient, budget_service_client::BudgetServiceClient,
    model_service_client::ModelServiceClient,
};

use crate::{
    Error,
    calls::{call, listed, request, sub_client},
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
