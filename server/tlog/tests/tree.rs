//! Trees and proofs beside RFC 6962's own words, computed the slow way.

use std::{collections::BTreeMap, convert::Infallible};

use proptest::prelude::*;
use tollgate_tlog::{
    Hash, Plan, ProofError, Row, Span, Tree, check_consistency, check_inclusion, leaf_hash, node_hash,
};

/// MTH of RFC 6962, section 2.1.
fn slow_root(leaves: &[Hash]) -> Hash {
    match leaves.len() {
        0 => Hash::of_nothing(),
        1 => leaves[0],
        n => {
            let k = n.next_power_of_two() / 2;
            node_hash(&slow_root(&leaves[..k]), &slow_root(&leaves[k..]))
        }
    }
}

/// PATH of RFC 6962, section 2.1.1.
fn slow_path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    let n = leaves.len();
    if n == 1 {
        return Vec::new();
    }
    let k = n.next_power_of_two() / 2;
    let (mut path, other) = match m < k {
        true => (slow_path(m, &leaves[..k]), slow_root(&leaves[k..])),
        false => (slow_path(m - k, &leaves[k..]), slow_root(&leaves[..k])),
    };
    path.push(other);
    path
}

/// SUBPROOF of RFC 6962, section 2.1.2.
fn slow_subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    let n = leaves.len();
    if m == n {
        return if whole { Vec::new() } else { vec![slow_root(leaves)] };
    }
    let k = n.next_power_of_two() / 2;
    let (mut path, other) = match m <= k {
        true => (slow_subproof(m, &leaves[..k], whole), slow_root(&leaves[k..])),
        false => (slow_subproof(m - k, &leaves[k..], false), slow_root(&leaves[..k])),
    };
    path.push(other);
    path
}

/// What a store keeps: the leaves and the rows, and nothing else.
#[derive(Default)]
struct Store {
    tree: Tree,
    leaves: Vec<Hash>,
    rows: BTreeMap<(u8, u64), Hash>,
}

impl Store {
    fn of(size: usize) -> Self {
        let mut store = Self::default();
        for leaf in 0..size {
            store.append(leaf_hash(&leaf.to_be_bytes()));
        }
        store
    }

    fn append(&mut self, leaf: Hash) {
        let mut rows = Vec::new();
        self.tree.append(leaf, &mut rows);
        self.leaves.push(leaf);
        self.rows.extend(rows.into_iter().map(|Row { level, index, hash }| ((level, index), hash)));
    }

    fn read(&self, span: Span) -> Result<Vec<Hash>, Infallible> {
        let at = |index: u64| match span.level {
            0 => self.leaves[index as usize],
            level => self.rows[&(level, index)],
        };
        Ok((span.first..span.first + u64::from(span.count)).map(at).collect())
    }

    fn resolve(&self, plan: Plan) -> Vec<Hash> {
        let Ok(proof) = plan.resolve(|span| self.read(span));
        proof
    }
}

fn hex(text: &str) -> Hash {
    let bytes: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("64 hexadecimal digits")).collect();
    Hash::from_slice(&bytes).expect("64 hexadecimal digits")
}

/// The vectors of the first implementation of Certificate Transparency, which others took over.
#[test]
fn the_known_vectors_come_out() {
    let leaves: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut store = Store::default();
    assert_eq!(store.tree.root(), hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    for (leaf, root) in leaves.iter().zip(roots) {
        store.append(leaf_hash(leaf));
        assert_eq!(store.tree.root(), hex(root), "of {} leaves", store.tree.size());
    }
    let path = store.resolve(Plan::inclusion(5, 8).unwrap());
    let known = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(path, known.map(hex));
    let proof = store.resolve(Plan::consistency(6, 8).unwrap());
    let known = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(proof, known.map(hex));
}

#[test]
fn all_proofs_of_small_trees_are_those_of_the_definition() {
    let store = Store::of(70);
    for size in 1..=70usize {
        let leaves = &store.leaves[..size];
        let root = slow_root(leaves);
        for index in 0..size {
            let path = store.resolve(Plan::inclusion(index as u64, size as u64).unwrap());
            assert_eq!(path, slow_path(index, leaves), "leaf {index} of {size}");
            check_inclusion(leaves[index], index as u64, size as u64, root, &path).unwrap();
        }
        for old in 1..=size {
            let proof = store.resolve(Plan::consistency(old as u64, size as u64).unwrap());
            assert_eq!(proof, slow_subproof(old, leaves, true), "{old} in {size}");
            check_consistency(old as u64, slow_root(&leaves[..old]), size as u64, root, &proof).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_tree_over_several_levels_of_tiles_is_that_of_the_definition(size in 1usize..70_000, a in any::<u64>(), b in any::<u64>()) {
        let store = Store::of(size);
        let root = slow_root(&store.leaves);
        prop_assert_eq!(store.tree.root(), root);
        let Ok(resumed) = Tree::resume(size as u64, |span| store.read(span));
        prop_assert_eq!(resumed.root(), root);
        let wanted = Tree::resume_spans(size as u64).iter().map(|span| usize::from(span.count)).sum::<usize>();
        prop_assert!(wanted < 3 * 256, "a restart reads the right edge alone, and not {} hashes", wanted);

        let index = a % size as u64;
        let path = store.resolve(Plan::inclusion(index, size as u64).unwrap());
        prop_assert_eq!(check_inclusion(store.leaves[index as usize], index, size as u64, root, &path), Ok(()));

        let old = 1 + b % size as u64;
        let proof = store.resolve(Plan::consistency(old, size as u64).unwrap());
        let old_root = slow_root(&store.leaves[..old as usize]);
        prop_assert_eq!(check_consistency(old, old_root, size as u64, root, &proof), Ok(()));
    }

    #[test]
    fn a_proof_that_was_touched_does_not_hold(size in 2usize..600, a in any::<u64>(), at in any::<prop::sample::Index>(), bit in 0usize..256) {
        let store = Store::of(size);
        let (root, index) = (store.tree.root(), a % size as u64);
        let leaf = store.leaves[index as usize];
        let path = store.resolve(Plan::inclusion(index, size as u64).unwrap());

        let mut touched = path.clone();
        let place = at.index(touched.len());
        touched[place].0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(check_inclusion(leaf, index, size as u64, root, &touched).is_err());
        prop_assert!(check_inclusion(leaf, index, size as u64, root, &path[1..]).is_err());
        prop_assert!(check_inclusion(leaf, (index + 1) % size as u64, size as u64, root, &path).is_err());

        let old = 1 + a % (size as u64 - 1);
        let old_root = slow_root(&store.leaves[..old as usize]);
        let mut proof = store.resolve(Plan::consistency(old, size as u64).unwrap());
        let place = at.index(proof.len());
        proof[place].0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(check_consistency(old, old_root, size as u64, root, &proof).is_err());
    }
}

#[test]
fn a_tree_goes_on_after_a_restart_as_if_there_had_been_none() {
    let whole = Store::of(70_000);
    for size in [0, 1, 255, 256, 257, 65_535, 65_536, 66_000] {
        let Ok(mut resumed) = Tree::resume(size, |span| whole.read(span));
        let mut rows = Vec::new();
        for leaf in &whole.leaves[size as usize..] {
            resumed.append(*leaf, &mut rows);
        }
        assert_eq!(resumed.root(), whole.tree.root(), "resumed at {size}");
        assert!(rows.iter().all(|row| whole.rows[&(row.level, row.index)] == row.hash));
        let expected = whole.rows.keys().filter(|(level, index)| (index + 1) << (8 * level) > size).count();
        assert_eq!(rows.len(), expected, "each row comes once: {size}");
    }
}

#[test]
fn what_cannot_be_proven_is_refused_by_name() {
    assert_eq!(Plan::inclusion(3, 3).unwrap_err(), ProofError::OutOfRange { index: 3, size: 3 });
    assert_eq!(Plan::consistency(4, 3).unwrap_err(), ProofError::Shrunk { old: 4, new: 3 });
    let root = leaf_hash(b"a");
    assert_eq!(check_inclusion(root, 0, 1, root, &[root]), Err(ProofError::Length(1)));
    assert_eq!(check_consistency(1, root, 1, root, &[root]), Err(ProofError::Length(1)));
    let other = leaf_hash(b"b");
    assert_eq!(check_consistency(1, root, 1, other, &[]), Err(ProofError::Root { found: root, wanted: other }));
}
