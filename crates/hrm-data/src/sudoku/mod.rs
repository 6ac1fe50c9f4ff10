//! Sudoku at sides 4, 6, 9 and 16: boards, solver, generator, symmetries, canonical form, verifier.

mod board;
mod puzzle;
mod size;
mod symmetry;
mod verify;

pub use board::{Board, Unit, symbol};
pub use puzzle::Puzzle;
pub use size::SudokuSize;
pub use symmetry::Symmetry;
pub use verify::{Breach, verify};
