//! One fuzzer for every target: `TOLLGATE_FUZZ_TARGET` names it. `scripts/fuzz` builds and runs it.

#![no_main]

mod mutate;
mod targets;

use std::{alloc::System, env, fs, path::Path, sync::OnceLock};

use cap::Cap;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

/// The most that an input may make a target hold, whatever it claims: an input has at most some KiB.
const MOST_HELD: usize = 64 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

static TARGET: OnceLock<String> = OnceLock::new();

fuzz_target!(
    init: prepare(),
    |data: &[u8]| {
        let Some(target) = TARGET.get() else { panic!("TOLLGATE_FUZZ_TARGET names no target") };
        // Beyond the limit an allocation fails, which aborts.
        ALLOCATOR.set_limit(ALLOCATOR.allocated() + MOST_HELD).expect("more than is allocated");
        targets::play(target, data);
        ALLOCATOR.set_limit(usize::MAX).expect("more than is allocated");
    }
);

// Every other change is one of libFuzzer's own.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = if seed.is_multiple_of(2) { mutate::mutate(&data[..size], seed.into()) } else { None };
    match changed.filter(|changed| changed.len() <= max_size) {
        Some(changed) => {
            data[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        None => fuzzer_mutate(data, size, max_size),
    }
});

/// Writes the target's seeds and the dictionary where `TOLLGATE_FUZZ_CORPUS` and `TOLLGATE_FUZZ_DICTIONARY` say; without a target, lists
/// them all.
fn prepare() {
    let Ok(target) = env::var("TOLLGATE_FUZZ_TARGET") else {
        println!("{}", targets::names().join("\n"));
        std::process::exit(0);
    };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/providers/fixtures");
    if let Some(corpus) = env::var_os("TOLLGATE_FUZZ_CORPUS") {
        fs::create_dir_all(&corpus).expect("a folder for the corpus");
        for (number, seed) in targets::seeds(&target, &fixtures).into_iter().enumerate() {
            fs::write(Path::new(&corpus).join(format!("seed-{number:03}")), seed).expect("a seed is written");
        }
    }
    if let Some(dictionary) = env::var_os("TOLLGATE_FUZZ_DICTIONARY") {
        fs::write(dictionary, targets::dictionary(&fixtures)).expect("the dictionary is written");
    }
    // Made now, so that an input does not pay for them.
    targets::play(&target, &[]);
    TARGET.set(target).expect("prepared once");
}
