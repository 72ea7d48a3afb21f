use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tollgate_audit::Draft;
use tollgate_domain::{Class, Error, Failure, TAGS_FIT, Violation, new_id, tags_fit};
use tollgate_ledger::{At, Payer};
use tollgate_pipeline::Caller;
use tollgate_proto::v1::{ErrorReason, File, FileHeader, ListFilesRequest, Receipt};
use tollgate_providers::files::{self, Form, escaped};
use tollgate_router::Deployment;
use tollgate_store::{StoredFile, StoredLines};

use super::{
    Batching, Chunks, Noted, ending, failed, file_of, is_gone, labels,
    lines::{Lines, Looking},
    listing, object, paged, written,
};
use crate::{Control, Principal, store_failed};

/// What the input of batches is for.
const BATCH: &str = "batch";

impl Control {
    /// Uploads a file of the caller's; with the promise that the log holds its record, where that is wanted.
    pub async fn create_file(
        &self,
        principal: &Principal,
        header: FileHeader,
        chunks: Chunks,
    ) -> Result<(File, Option<Receipt>), Error> {
        const ACTION: &str = "file.create";
        let wants_receipt = header.receipt;
        let caller = self.batch_caller_with_receipt(principal, ACTION, wants_receipt).await?;
        let (this, mut draft) = (self.clone(), Draft::open(ACTION, principal.peer.as_deref()));
        self.to_the_end(async move {
            draft.caller(caller.key());
            match this.upload(&caller, header, chunks).await {
                Ok(file) => {
                    let changes =
                        vec![format!("purpose: {}", file.purpose), format!("deployment: {}", file.deployment)];
                    draft.subject(&file.id, changes);
                    let receipt = this.pipeline.end(ending(draft, None), wants_receipt).await;
                    Ok((file_of(&file), receipt))
                }
                Err(error) => Err(this.pipeline.end_failed(ending(draft, Some(&error)), wants_receipt, error).await),
            }
        })
        .await
    }

    async fn upload(&self, caller: &Caller, header: FileHeader, chunks: Chunks) -> Result<StoredFile, Error> {
        check(&header)?;
        let batching = self.batches_here()?.clone();
        let tags = &labels(caller.key(), header.tags.clone());
        let chunks = limited(chunks, batching.max_file_bytes);
        let form = Form {
            filename: header.filename.clone(),
            purpose: header.purpose.clone(),
            media_type: header.media_type.clone(),
            expires_after_seconds: header.expires_after_seconds,
        };
        let (model, deployment, answer, lines) = if header.purpose == BATCH {
            let mut lines = Lines::new(chunks, batching.max_line_bytes);
            let first = lines.next().await?;
            let model = match (header.model.is_empty(), &first) {
                (true, Some(first)) => {
                    let read = batching.reader.read(first);
                    read.map_err(in_line_one)?.model
                }
                (true, None) => {
                    return Err(Error::invalid_field("file", "has no lines; a batch has one request in each"));
                }
                (false, _) => header.model.clone(),
            };
            let deployment = self.pipeline.file_home(caller, &model, tags)?;
            let found =
                Arc::new(Mutex::new(StoredLines { price_version: version(&deployment), ..StoredLines::default() }));
            let looking = Looking {
                pipeline: self.pipeline.clone(),
                reader: batching.reader.clone(),
                caller: caller.clone(),
                model: model.clone(),
                deployment: deployment.clone(),
                tags: tags.clone(),
                capped: self.is_capped(caller, &model, &deployment),
                found: found.clone(),
            };
            let answer = files::upload(&deployment.endpoint, &form, looking.through(first, lines)).await;
            let lines = found.lock().clone();
            (model, deployment, answer, Some(lines))
        } else {
            let (model, deployment) = match header.model.as_str() {
                "" => self.pipeline.any_file_home(caller, tags)?,
                model => (model.to_owned(), self.pipeline.file_home(caller, model, tags)?),
            };
            let answer = files::upload(&deployment.endpoint, &form, chunks).await;
            (model, deployment, answer, None)
        };
        let answer = answer.map_err(|why| why.unwrap_or_else_failed(&deployment))?;
        let native = object(&answer).map_err(|failure| failed(failure, &deployment))?;
        let stored = stored(&native, new_id("file-"), caller.key_id(), model, &deployment, self.now_us());
        let stored = StoredFile { lines, filename: header.filename, purpose: header.purpose, ..stored };
        if let Err(error) = batching.store.keep_file(&stored).await {
            // Nobody could find it again.
            let path = format!("/files/{}", escaped(&stored.upstream_id));
            let _ = files::call(&deployment.endpoint, Method::DELETE, &path, None).await;
            return Err(store_failed(error));
        }
        Ok(stored)
    }

    /// Whether a hard budget bounds what the caller spends there.
    pub(super) fn is_capped(&self, caller: &Caller, model: &str, deployment: &Deployment) -> bool {
        let key = caller.key();
        let payer = Payer {
            key_id: &key.id,
            team_id: &key.team_id,
            user_id: &key.user_id,
            organization_id: &key.organization_id,
            customer: "",
            tags: &key.tags,
            model,
        };
        let ledger = self.pipeline.ledger();
        let at = At { provider: &deployment.provider, deployment: &deployment.name };
        let (scopes, at_provider) = (ledger.scopes(&payer), ledger.scopes_at(&payer, at));
        scopes.iter().chain(at_provider.iter()).any(|account| account.policy().is_hard())
    }

    /// A file of the caller's, as its provider tells it now.
    pub async fn get_file(&self, principal: &Principal, id: &str) -> Result<File, Error> {
        let caller = self.batch_caller(principal, "file.read")?;
        let kept = self.kept_file(&caller, id).await?;
        let deployment = self.home_of(&kept.model, &kept.deployment)?;
        let told = files::call(&deployment.endpoint, Method::GET, &path(&kept), None).await;
        let native =
            told.and_then(|answer| object(&answer)).map_err(|failure| gone_or_failed(failure, id, &deployment))?;
        Ok(file_of(&StoredFile { object_json: renamed(native, &kept.id), ..kept }))
    }

    /// A page of the caller's files.
    pub async fn list_files(
        &self,
        principal: &Principal,
        asked: &ListFilesRequest,
    ) -> Result<(Vec<File>, String), Error> {
        let caller = self.batch_caller(principal, "file.read")?;
        if !asked.purpose.is_empty() && !is_purpose(&asked.purpose) {
            return Err(Error::invalid_field("purpose", PURPOSE));
        }
        let listing = listing(asked.page_size, &asked.page_token, asked.oldest_first)?;
        let found = self.batches_here()?.store.files(caller.key_id(), &asked.purpose, &listing).await;
        let (files, next) = paged(found.map_err(store_failed)?, &listing, |file| &file.id);
        Ok((files.iter().map(file_of).collect(), next))
    }

    /// Deletes a file of the caller's at its provider, and forgets it.
    pub async fn delete_file(&self, principal: &Principal, id: &str) -> Result<(), Error> {
        const ACTION: &str = "file.delete";
        let caller = self.batch_caller(principal, ACTION)?;
        let deleted = self.delete(&caller, id).await;
        let done = Noted { subject: id.to_owned(), changes: Vec::new() };
        self.on_record(principal, ACTION, &caller, done, deleted.as_ref().err());
        deleted
    }

    async fn delete(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let kept = self.kept_file(caller, id).await?;
        let batching = self.batches_here()?;
        if !kept.batch_id.is_empty() {
            let batch = batching.store.batch(caller.key_id(), &kept.batch_id).await.map_err(store_failed)?;
            if batch.is_some_and(|batch| batch.cost_nano_usd.is_none()) {
                let message = "the batch that wrote it is not settled yet, which needs the file; try again in a moment";
                return Err(Error::new(ErrorReason::ResourceInUse, message).with("id", id));
            }
        }
        let deployment = self.home_of(&kept.model, &kept.deployment)?;
        match files::call(&deployment.endpoint, Method::DELETE, &path(&kept), None).await {
            Err(failure) if !is_gone(&failure) => return Err(failed(failure, &deployment)),
            _ => {}
        }
        batching.store.forget_file(caller.key_id(), id).await.map(drop).map_err(store_failed)
    }

    /// The bytes of a file of the caller's.
    pub async fn file_content(&self, principal: &Principal, id: &str) -> Result<Chunks, Error> {
        let caller = self.batch_caller(principal, "file.read")?;
        let kept = self.kept_file(&caller, id).await?;
        let deployment = self.home_of(&kept.model, &kept.deployment)?;
        let bytes = files::content(&deployment.endpoint, &kept.upstream_id).await;
        let bytes = bytes.map_err(|failure| gone_or_failed(failure, id, &deployment))?;
        Ok(bytes.map(move |read| read.map_err(|failure| failed(failure, &deployment))).boxed())
    }
}

fn in_line_one(mut error: Error) -> Error {
    for violation in &mut error.violations {
        violation.field = format!("file[1].{}", violation.field).trim_end_matches('.').to_owned();
    }
    if error.violations.is_empty() { error } else { Error::invalid(error.violations) }
}

pub(super) fn version(deployment: &Deployment) -> String {
    deployment.price.as_ref().map_or("unpriced", |price| &price.version).to_owned()
}

fn path(kept: &StoredFile) -> String {
    format!("/files/{}", escaped(&kept.upstream_id))
}

fn gone_or_failed(failure: Failure, id: &str, deployment: &Deployment) -> Error {
    if is_gone(&failure) { Error::not_found("file", id) } else { failed(failure, deployment) }
}

/// The provider's object under the gateway's id.
fn renamed(mut native: Map<String, Value>, id: &str) -> String {
    native.insert("id".into(), id.into());
    written(native)
}

/// A file as its provider told it.
pub(super) fn stored(
    native: &Map<String, Value>,
    id: String,
    key_id: &str,
    model: String,
    deployment: &Deployment,
    now_us: i64,
) -> StoredFile {
    StoredFile {
        key_id: key_id.to_owned(),
        filename: super::text(native, "filename").to_owned(),
        purpose: super::text(native, "purpose").to_owned(),
        model,
        deployment: deployment.name.clone(),
        upstream_id: super::text(native, "id").to_owned(),
        object_json: renamed(native.clone(), &id),
        create_us: now_us,
        id,
        ..StoredFile::default()
    }
}

trait Given {
    fn unwrap_or_else_failed(self, deployment: &Deployment) -> Error;
}

impl Given for Result<Error, Failure> {
    fn unwrap_or_else_failed(self, deployment: &Deployment) -> Error {
        self.unwrap_or_else(|failure| match failure.class {
            // The provider's words about the file are the caller's to read.
            Class::InvalidRequest => Error::invalid_field("file", failure.message),
            _ => failed(failure, deployment),
        })
    }
}

const PURPOSE: &str = "must be 1 to 64 letters, digits, `_` or `-`";

fn is_purpose(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

fn check(header: &FileHeader) -> Result<(), Error> {
    let mut violations = Vec::new();
    let mut expect = |holds: bool, field: &str, description: &str| {
        if !holds {
            violations.push(Violation { field: field.into(), description: description.into() });
        }
    };
    let name = &header.filename;
    let is_name = (1..=512).contains(&name.len()) && !name.chars().any(char::is_control);
    expect(is_name, "filename", "must be 1 to 512 bytes without control characters");
    expect(is_purpose(&header.purpose), "purpose", PURPOSE);
    expect(tags_fit(&header.tags), "tags", TAGS_FIT);
    expect(header.expires_after_seconds.is_none_or(|s| s > 0), "expires_after_seconds", "must be more than 0");
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid(violations)) }
}

/// No more than so many bytes.
fn limited(chunks: Chunks, most: u64) -> Chunks {
    let mut read = 0_u64;
    let counted = chunks.map(move |chunk: Result<Bytes, Error>| {
        let chunk = chunk?;
        read = read.saturating_add(chunk.len() as u64);
        if read > most {
            let message =
                format!("the file is larger than {most} bytes, the gateway's limit (`batches.max_file_bytes`)");
            return Err(Error::new(ErrorReason::RequestTooLarge, message));
        }
        Ok(chunk)
    });
    counted.boxed()
}

impl Batching {
    /// Keeps what a batch wrote as a file of its key, under an id that every replica gives it.
    pub(super) async fn keep_written(&self, file: StoredFile, deployment: &Deployment) -> Result<(), Error> {
        let known = self.store.file(&file.key_id, &file.id).await.map_err(store_failed)?;
        if known.is_some() {
            return Ok(());
        }
        let told = files::call(&deployment.endpoint, Method::GET, &path(&file), None).await;
        let told = told.and_then(|answer| object(&answer));
        let file = match told {
            Ok(native) => StoredFile {
                filename: super::text(&native, "filename").to_owned(),
                purpose: super::text(&native, "purpose").to_owned(),
                object_json: renamed(native, &file.id),
                ..file
            },
            Err(_) => file,
        };
        self.store.keep_file(&file).await.map_err(store_failed)
    }
}
