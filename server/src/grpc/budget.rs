use futures::{StreamExt, stream::BoxStream};
use tokio_util::sync::CancellationToken;
use tollgate_proto::v1::{
    ApproveAdjustmentRequest, ApproveAdjustmentResponse, CheckLedgerRequest, CheckLedgerResponse, CloseReplicaRequest,
    CloseReplicaResponse, CreateAdjustmentRequest, CreateAdjustmentResponse, CreateBudgetRequest, CreateBudgetResponse,
    DeleteBudgetRequest, DeleteBudgetResponse, GetBudgetRequest, GetBudgetResponse, GetSpendRequest, GetSpendResponse,
    IncreaseBudgetRequest, IncreaseBudgetResponse, ListAdjustmentsRequest, ListAdjustmentsResponse,
    ListBudgetAlertsRequest, ListBudgetAlertsResponse, ListBudgetsRequest, ListBudgetsResponse, ListHoldsRequest,
    ListHoldsResponse, ListLedgerEntriesRequest, ListLedgerEntriesResponse, ReconcileInvoiceRequest,
    ReconcileInvoiceResponse, UpdateBudgetRequest, UpdateBudgetResponse, WatchSpendRequest, WatchSpendResponse,
    budget_service_server::BudgetService,
};
use tonic::{Request, Response, Status};

use super::{Rooms, principal, status::status, until_shutdown};

/// `BudgetService`.
pub(crate) struct Door {
    pub(crate) rooms: Rooms,
    /// A watch ends only by this.
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl BudgetService for Door {
    type WatchSpendStream = BoxStream<'static, Result<WatchSpendResponse, Status>>;

    async fn watch_spend(
        &self,
        request: Request<WatchSpendRequest>,
    ) -> Result<Response<Self::WatchSpendStream>, Status> {
        let who = principal(&request);
        let updates = self.rooms.control.watch_spend(&who, request.get_ref()).await.map_err(status)?;
        Ok(Response::new(until_shutdown(
            updates.map(|u| u.map_err(status)),
            self.shutdown.clone(),
            "watch again elsewhere",
        )))
    }

    async fn create_budget(
        &self,
        request: Request<CreateBudgetRequest>,
    ) -> Result<Response<CreateBudgetResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let (budget, opening) = (asked.budget.unwrap_or_default(), asked.opening_nano_usd);
        let made = self.rooms.control.create_budget(&who, budget, &asked.request_id, opening).await;
        Ok(Response::new(CreateBudgetResponse { budget: Some(made.map_err(status)?) }))
    }

    async fn get_budget(&self, request: Request<GetBudgetRequest>) -> Result<Response<GetBudgetResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let budget = self.rooms.control.get_budget(&who, &asked.id, &asked.key_id).await.map_err(status)?;
        Ok(Response::new(GetBudgetResponse { budget: Some(budget) }))
    }

    async fn list_budgets(
        &self,
        request: Request<ListBudgetsRequest>,
    ) -> Result<Response<ListBudgetsResponse>, Status> {
        let who = principal(&request);
        let page = self.rooms.control.list_budgets(&who, request.get_ref()).await;
        let (budgets, next_page_token) = page.map_err(status)?;
        Ok(Response::new(ListBudgetsResponse { budgets, next_page_token }))
    }

    async fn update_budget(
        &self,
        request: Request<UpdateBudgetRequest>,
    ) -> Result<Response<UpdateBudgetResponse>, Status> {
        let who = principal(&request);
        let budget = self.rooms.control.update_budget(&who, request.into_inner()).await.map_err(status)?;
        Ok(Response::new(UpdateBudgetResponse { budget: Some(budget) }))
    }

    async fn increase_budget(
        &self,
        request: Request<IncreaseBudgetRequest>,
    ) -> Result<Response<IncreaseBudgetResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let budget = self.rooms.control.increase_budget(&who, &asked.id, asked.increase).await.map_err(status)?;
        Ok(Response::new(IncreaseBudgetResponse { budget: Some(budget) }))
    }

    async fn delete_budget(
        &self,
        request: Request<DeleteBudgetRequest>,
    ) -> Result<Response<DeleteBudgetResponse>, Status> {
        let who = principal(&request);
        self.rooms.control.delete_budget(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(DeleteBudgetResponse {}))
    }

    async fn get_spend(&self, request: Request<GetSpendRequest>) -> Result<Response<GetSpendResponse>, Status> {
        let who = principal(&request);
        let (rows, total) = self.rooms.control.spend(&who, request.get_ref()).await.map_err(status)?;
        Ok(Response::new(GetSpendResponse { rows, total: Some(total) }))
    }

    async fn list_ledger_entries(
        &self,
        request: Request<ListLedgerEntriesRequest>,
    ) -> Result<Response<ListLedgerEntriesResponse>, Status> {
        let who = principal(&request);
        let page = self.rooms.control.ledger_entries(&who, request.get_ref()).await;
        let (entries, next_page_token) = page.map_err(status)?;
        Ok(Response::new(ListLedgerEntriesResponse { entries, next_page_token }))
    }

    async fn list_budget_alerts(
        &self,
        request: Request<ListBudgetAlertsRequest>,
    ) -> Result<Response<ListBudgetAlertsResponse>, Status> {
        let who = principal(&request);
        let page = self.rooms.control.budget_alerts(&who, request.get_ref()).await;
        let (alerts, next_page_token) = page.map_err(status)?;
        Ok(Response::new(ListBudgetAlertsResponse { alerts, next_page_token }))
    }

    async fn list_holds(&self, request: Request<ListHoldsRequest>) -> Result<Response<ListHoldsResponse>, Status> {
        let who = principal(&request);
        let held = self.rooms.control.holds(&who, &request.into_inner().budget_id).await.map_err(status)?;
        Ok(Response::new(held))
    }

    async fn check_ledger(
        &self,
        request: Request<CheckLedgerRequest>,
    ) -> Result<Response<CheckLedgerResponse>, Status> {
        let who = principal(&request);
        let checked = self.rooms.control.check_ledger(&who).await.map_err(status)?;
        Ok(Response::new(checked))
    }

    async fn reconcile_invoice(
        &self,
        request: Request<ReconcileInvoiceRequest>,
    ) -> Result<Response<ReconcileInvoiceResponse>, Status> {
        let who = principal(&request);
        let compared = self.rooms.control.reconcile_invoice(&who, request.into_inner()).await.map_err(status)?;
        Ok(Response::new(compared))
    }

    async fn create_adjustment(
        &self,
        request: Request<CreateAdjustmentRequest>,
    ) -> Result<Response<CreateAdjustmentResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let made =
            self.rooms.control.create_adjustment(&who, asked.adjustment.unwrap_or_default(), &asked.request_id).await;
        Ok(Response::new(CreateAdjustmentResponse { adjustment: Some(made.map_err(status)?) }))
    }

    async fn approve_adjustment(
        &self,
        request: Request<ApproveAdjustmentRequest>,
    ) -> Result<Response<ApproveAdjustmentResponse>, Status> {
        let who = principal(&request);
        let posted = self.rooms.control.approve_adjustment(&who, &request.into_inner().id).await;
        Ok(Response::new(ApproveAdjustmentResponse { adjustment: Some(posted.map_err(status)?) }))
    }

    async fn list_adjustments(
        &self,
        request: Request<ListAdjustmentsRequest>,
    ) -> Result<Response<ListAdjustmentsResponse>, Status> {
        let who = principal(&request);
        let page = self.rooms.control.adjustments(&who, request.get_ref()).await;
        let (adjustments, next_page_token) = page.map_err(status)?;
        Ok(Response::new(ListAdjustmentsResponse { adjustments, next_page_token }))
    }

    async fn close_replica(
        &self,
        request: Request<CloseReplicaRequest>,
    ) -> Result<Response<CloseReplicaResponse>, Status> {
        let who = principal(&request);
        let closed = self.rooms.control.close_replica(&who, &request.into_inner().replica).await;
        Ok(Response::new(CloseReplicaResponse { released_nano_usd: closed.map_err(status)? }))
    }
}
