//! The operations of the model, fused against composed, forward and with the backward pass, at the sizes of
//! the small Sudoku example, of Sudoku and of mazes. `cargo bench -p hrm-core --bench ops -- --min-time 0.2`
//!
//! `HRM_FUSED=0` turns the fused kernels off, so both columns then show the composed ones.

use burn::tensor::{Device, Int, Tensor, TensorData};
use divan::Bencher;
use hrm_core::ops::{self, AdamAtan2Hyper, LossKind, RopeTable, composed};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() {
    println!(
        "fused kernels: {}, threads: {}",
        ops::fused_available(&Tensor::<1>::zeros([1], &Device::flex())),
        rayon::current_num_threads(),
    );
    divan::main();
}

/// A model's sizes: name, batch, length, width, heads, inner width of the MLP.
#[derive(Clone, Copy, Debug)]
struct Shape(&'static str, usize, usize, usize, usize, usize);

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

const SHAPES: &[Shape] = &[
    Shape("6x6 width 128", 48, 36, 128, 4, 512),
    Shape("Sudoku width 512", 8, 97, 512, 8, 1536),
    Shape("maze width 128", 1, 900, 128, 4, 512),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Pass {
    Forward,
    Training,
}

const FUSED: bool = true;
const COMPOSED: bool = false;

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Times `f`, with the backward pass (from a gradient of ones) when training.
fn measure<const A: usize, const B: usize, const C: usize>(
    bencher: Bencher<'_, '_>,
    pass: Pass,
    inputs: (Tensor<A>, Tensor<B>),
    f: impl Fn(Tensor<A>, Tensor<B>) -> Tensor<C>,
) {
    let (x, y) = inputs;
    match pass {
        Pass::Forward => bencher.bench_local(|| f(x.clone(), y.clone())),
        Pass::Training => bencher.bench_local(|| {
            let x = x.clone().autodiff().require_grad();
            let y = y.clone().autodiff().require_grad();
            f(x, y).backward()
        }),
    }
}

macro_rules! operation {
    ($name:ident, $inputs:expr, $fused:expr, $composed:expr) => {
        mod $name {
            use super::*;

            #[divan::bench(args = SHAPES, consts = [FUSED, COMPOSED])]
            fn forward<const KIND: bool>(bencher: Bencher<'_, '_>, shape: &Shape) {
                run::<KIND>(bencher, Pass::Forward, *shape);
            }

            #[divan::bench(args = SHAPES, consts = [FUSED, COMPOSED])]
            fn training<const KIND: bool>(bencher: Bencher<'_, '_>, shape: &Shape) {
                run::<KIND>(bencher, Pass::Training, *shape);
            }

            fn run<const KIND: bool>(bencher: Bencher<'_, '_>, pass: Pass, shape: Shape) {
                let inputs = ($inputs)(shape, &Device::flex());
                if KIND == FUSED {
                    measure(bencher, pass, inputs, ($fused)(shape));
                } else {
                    measure(bencher, pass, inputs, ($composed)(shape));
                }
            }
        }
    };
}

operation!(
    add_rms_norm,
    |Shape(_, batch, len, width, ..), device| (
        random([batch, len, width], device),
        random([batch, len, width], device)
    ),
    |_| ops::add_rms_norm,
    |_| composed::add_rms_norm
);

operation!(
    swiglu,
    |Shape(_, batch, len, _, _, inner), device| (
        random([batch, len, 2 * inner], device),
        random([1], device)
    ),
    |_| |x: Tensor<3>, _: Tensor<1>| ops::swiglu(x),
    |_| |x: Tensor<3>, _: Tensor<1>| composed::swiglu(x)
);

operation!(
    linear_up,
    |Shape(_, batch, len, width, _, inner), device| (
        random([batch, len, width], device),
        random([2 * inner, width], device)
    ),
    |_| ops::linear,
    |_| composed::linear
);

operation!(
    linear_down,
    |Shape(_, batch, len, width, _, inner), device| (
        random([batch, len, inner], device),
        random([width, inner], device)
    ),
    |_| ops::linear,
    |_| composed::linear
);

fn rope(Shape(_, _, len, width, heads, _): Shape) -> RopeTable {
    RopeTable::new(len, width / heads, 10_000.0, &Device::flex())
}

operation!(
    attention,
    |Shape(_, batch, len, width, ..), device| (
        random([batch, len, 3 * width], device),
        random([1], device)
    ),
    |shape: Shape| {
        let table = rope(shape);
        move |x: Tensor<3>, _: Tensor<1>| ops::attention(x, shape.4, Some(&table))
    },
    |shape: Shape| {
        let table = rope(shape);
        move |x: Tensor<3>, _: Tensor<1>| composed::attention(x, shape.4, Some(&table))
    }
);

operation!(
    token_cross_entropy,
    |Shape(_, batch, len, ..), device| (random([batch, len, 11], device), random([1], device)),
    |Shape(_, batch, len, ..)| {
        let labels = Tensor::<2, Int>::ones([batch, len], &Device::flex());
        move |x: Tensor<3>, _: Tensor<1>| {
            ops::token_cross_entropy(LossKind::Stablemax, x, labels.clone())
        }
    },
    |Shape(_, batch, len, ..)| {
        let labels = Tensor::<2, Int>::ones([batch, len], &Device::flex());
        move |x: Tensor<3>, _: Tensor<1>| {
            composed::token_cross_entropy(LossKind::Stablemax, x, labels.clone())
        }
    }
);

/// One update of the MLP's first weight, moments owned.
#[divan::bench(args = SHAPES, consts = [FUSED, COMPOSED])]
fn adam_atan2<const KIND: bool>(bencher: Bencher<'_, '_>, shape: &Shape) {
    let Shape(_, _, _, width, _, inner) = *shape;
    let device = Device::flex();
    let weight = || random([2 * inner, width], &device);
    let hyper = AdamAtan2Hyper {
        lr: 1e-4,
        weight_decay: 1.0,
        beta1: 0.9,
        beta2: 0.95,
        bias1: 0.1,
        bias2: 0.05,
    };
    let g = weight();
    let mut state = Some((weight(), weight(), weight().square()));
    bencher.bench_local(|| {
        if let Some((p, m, v)) = state.take() {
            state = Some(if KIND == FUSED {
                ops::adam_atan2_update(p, m, v, g.clone(), hyper)
            } else {
                composed::adam_atan2_update(p, m, v, g.clone(), hyper)
            });
        }
    });
}
