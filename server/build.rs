//! Notes which compiler builds the gateway, and of which commit where `TOLLGATE_COMMIT` says so: asked of git it would be the one of the
//! last build.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=TOLLGATE_COMMIT");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let told = Command::new(rustc).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    // `rustc 1.94.0 (4a4ef493e 2026-03-02)`
    let told = String::from_utf8_lossy(&told);
    println!("cargo:rustc-env=TOLLGATE_RUSTC={}", told.split(' ').nth(1).unwrap_or("unknown").trim());
    println!("cargo:rustc-env=TOLLGATE_COMMIT={}", std::env::var("TOLLGATE_COMMIT").unwrap_or_default().trim());
}
