//! What is packed in pieces is what is packed at once.

use std::collections::BTreeMap;

use tollgate_tlog::{Checkpoint, File, Packer, Row, Tree, leaf_hash};

fn record(number: u64) -> Vec<u8> {
    format!("record {number}").into_bytes()
}

fn packed(mut packer: Packer, until: u64) -> Vec<File> {
    let mut files = Vec::new();
    for number in packer.size()..until {
        packer.append(&record(number), &mut files).expect("a record fits into a bundle");
    }
    let checkpoint = Checkpoint { origin: "tollgate/a".into(), size: until, root: packer.root() };
    files.extend(packer.finish(&checkpoint, "note").expect("the checkpoint is of these records"));
    files
}

#[test]
fn a_packer_that_goes_on_writes_what_one_that_began_at_the_beginning_does() {
    let end = 66_000;
    let (mut tree, mut rows, mut leaves, mut trees) = (Tree::default(), Vec::new(), Vec::new(), BTreeMap::new());
    for number in 0..end {
        trees.insert(tree.size(), tree.clone());
        leaves.push(leaf_hash(&record(number)));
        tree.append(leaves[number as usize], &mut rows);
    }
    let whole = packed(Packer::new("logs/a"), end);
    for from in [0, 256, 512, 65_280, 65_536, 65_792] {
        let edge = Packer::resume_spans(from).into_iter().map(|span| {
            let is_in = |row: &&Row| row.level == span.level && row.index >= span.first;
            let hashes: Vec<_> = rows.iter().filter(is_in).map(|row| row.hash).take(span.count.into()).collect();
            assert_eq!(hashes.len(), usize::from(span.count));
            (span.level, hashes)
        });
        let rest = packed(Packer::resume("logs/a", trees[&from].clone(), edge.collect()), end);
        assert_eq!(whole[whole.len() - rest.len()..], rest, "from {from} on");
    }
}
