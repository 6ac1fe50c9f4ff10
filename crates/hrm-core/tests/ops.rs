//! The operations against f64 computations, finite differences and numbers checkable by hand, and the fused
//! CPU kernels against plain Burn operations.

use burn::tensor::{Device, Int, Tensor, TensorData, Tolerance};
use hrm_core::ops::{self, AdamAtan2Hyper, LossKind, RopeTable};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn device() -> Device {
    Device::flex()
}

fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-2.0..2.0)).collect()
}

fn random<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let count = shape.iter().product();
    Tensor::from_data(TensorData::new(values(seed, count), shape), device)
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn assert_close(name: &str, found: &[f32], expected: &[f64], relative: f64, absolute: f64) {
    assert_eq!(found.len(), expected.len(), "{name}: length");
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(f) - e).abs();
        assert!(
            error <= absolute + relative * e.abs(),
            "{name}[{i}]: expected {e:e}, got {f:e}"
        );
    }
}

fn stablemax_loss_f64(logits: &[f32], label: usize) -> f64 {
    let mass = |x: f32| {
        let x = f64::from(x);
        if x >= 0.0 {
            x + 1.0
        } else {
            1.0 / (1.0 - x + 1e-30)
        }
    };
    let others: f64 = (0..logits.len())
        .filter(|&i| i != label)
        .map(|i| mass(logits[i]))
        .sum();
    (others / mass(logits[label])).ln_1p()
}

fn softmax_loss_f64(logits: &[f32], label: usize) -> f64 {
    let max = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    sum.ln() - f64::from(logits[label] - max)
}

#[test]
fn rms_norm_divides_by_the_root_mean_square() {
    let x = Tensor::<3>::from_data([[[3.0, -4.0]]], &device());
    let rms = (12.5f32 + 1e-5).sqrt();
    ops::rms_norm(x).into_data().assert_approx_eq::<f32>(
        &TensorData::from([[[3.0 / rms, -4.0 / rms]]]),
        Tolerance::absolute(1e-6),
    );
}

#[test]
fn add_rms_norm_normalises_the_sum() {
    let x = Tensor::<3>::from_data([[[1.0, -1.0]]], &device());
    let y = Tensor::<3>::from_data([[[2.0, -3.0]]], &device());
    let rms = (12.5f32 + 1e-5).sqrt();
    ops::add_rms_norm(x, y).into_data().assert_approx_eq::<f32>(
        &TensorData::from([[[3.0 / rms, -4.0 / rms]]]),
        Tolerance::absolute(1e-6),
    );
}

#[test]
fn swiglu_gates_the_second_half() {
    let x = Tensor::<3>::from_data([[[0.0, 2.0, 5.0, 3.0]]], &device());
    let silu = 2.0 / (1.0 + (-2.0f32).exp());
    ops::swiglu(x).into_data().assert_approx_eq::<f32>(
        &TensorData::from([[[0.0, 3.0 * silu]]]),
        Tolerance::absolute(1e-6),
    );
}

#[test]
fn linear_multiplies_by_the_transposed_weight() {
    let x = Tensor::<3>::from_data([[[1.0, 2.0]]], &device());
    let weight = Tensor::<2>::from_data([[1.0, 10.0], [3.0, 4.0], [-1.0, 0.0]], &device());
    ops::linear(x, weight).into_data().assert_approx_eq::<f32>(
        &TensorData::from([[[21.0, 11.0, -1.0]]]),
        Tolerance::absolute(1e-6),
    );
}

#[test]
fn attention_with_equal_scores_averages_the_values() {
    // Queries of zero give every key the same weight.
    let qkv = Tensor::<3>::from_data(
        [[
            [0.0, 0.0, 1.0, 2.0, 4.0, 6.0],
            [0.0, 0.0, 3.0, 4.0, 8.0, 2.0],
        ]],
        &device(),
    );
    let out = ops::attention(qkv, 1, None);
    out.into_data().assert_approx_eq::<f32>(
        &TensorData::from([[[6.0, 4.0], [6.0, 4.0]]]),
        Tolerance::absolute(1e-6),
    );
}

/// Attention with rotary positions in f64, straight from its definition.
fn attention_f64(
    qkv: &[f32],
    [batch, len, width]: [usize; 3],
    heads: usize,
    rope: bool,
) -> Vec<f64> {
    let model = width / 3;
    let dim = model / heads;
    let half = dim / 2;
    let at = |b: usize, p: usize, part: usize, h: usize, e: usize| {
        f64::from(qkv[(b * len + p) * width + part * model + h * dim + e])
    };
    let turned = |b, p: usize, part, h, e: usize| {
        if !rope {
            return at(b, p, part, h, e);
        }
        let i = e % half;
        let angle = p as f64 * 10_000f64.powf(-2.0 * i as f64 / dim as f64);
        let (x, y) = (at(b, p, part, h, i), at(b, p, part, h, i + half));
        if e < half {
            x * angle.cos() - y * angle.sin()
        } else {
            y * angle.cos() + x * angle.sin()
        }
    };
    let mut out = vec![0.0; batch * len * model];
    for b in 0..batch {
        for h in 0..heads {
            for p in 0..len {
                let weights: Vec<f64> = (0..len)
                    .map(|s| {
                        let score: f64 = (0..dim)
                            .map(|e| turned(b, p, 0, h, e) * turned(b, s, 1, h, e))
                            .sum();
                        (score / (dim as f64).sqrt()).exp()
                    })
                    .collect();
                let sum: f64 = weights.iter().sum();
                for e in 0..dim {
                    out[(b * len + p) * model + h * dim + e] =
                        (0..len).map(|s| weights[s] / sum * at(b, s, 2, h, e)).sum();
                }
            }
        }
    }
    out
}

#[test]
fn attention_matches_its_definition_in_f64() {
    for (shape, heads, rope) in [
        ([2, 5, 24], 2, true),
        ([1, 7, 36], 3, true),
        ([2, 3, 12], 1, false),
    ] {
        let qkv = random(3, shape, &device());
        let table =
            rope.then(|| RopeTable::new(shape[1], shape[2] / 3 / heads, 10_000.0, &device()));
        let expected = attention_f64(&host(qkv.clone()), shape, heads, rope);
        for (name, out) in [
            ("chosen", ops::attention(qkv.clone(), heads, table.as_ref())),
            (
                "composed",
                ops::composed::attention(qkv, heads, table.as_ref()),
            ),
        ] {
            assert_close(name, &host(out), &expected, 1e-5, 1e-6);
        }
    }
}

#[test]
fn cross_entropy_matches_f64_over_a_wide_range() {
    // Every magnitude from 1e-6 to 1e6 with both signs, and zero.
    let mut grid = vec![0.0f32];
    for exponent in -6..=6 {
        grid.push(10f32.powi(exponent));
        grid.push(-(10f32.powi(exponent)));
    }
    let vocab = 3;
    let mut logits = Vec::new();
    for (i, &a) in grid.iter().enumerate() {
        for &b in &grid {
            logits.extend([a, b, grid[(i * 7 + 3) % grid.len()]]);
        }
    }
    let cells = logits.len() / vocab;
    for kind in [LossKind::Stablemax, LossKind::Softmax] {
        let expected: Vec<f64> = logits
            .chunks(vocab)
            .map(|row| match kind {
                LossKind::Stablemax => stablemax_loss_f64(row, 0),
                LossKind::Softmax => softmax_loss_f64(row, 0),
            })
            .collect();
        let x = Tensor::<3>::from_data(
            TensorData::new(logits.clone(), [cells, 1, vocab]),
            &device().autodiff(),
        )
        .require_grad();
        let labels = Tensor::<2, Int>::zeros([cells, 1], &device());
        for (name, loss) in [
            (
                "chosen",
                ops::token_cross_entropy(kind, x.clone(), labels.clone()),
            ),
            (
                "composed",
                ops::composed::token_cross_entropy(kind, x.clone(), labels.clone()),
            ),
        ] {
            // Softmax sums exponentials: a loss near zero has the absolute precision of 1.
            let absolute = if kind == LossKind::Softmax {
                1e-6
            } else {
                1e-12
            };
            assert_close(
                name,
                &host(loss.clone().without_autodiff()),
                &expected,
                1e-5,
                absolute,
            );
            let grads = loss.sum().backward();
            let grad = host(x.grad(&grads).unwrap());
            assert!(
                grad.iter().all(|g| g.is_finite()),
                "{name}: a gradient is not finite"
            );
        }
    }
}

#[test]
fn cross_entropy_averages_valid_cells_and_skips_empty_rows() {
    let x = random(5, [3, 4, 6], &device().autodiff()).require_grad();
    let labels = Tensor::<2, Int>::from_data(
        [[1, -100, 5, 0], [-100, -100, -100, -100], [2, 3, 4, 5]],
        &device(),
    );
    let logits = host(x.clone().without_autodiff());
    let cell = |i: usize, label| stablemax_loss_f64(&logits[i * 6..(i + 1) * 6], label);
    let expected = [
        (cell(0, 1) + cell(2, 5) + cell(3, 0)) / 3.0,
        0.0,
        (cell(8, 2) + cell(9, 3) + cell(10, 4) + cell(11, 5)) / 4.0,
    ];
    for (name, loss) in [
        (
            "chosen",
            ops::token_cross_entropy(LossKind::Stablemax, x.clone(), labels.clone()),
        ),
        (
            "composed",
            ops::composed::token_cross_entropy(LossKind::Stablemax, x.clone(), labels.clone()),
        ),
    ] {
        assert_close(
            name,
            &host(loss.clone().without_autodiff()),
            &expected,
            1e-6,
            1e-7,
        );
        let grads = loss.sum().backward();
        let grad = host(x.grad(&grads).unwrap());
        assert!(
            grad[24..48].iter().all(|&g| g == 0.0),
            "{name}: the empty row has a gradient"
        );
        assert!(
            grad[6..12].iter().all(|&g| g == 0.0),
            "{name}: an ignored cell has a gradient"
        );
        assert!(
            grad[0..6].iter().any(|&g| g != 0.0),
            "{name}: a valid cell has no gradient"
        );
    }
}

#[test]
fn adam_atan2_follows_its_formula() {
    let hyper = AdamAtan2Hyper {
        lr: 0.1,
        weight_decay: 0.5,
        beta1: 0.9,
        beta2: 0.95,
        bias1: 1.0 - 0.9f64.powi(3),
        bias2: 1.0 - 0.95f64.powi(3),
    };
    let count = 37;
    let (p, m) = (values(1, count), values(2, count));
    let v: Vec<f32> = values(3, count).iter().map(|x| x * x).collect();
    let mut g = values(4, count);
    g[5] = 1e-20;
    let tensor =
        |x: &[f32]| Tensor::<1>::from_data(TensorData::new(x.to_vec(), [count]), &device());
    let mut expected = [Vec::new(), Vec::new(), Vec::new()];
    for i in 0..count {
        let [p, m, v, g] = [p[i], m[i], v[i], g[i]].map(f64::from);
        let m = 0.9 * m + 0.1 * g;
        let v = 0.95 * v + 0.05 * g * g;
        let update = m.atan2(v.sqrt() / hyper.bias2.sqrt());
        expected[0].push(p * (1.0 - 0.05) - 0.1 / hyper.bias1 * update);
        expected[1].push(m);
        expected[2].push(v);
    }
    for (name, (p, m, v)) in [
        (
            "chosen",
            ops::adam_atan2_update(tensor(&p), tensor(&m), tensor(&v), tensor(&g), hyper),
        ),
        (
            "composed",
            ops::composed::adam_atan2_update(tensor(&p), tensor(&m), tensor(&v), tensor(&g), hyper),
        ),
    ] {
        for (part, expected) in [p, m, v].into_iter().zip(&expected) {
            assert_close(name, &host(part), expected, 1e-6, 1e-6);
        }
    }
}

#[test]
fn adam_atan2_leaves_a_weight_without_gradient_alone() {
    let zero = || Tensor::<2>::zeros([2, 3], &device());
    let hyper = AdamAtan2Hyper {
        lr: 0.1,
        weight_decay: 0.0,
        beta1: 0.9,
        beta2: 0.95,
        bias1: 0.1,
        bias2: 0.05,
    };
    let p = random(9, [2, 3], &device());
    let (after, m, v) = ops::adam_atan2_update(p.clone(), zero(), zero(), zero(), hyper);
    assert_eq!(host(after), host(p));
    assert_eq!(host(m), vec![0.0; 6]);
    assert_eq!(host(v), vec![0.0; 6]);
}

#[test]
fn loss_kind_is_written_in_snake_case() {
    assert_eq!(
        serde_json::to_string(&LossKind::Stablemax).unwrap(),
        "\"stablemax\""
    );
    assert_eq!(
        serde_json::from_str::<LossKind>("\"softmax\"").unwrap(),
        LossKind::Softmax
    );
}
