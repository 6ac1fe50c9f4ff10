//! Views of a puzzle by a symmetry of its task, and the way back for the answers.

use hrm_data::dihedral::Dihedral;
use hrm_data::sudoku::{self, SudokuSize};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::puzzle::Puzzle;

/// Which view of a puzzle; the same draw of the same puzzle is always the same view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Seed of the puzzle's views.
    pub seed: u64,
    /// Number of the view, from 1 on; 0 is the puzzle itself and is never asked for.
    pub number: u32,
}

/// Symmetries of a task: what turns a puzzle into another whose answer can be turned back.
pub trait Symmetry: Send + Sync {
    /// The puzzle under a symmetry.
    fn forward(&self, puzzle: &Puzzle, draw: Draw) -> Puzzle;

    /// The answer to `forward(puzzle, draw)` as an answer to `puzzle`.
    fn inverse(&self, puzzle: &Puzzle, draw: Draw, answer: &[u8]) -> Vec<u8>;
}

/// Digits, bands, rows, stacks, columns and transposition: the augmentation of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SudokuSymmetry {
    /// Size of the boards.
    pub size: SudokuSize,
}

impl SudokuSymmetry {
    fn drawn(self, draw: Draw) -> sudoku::Symmetry {
        sudoku::Symmetry::sample(self.size, &mut generator(draw.seed, draw.number))
    }

    fn apply(self, symmetry: sudoku::Symmetry, tokens: &[u8]) -> Vec<u8> {
        let mut moved = tokens.to_vec();
        // Tokens of another size are left as they are: their puzzle is refused elsewhere.
        if tokens.len() == self.size.num_cells() {
            symmetry.apply_tokens(tokens, &mut moved);
        }
        moved
    }
}

impl Symmetry for SudokuSymmetry {
    fn forward(&self, puzzle: &Puzzle, draw: Draw) -> Puzzle {
        Puzzle {
            inputs: self.apply(self.drawn(draw), &puzzle.inputs),
            puzzle_id: puzzle.puzzle_id,
        }
    }

    fn inverse(&self, _puzzle: &Puzzle, draw: Draw, answer: &[u8]) -> Vec<u8> {
        self.apply(self.drawn(draw).inverse(), answer)
    }
}

/// Turns and flips of a maze: all eight of a square one, the four that keep the shape of an oblong one, each before any
/// is repeated.
///
/// A turned answer is as short as before, but the published tie-break between shortest paths turns with it: votes per grid
/// and exact match favour views less than a verifier does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MazeSymmetry {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl MazeSymmetry {
    fn drawn(self, draw: Draw) -> Dihedral {
        let mut others: Vec<Dihedral> = match self.height == self.width {
            true => Dihedral::ALL[1..].to_vec(),
            false => Dihedral::KEEPING_SHAPE[1..].to_vec(),
        };
        others.shuffle(&mut generator(draw.seed, 0));
        match draw.number as usize % (others.len() + 1) {
            0 => Dihedral::Identity,
            number => others[number - 1],
        }
    }

    fn apply(self, symmetry: Dihedral, tokens: &[u8]) -> Vec<u8> {
        if self.height.checked_mul(self.width) == Some(tokens.len()) {
            symmetry.apply(tokens, self.height, self.width)
        } else {
            tokens.to_vec()
        }
    }
}

impl Symmetry for MazeSymmetry {
    fn forward(&self, puzzle: &Puzzle, draw: Draw) -> Puzzle {
        Puzzle {
            inputs: self.apply(self.drawn(draw), &puzzle.inputs),
            puzzle_id: puzzle.puzzle_id,
        }
    }

    fn inverse(&self, _puzzle: &Puzzle, draw: Draw, answer: &[u8]) -> Vec<u8> {
        self.apply(self.drawn(draw).inverse(), answer)
    }
}

/// Seed of everything drawn for a puzzle.
pub(super) fn puzzle_seed(seed: u64, index: usize) -> u64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index as u64);
    rng.random()
}

/// The generator of one of the draws of a seed.
pub(super) fn generator(seed: u64, number: u32) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::from(number));
    rng
}
