//! TRM's mixer without attention: a gated MLP over the positions, and the norm of its residual.

use burn::tensor::Tensor;

use super::{add_rms_norm, linear, swiglu, transpose};

/// Values of half precision that a GPU loads at once.
const WIDE_LOAD: usize = 8;

/// `rms_norm(x + down(silu(gate(x)) * up(x)))`, all along the positions, the mean of the norm too, as the reference has it.
///
/// # Shapes
/// `x` `[B, L, D]`, `gate_up` `[2I, L]` with the gate's rows first, `down` `[L, I]` → `[B, L, D]`
///
/// # Panics
/// If the weights are for another length.
#[must_use]
pub fn mix_positions(x: Tensor<3>, gate_up: Tensor<2>, down: Tensor<2>) -> Tensor<3> {
    #[cfg(feature = "cube")]
    if super::enabled() && super::kernels::on_gpu(&x) {
        return from_the_left(x, gate_up, down);
    }
    // With sequence and width exchanged it is the MLP over the width.
    let x = transpose(x);
    let mixed = linear(swiglu(linear(x.clone(), gate_up)), down);
    transpose(add_rms_norm(x, mixed))
}

/// [`mix_positions`] out of plain Burn operations.
#[must_use]
pub fn composed(x: Tensor<3>, gate_up: Tensor<2>, down: Tensor<2>) -> Tensor<3> {
    use super::composed::{add_rms_norm, linear, swiglu, transpose};
    let x = transpose(x);
    let mixed = linear(swiglu(linear(x.clone(), gate_up)), down);
    transpose(add_rms_norm(x, mixed))
}

/// [`mix_positions`] with the weights on the left of each slot's matrix. Nothing is exchanged, which on a GPU is two copies of
/// the state less, and products read rows of D values, not of L.
#[must_use]
pub fn from_the_left(x: Tensor<3>, gate_up: Tensor<2>, down: Tensor<2>) -> Tensor<3> {
    let gate_up = times(gate_up, x.clone());
    let mixed = times(down, super::swiglu::recomputed_along(gate_up, 1));
    super::norm::recomputed_add_along(x, mixed, 1)
}

/// `weight · x` for each slot, the weight in the type of `x`.
fn times(weight: Tensor<2>, x: Tensor<3>) -> Tensor<3> {
    let [to, from] = weight.dims();
    let weight = weight.cast(x.dtype());
    let weight = match from.is_multiple_of(WIDE_LOAD) {
        true => weight.reshape([1, to, from]),
        // Rows of 97 values start where no wide load can; columns of 1,024 do not. To make the matrix flat is to copy it.
        false => {
            let columns = weight.transpose().reshape([to * from]);
            columns.reshape([1, from, to]).swap_dims(1, 2)
        }
    };
    weight.matmul(x)
}
