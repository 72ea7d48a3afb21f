//! Generates the contract's Rust from `tollgate/v1/*.proto` with protox: no system `protoc` is needed.

use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let package = root.join("tollgate/v1");
    println!("cargo:rerun-if-changed={}", package.display());

    // Walked, not listed: a new file cannot be forgotten.
    let mut files: Vec<_> = fs::read_dir(&package)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "proto"));
    files.sort();

    let mut compiler = protox::Compiler::new([root.clone()])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;

    // Encoded by protox itself: the prost types of the same set would lose custom options.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("tollgate.fds"), compiler.encode_file_descriptor_set())?;

    // Messages know their full name: so they are found in the descriptor set.
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .bytes(".")
        // The audit log commits to a record's bytes: its pairs stand in one order.
        .btree_map("tollgate.v1.AuditRecord.metadata")
        // These hold a secret: they get a hand-written Debug that leaves it out.
        .skip_debug([
            "tollgate.v1.CreateKeyResponse",
            "tollgate.v1.GetKeyRequest",
            "tollgate.v1.RotateKeyResponse",
            "tollgate.v1.RuntimeModel",
        ])
        .extern_path(".google.rpc", "::tonic_types::pb")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}
