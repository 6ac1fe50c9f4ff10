//! Solving, counting solutions and counting guesses.
//!
//! 9x9 boards are searched by [`nine`], whose state is one bit per digit and cell; the other sizes by
//! [`any`], whose state is a set of digits per cell.

pub(super) mod any;
mod nine;

use super::{Board, SudokuSize};

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Solutions found, at most the limit.
    pub solutions: u64,
    /// The first of them.
    pub first: Option<Board>,
    /// How often the search had to try a digit without a proof: 0 for a puzzle that singles and locked
    /// candidates solve. Another solver's count (the `rating` of the published files) differs.
    pub guesses: u64,
    /// Whether the search ended by itself or at the limit, not for want of guesses.
    pub complete: bool,
}

impl Search {
    /// Whether the board was shown to have one solution; needs a limit of at least 2.
    pub fn is_unique(&self) -> bool {
        self.complete && self.solutions == 1
    }
}

/// Searches for solutions of Sudokus.
///
/// ```
/// use hrm_data::sudoku::{Board, Solver};
/// let board = Board::parse("1... ..3. .... ...2")?;
/// let search = Solver::new(2).solve(&board);
/// assert_eq!(search.solutions, 2);
/// # Ok::<(), hrm_data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solver {
    limit: u64,
    max_guesses: u64,
}

impl Solver {
    /// A search that ends with the `limit`-th solution: 1 to solve, 2 to prove uniqueness.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            max_guesses: u64::MAX,
        }
    }

    /// Gives up after so many guesses.
    pub fn with_max_guesses(mut self, max_guesses: u64) -> Self {
        self.max_guesses = max_guesses;
        self
    }

    /// Searches a board. Equal givens in a unit make for no solution.
    pub fn solve(&self, board: &Board) -> Search {
        let mut tally = Tally::new(self.limit, self.max_guesses);
        if self.limit > 0 {
            search(board, None, &mut tally);
        }
        tally.finish(board.size())
    }
}

/// Whether a board has a solution with another digit than `digit` in `cell`, which is blank on it. `true`
/// also where `max_guesses` do not decide.
pub(super) fn has_other(board: &Board, cell: usize, digit: u8, max_guesses: u64) -> bool {
    let mut tally = Tally::new(1, max_guesses);
    search(board, Some((cell, digit)), &mut tally);
    tally.solutions > 0 || tally.exhausted
}

/// Searches for all solutions but those with a certain digit in a cell.
fn search(board: &Board, without: Option<(usize, u8)>, tally: &mut Tally) {
    match board.size() {
        SudokuSize::Nine => nine::search(board.cells(), without, tally),
        size => any::search(size, board.cells(), without, tally),
    }
}

/// What a running search has counted.
#[derive(Debug)]
struct Tally {
    limit: u64,
    max_guesses: u64,
    solutions: u64,
    guesses: u64,
    first: Vec<u8>,
    exhausted: bool,
}

impl Tally {
    fn new(limit: u64, max_guesses: u64) -> Self {
        Self {
            limit,
            max_guesses,
            solutions: 0,
            guesses: 0,
            first: Vec::new(),
            exhausted: false,
        }
    }

    /// Notes a solution; `true` if the search shall end.
    fn found(&mut self, cells: impl FnOnce() -> Vec<u8>) -> bool {
        if self.solutions == 0 {
            self.first = cells();
        }
        self.solutions += 1;
        self.solutions >= self.limit
    }

    /// Notes a guess; `true` if there may be no more.
    fn guess(&mut self) -> bool {
        self.exhausted = self.guesses >= self.max_guesses;
        self.guesses += u64::from(!self.exhausted);
        self.exhausted
    }

    fn finish(self, size: SudokuSize) -> Search {
        Search {
            solutions: self.solutions,
            first: Board::from_cells(size, &self.first).ok(),
            guesses: self.guesses,
            complete: !self.exhausted,
        }
    }
}
