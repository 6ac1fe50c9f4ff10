//! The optimizers against scalar loops in f64, and what a trainer hands them.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use hrm_core::{Hrm, HrmConfig, PuzzleEmbeddingConfig, Sizes, WeightRole};
use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{Augmentation, PuzzleSet};
use hrm_train::{
    DenseOptimizer, Freeze, OptimizerConfig, Preset, Rule, TrainConfig, Trainer, clip_global_norm,
    sign_sgd_rows,
};
use proptest::prelude::*;

fn tiny() -> Hrm {
    let sizes = Sizes {
        seq_len: 4,
        vocab_size: 5,
        num_puzzle_ids: 2,
    };
    let config = HrmConfig {
        hidden_size: 8,
        num_heads: 2,
        puzzle_embedding: Some(PuzzleEmbeddingConfig {
            dim: 8,
            positions: Some(2),
        }),
        ..HrmConfig::trm(sizes)
    };
    Hrm::new(&config, 7, &Device::flex().autodiff()).unwrap()
}

fn values(tensor: Tensor<1>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// A gradient with exact zeros, tiny and large values.
fn gradient(count: usize, step: usize) -> Vec<f32> {
    (0..count)
        .map(|i| match (i + step) % 5 {
            0 => 0.0,
            1 => 1e-12,
            2 => -1e-3,
            3 => 2.5,
            _ => (i as f32 * 0.37 + step as f32).sin(),
        })
        .collect()
}

/// One update of one element: the rule's formula in f64.
fn scalar(
    rule: Rule,
    config: &OptimizerConfig,
    t: i32,
    p: &mut f64,
    m: &mut f64,
    v: &mut f64,
    g: f64,
) {
    *m = config.beta1 * *m + (1.0 - config.beta1) * g;
    *v = config.beta2 * *v + (1.0 - config.beta2) * g * g;
    let m_hat = *m / (1.0 - config.beta1.powi(t));
    let v_hat = *v / (1.0 - config.beta2.powi(t));
    *p *= 1.0 - config.lr * config.weight_decay;
    *p -= match rule {
        Rule::AdamAtan2 => config.lr / (1.0 - config.beta1.powi(t)) * m.atan2(v_hat.sqrt()),
        Rule::AdamW { epsilon } | Rule::Muon { epsilon, .. } => {
            config.lr * m_hat / (v_hat.sqrt() + epsilon)
        }
    };
}

fn follows_the_formula(rule: Rule) {
    let config = OptimizerConfig {
        rule,
        lr: 1e-2,
        weight_decay: 0.5,
        beta1: 0.9,
        beta2: 0.95,
    };
    let mut model = tiny();
    let mut optimizer = DenseOptimizer::default();
    let mut expected: BTreeMap<String, Vec<[f64; 3]>> = model
        .weights()
        .into_iter()
        .map(|weight| (weight.name, values(weight.value)))
        .map(|(name, values)| (name, values.into_iter().map(|p| [p, 0.0, 0.0]).collect()))
        .collect();
    let frozen: Vec<String> = model
        .weights()
        .into_iter()
        .filter(|weight| weight.role != WeightRole::Dense)
        .map(|weight| weight.name)
        .collect();
    assert_eq!(frozen.len(), 3, "puzzle table and two initial states");
    for t in 1..=20 {
        let mut gradients = BTreeMap::new();
        for (name, elements) in &mut expected {
            if frozen.contains(name) {
                continue;
            }
            let g = gradient(elements.len(), t);
            for ([p, m, v], &g) in elements.iter_mut().zip(&g) {
                scalar(rule, &config, t as i32, p, m, v, f64::from(g));
            }
            let count = g.len();
            let g = Tensor::from_data(TensorData::new(g, [count]), &Device::flex());
            gradients.insert(name.clone(), g);
        }
        model = optimizer.step(&config, Freeze::Nothing, config.lr, model, gradients);
    }
    for weight in model.weights() {
        let hidden = weight.name.contains("_level.");
        if hidden && matches!(rule, Rule::Muon { .. }) {
            // Muon's own formula is tested where it is written.
            let moments = &optimizer.moments[&weight.name];
            assert!(moments.v.is_none() && values(moments.m.clone()).iter().any(|m| *m != 0.0));
            continue;
        }
        let found = values(weight.value);
        for (found, [expected, ..]) in found.iter().zip(&expected[&weight.name]) {
            // 20 steps of f32 rounding on values of order one.
            assert!(
                (found - expected).abs() < 5e-6,
                "{}: {found} {expected}",
                weight.name
            );
        }
    }
}

#[test]
fn adam_atan2_follows_its_formula_zero_gradients_included() {
    follows_the_formula(Rule::AdamAtan2);
}

#[test]
fn adam_w_follows_its_formula() {
    follows_the_formula(Rule::AdamW { epsilon: 1e-8 });
}

#[test]
fn beside_muon_embeddings_heads_and_bias_follow_adam_w() {
    follows_the_formula(Rule::Muon {
        momentum: 0.95,
        epsilon: 1e-8,
    });
}

#[test]
fn a_weight_without_gradient_decays() {
    let config = OptimizerConfig {
        rule: Rule::AdamAtan2,
        lr: 0.1,
        weight_decay: 1.0,
        beta1: 0.9,
        beta2: 0.95,
    };
    let model =
        DenseOptimizer::default().step(&config, Freeze::Nothing, 0.1, tiny(), BTreeMap::new());
    let bias = values(model.q_head_bias.val().without_autodiff());
    assert!(bias.iter().all(|b| (b + 4.5).abs() < 1e-6), "{bias:?}");
}

#[test]
fn the_common_norm_is_clipped_and_a_small_one_is_left() {
    let device = Device::flex();
    let gradients = |scale: f32| {
        BTreeMap::from([
            (
                "a".to_owned(),
                Tensor::<1>::from_data([3.0 * scale, 0.0], &device),
            ),
            (
                "b".to_owned(),
                Tensor::<1>::from_data([4.0 * scale], &device),
            ),
        ])
    };
    let clipped = clip_global_norm(gradients(1.0), 1.0);
    assert!((values(clipped["a"].clone())[0] - 0.6).abs() < 1e-6);
    assert!((values(clipped["b"].clone())[0] - 0.8).abs() < 1e-6);
    let left = clip_global_norm(gradients(0.1), 1.0);
    assert!((values(left["b"].clone())[0] - 0.4).abs() < 1e-6);
}

/// A trainer of a small model that warms up over four steps.
fn warming_up(change: impl FnOnce(&mut TrainConfig)) -> Trainer {
    let puzzles = Generator::new(SudokuSize::Four).puzzles(12, 1).unwrap();
    let set = PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap();
    let mut config = Preset::by_name("trm-small").unwrap().config(&set);
    config.model.hidden_size = 32;
    config.model.num_heads = 2;
    config.batch_size = 6;
    config.steps = 8;
    config.seed = 3;
    config.schedule.warmup_steps = 4;
    change(&mut config);
    Trainer::new(config, Arc::new(set), &Device::flex()).unwrap()
}

#[test]
fn both_rates_rise_over_the_warm_up_each_to_its_own() {
    let (lr, puzzle_lr) = (1e-3, 0.02);
    let mut trainer = warming_up(|config| {
        config.optimizer.lr = lr;
        config.puzzle_optimizer.lr = puzzle_lr;
        config.puzzle_optimizer.weight_decay = 0.0;
    });
    let table = |trainer: &Trainer| -> Vec<f64> {
        let table = trainer.state().model.puzzle_emb.as_ref().unwrap().val();
        let table = table.without_autodiff().into_data();
        table.iter::<f64>().collect()
    };
    let mut before = table(&trainer);
    for t in 1..=4 {
        let share = f64::from(t) / 4.0;
        assert_eq!(trainer.step().unwrap().lr, lr * share);
        let after = table(&trainer);
        // SignSGD: what has a gradient moves by the rate.
        let moves = after.iter().zip(&before).map(|(a, b)| (a - b).abs());
        let moved: Vec<f64> = moves.filter(|by| *by > 0.0).collect();
        assert!(moved.len() * 2 > after.len(), "{moved:?}");
        for by in moved {
            assert!((by - puzzle_lr * share).abs() < 1e-7, "step {t}: {by}");
        }
        before = after;
    }
}

#[test]
fn the_moments_are_of_clipped_gradients() {
    let norm = |clip: Option<f64>| {
        let mut trainer = warming_up(|config| config.gradient_clip = clip);
        trainer.step().unwrap();
        let moments = trainer.state().optimizer.moments.values();
        let squares = moments
            .flat_map(|moments| values(moments.m.clone()))
            .map(|m| m * m);
        // Of one step: (1 - beta1) * g.
        squares.sum::<f64>().sqrt() / (1.0 - trainer.config().optimizer.beta1)
    };
    let whole = norm(None);
    for (clip, expected) in [(whole / 1000.0, whole / 1000.0), (2.0 * whole, whole)] {
        let found = norm(Some(clip));
        // Sums of squares in f32.
        assert!((found / expected - 1.0).abs() < 1e-4, "{found} {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn sign_sgd_changes_the_rows_in_the_slots_only(
        ids in prop::collection::vec(0i32..6, 1..9),
        seed in 0u32..1000,
    ) {
        let (rows, width, lr, decay) = (6usize, 3usize, 0.01f64, 0.5f64);
        let device = Device::flex();
        let table: Vec<f32> = (0..rows * width).map(|i| (i as f32 + 1.0) * 0.1).collect();
        // Halves: sums are exact, and some cancel to zero.
        let gradient: Vec<f32> = (0..ids.len() * width)
            .map(|i| ((i as u32 * 7919 + seed * 104_729) % 5) as f32 * 0.5 - 1.0)
            .collect();
        let mut expected: Vec<f64> = table.iter().map(|&x| f64::from(x)).collect();
        for row in 0..rows {
            if !ids.contains(&(row as i32)) {
                continue;
            }
            for column in 0..width {
                let sum: f64 = ids
                    .iter()
                    .enumerate()
                    .filter(|&(_, &id)| id == row as i32)
                    .map(|(slot, _)| f64::from(gradient[slot * width + column]))
                    .sum();
                let sign = if sum == 0.0 { 0.0 } else { sum.signum() };
                let element = &mut expected[row * width + column];
                *element = *element * (1.0 - lr * decay) - lr * sign;
            }
        }
        let b = ids.len();
        let found = sign_sgd_rows(
            Tensor::from_data(TensorData::new(table, [rows, width]), &device),
            Tensor::<1, Int>::from_data(TensorData::new(ids, [b]), &device),
            Tensor::from_data(TensorData::new(gradient, [b, width]), &device),
            lr,
            decay,
        );
        for (found, expected) in found.into_data().iter::<f64>().zip(expected) {
            prop_assert!((found - expected).abs() < 1e-6);
        }
    }
}
