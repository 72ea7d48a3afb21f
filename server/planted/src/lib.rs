//! Bugs on purpose, to try the tests on. Compiled away unless the feature `planted` is on, which nothing but `scripts/planted-bugs` turns on;
//! then `TOLLGATE_BUG` names the one that is live.

/// Whether this bug is live.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn bug(_name: &str) -> bool {
    false
}

/// Whether this bug is live.
#[cfg(feature = "planted")]
pub fn bug(name: &str) -> bool {
    static LIVE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    LIVE.get_or_init(|| std::env::var("TOLLGATE_BUG").unwrap_or_default()) == name
}

/// Dies here, as `kill -9` would have it, where `TOLLGATE_KILL_AT` names this step of a call.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn step(_name: &str) {}

/// Dies here, as `kill -9` would have it, where `TOLLGATE_KILL_AT` names this step of a call.
#[cfg(feature = "planted")]
pub fn step(name: &str) {
    static AT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    if AT.get_or_init(|| std::env::var("TOLLGATE_KILL_AT").unwrap_or_default()) == name {
        // No destructor, no flush, no unwinding.
        std::process::abort();
    }
}
