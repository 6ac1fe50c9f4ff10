//! The operations against f64 computations, finite differences and numbers checkable by hand, and the fused
//! CPU kernels against plain Burn operations.

use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData, Tolerance};
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
    // Every magnitude from 1e-6 to 1e6 with both signs, zero, and logits that no training should reach.
    let mut grid = vec![0.0f32];
    for exponent in (-6..=6).chain([9, 12]) {
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

/// The value and the gradients of the inputs of an operation, weighted so that no gradient is uniform.
fn value_and_grads<const D: usize>(
    inputs: &[Tensor<3>],
    f: impl Fn(&[Tensor<3>]) -> Tensor<D>,
) -> Vec<Vec<f32>> {
    let leaves: Vec<_> = inputs
        .iter()
        .map(|x| x.clone().autodiff().require_grad())
        .collect();
    let out = f(&leaves);
    let weights = random(77, out.dims(), &device());
    let mut found = vec![host(out.clone().without_autodiff())];
    let grads = out.mul(weights.autodiff()).sum().backward();
    for leaf in &leaves {
        found.push(host(leaf.grad(&grads).unwrap()));
    }
    found
}

/// Values and gradients against those expected, relative to each and to the largest.
fn same(name: &str, found: &[Vec<f32>], expected: &[Vec<f32>], tolerance: f64) {
    for (part, (found, expected)) in found.iter().zip(expected).enumerate() {
        let scale = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let expected: Vec<f64> = expected.iter().map(|&x| f64::from(x)).collect();
        let absolute = tolerance * f64::from(scale);
        let name = format!("{name}, part {part}");
        assert_close(&name, found, &expected, tolerance, absolute);
    }
}

/// Fused against composed, values and gradients, and a plain run against the recorded one.
fn agree<const D: usize>(
    name: &str,
    inputs: &[Tensor<3>],
    fused: impl Fn(&[Tensor<3>]) -> Tensor<D>,
    composed: impl Fn(&[Tensor<3>]) -> Tensor<D>,
) {
    agree_within(name, inputs, fused, composed, 1e-5);
}

/// As [`agree`], where gradients may differ by more.
fn agree_within<const D: usize>(
    name: &str,
    inputs: &[Tensor<3>],
    fused: impl Fn(&[Tensor<3>]) -> Tensor<D>,
    composed: impl Fn(&[Tensor<3>]) -> Tensor<D>,
    gradient_tolerance: f64,
) {
    let enabled = std::env::var_os("HRM_FUSED").is_none_or(|value| value != "0");
    assert_eq!(ops::fused_available(&inputs[0]), enabled);
    let found = value_and_grads(inputs, &fused);
    let expected = value_and_grads(inputs, &composed);
    same(name, &found[..1], &expected[..1], 1e-5);
    same(name, &found[1..], &expected[1..], gradient_tolerance);
    if enabled {
        // Recording changes nothing. (Burn's own softmax of a plain tensor is another kernel.)
        let plain = host(fused(inputs));
        assert_eq!(plain, found[0], "{name}: plain and recorded values differ");
    }
}

/// A tensor of this shape whose last two dimensions are not in order in memory.
fn swapped(seed: u64, [a, b, c]: [usize; 3]) -> Tensor<3> {
    random(seed, [a, c, b], &device()).swap_dims(1, 2)
}

/// A tensor of this shape from the inside of one that is larger in the last two dimensions.
fn sliced(seed: u64, [a, b, c]: [usize; 3]) -> Tensor<3> {
    random(seed, [a, b + 3, c + 5], &device())
        .narrow(1, 2, b)
        .narrow(2, 1, c)
}

const SHAPES: [[usize; 3]; 5] = [[1, 1, 2], [2, 3, 4], [3, 5, 34], [2, 97, 130], [5, 41, 258]];

#[test]
fn fused_norms_agree_with_composed_ones() {
    for shape in SHAPES {
        for (layout, x) in [
            ("dense", random(1, shape, &device())),
            ("swapped", swapped(1, shape)),
            ("sliced", sliced(1, shape)),
        ] {
            let y = random(2, shape, &device());
            agree(
                &format!("rms_norm {shape:?} {layout}"),
                std::slice::from_ref(&x),
                |x| ops::rms_norm(x[0].clone()),
                |x| ops::composed::rms_norm(x[0].clone()),
            );
            agree(
                &format!("add_rms_norm {shape:?} {layout}"),
                &[x, y],
                |x| ops::add_rms_norm(x[0].clone(), x[1].clone()),
                |x| ops::composed::add_rms_norm(x[0].clone(), x[1].clone()),
            );
        }
    }
}

#[test]
fn a_norm_of_twice_the_same_tensor_has_twice_the_gradient() {
    agree(
        "add_rms_norm of x and x",
        &[random(1, [2, 3, 8], &device())],
        |x| ops::add_rms_norm(x[0].clone(), x[0].clone()),
        |x| ops::composed::add_rms_norm(x[0].clone(), x[0].clone()),
    );
}

#[test]
fn fused_swiglu_agrees_with_composed() {
    for shape in SHAPES {
        for (layout, x) in [
            ("dense", random(3, shape, &device()).mul_scalar(8.0)),
            ("swapped", swapped(3, shape)),
            ("sliced", sliced(3, shape)),
        ] {
            agree(
                &format!("swiglu {shape:?} {layout}"),
                &[x],
                |x| ops::swiglu(x[0].clone()),
                |x| ops::composed::swiglu(x[0].clone()),
            );
        }
    }
}

#[test]
fn fused_linear_agrees_with_composed() {
    for [a, b, c] in SHAPES {
        for to in [1, 7, 66] {
            for (layout, x) in [
                ("dense", random(4, [a, b, c], &device())),
                ("swapped", swapped(4, [a, b, c])),
                ("sliced", sliced(4, [a, b, c])),
            ] {
                agree(
                    &format!("linear {:?} {layout}", [a, b, c, to]),
                    &[x, random(5, [1, to, c], &device())],
                    |x| ops::linear(x[0].clone(), x[1].clone().squeeze_dim(0)),
                    |x| ops::composed::linear(x[0].clone(), x[1].clone().squeeze_dim(0)),
                );
            }
            // A weight that is a transposed view.
            agree(
                "linear with a transposed weight",
                &[
                    random(4, [a, b, c], &device()),
                    random(5, [1, c, to], &device()),
                ],
                |x| {
                    let weight = x[1].clone().squeeze_dim::<2>(0).transpose();
                    ops::linear(x[0].clone(), weight)
                },
                |x| {
                    let weight = x[1].clone().squeeze_dim::<2>(0).transpose();
                    ops::composed::linear(x[0].clone(), weight)
                },
            );
        }
    }
}

#[test]
fn fused_transpose_agrees_with_composed() {
    // Whole squares of 16, their edges, and several blocks.
    for shape in SHAPES
        .into_iter()
        .chain([[1, 16, 32], [3, 33, 47], [2, 97, 128]])
    {
        for (layout, x) in [
            ("dense", random(14, shape, &device())),
            ("swapped", swapped(14, shape)),
            ("sliced", sliced(14, shape)),
        ] {
            agree(
                &format!("transpose {shape:?} {layout}"),
                &[x],
                |x| ops::transpose(x[0].clone()),
                |x| ops::composed::transpose(x[0].clone()),
            );
        }
    }
}

#[test]
fn a_weight_laid_out_for_products_is_the_same_matrix() {
    for (from, to) in [(1, 1), (1, 7), (5, 1), (16, 16), (37, 50), (128, 96)] {
        let weight = random(15, [to, from], &device());
        let laid_out = ops::laid_out_for_linear(weight.clone());
        assert_eq!(host(laid_out.clone()), host(weight.clone()));
        let x = random(16, [2, 9, from], &device());
        let expected = ops::composed::linear(x.clone(), weight);
        ops::linear(x, laid_out)
            .into_data()
            .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::rel_abs(1e-5, 1e-5));
    }
    // A vector has no order to change.
    let bias = random(17, [5], &device());
    assert_eq!(host(ops::laid_out_for_linear(bias.clone())), host(bias));
}

#[test]
fn fused_attention_agrees_with_composed() {
    // [batch, length, head size], heads; the last two need several blocks of query rows.
    for ([batch, len, head_dim], heads) in [
        ([1, 1, 2], 1),
        ([2, 3, 4], 2),
        ([3, 36, 32], 4),
        ([2, 97, 10], 3),
        ([1, 300, 8], 1),
        ([1, 437, 6], 2),
    ] {
        let shape = [batch, len, 3 * heads * head_dim];
        let table = RopeTable::new(len, head_dim, 10_000.0, &device());
        for rope in [None, Some(&table)] {
            for (layout, qkv) in [
                ("dense", random(6, shape, &device())),
                ("swapped", swapped(6, shape)),
                ("sliced", sliced(6, shape)),
            ] {
                agree(
                    &format!(
                        "attention {shape:?} heads {heads} rope {} {layout}",
                        rope.is_some()
                    ),
                    &[qkv],
                    |x| ops::attention(x[0].clone(), heads, rope),
                    |x| ops::composed::attention(x[0].clone(), heads, rope),
                );
            }
        }
    }
}

/// Recomputed against composed, values and gradients, in f32 and through bf16, and a plain run against the recorded one.
fn recomputed_agrees(
    name: &str,
    x: &Tensor<3>,
    recomputed: impl Fn(Tensor<3>) -> Tensor<3>,
    composed: impl Fn(Tensor<3>) -> Tensor<3>,
) {
    let inputs = std::slice::from_ref(x);
    let found = value_and_grads(inputs, |x| recomputed(x[0].clone()));
    let expected = value_and_grads(inputs, |x| composed(x[0].clone()));
    same(name, &found, &expected, 1e-5);
    assert_eq!(
        host(recomputed(x.clone())),
        found[0],
        "{name}: plain and recorded"
    );

    // bf16 has 8 bits: what is rounded in another order differs by a few times 2^-8 of the largest.
    let halved = |f: &dyn Fn(Tensor<3>) -> Tensor<3>| {
        value_and_grads(inputs, |x| {
            let out = f(x[0].clone().cast(FloatDType::BF16));
            assert_eq!(out.dtype(), DType::BF16, "{name}");
            out.cast(FloatDType::F32)
        })
    };
    let name = format!("{name} in bf16");
    same(&name, &halved(&recomputed), &halved(&composed), 3e-2);
}

#[test]
fn recomputed_norm_and_swiglu_agree_with_composed_ones() {
    for shape in SHAPES {
        for (layout, x) in [
            ("dense", random(1, shape, &device())),
            ("swapped", swapped(1, shape)),
            ("sliced", sliced(1, shape)),
        ] {
            recomputed_agrees(
                &format!("add_rms_norm {shape:?} {layout}"),
                &x,
                |x| ops::recomputed::add_rms_norm(x.clone(), x.mul_scalar(0.5)),
                |x| ops::composed::add_rms_norm(x.clone(), x.mul_scalar(0.5)),
            );
            recomputed_agrees(
                &format!("swiglu {shape:?} {layout}"),
                &x,
                ops::recomputed::swiglu,
                ops::composed::swiglu,
            );
        }
    }
}

#[test]
fn recomputed_attention_agrees_with_composed() {
    // [batch, length, head size], heads: in one block; a few slots at a time, unequal at the end; a few queries at a time.
    for ([batch, len, head_dim], heads) in [
        ([1, 1, 2], 1),
        ([3, 36, 32], 4),
        ([5, 40, 4], 2),
        ([2, 97, 10], 3),
        ([1, 437, 6], 2),
    ] {
        let shape = [batch, len, 3 * heads * head_dim];
        let table = RopeTable::new(len, head_dim, 10_000.0, &device());
        for rope in [None, Some(&table)] {
            for (layout, qkv) in [
                ("dense", random(6, shape, &device())),
                ("sliced", sliced(6, shape)),
            ] {
                recomputed_agrees(
                    &format!(
                        "attention {shape:?} heads {heads} rope {} {layout}",
                        rope.is_some()
                    ),
                    &qkv,
                    |x| ops::recomputed::attention(x, heads, rope),
                    |x| ops::composed::attention(x, heads, rope),
                );
            }
        }
    }
}

#[test]
fn the_gradient_of_an_embedding_in_bf16_is_summed_in_f32() {
    // 600 equal tokens: bf16 holds no odd number above 256, and a sum of ones in it stops there.
    let table = random(1, [3, 4], &device().autodiff()).require_grad();
    let ids = Tensor::<2, Int>::ones([6, 100], &device());
    let rows = ops::embedding(table.clone(), ids.clone(), FloatDType::BF16);
    assert_eq!(rows.dtype(), DType::BF16);
    let expected =
        ops::composed::embedding(table.clone().without_autodiff(), ids, FloatDType::BF16);
    assert_eq!(
        host(rows.clone().without_autodiff().cast(FloatDType::F32)),
        host(expected.cast(FloatDType::F32))
    );
    let grads = rows.cast(FloatDType::F32).sum().backward();
    let mut expected = vec![0.0; 12];
    expected[4..8].fill(600.0);
    assert_eq!(host(table.grad(&grads).unwrap()), expected);
}

#[test]
fn recomputed_chains_leave_constants_alone() {
    let constant = random(1, [2, 3, 12], &device().autodiff());
    let leaf = random(2, [2, 3, 4], &device().autodiff()).require_grad();
    let out = ops::recomputed::attention(constant.clone(), 1, None) * leaf.clone();
    let mut grads = out.sum().backward();
    assert!(leaf.grad_remove(&mut grads).is_some());
    assert!(constant.grad_remove(&mut grads).is_none());
}

#[test]
fn attention_bears_large_scores() {
    let qkv = random(6, [2, 9, 24], &device()).mul_scalar(50.0);
    agree_within(
        "attention with large scores",
        &[qkv],
        |x| ops::attention(x[0].clone(), 2, None),
        |x| ops::composed::attention(x[0].clone(), 2, None),
        // Where one score outweighs all, queries and keys have differences of equal numbers as gradients, hundreds times a key of
        // 100: where the sums are formed in one order nothing is left of them, else (NEON) 6e-4, of rounding.
        match cfg!(target_arch = "x86_64") {
            true => 1e-5,
            false => 1e-3,
        },
    );
}

#[test]
fn fused_cross_entropy_agrees_with_composed() {
    for kind in [LossKind::Stablemax, LossKind::Softmax] {
        for [batch, len, vocab] in [[1, 1, 2], [3, 5, 11], [7, 81, 11], [9, 400, 12]] {
            let mut rng = ChaCha8Rng::seed_from_u64(8);
            let labels: Vec<i64> = (0..batch * len)
                .map(|_| rng.random_range(-1..vocab as i64))
                .map(|label| if label < 0 { -100 } else { label })
                .collect();
            let data = TensorData::new(labels, [batch, len]);
            let labels = Tensor::<2, Int>::from_data(data, &device());
            for (layout, logits) in [
                ("dense", random(9, [batch, len, vocab], &device())),
                ("swapped", swapped(9, [batch, len, vocab])),
            ] {
                agree(
                    &format!("{kind:?} {batch} {len} {vocab} {layout}"),
                    &[logits.mul_scalar(3.0)],
                    |x| ops::token_cross_entropy(kind, x[0].clone(), labels.clone()),
                    |x| ops::composed::token_cross_entropy(kind, x[0].clone(), labels.clone()),
                );
            }
        }
    }
}

#[test]
fn fused_adam_atan2_agrees_with_composed_and_spares_shared_buffers() {
    let hyper = AdamAtan2Hyper {
        lr: 1e-2,
        weight_decay: 0.1,
        beta1: 0.9,
        beta2: 0.95,
        bias1: 0.1,
        bias2: 0.05,
    };
    for shape in [[1, 1], [3, 7], [257, 513]] {
        let [p, m, g] = [1, 2, 3].map(|seed| random::<2>(seed, shape, &device()));
        let v = random::<2>(4, shape, &device()).square();
        let before = [host(p.clone()), host(m.clone()), host(v.clone())];
        let g = g.transpose().reshape([shape[1], shape[0]]).transpose();
        let found = ops::adam_atan2_update(p.clone(), m.clone(), v.clone(), g.clone(), hyper);
        assert_eq!([host(p.clone()), host(m.clone()), host(v.clone())], before);
        let expected = ops::composed::adam_atan2_update(p, m, v, g, hyper);
        for (name, found, expected) in [
            ("p", found.0, expected.0),
            ("m", found.1, expected.1),
            ("v", found.2, expected.2),
        ] {
            let expected: Vec<f64> = host(expected).into_iter().map(f64::from).collect();
            assert_close(name, &host(found), &expected, 1e-6, 1e-7);
        }
    }
}

/// The gradients of the chosen implementation against central differences of it.
fn matches_differences<const D: usize>(
    name: &str,
    inputs: &[Tensor<3>],
    f: impl Fn(&[Tensor<3>]) -> Tensor<D>,
) {
    let found = value_and_grads(inputs, &f);
    let loss = |inputs: &[Tensor<3>]| {
        let out = f(inputs);
        let weights = host(random(77, out.dims(), &device()));
        host(out)
            .iter()
            .zip(weights)
            .map(|(&x, w)| f64::from(x) * f64::from(w))
            .sum::<f64>()
    };
    let step = 4e-3f32;
    for (which, input) in inputs.iter().enumerate() {
        let values = host(input.clone());
        for (i, &grad) in found[which + 1].iter().enumerate() {
            let at = |delta: f32| {
                let mut values = values.clone();
                values[i] += delta;
                let mut inputs = inputs.to_vec();
                inputs[which] = Tensor::from_data(TensorData::new(values, input.dims()), &device());
                loss(&inputs)
            };
            let difference = (at(step) - at(-step)) / (2.0 * f64::from(step));
            assert!(
                (f64::from(grad) - difference).abs() < 2e-3 * difference.abs().max(1.0),
                "{name}, input {which}, element {i}: gradient {grad}, difference {difference}"
            );
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    let device = device();
    let x = random(11, [1, 3, 6], &device);
    let y = random(12, [1, 3, 6], &device);
    matches_differences("add_rms_norm", &[x.clone(), y.clone()], |x| {
        ops::add_rms_norm(x[0].clone(), x[1].clone())
    });
    matches_differences("rms_norm", std::slice::from_ref(&x), |x| {
        ops::rms_norm(x[0].clone())
    });
    matches_differences("swiglu", std::slice::from_ref(&x), |x| {
        ops::swiglu(x[0].clone())
    });
    matches_differences("transpose", std::slice::from_ref(&x), |x| {
        ops::transpose(x[0].clone())
    });
    matches_differences("linear", &[x.clone(), y], |x| {
        ops::linear(x[0].clone(), x[1].clone().squeeze_dim(0))
    });
    let rope = RopeTable::new(3, 2, 10_000.0, &device);
    matches_differences("attention", &[random(13, [1, 3, 12], &device)], |x| {
        ops::attention(x[0].clone(), 2, Some(&rope))
    });
    let labels = Tensor::<2, Int>::from_data([[3, -100, 0]], &device);
    for kind in [LossKind::Stablemax, LossKind::Softmax] {
        matches_differences("cross-entropy", std::slice::from_ref(&x), |x| {
            ops::token_cross_entropy(kind, x[0].clone(), labels.clone())
        });
    }
}

#[test]
fn a_constant_input_gets_no_gradient() {
    // The weight alone is tracked, as for the first layer of a segment.
    let x = random(1, [2, 3, 4], &device());
    let weight = random(2, [5, 4], &device().autodiff()).require_grad();
    let out = ops::linear(x.clone(), weight.clone());
    let grads = out.sum().backward();
    let expected = x
        .clone()
        .sum_dim(0)
        .sum_dim(1)
        .reshape([1, 4])
        .repeat_dim(0, 5);
    weight
        .grad(&grads)
        .unwrap()
        .into_data()
        .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
    // Nothing is tracked: the output is plain.
    let plain = ops::linear(x, weight.without_autodiff());
    assert!(!plain.is_autodiff());
}

#[test]
fn rotary_tables_keep_plain_tensors_plain() {
    let rope = RopeTable::new(3, 2, 10_000.0, &device().autodiff());
    let qkv = random(1, [1, 3, 6], &device());
    assert!(!ops::attention(qkv.clone(), 1, Some(&rope)).is_autodiff());
    assert!(!ops::composed::attention(qkv, 1, Some(&rope)).is_autodiff());
}
