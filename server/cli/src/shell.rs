//! What shells and manuals need to know of the program.

use std::{fs, io, path::Path};

use clap_complete::Shell;

use crate::Failure;

/// Completions of a shell, to standard output.
pub(crate) fn completions(shell: Shell, mut program: clap::Command) -> Result<(), Failure> {
    let name = program.get_name().to_owned();
    clap_complete::generate(shell, &mut program, name, &mut io::stdout());
    Ok(())
}

/// The manual's pages: one for the program, one for each command.
pub(crate) fn manual(directory: &Path, program: clap::Command) -> Result<(), Failure> {
    fs::create_dir_all(directory)?;
    Ok(clap_mangen::generate_to(program, directory)?)
}
