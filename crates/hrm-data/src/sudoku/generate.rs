//! Makes Sudokus with one solution: a random solved board, then givens taken away in random order as long as
//! the solution stays the only one.

use super::canonical::Canonical;
use super::solve::{any::random_solution, has_other};
use super::{Board, Puzzle, Solver, SudokuSize};
use crate::DataError;
use crate::draws::{Draws, Stream};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use std::collections::HashSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Boards that are tried for a puzzle before the generator gives up.
const MAX_TRIES: u64 = 20_000;
/// Guesses after which a given of a 16x16 board is kept, its need undecided.
const MAX_GUESSES: u64 = 2_000;

/// What puzzles to make.
///
/// ```
/// use hrm_data::sudoku::{Generator, SudokuSize};
/// let puzzles = Generator::new(SudokuSize::Six).with_clues(20..=20).puzzles(3, 1)?;
/// assert!(puzzles.iter().all(|puzzle| puzzle.question.clues() == 20));
/// # Ok::<(), hrm_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generator {
    /// Side of the boards.
    pub size: SudokuSize,
    /// Accepted number of givens. A puzzle that is not minimal has a number drawn evenly from this range.
    pub clues: RangeInclusive<usize>,
    /// Whether no given may be superfluous. (At 16x16 a given stays where its need is too hard to decide.)
    pub minimal: bool,
    /// Accepted guesses of [`Solver`] until the first solution.
    pub guesses: RangeInclusive<u64>,
}

impl Generator {
    /// Minimal puzzles of any number of givens and guesses.
    pub fn new(size: SudokuSize) -> Self {
        Self {
            size,
            clues: 0..=size.num_cells(),
            minimal: true,
            guesses: 0..=u64::MAX,
        }
    }

    /// Puzzles with a number of givens drawn evenly from `clues`, not minimal.
    #[must_use]
    pub fn with_clues(mut self, clues: RangeInclusive<usize>) -> Self {
        self.clues = clues;
        self.minimal = false;
        self
    }

    /// Whether no given may be superfluous.
    #[must_use]
    pub fn with_minimal(mut self, minimal: bool) -> Self {
        self.minimal = minimal;
        self
    }

    /// Puzzles that take [`Solver`] so many guesses.
    #[must_use]
    pub fn with_guesses(mut self, guesses: RangeInclusive<u64>) -> Self {
        self.guesses = guesses;
        self
    }

    /// Makes a puzzle. Its `rating` is the guesses of [`Solver`].
    ///
    /// # Errors
    /// [`DataError::NotFound`] if many boards gave none as wished; [`DataError::Mismatch`] if the range of
    /// givens is empty or lies above the number of cells.
    pub fn generate(&self, rng: &mut impl Rng) -> Result<Puzzle, DataError> {
        let cells = self.size.num_cells();
        if self.clues.is_empty() || *self.clues.start() > cells {
            let expected = format!("a range within 0 to {cells}");
            return Err(DataError::mismatch(
                "clues",
                expected,
                range_text(&self.clues),
            ));
        }
        if self.guesses.is_empty() {
            let found = range_text(&self.guesses);
            return Err(DataError::mismatch(
                "guesses",
                "a range that is not empty",
                found,
            ));
        }
        for _ in 0..MAX_TRIES {
            if let Some(puzzle) = self.attempt(rng) {
                return Ok(puzzle);
            }
        }
        Err(DataError::NotFound {
            what: "Sudoku",
            tries: MAX_TRIES,
            wish: self.wish(),
        })
    }

    /// Makes `count` puzzles, no two equal under relabelling and symmetry. Puzzle n depends on the seed, n
    /// and the puzzles before it.
    ///
    /// # Errors
    /// As [`Generator::generate`]; [`DataError::NotFound`] also if there seem to be no more different ones.
    pub fn puzzles(&self, count: usize, seed: u64) -> Result<Vec<Puzzle>, DataError> {
        let draws = Draws::new(seed);
        let mut seen = HashSet::new();
        let mut puzzles = Vec::new();
        let (mut draw, mut repeats) = (0, 0);
        while puzzles.len() < count {
            let puzzle = self
                .generate(&mut draws.at(Stream::Puzzle, draw))
                .map_err(|error| made_so_far(error, puzzles.len(), count))?;
            draw += 1;
            if seen.insert(Canonical::of(&puzzle.question, &puzzle.answer)?) {
                puzzles.push(puzzle);
                repeats = 0;
            } else {
                repeats += 1;
                if repeats >= MAX_TRIES {
                    return Err(DataError::NotFound {
                        what: "new Sudoku",
                        tries: repeats,
                        wish: format!(
                            "{count} different puzzles, made {}; of more givens there are more",
                            puzzles.len()
                        ),
                    });
                }
            }
        }
        Ok(puzzles)
    }

    /// What is wished for, in words.
    fn wish(&self) -> String {
        let givens = format!("{} givens", range_text(&self.clues));
        match (*self.guesses.start(), *self.guesses.end()) {
            (0, u64::MAX) => givens,
            (fewest, u64::MAX) => format!("{givens}, {fewest} guesses or more"),
            _ => format!("{givens}, {} guesses", range_text(&self.guesses)),
        }
    }

    /// One board, one order of taking givens away; `None` if what comes out is not as wished.
    fn attempt(&self, rng: &mut impl Rng) -> Option<Puzzle> {
        let answer = Board::from_cells(self.size, &random_solution(self.size, rng)).ok()?;
        let cells = self.size.num_cells();
        let (fewest, most) = (*self.clues.start(), cells.min(*self.clues.end()));
        let goal = match self.minimal {
            true => 0,
            false => rng.random_range(fewest..=most),
        };
        let mut order: Vec<usize> = (0..cells).collect();
        order.shuffle(rng);
        let mut question = answer.clone();
        let mut clues = cells;
        for (tried, &cell) in order.iter().enumerate() {
            // What is left to try may not suffice.
            if clues <= goal || clues - (cells - tried) > most {
                break;
            }
            let digit = std::mem::take(&mut question.cells_mut()[cell]);
            if has_other(&question, cell, digit, MAX_GUESSES) {
                question.cells_mut()[cell] = digit;
            } else {
                clues -= 1;
            }
        }
        let as_wished = if self.minimal { fewest } else { goal };
        let most = if self.minimal { most } else { goal };
        if !(as_wished..=most).contains(&clues) {
            return None;
        }
        let guesses = Solver::new(1).solve(&question).guesses;
        self.guesses.contains(&guesses).then(|| Puzzle {
            source: "generated".to_owned(),
            question,
            answer,
            rating: u32::try_from(guesses).ok(),
        })
    }
}

/// An error of the generator that gave up, with how many puzzles it had made.
fn made_so_far(error: DataError, made: usize, count: usize) -> DataError {
    match error {
        DataError::NotFound { what, tries, wish } => DataError::NotFound {
            what,
            tries,
            wish: format!("{wish}, made {made} of {count}"),
        },
        other => other,
    }
}

/// `3 to 5`, or `3` alone.
fn range_text<T: PartialEq + Display>(range: &RangeInclusive<T>) -> String {
    match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{} to {}", range.start(), range.end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puzzles_have_one_solution_and_the_wished_givens() {
        for (size, clues) in [
            (SudokuSize::Four, 6..=8),
            (SudokuSize::Six, 20..=20),
            (SudokuSize::Nine, 30..=40),
            (SudokuSize::Sixteen, 150..=150),
        ] {
            let generator = Generator::new(size).with_clues(clues.clone());
            for puzzle in generator.puzzles(5, 1).unwrap() {
                assert!(clues.contains(&puzzle.question.clues()));
                puzzle.check().unwrap();
                let search = Solver::new(2).solve(&puzzle.question);
                assert!(search.is_unique());
                assert_eq!(search.first, Some(puzzle.answer));
            }
        }
    }

    /// Without any of its givens it has several solutions.
    fn assert_minimal(question: &Board) {
        for cell in 0..question.size().num_cells() {
            let mut fewer = question.clone();
            if std::mem::take(&mut fewer.cells_mut()[cell]) != 0 {
                assert_eq!(Solver::new(2).solve(&fewer).solutions, 2);
            }
        }
    }

    #[test]
    fn no_given_of_a_minimal_puzzle_is_superfluous() {
        for size in [SudokuSize::Four, SudokuSize::Six, SudokuSize::Nine] {
            for puzzle in Generator::new(size).puzzles(3, 2).unwrap() {
                assert_minimal(&puzzle.question);
            }
        }
    }

    #[test]
    fn a_number_of_givens_may_be_minimal_too() {
        let size = SudokuSize::Four;
        let wished = Generator::new(size).with_clues(5..=6).with_minimal(true);
        for puzzle in wished.puzzles(8, 2).unwrap() {
            let given = puzzle
                .question
                .cells()
                .iter()
                .filter(|&&cell| cell != 0)
                .count();
            assert!((5..=6).contains(&given), "{given}");
            assert_minimal(&puzzle.question);
        }
    }

    #[test]
    fn guesses_lie_in_the_wished_range_and_are_the_rating() {
        let generator = Generator::new(SudokuSize::Nine).with_guesses(2..=6);
        for puzzle in generator.puzzles(5, 3).unwrap() {
            let guesses = Solver::new(1).solve(&puzzle.question).guesses;
            assert!((2..=6).contains(&guesses));
            assert_eq!(puzzle.rating, Some(guesses as u32));
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_puzzles_and_more_of_them() {
        let generator = Generator::new(SudokuSize::Six).with_clues(18..=22);
        let ten = generator.puzzles(10, 4).unwrap();
        assert_eq!(generator.puzzles(12, 4).unwrap()[..10], ten);
        assert_ne!(generator.puzzles(10, 5).unwrap(), ten);
        let clues: HashSet<usize> = ten.iter().map(|puzzle| puzzle.question.clues()).collect();
        assert!(clues.len() > 1, "the number of givens is drawn");
    }

    #[test]
    fn wishes_that_cannot_be_met_are_errors() {
        let four = Generator::new(SudokuSize::Four);
        let message = |generator: Generator| generator.puzzles(1, 1).unwrap_err().to_string();
        assert_eq!(
            message(four.clone().with_clues(17..=20)),
            "clues: expected a range within 0 to 16, found 17 to 20"
        );
        assert_eq!(
            message(four.clone().with_clues(2..=3)),
            "found no Sudoku after 20000 tries; expected one within 2 to 3 givens, made 0 of 1"
        );
        assert_eq!(
            message(four.clone().with_clues(2..=2).with_guesses(5..=u64::MAX)),
            "found no Sudoku after 20000 tries; expected one within 2 givens, 5 guesses or more, made 0 of 1"
        );
        // There are two boards of side four under symmetry.
        assert_eq!(
            four.clone()
                .with_clues(16..=16)
                .puzzles(2, 1)
                .unwrap()
                .len(),
            2
        );
        assert!(
            message_of(four.with_clues(16..=16).puzzles(3, 1)).starts_with(
                "found no new Sudoku after 20000 tries; expected one within 3 different"
            )
        );
    }

    fn message_of<T: std::fmt::Debug>(result: Result<T, DataError>) -> String {
        result.unwrap_err().to_string()
    }
}
