//! Idempotency keys, claimed in PostgreSQL and in Redis, so that one of the two may be away.
//!
//! PostgreSQL forgets nothing; Redis may. So Redis alone is enough only while no replica reaches PostgreSQL, and only once it has been
//! told, since it started, what PostgreSQL knows. What one of them missed it is told as soon as it answers again.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tollgate_store::{Claimed, Claims, Idempotency, Result, StoreError};
use tollgate_store_postgres::PostgresStore;
use tollgate_store_redis::{RedisClaims, Took};

/// No call waits longer for a store.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often what a store missed is tried again.
const CATCH_UP: Duration = Duration::from_millis(100);
/// How often Redis is told that PostgreSQL is reached.
const VOUCH: Duration = Duration::from_millis(500);
/// For how long that counts.
const VOUCHED: Duration = Duration::from_secs(2);
/// What may wait for a store: beyond, the oldest is forgotten there.
const MISSED: usize = 100_000;

/// What a store has yet to be told.
enum Missed {
    Claim { idempotency: Idempotency, call_id: String, retention: Duration },
    Release { key: Vec<u8>, call_id: String },
}

/// A store, and what it missed while it was away.
struct Place {
    store: Arc<dyn Claims>,
    missed: Mutex<VecDeque<Missed>>,
}

impl Place {
    fn new(store: Arc<dyn Claims>) -> Self {
        Self { store, missed: Mutex::default() }
    }

    fn later(&self, missed: Missed) {
        let mut queue = self.missed.lock();
        if queue.len() >= MISSED {
            tracing::warn!("a store was away for so long that an idempotency key is forgotten there");
            queue.pop_front();
        }
        queue.push_back(missed);
    }

    /// Releases now, or later in its turn.
    async fn release(&self, key: &[u8], call_id: &str) {
        let in_turn = self.missed.lock().is_empty();
        if !in_turn || within(self.store.release(key, call_id)).await.is_err() {
            self.later(Missed::Release { key: key.to_vec(), call_id: call_id.to_owned() });
        }
    }

    /// Tells what was missed, in turn, for as long as the store answers.
    async fn catch_up(&self) {
        loop {
            let Some(next) = self.missed.lock().pop_front() else { return };
            let told = match &next {
                Missed::Claim { idempotency, call_id, retention } => {
                    within(self.store.claim(idempotency, call_id, *retention)).await.map(|other| {
                        if let Some(other) = other {
                            tracing::warn!(
                                call_id,
                                other.call_id,
                                "an idempotency key was claimed by two calls while a store was away"
                            );
                        }
                    })
                }
                Missed::Release { key, call_id } => within(self.store.release(key, call_id)).await,
            };
            if told.is_err() {
                self.missed.lock().push_front(next);
                return;
            }
        }
    }
}

async fn within<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::Unavailable("no answer in time".into())),
    }
}

/// The two stores, or PostgreSQL alone.
pub(crate) struct Everywhere {
    postgres: Arc<PostgresStore>,
    redis: Option<Arc<RedisClaims>>,
    in_postgres: Place,
    in_redis: Option<Place>,
}

impl Everywhere {
    /// Claims there, and keeps both up to date for as long as somebody holds the result.
    pub(crate) fn over(postgres: Arc<PostgresStore>, redis: Option<RedisClaims>) -> Arc<Self> {
        let redis = redis.map(Arc::new);
        let this = Arc::new(Self {
            in_postgres: Place::new(postgres.clone()),
            in_redis: redis.clone().map(|redis| Place::new(redis)),
            postgres,
            redis,
        });
        let weak = Arc::downgrade(&this);
        tokio::spawn(async move {
            let mut vouched = None::<Instant>;
            loop {
                tokio::time::sleep(CATCH_UP).await;
                let Some(this) = weak.upgrade() else { return };
                let redis = async {
                    if let Some(redis) = &this.in_redis {
                        redis.catch_up().await;
                    }
                };
                tokio::join!(this.in_postgres.catch_up(), redis);
                if vouched.is_none_or(|at| at.elapsed() >= VOUCH) {
                    vouched = Some(Instant::now());
                    if let Err(error) = this.vouch().await {
                        tracing::debug!(%error, "redis is not told that postgres is reached");
                    }
                }
            }
        });
        this
    }

    /// Tells Redis that PostgreSQL is reached, and what it knows if Redis has forgotten.
    async fn vouch(&self) -> Result<()> {
        let Some(redis) = &self.redis else { return Ok(()) };
        within(self.postgres.ping()).await?;
        if within(redis.vouch(VOUCHED)).await? {
            return Ok(());
        }
        redis.fill(&self.postgres.claims().await?).await
    }

    async fn in_redis(&self, idempotency: &Idempotency, call_id: &str, retention: Duration) -> Result<Took> {
        match &self.redis {
            Some(redis) => within(redis.take(idempotency, call_id, retention)).await,
            None => Err(StoreError::Unavailable("there is no redis".into())),
        }
    }
}

#[async_trait]
impl Claims for Everywhere {
    async fn claim(&self, idempotency: &Idempotency, call_id: &str, retention: Duration) -> Result<Option<Claimed>> {
        // One after the other, in the same order everywhere: of two that come at once the same one is first in each.
        let in_postgres = within(self.postgres.claim(idempotency, call_id, retention)).await;
        if let Ok(Some(other)) = in_postgres {
            return Ok(Some(other));
        }
        let missed = || Missed::Claim { idempotency: idempotency.clone(), call_id: call_id.to_owned(), retention };
        let refused = match (in_postgres, self.in_redis(idempotency, call_id, retention).await) {
            (_, Ok(Took { other: Some(other), .. })) => {
                self.in_postgres.release(&idempotency.key, call_id).await;
                return Ok(Some(other));
            }
            (Ok(_), Ok(_)) => return Ok(None),
            (Ok(_), Err(error)) => {
                if let Some(redis) = &self.in_redis {
                    tracing::debug!(%error, "an idempotency key is claimed in postgres alone");
                    redis.later(missed());
                }
                return Ok(None);
            }
            (Err(error), Ok(Took { whole: true, vouched: false, .. })) => {
                tracing::debug!(%error, "an idempotency key is claimed in redis alone");
                self.in_postgres.later(missed());
                return Ok(None);
            }
            (Err(_), Ok(Took { whole: false, .. })) => "redis has forgotten idempotency keys, and postgres is away",
            (Err(_), Ok(_)) => "other replicas reach postgres, where idempotency keys are claimed; this one does not",
            (Err(_), Err(_)) => "no store answers",
        };
        // Whether it came to be claimed is not known.
        self.release(&idempotency.key, call_id).await?;
        Err(StoreError::Unavailable(refused.into()))
    }

    async fn release(&self, key: &[u8], call_id: &str) -> Result<()> {
        self.in_postgres.release(key, call_id).await;
        if let Some(redis) = &self.in_redis {
            redis.release(key, call_id).await;
        }
        Ok(())
    }
}
