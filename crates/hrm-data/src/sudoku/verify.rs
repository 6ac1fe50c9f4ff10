//! Says whether an answer answers a Sudoku, and if not, which rule it breaks.

use super::board::{Unit, conflict, symbol};
use super::{Board, SudokuSize};
use std::fmt;

/// The first rule that an answer breaks. Cells are (row, column) counted from 0; they are written counted
/// from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The answer is of another size than the question.
    Size {
        /// Size of the question.
        question: SudokuSize,
        /// Size of the answer.
        answer: SudokuSize,
    },
    /// A cell is not filled.
    Blank {
        /// The cell.
        cell: (usize, usize),
    },
    /// A given was changed.
    Given {
        /// The cell.
        cell: (usize, usize),
        /// The digit of the question.
        given: u8,
        /// The digit of the answer.
        found: u8,
    },
    /// A digit stands twice in a row, column or box.
    Repeated {
        /// The row, column or box.
        unit: Unit,
        /// The digit.
        digit: u8,
        /// The first cell.
        first: (usize, usize),
        /// The second cell.
        second: (usize, usize),
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place =
            |(row, column): (usize, usize)| format!("row {} column {}", row + 1, column + 1);
        match *self {
            Self::Size { question, answer } => {
                write!(f, "the question is {question}, the answer {answer}")
            }
            Self::Blank { cell } => write!(f, "{} is blank", place(cell)),
            Self::Given { cell, given, found } => write!(
                f,
                "{} is given as {}, answered as {}",
                place(cell),
                symbol(given),
                symbol(found)
            ),
            Self::Repeated {
                unit,
                digit,
                first,
                second,
            } => write!(
                f,
                "two {}s in {unit}: {} and {}",
                symbol(digit),
                place(first),
                place(second)
            ),
        }
    }
}

/// Checks an answer: size, blanks, givens, then rows, columns and boxes.
///
/// # Errors
/// The first [`Breach`] in that order.
pub fn verify(question: &Board, answer: &Board) -> Result<(), Breach> {
    let (size, answer_size) = (question.size(), answer.size());
    if size != answer_size {
        return Err(Breach::Size {
            question: size,
            answer: answer_size,
        });
    }
    let place = |cell: usize| (cell / size.side(), cell % size.side());
    if let Some(cell) = answer.cells().iter().position(|&c| c == 0) {
        return Err(Breach::Blank { cell: place(cell) });
    }
    let changed = |(given, found): (&u8, &u8)| *given != 0 && given != found;
    if let Some(cell) = question
        .cells()
        .iter()
        .zip(answer.cells())
        .position(changed)
    {
        return Err(Breach::Given {
            cell: place(cell),
            given: question.cells()[cell],
            found: answer.cells()[cell],
        });
    }
    match conflict(answer) {
        None => Ok(()),
        Some((unit, first, second)) => Err(Breach::Repeated {
            unit,
            digit: answer.cells()[first],
            first: place(first),
            second: place(second),
        }),
    }
}
