//! Adaptive computation time for HRM and TRM: slots that think about a puzzle for as many segments as a q head decides.
//!
//! A [`Carry`] holds B slots. Each training step gives halted slots a new puzzle, makes one segment, decides who halts and
//! computes the losses ([`ActConfig::step`]); the optimizer step that follows is the caller's. Halting, refill and metrics are
//! masks on the device: nothing in a step is read back.
//!
//! A trained model answers puzzles through the [`Reasoner`]; [`analysis`] looks at its states while it thinks.

#![warn(missing_docs)]

mod act;
pub mod analysis;
mod batch;
mod carry;
mod loss;
mod metrics;
pub mod reasoner;

pub use act::{ActConfig, ActStep, HaltPolicy};
pub use batch::Batch;
pub use carry::Carry;
pub use hrm_core::ops::{IGNORED_LABEL, LossKind};
pub use loss::{Correctness, binary_cross_entropy};
pub use metrics::{MetricSums, Metrics};
pub use reasoner::{Answer, HaltRule, Puzzle, ReasonError, Reasoner, ReasonerConfig, Verifier};
