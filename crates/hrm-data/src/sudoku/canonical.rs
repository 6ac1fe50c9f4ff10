//! A canonical form: two puzzles have the same if and only if one becomes the other by relabelling and the
//! symmetries of [`Symmetry`](super::Symmetry).
//!
//! Of all boards that the answer can become, the form takes the least in reading order, and of the ways that
//! lead there the one with the least question. The first row of the least board is 1, 2, 3 and so on, whichever
//! row is put there; the columns are put in order one by one while reading the second row, which leaves few ways;
//! all other rows are then put in order by their first cell.

use super::verify::verify;
use super::{Board, SudokuSize};
use crate::DataError;

/// The canonical form of a puzzle; usable as a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Canonical {
    question: Board,
    answer: Board,
}

impl Canonical {
    /// Canonical form of a question with its answer.
    ///
    /// A question with several solutions has a form for each class of them.
    ///
    /// # Errors
    /// [`DataError::SudokuAnswer`] if the answer does not answer the question.
    pub fn of(question: &Board, answer: &Board) -> Result<Self, DataError> {
        verify(question, answer).map_err(|breach| DataError::SudokuAnswer {
            breach: breach.to_string(),
        })?;
        let size = question.size();
        let mut least = Least::new(size);
        least.search(question.cells(), answer.cells());
        if size.can_transpose() {
            least.search(&transposed(question), &transposed(answer));
        }
        Ok(Self {
            question: Board::from_cells(size, &least.question)?,
            answer: Board::from_cells(size, &least.answer)?,
        })
    }

    /// The question in canonical form.
    pub fn question(&self) -> &Board {
        &self.question
    }

    /// The answer in canonical form.
    pub fn answer(&self) -> &Board {
        &self.answer
    }
}

fn transposed(board: &Board) -> Vec<u8> {
    let side = board.size().side();
    let cell = |at: usize| board.cells()[at % side * side + at / side];
    (0..side * side).map(cell).collect()
}

/// The least boards found so far.
struct Least {
    size: SudokuSize,
    /// Empty before the first.
    answer: Vec<u8>,
    question: Vec<u8>,
    /// Second row of the least board: label minus one; all larger than any label before the first.
    second: [u8; 16],
}

/// A way to read the board, half made: which old column stands where, and so how digits are labelled.
#[derive(Clone, Copy)]
struct Way {
    /// Old column at each new one.
    columns: [u8; 16],
    /// Label minus one of each digit minus one; `NONE` before its column is put in order.
    labels: [u8; 16],
    /// Labels minus one of the second row as far as it was read.
    second: [u8; 16],
    /// Old stack at each new one.
    stacks: [u8; 4],
    /// New stack of each old one; `NONE` before it is put in order.
    stack_at: [u8; 4],
    /// Stacks put in order.
    num_stacks: u8,
    /// Columns put in order in each new stack.
    filled: [u8; 4],
}

const NONE: u8 = u8::MAX;

impl Least {
    fn new(size: SudokuSize) -> Self {
        Self {
            size,
            answer: Vec::new(),
            question: Vec::new(),
            second: [NONE; 16],
        }
    }

    /// Tries every row as the first, with every other of its band as the second.
    fn search(&mut self, question: &[u8], answer: &[u8]) {
        let (side, height) = (self.size.side(), self.size.box_rows());
        for first in 0..side {
            // Old column of each digit minus one in the first row.
            let mut column_of = [0; 16];
            for column in 0..side {
                column_of[usize::from(answer[first * side + column]) - 1] = column as u8;
            }
            let band = first / height * height;
            for second in (band..band + height).filter(|&row| row != first) {
                let search = Rows {
                    question,
                    answer,
                    first,
                    second,
                    column_of,
                };
                let way = Way {
                    columns: [NONE; 16],
                    second: [NONE; 16],
                    labels: [NONE; 16],
                    stacks: [NONE; 4],
                    stack_at: [NONE; 4],
                    num_stacks: 0,
                    filled: [0; 4],
                };
                self.read_second(&search, way, 0);
            }
        }
    }

    /// Reads the second row from new column `at` on.
    fn read_second(&mut self, rows: &Rows<'_>, way: Way, at: usize) {
        let (side, width) = (self.size.side(), self.size.box_columns());
        if at == side {
            self.read_rest(rows, &way);
            return;
        }
        let (stack, within) = (at / width, (at % width) as u8);
        // The column here may have been put in order by its digit of the first row.
        if stack >= usize::from(way.num_stacks) {
            for old in (0..side / width).filter(|&old| way.stack_at[old] == NONE) {
                let mut way = way;
                way.place_stack(old);
                self.read_second(rows, way, at);
            }
        } else if within >= way.filled[stack] {
            let old = usize::from(way.stacks[stack]) * width;
            let taken = |column: &usize| {
                let placed = &way.columns[stack * width..][..usize::from(way.filled[stack])];
                placed.contains(&(*column as u8))
            };
            for column in (old..old + width).filter(|column| !taken(column)) {
                let mut way = way;
                way.place_column(rows, side, width, column);
                self.read_second(rows, way, at);
            }
        } else {
            let column = usize::from(way.columns[at]);
            let digit = usize::from(rows.answer[rows.second * side + column]) - 1;
            let mut way = way;
            if way.labels[digit] == NONE {
                // The digit gets the least label that its column of the first row can have.
                let old = usize::from(rows.column_of[digit]);
                if way.stack_at[old / width] == NONE {
                    way.place_stack(old / width);
                }
                way.place_column(rows, side, width, old);
            }
            way.second[at] = way.labels[digit];
            // What was found meanwhile counts, so the row is compared from its start.
            if way.second[..=at] <= self.second[..=at] {
                self.read_second(rows, way, at + 1);
            }
        }
    }

    /// Puts the other rows in order and compares the whole board.
    fn read_rest(&mut self, rows: &Rows<'_>, way: &Way) {
        let (side, height) = (self.size.side(), self.size.box_rows());
        let first_column = usize::from(way.columns[0]);
        let first_label = |row: u8| {
            let digit = rows.answer[usize::from(row) * side + first_column];
            way.labels[usize::from(digit) - 1]
        };
        // Bands by the least first label of their rows, rows by their first label; the first two rows are chosen.
        let mut order: [u8; 16] = std::array::from_fn(|row| row as u8);
        let order = &mut order[..side];
        let mut bands: [(u8, u8); 8] = [(NONE, NONE); 8];
        for (band, band_rows) in order.chunks_exact_mut(height).enumerate() {
            let key = |row: &u8| match usize::from(*row) {
                row if row == rows.first => (0, 0),
                row if row == rows.second => (1, 0),
                _ => (2, first_label(*row)),
            };
            band_rows.sort_unstable_by_key(key);
            let (chosen, label) = key(&band_rows[0]);
            bands[band] = (if chosen == 0 { 0 } else { label + 1 }, band as u8);
        }
        bands[..side / height].sort_unstable();
        let mut new_rows = [0; 16];
        for (to, &(_, band)) in new_rows
            .chunks_exact_mut(height)
            .zip(&bands[..side / height])
        {
            to.copy_from_slice(&order[usize::from(band) * height..][..height]);
        }
        let cell = |cells: &[u8], at: usize| {
            let (row, column) = (new_rows[at / side], way.columns[at % side]);
            match cells[usize::from(row) * side + usize::from(column)] {
                0 => 0,
                digit => way.labels[usize::from(digit) - 1] + 1,
            }
        };
        let read = |cells: &[u8]| {
            (0..side * side)
                .map(|at| cell(cells, at))
                .collect::<Vec<u8>>()
        };
        let ordering = match way.second.cmp(&self.second) {
            std::cmp::Ordering::Equal if !self.answer.is_empty() => {
                let new = (2 * side..side * side).map(|at| cell(rows.answer, at));
                new.cmp(self.answer[2 * side..].iter().copied())
            }
            decided => decided,
        };
        match ordering {
            std::cmp::Ordering::Less => {
                self.answer = read(rows.answer);
                self.question = read(rows.question);
                self.second = way.second;
            }
            std::cmp::Ordering::Equal => {
                let question = read(rows.question);
                if question < self.question {
                    self.question = question;
                }
            }
            std::cmp::Ordering::Greater => {}
        }
    }
}

/// The board with a choice of its first two rows.
struct Rows<'a> {
    question: &'a [u8],
    answer: &'a [u8],
    first: usize,
    second: usize,
    /// Column of each digit minus one in the first row.
    column_of: [u8; 16],
}

impl Way {
    /// Puts an old stack next.
    fn place_stack(&mut self, old: usize) {
        self.stacks[usize::from(self.num_stacks)] = old as u8;
        self.stack_at[old] = self.num_stacks;
        self.num_stacks += 1;
    }

    /// Puts an old column next in its stack, which labels its digit of the first row.
    fn place_column(&mut self, rows: &Rows<'_>, side: usize, width: usize, column: usize) {
        let stack = usize::from(self.stack_at[column / width]);
        let at = stack * width + usize::from(self.filled[stack]);
        self.columns[at] = column as u8;
        self.filled[stack] += 1;
        let digit = usize::from(rows.answer[rows.first * side + column]) - 1;
        self.labels[digit] = at as u8;
    }
}
