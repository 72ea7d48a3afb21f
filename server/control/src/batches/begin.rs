use std::sync::Arc;

use http::Method;
use serde_json::{Map, Value, json};
use tollgate_audit::Draft;
use tollgate_domain::{CallId, Error, NanoUsd, Price, new_id};
use tollgate_ledger::{Ask, At, Before, End, Hold, Opening, Payer};
use tollgate_pipeline::{Caller, Content};
use tollgate_proto::v1::{
    Batch, CreateBatchRequest, ErrorReason, GatewayOptions, LedgerEntry, LedgerEntryKind, ListBatchesRequest, Receipt,
    Usage,
};
use tollgate_providers::files::{self, escaped};
use tollgate_redact::clean;
use tollgate_router::Deployment;
use tollgate_store::{LedgerRow, StoredBatch, StoredFile};

use super::{Noted, batch_of, ending, failed, files::version, is_gone, labels, listing, paged, text, written};
use crate::{Control, Principal, store_failed};

const CREATE: &str = "batch.create";

/// Money that is held for a batch, and what it becomes.
struct Charged {
    hold: Hold,
    at_provider: Option<Hold>,
    charge: LedgerEntry,
    lease_windows: Vec<i64>,
}

impl Charged {
    /// The entry, once it is journalled by whoever takes the `End`.
    fn settled(mut self, outcome: &str) -> LedgerRow {
        let cost = NanoUsd(self.charge.cost_nano_usd);
        self.hold.settle(cost);
        if let Some(at_provider) = &mut self.at_provider {
            at_provider.settle(cost);
        }
        outcome.clone_into(&mut self.charge.outcome);
        LedgerRow { entry: self.charge, lease_windows: self.lease_windows, idempotency: None }
    }
}

impl Control {
    /// Begins a batch of the caller's; with the promise that the log holds its record, where that is wanted.
    pub async fn create_batch(
        &self,
        principal: &Principal,
        asked: CreateBatchRequest,
    ) -> Result<(Batch, Option<Receipt>), Error> {
        let wants_receipt = asked.tollgate.as_ref().is_some_and(|options| options.receipt);
        let caller = self.batch_caller_with_receipt(principal, CREATE, wants_receipt).await?;
        let (this, principal) = (self.clone(), principal.clone());
        self.to_the_end(async move {
            let mut draft = Draft::open(CREATE, principal.peer.as_deref());
            draft.caller(caller.key());
            Box::pin(this.begin(&caller, asked, draft, wants_receipt)).await
        })
        .await
    }

    async fn begin(
        &self,
        caller: &Caller,
        asked: CreateBatchRequest,
        mut draft: Draft,
        wants_receipt: bool,
    ) -> Result<(Batch, Option<Receipt>), Error> {
        let call = CallId::new();
        let prepared = async {
            let file = self.kept_file(caller, &asked.input_file_id).await?;
            draft.call(call, &file.model, asked.tollgate.as_ref());
            let deployment = self.home_of(&file.model, &file.deployment)?;
            let body = body(&asked, &file)?;
            let charged = self.charge(caller, &asked, &file, &deployment, call).await?;
            Ok((file, deployment, body, charged))
        };
        let (file, deployment, body, charged) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => {
                return Err(self.pipeline.end_failed(ending(draft, Some(&error)), wants_receipt, error).await);
            }
        };
        let ledger = self.pipeline.ledger();
        let attempt_id = charged.charge.attempt_id.clone();
        let opening =
            Opening { bound: charged.charge.clone(), lease_windows: charged.lease_windows.clone(), action: CREATE };
        let sequence = match ledger.open_attempt(opening) {
            Ok(sequence) => sequence,
            Err(error) => {
                return Err(self.pipeline.end_failed(ending(draft, Some(&error)), wants_receipt, error).await);
            }
        };
        ledger.durable(sequence, Before::FirstByte).await;
        let mut native = match files::batch(&deployment.endpoint, Method::POST, "/batches", Some(body)).await {
            Ok(native) => native,
            Err(failure) => {
                // It may run although nobody was told so: then nobody can follow it either, and the most that it can cost is booked.
                let in_doubt = failure.may_be_billed || failure.class.leaves_doubt();
                let error = failed(failure, &deployment);
                let record = Some(draft.close(Some(&error), 0));
                let end = match in_doubt {
                    true => End { settled: Some(charged.settled("failed")), record, ..End::default() },
                    false => End { released: Some(attempt_id), record, ..End::default() },
                };
                return Err(self.pipeline.end_failed(end, wants_receipt, error).await);
            }
        };
        if !native.contains_key("completion_window") {
            native.insert("completion_window".into(), asked.completion_window.clone().into());
        }
        let batch = StoredBatch {
            id: new_id("batch_"),
            key_id: caller.key_id().to_owned(),
            input_file_id: file.id.clone(),
            model: file.model.clone(),
            upstream_id: text(&native, "id").to_owned(),
            create_us: self.now_us(),
            charge: Some(charged.charge.clone()),
            price: deployment.price.as_ref().map(Price::to_proto),
            lines: file.lines.as_ref().map_or(0, |lines| lines.count),
            ..StoredBatch::default()
        };
        let (batch, error) = match self.keep(batch, native, &deployment).await {
            (batch, Ok(())) => (batch, None),
            (batch, Err(error)) => (batch, Some(error)),
        };
        draft.subject(&batch.id, vec![format!("lines: {}", batch.lines), format!("input_file_id: {}", file.id)]);
        let input = file.lines.as_ref().and_then(|lines| <[u8; 32]>::try_from(lines.sha256.as_slice()).ok());
        if let Some(sha256) = input {
            let (key, customer) = (caller.key(), &batch.charge().customer);
            let committed = self.pipeline.commit(key, customer, &call.to_string(), Content::Request, &sha256).await;
            draft.bodies(committed.0, Vec::new(), committed.1);
        }
        if error.is_some() {
            // Nobody could follow it: it shall not run, and what it may have done by then is booked.
            let path = format!("/batches/{}/cancel", escaped(&batch.upstream_id));
            let _ = files::batch(&deployment.endpoint, Method::POST, &path, Some(Map::new())).await;
        }
        let record = Some(draft.close(error.as_ref(), 0));
        let end = End { settled: Some(charged.settled("batch")), record, ..End::default() };
        let receipt = self.pipeline.end(end, wants_receipt).await;
        match error {
            Some(error) => Err(Error { receipt: receipt.map(Box::new), ..error }),
            None => Ok((batch_of(&batch), receipt)),
        }
    }

    /// Keeps a batch that has begun.
    async fn keep(
        &self,
        batch: StoredBatch,
        native: Map<String, Value>,
        deployment: &Deployment,
    ) -> (StoredBatch, Result<(), Error>) {
        let object_json = match self.told(&batch, native, deployment).await {
            Ok(object_json) => object_json,
            Err(error) => return (batch, Err(error)),
        };
        let batch = StoredBatch { object_json, ..batch };
        let kept = match self.batches_here() {
            Ok(batching) => {
                let look_us = self.now_us().saturating_add(batching.poll_us());
                batching.store.begin_batch(&batch, look_us).await.map_err(store_failed)
            }
            Err(error) => Err(error),
        };
        (batch, kept)
    }

    /// Holds the most that the batch can cost.
    async fn charge(
        &self,
        caller: &Caller,
        asked: &CreateBatchRequest,
        file: &StoredFile,
        deployment: &Arc<Deployment>,
        call: CallId,
    ) -> Result<Charged, Error> {
        let Some(lines) = &file.lines else {
            return Err(Error::invalid_field(
                "input_file_id",
                "must be a file that was uploaded with the purpose `batch`",
            ));
        };
        if asked.endpoint != lines.url {
            let message = format!("must be {:?}, which the lines of the input ask for", lines.url);
            return Err(Error::invalid_field("endpoint", message));
        }
        if version(deployment) != lines.price_version {
            let message = "was uploaded when its deployment had another price; upload it again";
            return Err(Error::invalid_field("input_file_id", message));
        }
        self.pipeline.may_use_in_batch(caller, &file.model)?;
        let key = caller.key();
        let options = asked.tollgate.clone().unwrap_or_default();
        let GatewayOptions { tags, customer, .. } = options;
        let tags = labels(key, tags);
        if let Some(why) = self.pipeline.table().tags.refuse(&tags, &deployment.tags) {
            let message = format!("the deployment {:?}, where the input is, {why}", deployment.name);
            return Err(Error::new(ErrorReason::NoRoute, message).with("model", &file.model));
        }
        let mut customer = customer.unwrap_or_default();
        clean(&mut customer);
        let payer = Payer {
            key_id: &key.id,
            team_id: &key.team_id,
            user_id: &key.user_id,
            organization_id: &key.organization_id,
            customer: &customer,
            tags: &tags,
            model: &file.model,
        };
        let ledger = self.pipeline.ledger();
        let at = At { provider: &deployment.provider, deployment: &deployment.name };
        let (scopes, at_provider) = (ledger.scopes(&payer), ledger.scopes_at(&payer, at));
        let is_hard = scopes.iter().chain(at_provider.iter()).any(|account| account.policy().is_hard());
        if is_hard && deployment.price.is_none() {
            let message = format!(
                "a hard budget applies and the deployment {:?} has no price; give it one in the configuration",
                deployment.name
            );
            return Err(Error::new(ErrorReason::PriceUnknown, message)
                .with("model", &file.model)
                .with("deployment", &deployment.name));
        }
        let bound = NanoUsd(lines.bound_nano_usd);
        let wait = self.pipeline.hold_wait_of_batches();
        let hold = ledger.hold(&scopes, Ask::exactly(bound, wait)).await?;
        let at_provider = match at_provider.is_empty() {
            true => None,
            false => Some(ledger.hold(&at_provider, Ask::exactly(bound, wait)).await?),
        };
        let (mut charges, mut lease_windows) = hold.charges();
        if let Some(at_provider) = &at_provider {
            let (more_charges, more_windows) = at_provider.charges();
            charges.extend(more_charges);
            lease_windows.extend(more_windows);
        }
        let usage = Usage { estimated: true, cost_nano_usd: bound.0, held_nano_usd: bound.0, ..Usage::default() };
        let charge = LedgerEntry {
            attempt_id: call.attempt(1).to_string(),
            call_id: call.to_string(),
            key_id: key.id.clone(),
            model: file.model.clone(),
            deployment: deployment.name.clone(),
            provider: deployment.provider.clone(),
            kind: LedgerEntryKind::Estimated as i32,
            usage: Some(usage),
            cost_nano_usd: bound.0,
            held_nano_usd: bound.0,
            high_nano_usd: bound.0,
            price_version: lines.price_version.clone(),
            organization_id: key.organization_id.clone(),
            team_id: key.team_id.clone(),
            user_id: key.user_id.clone(),
            customer,
            tags,
            upstream_model: deployment.endpoint.target.model.clone(),
            charges,
            ..LedgerEntry::default()
        };
        Ok(Charged { hold, at_provider, charge, lease_windows })
    }

    /// The provider's object with the gateway's ids; what the batch wrote is kept under them.
    pub(super) async fn told(
        &self,
        batch: &StoredBatch,
        mut native: Map<String, Value>,
        deployment: &Deployment,
    ) -> Result<String, Error> {
        let stem = batch.id.trim_start_matches("batch_");
        for (member, end) in [("output_file_id", "o"), ("error_file_id", "e")] {
            let upstream_id = text(&native, member).to_owned();
            if upstream_id.is_empty() {
                continue;
            }
            let id = format!("file-{stem}{end}");
            let purpose = "batch_output";
            let object = json!({"id": id, "object": "file", "purpose": purpose, "filename": format!("{id}.jsonl"),
                                "bytes": 0, "created_at": self.now_us() / 1_000_000, "status": "processed"});
            let file = StoredFile {
                id: id.clone(),
                key_id: batch.key_id.clone(),
                filename: format!("{id}.jsonl"),
                purpose: purpose.into(),
                model: batch.model.clone(),
                deployment: deployment.name.clone(),
                upstream_id,
                object_json: object.to_string(),
                create_us: self.now_us(),
                batch_id: batch.id.clone(),
                lines: None,
            };
            self.batches_here()?.keep_written(file, deployment).await?;
            native.insert(member.into(), id.into());
        }
        native.insert("id".into(), batch.id.clone().into());
        native.insert("input_file_id".into(), batch.input_file_id.clone().into());
        if native.get("model").is_some_and(Value::is_string) {
            native.insert("model".into(), batch.model.clone().into());
        }
        // Said once, where the provider does not repeat it.
        let known: Value = serde_json::from_str(&batch.object_json).unwrap_or_default();
        if let Some(window) = known.get("completion_window") {
            native.entry("completion_window").or_insert_with(|| window.clone());
        }
        Ok(written(native))
    }

    /// A batch of the caller's, as its provider tells it now.
    pub async fn get_batch(&self, principal: &Principal, id: &str) -> Result<Batch, Error> {
        let caller = self.batch_caller(principal, "batch.read")?;
        let kept = self.kept_batch(&caller, id).await?;
        self.ask(kept, Method::GET, "").await
    }

    /// Asks the provider to stop a batch of the caller's.
    pub async fn cancel_batch(&self, principal: &Principal, id: &str) -> Result<Batch, Error> {
        const ACTION: &str = "batch.cancel";
        let caller = self.batch_caller(principal, ACTION)?;
        let cancelled = match self.kept_batch(&caller, id).await {
            Ok(kept) => self.ask(kept, Method::POST, "/cancel").await,
            Err(error) => Err(error),
        };
        let done = Noted { subject: id.to_owned(), changes: Vec::new() };
        self.on_record(principal, ACTION, &caller, done, cancelled.as_ref().err());
        cancelled
    }

    /// Asks the provider about a batch, and keeps what it tells. What is settled is told as it was then.
    async fn ask(&self, kept: StoredBatch, method: Method, verb: &str) -> Result<Batch, Error> {
        if kept.cost_nano_usd.is_some() && method == Method::GET {
            return Ok(batch_of(&kept));
        }
        let batching = self.batches_here()?;
        let deployment = self.home_of(&kept.model, &kept.charge().deployment)?;
        let path = format!("/batches/{}{verb}", escaped(&kept.upstream_id));
        let body = (method == Method::POST).then(Map::new);
        let told = files::batch(&deployment.endpoint, method, &path, body).await;
        let native = told.map_err(|failure| match is_gone(&failure) {
            true => Error::not_found("batch", &kept.id),
            false => failed(failure, &deployment),
        })?;
        let has_ended = super::end::has_ended(text(&native, "status"));
        // Once: what does not come then comes no sooner for being asked after.
        let was_told = super::end::has_ended(&batch_of(&kept).status);
        let told = StoredBatch { object_json: self.told(&kept, native, &deployment).await?, ..kept };
        if has_ended && !was_told {
            batching.store.hasten_batch(&told.id, self.now_us()).await.map_err(store_failed)?;
            batching.ended.notify_one();
        }
        batching.store.note_batch(&told, None).await.map_err(store_failed)?;
        Ok(batch_of(&told))
    }

    /// A page of the caller's batches.
    pub async fn list_batches(
        &self,
        principal: &Principal,
        asked: &ListBatchesRequest,
    ) -> Result<(Vec<Batch>, String), Error> {
        let caller = self.batch_caller(principal, "batch.read")?;
        let listing = listing(asked.page_size, &asked.page_token, false)?;
        let found = self.batches_here()?.store.batches(caller.key_id(), &listing).await;
        let (batches, next) = paged(found.map_err(store_failed)?, &listing, |batch| &batch.id);
        Ok((batches.iter().map(batch_of).collect(), next))
    }
}

/// What the provider is asked.
fn body(asked: &CreateBatchRequest, file: &StoredFile) -> Result<Map<String, Value>, Error> {
    if asked.completion_window.is_empty() {
        return Err(Error::invalid_field("completion_window", "is required: `24h`"));
    }
    let mut body: Map<String, Value> = match asked.extra_json.as_str() {
        "" => Map::new(),
        extra => serde_json::from_str(extra)
            .map_err(|_| Error::invalid_field("extra_json", "must be the text of a JSON object"))?,
    };
    body.insert("input_file_id".into(), file.upstream_id.clone().into());
    body.insert("endpoint".into(), asked.endpoint.clone().into());
    body.insert("completion_window".into(), asked.completion_window.clone().into());
    if !asked.metadata.is_empty() {
        body.insert("metadata".into(), json!(asked.metadata));
    }
    Ok(body)
}
