//! The few operations that an HRM spends its time in, as functions of tensors.
//!
//! Each is one function with up to three implementations, which agree to rounding:
//!
//! - [`composed`]: plain Burn operations, differentiated by Burn. They run on every backend.
//! - [`recomputed`]: a gradient of our own, which keeps little and computes the rest again. In use on GPUs (with the feature `cube`),
//!   where kernels of our own do what stands between the products, and, out of plain Burn operations, for half precision on the CPU.
//! - A fused CPU kernel with a gradient of its own, with the feature `flex`, for f32 on Burn's `flex` backend
//!   ([`fused_available`] tells).
//!
//! `HRM_FUSED=0` in the environment leaves only the first.
//!
//! All take plain and autodiff tensors alike. Half-precision tensors compute norms, rotary positions,
//! softmax and losses in f32.

mod adam_atan2;
mod attention;
mod embedding;
#[cfg(feature = "flex")]
mod fused;
#[cfg(feature = "cube")]
mod kernels;
mod linear;
mod mix;
mod norm;
mod product;
#[cfg(any(feature = "flex", feature = "cube"))]
mod recompute;
mod rope;
mod swiglu;
mod token_loss;
mod transpose;

pub use adam_atan2::{AdamAtan2Hyper, adam_atan2_update};
pub use attention::attention;
pub use embedding::embedding;
pub use linear::linear;
pub use mix::{laid_out_for_mixing, mix_positions};
pub use norm::{NORM_EPSILON, add_rms_norm, rms_norm};
pub use product::matmul;
pub use rope::RopeTable;
pub use swiglu::swiglu;
pub use token_loss::{IGNORED_LABEL, LossKind, token_cross_entropy};
pub use transpose::{laid_out_for_linear, transpose};

use std::sync::LazyLock;

#[cfg(any(feature = "flex", feature = "cube"))]
use burn::backend::DispatchTensorKind;
use burn::tensor::{Device, Tensor};

/// Values of half precision that a GPU loads at once.
const WIDE_LOAD: usize = 8;

/// The tensor of `x` on its backend, outside any graph.
#[cfg(any(feature = "flex", feature = "cube"))]
fn backend<const D: usize>(x: &Tensor<D>) -> DispatchTensorKind {
    match x.clone().into_dispatch().kind {
        DispatchTensorKind::Autodiff(inner) => *inner,
        plain => plain,
    }
}

/// Whether there is more than plain Burn operations: `HRM_FUSED=0` is not set.
#[must_use]
pub fn fused_enabled() -> bool {
    static ENABLED: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("HRM_FUSED").is_none_or(|value| value != "0"));
    *ENABLED
}

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
    pub use super::embedding::composed as embedding;
    pub use super::linear::composed as linear;
    pub use super::mix::composed as mix_positions;
    pub use super::norm::{composed as rms_norm, composed_add as add_rms_norm};
    pub use super::swiglu::composed as swiglu;
    pub use super::token_loss::composed as token_cross_entropy;
    pub use super::transpose::composed as transpose;
}

/// The operations with a gradient that computes again what Burn's would keep, for tests and benchmarks.
pub mod recomputed {
    pub use super::attention::recomputed as attention;
    pub use super::mix::from_the_left as mix_positions;
    pub use super::norm::recomputed_add as add_rms_norm;
    pub use super::swiglu::recomputed as swiglu;
}
