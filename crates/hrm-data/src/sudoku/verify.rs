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

impl std::error::Error for Breach {}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_named_when_broken() {
        let board = |text: &str| Board::parse_sized(SudokuSize::Four, text).unwrap();
        let question = board("1... .... .... ...1");
        let breach = |answer: &str| verify(&question, &board(answer)).unwrap_err().to_string();
        assert_eq!(verify(&question, &board("1234 3412 2143 4321")), Ok(()));
        assert_eq!(breach("1234 3412 2143 432."), "row 4 column 4 is blank");
        assert_eq!(
            breach("2134 3412 1243 4321"),
            "row 1 column 1 is given as 1, answered as 2"
        );
        assert_eq!(
            breach("1233 3412 2143 4321"),
            "two 3s in row 1: row 1 column 3 and row 1 column 4"
        );
        assert_eq!(
            breach("1234 3412 2143 3421"),
            "two 3s in column 1: row 2 column 1 and row 4 column 1"
        );
        assert_eq!(
            breach("1234 2143 3412 4321"),
            "two 2s in box 1: row 1 column 2 and row 2 column 1"
        );
        let six = Board::blank(SudokuSize::Six);
        assert_eq!(
            verify(&question, &six).unwrap_err().to_string(),
            "the question is 4x4, the answer 6x6"
        );
    }
}
