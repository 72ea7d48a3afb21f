use tollgate_proto::v1::{
    CreateBudgetRequest, CreateBudgetResponse, DeleteBudgetRequest, DeleteBudgetResponse, GetBudgetRequest,
    GetBudgetResponse, GetSpendRequest, GetSpendResponse, ListLedgerEntriesRequest, ListLedgerEntriesResponse,
    UpdateBudgetRequest, UpdateBudgetResponse, budget_service_server::BudgetService,
};
use tonic::{Request, Response, Status};

use super::{Rooms, principal, status::status};

/// `BudgetService`.
pub(crate) struct Door(pub(crate) Rooms);

#[tonic::async_trait]
impl BudgetService for Door {
    async fn create_budget(
        &self,
        request: Request<CreateBudgetRequest>,
    ) -> Result<Response<CreateBudgetResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner().budget.unwrap_or_default();
        let budget = self.0.control.create_budget(&who, asked).await.map_err(status)?;
        Ok(Response::new(CreateBudgetResponse { budget: Some(budget) }))
    }

    async fn get_budget(&self, request: Request<GetBudgetRequest>) -> Result<Response<GetBudgetResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let budget = self.0.control.get_budget(&who, &asked.id, &asked.key_id).await.map_err(status)?;
        Ok(Response::new(GetBudgetResponse { budget: Some(budget) }))
    }

    async fn update_budget(
        &self,
        request: Request<UpdateBudgetRequest>,
    ) -> Result<Response<UpdateBudgetResponse>, Status> {
        let who = principal(&request);
        let budget = self.0.control.update_budget(&who, request.into_inner()).await.map_err(status)?;
        Ok(Response::new(UpdateBudgetResponse { budget: Some(budget) }))
    }

    async fn delete_budget(
        &self,
        request: Request<DeleteBudgetRequest>,
    ) -> Result<Response<DeleteBudgetResponse>, Status> {
        let who = principal(&request);
        self.0.control.delete_budget(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(DeleteBudgetResponse {}))
    }

    async fn get_spend(&self, request: Request<GetSpendRequest>) -> Result<Response<GetSpendResponse>, Status> {
        let who = principal(&request);
        let (rows, total) = self.0.control.spend(&who, request.get_ref()).await.map_err(status)?;
        Ok(Response::new(GetSpendResponse { rows, total: Some(total) }))
    }

    async fn list_ledger_entries(
        &self,
        request: Request<ListLedgerEntriesRequest>,
    ) -> Result<Response<ListLedgerEntriesResponse>, Status> {
        let who = principal(&request);
        let page = self.0.control.ledger_entries(&who, request.get_ref()).await;
        let (entries, next_page_token) = page.map_err(status)?;
        Ok(Response::new(ListLedgerEntriesResponse { entries, next_page_token }))
    }
}
