//! Objects in S3, Google Cloud Storage, Azure Blob Storage or a directory: where they lie, and how what must not change is put there.

mod connector;
mod dir;
mod place;
mod vault;

pub use place::{ObjectPlace, S3, open};
pub use vault::{Kept, Lock, LockMode, Put, Vault, VaultError};
