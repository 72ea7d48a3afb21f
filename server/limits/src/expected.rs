//! How much output to expect: a rate is charged with what is likely, not with the worst case.

use dashmap::DashMap;

/// Nine of ten answers are no longer, by key and model, as seen of late.
#[derive(Debug, Default)]
pub struct Expected {
    seen: DashMap<(String, String), f64>,
}

/// Where nothing was seen yet.
const FIRST: f64 = 256.0;
/// Pairs that are remembered at most.
const MOST: usize = 100_000;

impl Expected {
    /// Output tokens to expect of a call that may write at most `most`.
    pub fn output(&self, key_id: &str, model: &str, most: i64) -> i64 {
        let seen = self.seen.get(&(key_id.to_owned(), model.to_owned())).map_or(FIRST, |e| *e);
        (seen.ceil() as i64).clamp(1, most.max(1))
    }

    /// Learns what a call has written: a stochastic estimate of the quantile that follows changes within some dozens of calls.
    pub fn learn(&self, key_id: &str, model: &str, output: i64) {
        if self.seen.len() >= MOST {
            self.seen.clear();
        }
        let output = output as f64;
        let mut expected = self.seen.entry((key_id.to_owned(), model.to_owned())).or_insert(FIRST);
        let step = (*expected / 8.0).max(4.0);
        *expected = if output > *expected {
            (*expected + 0.9 * step).min(output)
        } else {
            (*expected - 0.1 * step).max(output)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_of_ten_answers_are_covered_once_some_dozens_were_seen() {
        let expected = Expected::default();
        let lengths = |n: i64| 100 + (n * 7_919) % 900; // 100 to 999, even
        for n in 0..500 {
            expected.learn("k", "m", lengths(n));
        }
        let e = expected.output("k", "m", 100_000);
        let covered = (0..1_000).filter(|n| lengths(*n) <= e).count();
        assert!((820..=970).contains(&covered), "{e} covers {covered} of 1000");
        assert_eq!(expected.output("k", "m", 50), 50, "never more than it may write");
        assert_eq!(expected.output("k", "other", 100_000), 256);
    }
}
