//! The linear map of a `[out, in]` weight, without bias.

use burn::tensor::Tensor;

use super::matmul;

/// `x · weightᵀ`; the weight is cast to the type of `x`.
///
/// # Shapes
/// `x` `[B, L, In]`, `weight` `[Out, In]` → `[B, L, Out]`
///
/// # Panics
/// If the two sizes of `In` differ.
#[must_use]
pub fn linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let ([_, _, from], [_, expected]) = (x.dims(), weight.dims());
    assert_eq!(
        from, expected,
        "linear: the weight takes vectors of {expected}, the input has {from}"
    );
    #[cfg(feature = "flex")]
    if super::fused::available(&x) && super::fused::available(&weight) {
        return super::fused::linear(x, weight);
    }
    composed(x, weight)
}

/// [`linear`] out of plain Burn operations: one product of matrices over all `B * L` rows.
#[must_use]
pub fn composed(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [batch, len, from] = x.dims();
    let [to, _] = weight.dims();
    let weight = weight.cast(x.dtype());
    let rows: Tensor<2> = x.reshape([batch * len, from]);
    matmul(rows, weight.transpose()).reshape([batch, len, to])
}
