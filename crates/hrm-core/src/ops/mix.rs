//! TRM's mixer without attention: a gated MLP over the positions, and the norm of its residual.

use burn::tensor::Tensor;

use super::{WIDE_LOAD, add_rms_norm, linear, matmul, swiglu, transpose};

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
    if super::kernels::on_gpu(&x) {
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
    matmul(by_columns(weight.cast(x.dtype())).unsqueeze::<3>(), x)
}

/// The same matrix column by column in memory where its rows start at places from which no wide load can be made: those of
/// 97 values, where columns have 1,024. Of a matrix that lies so already no copy is made.
fn by_columns(weight: Tensor<2>) -> Tensor<2> {
    let [to, from] = weight.dims();
    match from.is_multiple_of(WIDE_LOAD) {
        true => weight,
        // To make it flat is to copy it.
        false => weight
            .transpose()
            .reshape([to * from])
            .reshape([from, to])
            .transpose(),
    }
}

/// The same matrix in the memory order in which the products of [`mix_positions`] read it fastest on a GPU. It pays where a weight is
/// used several times without being changed. Nothing is done on other backends.
///
/// # Shapes
/// `weight` `[Out, In]` → the same
#[must_use]
pub fn laid_out_for_mixing(weight: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "cube")]
    if super::kernels::available(&weight) {
        return by_columns(weight);
    }
    weight
}
