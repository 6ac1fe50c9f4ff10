//! The symmetries of Sudoku: what keeps a solved board solved. They augment training puzzles.
//!
//! The order is the published builder's: transpose first, then `new[i, j] = old[rows[i], columns[j]]`, then
//! the digits.

use super::{Board, SudokuSize};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

/// A relabelling of the digits with a rearrangement of the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symmetry {
    size: SudokuSize,
    transpose: bool,
    rows: [u8; 16],
    columns: [u8; 16],
    /// New digit of each old one; index 0 is the blank and stays.
    digits: [u8; 17],
}

impl Symmetry {
    /// The symmetry that changes nothing.
    pub fn identity(size: SudokuSize) -> Self {
        Self {
            size,
            transpose: false,
            rows: std::array::from_fn(|i| i as u8),
            columns: std::array::from_fn(|i| i as u8),
            digits: std::array::from_fn(|i| i as u8),
        }
    }

    /// A symmetry drawn evenly from all: digits, bands and rows within a band, stacks and columns within a
    /// stack, and with probability 1/2 a transposition, where boxes are square.
    pub fn sample(size: SudokuSize, rng: &mut impl Rng) -> Self {
        let mut drawn = Self::identity(size);
        drawn.digits[1..=size.side()].shuffle(rng);
        drawn.rows = lines(size.side(), size.box_rows(), rng);
        drawn.columns = lines(size.side(), size.box_columns(), rng);
        drawn.transpose = size.can_transpose() && rng.random();
        drawn
    }

    /// The symmetry that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let side = self.size.side();
        let mut digits = self.digits;
        for (old, &new) in self.digits.iter().enumerate().take(side + 1) {
            digits[usize::from(new)] = old as u8;
        }
        let (rows, columns) = (invert(&self.rows, side), invert(&self.columns, side));
        let (rows, columns) = match self.transpose {
            true => (columns, rows),
            false => (rows, columns),
        };
        Self {
            rows,
            columns,
            digits,
            ..*self
        }
    }

    /// The board after the symmetry.
    ///
    /// # Panics
    /// If the board is of another size.
    pub fn apply(&self, board: &Board) -> Board {
        assert_eq!(board.size(), self.size, "a symmetry fits one size of board");
        let mut moved = board.clone();
        self.rearrange(board.cells(), moved.cells_mut(), |c| {
            self.digits[usize::from(c)]
        });
        moved
    }

    /// Tokens after the symmetry: `from` and `to` are `[S]`; pad, blank and
    /// [`IGNORED`](crate::IGNORED) keep their values and move with their cells.
    ///
    /// # Panics
    /// If a slice is shorter than the board.
    pub fn apply_tokens(&self, from: &[u8], to: &mut [u8]) {
        let mut table: [u8; 256] = std::array::from_fn(|t| t as u8);
        for digit in 1..=self.size.side() {
            table[digit + 1] = self.digits[digit] + 1;
        }
        self.rearrange(from, to, |t| table[usize::from(t)]);
    }

    #[inline]
    fn rearrange(&self, from: &[u8], to: &mut [u8], relabel: impl Fn(u8) -> u8) {
        let side = self.size.side();
        let (row_step, column_step) = match self.transpose {
            true => (1, side),
            false => (side, 1),
        };
        let from = &from[..side * side];
        for (to_row, &row) in to.chunks_exact_mut(side).zip(&self.rows[..side]) {
            for (cell, &column) in to_row.iter_mut().zip(&self.columns[..side]) {
                *cell =
                    relabel(from[usize::from(row) * row_step + usize::from(column) * column_step]);
            }
        }
    }
}

/// A random order of lines: groups of `width` in any order, lines of a group in any order.
fn lines(side: usize, width: usize, rng: &mut impl Rng) -> [u8; 16] {
    let mut order: [u8; 16] = std::array::from_fn(|i| i as u8);
    let groups = side / width;
    let mut group_order: [u8; 4] = std::array::from_fn(|i| i as u8);
    group_order[..groups].shuffle(rng);
    for (line, &group) in order[..side].chunks_exact_mut(width).zip(&group_order) {
        for (k, slot) in line.iter_mut().enumerate() {
            *slot = group * width as u8 + k as u8;
        }
        line.shuffle(rng);
    }
    order
}

fn invert(order: &[u8; 16], side: usize) -> [u8; 16] {
    let mut inverse = *order;
    for (to, &from) in order.iter().enumerate().take(side) {
        inverse[usize::from(from)] = to as u8;
    }
    inverse
}
