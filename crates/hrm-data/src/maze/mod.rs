//! Mazes: walls and open cells on a grid, a start and a goal; the answer marks a shortest path.
//!
//! Shortest paths are many, so the label is the one that breadth-first search finds when it tries the neighbours
//! in the order down, left, right, up. Turning a maze turns that order too: augmentation therefore moves the
//! question and labels it anew ([`MazeAugmentation::Relabel`]).
//!
//! ```
//! use hrm_data::maze::{self, Maze, Verdict};
//! let maze = Maze::parse_rows("S #\n  #\n  G")?;
//! let label = maze.label().expect("a way leads to the goal");
//! assert_eq!(maze::text(&label), "S #o #ooG");
//! assert_eq!(maze.verify(&label), Verdict::Exact);
//! # Ok::<(), hrm_data::DataError>(())
//! ```

mod augment;
#[cfg(feature = "fs")]
mod csv;
mod generate;
mod grid;
mod search;
mod set;
mod verify;

pub use augment::{MazeAugmentation, MazeAugmenter};
#[cfg(feature = "fs")]
pub use csv::{read_csv, read_csv_from, write_csv, write_csv_to};
pub use generate::{MazeGenerator, MazeRecipe};
pub(crate) use grid::check_sides;
pub use grid::{
    GOAL, MAX_SIDE, Maze, MazePuzzle, OPEN, PAD, PATH, START, VOCAB_SIZE, WALL, character, text,
    token,
};
pub use search::Search;
pub use verify::{Flaw, Verdict};
