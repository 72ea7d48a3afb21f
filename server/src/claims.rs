//! Idempotency keys, claimed in PostgreSQL and in Redis, so that one of the two may be away.
//!
//! PostgreSQL forgets nothing; Redis may. So Redis alone is enough only while no replica reaches PostgreSQL, and only once it has been
//! told, since it started, what PostgreSQL knows. PostgreSQL alone is enough once it has been reached for a while and no replica that
//! sees Redis is silent there: nobody then has claims that only Redis knows. What one of them missed it is told as soon as it answers
//! again; what Redis alone has, any replica tells PostgreSQL, for the one that claimed it may be dead.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
/// PostgreSQL must have been reached for so long before it is enough alone: until then others may have claims to tell it.
const SURE: Duration = Duration::from_secs(3);
/// How often a claim that PostgreSQL has for another call is told again: that call gives it back when it finds ours in Redis.
const AGAIN: u8 = 30;
/// What may wait for a store: beyond, the oldest is forgotten there.
const MISSED: usize = 100_000;

const UNSURE: &str = "redis is away, and another replica may have claimed it there while postgres was";

/// What a store has yet to be told.
enum Missed {
    Claim { idempotency: Idempotency, call_id: String, retention: Duration, again: u8 },
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
            let Some(mut next) = self.missed.lock().pop_front() else { return };
            let told = match &next {
                Missed::Claim { idempotency, call_id, retention, .. } => {
                    within(self.store.claim(idempotency, call_id, *retention)).await
                }
                Missed::Release { key, call_id } => within(self.store.release(key, call_id)).await.map(|()| None),
            };
            match (told, &mut next) {
                (Err(_), _) => {
                    self.missed.lock().push_front(next);
                    return;
                }
                (Ok(Some(_)), Missed::Claim { again, .. }) if *again > 0 => {
                    *again -= 1;
                    self.missed.lock().push_front(next);
                    return;
                }
                (Ok(Some(other)), Missed::Claim { call_id, .. }) => {
                    let other = other.call_id;
                    tracing::warn!(
                        call_id,
                        other,
                        "an idempotency key was claimed by two calls while a store was away"
                    );
                }
                (Ok(_), _) => {}
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
    /// Since when PostgreSQL has answered whenever it was asked.
    reached_since: Mutex<Option<Instant>>,
    /// Redis did not answer when it was last asked.
    redis_is_away: AtomicBool,
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
            reached_since: Mutex::default(),
            redis_is_away: AtomicBool::new(false),
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
        self.reached(within(self.postgres.ping()).await)?;
        let vouched = within(redis.vouch(VOUCHED)).await;
        self.redis_is_away.store(vouched.is_err(), Ordering::Relaxed);
        if !vouched? {
            redis.fill(&self.postgres.claims().await?).await?;
        }
        for (idempotency, call_id, left) in within(redis.alone()).await? {
            // Where PostgreSQL has another call's it is tried again: that call gives it back.
            if within(self.postgres.claim(&idempotency, &call_id, left)).await?.is_none() {
                within(redis.told(&idempotency.key)).await?;
            }
        }
        Ok(())
    }

    /// Keeps in mind since when PostgreSQL answers.
    fn reached<T>(&self, answer: Result<T>) -> Result<T> {
        let mut since = self.reached_since.lock();
        *since = since.or_else(|| Some(Instant::now())).filter(|_| answer.is_ok());
        answer
    }

    /// Whether no other replica can have claims that only Redis knows.
    async fn is_enough_without_redis(&self) -> Result<bool> {
        let settled = self.reached_since.lock().is_some_and(|since| since.elapsed() >= SURE);
        Ok(settled && within(self.postgres.hears_all_who_see_redis()).await?)
    }
}

#[async_trait]
impl Claims for Everywhere {
    async fn claim(&self, idempotency: &Idempotency, call_id: &str, retention: Duration) -> Result<Option<Claimed>> {
        if self.redis_is_away.load(Ordering::Relaxed) && !self.is_enough_without_redis().await.unwrap_or(false) {
            // Not claimed only to be given back: who has it is just now telling PostgreSQL.
            let taken = within(self.postgres.claimed(&idempotency.key)).await?;
            return taken.map(Some).ok_or_else(|| StoreError::Unavailable(UNSURE.into()));
        }
        // One after the other, in the same order everywhere: of two that come at once the same one is first in each.
        let in_postgres = self.reached(within(self.postgres.claim(idempotency, call_id, retention)).await);
        if let Ok(Some(other)) = in_postgres {
            return Ok(Some(other));
        }
        let (Some(redis), Some(place)) = (&self.redis, &self.in_redis) else { return in_postgres };
        let is_alone = in_postgres.is_err();
        let in_redis = within(redis.take(idempotency, call_id, retention, is_alone)).await;
        self.redis_is_away.store(in_redis.is_err(), Ordering::Relaxed);
        let missed =
            || Missed::Claim { idempotency: idempotency.clone(), call_id: call_id.to_owned(), retention, again: AGAIN };
        let refused = match (in_postgres, in_redis) {
            (_, Ok(Took { other: Some(other), .. })) => {
                self.in_postgres.release(&idempotency.key, call_id).await;
                return Ok(Some(other));
            }
            (Ok(_), Ok(_)) => return Ok(None),
            (Ok(_), Err(error)) => {
                if self.is_enough_without_redis().await.unwrap_or(false) {
                    tracing::debug!(%error, "an idempotency key is claimed in postgres alone");
                    place.later(missed());
                    return Ok(None);
                }
                UNSURE
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
