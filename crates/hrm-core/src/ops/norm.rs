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
    if super::fused_enabled() {
        return recomputed_add(x, y);
    }
    composed_add(x, y)
}

/// [`rms_norm`] out of plain Burn operations.
#[must_use]
pub fn composed(x: Tensor<3>) -> Tensor<3> {
    with_rms(x, 2).0
}

/// [`add_rms_norm`] out of plain Burn operations.
#[must_use]
pub fn composed_add(x: Tensor<3>, y: Tensor<3>) -> Tensor<3> {
    composed(x.add(y))
}

/// [`add_rms_norm`] that keeps its output for the gradient and what it divided by.
#[must_use]
pub fn recomputed_add(x: Tensor<3>, y: Tensor<3>) -> Tensor<3> {
    recomputed_add_along(x, y, 2)
}

/// [`recomputed_add`], the mean taken along dimension `dim`.
pub(super) fn recomputed_add_along(x: Tensor<3>, y: Tensor<3>, dim: usize) -> Tensor<3> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    if super::recompute::available(&x) || super::recompute::available(&y) {
        return super::recompute::add_rms_norm(x, y, dim);
    }
    add_with_rms(x, y, dim).0
}

/// The norm of `x + y` along `dim`, and what it divided by: [`with_rms`], by a kernel of our own where there is one.
pub(super) fn add_with_rms(x: Tensor<3>, y: Tensor<3>, dim: usize) -> (Tensor<3>, Tensor<3>) {
    #[cfg(feature = "cube")]
    if super::kernels::available(&x) && super::kernels::available(&y) {
        return super::kernels::add_rms_norm(x, y, dim);
    }
    with_rms(x.add(y), dim)
}

/// The norm of `x` along `dim`, and the root of the mean square and epsilon, in f32.
fn with_rms(x: Tensor<3>, dim: usize) -> (Tensor<3>, Tensor<3>) {
    let dtype = x.dtype();
    let x = x.cast(FloatDType::F32);
    let rms = x
        .clone()
        .square()
        .mean_dim(dim)
        .add_scalar(NORM_EPSILON)
        .sqrt();
    (x.div(rms.clone()).cast(dtype), rms)
}

/// The gradient of the input from that of the output, with what [`add_with_rms`] returned.
#[cfg(any(feature = "flex", feature = "cube"))]
pub(super) fn backward(out: Tensor<3>, rms: Tensor<3>, grad: Tensor<3>, dim: usize) -> Tensor<3> {
    #[cfg(feature = "cube")]
    if super::kernels::available(&out) {
        return super::kernels::rms_norm_backward(out, rms, grad, dim);
    }
    let dtype = out.dtype();
    let (out, grad) = (out.cast(FloatDType::F32), grad.cast(FloatDType::F32));
    let along = grad.clone().mul(out.clone()).mean_dim(dim);
    grad.sub(out.mul(along)).div(rms).cast(dtype)
}
