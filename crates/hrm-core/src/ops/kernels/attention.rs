//! What stands around the products of an attention.

use burn::tensor::DType;
use burn_cubecl::cubecl::prelude::*;

use super::launch::*;
use super::norm::over_row;

/// A pair of a head turned by an angle.
#[cube]
fn turned<F: Float, N: Size>(
    a: Vector<F, N>,
    b: Vector<F, N>,
    cos: Vector<f32, N>,
    sin: Vector<f32, N>,
) -> (Vector<F, N>, Vector<F, N>) {
    let first = Vector::<f32, N>::cast_from(a);
    let second = Vector::<f32, N>::cast_from(b);
    (
        Vector::cast_from(first * cos - second * sin),
        Vector::cast_from(second * cos + first * sin),
    )
}

/// A unit moves a pair of vectors, `half` apart in a head of `2 * half` vectors, from the projection to the heads, and turns
/// it where it belongs to a query or a key. Keys and values have `padded` rows, those beyond `len` zero.
#[cube(launch_unchecked, address_type = "dynamic")]
fn split_heads_kernel<F: Float, N: Size>(
    qkv: &[Vector<F, N>],
    cos: &[Vector<f32, N>],
    sin: &[Vector<f32, N>],
    q: &mut [Vector<F, N>],
    k: &mut [Vector<F, N>],
    v: &mut [Vector<F, N>],
    #[comptime] len: usize,
    #[comptime] padded: usize,
    #[comptime] heads: usize,
    #[comptime] half: usize,
    #[comptime] turn: bool,
    #[define(F)] _dtype: ElemType,
) {
    // The pairs of the padded projection, in order: slot, position, part, head, place.
    if ABSOLUTE_POS >= k.len() / 2 * 3 {
        terminate!();
    }
    let place = ABSOLUTE_POS % half;
    let head = ABSOLUTE_POS / half % (3 * heads);
    let position = ABSOLUTE_POS / (half * 3 * heads) % padded;
    let slot = ABSOLUTE_POS / (half * 3 * heads * padded);
    let row = slot * heads + head % heads;
    if position < len {
        let from = ((slot * len + position) * (3 * heads) + head) * (2 * half) + place;
        let mut a = qkv[from];
        let mut b = qkv[from + half];
        if head < comptime!(if turn { 2 * heads } else { 0 }) {
            let at = position * (2 * half) + place;
            let turned = turned::<F, N>(a, b, cos[at], sin[at]);
            a = turned.0;
            b = turned.1;
        }
        if head < heads {
            let to = (row * len + position) * (2 * half) + place;
            q[to] = a;
            q[to + half] = b;
        } else {
            let to = (row * padded + position) * (2 * half) + place;
            if head < 2 * heads {
                k[to] = a;
                k[to + half] = b;
            } else {
                v[to] = a;
                v[to + half] = b;
            }
        }
    } else if head >= heads {
        let to = (row * padded + position) * (2 * half) + place;
        let zero = Vector::<F, N>::cast_from(Vector::<f32, N>::new(0.0f32));
        if head < 2 * heads {
            k[to] = zero;
            k[to + half] = zero;
        } else {
            v[to] = zero;
            v[to + half] = zero;
        }
    }
}

/// The way back: turned the other way.
#[cube(launch_unchecked, address_type = "dynamic")]
fn split_heads_backward_kernel<F: Float, N: Size>(
    q: &[Vector<F, N>],
    k: &[Vector<F, N>],
    v: &[Vector<F, N>],
    cos: &[Vector<f32, N>],
    sin: &[Vector<f32, N>],
    out: &mut [Vector<F, N>],
    #[comptime] len: usize,
    #[comptime] padded: usize,
    #[comptime] heads: usize,
    #[comptime] half: usize,
    #[comptime] turn: bool,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= out.len() / 2 {
        terminate!();
    }
    let place = ABSOLUTE_POS % half;
    let head = ABSOLUTE_POS / half % (3 * heads);
    let position = ABSOLUTE_POS / (half * 3 * heads) % len;
    let slot = ABSOLUTE_POS / (half * 3 * heads * len);
    let to = (ABSOLUTE_POS / half) * (2 * half) + place;
    let row = slot * heads + head % heads;
    let from = (row * padded + position) * (2 * half) + place;
    if head >= 2 * heads {
        out[to] = v[from];
        out[to + half] = v[from + half];
    } else {
        let of_query = (row * len + position) * (2 * half) + place;
        let mut a = q[of_query];
        let mut b = q[of_query + half];
        if head >= heads {
            a = k[from];
            b = k[from + half];
        }
        if comptime!(turn) {
            let at = position * (2 * half) + place;
            let turned = turned::<F, N>(a, b, cos[at], -sin[at]);
            a = turned.0;
            b = turned.1;
        }
        out[to] = a;
        out[to + half] = b;
    }
}

pub(super) fn split_heads(
    qkv: CubeTensor,
    cos: CubeTensor,
    sin: CubeTensor,
    heads: usize,
    turn: bool,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [qkv, cos, sin] = [qkv, cos, sin].map(into_contiguous);
    let [_, len, width] = qkv.meta.shape().dims();
    let half = width / (6 * heads);
    let size = vector_size(&qkv, &[half]);
    let (client, dtype) = (qkv.client.clone(), qkv.dtype);
    let padded = super::padded(len);
    let [q, k, v] = [len, padded, padded]
        .map(|rows| empty(&qkv, super::by_heads(qkv.meta.shape(), heads, rows), dtype));
    let (count, cube) = units(&client, 3 * k.meta.num_elements() / (2 * size));
    // SAFETY: a unit moves its own pair, at a position of `qkv` and `q` below `len`, of `k` and `v` below `padded`; the tables are
    // `[len, 2 * half]`, or are not read.
    unsafe {
        split_heads_kernel::launch_unchecked(
            &client,
            count,
            cube,
            address_type(&[&qkv]),
            size,
            qkv.into_buffer_arg(),
            cos.into_buffer_arg(),
            sin.into_buffer_arg(),
            q.clone().into_buffer_arg(),
            k.clone().into_buffer_arg(),
            v.clone().into_buffer_arg(),
            len,
            padded,
            heads,
            half / size,
            turn,
            elem_type(dtype),
        );
    }
    (q, k, v)
}

pub(super) fn split_heads_backward(
    parts: [CubeTensor; 3],
    cos: CubeTensor,
    sin: CubeTensor,
    heads: usize,
    turn: bool,
) -> CubeTensor {
    let [q, k, v] = parts.map(into_contiguous);
    let [cos, sin] = [cos, sin].map(into_contiguous);
    let [_, len, head_dim] = q.meta.shape().dims();
    let [_, padded, _] = k.meta.shape().dims();
    let half = head_dim / 2;
    let size = vector_size(&q, &[half]);
    let (client, dtype) = (q.client.clone(), q.dtype);
    let out = empty(&q, super::together(q.meta.shape(), &heads), dtype);
    let (count, cube) = units(&client, out.meta.num_elements() / (2 * size));
    // SAFETY: a unit moves its own pair, at a position below `len` of all parts; the tables are `[len, 2 * half]`, or are not read.
    unsafe {
        split_heads_backward_kernel::launch_unchecked(
            &client,
            count,
            cube,
            address_type(&[&out]),
            size,
            q.into_buffer_arg(),
            k.into_buffer_arg(),
            v.into_buffer_arg(),
            cos.into_buffer_arg(),
            sin.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            len,
            padded,
            heads,
            half / size,
            turn,
            elem_type(dtype),
        );
    }
    out
}

/// `values` with `filler` where an element is none of the first `keys` of its row; none where all of them count.
#[cube]
fn of_keys<N: Size>(
    values: Vector<f32, N>,
    filler: f32,
    column: usize,
    #[comptime] keys: Option<usize>,
) -> Vector<f32, N> {
    let mut kept = values;
    if comptime!(keys.is_some()) {
        let keys = comptime!(keys.unwrap_or(0));
        if (column + 1) * N::value() > keys {
            #[unroll]
            for i in 0..N::value() {
                if column * N::value() + i >= keys {
                    kept.insert(i, filler);
                }
            }
        }
    }
    kept
}

/// A cube makes a group of rows of `width` vectors, of which the first `keys` elements count, or all; the rows of the scores begin `pitch` vectors apart.
#[cube(launch_unchecked, address_type = "dynamic")]
fn softmax_kernel<F: Float, N: Size>(
    scores: &[Vector<F, N>],
    weights: &mut [Vector<F, N>],
    log_sums: &mut [f32],
    scale: f32,
    #[comptime] pitch: usize,
    #[comptime] keys: Option<usize>,
    #[comptime] width: usize,
    #[comptime] group: Group,
    #[define(F)] _dtype: ElemType,
) {
    let (row, unit) = (row_of(group), UNIT_POS_X as usize);
    let there = row < log_sums.len();
    let turns = comptime!(width.div_ceil(group.units));
    let mut kept = Array::<Vector<f32, N>>::new(turns);
    let mut most = Vector::<f32, N>::new(-3.0e38f32);
    #[unroll]
    for turn in 0..turns {
        let column = unit + turn * group.units;
        if there && column < width {
            let scaled =
                Vector::<f32, N>::cast_from(scores[row * pitch + column]) * Vector::new(scale);
            let scaled = of_keys::<N>(scaled, -3.0e38f32, column, keys);
            kept[turn] = scaled;
            most = max(most, scaled);
        }
    }
    let mut own = most.extract(0usize);
    #[unroll]
    for i in 1..N::value() {
        own = max(own, most.extract(i));
    }
    let most = over_row(own, group, true);
    let mut sums = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for turn in 0..turns {
        let column = unit + turn * group.units;
        if there && column < width {
            let weight = (kept[turn] - Vector::new(most)).exp();
            kept[turn] = weight;
            sums += weight;
        }
    }
    let sum = over_row(sums.vector_sum(), group, false);
    #[unroll]
    for turn in 0..turns {
        let column = unit + turn * group.units;
        if there && column < width {
            weights[row * width + column] = Vector::cast_from(kept[turn] / Vector::new(sum));
        }
    }
    if there && unit == 0 {
        log_sums[row] = most + sum.ln();
    }
}

/// A unit makes a vector; a row has `width` of them, and the rows of the operands begin so many vectors apart.
#[cube(launch_unchecked, address_type = "dynamic")]
fn softmax_backward_kernel<F: Float, N: Size>(
    scores: &[Vector<F, N>],
    of_weights: &[Vector<F, N>],
    log_sums: &[f32],
    along: &[f32],
    weights: &mut [Vector<F, N>],
    of_scores: &mut [Vector<F, N>],
    scale: f32,
    #[comptime] scores_pitch: usize,
    #[comptime] of_weights_pitch: usize,
    #[comptime] keys: Option<usize>,
    #[comptime] width: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= weights.len() {
        terminate!();
    }
    let row = ABSOLUTE_POS / width;
    let column = ABSOLUTE_POS % width;
    let scale = Vector::<f32, N>::new(scale);
    let score = Vector::<f32, N>::cast_from(scores[row * scores_pitch + column]) * scale;
    let weight = (score - Vector::new(log_sums[row])).exp();
    let weight = of_keys::<N>(weight, 0.0f32, column, keys);
    let of_weight = Vector::<f32, N>::cast_from(of_weights[row * of_weights_pitch + column]);
    weights[ABSOLUTE_POS] = Vector::cast_from(weight);
    of_scores[ABSOLUTE_POS] =
        Vector::cast_from((of_weight - Vector::new(along[row])) * weight * scale);
}

/// A cube makes a group of rows: of each head of each position, the sum of gradient times output; and moves the gradient to the heads.
#[cube(launch_unchecked, address_type = "dynamic")]
fn split_grad_kernel<F: Float, N: Size>(
    grad: &[Vector<F, N>],
    out: &[Vector<F, N>],
    by_heads: &mut [Vector<F, N>],
    along: &mut [f32],
    #[comptime] len: usize,
    #[comptime] heads: usize,
    #[comptime] width: usize,
    #[comptime] group: Group,
    #[define(F)] _dtype: ElemType,
) {
    let (row, unit) = (row_of(group), UNIT_POS_X as usize);
    let there = row < along.len();
    let head = row % heads;
    let position = row / heads % len;
    let to = (row / (heads * len) * heads + head) * len + position;
    let turns = comptime!(width.div_ceil(group.units));
    let mut products = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for turn in 0..turns {
        let column = unit + turn * group.units;
        if there && column < width {
            let at = row * width + column;
            let of_out = grad[at];
            products += Vector::<f32, N>::cast_from(of_out) * Vector::cast_from(out[at]);
            by_heads[to * width + column] = of_out;
        }
    }
    let sum = over_row(products.vector_sum(), group, false);
    if there && unit == 0 {
        along[to] = sum;
    }
}

pub(super) fn split_grad(
    grad: CubeTensor,
    out: CubeTensor,
    heads: usize,
) -> (CubeTensor, CubeTensor) {
    let [grad, out] = [grad, out].map(into_contiguous);
    let [_, len, width] = grad.meta.shape().dims();
    let head_dim = width / heads;
    let (client, dtype) = (grad.client.clone(), grad.dtype);
    let shape = super::apart(grad.meta.shape(), heads);
    let along = empty(&grad, super::with_one(&shape, &2), DType::F32);
    let by_heads = empty(&grad, shape, dtype);
    let size = vector_size(&grad, &[head_dim]);
    let vectors = head_dim / size;
    let (count, cube, group) = rows(&client, along.meta.num_elements(), vectors);
    // SAFETY: a unit stays in its row, of which the others have as many as `along` has elements.
    unsafe {
        split_grad_kernel::launch_unchecked(
            &client,
            count,
            cube,
            address_type(&[&grad]),
            size,
            grad.into_buffer_arg(),
            out.into_buffer_arg(),
            by_heads.clone().into_buffer_arg(),
            along.clone().into_buffer_arg(),
            len,
            heads,
            vectors,
            group,
            elem_type(dtype),
        );
    }
    (by_heads, along)
}

/// The tensor with its rows in order, and how many elements apart they begin: CUDA pads those that a product writes.
fn in_rows(x: CubeTensor) -> (CubeTensor, usize) {
    let [_, rows, _] = x.meta.shape().dims();
    let strides = x.meta.strides();
    if strides[2] == 1 && strides[0] == strides[1] * rows {
        let pitch = strides[1];
        return (x, pitch);
    }
    let x = into_contiguous(x);
    let pitch = x.meta.shape()[2];
    (x, pitch)
}

pub(super) fn softmax(scores: CubeTensor, scale: f32, keys: usize) -> (CubeTensor, CubeTensor) {
    let (scores, pitch) = in_rows(scores);
    let [_, _, width] = scores.meta.shape().dims();
    let (client, dtype) = (scores.client.clone(), scores.dtype);
    let weights = empty(&scores, scores.meta.shape().clone(), dtype);
    let log_sums = empty(
        &scores,
        super::with_one(scores.meta.shape(), &2),
        DType::F32,
    );
    let size = vector_size(&scores, &[width, pitch]);
    let vectors = width / size;
    let (count, cube, group) = rows(&client, log_sums.meta.num_elements(), vectors);
    // SAFETY: a unit stays in its row, of which the others have as many as `log_sums` has elements.
    unsafe {
        softmax_kernel::launch_unchecked(
            &client,
            count,
            cube,
            address_type(&[&scores]),
            size,
            scores.into_buffer_arg(),
            weights.clone().into_buffer_arg(),
            log_sums.clone().into_buffer_arg(),
            scale,
            pitch / size,
            (keys < width).then_some(keys),
            vectors,
            group,
            elem_type(dtype),
        );
    }
    (weights, log_sums)
}

pub(super) fn softmax_backward(
    scores: CubeTensor,
    of_weights: CubeTensor,
    log_sums: CubeTensor,
    along: CubeTensor,
    scale: f32,
    keys: usize,
) -> (CubeTensor, CubeTensor) {
    let [log_sums, along] = [log_sums, along].map(into_contiguous);
    let [(scores, scores_pitch), (of_weights, of_weights_pitch)] =
        [scores, of_weights].map(in_rows);
    let [_, _, width] = scores.meta.shape().dims();
    let (client, dtype) = (scores.client.clone(), scores.dtype);
    let [weights, of_scores] =
        std::array::from_fn(|_| empty(&scores, scores.meta.shape().clone(), dtype));
    let size = vector_size(&scores, &[width, scores_pitch, of_weights_pitch]);
    let (count, cube) = units(&client, weights.meta.num_elements() / size);
    // SAFETY: a unit reads and writes its own vector of a row, of which all have as many as `log_sums` and `along` have elements.
    unsafe {
        softmax_backward_kernel::launch_unchecked(
            &client,
            count,
            cube,
            address_type(&[&scores]),
            size,
            scores.into_buffer_arg(),
            of_weights.into_buffer_arg(),
            log_sums.into_buffer_arg(),
            along.into_buffer_arg(),
            weights.clone().into_buffer_arg(),
            of_scores.clone().into_buffer_arg(),
            scale,
            scores_pitch / size,
            of_weights_pitch / size,
            (keys < width).then_some(keys),
            width / size,
            elem_type(dtype),
        );
    }
    (weights, of_scores)
}
