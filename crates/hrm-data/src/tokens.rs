//! Where the tokens of a set lie: in memory, or in files mapped into memory.

use std::ops::Range;
use std::sync::Arc;

/// Rows of S tokens, in one or more pieces; cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pieces: Vec<Piece>,
}

/// Consecutive rows.
#[derive(Clone, Debug)]
struct Piece {
    first_row: usize,
    bytes: Bytes,
    range: Range<usize>,
    /// Token that stands for [`IGNORED`](crate::IGNORED) in these bytes.
    ignored: Option<u8>,
}

#[derive(Clone, Debug)]
enum Bytes {
    Owned(Arc<Vec<u8>>),
    #[cfg(feature = "fs")]
    Mapped(Arc<memmap2::Mmap>),
}

impl Tokens {
    /// No rows yet.
    pub(crate) fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    /// Rows held in memory, with [`IGNORED`](crate::IGNORED) in place.
    pub(crate) fn owned(bytes: Vec<u8>, seq_len: usize) -> Self {
        let mut tokens = Self::new();
        tokens.push_owned(bytes, seq_len);
        tokens
    }

    pub(crate) fn push_owned(&mut self, bytes: Vec<u8>, seq_len: usize) {
        let range = 0..bytes.len();
        self.push(Bytes::Owned(Arc::new(bytes)), range, None, seq_len);
    }

    /// Appends the rows that lie in `range` of a mapped file.
    #[cfg(feature = "fs")]
    pub(crate) fn push_mapped(
        &mut self,
        map: memmap2::Mmap,
        range: Range<usize>,
        ignored: Option<u8>,
        seq_len: usize,
    ) {
        self.push(Bytes::Mapped(Arc::new(map)), range, ignored, seq_len);
    }

    fn push(&mut self, bytes: Bytes, range: Range<usize>, ignored: Option<u8>, seq_len: usize) {
        let first_row = self.num_rows(seq_len);
        self.pieces.push(Piece {
            first_row,
            bytes,
            range,
            ignored,
        });
    }

    pub(crate) fn num_rows(&self, seq_len: usize) -> usize {
        self.pieces
            .last()
            .map_or(0, |last| last.first_row + last.range.len() / seq_len)
    }

    /// The stored bytes of a row and the token in them that stands for ignored.
    ///
    /// # Panics
    /// If there is no such row.
    pub(crate) fn row(&self, row: usize, seq_len: usize) -> (&[u8], Option<u8>) {
        let piece = match self.pieces.as_slice() {
            [only] => only,
            pieces => &pieces[pieces.partition_point(|p| p.first_row <= row) - 1],
        };
        let bytes = &piece.bytes()[piece.range.clone()];
        let row = &bytes[(row - piece.first_row) * seq_len..][..seq_len];
        (row, piece.ignored)
    }
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Owned(bytes) => bytes,
            #[cfg(feature = "fs")]
            Bytes::Mapped(map) => map,
        }
    }
}
