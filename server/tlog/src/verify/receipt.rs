//! Whether an export keeps the promise of a receipt.

use std::io;

use prost::Message;
use serde::Serialize;
use tollgate_proto::v1::{Receipt, RootEntry};

use super::{
    VerifyError,
    dated::newest,
    records::{Head, micros},
    root::find_rotations,
};
use crate::{
    Checkpoint, CheckpointError, Files, Hash, Keyring, Plan, ProofError, ROOT_LOG, ReceiptError, Span, TILE_WIDTH,
    Tile, TilePath, VerifierKey, check_inclusion, check_receipt_signature, leaf_hash, split_bundle, split_origin,
};

/// What an export says about a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum ReceiptVerdict {
    /// The log holds the record, and a signed checkpoint covers it.
    Held {
        /// Size of the checkpoint.
        size: u64,
        /// Its root, in base64.
        root: String,
        /// Hashes of the path from the record to the root, in base64.
        path: Vec<String>,
    },
    /// The log holds another record in its place: what was promised was taken out or changed.
    Replaced {
        /// The hash of the record that stands there, in base64.
        leaf_hash: String,
    },
    /// The export ends after the promised moment, and its log does not reach the record: what was promised is not there.
    Missing {
        /// How many records the log has.
        size: u64,
        /// Until when the export tells, in microseconds since 1970.
        until_us: i64,
    },
    /// The export ends before the promised moment: a newer one must be asked.
    TooEarly {
        /// How many records the log has.
        size: u64,
        /// Until when the export tells, in microseconds since 1970.
        until_us: i64,
        /// The promised moment, in microseconds since 1970.
        merge_by_us: i64,
    },
}

/// Why an export cannot be asked about a receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptCheckError {
    /// The receipt itself is not believed.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// The export cannot be read at all.
    #[error(transparent)]
    Export(#[from] VerifyError),
    /// A checkpoint of the export is not believed.
    #[error("{path}: {error}")]
    Checkpoint {
        /// The file.
        path: String,
        /// Why.
        error: CheckpointError,
    },
    /// The receipt and the export are of different deployments.
    #[error("the receipt is of {receipt:?}, and the export of {export:?}")]
    OtherDeployment {
        /// The receipt's origin.
        receipt: String,
        /// The export's origin.
        export: String,
    },
    /// The export's files contradict one another.
    #[error("{path}: {error}; `tollgate audit verify` tells what else is wrong")]
    Proof {
        /// The log.
        path: String,
        /// How.
        error: ProofError,
    },
    /// A file that the proof needs is missing or damaged.
    #[error("{0}: missing or damaged; `tollgate audit verify` tells what else is wrong")]
    Missing(String),
}

impl From<io::Error> for ReceiptCheckError {
    fn from(error: io::Error) -> Self {
        Self::Export(error.into())
    }
}

/// Looks for the record of a receipt in an export. Reads checkpoints and the tiles of the path, not the log.
pub fn check_receipt(
    files: &dyn Files,
    keys: &[VerifierKey],
    receipt: &Receipt,
) -> Result<ReceiptVerdict, ReceiptCheckError> {
    if keys.is_empty() {
        return Err(VerifyError::NoKey.into());
    }
    let mut asked = Asked { files, keyring: Keyring::new(keys.to_vec()) };
    let root = asked.root()?;
    check_receipt_signature(receipt, asked.keyring.trusted())?;
    let deployment = |origin: &str| split_origin(origin).map(|(deployment, _)| deployment.to_owned());
    if deployment(&root.origin) != deployment(&receipt.origin) {
        let (receipt, export) = (receipt.origin.clone(), root.origin);
        return Err(ReceiptCheckError::OtherDeployment { receipt, export });
    }
    let folder = format!("logs/{}", receipt.replica);
    let log = asked.log(&folder, &receipt.origin)?;
    let size = log.as_ref().map_or(0, |log| log.size);
    let index = receipt.sequence.unsigned_abs() - 1;
    let Some(log) = log.filter(|_| index < size) else {
        let merge_by_us = micros(receipt.merge_by.as_ref());
        let until_us = asked.until_us(&root, &folder, &receipt.origin)?;
        return Ok(match until_us >= merge_by_us {
            true => ReceiptVerdict::Missing { size, until_us },
            false => ReceiptVerdict::TooEarly { size, until_us, merge_by_us },
        });
    };
    let promised = Hash::from_slice(&receipt.leaf_hash).ok_or(ReceiptError::Field("leaf_hash"))?;
    let found = asked.leaf(&folder, index, size)?;
    let path = asked.path(&folder, &log, index, found)?;
    if found != promised {
        return Ok(ReceiptVerdict::Replaced { leaf_hash: found.to_string() });
    }
    let path = path.iter().map(Hash::to_string).collect();
    Ok(ReceiptVerdict::Held { size, root: log.root.to_string(), path })
}

struct Asked<'a> {
    files: &'a dyn Files,
    keyring: Keyring,
}

impl Asked<'_> {
    /// The root log's checkpoint; takes the rotations of keys on the way.
    fn root(&mut self) -> Result<Checkpoint, ReceiptCheckError> {
        let newest = newest(self.files, ROOT_LOG)?;
        let (path, note) = newest.ok_or_else(|| ReceiptCheckError::Missing("root/checkpoint".into()))?;
        let refused = |error| ReceiptCheckError::Checkpoint { path: path.clone(), error };
        let size = Checkpoint::open_unchecked(&note).map_err(refused)?.size;
        find_rotations(self.files, size, &mut self.keyring)?;
        let (checkpoint, _) = Checkpoint::open(&note, self.keyring.current()).map_err(refused)?;
        Ok(checkpoint)
    }

    /// A log's checkpoint; `None`: there is none.
    fn log(&self, folder: &str, origin: &str) -> Result<Option<Checkpoint>, ReceiptCheckError> {
        let Some((path, note)) = newest(self.files, folder)? else { return Ok(None) };
        let (checkpoint, _) = Checkpoint::open(&note, self.keyring.trusted())
            .map_err(|error| ReceiptCheckError::Checkpoint { path: path.clone(), error })?;
        if checkpoint.origin != origin {
            let error = CheckpointError::Malformed;
            return Err(ReceiptCheckError::Checkpoint { path, error });
        }
        Ok(Some(checkpoint))
    }

    /// The hashes of a span, from the file of its tile.
    fn span(&self, folder: &str, size: u64, span: Span) -> Result<Vec<Hash>, ReceiptCheckError> {
        let index = span.first / TILE_WIDTH;
        let all = size >> (8 * u32::from(span.level));
        let width = (all - index * TILE_WIDTH).min(TILE_WIDTH) as u16;
        let path = format!("{folder}/{}", TilePath::of(Tile { level: span.level, index, width }).render());
        let tile = self.files.read(&path)?.and_then(|bytes| Tile::decode(&bytes));
        let first = (span.first % TILE_WIDTH) as usize;
        let hashes = tile.as_ref().and_then(|tile| tile.get(first..first + usize::from(span.count)));
        hashes.map(<[Hash]>::to_vec).ok_or(ReceiptCheckError::Missing(path))
    }

    fn leaf(&self, folder: &str, index: u64, size: u64) -> Result<Hash, ReceiptCheckError> {
        let hashes = self.span(folder, size, Span { level: 0, first: index, count: 1 })?;
        hashes.first().copied().ok_or_else(|| ReceiptCheckError::Missing(folder.into()))
    }

    /// The path from a leaf to the signed root, which it was checked to reach.
    fn path(&self, folder: &str, log: &Checkpoint, index: u64, leaf: Hash) -> Result<Vec<Hash>, ReceiptCheckError> {
        let wrong = |error| ReceiptCheckError::Proof { path: folder.into(), error };
        let plan = Plan::inclusion(index, log.size).map_err(wrong)?;
        let path = plan.resolve(|span| self.span(folder, log.size, span))?;
        check_inclusion(leaf, index, log.size, log.root, &path).map_err(wrong)?;
        Ok(path)
    }

    /// The latest moment that the export shows to lie behind it: of the last leaf of the root log, or of the replica's.
    fn until_us(&self, root: &Checkpoint, folder: &str, origin: &str) -> Result<i64, ReceiptCheckError> {
        let entry = self.last(ROOT_LOG, root)?;
        let mut until = entry.and_then(|bytes| RootEntry::decode(bytes.as_slice()).ok()).and_then(|entry| entry.time);
        if let Some(log) = self.log(folder, origin)? {
            let record = self.last(folder, &log)?.map(|bytes| Head::decode_or_empty(&bytes));
            let time = record.and_then(|record| record.time);
            if micros(time.as_ref()) > micros(until.as_ref()) {
                until = time;
            }
        }
        Ok(micros(until.as_ref()))
    }

    /// The last record of a log, shown to be in it.
    fn last(&self, folder: &str, log: &Checkpoint) -> Result<Option<Vec<u8>>, ReceiptCheckError> {
        let Some(index) = log.size.checked_sub(1) else { return Ok(None) };
        let width = (index % TILE_WIDTH) as u16 + 1;
        let path = format!("{folder}/{}", TilePath::bundle(index / TILE_WIDTH, width).render());
        let bundle = self.files.read(&path)?.ok_or_else(|| ReceiptCheckError::Missing(path.clone()))?;
        let (records, _) = split_bundle(&bundle);
        let range = records.get(usize::from(width) - 1).cloned().ok_or(ReceiptCheckError::Missing(path))?;
        let record = bundle[range].to_vec();
        self.path(folder, log, index, leaf_hash(&record))?;
        Ok(Some(record))
    }
}
