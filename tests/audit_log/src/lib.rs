//! Audit logs made up for tests: a deployment that answers calls, signs and exports, without a gateway; and what can be done to an export.
//!
//! Who reads it is `tollgate-tlog` and `docs/verify_audit.py`; `audit-mutations` has both judge the same damaged exports.

mod made;
mod mutation;
mod oddity;
pub mod python;

pub use made::{Deployment, Ledger, Made};
pub use mutation::{Case, Damage, Meaning};
pub use oddity::{Oddity, oddities};
