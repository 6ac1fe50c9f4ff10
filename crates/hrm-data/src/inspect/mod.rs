//! Looks at data: how much there is, what repeats, whether the answers are right.
//!
//! ```
//! use hrm_data::inspect::inspect_set;
//! use hrm_data::{Augmentation, PuzzleSet};
//! use hrm_data::sudoku::{Generator, SudokuSize};
//! let puzzles = Generator::new(SudokuSize::Four).puzzles(20, 1)?;
//! let set = PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::None)?;
//! let report = inspect_set("train", &set, usize::MAX).sudoku.expect("Sudokus");
//! assert_eq!((report.right, report.one_solution), (20, 20));
//! # Ok::<(), hrm_data::DataError>(())
//! ```

#[cfg(feature = "fs")]
mod files;
mod maze;
mod sudoku;

#[cfg(feature = "fs")]
pub use files::{CsvExamples, inspect_csv, inspect_folder, inspect_sets, is_split};
pub use maze::MazeReport;
pub use sudoku::SudokuReport;

use crate::{Augmentation, PuzzleSet, Task};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ops::Range;

/// What a folder or file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the tokens mean.
    pub task: Task,
    /// The splits, in the order of their names.
    pub splits: Vec<SplitReport>,
    /// Pairs of splits with puzzles in common; those without are left out.
    pub shared: Vec<Shared>,
}

/// Two splits with puzzles in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Names of the splits.
    pub splits: (String, String),
    /// Examples of the first that are also in the second.
    pub examples: usize,
}

/// What a split holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitReport {
    /// Name of the split or file.
    pub name: String,
    /// Originals with their augmentations.
    pub groups: usize,
    /// Puzzles.
    pub puzzles: usize,
    /// Examples.
    pub examples: usize,
    /// Examples per puzzle.
    pub mean_puzzle_examples: f64,
    /// Cells of a puzzle, S.
    pub seq_len: usize,
    /// Number of tokens, V.
    pub vocab_size: usize,
    /// Rows of the puzzle table.
    pub num_puzzle_ids: usize,
    /// How the sampler changes examples.
    pub augmentation: Augmentation,
    /// Examples that were looked at, the first ones; all that follows counts these.
    pub examined: usize,
    /// Examples with at least one label, that is not for testing alone.
    pub labelled: usize,
    /// How examples were compared.
    pub compared: Compared,
    /// Examples that repeat an earlier one.
    pub duplicates: usize,
    /// What a CSV file says about the hardness, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rating: Option<Distribution>,
    /// Of Sudokus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudoku: Option<SudokuReport>,
    /// Of mazes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maze: Option<MazeReport>,
}

/// How examples were compared to find duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// Under all symmetries of the task, by a canonical form.
    CanonicalForm,
    /// Token by token.
    Tokens,
}

/// Least, mean, middle and greatest of some counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// The least.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// The middle one, the lower of two.
    pub median: u64,
    /// The greatest.
    pub max: u64,
}

impl Distribution {
    /// Of these counts; `None` of no counts.
    pub fn of(counts: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut counts: Vec<u64> = counts.into_iter().collect();
        counts.sort_unstable();
        let (&min, &max) = (counts.first()?, counts.last()?);
        Some(Self {
            min,
            mean: counts.iter().map(|&count| count as f64).sum::<f64>() / counts.len() as f64,
            median: counts[(counts.len() - 1) / 2],
            max,
        })
    }
}

/// Looks at the first `limit` examples of a set.
pub fn inspect_set(name: &str, set: &PuzzleSet, limit: usize) -> SplitReport {
    examine(name, set, limit).report
}

/// A report with the keys by which examples are compared.
struct Examined {
    report: SplitReport,
    #[cfg_attr(
        not(feature = "fs"),
        allow(dead_code, reason = "compares splits of a folder")
    )]
    keys: Vec<Key>,
}

/// Digest of an example's canonical form or tokens.
type Key = [u8; 32];

fn key(about: &str, parts: &[&[u8]]) -> Key {
    let mut hash = Sha256::new();
    hash.update(about);
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// What was seen of some examples, one after the other.
#[derive(Default)]
struct Seen {
    sudoku: sudoku::Count,
    maze: maze::Count,
    keys: Vec<Key>,
    labelled: usize,
}

impl Seen {
    fn of(set: &PuzzleSet, examples: Range<usize>) -> Self {
        let mut seen = Self::default();
        for index in examples {
            let example = set.example(index);
            seen.labelled += usize::from(example.is_labelled());
            let of_task = match set.info().task {
                Task::Sudoku(size) => seen.sudoku.add(index, size, &example),
                Task::Maze { height, width } => seen.maze.add(index, [height, width], &example),
                Task::Arc | Task::Other => None,
            };
            // What is no puzzle of its task is compared as it is.
            let tokens = || key("tokens", &[&example.inputs, &example.labels]);
            seen.keys.push(of_task.unwrap_or_else(tokens));
        }
        seen
    }

    fn and(mut self, later: Self) -> Self {
        self.keys.extend(later.keys);
        Self {
            sudoku: self.sudoku.and(later.sudoku),
            maze: self.maze.and(later.maze),
            keys: self.keys,
            labelled: self.labelled + later.labelled,
        }
    }
}

/// Examples that a thread looks at before it takes the next.
const AT_ONCE: usize = 64;

fn examine(name: &str, set: &PuzzleSet, limit: usize) -> Examined {
    let info = set.info();
    let examined = set.num_examples().min(limit);
    let parts = (0..examined.div_ceil(AT_ONCE)).into_par_iter();
    let parts: Vec<Seen> = parts
        .map(|part| Seen::of(set, part * AT_ONCE..examined.min((part + 1) * AT_ONCE)))
        .collect();
    let seen = parts.into_iter().fold(Seen::default(), Seen::and);
    let Seen { keys, labelled, .. } = seen;
    let (sudoku, maze) = match info.task {
        _ if examined == 0 => (None, None),
        Task::Sudoku(_) => (Some(seen.sudoku), None),
        Task::Maze { .. } => (None, Some(seen.maze)),
        Task::Arc | Task::Other => (None, None),
    };
    let mut first = HashMap::new();
    for (index, key) in keys.iter().enumerate() {
        first.entry(*key).or_insert(index);
    }
    let report = SplitReport {
        name: name.to_owned(),
        groups: set.num_groups(),
        puzzles: set.num_puzzles(),
        examples: set.num_examples(),
        mean_puzzle_examples: set.mean_puzzle_examples(),
        seq_len: info.seq_len,
        vocab_size: info.vocab_size,
        num_puzzle_ids: info.num_puzzle_ids,
        augmentation: set.augmentation(),
        examined,
        labelled,
        compared: match info.task {
            Task::Sudoku(_) | Task::Maze { .. } => Compared::CanonicalForm,
            Task::Arc | Task::Other => Compared::Tokens,
        },
        duplicates: keys.len() - first.len(),
        rating: None,
        sudoku: sudoku.map(sudoku::Count::finish),
        maze: maze.map(maze::Count::finish),
    };
    Examined { report, keys }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SetInfo;
    use crate::maze::{MazeGenerator, MazeRecipe};
    use crate::sudoku::{Generator, SudokuSize};

    /// Examples of which some have another's answer, in more parts than one.
    fn spoilt(info: SetInfo, mut examples: Vec<(Vec<u8>, Vec<u8>)>, at: &[usize]) -> SplitReport {
        assert!(examples.len() > 2 * AT_ONCE);
        for &index in at {
            examples[index].1 = examples[index + 1].1.clone();
        }
        let (inputs, labels): (Vec<_>, Vec<_>) = examples.into_iter().unzip();
        let set = PuzzleSet::from_examples(info, inputs.concat(), labels.concat()).unwrap();
        inspect_set("made", &set, usize::MAX)
    }

    const AT: [usize; 7] = [0, 63, 64, 70, 130, 131, 140];

    #[test]
    fn the_parts_of_a_set_of_sudokus_are_one_report() {
        let puzzles = Generator::new(SudokuSize::Six).puzzles(150, 1).unwrap();
        let examples = puzzles.iter();
        let examples = examples.map(|puzzle| (puzzle.question.tokens(), puzzle.answer.tokens()));
        let info = SetInfo::sudoku(SudokuSize::Six);
        let report = spoilt(info, examples.collect(), &AT);
        let clues = Distribution::of(puzzles.iter().map(|p| p.question.clues() as u64));
        let sudoku = report.sudoku.unwrap();
        assert_eq!((report.labelled, report.duplicates), (150, 0));
        assert_eq!((sudoku.right, sudoku.one_solution), (143, 150));
        assert_eq!(sudoku.clues, clues);
        let named: Vec<usize> = sudoku.wrong.iter().map(|(index, _)| *index).collect();
        assert_eq!(named, AT[..5]);
        assert!(report.maze.is_none());
    }

    #[test]
    fn the_parts_of_a_set_of_mazes_are_one_report() {
        let mazes = MazeGenerator::new(MazeRecipe::new(6, 6, 6), 1).unwrap();
        let examples = mazes.take(150);
        let examples =
            examples.map(|puzzle| (puzzle.maze().cells().to_vec(), puzzle.answer().to_vec()));
        let report = spoilt(SetInfo::maze(6, 6), examples.collect(), &AT);
        let maze = report.maze.unwrap();
        assert_eq!((maze.exact, maze.invalid), (143, 7));
        let named: Vec<usize> = maze.wrong.iter().map(|(index, _)| *index).collect();
        assert_eq!(named, AT[..5]);
    }
}
