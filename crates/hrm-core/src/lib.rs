//! The model of the Hierarchical Reasoning Model (HRM, [arXiv 2506.21734](https://arxiv.org/abs/2506.21734)) and its
//! successor TRM ([arXiv 2510.04871](https://arxiv.org/abs/2510.04871)) on Burn: layers, recurrence, weights.
//!
//! A small network at two time scales thinks in *segments*: a fast state z_L is updated several times for each update of a
//! slow state z_H, which the answer is read off. [`HrmConfig`] says which of the family a model is, [`Hrm`] computes it.
//! Pure tensor functions: nothing here touches clocks, threads, files or the host's copy of a tensor.
//!
//! ```
//! use burn::tensor::{Device, Int, Tensor};
//! use hrm_core::{Hrm, HrmConfig, Sizes};
//!
//! # fn main() -> Result<(), hrm_core::ConfigError> {
//! let device = Device::flex();
//! let sizes = Sizes { seq_len: 16, vocab_size: 6, num_puzzle_ids: 1 };
//! let config = HrmConfig { hidden_size: 32, num_heads: 2, ..HrmConfig::trm(sizes) };
//! let model = Hrm::new(&config, 1, &device)?;
//! let inputs = Tensor::<2, Int>::ones([3, 16], &device);
//! let ids = Tensor::<1, Int>::zeros([3], &device);
//! let x = model.embed(inputs, model.puzzle_rows(ids));
//! let (_state, output) = model.segment(model.initial_state(), x);
//! assert_eq!(output.logits.dims(), [3, 16, 6]);
//! # Ok(())
//! # }
//! ```
//!
//! Features: `flex` uses fused kernels on Burn's CPU backend of that name; `store` reads and writes checkpoints.

#![warn(missing_docs)]

pub mod block;
mod config;
mod error;
mod flops;
mod init;
mod model;
pub mod ops;
mod puzzle_ids;
#[cfg(feature = "store")]
pub mod store;
mod weights;

pub use config::{
    ComputeType, GradientSpan, HaltHead, HrmConfig, Levels, MixerKind, PositionKind,
    PuzzleEmbeddingConfig, Sizes,
};
pub use error::{ConfigError, PuzzleIdsError};
pub use flops::Flops;
pub use init::{TRUNCATED_STD, truncated_normal};
pub use model::{Hrm, LatentState, SegmentOutput};
pub use puzzle_ids::PuzzleIds;
pub use weights::{Weight, WeightRole};
