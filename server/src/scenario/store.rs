use async_trait::async_trait;
use tollgate_proto::v1::{AuditFilter, AuditRecord, BudgetAlert, Lease, LedgerFinding, SpendRow};
use tollgate_store::{
    Balance, Batch, Cell, EntryQuery, Idempotency, Object, Payer, Positions, Posted, PutOutcome, Result, SpendQuery,
    Store, Sums, Tail,
};

/// A ledger of record that forgets: a scenario ends with its process, and its budgets live in the ledger's memory.
pub(super) struct Forgetful;

#[async_trait]
impl Store for Forgetful {
    async fn apply(&self, _batch: &Batch) -> Result<Vec<BudgetAlert>> {
        Ok(Vec::new())
    }

    async fn put(&self, _objects: &[(Object, i64)]) -> Result<PutOutcome> {
        Ok(PutOutcome::Done)
    }

    async fn positions(&self) -> Result<Positions> {
        Ok(Positions::default())
    }

    async fn objects_after(&self, _version: i64) -> Result<Vec<(i64, Object)>> {
        Ok(Vec::new())
    }

    async fn balances(&self, _from: &[(String, i64)]) -> Result<Vec<Balance>> {
        Ok(Vec::new())
    }

    async fn all_balances(&self, _after: Option<&Balance>, _limit: i64) -> Result<Vec<Balance>> {
        Ok(Vec::new())
    }

    async fn cube(&self) -> Result<Vec<(Cell, Sums)>> {
        Ok(Vec::new())
    }

    async fn findings(&self) -> Result<Vec<LedgerFinding>> {
        Ok(Vec::new())
    }

    async fn idempotency_since(&self, _since_us: i64) -> Result<Vec<(Idempotency, String)>> {
        Ok(Vec::new())
    }

    async fn entries(&self, _query: &EntryQuery) -> Result<Vec<Posted>> {
        Ok(Vec::new())
    }

    async fn spend(&self, _query: &SpendQuery) -> Result<Vec<SpendRow>> {
        Ok(Vec::new())
    }

    async fn alerts(&self, _budget_id: Option<&str>, _after: i64, _limit: i64) -> Result<Vec<(i64, BudgetAlert)>> {
        Ok(Vec::new())
    }

    async fn tail(
        &self,
        _payer: &Payer,
        after: Option<Tail>,
        _limit: i64,
    ) -> Result<(Tail, Vec<Posted>, Vec<(i64, BudgetAlert)>)> {
        Ok((after.unwrap_or_default(), Vec::new(), Vec::new()))
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        Ok(Vec::new())
    }

    async fn records(&self, _filter: &AuditFilter, _after_sequence: i64, _limit: i64) -> Result<Vec<AuditRecord>> {
        Ok(Vec::new())
    }

    async fn records_end(&self, after: i64) -> Result<i64> {
        Ok(after)
    }
}
