//! Sizes of Sudoku: side, boxes, symbols.

use crate::DataError;
use serde::{Deserialize, Serialize};

/// Side of a Sudoku; written in files as the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub enum SudokuSize {
    /// 4x4, boxes 2x2.
    Four,
    /// 6x6, boxes of 2 rows and 3 columns.
    Six,
    /// 9x9, boxes 3x3.
    Nine,
    /// 16x16, boxes 4x4.
    Sixteen,
}

impl SudokuSize {
    /// All sizes, smallest first.
    pub const ALL: [Self; 4] = [Self::Four, Self::Six, Self::Nine, Self::Sixteen];

    /// Side N: rows, columns, boxes and digits.
    pub const fn side(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Six => 6,
            Self::Nine => 9,
            Self::Sixteen => 16,
        }
    }

    /// Rows of a box.
    pub const fn box_rows(self) -> usize {
        match self {
            Self::Four | Self::Six => 2,
            Self::Nine => 3,
            Self::Sixteen => 4,
        }
    }

    /// Columns of a box.
    pub const fn box_columns(self) -> usize {
        self.side() / self.box_rows()
    }

    /// Cells of a board, N².
    pub const fn num_cells(self) -> usize {
        self.side() * self.side()
    }

    /// Tokens of the vocabulary: pad, blank and N digits.
    pub const fn vocab_size(self) -> usize {
        self.side() + 2
    }

    /// Whether turning rows into columns maps boxes onto boxes. Not so at 6x6, where it turns boxes of 2x3
    /// into boxes of 3x2.
    pub const fn can_transpose(self) -> bool {
        self.box_rows() == self.box_columns()
    }

    /// Box of a cell, boxes counted row by row.
    pub const fn box_of(self, row: usize, column: usize) -> usize {
        let boxes_per_band = self.side() / self.box_columns();
        row / self.box_rows() * boxes_per_band + column / self.box_columns()
    }

    /// Whose board has `cells` cells.
    ///
    /// # Errors
    /// [`DataError::SudokuCells`] if none has.
    pub fn from_num_cells(cells: usize) -> Result<Self, DataError> {
        let found = Self::ALL.into_iter().find(|size| size.num_cells() == cells);
        found.ok_or_else(|| DataError::SudokuCells {
            expected: "16, 36, 81 or 256".to_owned(),
            found: cells,
        })
    }

    /// Whose board a text shows, in which white space doesn't count.
    #[cfg(feature = "fs")]
    pub(crate) fn of_text(text: &str) -> Result<Self, DataError> {
        Self::from_num_cells(text.chars().filter(|c| !c.is_whitespace()).count())
    }
}

impl TryFrom<usize> for SudokuSize {
    type Error = DataError;

    fn try_from(side: usize) -> Result<Self, DataError> {
        let found = Self::ALL.into_iter().find(|size| size.side() == side);
        found.ok_or(DataError::SudokuSize { found: side })
    }
}

impl From<SudokuSize> for usize {
    fn from(size: SudokuSize) -> usize {
        size.side()
    }
}

impl std::fmt::Display for SudokuSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{0}x{0}", self.side())
    }
}
