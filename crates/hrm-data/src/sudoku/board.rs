//! A Sudoku board: cells, blanks, text and tokens.

use super::SudokuSize;
use crate::DataError;
use std::fmt;

/// A board of N x N cells, row by row: 0 is blank, 1 to N are digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Board {
    size: SudokuSize,
    cells: Box<[u8]>,
}

impl Board {
    /// A board without givens.
    pub fn blank(size: SudokuSize) -> Self {
        Self {
            size,
            cells: vec![0; size.num_cells()].into(),
        }
    }

    /// A board from its cells, row by row, 0 for blank.
    ///
    /// # Errors
    /// [`DataError::SudokuCells`] on a wrong number of cells, [`DataError::SudokuSymbol`] on a value above N.
    pub fn from_cells(size: SudokuSize, cells: &[u8]) -> Result<Self, DataError> {
        if cells.len() != size.num_cells() {
            return Err(DataError::SudokuCells {
                expected: size.num_cells().to_string(),
                found: cells.len(),
            });
        }
        if let Some(at) = cells.iter().position(|&c| usize::from(c) > size.side()) {
            let found = symbol(cells[at]);
            return Err(bad_symbol(size, at, found));
        }
        Ok(Self {
            size,
            cells: cells.into(),
        })
    }

    /// A board from its tokens: 1 is blank, d + 1 is digit d.
    ///
    /// # Errors
    /// As [`Board::from_cells`]; the pad token 0 is no cell content.
    pub fn from_tokens(size: SudokuSize, tokens: &[u8]) -> Result<Self, DataError> {
        let cells: Vec<u8> = tokens.iter().map(|t| t.wrapping_sub(1)).collect();
        Self::from_cells(size, &cells)
    }

    /// Reads a board of a known size: `.` or `0` for blank, digits, at 16x16 the letters `A` to `G` for 10
    /// to 16 (either case). White space is skipped. Equal givens are not an error here, see
    /// [`Board::check`].
    ///
    /// # Errors
    /// [`DataError::SudokuCells`] on a wrong number of cells, [`DataError::SudokuSymbol`] on a character
    /// that means nothing at this size.
    pub fn parse_sized(size: SudokuSize, text: &str) -> Result<Self, DataError> {
        let symbols = || text.chars().filter(|c| !c.is_whitespace());
        // First, for the digits of a larger board mean nothing here.
        let found = symbols().count();
        if found != size.num_cells() {
            return Err(DataError::SudokuCells {
                expected: size.num_cells().to_string(),
                found,
            });
        }
        let mut cells = Vec::with_capacity(found);
        for (at, character) in symbols().enumerate() {
            match digit(character) {
                Some(d) if usize::from(d) <= size.side() => cells.push(d),
                _ => return Err(bad_symbol(size, at, character)),
            }
        }
        Ok(Self {
            size,
            cells: cells.into(),
        })
    }

    /// Reads a board whose size is told by its number of cells, and checks it: what a person types.
    ///
    /// # Errors
    /// As [`Board::parse_sized`]; [`DataError::SudokuConflict`] on two equal givens in a row, column or box.
    pub fn parse(text: &str) -> Result<Self, DataError> {
        let cells = text.chars().filter(|c| !c.is_whitespace()).count();
        let board = Self::parse_sized(SudokuSize::from_num_cells(cells)?, text)?;
        board.check()?;
        Ok(board)
    }

    /// Side and box shape.
    pub fn size(&self) -> SudokuSize {
        self.size
    }

    /// Cells row by row, 0 for blank.
    pub fn cells(&self) -> &[u8] {
        &self.cells
    }

    /// Digit at a row and column counted from 0; 0 for blank.
    ///
    /// # Panics
    /// If the cell is outside the board.
    pub fn get(&self, row: usize, column: usize) -> u8 {
        assert!(
            column < self.size.side(),
            "column {column} of a {} board",
            self.size
        );
        self.cells[row * self.size.side() + column]
    }

    /// Changes a cell; 0 blanks it.
    ///
    /// # Panics
    /// If the cell is outside the board or the digit above N.
    pub fn set(&mut self, row: usize, column: usize, digit: u8) {
        let side = self.size.side();
        assert!(column < side, "column {column} of a {} board", self.size);
        assert!(
            usize::from(digit) <= side,
            "digit {digit} on a {} board",
            self.size
        );
        self.cells[row * side + column] = digit;
    }

    pub(super) fn cells_mut(&mut self) -> &mut [u8] {
        &mut self.cells
    }

    /// Number of cells that are not blank.
    pub fn clues(&self) -> usize {
        self.cells.iter().filter(|&&c| c != 0).count()
    }

    /// Tokens of the cells, `[S]`: 1 is blank, d + 1 is digit d.
    pub fn tokens(&self) -> Vec<u8> {
        self.cells.iter().map(|c| c + 1).collect()
    }

    /// Whether every digit stands once in every row, column and box.
    pub fn is_solved(&self) -> bool {
        !self.cells.contains(&0) && self.check().is_ok()
    }

    /// Whether no digit stands twice in a row, column or box; blanks are allowed.
    ///
    /// # Errors
    /// [`DataError::SudokuConflict`] names the digit, the unit and both cells.
    pub fn check(&self) -> Result<(), DataError> {
        match conflict(self) {
            None => Ok(()),
            Some((unit, first, second)) => {
                let place = |cell: usize| {
                    let side = self.size.side();
                    (cell / side + 1, cell % side + 1)
                };
                Err(DataError::SudokuConflict {
                    digit: symbol(self.cells[first]),
                    unit: unit.to_string(),
                    first: place(first),
                    second: place(second),
                })
            }
        }
    }
}

/// The cells as one line, `.` for blank: the form of the CSV files.
impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cells.iter().try_for_each(|&c| {
            use fmt::Write;
            f.write_char(symbol(c))
        })
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Board({} {self})", self.size)
    }
}

/// A row, column or box, counted from 0; written counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A row.
    Row(usize),
    /// A column.
    Column(usize),
    /// A box, row by row.
    Box(usize),
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(n) => write!(f, "row {}", n + 1),
            Self::Column(n) => write!(f, "column {}", n + 1),
            Self::Box(n) => write!(f, "box {}", n + 1),
        }
    }
}

/// First unit with a digit twice, and the two cells.
pub(super) fn conflict(board: &Board) -> Option<(Unit, usize, usize)> {
    let size = board.size;
    let side = size.side();
    type UnitOf = fn(SudokuSize, usize, usize) -> Unit;
    let kinds: [UnitOf; 3] = [
        |_, row, _| Unit::Row(row),
        |_, _, column| Unit::Column(column),
        |size, row, column| Unit::Box(size.box_of(row, column)),
    ];
    for unit_of in kinds {
        // First cell of each (unit, digit), plus one.
        let mut seen = [[0u16; 17]; 16];
        for (cell, &digit) in board.cells.iter().enumerate().filter(|(_, d)| **d != 0) {
            let unit = unit_of(size, cell / side, cell % side);
            let (Unit::Row(n) | Unit::Column(n) | Unit::Box(n)) = unit;
            let first = &mut seen[n][usize::from(digit)];
            if *first != 0 {
                return Some((unit, usize::from(*first) - 1, cell));
            }
            *first = cell as u16 + 1;
        }
    }
    None
}

/// How a digit is written: `.`, `1` to `9`, `A` to `G`.
pub fn symbol(digit: u8) -> char {
    match digit {
        0 => '.',
        1..=9 => char::from(b'0' + digit),
        10..=35 => char::from(b'A' + digit - 10),
        _ => '?',
    }
}

/// Digit that a character means; 0 for blank.
fn digit(character: char) -> Option<u8> {
    match character {
        '.' => Some(0),
        _ => u8::try_from(character.to_digit(17)?).ok(),
    }
}

fn bad_symbol(size: SudokuSize, cell: usize, found: char) -> DataError {
    DataError::SudokuSymbol {
        row: cell / size.side() + 1,
        column: cell % size.side() + 1,
        expected: match size {
            SudokuSize::Sixteen => "., 0, 1 to 9 or A to G".to_owned(),
            _ => format!("., 0 or 1 to {}", size.side()),
        },
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Board::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn text_tokens_and_cells_say_the_same() {
        let text = "12.. .... \n ..34 0000";
        let board = Board::parse(text).unwrap();
        assert_eq!(board.to_string(), "12........34....");
        assert_eq!((board.get(2, 3), board.clues()), (4, 4));
        let tokens = board.tokens();
        assert_eq!(tokens[..4], [2, 3, 1, 1]);
        assert_eq!(
            Board::from_tokens(SudokuSize::Four, &tokens).unwrap(),
            board
        );
        assert!(Board::from_tokens(SudokuSize::Four, &[0; 16]).is_err());
    }

    #[test]
    fn letters_are_digits_of_large_boards_only() {
        let large = format!("1a{}G", ".".repeat(253));
        let board = Board::parse(&large).unwrap();
        assert_eq!(board.cells()[..2], [1, 10]);
        assert_eq!(board.to_string(), format!("1A{}G", ".".repeat(253)));
        assert_eq!(
            message(&format!("{}A", ".".repeat(80))),
            "row 9, column 9: expected ., 0 or 1 to 9, found 'A'"
        );
        assert_eq!(
            message(&format!("H{}", ".".repeat(255))),
            "row 1, column 1: expected ., 0, 1 to 9 or A to G, found 'H'"
        );
    }

    #[test]
    fn wrong_lengths_and_equal_givens_are_named() {
        assert_eq!(message("123"), "expected 16, 36, 81 or 256 cells, found 3");
        assert_eq!(
            message(&format!("5...5{}", ".".repeat(76))),
            "two 5s in row 1: row 1 column 1 and row 1 column 5; expected each digit at most once"
        );
        assert_eq!(
            message("1... .... 1... ...."),
            "two 1s in column 1: row 1 column 1 and row 3 column 1; expected each digit at most once"
        );
        // Boxes of side six have two rows and three columns.
        assert_eq!(
            message("1..... ..1... ...... ...... ...... ......"),
            "two 1s in box 1: row 1 column 1 and row 2 column 3; expected each digit at most once"
        );
        assert!(Board::parse("1..... .....1 ...... .1.... ...... ......").is_ok());
    }
}
