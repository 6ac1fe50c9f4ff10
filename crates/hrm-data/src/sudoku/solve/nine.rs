//! The search on 9x9 boards.
//!
//! A state holds, for each digit, the cells where it may stand, as three bands of 27 bits (row after row).
//! Within a band a digit takes one minirow (the three cells of a row in a box) of each row and each box, so the
//! minirows that may hold it are those of the permutation matrices inside a 3x3 pattern: one table look-up
//! does all locked candidates and hidden singles of a band. The same table serves the minicolumns of a stack.

use super::Tally;

/// Bits of a row.
const ROW: u32 = 0x1ff;
/// Bits of a band.
const BAND: u32 = 0x7ff_ffff;
/// The first column of a band: times nine bits of columns it gives their cells.
const COLUMN: u32 = 1 | 1 << 9 | 1 << 18;

static TABLES: Tables = Tables::new();

/// Cells that share a row, column or box with a cell, joined.
static PEERS: [[u64; 2]; 81] = peers();

const fn peers() -> [[u64; 2]; 81] {
    let mut peers = [[0; 2]; 81];
    let mut cell = 0;
    while cell < 81 {
        let mut other = 0;
        while other < 81 {
            let (row, column) = (cell / 9, cell % 9);
            let same_row = other / 9 == row;
            let same_column = other % 9 == column;
            let same_box = other / 27 == row / 3 && other % 9 / 3 == column / 3;
            if other != cell && (same_row || same_column || same_box) {
                peers[cell][other / 54] |= 1 << (other % 54);
            }
            other += 1;
        }
        cell += 1;
    }
    peers
}

/// The three bands in two words, cells counted through: the first holds 54.
fn join([a, b, c]: [u32; 3]) -> [u64; 2] {
    [u64::from(a) | u64::from(b) << 27, u64::from(c)]
}

struct Tables {
    /// 9 bits of a row -> which of its three minirows have a bit.
    minirows: [u16; 512],
    /// 3x3 pattern -> the union of the permutation matrices inside; 0 if there is none.
    kept: [u16; 512],
    /// 3x3 pattern of minirows -> the cells of the kept ones.
    kept_cells: [u32; 512],
    /// 9 bits of a row -> the same if just one is set, else 0.
    only: [u16; 512],
}

impl Tables {
    const fn new() -> Self {
        let mut tables = Self {
            minirows: [0; 512],
            kept: [0; 512],
            kept_cells: [0; 512],
            only: [0; 512],
        };
        // Columns taken by rows 0, 1, 2 of each permutation matrix.
        let matrices: [[u16; 3]; 6] = [
            [1, 2, 4],
            [1, 4, 2],
            [2, 1, 4],
            [2, 4, 1],
            [4, 1, 2],
            [4, 2, 1],
        ];
        let mut bits = 0;
        while bits < 512 {
            let mut k = 0;
            while k < 3 {
                if bits >> (3 * k) & 7 != 0 {
                    tables.minirows[bits] |= 1 << k;
                }
                k += 1;
            }
            if bits.count_ones() == 1 {
                tables.only[bits] = bits as u16;
            }
            let mut m = 0;
            while m < 6 {
                let matrix = matrices[m][0] | matrices[m][1] << 3 | matrices[m][2] << 6;
                if matrix & bits as u16 == matrix {
                    tables.kept[bits] |= matrix;
                }
                m += 1;
            }
            let mut minirow = 0;
            while minirow < 9 {
                if tables.kept[bits] >> minirow & 1 != 0 {
                    tables.kept_cells[bits] |= 7 << (3 * minirow);
                }
                minirow += 1;
            }
            bits += 1;
        }
        tables
    }

    /// Cells of a band that locked candidates and hidden singles leave.
    #[inline(always)]
    fn lock_rows(&self, band: u32) -> u32 {
        let row = |k: u32| self.minirows[(band >> (9 * k) & ROW) as usize];
        let pattern = row(0) | row(1) << 3 | row(2) << 6;
        band & self.kept_cells[usize::from(pattern & 511)]
    }

    /// Cells of rows that have just one.
    #[inline(always)]
    fn singles(&self, band: u32) -> u32 {
        let row = |k: u32| u32::from(self.only[(band >> (9 * k) & ROW) as usize]) << (9 * k);
        row(0) | row(1) | row(2)
    }

    /// The three bands after locked candidates of all boxes, rows and columns; `None` on a contradiction.
    #[inline(always)]
    fn lock(&self, [mut a, mut b, mut c]: [u32; 3]) -> Option<[u32; 3]> {
        loop {
            a = self.lock_rows(a);
            b = self.lock_rows(b);
            c = self.lock_rows(c);
            let by_rows = [a, b, c];
            let columns = |band: u32| (band | band >> 9 | band >> 18) & ROW;
            let (in_a, in_b, in_c) = (columns(a), columns(b), columns(c));
            let (mut keep_a, mut keep_b, mut keep_c) = (0, 0, 0);
            for stack in [0, 3, 6] {
                let pattern =
                    (in_a >> stack & 7) | (in_b >> stack & 7) << 3 | (in_c >> stack & 7) << 6;
                let kept = u32::from(self.kept[pattern as usize]);
                if kept == 0 {
                    return None;
                }
                keep_a |= (kept & 7) << stack;
                keep_b |= (kept >> 3 & 7) << stack;
                keep_c |= (kept >> 6) << stack;
            }
            a &= keep_a * COLUMN;
            b &= keep_b * COLUMN;
            c &= keep_c * COLUMN;
            // What rows leave they leave again, so only new losses by columns need another round.
            if [a, b, c] == by_rows {
                return Some(by_rows);
            }
        }
    }
}

/// Per digit the bands where it may stand; the fourth lane is always 0.
#[derive(Clone, Copy)]
struct State {
    places: [[u32; 4]; 9],
    /// The places among them that are the only ones of their row.
    singles: [[u32; 4]; 9],
}

/// Cells by number of digits they may hold, for all bands.
struct Counts {
    /// At least two digits.
    two: [u32; 4],
    /// At least three digits.
    three: [u32; 4],
}

pub(super) fn search(cells: &[u8], without: Option<(usize, u8)>, tally: &mut Tally) {
    let mut state = State {
        places: [[BAND, BAND, BAND, 0]; 9],
        singles: [[0; 4]; 9],
    };
    for (cell, &digit) in cells.iter().enumerate().filter(|(_, d)| **d != 0) {
        state.restrict(usize::from(digit) - 1, cell / 27, 1 << (cell % 27));
    }
    if let Some((cell, digit)) = without {
        state.places[usize::from(digit) - 1][cell / 27] &= !(1 << (cell % 27));
    }
    state.search(0x1ff, tally);
}

impl State {
    /// Lets a digit stand in one cell only of its row.
    #[inline(always)]
    fn restrict(&mut self, digit: usize, band: usize, bit: u32) {
        let row = ROW << (bit.trailing_zeros() / 9 * 9);
        self.places[digit][band] &= !row | bit;
    }

    /// Searches on from a state in which the digits in `dirty` have changed; `true` if the search shall end.
    fn search(&mut self, dirty: u32, tally: &mut Tally) -> bool {
        let Some(counts) = self.propagate(dirty) else {
            return false;
        };
        let Some((band, bit)) = self.choose(&counts) else {
            return tally.found(|| self.cells());
        };
        // Each digit of the cell in turn is tried and then excluded; the last needs no guess, for then it
        // is the only one left.
        let mut digits = (0..9).filter(|&d| self.places[d][band] & bit != 0);
        let Some(digit) = digits.next() else {
            return false;
        };
        if tally.guess() {
            return true;
        }
        let mut guessed = *self;
        guessed.restrict(digit, band, bit);
        if guessed.search(1 << digit, tally) {
            return true;
        }
        self.places[digit][band] &= !bit;
        self.search(1 << digit, tally)
    }

    /// Draws all conclusions from locked candidates, hidden and naked singles; `None` on a contradiction.
    #[inline]
    fn propagate(&mut self, mut dirty: u32) -> Option<Counts> {
        loop {
            let mut rest = dirty;
            while rest != 0 {
                let digit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                let [a, b, c, _] = self.places[digit];
                let [a, b, c] = TABLES.lock([a, b, c])?;
                self.places[digit] = [a, b, c, 0];
                self.singles[digit] = [TABLES.singles(a), TABLES.singles(b), TABLES.singles(c), 0];
            }
            // A cell that is a digit's only place in a row holds no other digit.
            let (mut taken, mut twice) = ([0; 4], [0; 4]);
            for singles in &self.singles {
                for lane in 0..4 {
                    twice[lane] |= taken[lane] & singles[lane];
                    taken[lane] |= singles[lane];
                }
            }
            if twice != [0; 4] {
                return None;
            }
            let (mut one, mut two, mut three) = ([0; 4], [0; 4], [0; 4]);
            dirty = 0;
            for (digit, (places, singles)) in self.places.iter_mut().zip(&self.singles).enumerate()
            {
                let mut changed = 0;
                for lane in 0..4 {
                    let left = places[lane] & (!taken[lane] | singles[lane]);
                    changed |= left ^ places[lane];
                    places[lane] = left;
                    three[lane] |= two[lane] & left;
                    two[lane] |= one[lane] & left;
                    one[lane] |= left;
                }
                dirty |= u32::from(changed != 0) << digit;
            }
            if one != [BAND, BAND, BAND, 0] {
                return None;
            }
            // A cell with one digit left holds it.
            for band in 0..3 {
                let mut naked = !two[band] & !taken[band] & BAND;
                while naked != 0 {
                    let bit = naked & naked.wrapping_neg();
                    naked ^= bit;
                    if let Some(digit) = (0..9).find(|&d| self.places[d][band] & bit != 0) {
                        self.restrict(digit, band, bit);
                        dirty |= 1 << digit;
                    }
                }
            }
            if dirty == 0 {
                return Some(Counts { two, three });
            }
        }
    }

    /// The cell to guess: one with two digits where there is one, else one with few. `None` if all cells hold
    /// one digit.
    #[inline]
    fn choose(&self, counts: &Counts) -> Option<(usize, u32)> {
        let pairs: [u32; 3] = std::array::from_fn(|band| counts.two[band] & !counts.three[band]);
        // Pairs that share a digit are settled by one of the two guesses: the more of them, the better.
        let mut shared = [0u32; 81];
        for places in &self.places {
            let pairs = join(std::array::from_fn(|band| pairs[band] & places[band]));
            for (half, first) in [(0, 0), (1, 54)] {
                let mut rest = pairs[half];
                while rest != 0 {
                    let cell = first + rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    let seen = &PEERS[cell];
                    let sharing = |half: usize| (pairs[half] & seen[half]).count_ones();
                    shared[cell] += 1 + sharing(0) + sharing(1);
                }
            }
        }
        // A pair counts itself, so that any other cell has fewer.
        let most = (0..81).max_by_key(|&cell| (shared[cell], 81 - cell))?;
        if shared[most] > 0 {
            return Some((most / 27, 1 << (most % 27)));
        }
        let open = |band: usize| {
            let cells = (0..27).map(|k| 1 << k);
            cells
                .filter(move |bit| counts.two[band] & bit != 0)
                .map(move |bit| (band, bit))
        };
        (0..3).flat_map(open).min_by_key(|&(band, bit)| {
            self.places
                .iter()
                .filter(|places| places[band] & bit != 0)
                .count()
        })
    }

    fn cells(&self) -> Vec<u8> {
        let digit_at = |cell: usize| {
            let holds = |d: &usize| self.places[*d][cell / 27] >> (cell % 27) & 1 != 0;
            (0..9).find(holds).map_or(0, |d| d as u8 + 1)
        };
        (0..81).map(digit_at).collect()
    }
}
