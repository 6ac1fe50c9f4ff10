//! The Hierarchical Reasoning Model (HRM) and its successor TRM in pure Rust on [Burn](https://burn.dev): train, evaluate and
//! solve puzzles on the CPU or a GPU.
//!
//! A model is made, trained ten steps on generated 4x4 Sudokus, and asked for the solution of another (a real training makes
//! some hundred steps; `cargo run --release --example sudoku` does one):
//!
//! ```
//! use hrm::prelude::*;
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = hrm::device::from_env()?;
//! let puzzles = sudoku::Generator::new(SudokuSize::Four).puzzles(20, 1)?;
//! let set = Arc::new(PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku)?);
//!
//! let mut config = Preset::by_name("trm-small")?.config(&set);
//! config.steps = 10;
//! config.batch_size = 8;
//! let mut trainer = Trainer::new(config, set, &device)?;
//! for report in &mut trainer {
//!     if let Some(metrics) = report?.metrics {
//!         println!("loss {:.3}", metrics.loss());
//!     }
//! }
//!
//! let board = sudoku::Board::parse("1... ..3. .... ...2")?;
//! let reasoner = Reasoner::new(&trainer.eval_model(), ReasonerConfig::default())?;
//! let answer = reasoner.solve_one(Puzzle { inputs: board.tokens(), puzzle_id: 0 })?;
//! println!("{:?}, sure to {:.2}", sudoku::Board::from_tokens(SudokuSize::Four, &answer.tokens), answer.confidence);
//! # Ok(())
//! # }
//! ```
//!
//! Presets of the published recipes and of small models are in [`PRESETS`](train::PRESETS); devices are chosen by name through
//! [`device`]; a training that writes its own folder, goes on after a crash and says how it fares is a [`Run`](train::Run).
//!
//! Tensors and devices are those of [Burn](https://burn.dev) 0.22. It is there as `hrm::burn`, so that a program needs no Burn of its
//! own, which might be another version.
//!
//! # Features
//!
//! One per backend: `flex` (the default, pure Rust on the CPU), `cuda`, `cuda-nvrtc` (kernels compiled by the toolkit's NVRTC),
//! `metal`, `rocm`, `vulkan`, `wgpu`. Several can be built in; [`device::parse`] chooses at run time. `persistence` keeps compiled
//! GPU kernels for the next process.
//!
//! `store` adds checkpoints of the reference programs (`core::store`), `draw` pictures, `hub` downloads from the Hugging Face hub
//! and of the published data sets (`data::hub`).
#![warn(missing_docs)]

pub mod bench;
pub mod conformance;
pub mod device;
#[cfg(feature = "draw")]
pub mod draw;

/// Burn 0.22, whose tensors and devices this crate takes and gives.
#[doc(no_inline)]
pub use burn;
#[doc(inline)]
pub use hrm_act as act;
#[doc(inline)]
pub use hrm_core as core;
#[doc(inline)]
pub use hrm_data as data;
#[doc(inline)]
pub use hrm_train as train;

/// What most programs need.
pub mod prelude {
    pub use burn::tensor::Device;
    pub use hrm_act::reasoner::{
        Answer, Attempts, Choice, HaltRule, MazeSymmetry, MazeVerifier, Puzzle, ReasonError,
        Reasoner, ReasonerConfig, SudokuSymmetry, SudokuVerifier, Symmetry, Verdict, Verifier,
    };
    pub use hrm_act::{ActConfig, Metrics};
    pub use hrm_core::{ComputeType, Hrm, HrmConfig, Sizes};
    pub use hrm_data::sudoku::SudokuSize;
    pub use hrm_data::{
        Augmentation, PuzzleSet, Sampler, SamplerConfig, SetInfo, Task, arc, maze, sudoku,
    };
    pub use hrm_train::{
        Checkpoint, EvalConfig, Evaluation, PRESETS, Preset, Run, RunFile, StepReport, TrainConfig,
        Trainer, WeightKind, evaluate,
    };
}

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
struct Guide;
