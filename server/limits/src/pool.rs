//! Who goes first where a deployment has room for so many calls at once.
//!
//! Three classes with reserved shares of the slots (interactive 60 %, standard 30 %, batch 10 %), work-conserving: what a class does not
//! use others may. Within a class teams take turns, and within a team its keys, by deficit round robin over expected tokens, so that
//! nobody owns a class by asking more often or for more. Batch begins only while less than 70 % of the slots are taken.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};
use tollgate_proto::v1::Priority;

const CLASSES: usize = 3;
/// Reserved shares of the slots, in percent.
const SHARES: [usize; CLASSES] = [60, 30, 10];
/// Batch begins only while less than this many percent of the slots are taken.
const BATCH_BELOW: usize = 70;
/// How long a class waits at most.
const PATIENCE: [Duration; CLASSES] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)];
/// Expected tokens that a turn is worth.
const QUANTUM: i64 = 1_000;

/// Index of a class: 0 goes first.
fn class_of(priority: Priority) -> usize {
    match priority {
        Priority::Interactive => 0,
        Priority::Standard | Priority::Unspecified => 1,
        Priority::Batch => 2,
    }
}

/// Who asks for a slot.
#[derive(Clone, Debug)]
pub struct Asking {
    /// Its class.
    pub priority: Priority,
    /// Its team, or empty.
    pub team_id: String,
    /// Its key.
    pub key_id: String,
    /// How many tokens it is expected to use: its weight in the turns.
    pub tokens: i64,
}

impl Asking {
    /// How long a call of its class waits where it names no deadline.
    pub fn patience(&self) -> Duration {
        PATIENCE[class_of(self.priority)]
    }
}

/// Nobody left in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// How long it waited.
    pub waited: Duration,
    /// How many waited before it when it gave up.
    pub waiting: usize,
}

/// How a pool stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Slots.
    pub capacity: usize,
    /// Taken, by class: interactive, standard, batch.
    pub in_use: [usize; CLASSES],
    /// Waiting, by class.
    pub waiting: [usize; CLASSES],
    /// How long the first of all has waited.
    pub longest_wait: Duration,
}

struct Waiter {
    number: u64,
    since: Instant,
    tokens: i64,
    slot: oneshot::Sender<()>,
}

/// Turns by deficit round robin: of teams, or of a team's keys.
struct Turns<T> {
    order: VecDeque<String>,
    each: HashMap<String, (i64, T)>,
}

impl<T: Default> Default for Turns<T> {
    fn default() -> Self {
        Self { order: VecDeque::new(), each: HashMap::new() }
    }
}

type Keys = Turns<VecDeque<Waiter>>;
type Teams = Turns<Keys>;

impl Keys {
    fn front(&self) -> Option<i64> {
        // The cost of what goes next is that of the first key's first call.
        self.order.front().and_then(|key| self.each.get(key)).and_then(|(_, queue)| queue.front()).map(|w| w.tokens)
    }

    fn next(&mut self) -> Option<Waiter> {
        loop {
            let key = self.order.front()?.clone();
            let (deficit, queue) = self.each.get_mut(&key)?;
            let Some(first) = queue.front() else {
                self.order.pop_front();
                self.each.remove(&key);
                continue;
            };
            if *deficit < first.tokens {
                *deficit += QUANTUM;
                self.order.rotate_left(1);
                continue;
            }
            *deficit -= first.tokens;
            let waiter = queue.pop_front();
            if queue.is_empty() {
                self.order.pop_front();
                self.each.remove(&key);
            }
            return waiter;
        }
    }

    fn waiters(&self) -> impl Iterator<Item = &Waiter> {
        self.each.values().flat_map(|(_, queue)| queue)
    }
}

impl Teams {
    fn push(&mut self, asking: &Asking, waiter: Waiter) {
        if !self.each.contains_key(&asking.team_id) {
            self.order.push_back(asking.team_id.clone());
        }
        let (_, keys) = self.each.entry(asking.team_id.clone()).or_default();
        if !keys.each.contains_key(&asking.key_id) {
            keys.order.push_back(asking.key_id.clone());
        }
        keys.each.entry(asking.key_id.clone()).or_default().1.push_back(waiter);
    }

    fn next(&mut self) -> Option<Waiter> {
        loop {
            let team = self.order.front()?.clone();
            let (deficit, keys) = self.each.get_mut(&team)?;
            let Some(tokens) = keys.front() else {
                self.order.pop_front();
                self.each.remove(&team);
                continue;
            };
            if *deficit < tokens {
                *deficit += QUANTUM;
                self.order.rotate_left(1);
                continue;
            }
            let waiter = keys.next();
            *deficit -= waiter.as_ref().map_or(0, |w| w.tokens);
            if keys.order.is_empty() {
                self.order.pop_front();
                self.each.remove(&team);
            }
            return waiter;
        }
    }

    fn len(&self) -> usize {
        self.each.values().flat_map(|(_, keys)| keys.each.values()).map(|(_, queue)| queue.len()).sum()
    }

    /// Somebody goes. A key or team that nobody waits for any more goes too: it would stand before the others of its turn.
    fn remove(&mut self, asking: &Asking, number: u64) {
        let Some((_, keys)) = self.each.get_mut(&asking.team_id) else { return };
        let Some((_, queue)) = keys.each.get_mut(&asking.key_id) else { return };
        queue.retain(|w| w.number != number);
        if queue.is_empty() {
            keys.each.remove(&asking.key_id);
            keys.order.retain(|key| *key != asking.key_id);
        }
        if keys.each.is_empty() {
            self.each.remove(&asking.team_id);
            self.order.retain(|team| *team != asking.team_id);
        }
    }

    fn oldest(&self) -> Option<Instant> {
        self.each.values().flat_map(|(_, keys)| keys.waiters()).map(|w| w.since).min()
    }
}

#[derive(Default)]
struct Inner {
    capacity: usize,
    in_use: [usize; CLASSES],
    classes: [Teams; CLASSES],
    next_number: u64,
}

impl Inner {
    fn taken(&self) -> usize {
        self.in_use.iter().sum()
    }

    fn share(&self, class: usize) -> usize {
        (self.capacity * SHARES[class]).div_ceil(100)
    }

    /// Whether a call of this class may begin beside those that are in.
    fn has_room(&self, class: usize) -> bool {
        let taken = self.taken();
        let below = (self.capacity * BATCH_BELOW).div_ceil(100).max(1);
        taken < self.capacity && (class != 2 || taken < below)
    }

    /// The class that goes next: one below its share, in order; else the first that waits.
    fn next_class(&self) -> Option<usize> {
        let waits = |class: &usize| !self.classes[*class].order.is_empty() && self.has_room(*class);
        (0..CLASSES)
            .filter(waits)
            .find(|&class| self.in_use[class] < self.share(class))
            .or_else(|| (0..CLASSES).find(waits))
    }

    fn let_in(&mut self) {
        while let Some(class) = self.next_class() {
            let Some(waiter) = self.classes[class].next() else { continue };
            // Who has gone in the meantime takes no slot.
            if waiter.slot.send(()).is_ok() {
                self.in_use[class] += 1;
            }
        }
    }
}

/// The slots of a deployment.
#[derive(Clone, Default)]
pub struct Pool {
    inner: Arc<Mutex<Inner>>,
}

/// A slot. Dropped, it is free again.
pub struct Slot {
    pool: Pool,
    class: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.pool.inner.lock();
        inner.in_use[self.class] -= 1;
        inner.let_in();
    }
}

/// Somebody in the queue: gone, it waits no more, and a slot that was on its way is free again.
struct Queued<'a> {
    pool: &'a Pool,
    asking: &'a Asking,
    class: usize,
    number: u64,
    coming: Option<oneshot::Receiver<()>>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let Some(mut coming) = self.coming.take() else { return };
        let mut inner = self.pool.inner.lock();
        inner.classes[self.class].remove(self.asking, self.number);
        if coming.try_recv().is_ok() {
            inner.in_use[self.class] -= 1;
            inner.let_in();
        }
    }
}

impl Pool {
    /// A pool of so many slots.
    pub fn new(capacity: usize) -> Self {
        let pool = Self::default();
        pool.resize(capacity);
        pool
    }

    /// Changes how many there are; calls that are in stay in.
    pub fn resize(&self, capacity: usize) {
        let mut inner = self.inner.lock();
        inner.capacity = capacity.max(1);
        inner.let_in();
    }

    /// Waits for a slot, at most until `deadline` and for no longer than its class waits.
    pub async fn enter(&self, asking: &Asking, deadline: Option<Instant>) -> Result<Slot, Full> {
        let patience = Instant::now() + asking.patience();
        self.enter_until(asking, deadline.map_or(patience, |deadline| deadline.min(patience))).await
    }

    /// A slot, if one is free and nobody of its class waits for it.
    pub fn try_enter(&self, asking: &Asking) -> Option<Slot> {
        let class = class_of(asking.priority);
        let mut inner = self.inner.lock();
        if !inner.has_room(class) || !inner.classes[class].order.is_empty() {
            return None;
        }
        inner.in_use[class] += 1;
        Some(Slot { pool: self.clone(), class })
    }

    /// Waits for a slot until then.
    pub async fn enter_until(&self, asking: &Asking, until: Instant) -> Result<Slot, Full> {
        let class = class_of(asking.priority);
        let since = Instant::now();
        if let Some(slot) = self.try_enter(asking) {
            return Ok(slot);
        }
        let mut queued = {
            let mut inner = self.inner.lock();
            let (slot, coming) = oneshot::channel();
            inner.next_number += 1;
            let number = inner.next_number;
            inner.classes[class].push(asking, Waiter { number, since, tokens: asking.tokens.max(1), slot });
            inner.let_in();
            Queued { pool: self, asking, class, number, coming: Some(coming) }
        };
        let Some(coming) = &mut queued.coming else { return Err(self.full(since)) };
        match tokio::time::timeout_at(until, coming).await {
            Ok(Ok(())) => {
                queued.coming = None;
                Ok(Slot { pool: self.clone(), class })
            }
            _ => Err(self.full(since)),
        }
    }

    fn full(&self, since: Instant) -> Full {
        let waiting = self.inner.lock().classes.iter().map(Teams::len).sum();
        Full { waited: since.elapsed(), waiting }
    }

    /// Whether nobody is in or waits.
    pub fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        inner.in_use == [0; CLASSES] && inner.classes.iter().all(|class| class.order.is_empty())
    }

    /// How it stands.
    pub fn state(&self) -> PoolState {
        let inner = self.inner.lock();
        PoolState {
            capacity: inner.capacity,
            in_use: inner.in_use,
            waiting: std::array::from_fn(|class| inner.classes[class].len()),
            longest_wait: inner
                .classes
                .iter()
                .filter_map(Teams::oldest)
                .min()
                .map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }
}

#[cfg(test)]
mod tests;
