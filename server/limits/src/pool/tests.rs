use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn asking(priority: Priority, team: &str, key: &str, tokens: i64) -> Asking {
    Asking { priority, team_id: team.into(), key_id: key.into(), tokens }
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_lets_the_next_in_when_somebody_leaves() {
    let pool = Pool::new(1);
    let who = asking(Priority::Standard, "t", "k", 100);
    let first = pool.enter(&who, None).await.unwrap();
    let waiting = tokio::spawn({
        let (pool, who) = (pool.clone(), who.clone());
        async move { pool.enter(&who, None).await.map(drop) }
    });
    tokio::task::yield_now().await;
    let state = pool.state();
    assert_eq!((state.in_use, state.waiting), ([0, 1, 0], [0, 1, 0]));
    drop(first);
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(pool.state().in_use, [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_its_class_or_its_deadline() {
    let pool = Pool::new(1);
    let _inside = pool.enter(&asking(Priority::Interactive, "t", "k", 1), None).await.unwrap();
    for (priority, patience) in [(Priority::Interactive, 2), (Priority::Standard, 10), (Priority::Batch, 60)] {
        let full = pool.enter(&asking(priority, "t", "k", 1), None).await.err().unwrap();
        assert_eq!(full.waited, Duration::from_secs(patience));
    }
    let deadline = Some(Instant::now() + Duration::from_millis(300));
    let full = pool.enter(&asking(Priority::Batch, "t", "k", 1), deadline).await.err().unwrap();
    assert_eq!(full.waited, Duration::from_millis(300));
    assert_eq!(pool.state().waiting, [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn who_goes_while_waiting_takes_no_slot_with_it() {
    let pool = Pool::new(1);
    let who = asking(Priority::Standard, "t", "k", 1);
    for _ in 0..100 {
        let first = pool.enter(&who, None).await.unwrap();
        let waiting = tokio::spawn({
            let (pool, who) = (pool.clone(), who.clone());
            async move { pool.enter(&who, None).await.map(drop) }
        });
        tokio::task::yield_now().await;
        // The slot is on its way when the one who waited for it goes.
        drop(first);
        waiting.abort();
        let _ = waiting.await;
        assert_eq!(pool.state().in_use, [0, 0, 0]);
    }
}

/// Workers that ask again as soon as they are served; returns the calls that were served for each.
async fn flood(pool: &Pool, workers: Vec<Asking>, service: Duration, during: Duration) -> Vec<u64> {
    let served: Arc<Vec<AtomicU64>> = Arc::new(workers.iter().map(|_| AtomicU64::new(0)).collect());
    let end = Instant::now() + during;
    let tasks: Vec<_> = workers
        .into_iter()
        .enumerate()
        .map(|(i, who)| {
            let (pool, served) = (pool.clone(), served.clone());
            tokio::spawn(async move {
                while Instant::now() < end {
                    if let Ok(_slot) = pool.enter(&who, Some(end)).await {
                        tokio::time::sleep(service).await;
                        served[i].fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    served.iter().map(|n| n.load(Ordering::Relaxed)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_batch_does_not_starve_the_chatbot() {
    const CAPACITY: usize = 20;
    let (during, service) = (Duration::from_secs(120), Duration::from_millis(500));
    let pool = Pool::new(CAPACITY);
    let workers = (0..200).map(|n| asking(Priority::Batch, "batch", &format!("b{n}"), 2_000)).collect();
    let batch = tokio::spawn({
        let pool = pool.clone();
        async move { flood(&pool, workers, Duration::from_secs(1), during).await.iter().sum::<u64>() }
    });
    // Five calls a second.
    let end = Instant::now() + during;
    let mut chats = Vec::new();
    while Instant::now() < end {
        let pool = pool.clone();
        chats.push(tokio::spawn(async move {
            let asked = Instant::now();
            let slot = pool.enter(&asking(Priority::Interactive, "chat", "c", 500), None).await;
            let waited = asked.elapsed();
            tokio::time::sleep(service).await;
            slot.map(|_| waited)
        }));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut waits = Vec::new();
    for chat in chats {
        waits.push(chat.await.unwrap().expect("every chat is served"));
    }
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    assert!(p99 <= Duration::from_millis(50), "added p99 {p99:?}");
    // What batch may use: below 70 % of the slots, beside the chatbot's.
    let rest = during.as_secs_f64() * (CAPACITY as f64 * 0.7 - 5.0 * service.as_secs_f64());
    let served = batch.await.unwrap() as f64;
    assert!(served >= 0.9 * rest, "batch got {served} of {rest}");
}

#[tokio::test(start_paused = true)]
async fn teams_share_a_class_evenly_however_often_they_ask() {
    let pool = Pool::new(10);
    let mut workers: Vec<_> = (0..90).map(|n| asking(Priority::Standard, "greedy", &format!("g{n}"), 1_000)).collect();
    workers.extend((0..12).map(|n| asking(Priority::Standard, "modest", &format!("m{n}"), 1_000)));
    workers.extend((0..12).map(|n| asking(Priority::Standard, "other", &format!("o{n}"), 1_000)));
    let served = flood(&pool, workers, Duration::from_millis(100), Duration::from_secs(60)).await;
    let teams: Vec<f64> =
        [&served[..90], &served[90..102], &served[102..]].iter().map(|s| s.iter().sum::<u64>() as f64).collect();
    let (sum, squares) = (teams.iter().sum::<f64>(), teams.iter().map(|t| t * t).sum::<f64>());
    let jain = sum * sum / (3.0 * squares);
    assert!(jain >= 0.95, "Jain's index {jain} of {teams:?}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_more_tokens_gets_fewer_turns() {
    let pool = Pool::new(4);
    let mut workers: Vec<_> = (0..20).map(|n| asking(Priority::Standard, "long", &format!("l{n}"), 4_000)).collect();
    workers.extend((0..20).map(|n| asking(Priority::Standard, "short", &format!("s{n}"), 1_000)));
    let served = flood(&pool, workers, Duration::from_millis(100), Duration::from_secs(60)).await;
    let (long, short) = (served[..20].iter().sum::<u64>(), served[20..].iter().sum::<u64>());
    assert!((3.0..=5.0).contains(&(short as f64 / long as f64)), "{long} long and {short} short calls");
}

#[tokio::test(start_paused = true)]
async fn a_class_alone_uses_every_slot() {
    let pool = Pool::new(10);
    let slots = futures_all(&pool, 10).await;
    assert_eq!(pool.state().in_use, [0, 10, 0]);
    drop(slots);
    // Only batch leaves headroom for others.
    let mut slots = Vec::new();
    for n in 0..7 {
        slots.push(pool.enter(&asking(Priority::Batch, "b", &n.to_string(), 1), None).await.unwrap());
    }
    let deadline = Some(Instant::now() + Duration::from_secs(1));
    assert!(pool.enter(&asking(Priority::Batch, "b", "8", 1), deadline).await.is_err());
    assert!(pool.enter(&asking(Priority::Standard, "s", "s", 1), None).await.is_ok());
}

async fn futures_all(pool: &Pool, n: usize) -> Vec<Slot> {
    let mut slots = Vec::new();
    for _ in 0..n {
        slots.push(pool.enter(&asking(Priority::Standard, "t", "k", 1), None).await.unwrap());
    }
    slots
}

#[tokio::test(start_paused = true)]
async fn who_goes_leaves_those_behind_in_the_queue() {
    for (first, second) in [(("t", "k"), ("t", "other")), (("t", "k"), ("u", "k")), (("", "k"), ("", "other"))] {
        let pool = Pool::new(1);
        let busy = pool.enter(&asking(Priority::Standard, "x", "x", 1), None).await.unwrap();
        let wait = |(team, key): (&'static str, &'static str)| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.enter(&asking(Priority::Standard, team, key, 1), None).await.is_ok() })
        };
        let gone = wait(first);
        tokio::task::yield_now().await;
        let stays = wait(second);
        tokio::task::yield_now().await;
        gone.abort();
        let _ = gone.await;
        assert_eq!(pool.state().waiting, [0, 1, 0]);
        drop(busy);
        assert!(stays.await.unwrap(), "{first:?} went before {second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_takes_a_free_slot_and_never_one_that_others_wait_for() {
    let pool = Pool::new(1);
    let who = asking(Priority::Standard, "t", "k", 1);
    let slot = pool.try_enter(&who).unwrap();
    assert!(pool.try_enter(&who).is_none());
    drop(slot);
    assert!(pool.try_enter(&who).is_some());
}
