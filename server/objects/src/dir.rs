//! Files of a directory that are written once, whole or not at all, whenever the machine stops.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::{Kept, Put, VaultError};

/// Files that are not whole yet, beside the others.
const UNFINISHED: &str = ".unfinished";

#[derive(Clone, Debug)]
pub(crate) struct Dir(PathBuf);

impl Dir {
    /// Clears away what an earlier run did not finish.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        match fs::remove_dir_all(dir.join(UNFINISHED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Self(dir)),
        }
    }

    pub(crate) fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put, VaultError> {
        self.write(name, bytes).map_err(|error| self.failed(name, &error))?.map_or(Ok(Put::New), |there| {
            if there == bytes { Ok(Put::Same) } else { Err(VaultError::Differs(name.into())) }
        })
    }

    /// What is there already, and was left alone.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let path = self.0.join(name);
        if let Some(there) = found(fs::read(&path))? {
            return Ok(Some(there));
        }
        let unfinished = self.0.join(UNFINISHED);
        fs::create_dir_all(&unfinished)?;
        let mut file = tempfile::NamedTempFile::new_in(&unfinished)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        let folder = path.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder)?;
        match file.persist_noclobber(&path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return fs::read(&path).map(Some),
            Err(error) => return Err(error.error),
        }
        // The folders above may be new as well.
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(&self.0)) {
            File::open(folder)?.sync_all()?;
        }
        Ok(None)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
        found(fs::read(self.0.join(name))).map_err(|error| self.failed(name, &error))
    }

    /// The files in a folder, not those further below.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<Kept>, VaultError> {
        let list = || -> io::Result<Vec<Kept>> {
            let mut files = Vec::new();
            for entry in found(fs::read_dir(self.0.join(folder)))?.into_iter().flatten() {
                let entry = entry?;
                let about = entry.metadata()?;
                let written = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
                let time_us = i64::try_from(written.as_micros()).unwrap_or(i64::MAX);
                let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
                files.extend(about.is_file().then_some(Kept { name, time_us }));
            }
            Ok(files)
        };
        list().map_err(|error| self.failed(folder, &error))
    }

    fn failed(&self, name: &str, error: &io::Error) -> VaultError {
        VaultError::Store(format!("{}: {error}", Path::new(&self.0).join(name).display()))
    }
}

fn found<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
