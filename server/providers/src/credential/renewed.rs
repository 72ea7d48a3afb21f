//! Something that expires: fetched once for all who wait, renewed before it expires, forgotten when it is refused.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex as Lock;
use tokio::{sync::Mutex, time::Instant};
use tollgate_domain::Failure;

/// For how long something is held at most, whatever its maker says.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A renewal that failed is tried again after so long, while the old is good.
const PAUSE: Duration = Duration::from_secs(10);
/// What is refused is fetched anew at most once in so long: a provider that refuses everything must not cost a fetch per call.
const SELDOM: Duration = Duration::from_secs(60);

/// What is held, and for how long.
#[derive(Debug)]
struct Held<T> {
    value: Arc<T>,
    renew_at: Instant,
    expires_at: Instant,
}

/// Holds the latest of something that expires.
pub(crate) struct Renewed<T> {
    held: ArcSwapOption<Held<T>>,
    /// Held by whoever fetches.
    fetching: Mutex<()>,
    /// The last fetch that failed, and when.
    failed: Lock<Option<(Instant, Failure)>>,
    /// When it was last forgotten because it was refused.
    refused_at: Lock<Option<Instant>>,
}

impl<T> Default for Renewed<T> {
    fn default() -> Self {
        Self {
            held: ArcSwapOption::empty(),
            fetching: Mutex::new(()),
            failed: Lock::default(),
            refused_at: Lock::default(),
        }
    }
}

impl<T> Renewed<T> {
    /// What is held while it is fresh, else what `fetch` brings, with its lifetime. While the old is good, one call fetches and the
    /// others go on with the old. Those who waited for a fetch share its end, good or bad.
    pub(crate) async fn get(
        &self,
        fetch: impl Future<Output = Result<(T, Duration), Failure>>,
    ) -> Result<Arc<T>, Failure> {
        if let Some(held) = self.fresh() {
            return Ok(held);
        }
        let asked_at = Instant::now();
        let _fetching = match (self.fetching.try_lock(), self.good()) {
            (_, Some(held)) if self.failed_since(asked_at.checked_sub(PAUSE)).is_some() => return Ok(held),
            (Err(_), Some(held)) => return Ok(held),
            (Ok(fetching), _) => fetching,
            (Err(_), None) => self.fetching.lock().await,
        };
        if let Some(held) = self.fresh() {
            return Ok(held);
        }
        if let Some(failure) = self.failed_since(Some(asked_at)) {
            return Err(failure);
        }
        match fetch.await {
            Ok((value, lifetime)) => {
                let lifetime = lifetime.min(LONGEST);
                let (value, now) = (Arc::new(value), Instant::now());
                let held =
                    Held { value: value.clone(), renew_at: now + lifetime.mul_f64(0.9), expires_at: now + lifetime };
                self.held.store(Some(Arc::new(held)));
                Ok(value)
            }
            // A maker that is away for a moment harms nobody while the old is good.
            Err(failure) => {
                *self.failed.lock() = Some((Instant::now(), failure.clone()));
                match self.good() {
                    Some(held) => {
                        tracing::warn!(reason = %failure.message, "a credential could not be renewed yet");
                        Ok(held)
                    }
                    None => Err(failure),
                }
            }
        }
    }

    /// Forgets what is held if it is what was refused: another call may have renewed it since. Whether another one may pass.
    pub(crate) fn forget(&self, was_refused: impl FnOnce(&T) -> bool) -> bool {
        let Some(held) = self.held.load_full().filter(|held| was_refused(&held.value)) else { return true };
        let mut refused_at = self.refused_at.lock();
        if refused_at.is_some_and(|at| at.elapsed() < SELDOM) {
            return false;
        }
        *refused_at = Some(Instant::now());
        self.held.compare_and_swap(&held, None);
        true
    }

    /// How a fetch failed that ended since then, if one did.
    fn failed_since(&self, then: Option<Instant>) -> Option<Failure> {
        let failed = self.failed.lock();
        failed.as_ref().filter(|(at, _)| then.is_none_or(|then| *at > then)).map(|(_, failure)| failure.clone())
    }

    fn fresh(&self) -> Option<Arc<T>> {
        self.until(|held| held.renew_at)
    }

    fn good(&self) -> Option<Arc<T>> {
        self.until(|held| held.expires_at)
    }

    fn until(&self, end: fn(&Held<T>) -> Instant) -> Option<Arc<T>> {
        let held = self.held.load();
        held.as_ref().filter(|held| Instant::now() < end(held)).map(|held| held.value.clone())
    }
}

impl<T> fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn brings(renewed: &Renewed<u8>, value: u8, seconds: u64) -> Result<u8, Failure> {
        renewed.get(async { Ok((value, Duration::from_secs(seconds))) }).await.map(|held| *held)
    }

    async fn fails(renewed: &Renewed<u8>) -> Result<u8, Failure> {
        let away = Failure::new(tollgate_domain::Class::Connection, "away");
        renewed.get(async { Err(away) }).await.map(|held| *held)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_good_is_kept_renewed_early_and_outlives_a_maker_that_is_away() {
        let renewed = Renewed::default();
        assert_eq!(brings(&renewed, 1, 1_000).await.unwrap(), 1);
        tokio::time::advance(Duration::from_secs(890)).await;
        assert_eq!(brings(&renewed, 2, 1_000).await.unwrap(), 1, "fresh");
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(fails(&renewed).await.unwrap(), 1, "good");
        tokio::time::advance(PAUSE * 2).await;
        assert_eq!(brings(&renewed, 3, 1_000).await.unwrap(), 3, "renewed before it expired");
        tokio::time::advance(Duration::from_secs(1_001)).await;
        assert!(fails(&renewed).await.is_err(), "over");
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_refused_is_forgotten_and_no_lifetime_is_too_long_to_count() {
        let renewed = Renewed::default();
        assert_eq!(brings(&renewed, 1, u64::MAX).await.unwrap(), 1);
        assert!(renewed.forget(|value| *value == 9));
        assert_eq!(brings(&renewed, 2, 100).await.unwrap(), 1);
        assert!(renewed.forget(|value| *value == 1));
        assert_eq!(brings(&renewed, 2, 100).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_refuses_everything_does_not_cost_a_fetch_each_time() {
        let renewed = Renewed::default();
        brings(&renewed, 1, 1_000).await.unwrap();
        assert!(renewed.forget(|value| *value == 1));
        brings(&renewed, 2, 1_000).await.unwrap();
        assert!(!renewed.forget(|value| *value == 2));
        assert_eq!(brings(&renewed, 3, 1_000).await.unwrap(), 2, "kept");
        tokio::time::advance(SELDOM).await;
        assert!(renewed.forget(|value| *value == 2));
        assert_eq!(brings(&renewed, 3, 1_000).await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_share_the_end_of_a_fetch_that_fails() {
        let renewed = Renewed::<u8>::default();
        let hangs = async || {
            let hanging = async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Err(Failure::new(tollgate_domain::Class::Timeout, "hangs"))
            };
            renewed.get(hanging).await.unwrap_err()
        };
        let begun = Instant::now();
        tokio::join!(hangs(), hangs(), hangs());
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        assert_eq!(brings(&renewed, 1, 100).await.unwrap(), 1, "whoever comes later tries anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_failed_is_not_tried_by_every_call() {
        let renewed = Renewed::default();
        brings(&renewed, 1, 1_000).await.unwrap();
        tokio::time::advance(Duration::from_secs(950)).await;
        assert_eq!(fails(&renewed).await.unwrap(), 1);
        tokio::time::advance(PAUSE / 2).await;
        assert_eq!(brings(&renewed, 2, 1_000).await.unwrap(), 1, "not yet");
        tokio::time::advance(PAUSE).await;
        assert_eq!(brings(&renewed, 2, 1_000).await.unwrap(), 2);
    }
}
