//! Muon: momentum whose update is replaced by the nearest matrix with equal singular values (K. Jordan, "Muon: an optimizer for
//! hidden layers in neural networks", 2024), scaled to AdamW's size (Moonshot, "Muon is scalable for LLM training", 2025), so
//! that one rate and one decay serve both.
//!
//! Burn has a Muon too, but one whose momentum can't be read back, so not be saved and gone on with.

use burn::tensor::Tensor;
use hrm_core::ops::matmul;

/// Coefficients of the quintic iteration: steep at zero, and all singular values end between about 0.7 and 1.2.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// Iterations.
const ITERATIONS: usize = 5;

/// The numbers of one Muon update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MuonHyper {
    /// Learning rate of this step.
    pub lr: f64,
    /// Weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
    /// Decay of the average of the gradient.
    pub momentum: f64,
}

/// Whether Muon's rule is for the weight of an official name: the matrices of the levels. Embeddings, heads and the bias are
/// AdamW's.
pub(crate) fn is_hidden_matrix(name: &str) -> bool {
    name.starts_with("H_level.") || name.starts_with("L_level.")
}

/// Matrices that lie one under the other in the weight of an official name; each has an update of its own.
pub(crate) fn stacked(name: &str) -> usize {
    if name.contains("qkv_proj") {
        3
    } else if name.contains("gate_up_proj") {
        2
    } else {
        1
    }
}

/// One Muon update of a weight and its momentum, both flat, by its gradient:
/// `m = lerp(m, g, 1-mu); u = orthogonal(lerp(g, m, mu)); p = p * (1 - lr*wd) - lr * 0.2 * sqrt(max(rows, columns)) * u`.
///
/// # Shapes
/// `p`, `m`, `g` `[rows * columns]`, `shape` (rows, columns) of all `parts` together, which divide the rows
pub(crate) fn muon_update(
    p: Tensor<1>,
    m: Tensor<1>,
    g: Tensor<1>,
    shape: [usize; 2],
    parts: usize,
    hyper: MuonHyper,
) -> (Tensor<1>, Tensor<1>) {
    let MuonHyper {
        lr,
        weight_decay,
        momentum,
    } = hyper;
    let [rows, columns] = shape;
    let part = rows / parts;
    let m = m.mul_scalar(momentum) + g.clone().mul_scalar(1.0 - momentum);
    let ahead = m.clone().mul_scalar(momentum) + g.mul_scalar(1.0 - momentum);
    let ahead: Tensor<2> = ahead.reshape([rows, columns]);
    let updates = (0..parts)
        .map(|i| orthogonal(ahead.clone().narrow(0, i * part, part)))
        .collect();
    let update = Tensor::cat(updates, 0).reshape([rows * columns]);
    let scale = lr * 0.2 * (part.max(columns) as f64).sqrt();
    let p = p.mul_scalar(1.0 - lr * weight_decay) - update.mul_scalar(scale);
    (p, m)
}

/// The matrix with the same singular vectors and singular values near 1, by Newton and Schulz; zero stays zero.
fn orthogonal(g: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = g.dims();
    let tall = rows > columns;
    let mut x = if tall { g.transpose() } else { g };
    let norm = x.clone().square().sum().sqrt().clamp_min(1e-12);
    x = x / norm.unsqueeze();
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..ITERATIONS {
        let square = matmul(x.clone(), x.clone().transpose());
        let fourth = matmul(square.clone(), square.clone());
        let factor = square.mul_scalar(b) + fourth.mul_scalar(c);
        x = x.clone().mul_scalar(a) + matmul(factor, x);
    }
    if tall { x.transpose() } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    type Matrix = Vec<Vec<f64>>;

    fn product(a: &Matrix, b: &Matrix) -> Matrix {
        let at = |i: usize, j: usize| (0..b.len()).map(|k| a[i][k] * b[k][j]).sum();
        (0..a.len())
            .map(|i| (0..b[0].len()).map(|j| at(i, j)).collect())
            .collect()
    }

    fn transpose(a: &Matrix) -> Matrix {
        let column = |j: usize| a.iter().map(|row| row[j]).collect();
        (0..a[0].len()).map(column).collect()
    }

    fn combine(a: f64, x: &Matrix, b: f64, y: &Matrix) -> Matrix {
        let row =
            |(x, y): (&Vec<f64>, &Vec<f64>)| x.iter().zip(y).map(|(x, y)| a * x + b * y).collect();
        x.iter().zip(y).map(row).collect()
    }

    /// The iteration in f64, element by element.
    fn orthogonal_by_hand(g: &Matrix) -> Matrix {
        let tall = g.len() > g[0].len();
        let x = if tall { transpose(g) } else { g.clone() };
        let norm = x.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
        let mut x = combine(1.0 / norm.max(1e-12), &x, 0.0, &x);
        for _ in 0..5 {
            let a = product(&x, &transpose(&x));
            let b = combine(-4.7750, &a, 2.0315, &product(&a, &a));
            x = combine(3.4445, &x, 1.0, &product(&b, &x));
        }
        if tall { transpose(&x) } else { x }
    }

    fn value(i: usize, step: usize) -> f64 {
        f64::from(((i * 37 + step * 11) as f32 * 0.61).sin())
    }

    #[test]
    fn it_follows_its_formula_in_f64() {
        let hyper = MuonHyper {
            lr: 0.02,
            weight_decay: 0.3,
            momentum: 0.95,
        };
        for ([rows, columns], parts) in [([3, 5], 1), ([7, 4], 1), ([12, 4], 3), ([6, 6], 2)] {
            let device = Device::flex();
            let count = rows * columns;
            let flat = |values: Vec<f32>| -> Tensor<1> {
                Tensor::from_data(TensorData::new(values, [count]), &device)
            };
            let mut p = flat((0..count).map(|i| value(i, 9) as f32).collect());
            let mut m = flat(vec![0.0; count]);
            let mut expected: Matrix = (0..rows)
                .map(|i| (0..columns).map(|j| value(i * columns + j, 9)).collect())
                .collect();
            let mut average = combine(0.0, &expected, 0.0, &expected);
            for step in 0..6 {
                let g: Matrix = (0..rows)
                    .map(|i| (0..columns).map(|j| value(i * columns + j, step)).collect())
                    .collect();
                let g32 = g.iter().flatten().map(|&x| x as f32).collect();
                (p, m) = muon_update(p, m, flat(g32), [rows, columns], parts, hyper);
                average = combine(0.95, &average, 0.05, &g);
                let ahead = combine(0.95, &average, 0.05, &g);
                let part = rows / parts;
                let update: Matrix = ahead
                    .chunks(part)
                    .flat_map(|c| orthogonal_by_hand(&c.to_vec()))
                    .collect();
                let scale = 0.02 * 0.2 * (part.max(columns) as f64).sqrt();
                expected = combine(1.0 - 0.02 * 0.3, &expected, -scale, &update);
            }
            let found: Vec<f64> = p.into_data().iter::<f64>().collect();
            for (found, expected) in found.iter().zip(expected.iter().flatten()) {
                // Five iterations stretch f32's rounding by at most 3.4445^5 on directions that hardly occur in the gradient.
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{rows}x{columns}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn singular_values_come_near_one_and_zero_stays_zero() {
        let device = Device::flex();
        // A diagonal shows its singular values.
        let g = Tensor::<2>::from_data([[5.0, 0.0, 0.0], [0.0, -0.5, 0.0]], &device);
        let found: Vec<f32> = orthogonal(g).into_data().iter::<f32>().collect();
        assert!((0.6..1.3).contains(&found[0]), "{found:?}");
        assert!((-1.3..-0.6).contains(&found[4]), "{found:?}");
        assert!(
            [1, 2, 3, 5].iter().all(|&i| found[i].abs() < 1e-6),
            "{found:?}"
        );
        let zero = orthogonal(Tensor::<2>::zeros([4, 3], &device));
        assert!(zero.into_data().iter::<f32>().all(|x| x == 0.0));
    }

    #[test]
    fn the_matrices_of_the_levels_are_its_own() {
        for (name, hidden, parts) in [
            ("H_level.layers.0.self_attn.qkv_proj.weight", true, 3),
            ("L_level.layers.3.mlp.gate_up_proj.weight", true, 2),
            ("L_level.layers.0.mlp_t.down_proj.weight", true, 1),
            ("lm_head.weight", false, 1),
            ("q_head.bias", false, 1),
            ("embed_tokens.embedding_weight", false, 1),
        ] {
            assert_eq!((is_hidden_matrix(name), stacked(name)), (hidden, parts));
        }
    }
}
