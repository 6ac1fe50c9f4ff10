//! Full multi-head attention from the fused projection.

use burn::tensor::{FloatDType, Tensor, activation::softmax};

use super::{RopeTable, matmul};

/// Scores that a block may hold at most: 1 GiB in f32.
const MOST_SCORES: usize = 1 << 28;

/// Full (non-causal) multi-head attention, softmax scale `1 / sqrt(head_dim)`, with rotary positions on
/// queries and keys when `rope` is given.
///
/// # Shapes
/// `qkv` `[B, L, 3D]`: the heads of the queries, of the keys, of the values → `[B, L, D]`
///
/// # Panics
/// If `3 * num_heads` does not divide the last dimension, or `rope` was made for another length or head size.
#[must_use]
pub fn attention(qkv: Tensor<3>, num_heads: usize, rope: Option<&RopeTable>) -> Tensor<3> {
    let [_, len, width] = qkv.dims();
    assert!(
        num_heads > 0 && width.is_multiple_of(3 * num_heads),
        "attention: expected a last dimension of 3 * {num_heads} heads of equal size, got {width}"
    );
    let head_dim = width / (3 * num_heads);
    if let Some(rope) = rope {
        assert_eq!(
            rope.cos.dims(),
            [len, head_dim],
            "rotary tables are for another [length, head size] than the queries"
        );
    }
    #[cfg(feature = "flex")]
    if super::fused::available(&qkv) && rope.is_none_or(|rope| super::fused::available(&rope.cos)) {
        return super::fused::attention(qkv, num_heads, rope);
    }
    if super::fused_enabled() {
        return recomputed(qkv, num_heads, rope);
    }
    composed(qkv, num_heads, rope)
}

/// [`attention`] out of plain Burn operations; keeps the `[B, heads, L, L]` probabilities for the gradient.
#[must_use]
pub fn composed(qkv: Tensor<3>, num_heads: usize, rope: Option<&RopeTable>) -> Tensor<3> {
    let dtype = qkv.dtype();
    let [q, k, v] = heads_of(qkv, num_heads, rope);
    let weights = softmax(scores(q, k), 2).cast(dtype);
    together(matmul(weights, v), num_heads)
}

/// [`attention`] out of plain Burn operations that goes through the scores in blocks and, where a gradient is wanted, computes
/// them again: the memory of a training step grows with the length and not with its square.
#[must_use]
pub fn recomputed(qkv: Tensor<3>, num_heads: usize, rope: Option<&RopeTable>) -> Tensor<3> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    if super::recompute::available(&qkv) {
        let chain = super::recompute::Chain::Attention {
            heads: num_heads,
            rope: rope.map(|rope| Box::new(rope.plain())),
        };
        return super::recompute::run(qkv, chain);
    }
    if qkv.is_autodiff() {
        return composed(qkv, num_heads, rope);
    }
    in_blocks(qkv, num_heads, rope).0
}

/// Queries, keys and values, `[B * heads, L, head_dim]` each, the first two turned. In order in memory: products on a GPU
/// would make a copy each of anything else. Our kernels add a few keys and values of zeros, which get no weight.
fn heads_of(qkv: Tensor<3>, num_heads: usize, rope: Option<&RopeTable>) -> [Tensor<3>; 3] {
    #[cfg(feature = "cube")]
    if super::kernels::available(&qkv) {
        return super::kernels::split_heads(qkv, num_heads, rope);
    }
    let [batch, len, width] = qkv.dims();
    let (model, head_dim) = (width / 3, width / (3 * num_heads));
    let part = |start, heads| {
        qkv.clone()
            .narrow(2, start * model, heads * head_dim)
            .reshape([batch, len, heads, head_dim])
    };
    let turned = part(0, 2 * num_heads);
    let turned = match rope {
        Some(rope) => rope.apply(turned),
        None => turned,
    };
    let half = |i| turned.clone().narrow(2, i * num_heads, num_heads);
    [half(0), half(1), part(2, num_heads)].map(apart)
}

/// `[B, L, heads, head_dim]` → `[B * heads, L, head_dim]`
fn apart(x: Tensor<4>) -> Tensor<3> {
    let [batch, len, num_heads, head_dim] = x.dims();
    x.swap_dims(1, 2)
        .reshape([batch * num_heads, len, head_dim])
}

/// `[B * heads, L, head_dim]` → `[B, L, D]`
fn together(x: Tensor<3>, num_heads: usize) -> Tensor<3> {
    let [rows, len, head_dim] = x.dims();
    let batch = rows / num_heads;
    x.reshape([batch, num_heads, len, head_dim])
        .swap_dims(1, 2)
        .reshape([batch, len, num_heads * head_dim])
}

fn scale(head_dim: usize) -> f64 {
    1.0 / (head_dim as f64).sqrt()
}

/// Products of queries and keys.
fn products(q: Tensor<3>, k: Tensor<3>) -> Tensor<3> {
    matmul(q, k.swap_dims(1, 2))
}

/// Scaled products of queries and keys, in f32.
fn scores(q: Tensor<3>, k: Tensor<3>) -> Tensor<3> {
    let [.., head_dim] = q.dims();
    products(q, k)
        .cast(FloatDType::F32)
        .mul_scalar(scale(head_dim))
}

/// The weights of plain queries and the first `keys` keys, and `ln Σ exp` of the scores of each query in f32.
#[cfg_attr(
    not(feature = "cube"),
    expect(unused_variables, reason = "there are no others")
)]
fn weights(q: Tensor<3>, k: Tensor<3>, keys: usize) -> (Tensor<3>, Tensor<3>) {
    #[cfg(feature = "cube")]
    if super::kernels::available(&q) {
        let [.., head_dim] = q.dims();
        return super::kernels::softmax(products(q, k), scale(head_dim), keys);
    }
    let dtype = q.dtype();
    let scores = scores(q, k);
    let most = scores.clone().max_dim(2);
    let weights = scores.sub(most.clone()).exp();
    let sum = weights.clone().sum_dim(2);
    (weights.div(sum.clone()).cast(dtype), most + sum.log())
}

/// The weights again, and the gradient of the products from that of the weights: with `ln Σ exp` of the scores of each query, and
/// `along`, the sum over the keys of weight times gradient.
#[cfg(any(feature = "flex", feature = "cube"))]
#[cfg_attr(
    not(feature = "cube"),
    expect(unused_variables, reason = "there are no others")
)]
fn weights_backward(
    [q, k]: [Tensor<3>; 2],
    of_weights: Tensor<3>,
    log_sums: Tensor<3>,
    along: Tensor<3>,
    keys: usize,
) -> (Tensor<3>, Tensor<3>) {
    let [.., head_dim] = q.dims();
    #[cfg(feature = "cube")]
    if super::kernels::available(&q) {
        let products = products(q, k);
        return super::kernels::softmax_backward(
            products,
            of_weights,
            log_sums,
            along,
            scale(head_dim),
            keys,
        );
    }
    let dtype = q.dtype();
    let weights = scores(q, k).sub(log_sums).exp();
    let of_products = of_weights
        .cast(FloatDType::F32)
        .sub(along)
        .mul(weights.clone())
        .mul_scalar(scale(head_dim));
    (weights.cast(dtype), of_products.cast(dtype))
}

/// How many slots are computed at a time, and how many of their queries: the scores of a block have at most twice as many
/// elements as the projection, and no more than [`MOST_SCORES`]. A batch of Sudokus is one block.
fn block([batch, len, width]: [usize; 3], num_heads: usize) -> (usize, usize) {
    let elements = [2, batch, len, width].into_iter();
    let most = elements.fold(1, usize::saturating_mul).min(MOST_SCORES);
    let row = num_heads.saturating_mul(len);
    match most / row.saturating_mul(len) {
        0 => (1, (most / row).clamp(1, len)),
        slots => (slots.min(batch), len),
    }
}

/// Starts and sizes of the parts of a whole.
fn parts(whole: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..whole)
        .step_by(size)
        .map(move |start| (start, size.min(whole - start)))
}

/// A part of a dimension; all of it is the tensor itself, which a kernel can be fused with.
fn part_of<const D: usize>(x: &Tensor<D>, dim: usize, (start, size): (usize, usize)) -> Tensor<D> {
    match size == x.dims()[dim] {
        true => x.clone(),
        false => x.clone().narrow(dim, start, size),
    }
}

fn joined<const D: usize>(mut parts: Vec<Tensor<D>>, dim: usize) -> Tensor<D> {
    match parts.len() {
        1 => parts.remove(0),
        _ => Tensor::cat(parts, dim),
    }
}

/// A sum of blocks in f32; a single one is left in its type.
#[cfg(any(feature = "flex", feature = "cube"))]
struct Total(Option<Tensor<3>>);

#[cfg(any(feature = "flex", feature = "cube"))]
impl Total {
    fn add(&mut self, block: Tensor<3>) {
        self.0 = Some(match self.0.take() {
            None => block,
            Some(sum) => sum.cast(FloatDType::F32) + block.cast(FloatDType::F32),
        });
    }

    fn get(self, dtype: burn::tensor::DType) -> Tensor<3> {
        self.0
            .unwrap_or_else(|| unreachable!("a sequence has a query"))
            .cast(dtype)
    }
}

/// Attention of a plain tensor, and `ln Σ exp` of the scores of each query, `[B * heads, L, 1]` in f32.
pub(super) fn in_blocks(
    qkv: Tensor<3>,
    num_heads: usize,
    rope: Option<&RopeTable>,
) -> (Tensor<3>, Tensor<3>) {
    let [batch, len, width] = qkv.dims();
    let (slots, queries) = block([batch, len, width], num_heads);
    let (mut outs, mut log_sums) = (Vec::new(), Vec::new());
    for slots in parts(batch, slots) {
        let [q, k, v] = heads_of(part_of(&qkv, 0, slots), num_heads, rope);
        let (mut rows, mut sums) = (Vec::new(), Vec::new());
        for queries in parts(len, queries) {
            let (weights, log_sums) = weights(part_of(&q, 1, queries), k.clone(), len);
            rows.push(matmul(weights, v.clone()));
            sums.push(log_sums);
        }
        outs.push(together(joined(rows, 1), num_heads));
        log_sums.push(joined(sums, 1));
    }
    (joined(outs, 0), joined(log_sums, 0))
}

/// The gradient of the projection from that of the output, with what [`in_blocks`] returned.
#[cfg(any(feature = "flex", feature = "cube"))]
pub(super) fn backward(
    qkv: Tensor<3>,
    out: Tensor<3>,
    log_sums: Tensor<3>,
    grad: Tensor<3>,
    num_heads: usize,
    rope: Option<&RopeTable>,
) -> Tensor<3> {
    let [batch, len, width] = qkv.dims();
    let dtype = qkv.dtype();
    let (slots, queries) = block([batch, len, width], num_heads);
    let mut grads = Vec::new();
    for slots in parts(batch, slots) {
        let (start, count) = slots;
        let [q, k, v] = heads_of(part_of(&qkv, 0, slots), num_heads, rope);
        let [grad, along] =
            split_grad(part_of(&grad, 0, slots), part_of(&out, 0, slots), num_heads);
        let log_sums = part_of(&log_sums, 0, (start * num_heads, count * num_heads));
        let (mut of_q, mut of_k, mut of_v) = (Vec::new(), Total(None), Total(None));
        for queries in parts(len, queries) {
            let [q, grad, log_sums, along] =
                [&q, &grad, &log_sums, &along].map(|x| part_of(x, 1, queries));
            let of_weights = matmul(grad.clone(), v.clone().swap_dims(1, 2));
            let (weights, of_products) =
                weights_backward([q.clone(), k.clone()], of_weights, log_sums, along, len);
            of_v.add(matmul(weights.swap_dims(1, 2), grad));
            of_q.push(matmul(of_products.clone(), k.clone()));
            of_k.add(matmul(of_products.swap_dims(1, 2), q));
        }
        let parts = [joined(of_q, 1), of_k.get(dtype), of_v.get(dtype)];
        grads.push(together_again(parts, num_heads, rope));
    }
    joined(grads, 0)
}

/// The gradient of an output by heads, `[B * heads, L, head_dim]`, and of each query the sum over the keys of weight times gradient of the
/// weight, which is that of gradient times output, `[B * heads, L, 1]` in f32.
#[cfg(any(feature = "flex", feature = "cube"))]
fn split_grad(grad: Tensor<3>, out: Tensor<3>, num_heads: usize) -> [Tensor<3>; 2] {
    #[cfg(feature = "cube")]
    if super::kernels::available(&grad) {
        return super::kernels::split_grad(grad, out, num_heads);
    }
    let [batch, len, width] = grad.dims();
    let [grad, out] = [grad, out].map(|x| x.reshape([batch, len, num_heads, width / num_heads]));
    let along = grad.clone().cast(FloatDType::F32) * out.cast(FloatDType::F32);
    [apart(grad), apart(along.sum_dim(3))]
}

/// The gradient of the projection from those of what [`heads_of`] returned.
#[cfg(any(feature = "flex", feature = "cube"))]
fn together_again(parts: [Tensor<3>; 3], num_heads: usize, rope: Option<&RopeTable>) -> Tensor<3> {
    #[cfg(feature = "cube")]
    if super::kernels::available(&parts[0]) {
        return super::kernels::split_heads_backward(parts, num_heads, rope);
    }
    let [rows, len, head_dim] = parts[0].dims();
    let batch = rows / num_heads;
    let model = num_heads * head_dim;
    let [of_q, of_k, of_v] =
        parts.map(|x| x.reshape([batch, num_heads, len, head_dim]).swap_dims(1, 2));
    let turned = Tensor::cat(vec![of_q, of_k], 2);
    let turned = match rope {
        Some(rope) => rope.apply_back(turned),
        None => turned,
    };
    let turned = turned.reshape([batch, len, 2 * model]);
    let of_v = of_v.reshape([batch, len, model]);
    Tensor::cat(vec![turned, of_v], 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_sudokus_is_one_block_and_one_of_mazes_is_several() {
        assert_eq!(block([768, 97, 3 * 512], 8), (768, 97));
        // 2^28 scores are 39 slots of 8 * 916^2.
        assert_eq!(block([768, 916, 3 * 512], 8), (39, 916));
        // A slot's own scores are more than twice its projection: 2 * 916 * 1536 are 384 queries of 8 * 916.
        assert_eq!(block([1, 916, 3 * 512], 8), (1, 384));
        assert_eq!(block([1, 900, 3], 1), (1, 6));
        assert_eq!(block([1, 1, 6], 1), (1, 1));
    }

    #[test]
    fn parts_cover_the_whole() {
        assert_eq!(parts(7, 3).collect::<Vec<_>>(), [(0, 3), (3, 3), (6, 1)]);
        assert_eq!(parts(7, 7).collect::<Vec<_>>(), [(0, 7)]);
    }
}
