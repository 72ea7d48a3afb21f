//! Rate limits and fairness: what may be asked per time, and who goes first where it is crowded.
//!
//! A [`Limiter`] lets a call pass all limits of its key, user, team, organization and model or takes nothing of any; a [`Pool`] is the
//! queue before a deployment that serves so many calls at once.

mod expected;
mod limiter;
mod meter;
mod pool;
mod rate;
mod shared;

pub use expected::Expected;
pub use limiter::{Limited, Limiter, Ticket};
pub use meter::{Dimension, Quota, Standing, Subject};
pub use pool::{Asking, Full, Pool, PoolState, Slot};
pub use rate::{Bucket, Rate, Wait};
pub use shared::{Gone, Shared, Take, Taken};
