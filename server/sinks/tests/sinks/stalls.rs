//! What becomes of records while a receiver stalls.

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use prost::Message;
use tollgate_sinks::{Batching, Event, Kind, Owner, Owners, Stdout, WriteTo};

use crate::{
    receivers::{all, helicone, webhook},
    support::{Mood, World, eventually, failed, hasty, id, record},
};

/// Bytes of a record on disk.
fn on_disk() -> u64 {
    let owner = Owner {
        key_name: "ci".into(),
        organization_id: "org_1".into(),
        team_id: "team_1".into(),
        user_id: "user_1".into(),
    };
    Event::of(&failed(0), "replica-1", owner).encoded_len() as u64 + 8
}

#[test]
fn a_stalled_sink_of_any_kind_loses_nothing_until_its_limit_and_then_counts_exactly() {
    for (name, receiver, kind) in all() {
        receiver.is(Mood::Fails);
        let mut options = hasty(name, kind);
        options.spill_max_bytes = 60 * on_disk();
        let world = World::with(vec![options]);
        // Failures: what Sentry takes too.
        (0..60).for_each(|n| world.publish_one(&failed(n)));
        let stats = eventually(name, || world.stats(0), |stats| stats.spilled == 60);
        assert_eq!((stats.dropped.total(), stats.spilled_bytes), (0, 60 * on_disk()), "{name}");
        (60..100).for_each(|n| world.publish_one(&failed(n)));
        let stats = eventually(name, || world.stats(0), |stats| stats.dropped.total() >= 40);
        assert_eq!((stats.dropped.spill, stats.dropped.total(), stats.spilled), (40, 40, 60), "{name}");
        receiver.is(Mood::Takes);
        let stats = eventually(name, || world.stats(0), |stats| stats.delivered == 60 && stats.spilled == 0);
        assert_eq!((stats.dropped.total(), stats.spilled, stats.spilled_bytes), (40, 0, 0), "{name}");
        assert_eq!(receiver.ids(), (0..60).map(id).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn a_receiver_that_never_answers_is_as_good_as_one_that_fails() {
    let (_, receiver, kind) = webhook();
    receiver.is(Mood::Hangs);
    let mut options = hasty("webhook", kind);
    options.timeout = Duration::from_millis(300);
    let world = World::with(vec![options]);
    world.publish(0..200);
    eventually("its time is over", || world.stats(0), |stats| stats.failures >= 1 && stats.spilled == 200);
    receiver.is(Mood::Takes);
    eventually("they arrive", || world.stats(0), |stats| stats.delivered == 200);
    // On a busy machine one that was taken may be late too, and come twice: at least once.
    let mut ids = receiver.ids();
    ids.sort();
    ids.dedup();
    assert_eq!(ids, (0..200).map(id).collect::<Vec<_>>());
}

#[test]
fn what_is_on_disk_is_sent_first_after_a_restart() {
    let (_, receiver, kind) = webhook();
    receiver.is(Mood::Fails);
    let mut world = World::with(vec![hasty("webhook", kind.clone())]);
    world.publish(0..35);
    eventually("they are on disk", || world.stats(0), |stats| stats.spilled == 35);
    world.publish(35..50);
    world.close(Duration::from_millis(200));
    receiver.is(Mood::Takes);
    world.start(vec![hasty("webhook", kind)]);
    world.publish(50..60);
    eventually("they arrive", || world.stats(0), |stats| stats.delivered == 60);
    assert_eq!(receiver.ids(), (0..60).map(id).collect::<Vec<_>>());
}

#[test]
fn what_is_in_memory_at_a_stop_is_kept() {
    let (_, receiver, kind) = webhook();
    receiver.is(Mood::Hangs);
    let mut world = World::with(vec![hasty("webhook", kind.clone())]);
    world.publish(0..5);
    world.close(Duration::from_millis(200));
    assert!(receiver.taken().is_empty());
    receiver.is(Mood::Takes);
    world.start(vec![hasty("webhook", kind)]);
    eventually("they arrive", || world.stats(0), |stats| stats.delivered == 5);
    assert_eq!(receiver.ids(), (0..5).map(id).collect::<Vec<_>>());
}

#[test]
fn what_a_full_queue_refuses_is_counted() {
    const PUBLISHED: u64 = 70_000;
    let gate = Arc::new(Mutex::new(()));
    let of_owners = gate.clone();
    // Who owns a key is asked for every record that is taken from the queue: none is, for a while.
    let owners: Owners = Arc::new(move |_| {
        drop(of_owners.lock());
        Owner::default()
    });
    let mut options = hasty("stdout", Kind::Stdout(Stdout { to: WriteTo::new(io::sink()) }));
    options.batching = Batching { max_records: 1_000, ..Batching::default() };
    options.memory_records = 100_000;
    let closed = gate.lock();
    let world = World::where_owners_are(owners, vec![options]);
    let record = record(0);
    (0..PUBLISHED).for_each(|_| world.publish_one(&record));
    // 65,536 wait, and 512 at most were taken before.
    let refused = world.stats(0).dropped.queue;
    assert!((PUBLISHED - 65_536 - 512..=PUBLISHED - 65_536).contains(&refused), "{refused}");
    drop(closed);
    let stats = eventually(
        "they are dealt with",
        || world.stats(0),
        |stats| stats.delivered + stats.spilled + stats.dropped.total() == PUBLISHED,
    );
    assert_eq!((stats.dropped.queue, stats.dropped.total()), (refused, refused));
}

#[test]
fn a_sink_that_is_closed_sends_what_waits() {
    let (_, receiver, kind) = webhook();
    let mut options = hasty("webhook", kind);
    options.batching = Batching { max_age: Duration::from_secs(3_600), ..Batching::default() };
    let mut world = World::with(vec![options]);
    world.publish(0..15);
    let began = Instant::now();
    world.close(Duration::from_secs(10));
    assert!(began.elapsed() < Duration::from_secs(5), "it waits no longer than it must");
    assert_eq!(receiver.ids(), (0..15).map(id).collect::<Vec<_>>());
}

#[test]
fn a_stalled_sink_keeps_no_other_waiting_nor_whoever_publishes() {
    let (_, stalled, to_stalled) = webhook();
    let (_, sound, to_sound) = webhook();
    stalled.is(Mood::Hangs);
    let world = World::with(vec![hasty("stalled", to_stalled), hasty("sound", to_sound)]);
    let records: Vec<_> = (0..2_000).map(record).collect();
    let began = Instant::now();
    records.iter().for_each(|record| world.publish_one(record));
    let took = began.elapsed();
    assert!(took < Duration::from_millis(500), "publishing 2,000 records took {took:?}");
    eventually("the other is served", || world.stats(1), |stats| stats.delivered == 2_000);
    assert_eq!(world.stats(0).delivered, 0);
    assert!(stalled.requests() >= 1 && sound.requests() >= 200);
}

/// Whether somebody reads, and what was written.
type Read = (bool, Vec<u8>);

/// A pipe that nobody reads, until somebody does.
#[derive(Clone, Default)]
struct Pipe(Arc<(Mutex<Read>, Condvar)>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inside = self.0.0.lock();
        while !inside.0 {
            self.0.1.wait(&mut inside);
        }
        inside.1.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn standard_output_that_nobody_reads_loses_nothing_until_the_limit_either() {
    let pipe = Pipe::default();
    let mut options = hasty("stdout", Kind::Stdout(Stdout { to: WriteTo::new(pipe.clone()) }));
    options.batching.max_age = Duration::from_secs(3_600);
    options.spill_max_bytes = 60 * on_disk();
    let world = World::with(vec![options]);
    (0..10).for_each(|n| world.publish_one(&failed(n)));
    eventually("a batch is being written", || world.stats(0).waiting, |waiting| *waiting == 10);
    // It stays in memory, and 60 more find room on disk.
    (10..100).for_each(|n| world.publish_one(&failed(n)));
    let stats = eventually("they are counted", || world.stats(0), |stats| stats.dropped.total() >= 30);
    assert_eq!((stats.dropped.total(), stats.spilled, stats.delivered), (30, 60, 0));
    pipe.0.0.lock().0 = true;
    pipe.0.1.notify_all();
    eventually("they are read", || world.stats(0), |stats| stats.delivered == 70);
    let text = String::from_utf8(pipe.0.0.lock().1.clone()).unwrap();
    let ids: Vec<_> =
        text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["id"].to_string()).collect();
    assert_eq!(ids, (0..70).map(|n| format!("{:?}", id(n))).collect::<Vec<_>>());
}

#[test]
fn what_was_taken_one_by_one_before_a_late_answer_is_not_sent_again() {
    let (_, receiver, kind) = helicone();
    receiver.is(Mood::Stalls(7));
    let mut options = hasty("helicone", kind);
    options.timeout = Duration::from_secs(2);
    let world = World::with(vec![options]);
    world.publish(0..10);
    eventually("the eighth is late", || world.stats(0), |stats| stats.failures == 1);
    assert_eq!(world.stats(0).delivered, 7);
    receiver.is(Mood::Takes);
    eventually("the others arrive", || world.stats(0), |stats| stats.delivered == 10);
    assert_eq!(receiver.ids(), (0..10).map(id).collect::<Vec<_>>());
}
