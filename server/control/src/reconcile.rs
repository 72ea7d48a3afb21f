use tollgate_domain::Error;
use tollgate_proto::v1::{ErrorReason, ReconcileInvoiceRequest, ReconcileInvoiceResponse};

use crate::{Control, Principal, Resource, act};

impl Control {
    /// Compares a provider's invoice with the ledger.
    pub async fn reconcile_invoice(
        &self,
        principal: &Principal,
        _request: ReconcileInvoiceRequest,
    ) -> Result<ReconcileInvoiceResponse, Error> {
        self.allowed::<act::ReconcileInvoice>(principal, |_| Ok(Resource::default()))?;
        Err(Error::new(ErrorReason::RouteNotFound, "this version does not compare invoices yet"))
    }
}
