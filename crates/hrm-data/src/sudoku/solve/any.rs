//! The search on boards of any size: the digits that each cell may hold, singles, and guesses in the cell
//! with the fewest digits.

use super::Tally;
use crate::sudoku::SudokuSize;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use std::sync::LazyLock;

/// Cells of the largest board.
const MAX_CELLS: usize = 256;

/// Which cells see which.
struct Units {
    /// Rows, columns and boxes.
    units: Vec<Vec<u16>>,
    /// Cells that share a unit with a cell.
    peers: Vec<Vec<u16>>,
}

static UNITS: [LazyLock<Units>; 4] = [
    LazyLock::new(|| Units::new(SudokuSize::Four)),
    LazyLock::new(|| Units::new(SudokuSize::Six)),
    LazyLock::new(|| Units::new(SudokuSize::Nine)),
    LazyLock::new(|| Units::new(SudokuSize::Sixteen)),
];

impl Units {
    fn of(size: SudokuSize) -> &'static Self {
        &UNITS[size as usize]
    }

    fn new(size: SudokuSize) -> Self {
        let side = size.side();
        let mut units = vec![Vec::with_capacity(side); 3 * side];
        for cell in 0..size.num_cells() {
            let (row, column) = (cell / side, cell % side);
            let of_cell = [row, side + column, 2 * side + size.box_of(row, column)];
            of_cell
                .into_iter()
                .for_each(|unit| units[unit].push(cell as u16));
        }
        let peers_of = |cell: u16| {
            let containing = units.iter().filter(|unit| unit.contains(&cell));
            let mut peers: Vec<u16> = containing
                .flatten()
                .copied()
                .filter(|&c| c != cell)
                .collect();
            peers.sort_unstable();
            peers.dedup();
            peers
        };
        let peers = (0..size.num_cells() as u16).map(peers_of).collect();
        Self { units, peers }
    }
}

/// Which of the digits of a cell is tried first.
trait Order {
    fn pick(&mut self, digits: u16) -> u16;
}

struct Ascending;

impl Order for Ascending {
    fn pick(&mut self, digits: u16) -> u16 {
        digits & digits.wrapping_neg()
    }
}

struct Random<'a, R>(&'a mut R);

impl<R: Rng> Order for Random<'_, R> {
    fn pick(&mut self, mut digits: u16) -> u16 {
        for _ in 0..self.0.random_range(0..digits.count_ones()) {
            digits &= digits - 1;
        }
        digits & digits.wrapping_neg()
    }
}

#[derive(Clone, Copy)]
struct State {
    /// Bit d - 1 says that the cell may hold d.
    digits: [u16; MAX_CELLS],
    /// Whether the cell's digit was removed from its peers.
    settled: [bool; MAX_CELLS],
}

pub(super) fn search(
    size: SudokuSize,
    cells: &[u8],
    without: Option<(usize, u8)>,
    tally: &mut Tally,
) {
    let mut state = State::blank(size);
    if let Some((cell, digit)) = without {
        state.digits[cell] &= !(1 << (digit - 1));
    }
    let units = Units::of(size);
    for (cell, &digit) in cells.iter().enumerate().filter(|(_, d)| **d != 0) {
        if !state.settle(units, cell, 1 << (digit - 1)) {
            return;
        }
    }
    state.search(size, units, &mut Ascending, tally);
}

/// A random solved board: its cells.
pub(in crate::sudoku) fn random_solution(size: SudokuSize, rng: &mut impl Rng) -> Vec<u8> {
    let units = Units::of(size);
    // A search that went astray is begun anew.
    loop {
        let mut state = State::blank(size);
        let mut first_row: [u8; 16] = std::array::from_fn(|d| d as u8);
        first_row[..size.side()].shuffle(rng);
        let row_fits = first_row[..size.side()]
            .iter()
            .enumerate()
            .all(|(cell, d)| state.settle(units, cell, 1 << d));
        let mut tally = Tally::new(1, 20 * size.num_cells() as u64);
        if row_fits {
            state.search(size, units, &mut Random(rng), &mut tally);
        }
        if tally.solutions == 1 {
            return tally.first;
        }
    }
}

impl State {
    fn blank(size: SudokuSize) -> Self {
        Self {
            digits: [all_digits(size); MAX_CELLS],
            settled: [false; MAX_CELLS],
        }
    }

    /// Puts a digit into a cell and removes it from the peers, and so on with naked singles; `false` on a
    /// contradiction.
    fn settle(&mut self, units: &Units, cell: usize, digit: u16) -> bool {
        if self.digits[cell] & digit == 0 {
            return false;
        }
        self.digits[cell] = digit;
        let mut waiting = [0u16; MAX_CELLS];
        waiting[0] = cell as u16;
        let mut count = usize::from(!self.settled[cell]);
        self.settled[cell] = true;
        while count > 0 {
            count -= 1;
            let cell = usize::from(waiting[count]);
            let digit = self.digits[cell];
            for &peer in &units.peers[cell] {
                let peer = usize::from(peer);
                if self.digits[peer] & digit == 0 {
                    continue;
                }
                self.digits[peer] &= !digit;
                let left = self.digits[peer];
                if left == 0 {
                    return false;
                }
                if left & (left - 1) == 0 && !self.settled[peer] {
                    self.settled[peer] = true;
                    waiting[count] = peer as u16;
                    count += 1;
                }
            }
        }
        true
    }

    /// Settles naked and hidden singles until there are no more; `false` on a contradiction.
    fn propagate(&mut self, size: SudokuSize, units: &Units) -> bool {
        for cell in 0..size.num_cells() {
            let digits = self.digits[cell];
            if digits == 0 {
                return false;
            }
            if digits & (digits - 1) == 0
                && !self.settled[cell]
                && !self.settle(units, cell, digits)
            {
                return false;
            }
        }
        loop {
            let mut found = false;
            for unit in &units.units {
                let (mut once, mut twice, mut settled) = (0, 0, 0);
                for &cell in unit {
                    let digits = self.digits[usize::from(cell)];
                    twice |= once & digits;
                    once |= digits;
                    settled |= digits * u16::from(self.settled[usize::from(cell)]);
                }
                if once != all_digits(size) {
                    return false;
                }
                let mut hidden = once & !twice & !settled;
                while hidden != 0 {
                    let digit = hidden & hidden.wrapping_neg();
                    hidden ^= digit;
                    found = true;
                    let place = unit
                        .iter()
                        .find(|c| self.digits[usize::from(**c)] & digit != 0);
                    let fits = place.is_some_and(|&c| self.settle(units, usize::from(c), digit));
                    if !fits {
                        return false;
                    }
                }
            }
            if !found {
                return true;
            }
        }
    }

    /// Searches on; `true` if the search shall end.
    fn search(
        &mut self,
        size: SudokuSize,
        units: &Units,
        order: &mut impl Order,
        tally: &mut Tally,
    ) -> bool {
        loop {
            if !self.propagate(size, units) {
                return false;
            }
            let open = (0..size.num_cells()).filter(|&cell| !self.settled[cell]);
            let Some(cell) = open.min_by_key(|&cell| self.digits[cell].count_ones()) else {
                return tally.found(|| self.cells(size));
            };
            if tally.guess() {
                return true;
            }
            let digit = order.pick(self.digits[cell]);
            let mut guessed = *self;
            if guessed.settle(units, cell, digit) && guessed.search(size, units, order, tally) {
                return true;
            }
            self.digits[cell] &= !digit;
        }
    }

    fn cells(&self, size: SudokuSize) -> Vec<u8> {
        let digits = &self.digits[..size.num_cells()];
        digits
            .iter()
            .map(|d| d.trailing_zeros() as u8 + 1)
            .collect()
    }
}

const fn all_digits(size: SudokuSize) -> u16 {
    u16::MAX >> (16 - size.side())
}
