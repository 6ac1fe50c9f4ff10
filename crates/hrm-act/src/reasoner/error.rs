//! What can be wrong with a puzzle or with how it is to be thought about.

/// An error of the reasoner. Those with an index belong to that puzzle alone; the others go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReasonError {
    /// A field of the configuration is out of its range.
    #[error("reasoner: `{field}` must be {expected}, found {found}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Text that names no halting rule.
    #[error("expected fixed, q-halt, likely, stable:K or verified, found `{found}`")]
    HaltRule {
        /// The text, or its beginning.
        found: String,
    },
    /// Halting or choosing by a verifier, without one.
    #[error("reasoner: `{field}` asks for a verifier, and none was given")]
    NoVerifier {
        /// The field that asks.
        field: &'static str,
    },
    /// Views by symmetry, without a symmetry.
    #[error("reasoner: `views` = {views} asks for a symmetry, and none was given")]
    NoSymmetry {
        /// Views asked for.
        views: u32,
    },
    /// A further checkpoint that doesn't fit the first.
    #[error(
        "checkpoint {model}: expected {field} = {expected}, as in the first one, found {found}"
    )]
    Model {
        /// Number of the checkpoint, counted from 1.
        model: usize,
        /// What differs.
        field: &'static str,
        /// The first one's.
        expected: usize,
        /// The further one's.
        found: usize,
    },
    /// A puzzle of another size.
    #[error("puzzle {index}: expected {expected} cells, found {found}")]
    Length {
        /// Place of the puzzle, counted from 0.
        index: usize,
        /// Cells that the model was made for.
        expected: usize,
        /// Cells of the puzzle.
        found: usize,
    },
    /// A token that the model doesn't know.
    #[error("puzzle {index}, cell {cell}: expected a token below {vocab_size}, found {found}")]
    Token {
        /// Place of the puzzle, counted from 0.
        index: usize,
        /// The cell, counted from 0.
        cell: usize,
        /// Tokens that the model was made for.
        vocab_size: usize,
        /// The token.
        found: u8,
    },
    /// An id outside the puzzle table.
    #[error("puzzle {index}: expected a puzzle id below {rows}, found {found}")]
    PuzzleId {
        /// Place of the puzzle, counted from 0.
        index: usize,
        /// Rows of the table.
        rows: usize,
        /// The id.
        found: u32,
    },
    /// A symmetry gave an answer of another size back.
    #[error("puzzle {index}: the symmetry maps an answer of {expected} cells to {found}")]
    View {
        /// Place of the puzzle, counted from 0.
        index: usize,
        /// Cells of the answer.
        expected: usize,
        /// Cells of the answer mapped back.
        found: usize,
    },
    /// The device failed; nothing that was being thought about can be saved.
    #[error("the device failed: {reason}")]
    Device {
        /// What the device says.
        reason: String,
    },
}

impl ReasonError {
    /// The puzzle that the error belongs to; none where it stops all.
    pub fn index(&self) -> Option<usize> {
        match *self {
            Self::Length { index, .. }
            | Self::Token { index, .. }
            | Self::PuzzleId { index, .. }
            | Self::View { index, .. } => Some(index),
            Self::Field { .. }
            | Self::HaltRule { .. }
            | Self::NoVerifier { .. }
            | Self::NoSymmetry { .. }
            | Self::Model { .. }
            | Self::Device { .. } => None,
        }
    }
}

/// What the device says, as an error.
pub(crate) fn device_error(reason: impl ToString) -> ReasonError {
    ReasonError::Device {
        reason: reason.to_string(),
    }
}
