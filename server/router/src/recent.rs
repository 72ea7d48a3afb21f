use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of a cell that count; the rest name the minute.
const COUNT_BITS: u32 = 40;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const MINUTE_US: u64 = 60_000_000;

/// What happened in this minute and in the one before, without a lock: each cell is a minute's number and its count in one word.
#[derive(Debug, Default)]
pub struct Recent {
    now: AtomicU64,
    before: AtomicU64,
}

impl Recent {
    /// Counts `n` more.
    pub fn add(&self, n: u64, now_us: u64) {
        let minute = now_us / MINUTE_US;
        let mut cell = self.now.load(Ordering::Relaxed);
        loop {
            if cell >> COUNT_BITS > minute {
                // Somebody looked at the clock before the minute changed: no longer worth counting.
                return;
            }
            let same = cell >> COUNT_BITS == minute;
            let count = if same { (cell & COUNT_MASK).saturating_add(n) } else { n }.min(COUNT_MASK);
            match self.now.compare_exchange_weak(
                cell,
                minute << COUNT_BITS | count,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) if same => return,
                // Whoever begins a minute keeps the last.
                Ok(last) => return self.before.store(last, Ordering::Relaxed),
                Err(newer) => cell = newer,
            }
        }
    }

    /// Begins anew.
    pub fn clear(&self) {
        self.now.store(0, Ordering::Relaxed);
        self.before.store(0, Ordering::Relaxed);
    }

    /// Counted in the minute of `now_us`.
    pub fn this_minute(&self, now_us: u64) -> u64 {
        let cell = self.now.load(Ordering::Relaxed);
        if cell >> COUNT_BITS == now_us / MINUTE_US { cell & COUNT_MASK } else { 0 }
    }

    /// Counted in the last sixty seconds, the minute before in proportion to what of it lies therein.
    pub fn last_minute(&self, now_us: u64) -> u64 {
        let minute = now_us / MINUTE_US;
        let (now, before) = (self.now.load(Ordering::Relaxed), self.before.load(Ordering::Relaxed));
        let of = |cell: u64, minute: u64| if cell >> COUNT_BITS == minute { cell & COUNT_MASK } else { 0 };
        let previous = of(now, minute.wrapping_sub(1)).max(of(before, minute.wrapping_sub(1)));
        let left = MINUTE_US - now_us % MINUTE_US;
        of(now, minute) + previous.saturating_mul(left) / MINUTE_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_forgotten_bit_by_bit() {
        let recent = Recent::default();
        recent.add(60, 10 * MINUTE_US + 5);
        assert_eq!((recent.this_minute(10 * MINUTE_US), recent.last_minute(10 * MINUTE_US + 9)), (60, 60));
        assert_eq!(recent.this_minute(11 * MINUTE_US), 0);
        assert_eq!(recent.last_minute(11 * MINUTE_US + MINUTE_US / 2), 30);
        recent.add(1, 11 * MINUTE_US + MINUTE_US / 2);
        assert_eq!(recent.last_minute(11 * MINUTE_US + MINUTE_US / 2), 31);
        assert_eq!(recent.last_minute(13 * MINUTE_US), 0);
    }
}
