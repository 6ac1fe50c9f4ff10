//! Looking inside: how the states move while the model thinks.
//!
//! [`record`] keeps the states of some puzzles update by update. From them, or from states recorded elsewhere, come
//! [`forward_residuals`] (how far each update moves the states), the [`participation_ratio`] (how many dimensions they
//! use), [`trajectory`] (the way of one puzzle in its principal components) and [`attention_map`] (where a cell looks).
//!
//! Nothing here is bound by the rule that nothing is read off the device: these are tools for a handful of puzzles.

mod attention;
mod recording;
mod spectrum;

pub use attention::{Network, attention_map};
pub use recording::{Recording, forward_residuals, record};
pub use spectrum::{Trajectory, participation_ratio, trajectory};
