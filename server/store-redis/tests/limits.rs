//! Replicas that share limits through Redis keep them together, and each keeps its part while Redis is away.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tollgate_domain::{Clock, Retry};
use tollgate_limits::{Limited, Limiter, Subject, Ticket};
use tollgate_proto::v1::RateLimits;
use tollgate_services::Redis;
use tollgate_store_redis::RedisLimits;

async fn replicas(redis: &Redis, n: usize) -> Vec<Limiter> {
    let clock = Clock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64);
    let mut replicas = Vec::new();
    for _ in 0..n {
        let shared = Arc::new(RedisLimits::open(&redis.url()).await.unwrap());
        replicas.push(Limiter::new(clock.clone(), Some(shared), Box::new(move || n)));
    }
    replicas
}

fn key(limits: RateLimits) -> [Limited; 1] {
    [Limited { subject: Subject { kind: "key", id: "k".into() }, limits }]
}

/// Calls that pass while all replicas ask as often as they can; the first refusal of each ends it.
async fn passed(replicas: &[Limiter], limited: &[Limited], tokens: i64) -> Vec<Ticket> {
    let asking = replicas.iter().enumerate().map(async |(r, limiter)| {
        let mut tickets = Vec::new();
        for n in 0.. {
            match limiter.admit(limited, tokens, &format!("{r}-{n}"), None).await {
                Ok(ticket) => tickets.push(ticket),
                Err(_) => break,
            }
        }
        tickets
    });
    futures::future::join_all(asking).await.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_rate_is_kept_by_all_replicas_together() {
    let redis = Redis::start();
    let replicas = replicas(&redis, 3).await;
    // A rate so slow that nothing comes back while the test runs.
    let limited = key(RateLimits { requests_per_day: Some(600), ..RateLimits::default() });
    let tickets = passed(&replicas, &limited, 0).await;
    // What lies in slices of others when one is refused, a tenth at most, is theirs to use.
    assert!((270..=300).contains(&tickets.len()), "{}", tickets.len());
    let error = replicas[0].admit(&limited, 0, "late", None).await.err().unwrap();
    let Retry::After(wait) = error.retry else { panic!("{error:?}") };
    assert!(wait <= Duration::from_secs(144) && wait > Duration::from_secs(100), "{wait:?}");
}

#[tokio::test]
async fn tokens_that_were_not_used_come_back_to_all() {
    let redis = Redis::start();
    let replicas = replicas(&redis, 2).await;
    let limited = key(RateLimits { tokens_per_minute: Some(600), ..RateLimits::default() });
    let mut ticket = replicas[0].admit(&limited, 100, "a", None).await.unwrap();
    assert!(replicas[1].admit(&limited, 90, "b", None).await.is_err());
    ticket.used(5);
    let mut again = replicas[1].admit(&limited, 90, "b", None).await;
    for _ in 0..50 {
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await; // the correction is on its way
        again = replicas[1].admit(&limited, 90, "b", None).await;
    }
    assert!(again.is_ok());
}

#[tokio::test]
async fn calls_in_flight_are_counted_over_all_replicas_and_lapse_with_one_that_dies() {
    let redis = Redis::start();
    let replicas = replicas(&redis, 2).await;
    let limited = key(RateLimits { concurrent_requests: Some(3), ..RateLimits::default() });
    let dies = replicas[0].admit(&limited, 0, "dies", Some(Duration::ZERO)).await.unwrap();
    std::mem::forget(dies);
    let tickets = passed(&replicas, &limited, 0).await;
    assert_eq!(tickets.len(), 2);
    drop(tickets);
    let begun = std::time::Instant::now();
    let mut free = 0;
    while free < 3 {
        assert!(begun.elapsed() < Duration::from_secs(10), "a dead replica's call is counted on");
        tokio::time::sleep(Duration::from_millis(100)).await;
        free = passed(&replicas, &limited, 0).await.len();
    }
    assert!(begun.elapsed() > Duration::from_secs(3), "not before its deadline and five seconds");
}

#[tokio::test]
async fn while_redis_is_away_each_replica_keeps_to_its_part() {
    let mut redis = Redis::start();
    let replicas = replicas(&redis, 3).await;
    redis.kill();
    let limited = key(RateLimits { requests_per_day: Some(600), ..RateLimits::default() });
    assert_eq!(passed(&replicas, &limited, 0).await.len(), 300);
}
