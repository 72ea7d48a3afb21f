//! How batches end: looked at by one replica at a time, their output read line by line, their charge corrected once.
//!
//! The correction's id follows from the batch's, and the ledger counts an id once: whoever does it again, after a crash, moves nothing. It is
//! journalled by one replica alone, so that it stands in one audit record.

use std::time::Duration;

use futures::StreamExt;
use http::Method;
use serde_json::{Map, Value};
use tollgate_audit::Draft;
use tollgate_domain::{CallId, Error, Failure, Price};
use tollgate_ledger::NO_LEASE;
use tollgate_pipeline::Content;
use tollgate_proto::v1::{ErrorReason, LedgerEntry, LedgerEntryKind, Routing, Usage};
use tollgate_providers::files::{self, Answered, escaped};
use tollgate_router::Deployment;
use tollgate_store::{BATCH_ENDED, EntryQuery, LedgerRow, StoredBatch};

use super::{Batching, failed, is_gone, lines::Lines, text};
use crate::{Control, store_failed};

/// Nobody else looks at a batch for so long, which is prolonged while it is read.
const CLAIM: Duration = Duration::from_secs(30);
/// So many are claimed at once.
const AT_ONCE: i64 = 16;
/// So many are looked at beside each other.
const BESIDE: usize = 4;
/// The least and the most time between two looks at what is due.
const TICK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Answers are no longer than this, nor are their lines.
const MAX_ANSWER: usize = 64 << 20;

/// What a provider does not find for so long, or not all of, is lost. Before, it may have been asked at another place: the charge waits.
const LOST_AFTER: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The most time between two looks at what came to nothing.
const MOST_PAUSE: Duration = Duration::from_secs(6 * 3_600);

/// Whether a batch of this status changes no more.
pub(super) fn has_ended(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "expired" | "cancelled")
}

fn us(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// How long a batch of this age waits when a look at it came to nothing: what is read again may be large, and what did not come for long
/// does not come soon.
fn pause_us(poll_us: i64, age_us: i64) -> i64 {
    poll_us.max((age_us / 16).min(us(MOST_PAUSE)))
}

/// What a batch came to.
#[derive(Default)]
struct Outcome {
    cost: i64,
    usage: Usage,
    answered: i64,
    /// SHA-256 of the output, where it was read.
    sha256: Option<[u8; 32]>,
}

/// How many lines a provider says that it answered, and that it failed at; `None`: it does not say.
#[derive(Clone, Copy)]
struct Counts {
    completed: Option<i64>,
    failed: Option<i64>,
}

impl Counts {
    fn of(batch: &Map<String, Value>) -> Self {
        let count = |name: &str| batch.get("request_counts")?.get(name)?.as_i64();
        Self { completed: count("completed"), failed: count("failed") }
    }

    /// Whether lines of a batch that ended so were answered. Without a count, those of a completed one may have been.
    fn has_answers(self, status: &str) -> bool {
        self.completed.map_or(status == "completed", |completed| completed > 0)
    }

    /// How many answered lines an output lacks that has so many, and so many that failed. Of these, what the provider does not count as
    /// failed it counts as completed.
    fn missing(self, answered: i64, failed: i64) -> i64 {
        let counted = failed.saturating_sub(self.failed.unwrap_or(0)).max(0);
        self.completed.map_or(0, |completed| completed.saturating_sub(answered).saturating_sub(counted).max(0))
    }
}

impl Control {
    /// Looks at batches as they are due, for as long as the gateway runs.
    pub async fn follow_batches(&self) {
        let Some(batching) = self.batching.clone() else { return };
        let tick = batching.poll.clamp(TICK.0, TICK.1);
        loop {
            tokio::select! {
                () = batching.ended.notified() => {}
                () = tokio::time::sleep(tick) => {}
            }
            loop {
                let now_us = self.now_us();
                let due = batching.store.due_batches(now_us, now_us.saturating_add(us(CLAIM)), AT_ONCE).await;
                let due = due.unwrap_or_else(|error| {
                    tracing::debug!(%error, "batches that are due cannot be read now");
                    Vec::new()
                });
                let is_all = due.len() < AT_ONCE as usize;
                futures::stream::iter(due).for_each_concurrent(BESIDE, |batch| self.look_at(&batching, batch)).await;
                if is_all {
                    break;
                }
            }
        }
    }

    /// Looks at a batch that is claimed, and holds the claim meanwhile.
    async fn look_at(&self, batching: &Batching, mut batch: StoredBatch) {
        let id = batch.id.clone();
        let looked = {
            let looking = self.settle_if_ended(batching, &mut batch);
            tokio::pin!(looking);
            loop {
                tokio::select! {
                    looked = &mut looking => break looked,
                    () = tokio::time::sleep(CLAIM / 3) => {
                        let until_us = self.now_us().saturating_add(us(CLAIM));
                        if let Err(error) = batching.store.hold_batch(&id, until_us).await {
                            tracing::debug!(%error, batch = id, "the claim on a batch cannot be prolonged now");
                        }
                    }
                }
            }
        };
        let poll_us = batching.poll_us();
        let pause_us = match looked {
            Ok(()) => return,
            Err(Unread::Short(missing)) => {
                tracing::debug!(batch = id, missing, "the output of a batch comes short; it is read again");
                pause_us(poll_us, self.age_us(&batch))
            }
            Err(Unread::Gone(error)) => {
                tracing::warn!(%error, batch = id, "the output of a batch is gone; its charge stays for now");
                pause_us(poll_us, self.age_us(&batch))
            }
            Err(Unread::Now(error)) => {
                tracing::warn!(%error, batch = id, "a batch cannot be looked at now; its charge stays until it can");
                poll_us
            }
        };
        let next_us = self.now_us().saturating_add(pause_us);
        if let Err(error) = batching.store.note_batch(&batch, Some(next_us)).await {
            tracing::debug!(%error, batch = id, "a batch is looked at again when the claim on it is over");
        }
    }

    fn age_us(&self, batch: &StoredBatch) -> i64 {
        self.now_us().saturating_sub(batch.create_us)
    }

    fn is_old(&self, batch: &StoredBatch) -> bool {
        self.age_us(batch) > us(LOST_AFTER)
    }

    /// Asks after a batch, which is then as its provider tells it, and settles what has ended.
    async fn settle_if_ended(&self, batching: &Batching, batch: &mut StoredBatch) -> Result<(), Unread> {
        let deployment = self.home_of(&batch.model, &batch.charge().deployment)?;
        let path = format!("/batches/{}", escaped(&batch.upstream_id));
        let native = match files::batch(&deployment.endpoint, Method::GET, &path, None).await {
            Ok(native) => native,
            Err(failure) if is_gone(&failure) && self.is_old(batch) => {
                let settled = self.settle(batching, batch.clone(), "lost", lost(batch)).await;
                return settled.map_err(Unread::Now);
            }
            Err(failure) => return Err(failed(failure, &deployment).into()),
        };
        let status = text(&native, "status").to_owned();
        let output = text(&native, "output_file_id").to_owned();
        let counts = Counts::of(&native);
        batch.object_json = self.told(batch, native, &deployment).await?;
        let next_us = (!has_ended(&status)).then(|| self.now_us().saturating_add(batching.poll_us()));
        // What has ended is told so while its output is read, which may come short for long.
        batching.store.note_batch(batch, next_us).await.map_err(store_failed)?;
        if next_us.is_some() {
            return Ok(());
        }
        let is_old = self.is_old(batch);
        let outcome = match output.as_str() {
            "" if !counts.has_answers(&status) => Outcome::default(),
            // It says that it answered, and not what.
            "" if is_old => lost(batch),
            "" => {
                let message = "the provider says that lines were answered, and not where";
                return Err(Error::new(ErrorReason::ProviderProtocol, message).into());
            }
            output => match read(&deployment, output, batch, counts, is_old).await {
                Ok(outcome) => outcome,
                Err(Unread::Gone(_)) if is_old => lost(batch),
                Err(unread) => return Err(unread),
            },
        };
        self.settle(batching, batch.clone(), &status, outcome).await.map_err(Unread::Now)
    }

    /// Corrects a batch's charge to what it cost, once.
    async fn settle(
        &self,
        batching: &Batching,
        batch: StoredBatch,
        status: &str,
        outcome: Outcome,
    ) -> Result<(), Error> {
        let ledger = self.pipeline.ledger();
        let charge = batch.charge();
        let id = format!("adj_{}", batch.id);
        // An earlier try may have come as far as here.
        ledger.shipped().await;
        let query = EntryQuery { attempt_id: Some(id.clone()), limit: 1, ..EntryQuery::default() };
        let before = ledger.store().entries(&query).await.map_err(store_failed)?.pop();
        let cost = match before {
            Some(posted) => charge.cost_nano_usd.saturating_add(posted.entry.cost_nano_usd),
            None => {
                let owner = batching.store.correct_batch(&batch.id, ledger.replica()).await.map_err(store_failed)?;
                if owner != ledger.replica() {
                    // Its journal may have the correction already.
                    tracing::info!(
                        batch = batch.id,
                        replica = owner,
                        "another replica corrects the charge of this batch"
                    );
                    let next_us = self.now_us().saturating_add(batching.poll_us());
                    return batching.store.note_batch(&batch, Some(next_us)).await.map_err(store_failed);
                }
                if outcome.cost > charge.cost_nano_usd {
                    let (cost, held) = (outcome.cost, charge.cost_nano_usd);
                    tracing::warn!(batch = batch.id, cost, held, "the provider billed more for a batch than was held");
                }
                let entry = correction(&batch, id, status, &outcome);
                let mut draft = Draft::open("batch.settle", None);
                self.pipeline.on_record_as(&batch.key_id, &mut draft);
                if let Some(call) = CallId::parse(&charge.call_id) {
                    draft.call(call, &batch.model, None);
                }
                draft.subject(&batch.id, vec![entry.reason.clone(), format!("cost_nano_usd: {}", outcome.cost)]);
                draft.served(Routing::default(), entry.usage.clone());
                if let (Some(key), Some(sha256)) = (self.pipeline.keyring().get(&batch.key_id), &outcome.sha256) {
                    let (stored, customer, call) = (key.stored(), &charge.customer, &charge.call_id);
                    let committed = self.pipeline.commit(stored.key(), customer, call, Content::Answer, sha256).await;
                    draft.bodies(Vec::new(), committed.0, committed.1);
                }
                let lease_windows = vec![NO_LEASE; entry.charges.len()];
                let row = LedgerRow { entry, lease_windows, idempotency: None };
                ledger.change(Vec::new(), draft.close(None, 0), vec![row]);
                tollgate_planted::step("batch_corrected");
                ledger.shipped().await;
                tollgate_planted::step("batch_correction_shipped");
                outcome.cost
            }
        };
        let settled = StoredBatch { cost_nano_usd: Some(cost), ..batch };
        batching.store.settle_batch(&settled).await.map(drop).map_err(store_failed)
    }
}

/// The entry that replaces a batch's charge by what it cost: where the charge counts, it counts too.
fn correction(batch: &StoredBatch, attempt_id: String, status: &str, outcome: &Outcome) -> LedgerEntry {
    let charge = batch.charge();
    let delta = outcome.cost.saturating_sub(charge.cost_nano_usd);
    let (answered, lines) = (outcome.answered, batch.lines);
    let usage = Usage {
        cost_nano_usd: outcome.cost,
        held_nano_usd: charge.cost_nano_usd,
        service_tier_native: Some("batch".into()),
        ..outcome.usage.clone()
    };
    LedgerEntry {
        attempt_id,
        kind: LedgerEntryKind::Adjustment as i32,
        usage: Some(usage),
        cost_nano_usd: delta,
        held_nano_usd: charge.cost_nano_usd,
        low_nano_usd: delta,
        high_nano_usd: delta,
        outcome: BATCH_ENDED.into(),
        adjusts_attempt_id: charge.attempt_id.clone(),
        reason: format!("the batch {} ended as {status}: {answered} of {lines} lines are paid for", batch.id),
        ..charge.clone()
    }
}

/// Nobody can tell what it cost: its charge stays.
fn lost(batch: &StoredBatch) -> Outcome {
    let usage = Usage { estimated: true, ..Usage::default() };
    Outcome { cost: batch.charge().cost_nano_usd, usage, answered: batch.lines, sha256: None }
}

/// Why a look came to nothing.
enum Unread {
    Gone(Error),
    /// So many answered lines are not there yet.
    Short(i64),
    Now(Error),
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        Self::Now(error)
    }
}

async fn read(
    deployment: &Deployment,
    output: &str,
    batch: &StoredBatch,
    counts: Counts,
    is_old: bool,
) -> Result<Outcome, Unread> {
    let unread = |failure: Failure| match is_gone(&failure) {
        true => Unread::Gone(failed(failure, deployment)),
        false => Unread::Now(failed(failure, deployment)),
    };
    let bytes = files::content(&deployment.endpoint, output).await.map_err(unread)?;
    let (provider, name) = (deployment.provider.clone(), deployment.name.clone());
    let chunks = bytes.map(move |read| read.map_err(|failure| failure.into_error(&provider, &name, 1))).boxed();
    summed(Lines::new(chunks, MAX_ANSWER), batch, counts, is_old).await
}

/// Adds up what the lines of an output consumed. One that lacks answered lines is not all there yet, unless the batch is old.
async fn summed(mut lines: Lines, batch: &StoredBatch, counts: Counts, is_old: bool) -> Result<Outcome, Unread> {
    let price = batch.price.as_ref().map(Price::from);
    let mut outcome = Outcome::default();
    let (mut failed, mut untold, mut unreadable) = (0, 0, 0);
    while let Some(line) = lines.next().await? {
        match files::answered(&line) {
            Some(Answered::With(usage)) => {
                let usage = Usage { service_tier_native: Some("batch".into()), native_json: None, ..*usage };
                let cost = price.as_ref().map_or(0, |price| price.cost(&usage).0);
                outcome.cost = outcome.cost.saturating_add(cost);
                outcome.usage.add(&usage);
                outcome.answered += 1;
            }
            Some(Answered::Failed) => failed += 1,
            Some(Answered::Untold) => untold += 1,
            None => unreadable += 1,
        }
    }
    let answered = outcome.answered + untold;
    let missing = counts.missing(answered, failed).min((batch.lines - answered).max(0));
    if missing > 0 {
        if !is_old {
            return Err(Unread::Short(missing));
        }
        tracing::warn!(batch = batch.id, missing, "the output of a batch stays short; what is missing is estimated");
    }
    // What cannot be read may be what is missing.
    untold += missing.max(unreadable);
    if untold > 0 {
        // A line that does not say what it consumed costs its share of what was held.
        let share = batch.charge().cost_nano_usd / batch.lines.max(1);
        outcome.cost = outcome.cost.saturating_add(share.saturating_mul(untold));
        outcome.usage.estimated = true;
        outcome.answered += untold;
    }
    outcome.sha256 = Some(lines.sha256());
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    const ANSWER: &str =
        r#"{"response":{"status_code":200,"body":{"usage":{"prompt_tokens":7,"completion_tokens":3}}}}"#;
    const FAILURE: &str = r#"{"response":{"status_code":400,"body":{}}}"#;
    const HALF: &str = r#"{"response":{"status_code":2"#;

    fn counts(counts: Value) -> Counts {
        Counts::of(&Map::from_iter([("request_counts".to_owned(), counts)]))
    }

    /// Cost, answered lines and whether it is an estimate, of a batch of three lines that 300 were held for and whose answers cost nothing.
    async fn came_to(output: &[&str], told: Value, is_old: bool) -> Option<(i64, i64, bool)> {
        let charge = LedgerEntry { cost_nano_usd: 300, ..LedgerEntry::default() };
        let batch = StoredBatch { lines: 3, charge: Some(charge), ..StoredBatch::default() };
        let output = futures::stream::iter([Ok(Bytes::from(output.join("\n")))]);
        let summed = summed(Lines::new(output.boxed(), MAX_ANSWER), &batch, counts(told), is_old).await;
        summed.ok().map(|outcome| (outcome.cost, outcome.answered, outcome.usage.estimated))
    }

    #[tokio::test]
    async fn an_output_that_lacks_answers_waits_until_the_batch_is_old() {
        let told = json!({"total": 3, "completed": 3, "failed": 0});
        assert_eq!(came_to(&[ANSWER; 3], told.clone(), false).await, Some((0, 3, false)));
        for output in [&[ANSWER; 2][..], &[ANSWER, ANSWER, HALF], &[ANSWER, HALF, ANSWER]] {
            assert_eq!(came_to(output, told.clone(), false).await, None, "{output:?}");
            assert_eq!(came_to(output, told.clone(), true).await, Some((100, 3, true)), "{output:?}");
        }
        assert_eq!(came_to(&[], told, true).await, Some((300, 3, true)));
    }

    #[test]
    fn a_look_that_came_to_nothing_is_repeated_the_later_the_older_the_batch_is() {
        let (minute, hour) = (us(Duration::from_secs(60)), us(Duration::from_secs(3_600)));
        for (age, pause) in [
            (-hour, minute),
            (0, minute),
            (16 * minute, minute),
            (8 * hour, hour / 2),
            (4 * 24 * hour, 6 * hour),
            (7 * 24 * hour, 6 * hour),
        ] {
            assert_eq!(pause_us(minute, age), pause, "{age}");
        }
        assert_eq!(pause_us(12 * hour, 7 * 24 * hour), 12 * hour, "no sooner than any other");
    }

    #[tokio::test]
    async fn an_output_without_counts_is_taken_as_it_is() {
        assert_eq!(came_to(&[ANSWER; 2], Value::Null, false).await, Some((0, 2, false)));
        assert_eq!(came_to(&[ANSWER, HALF], Value::Null, false).await, Some((100, 2, true)));
    }

    #[tokio::test]
    async fn failures_in_an_output_are_among_either_count() {
        let output = [ANSWER, ANSWER, FAILURE];
        let apart = json!({"completed": 2, "failed": 1});
        for told in [json!({"completed": 3, "failed": 0}), json!({"completed": 3}), apart.clone()] {
            assert_eq!(came_to(&output, told, false).await, Some((0, 2, false)));
        }
        assert_eq!(came_to(&[ANSWER, FAILURE], apart, false).await, None);
    }

    #[test]
    fn what_is_not_counted_is_not_nothing() {
        assert!(counts(json!({"completed": 1})).has_answers("expired"));
        assert!(!counts(json!({"completed": 0})).has_answers("completed"));
        for untold in [Value::Null, json!({}), json!({"completed": null})] {
            assert!(counts(untold.clone()).has_answers("completed"));
            assert!(!counts(untold).has_answers("failed"));
        }
    }
}
