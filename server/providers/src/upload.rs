//! A file on its way through: read from the caller as the provider takes it, with a bounded beginning kept for another attempt.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use parking_lot::Mutex;
use tokio::time::timeout;
use tollgate_domain::{Error, Violation};
use tollgate_proto::v1::{ErrorReason, UploadField, UploadFile};

/// What is kept of an upload: a smaller one can be sent again, a larger one has one attempt.
pub const KEPT_BYTES: usize = 1 << 20;
/// What each part takes besides its bytes, so that many small ones are bounded too.
const PER_PART: usize = 64;
/// How long a caller may send nothing.
const CALLER_IDLE: Duration = Duration::from_secs(60);
/// Bytes of a head that tells how sound is stored.
const SOUND_HEAD: usize = 64;

/// A piece of an upload.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// A file begins.
    File(UploadFile),
    /// Its next bytes.
    Data(Bytes),
    /// A field behind it.
    Field(UploadField),
}

/// An upload as it comes in.
pub type Parts = BoxStream<'static, Result<Part, Error>>;

/// What looks at the bytes of an upload, once each.
pub type Witness = Box<dyn FnMut(&[u8]) + Send>;

/// An upload; clones are the same one.
#[derive(Clone)]
pub struct Upload(Arc<Shared>);

struct Shared {
    source: tokio::sync::Mutex<Source>,
    /// What ended it before its time.
    error: Mutex<Option<Error>>,
    /// Bytes of files that came in.
    taken: AtomicU64,
    files: AtomicU64,
    is_whole: AtomicBool,
    is_lost: AtomicBool,
    /// Whether the reader waits for the caller.
    awaits_caller: AtomicBool,
    /// Which reader counts.
    reader: AtomicU64,
    /// The beginning of the first file.
    head: Mutex<Vec<u8>>,
}

struct Source {
    parts: Option<Parts>,
    kept: Vec<Part>,
    kept_bytes: usize,
    most_bytes: u64,
    most_files: u64,
    witness: Witness,
}

impl Upload {
    /// What comes in as `parts`: at most `most_bytes` in at most `most_files`. `witness` sees every byte of the files once.
    pub fn new(parts: Parts, most_bytes: u64, most_files: u64, witness: Witness) -> Self {
        let source = Source { parts: Some(parts), kept: Vec::new(), kept_bytes: 0, most_bytes, most_files, witness };
        Self(Arc::new(Shared {
            source: tokio::sync::Mutex::new(source),
            error: Mutex::new(None),
            taken: AtomicU64::new(0),
            files: AtomicU64::new(0),
            is_whole: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            awaits_caller: AtomicBool::new(false),
            reader: AtomicU64::new(0),
            head: Mutex::new(Vec::new()),
        }))
    }

    /// Reads its beginning: all of it where it is small.
    pub async fn begin(&self) -> Result<(), Error> {
        let mut source = self.0.source.lock().await;
        while source.kept_bytes < KEPT_BYTES / 2 && !self.is_whole() {
            self.pull(&mut source, false).await?;
        }
        Ok(())
    }

    /// Whether all of it came in.
    pub fn is_whole(&self) -> bool {
        self.0.is_whole.load(Ordering::Acquire)
    }

    /// The fields behind its files, where all of it is there.
    pub fn late_fields(&self) -> Vec<UploadField> {
        let Some(source) = self.0.source.try_lock().ok().filter(|_| self.is_whole()) else { return Vec::new() };
        let fields = source.kept.iter().filter_map(|part| match part {
            Part::Field(field) => Some(field.clone()),
            _ => None,
        });
        fields.collect()
    }

    /// Whether its beginning is gone, so that it cannot be sent again.
    pub fn is_lost(&self) -> bool {
        self.0.is_lost.load(Ordering::Acquire)
    }

    /// Why it ended before its time: the caller's fault, not the provider's.
    pub fn error(&self) -> Option<Error> {
        self.0.error.lock().clone()
    }

    /// Ends it: what came in cannot be sent on, and that is the caller's fault.
    pub(crate) fn refuse(&self, error: Error) {
        self.0.error.lock().get_or_insert(error);
    }

    /// Bytes of files that came in.
    pub fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Acquire)
    }

    /// Whether a reader waits for the caller now.
    pub(crate) fn awaits_caller(&self) -> bool {
        self.0.awaits_caller.load(Ordering::Acquire)
    }

    /// How long the sound is that came in, in milliseconds, where its head tells: of uncompressed WAVE.
    pub fn told_ms(&self) -> Option<u64> {
        let head = self.0.head.lock();
        let is_wave = head.get(..4)? == b"RIFF" && head.get(8..16)? == b"WAVEfmt ";
        let rate = u32::from_le_bytes(head.get(28..32)?.try_into().ok()?);
        (is_wave && rate > 0).then(|| self.taken().saturating_mul(1_000) / u64::from(rate))
    }

    /// Everything from the start. A reader from before ends.
    pub fn read(&self) -> impl Stream<Item = Result<Part, Error>> + Send + use<> {
        let reader = self.0.reader.fetch_add(1, Ordering::AcqRel) + 1;
        futures::stream::unfold(Some((self.clone(), 0)), move |state| async move {
            let (this, at) = state?;
            match this.part(reader, at).await {
                Ok(Some(part)) => Some((Ok(part), Some((this, at + 1)))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn part(&self, reader: u64, at: usize) -> Result<Option<Part>, Error> {
        let mut source = self.0.source.lock().await;
        if self.0.reader.load(Ordering::Acquire) != reader {
            return Err(Error::internal("another attempt reads the upload"));
        }
        if let Some(part) = source.kept.get(at) {
            return Ok(Some(part.clone()));
        }
        self.pull(&mut source, true).await
    }

    async fn pull(&self, source: &mut Source, is_read: bool) -> Result<Option<Part>, Error> {
        if let Some(error) = self.error() {
            return Err(error);
        }
        let Some(parts) = &mut source.parts else { return Ok(None) };
        self.0.awaits_caller.store(true, Ordering::Release);
        let next = timeout(CALLER_IDLE, parts.next()).await;
        self.0.awaits_caller.store(false, Ordering::Release);
        let idle = || {
            let message = format!("nothing of the upload came for {} s; send it again", CALLER_IDLE.as_secs());
            Error::new(ErrorReason::DeadlineExceeded, message).with("stage", "upload")
        };
        let taken = match next.map_err(|_| idle()).and_then(Option::transpose) {
            Ok(Some(part)) => self.take(source, part, is_read).map(Some),
            Ok(None) if self.0.files.load(Ordering::Acquire) == 0 => {
                Err(Error::invalid(vec![Violation { field: "file".into(), description: "is required".into() }]))
            }
            Ok(None) => {
                self.0.is_whole.store(true, Ordering::Release);
                source.parts = None;
                Ok(None)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &taken {
            source.parts = None;
            *self.0.error.lock() = Some(error.clone());
        }
        taken
    }

    fn take(&self, source: &mut Source, part: Part, is_read: bool) -> Result<Part, Error> {
        let size = match &part {
            Part::File(_) => {
                let files = self.0.files.fetch_add(1, Ordering::AcqRel) + 1;
                if files > source.most_files {
                    let most = source.most_files;
                    return Err(Error::invalid_field("file", format!("must be at most {most} files")));
                }
                0
            }
            Part::Data(bytes) => {
                let taken = self.0.taken.fetch_add(bytes.len() as u64, Ordering::AcqRel) + bytes.len() as u64;
                if taken > source.most_bytes {
                    let most = source.most_bytes;
                    let message = format!("the upload is larger than {most} bytes, the most that it may have");
                    return Err(Error::new(ErrorReason::RequestTooLarge, message));
                }
                (source.witness)(bytes);
                let mut head = self.0.head.lock();
                let room = SOUND_HEAD - head.len();
                head.extend_from_slice(&bytes[..bytes.len().min(room)]);
                bytes.len()
            }
            Part::Field(field) => field.name.len() + field.value.len(),
        };
        if !self.is_lost() {
            source.kept_bytes += size + PER_PART;
            // What nobody has read yet is kept however large its last piece is: one message.
            if source.kept_bytes > KEPT_BYTES && is_read {
                self.0.is_lost.store(true, Ordering::Release);
                // Whoever reads has come this far.
                source.kept = Vec::new();
            } else {
                source.kept.push(part.clone());
            }
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Part {
        Part::File(UploadFile { field: "file".into(), ..UploadFile::default() })
    }

    fn upload(parts: Vec<Part>) -> Upload {
        let parts = futures::stream::iter(parts.into_iter().map(Ok)).boxed();
        Upload::new(parts, 4 << 20, 2, Box::new(|_| ()))
    }

    async fn all(upload: &Upload) -> Vec<Part> {
        upload.read().map(Result::unwrap).collect().await
    }

    #[tokio::test]
    async fn a_small_upload_is_read_again_and_a_large_one_once() {
        let parts = vec![file(), Part::Data("a".into()), Part::Data("b".into())];
        let small = upload(parts.clone());
        small.begin().await.unwrap();
        assert!(small.is_whole());
        assert_eq!((all(&small).await, all(&small).await), (parts.clone(), parts));
        let piece = || Part::Data(vec![7; 400_000].into());
        let parts = vec![file(), piece(), piece(), piece(), piece()];
        let large = upload(parts.clone());
        large.begin().await.unwrap();
        assert!(!large.is_whole() && !large.is_lost());
        assert_eq!(all(&large).await, parts);
        assert!(large.is_lost() && large.is_whole());
    }

    #[tokio::test]
    async fn a_beginning_in_one_large_piece_is_not_lost_before_it_is_read() {
        let parts = vec![file(), Part::Data(vec![7; 2 << 20].into()), Part::Data("end".into())];
        let large = upload(parts.clone());
        large.begin().await.unwrap();
        assert!(!large.is_lost() && !large.is_whole());
        assert_eq!(all(&large).await, parts);
        assert!(large.is_lost() && large.is_whole());
    }

    #[tokio::test]
    async fn what_is_too_much_or_nothing_is_the_callers_fault() {
        let none = upload(vec![]);
        assert_eq!(none.begin().await.unwrap_err().reason, ErrorReason::InvalidField);
        assert_eq!(upload(vec![file(), file(), file()]).begin().await.unwrap_err().reason, ErrorReason::InvalidField);
        let large = upload(vec![file(), Part::Data(vec![0; 5 << 20].into())]);
        assert_eq!(large.begin().await.unwrap_err().reason, ErrorReason::RequestTooLarge);
        assert_eq!(large.error().unwrap().reason, ErrorReason::RequestTooLarge);
    }

    #[tokio::test]
    async fn the_head_of_a_wave_tells_how_long_it_is() {
        let mut wave = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        wave.extend(16_000u32.to_le_bytes());
        wave.extend(32_000u32.to_le_bytes());
        wave.resize(64_000, 0);
        let told = upload(vec![file(), Part::Data(wave.into())]);
        told.begin().await.unwrap();
        assert_eq!(told.told_ms(), Some(2_000));
        let untold = upload(vec![file(), Part::Data("ID3".into())]);
        untold.begin().await.unwrap();
        assert_eq!(untold.told_ms(), None);
    }
}
