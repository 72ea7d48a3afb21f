//! Which build this is.

use tollgate_metrics::Build;

/// Version, commit and compiler of this build.
pub(crate) const BUILD: Build =
    Build { version: env!("CARGO_PKG_VERSION"), commit: env!("TOLLGATE_COMMIT"), rustc: env!("TOLLGATE_RUSTC") };
