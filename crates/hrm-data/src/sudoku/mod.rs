//! Sudoku at sides 4, 6, 9 and 16: boards, solver, generator, symmetries, canonical form, verifier.

mod board;
mod canonical;
#[cfg(feature = "fs")]
mod csv;
mod draw;
mod generate;
mod puzzle;
mod size;
mod solve;
mod symmetry;
mod verify;

pub use board::{Board, Unit, symbol};
pub use canonical::Canonical;
#[cfg(feature = "fs")]
pub use csv::{read_csv, read_csv_from, write_csv, write_csv_to};
pub use draw::draw_like;
pub use generate::Generator;
pub use puzzle::Puzzle;
pub use size::SudokuSize;
pub use solve::{Search, Solver};
pub use symmetry::Symmetry;
pub use verify::{Breach, verify};
