//! A provider's invoice beside the ledger: what differs, why, and what would make the two equal.
//!
//! Pure: an invoice is read from CSV, entries and prices are handed in, and of every bucket (day, model) the causes add up to the
//! difference to the nano-dollar. What nothing explains is called `unexplained`, never spread over other causes.

mod compare;
mod invoice;

pub use compare::{Prices, compare};
pub use invoice::{Invoice, InvoiceError, Line};
