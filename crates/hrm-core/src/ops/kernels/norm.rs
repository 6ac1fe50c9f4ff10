//! The post-norm residual along either dimension, and its gradient.

use burn::tensor::DType;
use burn_cubecl::cubecl::prelude::*;

use super::launch::*;
use crate::ops::NORM_EPSILON;

/// The sum of a value of each unit of a row, or the largest. All units of the cube come here, also those beyond the last row.
#[cube]
pub(super) fn over_row(value: f32, #[comptime] group: Group, #[comptime] largest: bool) -> f32 {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(group.units * group.rows));
    let (at, place) = (UNIT_POS as usize, UNIT_POS_X as usize);
    shared[at] = value;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(group.units.ilog2() as usize) {
        let half = comptime!(group.units >> (step + 1));
        if place < half {
            let other = shared[at + half];
            if comptime!(largest) {
                shared[at] = max(shared[at], other);
            } else {
                shared[at] += other;
            }
        }
        sync_cube();
    }
    shared[at - place]
}

/// A cube makes a group of rows of `width` vectors.
#[cube(launch_unchecked, address_type = "dynamic")]
fn norm_rows<F: Float, N: Size>(
    x: &[Vector<F, N>],
    y: &[Vector<F, N>],
    out: &mut [Vector<F, N>],
    rms: &mut [f32],
    epsilon: f32,
    #[comptime] width: usize,
    #[comptime] group: Group,
    #[define(F)] _dtype: ElemType,
) {
    let (row, unit) = (row_of(group), UNIT_POS_X as usize);
    let there = row < rms.len();
    let turns = comptime!(width.div_ceil(group.units));
    let mut kept = Array::<Vector<f32, N>>::new(turns);
    let mut squares = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for turn in 0..turns {
        let column = unit + turn * group.units;
        if there && column < width {
            let at = row * width + column;
            let sum = Vector::<f32, N>::cast_from(x[at]) + Vector::cast_from(y[at]);
            kept[turn] = sum;
            squares += sum * sum;
        }
    }
    let total = over_row(squares.vector_sum(), group, false);
    let root = (total / f32::cast_from(width * N::value()) + epsilon).sqrt();
    #[unroll]
    for turn in 0..turns {
        let column = unit + turn * group.units;
        if there && column < width {
            out[row * width + column] = Vector::cast_from(kept[turn] / Vector::new(root));
        }
    }
    if there && unit == 0 {
        rms[row] = root;
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn norm_rows_backward<F: Float, N: Size>(
    out: &[Vector<F, N>],
    rms: &[f32],
    grad: &[Vector<F, N>],
    result: &mut [Vector<F, N>],
    #[comptime] width: usize,
    #[comptime] group: Group,
    #[define(F)] _dtype: ElemType,
) {
    let (row, unit) = (row_of(group), UNIT_POS_X as usize);
    let there = row < rms.len();
    let turns = comptime!(width.div_ceil(group.units));
    let mut outs = Array::<Vector<f32, N>>::new(turns);
    let mut grads = Array::<Vector<f32, N>>::new(turns);
    let mut products = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for turn in 0..turns {
        let column = unit + turn * group.units;
        if there && column < width {
            let at = row * width + column;
            outs[turn] = Vector::cast_from(out[at]);
            grads[turn] = Vector::cast_from(grad[at]);
            products += outs[turn] * grads[turn];
        }
    }
    let total = over_row(products.vector_sum(), group, false);
    let along = Vector::<f32, N>::new(total / f32::cast_from(width * N::value()));
    let root = Vector::<f32, N>::new(rms[select(there, row, 0)]);
    #[unroll]
    for turn in 0..turns {
        let column = unit + turn * group.units;
        if there && column < width {
            let at = row * width + column;
            result[at] = Vector::cast_from((grads[turn] - outs[turn] * along) / root);
        }
    }
}

/// A unit makes a vector of columns, `len` deep; a row has `width` vectors.
#[cube(launch_unchecked, address_type = "dynamic")]
fn norm_columns<F: Float, N: Size>(
    x: &[Vector<F, N>],
    y: &[Vector<F, N>],
    out: &mut [Vector<F, N>],
    rms: &mut [Vector<f32, N>],
    epsilon: f32,
    #[comptime] len: usize,
    #[comptime] width: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= rms.len() {
        terminate!();
    }
    let start = ABSOLUTE_POS / width * (len * width) + ABSOLUTE_POS % width;
    let mut squares = Vector::<f32, N>::new(0.0f32);
    for row in 0..len {
        let at = start + row * width;
        let sum = Vector::<f32, N>::cast_from(x[at]) + Vector::cast_from(y[at]);
        squares += sum * sum;
    }
    let mean = squares / Vector::new(f32::cast_from(len));
    let root = (mean + Vector::new(epsilon)).sqrt();
    rms[ABSOLUTE_POS] = root;
    for row in 0..len {
        let at = start + row * width;
        let sum = Vector::<f32, N>::cast_from(x[at]) + Vector::cast_from(y[at]);
        out[at] = Vector::cast_from(sum / root);
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn norm_columns_backward<F: Float, N: Size>(
    out: &[Vector<F, N>],
    rms: &[Vector<f32, N>],
    grad: &[Vector<F, N>],
    result: &mut [Vector<F, N>],
    #[comptime] len: usize,
    #[comptime] width: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= rms.len() {
        terminate!();
    }
    let start = ABSOLUTE_POS / width * (len * width) + ABSOLUTE_POS % width;
    let mut products = Vector::<f32, N>::new(0.0f32);
    for row in 0..len {
        let at = start + row * width;
        products += Vector::<f32, N>::cast_from(out[at]) * Vector::cast_from(grad[at]);
    }
    let along = products / Vector::new(f32::cast_from(len));
    let root = rms[ABSOLUTE_POS];
    for row in 0..len {
        let at = start + row * width;
        let of_row = Vector::<f32, N>::cast_from(grad[at]);
        let of_row = (of_row - Vector::cast_from(out[at]) * along) / root;
        result[at] = Vector::cast_from(of_row);
    }
}

/// Columns that a unit takes at once: few, so that there are many units, each of which goes down its columns alone.
fn columns_at_once(x: &CubeTensor, width: usize) -> usize {
    vector_size(x, &[width]).min(2)
}

pub(super) fn forward(x: CubeTensor, y: CubeTensor, dim: usize) -> (CubeTensor, CubeTensor) {
    let [x, y] = [x, y].map(into_contiguous);
    let [_, len, width] = x.meta.shape().dims();
    let (client, dtype) = (x.client.clone(), x.dtype);
    let out = empty(&x, x.meta.shape().clone(), dtype);
    let rms = empty(&x, super::with_one(x.meta.shape(), &dim), DType::F32);
    let address = address_type(&[&x]);
    let epsilon = NORM_EPSILON as f32;
    if dim == 2 {
        let size = vector_size(&x, &[width]);
        let vectors = width / size;
        let (count, cube, group) = rows(&client, rms.meta.num_elements(), vectors);
        // SAFETY: a unit stays in its row, of which `x`, `y` and `out` have as many as `rms` has elements.
        unsafe {
            norm_rows::launch_unchecked(
                &client,
                count,
                cube,
                address,
                size,
                x.into_buffer_arg(),
                y.into_buffer_arg(),
                out.clone().into_buffer_arg(),
                rms.clone().into_buffer_arg(),
                epsilon,
                vectors,
                group,
                elem_type(dtype),
            );
        }
    } else {
        let size = columns_at_once(&x, width);
        let (count, cube) = units(&client, rms.meta.num_elements() / size);
        // SAFETY: a unit stays in its columns, of which `x`, `y` and `out` have as many as `rms` has elements.
        unsafe {
            norm_columns::launch_unchecked(
                &client,
                count,
                cube,
                address,
                size,
                x.into_buffer_arg(),
                y.into_buffer_arg(),
                out.clone().into_buffer_arg(),
                rms.clone().into_buffer_arg(),
                epsilon,
                len,
                width / size,
                elem_type(dtype),
            );
        }
    }
    (out, rms)
}

pub(super) fn backward(
    out: CubeTensor,
    rms: CubeTensor,
    grad: CubeTensor,
    dim: usize,
) -> CubeTensor {
    let [out, rms, grad] = [out, rms, grad].map(into_contiguous);
    let [_, len, width] = out.meta.shape().dims();
    let (client, dtype) = (out.client.clone(), out.dtype);
    let result = empty(&out, out.meta.shape().clone(), dtype);
    let address = address_type(&[&out]);
    if dim == 2 {
        let size = vector_size(&out, &[width]);
        let vectors = width / size;
        let (count, cube, group) = rows(&client, rms.meta.num_elements(), vectors);
        // SAFETY: a unit stays in its row, of which the others have as many as `rms` has elements.
        unsafe {
            norm_rows_backward::launch_unchecked(
                &client,
                count,
                cube,
                address,
                size,
                out.into_buffer_arg(),
                rms.into_buffer_arg(),
                grad.into_buffer_arg(),
                result.clone().into_buffer_arg(),
                vectors,
                group,
                elem_type(dtype),
            );
        }
    } else {
        let size = columns_at_once(&out, width);
        let (count, cube) = units(&client, rms.meta.num_elements() / size);
        // SAFETY: a unit stays in its columns, of which the others have as many as `rms` has elements.
        unsafe {
            norm_columns_backward::launch_unchecked(
                &client,
                count,
                cube,
                address,
                size,
                out.into_buffer_arg(),
                rms.into_buffer_arg(),
                grad.into_buffer_arg(),
                result.clone().into_buffer_arg(),
                len,
                width / size,
                elem_type(dtype),
            );
        }
    }
    result
}
