//! The gate, and its gradient.

use burn_cubecl::cubecl::prelude::*;

use super::launch::*;

#[cube]
fn sigmoid<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    Vector::new(1.0f32) / (Vector::new(1.0f32) + (-x).exp())
}

/// A unit makes a vector of the output; `half` vectors lie between a gate and its up.
#[cube(launch_unchecked, address_type = "dynamic")]
fn swiglu_kernel<F: Float, N: Size>(
    gate_up: &[Vector<F, N>],
    out: &mut [Vector<F, N>],
    #[comptime] half: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let at = ABSOLUTE_POS + ABSOLUTE_POS / half * half;
    let gate = Vector::<f32, N>::cast_from(gate_up[at]);
    let up = Vector::<f32, N>::cast_from(gate_up[at + half]);
    out[ABSOLUTE_POS] = Vector::cast_from(gate * sigmoid::<N>(gate) * up);
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn swiglu_backward_kernel<F: Float, N: Size>(
    gate_up: &[Vector<F, N>],
    grad: &[Vector<F, N>],
    out: &mut [Vector<F, N>],
    #[comptime] half: usize,
    #[define(F)] _dtype: ElemType,
) {
    // The length of `grad` may be a padded one.
    if ABSOLUTE_POS >= out.len() / 2 {
        terminate!();
    }
    let at = ABSOLUTE_POS + ABSOLUTE_POS / half * half;
    let gate = Vector::<f32, N>::cast_from(gate_up[at]);
    let up = Vector::<f32, N>::cast_from(gate_up[at + half]);
    let grad = Vector::<f32, N>::cast_from(grad[ABSOLUTE_POS]);
    let open = sigmoid::<N>(gate);
    let silu = gate * open;
    // silu' = σ + silu (1 - σ)
    let slope = open + silu * (Vector::new(1.0f32) - open);
    out[at] = Vector::cast_from(grad * up * slope);
    out[at + half] = Vector::cast_from(grad * silu);
}

/// Elements from a gate to its up.
fn half(gate_up: &CubeTensor, dim: usize) -> usize {
    gate_up.meta.shape()[dim..].iter().product::<usize>() / 2
}

pub(super) fn forward(gate_up: CubeTensor, dim: usize) -> CubeTensor {
    let gate_up = into_contiguous(gate_up);
    let half = half(&gate_up, dim);
    let size = vector_size(&gate_up, &[half]);
    let shape = super::with_half(gate_up.meta.shape(), &dim);
    let dtype = gate_up.dtype;
    let out = empty(&gate_up, shape, dtype);
    let client = gate_up.client.clone();
    let (count, cube) = units(&client, out.meta.num_elements() / size);
    // SAFETY: a unit reads and writes below the length of `out`, and twice that in `gate_up`.
    unsafe {
        swiglu_kernel::launch_unchecked(
            &client,
            count,
            cube,
            address_type(&[&gate_up]),
            size,
            gate_up.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            half / size,
            elem_type(dtype),
        );
    }
    out
}

pub(super) fn backward(gate_up: CubeTensor, grad: CubeTensor, dim: usize) -> CubeTensor {
    let [gate_up, grad] = [gate_up, grad].map(into_contiguous);
    let half = half(&gate_up, dim);
    let size = vector_size(&gate_up, &[half]);
    let dtype = gate_up.dtype;
    let out = empty(&gate_up, gate_up.meta.shape().clone(), dtype);
    let client = gate_up.client.clone();
    let (count, cube) = units(&client, grad.meta.num_elements() / size);
    // SAFETY: a unit reads and writes below the length of `out`, which is that of `gate_up`, and reads below half of it in `grad`.
    unsafe {
        swiglu_backward_kernel::launch_unchecked(
            &client,
            count,
            cube,
            address_type(&[&gate_up]),
            size,
            gate_up.into_buffer_arg(),
            grad.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            half / size,
            elem_type(dtype),
        );
    }
    out
}
