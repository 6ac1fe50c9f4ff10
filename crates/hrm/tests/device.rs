//! What a device computes, held against the CPU: `HRM_DEVICE=cuda:0 cargo test -p hrm --features cuda --test device`, and once
//! more with `BURN_FUSION_MAX_EXPLORATIONS=0`, which turns fusion off. Without `HRM_DEVICE` the CPU's own fused operations are
//! held against plain ones.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData, Tolerance};
use hrm::conformance::{Progress, Suite, SuiteSize};
use hrm::device;
use hrm::prelude::*;
use hrm_core::ops::{self, AdamAtan2Hyper, RopeTable, composed};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

#[test]
fn every_part_is_within_its_tolerance() {
    hold(ComputeType::F32);
}

/// Where the device computes in bf16: as near to f32 as PyTorch's is.
#[test]
fn every_part_is_within_its_tolerance_in_bf16() {
    let device = device::from_env().unwrap();
    match device::check_compute(&device, ComputeType::Bf16) {
        Ok(()) => hold(ComputeType::Bf16),
        Err(error) => println!("skipped: {error}"),
    }
}

fn hold(compute: ComputeType) {
    let device = device::from_env().unwrap();
    let rows = Suite::new(SuiteSize::Small)
        .in_type(compute)
        .run(&device, |progress| {
            if let Progress::Begins(part) = progress {
                eprintln!("{part}");
            }
        })
        .unwrap();
    let mut over = Vec::new();
    for row in &rows {
        println!(
            "{:<45} {:>8.1e} of {:>7.1e} {}",
            row.quantity, row.largest_error, row.tolerance, row.note
        );
        if !row.passed() {
            over.push(&row.quantity);
        }
    }
    assert!(rows.len() > 20, "{} rows", rows.len());
    assert!(over.is_empty(), "beyond their tolerance: {over:?}");
}

/// The operations of a block, in each type that the device computes in, against plain ones in f32 on the same device: rows that no vector
/// divides, and ones that are shorter or longer than a cube.
#[test]
fn the_operations_agree_with_plain_ones_at_odd_shapes() {
    let device = device::from_env().unwrap();
    for (compute, tolerance) in [
        (ComputeType::F32, 1e-4),
        (ComputeType::F16, 4e-3),
        (ComputeType::Bf16, 3e-2),
    ] {
        if let Err(error) = device::check_compute(&device, compute) {
            println!("skipped: {error}");
            continue;
        }
        for shape in [[3, 5, 7], [2, 37, 96], [1, 3, 1100], [2, 300, 4]] {
            let agree = |what, own: Function, plain: Function| {
                agree(&device, compute, tolerance, shape, what, own, plain);
            };
            agree(
                "norm",
                &|x| ops::add_rms_norm(x.clone(), x.square()),
                &|x| composed::add_rms_norm(x.clone(), x.square()),
            );
            if shape[2] % 2 == 0 {
                agree("swiglu", &ops::swiglu, &composed::swiglu);
            }
        }
        // Products are few: a GPU tries every kernel that it has at each new shape.
        let agree = |what, shape, own: Function, plain: Function| {
            agree(&device, compute, tolerance, shape, what, own, plain);
        };
        let values = |seed, shape: [usize; 2]| {
            let rng = &mut StdRng::seed_from_u64(seed);
            let values: Vec<f32> = (0..shape[0] * shape[1])
                .map(|_| rng.random_range(-0.5..0.5))
                .collect();
            Tensor::<2>::from_data(TensorData::new(values, shape), (&device, DType::F32)).autodiff()
        };
        let (gate_up, down) = (values(1, [6, 7]), values(2, [7, 3]));
        agree(
            "mixer over positions",
            [2, 7, 6],
            &|x| ops::mix_positions(x, gate_up.clone(), down.clone()),
            &|x| composed::mix_positions(x, gate_up.clone(), down.clone()),
        );
        // Slots, positions, size of a head, heads: in one block of scores and in several.
        for ([batch, len, head_dim, heads], turned) in
            [([3, 7, 6, 2], true), ([1, 61, 8, 1], false)]
        {
            let table = turned.then(|| RopeTable::new(len, head_dim, 10_000.0, &device));
            agree(
                "attention",
                [batch, len, 3 * heads * head_dim],
                &|x| ops::attention(x, heads, table.as_ref()),
                &|x| composed::attention(x, heads, table.as_ref()),
            );
        }
    }
}

type Function<'a> = &'a dyn Fn(Tensor<3>) -> Tensor<3>;

/// Values and gradients of two functions of a random tensor, and of a plain tensor against the recorded one.
fn agree(
    device: &Device,
    compute: ComputeType,
    tolerance: f32,
    shape: [usize; 3],
    what: &str,
    own: Function,
    plain: Function,
) {
    let rng = &mut StdRng::seed_from_u64(3);
    let mut values = || -> Vec<f32> {
        let count = shape.iter().product();
        (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
    };
    let input = TensorData::new(values(), shape);
    let weights = values();
    let rounded = Tensor::<3>::from_data(input, (device, DType::F32)).cast(compute.float_type());
    let run = |function: Function, x: Tensor<3>| {
        let tracked = x.clone().autodiff().require_grad();
        let y = function(tracked.clone());
        assert_eq!(y.dtype(), x.dtype(), "{what}");
        let count = y.shape().num_elements();
        let weights = TensorData::new(weights[..count].to_vec(), y.shape());
        let weights = Tensor::<3>::from_data(weights, (device, DType::F32)).autodiff();
        let gradients = (y.clone().cast(DType::F32) * weights).sum().backward();
        let gradient = tracked.grad(&gradients).unwrap();
        [y.without_autodiff(), gradient, function(x)].map(|x| x.cast(DType::F32).into_data())
    };
    let [value, gradient, without] = run(own, rounded.clone());
    let [expected, expected_gradient, _] = run(plain, rounded.cast(DType::F32));
    let close = |name: &str, found: &TensorData, expected: &TensorData| {
        let (found, expected) = (
            found.as_slice::<f32>().unwrap(),
            expected.as_slice::<f32>().unwrap(),
        );
        let scale = expected.iter().fold(0.1f32, |most, x| most.max(x.abs()));
        let error = found
            .iter()
            .zip(expected)
            .fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        // Not `<=`: a NaN is no agreement.
        assert!(
            error / scale < tolerance,
            "{what} {shape:?} in {compute:?}, {name}: error {error:e} of {scale:e}"
        );
    };
    close("value", &value, &expected);
    close("gradient", &gradient, &expected_gradient);
    close("value without gradient", &without, &value);
}

/// The update works in place; a buffer that someone else holds stays as it was.
#[test]
fn an_update_of_adam_atan2_leaves_what_others_hold() {
    let device = device::from_env().unwrap();
    let hyper = AdamAtan2Hyper {
        lr: 0.1,
        weight_decay: 0.5,
        beta1: 0.9,
        beta2: 0.95,
        bias1: 0.1,
        bias2: 0.05,
    };
    let tensor =
        |values: [f32; 5]| Tensor::<1>::from_data(TensorData::from(values), (&device, DType::F32));
    let p = tensor([1.0, -2.0, 3.0, 0.5, 0.0]);
    let g = tensor([0.5, 0.0, -1e-20, 2.0, -3.0]);
    let held = p.clone();
    let (new_p, m, v) = ops::adam_atan2_update(p, g.zeros_like(), g.zeros_like(), g.clone(), hyper);
    let host = |x: Tensor<1>| x.into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(host(held.clone()), [1.0, -2.0, 3.0, 0.5, 0.0]);
    assert_eq!(host(g.clone()), [0.5, 0.0, -1e-20, 2.0, -3.0]);
    let expected = composed::adam_atan2_update(held, g.zeros_like(), g.zeros_like(), g, hyper);
    for (found, expected) in [(new_p, expected.0), (m, expected.1), (v, expected.2)] {
        found
            .into_data()
            .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-6));
    }
}

/// A small training on the device.
fn trainer() -> Trainer {
    let device = device::from_env().unwrap();
    let puzzles = sudoku::Generator::new(SudokuSize::Four).with_clues(12..=12);
    let puzzles = puzzles.puzzles(40, 1).unwrap();
    let set =
        Arc::new(PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::None).unwrap());
    let mut config = Preset::by_name("trm-small").unwrap().config(&set);
    config.model.hidden_size = 32;
    config.model.num_heads = 2;
    config.model.puzzle_embedding = None;
    config.batch_size = 16;
    config.schedule.warmup_steps = 5;
    config.optimizer.lr = 3e-3;
    (config.steps, config.log_every) = (60, 10);
    Trainer::new(config, set, &device).unwrap()
}

/// A GPU's values are fetched when they are first looked at, and an optimizer writes in place.
#[test]
fn a_snapshot_keeps_its_values_while_the_training_goes_on() {
    let mut trainer = trainer();
    for _ in 0..2 {
        trainer.step().unwrap();
    }
    let [looked_at, kept] = [(); 2].map(|()| trainer.snapshot().unwrap());
    let expected = looked_at.to_bytes().unwrap();
    for _ in 0..2 {
        trainer.step().unwrap();
    }
    assert!(kept.to_bytes().unwrap() == expected);
    assert!(trainer.snapshot().unwrap().to_bytes().unwrap() != expected);
}

#[test]
fn a_training_learns() {
    let mut losses = Vec::new();
    for report in trainer() {
        losses.extend(report.unwrap().metrics.map(|metrics| metrics.loss()));
    }
    println!("losses {losses:.3?}");
    assert!(losses[5] < 0.7 * losses[0], "{losses:?}");
}

#[test]
fn the_device_says_what_it_is() {
    let name = device::chosen_name(None);
    let device = device::from_env().unwrap();
    let inspected = device::inspect(&name, &device);
    println!("{inspected:#?}");
    assert!(inspected.compute[0].works, "f32 works everywhere");
    let backend = name.split(':').next().unwrap();
    let found: Vec<String> = device::Backend::ALL
        .into_iter()
        .filter(|known| known.name() == backend)
        .flat_map(device::found)
        .map(|(name, _)| name)
        .collect();
    println!("found {found:?}");
    assert!(!found.is_empty());
    for name in found {
        assert!(device::parse(&name).is_ok(), "{name}");
    }
}
