//! The Merkle logs over the audit records: what is signed of them, proofs, and everything as files.

use std::sync::Arc;

use futures::{StreamExt, stream::BoxStream};
use tollgate_audit::{Draft, ExportError, Notary, NotaryError, Piece, Whose, export};
use tollgate_domain::Error;
use tollgate_ledger::End;
use tollgate_proto::v1::{
    AuditLog, ErrorReason, GetConsistencyProofRequest, GetConsistencyProofResponse, GetInclusionProofRequest,
    GetInclusionProofResponse, ListLogsResponse,
};
use tollgate_store::{Head, prove};
use tollgate_tlog::{Hash, Plan, ROOT_LOG, leaf_hash};

use crate::{Act, Authorized, Control, Principal, Resource, act, store_failed};

/// An export, ended by the first error.
pub type Exported = BoxStream<'static, Result<Piece, Error>>;

impl Control {
    /// The logs, as they are signed now.
    pub async fn list_logs(&self, principal: &Principal) -> Result<ListLogsResponse, Error> {
        self.reads_logs::<act::ReadLog>(principal)?;
        let notary = self.signed().await?;
        let told = |head: Head| AuditLog {
            origin: notary.origin(&head.log),
            replica: head.log,
            size: count(head.size),
            checkpoint: head.note,
        };
        let heads = notary.logs().heads().await.map_err(store_failed)?.into_iter().map(told);
        let (mut root, logs): (Vec<_>, Vec<_>) = heads.partition(|log| log.replica == ROOT_LOG);
        Ok(ListLogsResponse { logs, root: root.pop(), verifier_key: notary.verifier_key().to_string() })
    }

    /// That a record is in its log.
    pub async fn inclusion_proof(
        &self,
        principal: &Principal,
        asked: &GetInclusionProofRequest,
    ) -> Result<GetInclusionProofResponse, Error> {
        self.reads_logs::<act::ReadLog>(principal)?;
        let notary = self.signed().await?;
        let head = head_of(&notary, &asked.replica).await?;
        let index = u64::try_from(asked.sequence).ok().and_then(|sequence| sequence.checked_sub(1));
        let Some(index) = index.filter(|index| *index < head.size) else {
            let message = format!("must be 1 to {}: so many records are signed now", head.size);
            return Err(Error::invalid_field("sequence", &message));
        };
        let plan = Plan::inclusion(index, head.size).map_err(|error| Error::internal(error.to_string()))?;
        let hashes = prove(&**notary.logs(), &head.log, &plan).await.map_err(store_failed)?;
        let leaf = notary.logs().leaves(&head.log, index, 1).await.map_err(store_failed)?.pop().unwrap_or_default();
        Ok(GetInclusionProofResponse {
            leaf_hash: leaf_hash(&leaf).0.to_vec().into(),
            hashes: hashes.iter().map(bytes).collect(),
            checkpoint: head.note,
        })
    }

    /// That a log has only grown since it had this size.
    pub async fn consistency_proof(
        &self,
        principal: &Principal,
        asked: &GetConsistencyProofRequest,
    ) -> Result<GetConsistencyProofResponse, Error> {
        self.reads_logs::<act::ReadLog>(principal)?;
        let notary = self.signed().await?;
        let head = head_of(&notary, &asked.replica).await?;
        let old = u64::try_from(asked.old_size).ok().filter(|old| (1..=head.size).contains(old));
        let Some(old) = old else {
            let message = format!("must be 1 to {}: so many leaves are signed now", head.size);
            return Err(Error::invalid_field("old_size", &message));
        };
        let plan = Plan::consistency(old, head.size).map_err(|error| Error::internal(error.to_string()))?;
        let hashes = prove(&**notary.logs(), &head.log, &plan).await.map_err(store_failed)?;
        Ok(GetConsistencyProofResponse { hashes: hashes.iter().map(bytes).collect(), checkpoint: head.note })
    }

    /// All logs as files, and the ledger entries that they cover. That somebody took them along is on record.
    pub async fn export_log(&self, principal: &Principal, include_ledger: bool) -> Result<Exported, Error> {
        let authorized = self.reads_logs::<act::ExportLog>(principal)?;
        let mut draft = Draft::open(act::ExportLog::ACTION.name(), principal.peer.as_deref());
        draft.caller(authorized.caller().key());
        self.pipeline.ledger().end(End { record: Some(draft.close(None, 0)), ..End::default() });
        let notary = self.signed().await?;
        let ledger = include_ledger.then(|| self.pipeline.ledger().store().clone());
        Ok(export(notary.logs().clone(), ledger).map(|piece| piece.map_err(not_exported)).boxed())
    }

    /// The log of a replica that was given up ends.
    pub(crate) async fn close_log(&self, replica: &str) {
        let Some(notary) = self.pipeline.notary() else { return };
        if let Err(error) = notary.sign(Whose::Closing(replica)).await {
            tracing::warn!(%error, replica, "the audit log of a replica that was given up is not closed");
        }
    }

    /// The logs tell of all organizations: nobody of one of them reads them.
    fn reads_logs<A: Act>(&self, principal: &Principal) -> Result<Authorized<A>, Error> {
        self.allowed::<A>(principal, |_| Ok(Resource::default()))
    }

    /// Who signs, with everything signed that this replica has on record.
    async fn signed(&self) -> Result<Arc<Notary>, Error> {
        let notary = self
            .pipeline
            .notary()
            .cloned()
            .ok_or_else(|| Error::new(ErrorReason::RouteNotFound, "no audit log is kept here"))?;
        self.pipeline.ledger().shipped().await;
        notary.sign(Whose::All).await.map_err(not_signed)?;
        Ok(notary)
    }
}

async fn head_of(notary: &Notary, log: &str) -> Result<Head, Error> {
    let heads = notary.logs().heads().await.map_err(store_failed)?;
    heads.into_iter().find(|head| head.log == log).ok_or_else(|| Error::not_found("audit log", log))
}

fn count(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn bytes(hash: &Hash) -> bytes::Bytes {
    hash.0.to_vec().into()
}

fn not_signed(error: NotaryError) -> Error {
    match error {
        NotaryError::Store(error) => store_failed(error),
        other => Error::internal(format!("the audit log cannot be signed: {other}")),
    }
}

fn not_exported(error: ExportError) -> Error {
    match error {
        ExportError::Store(error) => store_failed(error),
        other => Error::internal(format!("the audit log cannot be exported: {other}")),
    }
}
