//! Bodies of calls, kept so that they can be proven and so that they can be forgotten.
//!
//! The audit log holds a [`commitment`] to each prompt and each answer: a salted hash that says nothing to whoever lacks the salt. A body that
//! is kept lies beside the log, encrypted under a data key of its own ([`Kek::seal`]), which is encrypted under the key of one subject and
//! month ([`Kek`]), which is encrypted under the gateway's [`Root`]. Destroying the key of the month leaves ciphertext in every copy, and hashes
//! that nobody can check any more.

mod commitment;
mod key;
mod month;
mod redact;
mod sealed;

pub use commitment::{Digest, commitment};
pub use key::{Kek, Root, random_salt};
pub use month::{month_name, month_of};
pub use redact::{BadPattern, Pattern, Redactor};
pub use sealed::MOST;

/// Why something that is encrypted does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It was encrypted with another key or for another call, or it is damaged.
    #[error("it was encrypted with another key or for another call, or it is damaged")]
    Damaged,
    /// It was written by a later version.
    #[error("a later version wrote it")]
    Version,
    /// It is longer than anything that is kept.
    #[error("it is longer than {MOST} bytes")]
    TooLong,
}
