//! A provider's invoice beside the ledger.

use tollgate_domain::Error;
use tollgate_proto::v1::{ReconcileInvoiceRequest, ReconcileInvoiceResponse};
use tollgate_reconcile::{Invoice, compare};
use tollgate_store::EntryQuery;

use crate::{Control, Principal, Resource, act, store_failed};

/// The largest invoice.
const MAX_BYTES: usize = 16 << 20;
const PAGE: i64 = 10_000;
const DAY_US: i64 = 86_400_000_000;

impl Control {
    /// Compares a provider's invoice with the ledger.
    pub async fn reconcile_invoice(
        &self,
        principal: &Principal,
        request: ReconcileInvoiceRequest,
    ) -> Result<ReconcileInvoiceResponse, Error> {
        self.allowed::<act::ReconcileInvoice>(principal, |_| Ok(Resource::default()))?;
        if request.provider.is_empty() {
            return Err(Error::invalid_field("provider", "is needed: its name in the configuration"));
        }
        if request.csv.len() > MAX_BYTES {
            return Err(Error::invalid_field("csv", "must be at most 16 MiB; split it by days"));
        }
        let invoice = Invoice::read(request.format(), &request.csv).map_err(|error| match error {
            tollgate_reconcile::InvoiceError::Format => Error::invalid_field("format", error.to_string()),
            other => Error::invalid_field("csv", other.to_string()),
        })?;
        let ledger = self.pipeline.ledger();
        ledger.shipped().await;
        let mut query = EntryQuery { provider: Some(request.provider.clone()), limit: PAGE, ..EntryQuery::default() };
        let starts = invoice.lines.iter().filter_map(|line| start_of(&line.day));
        if let (Some(first), Some(last)) = (starts.clone().min(), starts.max()) {
            (query.start_us, query.end_us) = (Some(first), Some(last.saturating_add(DAY_US)));
        }
        let mut entries = Vec::new();
        loop {
            let page = ledger.store().entries(&query).await.map_err(store_failed)?;
            let full = page.len() as i64 == PAGE;
            query.after = page.last().map_or(query.after, |posted| posted.position);
            entries.extend(page.into_iter().map(|posted| posted.entry));
            if !full {
                break;
            }
        }
        let table = self.pipeline.table();
        let prices = |model: &str| {
            let deployments = table.groups.values().flat_map(|group| &group.deployments);
            let of_model = deployments.filter(|d| d.provider == request.provider && d.endpoint.target.model == model);
            of_model.filter_map(|d| d.price.clone()).collect()
        };
        Ok(compare(&invoice, &entries, &prices))
    }
}

fn start_of(day: &str) -> Option<i64> {
    let date: jiff::civil::Date = day.parse().ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond())
}
