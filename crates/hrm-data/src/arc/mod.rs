//! ARC: tasks of a few demonstrations each, whose rule is to be applied to a test.
//!
//! Tasks are read from folders or Kaggle's files, checked, and made into a training and a test set
//! ([`build_sets`]). Every task counts a thousand times, in other colours, turned and flipped
//! ([`ArcAugmentation`]); each of these puzzles has an id of its own, but only the originals are stored. The
//! answers to all of them are turned back and vote on the task's ([`Votes`]).

mod asked;
mod augment;
pub(crate) mod canvas;
#[cfg(feature = "fs")]
mod files;
mod grid;
mod identity;
mod json;
mod set;
mod vote;

pub use augment::{ArcAugmentation, NameStyle};
pub use canvas::{CELLS, COLOUR, END, PAD, VOCAB_SIZE, crop, draw};
#[cfg(feature = "fs")]
pub use files::{
    MAX_KAGGLE_FILE, read_folder, read_folders, read_kaggle, read_task, read_tasks, task_files,
};
pub use grid::{ArcTask, COLOURS, Grid, MAX_SIDE, Pair};
pub use identity::{Leak, LeakKind, find_leaks, puzzle_hash};
pub use json::{
    challenges_json, join_solutions, parse_challenges, parse_solutions, parse_task, parse_tasks,
    task_json, test_puzzles_json,
};
pub use set::{ArcSets, ArcSettings, ArcSource, TestUse, build_sets};
pub use vote::{Attempts, Candidate, PassAtK, Votes};
