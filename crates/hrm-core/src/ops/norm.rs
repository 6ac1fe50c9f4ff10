//! RMS norm without a learned scale, alone and as the post-norm residual `norm(x + y)`.

use burn::tensor::{FloatDType, Tensor};

/// Added to the mean square before the root.
pub const NORM_EPSILON: f64 = 1e-5;

/// `x / sqrt(mean(x²) + 1e-5)` over the last dimension, computed in f32; no learned scale.
///
/// # Shapes
/// `x` `[A, B, N]` → `[A, B, N]`, in the type of `x`
#[must_use]
pub fn rms_norm(x: Tensor<3>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if super::fused::available(&x) {
        return super::fused::rms_norm(x);
    }
    if super::enabled() {
        return recomputed(x);
    }
    composed(x)
}

/// The post-norm residual `rms_norm(x + y)`.
///
/// # Shapes
/// `x`, `y` `[A, B, N]` → `[A, B, N]`
///
/// # Panics
/// If the shapes differ.
#[must_use]
pub fn add_rms_norm(x: Tensor<3>, y: Tensor<3>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if super::fused::available(&x) && super::fused::available(&y) && x.dims() == y.dims() {
        return super::fused::add_rms_norm(x, y);
    }
    if super::enabled() {
        return recomputed(x.add(y));
    }
    composed_add(x, y)
}

/// [`rms_norm`] out of plain Burn operations.
#[must_use]
pub fn composed(x: Tensor<3>) -> Tensor<3> {
    with_rms(x).0
}

/// [`add_rms_norm`] out of plain Burn operations.
#[must_use]
pub fn composed_add(x: Tensor<3>, y: Tensor<3>) -> Tensor<3> {
    composed(x.add(y))
}

/// [`rms_norm`] out of plain Burn operations, which keeps its output for the gradient and what it divided by.
#[must_use]
pub fn recomputed(x: Tensor<3>) -> Tensor<3> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    if super::recompute::available(&x) {
        return super::recompute::run(x, super::recompute::Chain::RmsNorm);
    }
    composed(x)
}

/// [`rms_norm`], and the root of the mean square and epsilon, `[A, B, 1]` in f32.
pub(super) fn with_rms(x: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let dtype = x.dtype();
    let x = x.cast(FloatDType::F32);
    let rms = x
        .clone()
        .square()
        .mean_dim(2)
        .add_scalar(NORM_EPSILON)
        .sqrt();
    (x.div(rms.clone()).cast(dtype), rms)
}

/// The gradient of the input from that of the output, with what [`with_rms`] returned.
#[cfg(any(feature = "flex", feature = "cube"))]
pub(super) fn backward(out: Tensor<3>, rms: Tensor<3>, grad: Tensor<3>) -> Tensor<3> {
    let dtype = out.dtype();
    let (out, grad) = (out.cast(FloatDType::F32), grad.cast(FloatDType::F32));
    let along = grad.clone().mul(out.clone()).mean_dim(2);
    grad.sub(out.mul(along)).div(rms).cast(dtype)
}
