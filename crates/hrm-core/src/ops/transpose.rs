//! The sequence and the width of a batch exchanged, and matrices laid out as products read them.

use burn::tensor::Tensor;

/// `x` with its last two dimensions exchanged, the elements in order again.
///
/// # Shapes
/// `x` `[B, M, N]` → `[B, N, M]`
#[must_use]
pub fn transpose(x: Tensor<3>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if super::fused::available(&x) {
        return super::fused::transpose(x);
    }
    composed(x)
}

/// [`transpose`] out of plain Burn operations: a view.
#[must_use]
pub fn composed(x: Tensor<3>) -> Tensor<3> {
    x.swap_dims(1, 2)
}

/// The same matrix in the memory order in which the CPU's [`linear`](super::linear) reads it fastest: column by column. It
/// pays where a weight is used several times without being changed. Nothing is done on other backends, to an autodiff
/// tensor, or to one that is no matrix.
///
/// # Shapes
/// `weight` `[Out, In]` → the same
#[must_use]
pub fn laid_out_for_linear<const D: usize>(weight: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if D == 2 && super::fused::available_plain(&weight) {
        return super::fused::by_columns(weight);
    }
    weight
}
