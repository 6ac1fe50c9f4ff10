//! Exact verifiers: whether an answer solves its puzzle, by the rules and without a label.

use hrm_data::maze::Maze;
use hrm_data::sudoku::{self, Board, SudokuSize};

use super::puzzle::Puzzle;

/// Says whether an answer solves a puzzle. It must not know the label.
pub trait Verifier: Send + Sync {
    /// `answer` is `[S]` tokens of the puzzle's vocabulary.
    fn verify(&self, puzzle: &Puzzle, answer: &[u8]) -> bool;
}

impl<F: Fn(&Puzzle, &[u8]) -> bool + Send + Sync> Verifier for F {
    fn verify(&self, puzzle: &Puzzle, answer: &[u8]) -> bool {
        self(puzzle, answer)
    }
}

/// The rules of Sudoku: every given is kept, every digit stands once in every row, column and box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SudokuVerifier {
    /// Size of the boards.
    pub size: SudokuSize,
}

impl Verifier for SudokuVerifier {
    fn verify(&self, puzzle: &Puzzle, answer: &[u8]) -> bool {
        let question = Board::from_tokens(self.size, &puzzle.inputs);
        let answer = Board::from_tokens(self.size, answer);
        matches!((question, answer), (Ok(question), Ok(answer)) if sudoku::verify(&question, &answer).is_ok())
    }
}

/// The rules of a maze: the marked cells are a path from start to goal, and none is shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MazeVerifier {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Verifier for MazeVerifier {
    fn verify(&self, puzzle: &Puzzle, answer: &[u8]) -> bool {
        Maze::from_tokens(puzzle.inputs.clone(), self.height, self.width)
            .is_ok_and(|maze| maze.verify(answer).is_optimal())
    }
}
