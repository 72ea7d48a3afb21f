//! The Merkle log over audit records: its tree, its files, its signatures, and the verifier that reads them without a gateway.
//!
//! The structure is RFC 6962's, kept as C2SP `tlog-tiles`, with checkpoints as C2SP signed notes; `docs/audit-log.md` has the format. Nothing
//! here reads a clock, a database or a network: whoever keeps a log gives [`Tree`] the hashes of its records and stores the [`Row`]s that come
//! back, and asks a [`Plan`] which of them a proof needs.

mod bundle;
mod checkpoint;
mod files;
mod hash;
mod keyring;
mod note;
mod pack;
mod proof;
mod receipt;
mod tile;
mod tree;
pub mod verify;

pub use bundle::{BundleError, MAX_ENTRY_BYTES, append_entry, split_bundle};
pub use checkpoint::{Checkpoint, CheckpointError, ROOT_LOG, dated_path, dated_size, log_origin, split_origin};
pub use files::{Dir, Files, Memory};
pub use hash::{Hash, leaf_hash, node_hash};
pub use keyring::{Keyring, RotationError, rotate};
pub use note::{KeyError, Note, NoteError, SigningKey, VerifierKey};
pub use pack::{File, PackError, Packer};
pub use proof::{Plan, ProofError, Span, check_consistency, check_inclusion};
pub use receipt::{ReceiptError, check_receipt_signature, from_base64, issue_receipt, to_base64};
pub use tile::{TILE_WIDTH, Tile, TilePath};
pub use tree::{Row, Tree};
