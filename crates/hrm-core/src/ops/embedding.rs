//! Rows of a small table, one for each token.

use burn::tensor::{FloatDType, Int, Tensor};

/// A table up to so large gets its gradient by a product with the tokens as rows of zeros and a one.
#[cfg(any(feature = "flex", feature = "cube"))]
const MOST_ROWS: usize = 64;

/// The rows of `ids`, in the type `to`.
///
/// The gradient is summed in f32 whatever the type: Burn's own adds one token after the other in the type of the rows, which
/// bf16 does not bear, and on a GPU does so with a few hundred threads.
///
/// # Shapes
/// `table` `[V, D]`, `ids` `[B, S]` in `0..V` → `[B, S, D]`
#[must_use]
pub fn embedding(table: Tensor<2>, ids: Tensor<2, Int>, to: FloatDType) -> Tensor<3> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    {
        let on_cpu = super::fused_available(&table) && to == FloatDType::F32;
        let table = table.clone().unsqueeze::<3>();
        let small = table.dims()[1] <= MOST_ROWS;
        if super::fused_enabled() && !on_cpu && small && super::recompute::available(&table) {
            let ids = Box::new(ids.without_autodiff());
            let chain = super::recompute::Chain::Embedding { ids, to };
            return super::recompute::run(table, chain);
        }
    }
    composed(table, ids, to)
}

/// [`embedding`] out of plain Burn operations.
#[must_use]
pub fn composed(table: Tensor<2>, ids: Tensor<2, Int>, to: FloatDType) -> Tensor<3> {
    let ([batch, len], [_, width]) = (ids.dims(), table.dims());
    // A cast to the type that it has is no operation.
    table
        .cast(to)
        .select(0, ids.reshape([batch * len]))
        .reshape([batch, len, width])
}

/// The gradient of the table, `[1, V, D]` in f32, from that of the rows.
#[cfg(any(feature = "flex", feature = "cube"))]
pub(super) fn backward(ids: Tensor<2, Int>, rows: usize, grad: Tensor<3>) -> Tensor<3> {
    let [batch, len] = ids.dims();
    let tokens = Tensor::<1, Int>::arange(0..rows as i64, (&ids.device(), ids.dtype()));
    let is_row = ids
        .reshape([batch, len, 1])
        .expand([batch, len, rows])
        .equal(tokens.reshape([1, 1, rows]).expand([batch, len, rows]));
    let is_row: Tensor<3> = is_row.float().cast(grad.dtype());
    super::matmul(is_row.swap_dims(1, 2), grad)
        .cast(FloatDType::F32)
        .sum_dim(0)
}
