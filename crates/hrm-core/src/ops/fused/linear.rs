//! `x · wᵀ` and its gradients as strided products over all rows: no transposed copy, no sum over batches.

use super::raw::{Matrix, Threads, product};

/// `x` `[rows, from]`, `weight` `[to, from]` → `[rows, to]`.
pub(super) fn forward(x: &[f32], weight: Matrix<'_>, [rows, from, _]: [usize; 3]) -> Vec<f32> {
    let x = Matrix::new(x, rows, from, from);
    product(x, weight.t(), Threads::All)
}

/// The gradient of `x`, `grad · weight`.
pub(super) fn backward_input(
    grad: &[f32],
    weight: &[f32],
    [rows, from, to]: [usize; 3],
) -> Vec<f32> {
    let grad = Matrix::new(grad, rows, to, to);
    product(grad, Matrix::new(weight, to, from, from), Threads::All)
}

/// The gradient of `weight`, `gradᵀ · x`.
pub(super) fn backward_weight(grad: &[f32], x: &[f32], [rows, from, to]: [usize; 3]) -> Vec<f32> {
    let grad = Matrix::new(grad, rows, to, to);
    product(grad.t(), Matrix::new(x, rows, from, from), Threads::All)
}
