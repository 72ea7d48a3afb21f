use crate::{Hash, Note, NoteError, SigningKey, VerifierKey};

/// What stands for a replica in the origin of the root log. No replica may have this id.
pub const ROOT_LOG: &str = "root";

/// A log as it was at some size: C2SP `tlog-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: `<deployment>/<replica>`, or `<deployment>/root`.
    pub origin: String,
    /// How many leaves it has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Why a text is no checkpoint, or is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Its note is none, or is not trusted.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// It is no text.
    #[error("no checkpoint: it is not UTF-8")]
    NotText,
    /// The text of the note is something else.
    #[error("no checkpoint: the signed text must have the lines origin, size and root hash, and has not")]
    Malformed,
}

/// The origin of a replica's log, or with [`ROOT_LOG`] of the deployment's root log.
pub fn log_origin(deployment: &str, log: &str) -> String {
    format!("{deployment}/{log}")
}

/// Where a checkpoint lies below its log in an export that never overwrites a file: `checkpoints/`, and its size with 20 digits.
pub fn dated_path(size: u64) -> String {
    format!("checkpoints/{size:020}")
}

/// The size in what [`dated_path`] writes; `None`: something else.
pub fn dated_size(path: &str) -> Option<u64> {
    let size = path.strip_prefix("checkpoints/")?.parse().ok()?;
    (dated_path(size) == path).then_some(size)
}

/// Deployment and log of an origin.
pub fn split_origin(origin: &str) -> Option<(&str, &str)> {
    origin.rsplit_once('/').filter(|(deployment, log)| !deployment.is_empty() && !log.is_empty())
}

impl Checkpoint {
    /// Signs it: a note.
    pub fn sign(&self, key: &SigningKey) -> String {
        key.sign_note(&self.text())
    }

    /// The text that is signed.
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// Reads a note that one of `keys` signed; also says which.
    pub fn open<'a>(
        note: &[u8],
        keys: impl IntoIterator<Item = &'a VerifierKey>,
    ) -> Result<(Self, &'a VerifierKey), CheckpointError> {
        let note = Note::parse(std::str::from_utf8(note).map_err(|_| CheckpointError::NotText)?)?;
        let (text, key) = note.open(keys)?;
        Ok((Self::read(text)?, key))
    }

    /// Reads a note, whoever signed it.
    pub fn open_unchecked(note: &[u8]) -> Result<Self, CheckpointError> {
        let note = Note::parse(std::str::from_utf8(note).map_err(|_| CheckpointError::NotText)?)?;
        Self::read(note.text_unchecked())
    }

    /// Lines behind the third are extensions of the format, signed with the rest, and mean nothing here.
    fn read(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Malformed);
        };
        let number: u64 = size.parse().map_err(|_| CheckpointError::Malformed)?;
        let root = Hash::from_base64(root).ok_or(CheckpointError::Malformed)?;
        if origin.is_empty() || number.to_string() != size {
            return Err(CheckpointError::Malformed);
        }
        Ok(Self { origin: origin.into(), size: number, root })
    }
}
