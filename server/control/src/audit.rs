use futures::stream::BoxStream;
use tollgate_audit::{Lagged, Trail};
use tollgate_domain::{Error, Retry};
use tollgate_proto::v1::{AuditFilter, AuditRecord, ErrorReason, QueryRecordsRequest, TailRecordsRequest};

use crate::{Action, Control, Principal, store_failed};

/// Records, ended by the first error.
pub type Records = BoxStream<'static, Result<AuditRecord, Error>>;

const PAGE: i64 = 500;

impl Control {
    /// Records that exist now and match, oldest first.
    pub async fn query_records(&self, principal: &Principal, request: QueryRecordsRequest) -> Result<Records, Error> {
        self.allowed(principal, Action::ReadAudit)?;
        if request.after_sequence < 0 || request.limit < 0 {
            return Err(Error::invalid_field("limit", "after_sequence and limit must not be negative"));
        }
        let limit = if request.limit == 0 { i64::MAX } else { request.limit };
        Ok(self.stored(request.filter.unwrap_or_default(), request.after_sequence, limit).await)
    }

    /// Records as they are made, after those that `after_sequence` asks for.
    pub async fn tail_records(&self, principal: &Principal, request: TailRecordsRequest) -> Result<Records, Error> {
        use futures::StreamExt;
        self.allowed(principal, Action::ReadAudit)?;
        let filter = request.filter.unwrap_or_default();
        // Listening comes first, so that nothing falls between what is stored and what comes.
        let mut listener = self.pipeline.trail().listen();
        let mut stored = match request.after_sequence {
            Some(after) => Some(self.stored(filter.clone(), after, i64::MAX).await),
            None => None,
        };
        Ok(async_stream::stream! {
            let mut last = 0;
            while let Some(record) = match &mut stored { Some(stored) => stored.next().await, None => None } {
                if let Ok(record) = &record {
                    last = record.sequence;
                }
                yield record;
            }
            while let Some(next) = listener.next().await {
                match next {
                    Ok(record) if record.sequence > last && Trail::matches(&filter, &record) => yield Ok((*record).clone()),
                    Ok(_) => {}
                    Err(Lagged) => {
                        let message = "the reader fell too far behind; go on with after_sequence";
                        yield Err(Error::new(ErrorReason::Overloaded, message).retry(Retry::Later));
                        return;
                    }
                }
            }
        }
        .boxed())
    }

    async fn stored(&self, filter: AuditFilter, after: i64, limit: i64) -> Records {
        use futures::StreamExt;
        let ledger = self.pipeline.ledger().clone();
        ledger.shipped().await;
        let until = ledger.store().positions().await.map_or(i64::MAX, |p| p.audit);
        async_stream::stream! {
            let (mut after, mut left) = (after, limit);
            while left > 0 {
                match ledger.store().records(&filter, after, left.min(PAGE)).await {
                    Ok(page) => {
                        let full = page.len() as i64 == left.min(PAGE);
                        for record in page {
                            if record.sequence > until {
                                return;
                            }
                            (after, left) = (record.sequence, left - 1);
                            yield Ok(record);
                        }
                        if !full {
                            return;
                        }
                    }
                    Err(error) => {
                        yield Err(store_failed(error));
                        return;
                    }
                }
            }
        }
        .boxed()
    }
}
