//! Full multi-head attention from the fused projection.

use burn::tensor::{FloatDType, Tensor, activation::softmax};

use super::RopeTable;

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
    composed(qkv, num_heads, rope)
}

/// [`attention`] out of plain Burn operations; keeps the `[B, heads, L, L]` probabilities for the gradient.
#[must_use]
pub fn composed(qkv: Tensor<3>, num_heads: usize, rope: Option<&RopeTable>) -> Tensor<3> {
    let [batch, len, width] = qkv.dims();
    let head_dim = width / (3 * num_heads);
    let dtype = qkv.dtype();
    let part = |index| {
        qkv.clone()
            .narrow(2, index * num_heads * head_dim, num_heads * head_dim)
            .reshape([batch, len, num_heads, head_dim])
    };
    let turn = |x| match rope {
        Some(rope) => rope.apply(x),
        None => x,
    };
    let q = turn(part(0)).swap_dims(1, 2);
    let k = turn(part(1)).swap_dims(1, 2);
    let v = part(2).swap_dims(1, 2);
    let scores = q
        .matmul(k.swap_dims(2, 3))
        .cast(FloatDType::F32)
        .mul_scalar(1.0 / (head_dim as f64).sqrt());
    let weights = softmax(scores, 3).cast(dtype);
    weights
        .matmul(v)
        .swap_dims(1, 2)
        .reshape([batch, len, num_heads * head_dim])
}
