//! An input: how it is played, and the bytes that are played.

use bytes::Bytes;

/// Bytes of the head.
pub(crate) const HEAD: usize = 8;
/// The most pieces that a body is cut into: an input is to be quick.
const MOST_PIECES: usize = 24;

/// The head is one byte of flags, one that picks a row of a table, and six that say where to cut.
pub(crate) struct Input<'a> {
    head: [u8; HEAD],
    pub(crate) body: &'a [u8],
}

impl<'a> Input<'a> {
    /// Where bytes of the head are missing they are zeros.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        let (told, body) = data.split_at(data.len().min(HEAD));
        let mut head = [0; HEAD];
        head[..told.len()].copy_from_slice(told);
        Self { head, body }
    }

    /// Flags 0 to 7: 0 asks for a stream, 1 for native chunks, 2 for native usage, 3 breaks the connection at the end; 4 to 6 are the
    /// target's own.
    pub(crate) fn flag(&self, bit: u8) -> bool {
        self.head[0] >> bit & 1 == 1
    }

    /// A row of a table.
    pub(crate) fn pick<T: Copy>(&self, rows: &[T]) -> T {
        rows[self.head[1] as usize % rows.len()]
    }

    /// The bytes of the head that say where to cut, for targets that do not cut.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.head[2..]
    }

    /// `bytes` in pieces: where the first ends, how long four are that recur, and what is left after some of them.
    pub(crate) fn cut(&self, bytes: &Bytes) -> Vec<Bytes> {
        let first = usize::from(u16::from_be_bytes([self.head[2], self.head[3]])) % (bytes.len() + 1);
        let lengths = self.head[4..].iter().map(|n| match usize::from(*n) {
            n @ ..128 => n + 1,
            n => (n - 126) * 64,
        });
        let mut left = bytes.clone();
        let mut pieces = Vec::new();
        for length in std::iter::once(first).chain(lengths.cycle()).take(MOST_PIECES - 1) {
            pieces.push(left.split_to(length.min(left.len())));
            if left.is_empty() {
                return pieces;
            }
        }
        pieces.push(left);
        pieces
    }
}
