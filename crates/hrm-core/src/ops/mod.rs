//! The few operations that an HRM spends its time in, as functions of tensors.
//!
//! They are made of plain Burn operations, which run and differentiate on every backend.
//!
//! All take plain and autodiff tensors alike. Half-precision tensors compute norms, rotary positions,
//! softmax and losses in f32.

mod adam_atan2;
mod attention;
mod linear;
mod norm;
mod rope;
mod swiglu;
mod token_loss;

pub use adam_atan2::{AdamAtan2Hyper, adam_atan2_update};
pub use attention::attention;
pub use linear::linear;
pub use norm::{NORM_EPSILON, add_rms_norm, rms_norm};
pub use rope::RopeTable;
pub use swiglu::swiglu;
pub use token_loss::{IGNORED_LABEL, LossKind, token_cross_entropy};

/// The plain Burn implementations, for tests and benchmarks that compare the two.
pub mod composed {
    pub use super::adam_atan2::composed as adam_atan2_update;
    pub use super::attention::composed as attention;
    pub use super::linear::composed as linear;
    pub use super::norm::{composed as rms_norm, composed_add as add_rms_norm};
    pub use super::swiglu::composed as swiglu;
    pub use super::token_loss::composed as token_cross_entropy;
}
