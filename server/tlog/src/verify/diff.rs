//! What was done to a bundle, from the hashes of its records and those of its tile.

use std::ops::Range;

use super::Kind;
use crate::Hash;

/// A shift by more records than this is told as a change.
const MOST_SHIFTED: usize = 16;

/// How a bundle's records differ from its tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    /// Which places of the bundle, from 0: of the tile for what is missing, else of the bundle.
    pub(crate) places: Range<usize>,
}

/// What must be done to `signed` to get `found`; `None`: nothing.
pub(crate) fn difference(found: &[Hash], signed: &[Hash]) -> Option<Difference> {
    if found == signed {
        return None;
    }
    let begin = found.iter().zip(signed).take_while(|(a, b)| a == b).count();
    let end = found[begin..].iter().rev().zip(signed[begin..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&found[begin..found.len() - end], &signed[begin..signed.len() - end]);
    let (kind, count) = if a.is_empty() {
        (Kind::Deleted, b.len())
    } else if b.is_empty() {
        (Kind::Inserted, a.len())
    } else if same_but_for_order(a, b) {
        (Kind::Swapped, a.len())
    } else if let Some(by) = shifted(a, b) {
        (Kind::Deleted, by)
    } else if let Some(by) = shifted(b, a) {
        (Kind::Inserted, by)
    } else {
        (Kind::Changed, a.len())
    };
    Some(Difference { kind, places: begin..begin + count })
}

fn same_but_for_order(a: &[Hash], b: &[Hash]) -> bool {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    a.sort_unstable();
    b.sort_unstable();
    a == b
}

/// By how many places the rest of `b` has moved up in `a`: as if those before it had been taken out, and others had followed.
fn shifted(a: &[Hash], b: &[Hash]) -> Option<usize> {
    (1..=MOST_SHIFTED.min(b.len().saturating_sub(1))).find(|by| a.starts_with(&b[*by..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf_hash;

    fn hashes(text: &str) -> Vec<Hash> {
        text.bytes().map(|letter| leaf_hash(&[letter])).collect()
    }

    fn told(found: &str, signed: &str) -> Option<(Kind, Range<usize>)> {
        difference(&hashes(found), &hashes(signed)).map(|d| (d.kind, d.places))
    }

    #[test]
    fn what_was_done_to_a_bundle_is_named() {
        assert_eq!(told("abcdef", "abcdef"), None);
        assert_eq!(told("abXdef", "abcdef"), Some((Kind::Changed, 2..3)));
        assert_eq!(told("abdef", "abcdef"), Some((Kind::Deleted, 2..3)));
        assert_eq!(told("abcXdef", "abcdef"), Some((Kind::Inserted, 3..4)));
        assert_eq!(told("aecdbf", "abcdef"), Some((Kind::Swapped, 1..5)));
        // The rest of the log has moved into the gap, or out of the bundle.
        assert_eq!(told("abdefg", "abcdef"), Some((Kind::Deleted, 2..3)));
        assert_eq!(told("abXcde", "abcdef"), Some((Kind::Inserted, 2..3)));
        assert_eq!(told("abc", "abcdef"), Some((Kind::Deleted, 3..6)));
    }
}
