//! What the parts compute, once more on the host: f64, a loop for each sum, nothing of Burn.

use hrm_core::ops::NORM_EPSILON;

/// Rows of a weight `[outputs, inputs]`, or of a batch.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    pub(super) width: usize,
    pub(super) values: Vec<f64>,
}

impl Matrix {
    pub(super) fn rows(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.width)
    }

    fn map(&self, function: impl Fn(f64) -> f64) -> Self {
        let values = self.values.iter().copied().map(function);
        Self {
            values: values.collect(),
            ..*self
        }
    }

    fn with(&self, other: &Self, function: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = self.values.iter().zip(&other.values);
        Self {
            values: pairs.map(|(&a, &b)| function(a, b)).collect(),
            ..*self
        }
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        self.with(other, |a, b| a + b)
    }
}

/// `x` `[n, inputs]` by the rows of `weight` `[outputs, inputs]`: `[n, outputs]`.
pub(super) fn linear(x: &Matrix, weight: &Matrix) -> Matrix {
    let product = |x: &[f64], row: &[f64]| x.iter().zip(row).map(|(a, b)| a * b).sum();
    let values = x
        .rows()
        .flat_map(|x| weight.rows().map(move |row| product(x, row)));
    Matrix {
        values: values.collect(),
        width: weight.values.len() / weight.width,
    }
}

/// The gradient `[n, inputs]` of [`linear`] from that of its output `[n, outputs]`.
pub(super) fn linear_backward(weight: &Matrix, gradient: &Matrix) -> Matrix {
    let mut values = Vec::with_capacity(gradient.rows().len() * weight.width);
    for gradient in gradient.rows() {
        let mut sums = vec![0.0; weight.width];
        for (row, g) in weight.rows().zip(gradient) {
            for (sum, w) in sums.iter_mut().zip(row) {
                *sum += g * w;
            }
        }
        values.append(&mut sums);
    }
    Matrix {
        values,
        width: weight.width,
    }
}

pub(super) fn silu(x: &Matrix) -> Matrix {
    x.map(|x| x * sigmoid(x))
}

/// The gradient of [`silu`] from that of its output.
pub(super) fn silu_backward(x: &Matrix, gradient: &Matrix) -> Matrix {
    x.with(gradient, |x, g| {
        let s = sigmoid(x);
        g * s * (1.0 + x * (1.0 - s))
    })
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Each row over the root of its mean square.
pub(super) fn rms_norm(x: &Matrix) -> Matrix {
    let values = x.rows().flat_map(|row| {
        let scale = norm_scale(row);
        row.iter().map(move |x| x * scale)
    });
    Matrix {
        values: values.collect(),
        ..*x
    }
}

/// The gradient of [`rms_norm`] from that of its output.
pub(super) fn rms_norm_backward(x: &Matrix, gradient: &Matrix) -> Matrix {
    let values = x.rows().zip(gradient.rows()).flat_map(|(row, gradient)| {
        let scale = norm_scale(row);
        let along: f64 = row.iter().zip(gradient).map(|(x, g)| x * g).sum();
        let along = along * scale * scale / row.len() as f64;
        (row.iter().zip(gradient)).map(move |(x, g)| scale * (g - x * along))
    });
    Matrix {
        values: values.collect(),
        ..*x
    }
}

fn norm_scale(row: &[f64]) -> f64 {
    let squares: f64 = row.iter().map(|x| x * x).sum();
    (squares / row.len() as f64 + NORM_EPSILON).sqrt().recip()
}

/// Turns heads of `x` `[B * len * heads, head_dim]` by the angles of their positions: pair i of a head is element i and element
/// i + head_dim/2. `direction` is 1, or -1 for the gradient.
pub(super) fn rope(x: &Matrix, len: usize, heads: usize, direction: f64) -> Matrix {
    let half = x.width / 2;
    let mut turned = x.clone();
    for (index, head) in turned.values.chunks_exact_mut(x.width).enumerate() {
        let position = (index / heads % len) as f64;
        let (left, right) = head.split_at_mut(half);
        for (i, (a, b)) in left.iter_mut().zip(right).enumerate() {
            let angle = direction * position * 10_000f64.powf(-(i as f64) / half as f64);
            let (sin, cos) = angle.sin_cos();
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        }
    }
    turned
}

/// One update of the rows of a table whose `ids` are in the slots, by the signs of the sums of their gradients `[B, E]`.
pub(super) fn sign_sgd(
    table: &Matrix,
    ids: &[i32],
    gradient: &Matrix,
    lr: f64,
    weight_decay: f64,
) -> Matrix {
    let mut updated = table.clone();
    let rows = updated.values.chunks_exact_mut(table.width);
    for (id, row) in rows.enumerate() {
        let slots = || {
            let slots = ids.iter().zip(gradient.rows());
            slots.filter(|&(&of, _)| of as usize == id)
        };
        if slots().next().is_none() {
            continue;
        }
        for (element, value) in row.iter_mut().enumerate() {
            let sum: f64 = slots().map(|(_, gradient)| gradient[element]).sum();
            let sign = if sum == 0.0 { 0.0 } else { sum.signum() };
            *value = *value * (1.0 - lr * weight_decay) - lr * sign;
        }
    }
    updated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(width: usize, values: &[f64]) -> Matrix {
        Matrix {
            width,
            values: values.to_vec(),
        }
    }

    /// Central differences of the sum of `weights` times a function, against its gradient.
    fn check(x: &Matrix, weights: &Matrix, value: impl Fn(&Matrix) -> Matrix, found: &Matrix) {
        let sum = |x: &Matrix| -> f64 {
            let y = value(x);
            y.values
                .iter()
                .zip(&weights.values)
                .map(|(y, w)| y * w)
                .sum()
        };
        for (i, &gradient) in found.values.iter().enumerate() {
            let moved = |by: f64| {
                let mut x = x.clone();
                x.values[i] += by;
                sum(&x)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((slope - gradient).abs() < 1e-8, "{i}: {slope} {gradient}");
        }
        assert_eq!(found.values.len(), x.values.len());
    }

    #[test]
    fn gradients_are_slopes() {
        let x = matrix(4, &[0.5, -1.0, 2.0, 0.25, -0.75, 1.5, 0.1, -2.0]);
        let g = matrix(4, &[1.0, 0.5, -0.3, 2.0, -1.0, 0.7, 0.2, -0.4]);
        check(&x, &g, silu, &silu_backward(&x, &g));
        check(&x, &g, rms_norm, &rms_norm_backward(&x, &g));
        check(&x, &g, |x| rope(x, 2, 1, 1.0), &rope(&g, 2, 1, -1.0));
        let weight = matrix(4, &[0.3, -0.2, 0.9, 1.1, -0.6, 0.4, 0.8, -1.2]);
        let g = matrix(2, &[1.0, -0.5, 0.25, 2.0]);
        let found = linear_backward(&weight, &g);
        check(&x, &g, |x| linear(x, &weight), &found);
    }

    #[test]
    fn values_by_hand() {
        let x = matrix(2, &[3.0, 4.0]);
        let weight = matrix(2, &[1.0, 2.0, -1.0, 0.5, 0.0, 1.0]);
        let product = linear(&x, &weight);
        assert_eq!((product.width, product.values), (3, vec![11.0, -1.0, 4.0]));
        let norm = rms_norm(&x).values;
        let scale = 12.5f64.sqrt();
        assert!((norm[0] - 3.0 / scale).abs() < 1e-5 && (norm[1] - 4.0 / scale).abs() < 1e-5);
        // A head of two elements turns by its position in radians.
        let turned = rope(&matrix(2, &[1.0, 0.0, 1.0, 0.0]), 2, 1, 1.0);
        assert_eq!(turned.values, [1.0, 0.0, 1f64.cos(), 1f64.sin()]);
        // Row 1 is in two slots whose gradients have a sum of 0 in one element; row 0 is in none.
        let table = matrix(2, &[1.0, 1.0, 2.0, 2.0]);
        let gradient = matrix(2, &[0.5, 1.0, -0.5, 2.0]);
        let updated = sign_sgd(&table, &[1, 1], &gradient, 0.1, 0.5);
        assert_eq!(updated.values, [1.0, 1.0, 1.9, 1.9 - 0.1]);
    }
}
