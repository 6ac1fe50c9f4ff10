//! What a data set says about itself: the task and its sizes.

use crate::sudoku::SudokuSize;
use crate::{DataError, maze};
use serde::{Deserialize, Serialize};

/// What the tokens of a set mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Sudoku: 0 pad, 1 blank, digit d is d + 1.
    Sudoku(SudokuSize),
    /// Maze: 0 pad, `#` 1, space 2, `S` 3, `G` 4, `o` 5.
    Maze {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// ARC on a 30x30 canvas: 0 pad, 1 end of grid, colour c is c + 2.
    Arc,
    /// Tokens of a meaning that is not known here.
    Other,
}

impl Task {
    /// The task that a folder of the official format holds, as far as its sizes tell.
    pub fn infer(vocab_size: usize, seq_len: usize) -> Self {
        match (vocab_size, seq_len) {
            (11, 81) => Self::Sudoku(SudokuSize::Nine),
            (6, 900) => Self::Maze {
                height: 30,
                width: 30,
            },
            (12, 900) => Self::Arc,
            _ => Self::Other,
        }
    }

    /// The task of a model or a set that doesn't say it, as far as its sizes tell: those of all Sudokus, of square mazes and
    /// of ARC. What might be both is taken for a Sudoku.
    pub fn guess(vocab_size: usize, seq_len: usize) -> Self {
        match SudokuSize::from_num_cells(seq_len) {
            Ok(size) if size.vocab_size() == vocab_size => return Self::Sudoku(size),
            _ => {}
        }
        let side = seq_len.isqrt();
        match Self::infer(vocab_size, seq_len) {
            Self::Other if vocab_size == maze::VOCAB_SIZE && side * side == seq_len => Self::Maze {
                height: side,
                width: side,
            },
            task => task,
        }
    }

    /// The task in a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sudoku(_) => "sudoku",
            Self::Maze { .. } => "maze",
            Self::Arc => "arc",
            Self::Other => "other",
        }
    }

    /// Vocabulary and sequence length that the task implies; `None` for [`Task::Other`].
    pub fn sizes(&self) -> Option<(usize, usize)> {
        match self {
            Self::Sudoku(size) => Some((size.vocab_size(), size.num_cells())),
            Self::Maze { height, width } => Some((6, height.checked_mul(*width)?)),
            Self::Arc => Some((12, 900)),
            Self::Other => None,
        }
    }
}

/// Sizes and special ids of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetInfo {
    /// What the tokens mean.
    pub task: Task,
    /// Cells of a puzzle, S.
    pub seq_len: usize,
    /// Number of tokens, V, at most 255.
    pub vocab_size: usize,
    /// Rows of the puzzle table, with the blank one.
    pub num_puzzle_ids: usize,
    /// Token that fills what is no cell of the puzzle.
    pub pad_id: u8,
    /// Label that files use for cells outside the loss; in memory it is [`IGNORED`](crate::IGNORED).
    pub ignore_label_id: Option<i64>,
    /// Puzzle id of puzzles without identity.
    pub blank_puzzle_id: u32,
}

impl SetInfo {
    /// Sudokus of one size, without puzzle ids.
    pub fn sudoku(size: SudokuSize) -> Self {
        Self::plain(Task::Sudoku(size), size.num_cells(), size.vocab_size())
    }

    /// Mazes of one size, without puzzle ids.
    pub fn maze(height: usize, width: usize) -> Self {
        let cells = height.saturating_mul(width);
        Self::plain(Task::Maze { height, width }, cells, 6)
    }

    /// ARC with `num_puzzle_ids` identifiers, the blank one counted.
    pub fn arc(num_puzzle_ids: usize) -> Self {
        Self {
            num_puzzle_ids,
            ..Self::plain(Task::Arc, 900, 12)
        }
    }

    /// Puzzles of one's own, without puzzle ids, whose cells all count: token 0 fills what is no cell of a puzzle, and may be one.
    pub fn other(seq_len: usize, vocab_size: usize) -> Self {
        Self {
            ignore_label_id: None,
            ..Self::plain(Task::Other, seq_len, vocab_size)
        }
    }

    fn plain(task: Task, seq_len: usize, vocab_size: usize) -> Self {
        Self {
            task,
            seq_len,
            vocab_size,
            num_puzzle_ids: 1,
            pad_id: 0,
            ignore_label_id: Some(0),
            blank_puzzle_id: 0,
        }
    }

    /// Whether the fields agree with each other.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] names the first field that does not.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.seq_len == 0 {
            return Err(DataError::mismatch("seq_len", "at least 1", 0));
        }
        if !(1..=255).contains(&self.vocab_size) {
            return Err(DataError::mismatch(
                "vocab_size",
                "1 to 255",
                self.vocab_size,
            ));
        }
        if usize::from(self.pad_id) >= self.vocab_size {
            let expected = format!("below vocab_size {}", self.vocab_size);
            return Err(DataError::mismatch("pad_id", expected, self.pad_id));
        }
        if self.blank_puzzle_id as usize >= self.num_puzzle_ids {
            let expected = format!("below num_puzzle_identifiers {}", self.num_puzzle_ids);
            let found = self.blank_puzzle_id;
            return Err(DataError::mismatch("blank_identifier_id", expected, found));
        }
        if u32::try_from(self.num_puzzle_ids).is_err() {
            let found = self.num_puzzle_ids;
            return Err(DataError::mismatch(
                "num_puzzle_identifiers",
                "below 2^32",
                found,
            ));
        }
        if let Task::Maze { height, width } = self.task
            && crate::maze::check_sides(height, width).is_err()
        {
            return Err(DataError::mismatch(
                "rows and columns of a maze",
                "1 to 255 of both",
                format!("{height} and {width}"),
            ));
        }
        if let Some((vocab_size, seq_len)) = self.task.sizes()
            && (vocab_size, seq_len) != (self.vocab_size, self.seq_len)
        {
            return Err(DataError::mismatch(
                format!("vocab_size and seq_len of {:?}", self.task),
                format!("{vocab_size} and {seq_len}"),
                format!("{} and {}", self.vocab_size, self.seq_len),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mazes_that_the_search_cannot_measure_are_refused() {
        SetInfo::maze(255, 255).validate().unwrap();
        for (height, width) in [(1, 65_536), (256, 1), (usize::MAX, 2)] {
            let error = SetInfo::maze(height, width).validate().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "rows and columns of a maze: expected 1 to 255 of both, found {height} and {width}"
                )
            );
        }
        assert!(SetInfo::maze(0, 9).validate().is_err());
    }
}
