//! Puzzles for reasoning models: Sudoku, mazes and ARC; generators, augmentation, verifiers and a seeded
//! sampler. Host arrays only.

pub mod arc;
mod augmentation;
mod batch;
pub mod dihedral;
mod draws;
mod error;
#[cfg(feature = "fs")]
mod folder;
mod hold_out;
#[cfg(feature = "hub")]
pub mod hub;
mod identifiers;
mod info;
pub mod inspect;
pub mod maze;
#[cfg(feature = "fs")]
mod npy;
#[cfg(feature = "fs")]
mod numbered;
mod sampler;
mod set;
pub mod sudoku;
mod task;
mod tokens;

pub use augmentation::Augmentation;
pub use batch::{IGNORED, PuzzleBatch};
pub use error::DataError;
#[cfg(feature = "fs")]
pub use folder::{Provenance, SourceFile};
pub use identifiers::Identifiers;
pub use info::{SetInfo, Task};
#[cfg(feature = "fs")]
pub use numbered::Quotes;
pub use sampler::{Exploration, Sampler, SamplerConfig, SamplerState};
pub use set::{Example, PuzzleSet, SetArrays};

#[cfg(all(doctest, feature = "fs"))]
#[doc = include_str!("../README.md")]
struct Readme;
