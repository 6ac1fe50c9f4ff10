//! A batch of puzzles on the host, as a model is fed with it.

/// Label of a cell that takes no part in the loss. Readers map a set's ignore id to it, writers map it
/// back; so a vocabulary has at most 255 tokens.
pub const IGNORED: u8 = 255;

/// B puzzles of S cells each, with what travels with them.
///
/// # Shapes
/// `inputs` and `labels` `[B, S]` row-major; `puzzle_ids` and `min_segments` `[B]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PuzzleBatch {
    /// Cells of a puzzle, S.
    pub seq_len: usize,
    /// Tokens of the questions, `0..V`.
    pub inputs: Vec<u8>,
    /// Tokens of the answers, or [`IGNORED`].
    pub labels: Vec<u8>,
    /// Rows of the puzzle table; 0 is blank.
    pub puzzle_ids: Vec<u32>,
    /// Exploration draws: the fewest segments a slot must run, 0 for none, else `2..=M`
    /// (HRM, "Adaptive computational time").
    pub min_segments: Vec<u32>,
}

impl PuzzleBatch {
    /// A batch of `batch_size` blank rows: inputs `pad`, labels [`IGNORED`], id `blank`, no exploration.
    pub fn blank(batch_size: usize, seq_len: usize, pad: u8, blank: u32) -> Self {
        Self {
            seq_len,
            inputs: vec![pad; batch_size * seq_len],
            labels: vec![IGNORED; batch_size * seq_len],
            puzzle_ids: vec![blank; batch_size],
            min_segments: vec![0; batch_size],
        }
    }

    /// Number of rows, B.
    pub fn batch_size(&self) -> usize {
        self.puzzle_ids.len()
    }

    /// Input tokens of a row, `[S]`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn input(&self, row: usize) -> &[u8] {
        &self.inputs[row * self.seq_len..][..self.seq_len]
    }

    /// Label tokens of a row, `[S]`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn label(&self, row: usize) -> &[u8] {
        &self.labels[row * self.seq_len..][..self.seq_len]
    }
}
