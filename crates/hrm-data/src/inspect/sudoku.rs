//! What there is to say about Sudokus.

use super::{Distribution, Key, key};
use crate::Example;
use crate::sudoku::{Board, Canonical, Solver, SudokuSize, verify};
use serde::{Deserialize, Serialize};

/// Guesses after which the number of solutions is left open; only 16x16 boards may need so many.
const MAX_GUESSES: u64 = 100_000;
/// Wrong answers that are named.
const NAMED: usize = 5;

/// Sudokus of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SudokuReport {
    /// Givens.
    pub clues: Option<Distribution>,
    /// Guesses of our solver until the first solution.
    pub guesses: Option<Distribution>,
    /// Answers that answer their question.
    pub right: usize,
    /// The first wrong answers: example and the rule it breaks.
    pub wrong: Vec<(usize, String)>,
    /// Questions with one solution.
    pub one_solution: usize,
    /// Questions with several.
    pub several_solutions: usize,
    /// Questions without any.
    pub no_solution: usize,
    /// Questions that were too hard to tell.
    pub undecided: usize,
}

/// A report in the making.
#[derive(Debug, Default)]
pub(super) struct Count {
    clues: Vec<u64>,
    guesses: Vec<u64>,
    right: usize,
    wrong: Vec<(usize, String)>,
    one: usize,
    several: usize,
    none: usize,
    undecided: usize,
}

fn form(question: &Board, answer: &Board) -> Option<Key> {
    let form = Canonical::of(question, answer).ok()?;
    Some(key(
        "sudoku",
        &[form.question().cells(), form.answer().cells()],
    ))
}

impl Count {
    /// Counts the example at `index`; its key, if it is a puzzle with its answer.
    pub(super) fn add(
        &mut self,
        index: usize,
        size: SudokuSize,
        example: &Example<'_>,
    ) -> Option<Key> {
        let mut note = |what: String| {
            if self.wrong.len() < NAMED {
                self.wrong.push((index, what));
            }
        };
        let question = match Board::from_tokens(size, &example.inputs) {
            Ok(question) => question,
            Err(error) => {
                note(format!("question: {error}"));
                return None;
            }
        };
        self.clues.push(question.clues() as u64);
        let solver = Solver::new(2).with_max_guesses(MAX_GUESSES);
        let search = solver.solve(&question);
        match search.solutions {
            _ if !search.complete => self.undecided += 1,
            0 => self.none += 1,
            1 => self.one += 1,
            _ => self.several += 1,
        }
        let first = Solver::new(1)
            .with_max_guesses(MAX_GUESSES)
            .solve(&question);
        self.guesses.push(first.guesses);
        if !example.is_labelled() {
            // There is no answer, but the solver's where it is the only one.
            let only = first
                .first
                .filter(|_| search.complete && search.solutions == 1)?;
            return form(&question, &only);
        }
        let answer = match Board::from_tokens(size, &example.labels) {
            Ok(answer) => answer,
            Err(error) => {
                note(format!("answer: {error}"));
                return None;
            }
        };
        match verify(&question, &answer) {
            Ok(()) => self.right += 1,
            Err(breach) => {
                note(breach.to_string());
                return None;
            }
        }
        form(&question, &answer)
    }

    /// With the counts of examples that come later.
    pub(super) fn and(mut self, later: Self) -> Self {
        self.clues.extend(later.clues);
        self.guesses.extend(later.guesses);
        self.right += later.right;
        self.wrong.extend(later.wrong);
        self.wrong.truncate(NAMED);
        self.one += later.one;
        self.several += later.several;
        self.none += later.none;
        self.undecided += later.undecided;
        self
    }

    pub(super) fn finish(self) -> SudokuReport {
        SudokuReport {
            clues: Distribution::of(self.clues),
            guesses: Distribution::of(self.guesses),
            right: self.right,
            wrong: self.wrong,
            one_solution: self.one,
            several_solutions: self.several,
            no_solution: self.none,
            undecided: self.undecided,
        }
    }
}
