//! The operations, each on random values with its gradient.

use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation::silu};
use hrm_core::ops::{self, AdamAtan2Hyper, IGNORED_LABEL, LossKind, RopeTable, composed};
use hrm_core::truncated_normal;
use hrm_train::sign_sgd_rows;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::host::{self, Matrix};
use super::{ConformanceError, Measure, Quantity, Setting, SuiteSize};

type Found = Result<Vec<Quantity>, ConformanceError>;

/// Slots, positions, width, heads, tokens.
struct Sizes {
    b: usize,
    l: usize,
    d: usize,
    heads: usize,
    vocab: usize,
}

impl Setting {
    fn sizes(&self) -> Sizes {
        match self.size {
            SuiteSize::Small => Sizes {
                b: 6,
                l: 17,
                d: 64,
                heads: 4,
                vocab: 6,
            },
            SuiteSize::Published | SuiteSize::Batch => Sizes {
                b: 8,
                l: 97,
                d: 512,
                heads: 8,
                vocab: 11,
            },
        }
    }

    /// Random values, the same on every device, in f32.
    fn values<const D: usize>(&self, seed: u64, std: f64, shape: [usize; D]) -> Tensor<D> {
        let values = random(seed, std, shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), (&self.device, DType::F32))
    }

    /// Random values in the type to compute in.
    fn input<const D: usize>(&self, seed: u64, std: f64, shape: [usize; D]) -> Tensor<D> {
        self.values(seed, std, shape).cast(self.dtype())
    }

    /// What a function makes of `x`, and the gradient of its weighted sum with respect to `x`.
    fn with_gradient<const D: usize, const E: usize>(
        &self,
        x: Tensor<D>,
        function: impl Fn(Tensor<D>) -> Tensor<E>,
    ) -> Found {
        let x = x.autodiff().require_grad();
        let y = function(x.clone());
        let weights = self.values(WEIGHTS_SEED, 1.0, y.dims());
        let sum = (y.clone().cast(DType::F32) * weights.autodiff()).sum();
        let mut gradients = sum.backward();
        let gradient = x
            .grad_remove(&mut gradients)
            .ok_or_else(|| self.device_error("there is no gradient"))?;
        Ok(vec![
            self.read("", Measure::Largest, y)?,
            self.read("gradient", Measure::Largest, gradient)?,
        ])
    }
}

fn random(seed: u64, std: f64, count: usize) -> Vec<f32> {
    truncated_normal(count, std, &mut ChaCha8Rng::seed_from_u64(seed))
}

/// The values of [`Setting::values`] on the host, in rows.
fn host_values<const D: usize>(seed: u64, std: f64, shape: [usize; D]) -> Matrix {
    let values = random(seed, std, shape.iter().product());
    Matrix {
        width: shape[D - 1],
        values: values.into_iter().map(f64::from).collect(),
    }
}

/// The weights of the sum of which [`Setting::with_gradient`] takes the gradient.
const WEIGHTS_SEED: u64 = 99;

/// What a function of the host and its gradient, made of the weights, come to.
fn on_host(y: Matrix, gradient: impl FnOnce(Matrix) -> Matrix) -> Found {
    let weights = host_values(WEIGHTS_SEED, 1.0, [y.rows().len(), y.width]);
    Ok(vec![
        Quantity::of_host("", y),
        Quantity::of_host("gradient", gradient(weights)),
    ])
}

impl Quantity {
    fn of_host(name: &'static str, values: Matrix) -> Self {
        Self {
            name,
            values: values.values.into_iter().map(|x| x as f32).collect(),
            measure: Measure::Largest,
        }
    }
}

pub(super) fn attention(setting: &Setting) -> Found {
    let Sizes { b, l, d, heads, .. } = setting.sizes();
    let rope = RopeTable::new(l, d / heads, 10_000.0, &setting.device);
    let qkv = setting.input(1, 1.0, [b, l, 3 * d]);
    setting.with_gradient(qkv, |qkv| match setting.expected {
        true => composed::attention(qkv, heads, Some(&rope)),
        false => ops::attention(qkv, heads, Some(&rope)),
    })
}

/// Its `cat` of narrowed halves and the product with a table are where Burn 0.22.0 fused wrongly
/// (https://github.com/tracel-ai/burn/pull/6049).
pub(super) fn rope(setting: &Setting) -> Found {
    let Sizes { b, l, d, heads, .. } = setting.sizes();
    let shape = [b, l, heads, d / heads];
    if setting.expected {
        let y = host::rope(&host_values(2, 1.0, shape), l, heads, 1.0);
        return on_host(y, |gradient| host::rope(&gradient, l, heads, -1.0));
    }
    let rope = RopeTable::new(l, d / heads, 10_000.0, &setting.device);
    let x = setting.input(2, 1.0, shape);
    setting.with_gradient(x, |x| rope.apply(x))
}

pub(super) fn norm(setting: &Setting) -> Found {
    let Sizes { b, l, d, .. } = setting.sizes();
    let y = setting.input(4, 1.0, [b, l, d]);
    setting.with_gradient(setting.input(3, 1.0, [b, l, d]), |x| {
        let y = y.clone().autodiff();
        match setting.expected {
            true => composed::add_rms_norm(x, y),
            false => ops::add_rms_norm(x, y),
        }
    })
}

pub(super) fn swiglu(setting: &Setting) -> Found {
    let Sizes { b, l, d, .. } = setting.sizes();
    setting.with_gradient(setting.input(5, 1.0, [b, l, 6 * d]), |x| {
        match setting.expected {
            true => composed::swiglu(x),
            false => ops::swiglu(x),
        }
    })
}

/// TRM's mixer, by the weights of a small level.
pub(super) fn mixer(setting: &Setting) -> Found {
    let Sizes { b, l, d, .. } = setting.sizes();
    let std = 1.0 / (l as f64).sqrt();
    let gate_up = setting.values(31, std, [128, l]).autodiff();
    let down = setting.values(32, 0.125, [l, 64]).autodiff();
    setting.with_gradient(setting.input(30, 1.0, [b, l, d]), |x| {
        let (gate_up, down) = (gate_up.clone(), down.clone());
        match setting.expected {
            true => composed::mix_positions(x, gate_up, down),
            false => ops::mix_positions(x, gate_up, down),
        }
    })
}

pub(super) fn stablemax(setting: &Setting) -> Found {
    cross_entropy(setting, LossKind::Stablemax)
}

pub(super) fn softmax(setting: &Setting) -> Found {
    cross_entropy(setting, LossKind::Softmax)
}

/// Some cells ignored, and all of the last row. The logits are rounded to the type, and the loss is f32.
fn cross_entropy(setting: &Setting, kind: LossKind) -> Found {
    let Sizes { b, l, vocab, .. } = setting.sizes();
    let labels: Vec<i32> = (0..b * l)
        .map(|cell| match cell % 5 == 0 || cell / l == b - 1 {
            true => IGNORED_LABEL as i32,
            false => (cell * 7 % vocab) as i32,
        })
        .collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [b, l]), &setting.device);
    setting.with_gradient(
        setting.input(6, 4.0, [b, l, vocab]),
        |logits| match setting.expected {
            true => composed::token_cross_entropy(kind, logits, labels.clone()),
            false => ops::token_cross_entropy(kind, logits, labels.clone()),
        },
    )
}

/// Three updates of a weight whose last elements never have a gradient: `atan2(0, 0)`. In f32 whatever the type.
pub(super) fn adam_atan2(setting: &Setting) -> Found {
    let Sizes { d, .. } = setting.sizes();
    let count = d * d;
    let mut p = setting.values(7, 0.1, [count]);
    let (mut m, mut v) = (p.zeros_like(), p.zeros_like());
    for t in 1..=3 {
        let hyper = AdamAtan2Hyper {
            lr: 1e-2,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.95,
            bias1: 1.0 - 0.9f64.powi(t),
            bias2: 1.0 - 0.95f64.powi(t),
        };
        let g = setting.values(10 + t as u64, 1e-3, [count - d]);
        let g = Tensor::cat(
            vec![g, Tensor::zeros([d], (&setting.device, DType::F32))],
            0,
        );
        (p, m, v) = match setting.expected {
            true => composed::adam_atan2_update(p, m, v, g, hyper),
            false => ops::adam_atan2_update(p, m, v, g, hyper),
        };
    }
    Ok(vec![
        setting.read("weight", Measure::Largest, p)?,
        setting.read("first moment", Measure::Largest, m)?,
        setting.read("second moment", Measure::Largest, v)?,
    ])
}

/// With an id in several slots and rows that are in none. In f32 whatever the type.
pub(super) fn sparse_sign_sgd(setting: &Setting) -> Found {
    let Sizes { b, d, .. } = setting.sizes();
    let ids: Vec<i32> = (0..b as i32).map(|slot| slot * slot % 5).collect();
    let (lr, weight_decay) = (1e-2, 1.0);
    if setting.expected {
        let (table, gradient) = (host_values(14, 1.0, [9, d]), host_values(15, 1e-4, [b, d]));
        let table = host::sign_sgd(&table, &ids, &gradient, lr, weight_decay);
        return Ok(vec![Quantity::of_host("", table)]);
    }
    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [b]), &setting.device);
    let table = setting.values(14, 1.0, [9, d]);
    let gradient = setting.values(15, 1e-4, [b, d]);
    let table = sign_sgd_rows(table, ids, gradient, lr, weight_decay);
    Ok(vec![setting.read("", Measure::Largest, table)?])
}

/// Fused on CUDA, an MLP with a head of few outputs has been wrong in all rows but the first
/// (https://github.com/tracel-ai/burn/issues/5122); the q head has two.
pub(super) fn narrow_q_head(setting: &Setting) -> Found {
    let Sizes { b, l, d, .. } = setting.sizes();
    let std = 1.0 / (d as f64).sqrt();
    if setting.expected {
        return narrow_q_head_on_host(&setting.sizes());
    }
    let up = setting.input(17, std, [2 * d, d]);
    let down = setting.input(18, std, [d, 2 * d]);
    let head = setting.input(19, std, [2, d]);
    let bias = setting.values(20, 1.0, [2]);
    setting.with_gradient(setting.input(16, 1.0, [b, l, d]), |x| {
        let on = |weight: &Tensor<2>| weight.clone().autodiff();
        let inner = silu(ops::linear(x.clone(), on(&up)));
        let z = ops::add_rms_norm(x, ops::linear(inner, on(&down)));
        let q: Tensor<2> = ops::linear(z.narrow(1, 0, 1), on(&head))
            .cast(DType::F32)
            .reshape([b, 2]);
        q + bias.clone().autodiff().unsqueeze::<2>()
    })
}

fn narrow_q_head_on_host(sizes: &Sizes) -> Found {
    let &Sizes { b, l, d, .. } = sizes;
    let std = 1.0 / (d as f64).sqrt();
    let up = host_values(17, std, [2 * d, d]);
    let down = host_values(18, std, [d, 2 * d]);
    let head = host_values(19, std, [2, d]);
    let bias = host_values(20, 1.0, [2]).values;
    let x = host_values(16, 1.0, [b, l, d]);
    let outer = host::linear(&x, &up);
    let sum = x.plus(&host::linear(&host::silu(&outer), &down));
    let first = |rows: &Matrix| Matrix {
        values: rows.rows().step_by(l).flatten().copied().collect(),
        ..*rows
    };
    let mut q = host::linear(&first(&host::rms_norm(&sum)), &head);
    for q in q.values.chunks_exact_mut(2) {
        q.iter_mut().zip(&bias).for_each(|(q, bias)| *q += bias);
    }
    on_host(q, |gradient| {
        let gradient = host::linear_backward(&head, &gradient);
        let gradient = host::rms_norm_backward(&first(&sum), &gradient);
        let inner = host::linear_backward(&down, &gradient);
        let inner = host::silu_backward(&first(&outer), &inner);
        let rows = gradient.plus(&host::linear_backward(&up, &inner));
        // Only the first position of a slot reaches the head.
        let mut all = vec![0.0; b * l * d];
        for (slot, row) in all.chunks_exact_mut(l * d).zip(rows.rows()) {
            slot[..d].copy_from_slice(row);
        }
        Matrix {
            values: all,
            width: d,
        }
    })
}

/// The input embedding: rows selected, a puzzle row put in front, scaled (Burn 0.22.0 fused `select` and `cat` wrongly,
/// https://github.com/tracel-ai/burn/pull/6049).
pub(super) fn select_and_cat(setting: &Setting) -> Found {
    let Sizes { b, l, d, vocab, .. } = setting.sizes();
    let device: &Device = &setting.device;
    let tokens: Vec<i32> = (0..b * l).map(|cell| (cell * 5 % vocab) as i32).collect();
    if setting.expected {
        return select_and_cat_on_host(&setting.sizes(), &tokens);
    }
    let tokens = Tensor::<1, Int>::from_data(TensorData::new(tokens, [b * l]), device);
    let rows = setting.values(22, 1.0, [b, d]).cast(setting.dtype());
    let rope = RopeTable::new(l + 1, d, 10_000.0, device);
    setting.with_gradient(setting.values(21, 1.0, [vocab, d]), |table| {
        let cells = table
            .cast(setting.dtype())
            .select(0, tokens.clone())
            .reshape([b, l, d]);
        let rows = rows.clone().autodiff().reshape([b, 1, d]);
        let x = Tensor::cat(vec![rows, cells], 1).mul_scalar((d as f64).sqrt());
        rope.apply(x.reshape([b, l + 1, 1, d]))
    })
}

fn select_and_cat_on_host(sizes: &Sizes, tokens: &[i32]) -> Found {
    let &Sizes { b, l, d, vocab, .. } = sizes;
    let table = host_values(21, 1.0, [vocab, d]);
    let rows = host_values(22, 1.0, [b, d]);
    let scale = (d as f64).sqrt();
    let token = |slot: usize, cell: usize| tokens[slot * l + cell] as usize;
    let mut x = Vec::with_capacity(b * (l + 1) * d);
    for (slot, row) in rows.rows().enumerate() {
        x.extend(row.iter().map(|x| x * scale));
        for cell in 0..l {
            let at = token(slot, cell) * d;
            x.extend(table.values[at..at + d].iter().map(|x| x * scale));
        }
    }
    let x = Matrix {
        values: x,
        width: d,
    };
    on_host(host::rope(&x, l + 1, 1, 1.0), |gradient| {
        let gradient = host::rope(&gradient, l + 1, 1, -1.0);
        let mut sums = vec![0.0; vocab * d];
        for (index, row) in gradient.rows().enumerate() {
            let (slot, position) = (index / (l + 1), index % (l + 1));
            if let Some(cell) = position.checked_sub(1) {
                let at = token(slot, cell) * d;
                let sums = sums[at..at + d].iter_mut();
                sums.zip(row).for_each(|(sum, g)| *sum += g * scale);
            }
        }
        Matrix {
            values: sums,
            width: d,
        }
    })
}

/// Matrix products with what is fused to them, of sizes between those that a kernel likes: fusion and autotune together have
/// been wrong on Vulkan (https://github.com/tracel-ai/burn/issues/5257).
pub(super) fn chain_of_products(setting: &Setting) -> Found {
    let Sizes { b, l, d, .. } = setting.sizes();
    let std = 1.0 / (d as f64).sqrt();
    if setting.expected {
        return chain_on_host(&setting.sizes());
    }
    let weights: Vec<Tensor<2>> = (0..4).map(|i| setting.input(24 + i, std, [d, d])).collect();
    setting.with_gradient(setting.input(23, 1.0, [b, l, d]), |mut x| {
        // Twice: first while kernels are being tuned, then with those that were chosen.
        for weight in weights.iter().chain(&weights) {
            let y = ops::linear(x.clone(), weight.clone().autodiff());
            x = ops::add_rms_norm(x, silu(y));
        }
        x
    })
}

fn chain_on_host(sizes: &Sizes) -> Found {
    let &Sizes { b, l, d, .. } = sizes;
    let std = 1.0 / (d as f64).sqrt();
    let weights: Vec<Matrix> = (0..4).map(|i| host_values(24 + i, std, [d, d])).collect();
    let mut x = host_values(23, 1.0, [b, l, d]);
    let mut passed = Vec::new();
    for weight in weights.iter().chain(&weights) {
        let y = host::linear(&x, weight);
        let sum = x.plus(&host::silu(&y));
        x = host::rms_norm(&sum);
        passed.push((weight, y, sum));
    }
    on_host(x, |mut gradient| {
        for (weight, y, sum) in passed.into_iter().rev() {
            gradient = host::rms_norm_backward(&sum, &gradient);
            let inner = host::silu_backward(&y, &gradient);
            gradient = gradient.plus(&host::linear_backward(weight, &inner));
        }
        gradient
    })
}
