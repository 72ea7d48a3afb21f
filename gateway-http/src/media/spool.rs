//! Files of a form that are needed whole: small ones stay in memory, larger ones go to an unnamed file that is gone with the call.

use std::io::{self, SeekFrom};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
};

/// What stays in memory.
const IN_MEMORY: usize = 1 << 20;
/// How much is read at once.
const PIECE: usize = 64 << 10;

/// Bytes behind each other.
#[derive(Default)]
pub(super) struct Spool {
    held: Vec<u8>,
    file: Option<File>,
}

impl Spool {
    pub(super) async fn push(&mut self, bytes: Bytes) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            return file.write_all(&bytes).await;
        }
        self.held.extend_from_slice(&bytes);
        if self.held.len() > IN_MEMORY {
            let unnamed = tokio::task::spawn_blocking(tempfile::tempfile).await.map_err(io::Error::other)??;
            let mut file = File::from_std(unnamed);
            file.write_all(&std::mem::take(&mut self.held)).await?;
            self.file = Some(file);
        }
        Ok(())
    }

    /// All of it, cut into pieces of the given lengths: every piece's bytes, then `None`.
    pub(super) fn read(self, lengths: Vec<u64>) -> impl Stream<Item = io::Result<Option<Bytes>>> + Send + 'static {
        async_stream::stream! {
            let mut held = Bytes::from(self.held);
            let mut file = self.file;
            if let Some(file) = &mut file {
                // What was written last may not be there yet.
                let ready = async {
                    file.flush().await?;
                    file.seek(SeekFrom::Start(0)).await
                };
                if let Err(error) = ready.await {
                    yield Err(error);
                    return;
                }
            }
            for length in lengths {
                let mut left = length;
                while left > 0 {
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
                    let piece = match &mut file {
                        None => held.split_to(most.min(held.len())),
                        Some(file) => {
                            let mut piece = vec![0; most];
                            if let Err(error) = file.read_exact(&mut piece).await {
                                yield Err(error);
                                return;
                            }
                            piece.into()
                        }
                    };
                    left -= piece.len() as u64;
                    yield Ok(Some(piece));
                }
                yield Ok(None);
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_small_and_what_is_large_come_back_alike() {
        for size in [10, 3 << 20] {
            let (first, second) = (vec![1u8; size], vec![2u8; size / 2]);
            let mut spool = Spool::default();
            for piece in [&first, &second] {
                spool.push(piece.clone().into()).await.unwrap();
            }
            assert_eq!(spool.file.is_some(), size > IN_MEMORY);
            let lengths = vec![size as u64, 0, size as u64 / 2];
            let read: Vec<_> = spool.read(lengths).map(Result::unwrap).collect().await;
            let files: Vec<Vec<u8>> =
                read.split(Option::is_none).map(|p| p.iter().flatten().flatten().copied().collect()).collect();
            assert!(files == [first, Vec::new(), second, Vec::new()]);
        }
    }
}
