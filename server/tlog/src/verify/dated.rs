//! Exports that go on for years and never overwrite a file: each checkpoint has one of its own, `checkpoints/SIZE`, and the greatest counts.

use std::io;

use super::{Finding, Kind, finding::Findings, told};
use crate::{Checkpoint, Files, Keyring, checkpoint::dated_size};

/// The checkpoint that counts for the log in `folder`, and its file; `None`: there is none.
pub(crate) fn newest(files: &dyn Files, folder: &str) -> io::Result<Option<(String, Vec<u8>)>> {
    let path = format!("{folder}/checkpoint");
    if let Some(note) = files.read(&path)? {
        return Ok(Some((path, note)));
    }
    let Some((_, path)) = all(files, folder)?.pop() else { return Ok(None) };
    Ok(files.read(&path)?.map(|note| (path, note)))
}

/// Whether the checkpoints of the log in `folder` have files of their own.
pub(crate) fn is_dated(files: &dyn Files, folder: &str) -> io::Result<bool> {
    Ok(files.read(&format!("{folder}/checkpoint"))?.is_none())
}

/// Reads the checkpoints that have files of their own: the log must hold what each of them signs.
pub(crate) fn read(
    files: &dyn Files,
    log: &str,
    folder: &str,
    origin: &str,
    keyring: &Keyring,
    findings: &mut Findings,
) -> io::Result<Vec<Checkpoint>> {
    let mut checkpoints = Vec::new();
    for (size, path) in all(files, folder)? {
        let note = files.read(&path)?.unwrap_or_default();
        match Checkpoint::open(&note, keyring.trusted()) {
            Err(error) => findings.push(told(log, &path, &error)),
            Ok((checkpoint, _)) if checkpoint.origin != origin || checkpoint.size != size => {
                let message = format!("the checkpoint of {:?} at {} stands here", checkpoint.origin, checkpoint.size);
                findings.push(Finding::new(Kind::Swapped, log, message).in_file(path));
            }
            Ok((checkpoint, _)) => checkpoints.push(checkpoint),
        }
    }
    // A log without leaves is how every log begins.
    checkpoints.retain(|checkpoint| checkpoint.size > 0);
    Ok(checkpoints)
}

/// Sizes and files, the greatest last.
fn all(files: &dyn Files, folder: &str) -> io::Result<Vec<(u64, String)>> {
    let (mut found, below) = (Vec::new(), format!("{folder}/"));
    files.list(&format!("{folder}/checkpoints/"), &mut |path| {
        found.extend(path.strip_prefix(&below).and_then(dated_size).map(|size| (size, path.to_owned())));
    })?;
    found.sort();
    Ok(found)
}
