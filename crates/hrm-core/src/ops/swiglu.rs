//! The gate of the MLP: `silu(gate) * up`.

use burn::tensor::{FloatDType, Tensor, activation::silu};

/// `silu(gate) * up` of the fused projection.
///
/// # Shapes
/// `gate_up` `[B, L, 2I]`, the gate first → `[B, L, I]`
///
/// # Panics
/// If the last dimension is odd.
#[must_use]
pub fn swiglu(gate_up: Tensor<3>) -> Tensor<3> {
    let [_, _, width] = gate_up.dims();
    assert!(
        width.is_multiple_of(2),
        "swiglu: the last dimension holds gate and up, expected an even size, got {width}"
    );
    #[cfg(feature = "flex")]
    if super::fused::available(&gate_up) {
        return super::fused::swiglu(gate_up);
    }
    if super::fused_enabled() {
        return recomputed(gate_up);
    }
    composed(gate_up)
}

/// [`swiglu`] out of plain Burn operations.
#[must_use]
pub fn composed(gate_up: Tensor<3>) -> Tensor<3> {
    let [gate, up] = halves(gate_up, 2);
    silu(gate).mul(up)
}

/// [`swiglu`] in f32, which keeps its input alone for the gradient.
#[must_use]
pub fn recomputed(gate_up: Tensor<3>) -> Tensor<3> {
    recomputed_along(gate_up, 2)
}

/// [`recomputed`], gate and up the halves of dimension `dim`.
pub(super) fn recomputed_along(gate_up: Tensor<3>, dim: usize) -> Tensor<3> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    if super::recompute::available(&gate_up) {
        return super::recompute::run(gate_up, super::recompute::Chain::SwiGlu { dim });
    }
    if gate_up.is_autodiff() {
        let [gate, up] = halves(gate_up, dim);
        return silu(gate).mul(up);
    }
    in_f32(gate_up, dim)
}

fn halves(gate_up: Tensor<3>, dim: usize) -> [Tensor<3>; 2] {
    let inner = gate_up.dims()[dim] / 2;
    [0, 1].map(|i| gate_up.clone().narrow(dim, i * inner, inner))
}

/// `1 + e^-x`. Burn's own sigmoid is a chain of eight operations.
fn one_and_exp(x: Tensor<3>) -> Tensor<3> {
    x.neg().exp().add_scalar(1.0)
}

/// The gate of a plain tensor, rounded to its type once.
pub(super) fn in_f32(gate_up: Tensor<3>, dim: usize) -> Tensor<3> {
    #[cfg(feature = "cube")]
    if super::kernels::available(&gate_up) {
        return super::kernels::swiglu(gate_up, dim);
    }
    let dtype = gate_up.dtype();
    let [gate, up] = halves(gate_up, dim).map(|half| half.cast(FloatDType::F32));
    gate.clone().div(one_and_exp(gate)).mul(up).cast(dtype)
}

/// The gradient of the projection from that of the output.
#[cfg(any(feature = "flex", feature = "cube"))]
pub(super) fn backward(gate_up: Tensor<3>, grad: Tensor<3>, dim: usize) -> Tensor<3> {
    #[cfg(feature = "cube")]
    if super::kernels::available(&gate_up) {
        return super::kernels::swiglu_backward(gate_up, grad, dim);
    }
    let dtype = gate_up.dtype();
    let [gate, up] = halves(gate_up, dim).map(|half| half.cast(FloatDType::F32));
    let grad = grad.cast(FloatDType::F32);
    let open = one_and_exp(gate.clone()).recip();
    let silu = gate.mul(open.clone());
    // silu' = σ + silu (1 - σ)
    let slope = open.clone() + silu.clone() * open.neg().add_scalar(1.0);
    let of_gate = (grad.clone() * up * slope).cast(dtype);
    let of_up = (grad * silu).cast(dtype);
    Tensor::cat(vec![of_gate, of_up], dim)
}
