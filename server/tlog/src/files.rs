//! Where an export lies.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The files of an export, by their paths below it with `/` between parts.
pub trait Files {
    /// The bytes of a file; `None`: there is none.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// Names every file below `folder` (which ends with `/`, or is empty: everywhere), in any order.
    fn list(&self, folder: &str, visit: &mut dyn FnMut(&str)) -> io::Result<()>;
}

/// An export in a directory.
#[derive(Clone, Debug)]
pub struct Dir(PathBuf);

impl Dir {
    /// The export in this directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Writes a file; its folders are made.
    pub fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.0.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, bytes)
    }
}

impl Files for Dir {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
        match fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), NotFound | NotADirectory | IsADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, folder: &str, visit: &mut dyn FnMut(&str)) -> io::Result<()> {
        walk(&self.0.join(folder), folder, visit)
    }
}

fn walk(dir: &Path, below: &str, visit: &mut dyn FnMut(&str)) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), visit)?;
        } else {
            visit(&path);
        }
    }
    Ok(())
}

/// An export in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory(pub BTreeMap<String, Vec<u8>>);

impl Files for Memory {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(path).cloned())
    }

    fn list(&self, folder: &str, visit: &mut dyn FnMut(&str)) -> io::Result<()> {
        self.0.keys().filter(|path| path.starts_with(folder)).for_each(|path| visit(path));
        Ok(())
    }
}
