//! What the wire cannot say: ids, money and its arithmetic, why a call failed.
//!
//! No I/O and no clock live here; the contract's messages (`tollgate-proto`) are the nouns everywhere else.

mod clock;
mod error;
mod failure;
mod headroom;
mod id;
mod money;
mod price;
mod secret;
mod tags;

pub use clock::{Clock, micros, timestamp};
pub use error::{Error, Retry, Violation};
pub use failure::{Class, Failure};
pub use headroom::{Headroom, Left};
pub use id::{AttemptId, CallId, new_id};
pub use money::{MoneyError, NanoUsd};
pub use price::{Price, PriceTier, Rates, ServiceTier, Tariff};
pub use secret::Secret;
pub use tags::{TAGS_FIT, tags_fit};
