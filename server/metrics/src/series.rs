//! One metric by sets of labels: read without a lock, copied when a set is new, and bounded.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use hashbrown::{Equivalent, HashMap};
use parking_lot::Mutex;

use crate::OTHER;

type Set<const N: usize> = [Arc<str>; N];

/// What is counted for each set of labels.
pub(crate) struct Series<const N: usize, M> {
    /// Which labels take values from outside: those become [`OTHER`] once there are too many.
    open: [bool; N],
    most: usize,
    make: fn() -> M,
    all: ArcSwap<HashMap<Set<N>, Arc<M>>>,
    /// Who adds a set holds this: readers need not.
    adding: Mutex<()>,
    /// Observations that went under [`OTHER`].
    overflowed: AtomicU64,
}

/// A set that is looked up without being owned.
struct Asked<'a, const N: usize>([&'a str; N]);

impl<const N: usize> Hash for Asked<'_, N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<const N: usize> Equivalent<Set<N>> for Asked<'_, N> {
    fn equivalent(&self, set: &Set<N>) -> bool {
        self.0.iter().zip(set).all(|(asked, known)| **asked == **known)
    }
}

impl<const N: usize, M> Series<N, M> {
    pub(crate) fn new(open: [bool; N], most: usize, make: fn() -> M) -> Self {
        let (all, adding, overflowed) = (ArcSwap::default(), Mutex::new(()), AtomicU64::new(0));
        Self { open, most, make, all, adding, overflowed }
    }

    /// Counts something under these labels.
    pub(crate) fn at(&self, labels: [&str; N], count: impl Fn(&M)) {
        if let Some(known) = self.all.load().get(&Asked(labels)) {
            return count(known);
        }
        count(&self.add(labels));
    }

    fn add(&self, mut labels: [&str; N]) -> Arc<M> {
        let _adding = self.adding.lock();
        let all = self.all.load();
        if all.len() >= self.most && all.get(&Asked(labels)).is_none() {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            for (label, _) in labels.iter_mut().zip(self.open).filter(|(_, open)| *open) {
                *label = OTHER;
            }
        }
        if let Some(known) = all.get(&Asked(labels)) {
            return known.clone();
        }
        let mut more = HashMap::clone(&all);
        let added = Arc::new((self.make)());
        more.insert(labels.map(Arc::from), added.clone());
        self.all.store(Arc::new(more));
        added
    }

    /// Every set with its count, in order.
    pub(crate) fn read(&self) -> Vec<(Vec<String>, Arc<M>)> {
        let all = self.all.load();
        let mut read: Vec<_> = all
            .iter()
            .map(|(set, count)| (set.iter().map(|label| label.to_string()).collect(), count.clone()))
            .collect();
        read.sort_by(|(a, _): &(Vec<String>, _), (b, _)| a.cmp(b));
        read
    }

    /// Observations that went under [`OTHER`].
    pub(crate) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(n: &AtomicU64) {
        n.fetch_add(1, Ordering::Relaxed);
    }

    #[test]
    fn what_is_one_too_many_goes_under_other_and_keeps_its_closed_labels() {
        let series = Series::new([true, false], 3, AtomicU64::default);
        for n in 0..100 {
            series.at([&format!("model-{n}"), if n % 2 == 0 { "ok" } else { "failed" }], count);
        }
        series.at(["model-1", "failed"], count);
        let told: Vec<_> =
            series.read().into_iter().map(|(set, n)| (set.join(" "), n.load(Ordering::Relaxed))).collect();
        let expected =
            [("model-0 ok", 1), ("model-1 failed", 2), ("model-2 ok", 1), ("other failed", 49), ("other ok", 48)];
        assert_eq!(told, expected.map(|(set, n)| (set.to_owned(), n)));
        assert_eq!(series.overflowed(), 97);
    }

    #[test]
    fn nothing_is_lost_while_sets_are_added() {
        let series = Series::new([true], 1_000, AtomicU64::default);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let series = &series;
                scope.spawn(move || {
                    for n in 0..2_000 {
                        series.at([&format!("{}", (n + thread) % 200)], count);
                    }
                });
            }
        });
        let total: u64 = series.read().iter().map(|(_, n)| n.load(Ordering::Relaxed)).sum();
        assert_eq!((total, series.read().len()), (8_000, 200));
    }
}
