//! Something that expires: fetched once for all who wait, renewed before it expires, forgotten when it is refused.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::{sync::Mutex, time::Instant};
use tollgate_domain::Failure;

/// For how long something is held at most, whatever its maker says.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

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
}

impl<T> Default for Renewed<T> {
    fn default() -> Self {
        Self { held: ArcSwapOption::empty(), fetching: Mutex::new(()) }
    }
}

impl<T> Renewed<T> {
    /// What is held while it is fresh, else what `fetch` brings, with its lifetime. While the old is good, one call fetches and the
    /// others go on with the old.
    pub(crate) async fn get(
        &self,
        fetch: impl Future<Output = Result<(T, Duration), Failure>>,
    ) -> Result<Arc<T>, Failure> {
        if let Some(held) = self.fresh() {
            return Ok(held);
        }
        let _fetching = match self.fetching.try_lock() {
            Ok(fetching) => fetching,
            Err(_) => match self.good() {
                Some(held) => return Ok(held),
                None => self.fetching.lock().await,
            },
        };
        if let Some(held) = self.fresh() {
            return Ok(held);
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
            Err(failure) => match self.good() {
                Some(held) => {
                    tracing::warn!(reason = %failure.message, "a credential could not be renewed yet");
                    Ok(held)
                }
                None => Err(failure),
            },
        }
    }

    /// Forgets what is held if it is what was refused: another call may have renewed it since.
    pub(crate) fn forget(&self, was_refused: impl FnOnce(&T) -> bool) {
        if let Some(held) = self.held.load_full().filter(|held| was_refused(&held.value)) {
            self.held.compare_and_swap(&held, None);
        }
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
        assert_eq!(brings(&renewed, 1, 100).await.unwrap(), 1);
        tokio::time::advance(Duration::from_secs(89)).await;
        assert_eq!(brings(&renewed, 2, 100).await.unwrap(), 1, "fresh");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(fails(&renewed).await.unwrap(), 1, "good");
        assert_eq!(brings(&renewed, 3, 100).await.unwrap(), 3, "renewed before it expired");
        tokio::time::advance(Duration::from_secs(101)).await;
        assert!(fails(&renewed).await.is_err(), "over");
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_refused_is_forgotten_and_no_lifetime_is_too_long_to_count() {
        let renewed = Renewed::default();
        assert_eq!(brings(&renewed, 1, u64::MAX).await.unwrap(), 1);
        renewed.forget(|value| *value == 9);
        assert_eq!(brings(&renewed, 2, 100).await.unwrap(), 1);
        renewed.forget(|value| *value == 1);
        assert_eq!(brings(&renewed, 2, 100).await.unwrap(), 2);
    }
}
