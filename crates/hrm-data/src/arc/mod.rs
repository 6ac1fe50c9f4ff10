//! ARC: tasks of a few demonstrations each, whose rule is to be applied to a test.

mod augment;
pub(crate) mod canvas;
mod grid;
mod names;

pub use augment::{ArcAugmentation, NameStyle};
pub use canvas::{CELLS, COLOUR, END, PAD, VOCAB_SIZE, crop, draw};
pub use grid::{ArcTask, COLOURS, Grid, MAX_SIDE, Pair};
pub use names::{ArcNames, BLANK};
