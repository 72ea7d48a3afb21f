use std::{pin::pin, sync::Arc, time::Duration};

use futures::{Stream, stream::BoxStream};
use tollgate_audit::{Lagged, Listener, Trail};
use tollgate_domain::{Error, Retry};
use tollgate_proto::v1::{AuditFilter, AuditRecord, ErrorReason, QueryRecordsRequest, TailRecordsRequest};

use crate::{Action, Actor, Control, Principal, Resource, act, is_allowed, store_failed};

/// Records, ended by the first error.
pub type Records = BoxStream<'static, Result<AuditRecord, Error>>;

const PAGE: i64 = 500;
/// How often other replicas' records are looked for.
const LOOK: Duration = Duration::from_millis(250);

impl Control {
    /// Records that exist now and match, oldest first.
    pub async fn query_records(&self, principal: &Principal, request: QueryRecordsRequest) -> Result<Records, Error> {
        let actor = self.lister::<act::ReadAudit>(principal)?;
        if request.after_sequence < 0 || request.limit < 0 {
            return Err(Error::invalid_field("limit", "after_sequence and limit must not be negative"));
        }
        let limit = if request.limit == 0 { i64::MAX } else { request.limit };
        Ok(self.stored(actor, request.filter.unwrap_or_default(), request.after_sequence, limit).await)
    }

    /// Records as they are made, after those that `after_sequence` asks for.
    pub async fn tail_records(&self, principal: &Principal, request: TailRecordsRequest) -> Result<Records, Error> {
        use futures::StreamExt;
        let actor = self.lister::<act::ReadAudit>(principal)?;
        let (filter, after) = (request.filter.unwrap_or_default(), request.after_sequence);
        if self.pipeline.ledger().is_shared() {
            return self.followed(actor, filter, after).await;
        }
        // Listening comes first, so that nothing falls between what is stored and what comes.
        let listener = self.pipeline.trail().listen();
        let mut stored = match after {
            Some(after) => Some(self.stored(actor.clone(), filter.clone(), after, i64::MAX).await),
            None => None,
        };
        let control = self.clone();
        Ok(async_stream::stream! {
            let mut last = after.unwrap_or(0);
            while let Some(record) = match &mut stored { Some(stored) => stored.next().await, None => None } {
                if let Ok(record) = &record {
                    last = record.sequence;
                }
                yield record;
            }
            let mut live = pin!(heard(listener));
            while let Some(next) = live.next().await {
                match next {
                    Ok(record) => {
                        let wanted = record.sequence > last && Trail::matches(&filter, &record);
                        if wanted && control.sees_record(&actor, &record) {
                            yield Ok((*record).clone());
                        }
                    }
                    Err(error) => yield Err(error),
                }
            }
        }
        .boxed())
    }

    /// Records of all replicas as the store gets them: it alone has their order, and the positions from which somebody may go on.
    async fn followed(&self, actor: Actor, filter: AuditFilter, after: Option<i64>) -> Result<Records, Error> {
        use futures::StreamExt;
        let control = self.clone();
        let ledger = self.pipeline.ledger().clone();
        let mut shipped = ledger.watch_shipped();
        let mut at = match after {
            Some(after) => after,
            None => ledger.store().records_end(0).await.map_err(store_failed)?,
        };
        Ok(async_stream::try_stream! {
            loop {
                let end = ledger.store().records_end(at).await.map_err(store_failed)?;
                while at < end {
                    let page = ledger.store().records(&filter, at, PAGE).await.map_err(store_failed)?;
                    let full = page.len() as i64 == PAGE;
                    at = page.last().filter(|_| full).map_or(end, |last| last.sequence.min(end));
                    for record in page {
                        if record.sequence <= end && control.sees_record(&actor, &record) {
                            yield record;
                        }
                    }
                }
                // What is shipped here is told at once; other replicas' records are looked for.
                let _ = tokio::time::timeout(LOOK, shipped.changed()).await;
            }
        }
        .boxed())
    }

    /// Whether the actor reaches the place of which the record is.
    fn sees_record(&self, actor: &Actor, record: &AuditRecord) -> bool {
        is_allowed(actor, Action::ReadAudit, &self.place_of_record(record))
    }

    /// Where the key lay that acted, which may have moved since. Records from before the log do not tell: where it lies now.
    pub(crate) fn place_of_record(&self, record: &AuditRecord) -> Resource {
        if record.replica.is_empty() {
            let entry = self.pipeline.keyring().get(&record.key_id);
            return entry.map_or(Resource::default(), |e| Resource::of_key(e.stored().key()));
        }
        Resource {
            organization_id: record.organization_id.clone(),
            team_id: record.team_id.clone(),
            user_id: record.user_id.clone(),
            key_id: record.key_id.clone(),
        }
    }

    async fn stored(&self, actor: Actor, filter: AuditFilter, after: i64, limit: i64) -> Records {
        use futures::StreamExt;
        let control = self.clone();
        let ledger = self.pipeline.ledger().clone();
        ledger.shipped().await;
        // Of several replicas the position in the store counts, which no journal knows.
        let until = match ledger.is_shared() {
            true => i64::MAX,
            false => ledger.store().positions().await.map_or(i64::MAX, |p| p.audit),
        };
        async_stream::stream! {
            let (mut after, mut left) = (after, limit);
            while left > 0 {
                match ledger.store().records(&filter, after, PAGE).await {
                    Ok(page) => {
                        let full = page.len() as i64 == PAGE;
                        for record in page {
                            if record.sequence > until || left == 0 {
                                return;
                            }
                            after = record.sequence;
                            if control.sees_record(&actor, &record) {
                                left -= 1;
                                yield Ok(record);
                            }
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

/// What somebody hears who listens, until they have missed something.
fn heard(mut listener: Listener) -> impl Stream<Item = Result<Arc<AuditRecord>, Error>> + Send {
    async_stream::stream! {
        while let Some(next) = listener.next().await {
            match next {
                Ok(record) => yield Ok(record),
                Err(Lagged) => {
                    let message = "the reader fell too far behind; go on with after_sequence";
                    yield Err(Error::new(ErrorReason::Overloaded, message).retry(Retry::Later));
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_tail_ends_where_its_reader_has_missed_something() {
        let trail = Trail::default();
        let mut tail = pin!(heard(trail.listen()));
        let record = Arc::new(AuditRecord::default());
        trail.publish(&record);
        assert_eq!(tail.next().await.unwrap().unwrap(), record);
        for _ in 0..5_000 {
            trail.publish(&record);
        }
        assert_eq!(tail.next().await.unwrap().unwrap_err().reason, ErrorReason::Overloaded);
        assert!(tail.next().await.is_none(), "nothing comes behind what is missing");
    }
}
