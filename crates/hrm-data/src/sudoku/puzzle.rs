//! A Sudoku with its answer.

use super::verify::verify;
use super::{Board, SudokuSize};
use crate::DataError;

/// A question with its answer, as a line of a CSV file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Puzzle {
    /// Where the puzzle comes from.
    pub source: String,
    /// The givens.
    pub question: Board,
    /// The solved board.
    pub answer: Board,
    /// What a file says about the hardness: guesses of the solver tdoku with limit 1.
    pub rating: Option<u32>,
}

impl Puzzle {
    /// Size of both boards.
    pub fn size(&self) -> SudokuSize {
        self.question.size()
    }

    /// Whether the answer answers the question.
    ///
    /// # Errors
    /// [`DataError::SudokuAnswer`] names the first rule that is broken.
    pub fn check(&self) -> Result<(), DataError> {
        verify(&self.question, &self.answer).map_err(|breach| DataError::SudokuAnswer {
            breach: breach.to_string(),
        })
    }
}
