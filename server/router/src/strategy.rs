use rand::Rng;

use crate::{Deployment, Needs};

/// How a group chooses among its deployments of one order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// By weight, at random.
    #[default]
    Shuffle,
    /// Fewest attempts under way for its weight.
    LeastBusy,
    /// Shortest time to the first content, with those under way counted in; now and then another, to learn.
    Latency,
    /// Most left of its limits in this minute.
    Usage,
    /// Cheapest for this call.
    Cost,
}

/// One in so many calls goes to a deployment at random, so that one that was slow once is looked at again.
const EXPLORE: u32 = 32;

impl Strategy {
    /// Its name in configuration and explanations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shuffle => "shuffle",
            Self::LeastBusy => "least-busy",
            Self::Latency => "latency",
            Self::Usage => "usage",
            Self::Cost => "cost",
        }
    }

    /// Which of `left` is next: its place. Equals are drawn by weight.
    pub(crate) fn choose(
        self,
        left: &[(u16, &Deployment)],
        needs: &Needs,
        sticky: Option<u64>,
        rng: &mut impl Rng,
        now_us: u64,
    ) -> usize {
        if let Some(sticky) = sticky {
            return rendezvous(left, sticky);
        }
        match self {
            Self::Shuffle => draw(left, rng),
            Self::Latency if rng.random_ratio(1, EXPLORE) => draw(left, rng),
            Self::LeastBusy => least(left, rng, |d| f64::from(d.state().in_flight()) / f64::from(d.weight.max(1))),
            // Nobody knows the new one: it is tried first, and not by everybody at once.
            Self::Latency => least(left, rng, |d| {
                let under_way = f64::from(d.state().in_flight()) + 1.0;
                d.state().latency_us().unwrap_or(1.0) * under_way
            }),
            Self::Usage => least(left, rng, |d| d.used_share(now_us)),
            Self::Cost => least(left, rng, |d| d.price_of(needs)),
        }
    }
}

/// The least; among equals by weight.
fn least(left: &[(u16, &Deployment)], rng: &mut impl Rng, of: impl Fn(&Deployment) -> f64) -> usize {
    let (mut best, mut found, mut total) = (f64::INFINITY, 0, 0_u64);
    for (at, (_, deployment)) in left.iter().enumerate() {
        let (value, weight) = (of(deployment), u64::from(deployment.weight));
        if value < best || at == 0 {
            (best, found, total) = (value, at, weight);
        } else if value == best {
            // One pass over equals: each takes the place with its share of those seen so far.
            total += weight;
            if total > 0 && rng.random_range(0..total) < weight {
                found = at;
            }
        }
    }
    found
}

fn draw(left: &[(u16, &Deployment)], rng: &mut impl Rng) -> usize {
    let total: u64 = left.iter().map(|(_, d)| u64::from(d.weight)).sum();
    if total == 0 {
        return rng.random_range(0..left.len());
    }
    let mut drawn = rng.random_range(0..total);
    for (at, (_, deployment)) in left.iter().enumerate() {
        match drawn.checked_sub(u64::from(deployment.weight)) {
            Some(rest) => drawn = rest,
            None => return at,
        }
    }
    0
}

/// Weighted rendezvous hashing: who sticks stays where it is when others come and go, and weights hold.
fn rendezvous(left: &[(u16, &Deployment)], sticky: u64) -> usize {
    let (mut best, mut least) = (0, f64::INFINITY);
    for (at, (_, deployment)) in left.iter().enumerate() {
        let hash = mix(sticky ^ deployment.name_hash);
        // Uniform in (0, 1].
        let uniform = ((hash >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        let weight = f64::from(deployment.weight.max(1));
        // 1 - x is at most -ln x: most candidates are out before their logarithm is taken.
        if (1.0 - uniform) / weight < least {
            let distance = -uniform.ln() / weight;
            if distance < least {
                (best, least) = (at, distance);
            }
        }
    }
    best
}

/// SplitMix64's finalizer: every bit of the input moves every bit of the output.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
