//! What there is to say about mazes.

use super::{Distribution, Key, key};
use crate::Example;
use crate::maze::{Maze, Verdict};
use serde::{Deserialize, Serialize};

/// Wrong answers that are named.
const NAMED: usize = 5;

/// Mazes of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MazeReport {
    /// Cells on a shortest path, start and goal counted.
    pub path_cells: Option<Distribution>,
    /// Walls.
    pub walls: Option<Distribution>,
    /// Answers that are the published label of their question, by breadth-first search.
    pub exact: usize,
    /// Answers that are another shortest path.
    pub optimal: usize,
    /// Answers that are a longer path.
    pub valid: usize,
    /// Answers that are no path, and questions that are no maze.
    pub invalid: usize,
    /// The first of these: example and what is wrong.
    pub wrong: Vec<(usize, String)>,
}

/// A report in the making.
#[derive(Debug, Default)]
pub(super) struct Count {
    path_cells: Vec<u64>,
    walls: Vec<u64>,
    exact: usize,
    optimal: usize,
    valid: usize,
    invalid: usize,
    wrong: Vec<(usize, String)>,
}

impl Count {
    /// Counts the example at `index`; its key, if it is a maze. Mazes are compared by their question.
    pub(super) fn add(
        &mut self,
        index: usize,
        [height, width]: [usize; 2],
        example: &Example<'_>,
    ) -> Option<Key> {
        let maze = match Maze::from_tokens(example.inputs.to_vec(), height, width) {
            Ok(maze) => maze,
            Err(error) => {
                self.note(index, format!("question: {error}"));
                return None;
            }
        };
        self.walls.push(maze.walls() as u64);
        self.path_cells
            .extend(maze.path_cells().map(|cells| cells as u64));
        match maze.verify(&example.labels) {
            // There is no answer.
            _ if !example.is_labelled() => {}
            Verdict::Exact => self.exact += 1,
            Verdict::Optimal => self.optimal += 1,
            Verdict::Valid => self.valid += 1,
            Verdict::Invalid(flaw) => self.note(index, flaw.to_string()),
        }
        let form = maze.canonical();
        Some(key(
            "maze",
            &[&[form.height() as u8, form.width() as u8], form.cells()],
        ))
    }

    fn note(&mut self, index: usize, what: String) {
        self.invalid += 1;
        if self.wrong.len() < NAMED {
            self.wrong.push((index, what));
        }
    }

    /// With the counts of examples that come later.
    pub(super) fn and(mut self, later: Self) -> Self {
        self.path_cells.extend(later.path_cells);
        self.walls.extend(later.walls);
        self.exact += later.exact;
        self.optimal += later.optimal;
        self.valid += later.valid;
        self.invalid += later.invalid;
        self.wrong.extend(later.wrong);
        self.wrong.truncate(NAMED);
        self
    }

    pub(super) fn finish(self) -> MazeReport {
        MazeReport {
            path_cells: Distribution::of(self.path_cells),
            walls: Distribution::of(self.walls),
            exact: self.exact,
            optimal: self.optimal,
            valid: self.valid,
            invalid: self.invalid,
            wrong: self.wrong,
        }
    }
}
