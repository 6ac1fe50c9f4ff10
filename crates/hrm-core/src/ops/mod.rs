//! The few operations that an HRM spends its time in, as functions of tensors.
//!
//! Each is one function with two implementations: plain Burn operations, which run and differentiate on
//! every backend, and, with the feature `flex`, a fused CPU kernel with a hand-written gradient that takes
//! over when the tensors are f32 and live on Burn's `flex` backend. The two agree to rounding.
//! `HRM_FUSED=0` in the environment turns the fused kernels off ([`fused_available`] tells).
//!
//! All take plain and autodiff tensors alike. Half-precision tensors compute norms, rotary positions,
//! softmax and losses in f32.

mod adam_atan2;
mod attention;
#[cfg(feature = "flex")]
mod fused;
mod linear;
mod norm;
mod rope;
mod swiglu;
mod token_loss;
mod transpose;

pub use adam_atan2::{AdamAtan2Hyper, adam_atan2_update};
pub use attention::attention;
pub use linear::linear;
pub use norm::{NORM_EPSILON, add_rms_norm, rms_norm};
pub use rope::RopeTable;
pub use swiglu::swiglu;
pub use token_loss::{IGNORED_LABEL, LossKind, token_cross_entropy};
pub use transpose::{laid_out_for_linear, transpose};

use burn::tensor::{Device, Tensor};

/// Whether the functions of this module run fused kernels on `tensor`: it is f32, lives on the `flex`
/// backend, the feature `flex` is on, and `HRM_FUSED=0` is not set.
#[must_use]
pub fn fused_available<const D: usize>(tensor: &Tensor<D>) -> bool {
    #[cfg(feature = "flex")]
    return fused::available(tensor);
    #[cfg(not(feature = "flex"))]
    {
        let _ = tensor;
        false
    }
}

/// Runs `work` on a thread of rayon's pool where `device` is Burn's `flex`, else right here.
///
/// An operation that is called from outside the pool hands its work over and sleeps until it is done, a few hundred times
/// in a training step. From inside it starts at once.
pub fn on_pool<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    #[cfg(feature = "flex")]
    if device.clone().without_autodiff() == Device::flex() {
        return rayon::scope(|_| work());
    }
    let _ = device;
    work()
}

/// The plain Burn implementations, for tests and benchmarks that compare the two.
pub mod composed {
    pub use super::adam_atan2::composed as adam_atan2_update;
    pub use super::attention::composed as attention;
    pub use super::linear::composed as linear;
    pub use super::norm::{composed as rms_norm, composed_add as add_rms_norm};
    pub use super::swiglu::composed as swiglu;
    pub use super::token_loss::composed as token_cross_entropy;
    pub use super::transpose::composed as transpose;
}
