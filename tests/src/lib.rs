//! What black-box tests and load runs stand on: a scripted provider that keeps its own books, support for starting the
//! built gateway, and a proxy that spoils the line to any server.
//!
//! Nothing here depends on the gateway's own crates on purpose. The provider is the second witness: when the
//! gateway's ledger and the provider's log disagree, one of them is wrong, and shared code could hide which.

pub mod fault_proxy;
pub mod provider;
pub mod support;
pub mod utilisation;
