//! What is fuzzed (`fuzz/`), without a fuzzer: the inputs that once broke something, and those that fuzzing begins with.

#![allow(clippy::unwrap_used)] // a test says by panicking

#[path = "../../../fuzz/src/targets/mod.rs"]
mod targets;

use std::{fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn what_once_broke_something_no_longer_does() {
    for folder in fs::read_dir(root().join("../../fuzz/regressions")).unwrap() {
        let folder = folder.unwrap();
        let target = folder.file_name().into_string().unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            println!("{}", path.display());
            targets::play(&target, &fs::read(path).unwrap());
        }
    }
}

#[test]
fn every_target_begins_with_fixtures_and_holds_for_them() {
    for target in targets::names() {
        let seeds = targets::seeds(target, &root().join("fixtures"));
        assert!(!seeds.is_empty(), "{target}");
        for (number, seed) in seeds.iter().enumerate() {
            println!("{target} {number}");
            targets::play(target, seed);
        }
    }
}

#[test]
fn the_dictionary_has_the_words_of_the_fixtures() {
    let dictionary = targets::dictionary(&root().join("fixtures"));
    assert!(dictionary.lines().any(|line| line == r#""\"finish_reason\"""#));
}
