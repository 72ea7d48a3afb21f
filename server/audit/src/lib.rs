//! The audit trail: a record opens with every call and closes with it, whatever happens.
//!
//! A record holds no secret, no prompt and no answer: bodies are committed to by a salted hash. Records are journalled by the ledger
//! together with the money they tell of; [`Trail`] hands them on to whoever is listening.

mod draft;
mod export;
mod notary;
mod trail;

pub use draft::Draft;
pub use export::{ExportError, Piece, Pieces, export, folder_of, growth};
pub use notary::{Notary, NotaryError, Whose};
pub use trail::{Lagged, Listener, Trail};
