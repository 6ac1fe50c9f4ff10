//! bf16 compute with f32 master weights: the published setting.

use std::sync::Arc;

use burn::tensor::{DType, Device};
use hrm_core::ComputeType;
use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{Augmentation, PuzzleSet};
use hrm_train::{Preset, Trainer};

/// Mean losses of the steps 1 to 10 and 41 to 50.
fn train(preset: &str, compute: ComputeType, set: &Arc<PuzzleSet>) -> (f64, f64) {
    let mut config = Preset::by_name(preset).unwrap().config(set);
    config.model.hidden_size = 32;
    config.model.num_heads = 2;
    config.model.compute = compute;
    config.model.l_cycles = 2;
    config.batch_size = 8;
    config.steps = 50;
    config.schedule.warmup_steps = 5;
    config.optimizer.lr = 3e-3;
    let mut trainer = Trainer::new(config, set.clone(), &Device::flex()).unwrap();
    let losses: Vec<f64> = trainer
        .by_ref()
        .filter_map(|report| report.unwrap().metrics)
        .map(|metrics| metrics.loss())
        .collect();
    assert_eq!(losses.len(), 5);
    let state = trainer.state();
    for weight in state.model.weights() {
        assert_eq!(weight.value.dtype(), DType::F32, "{}", weight.name);
    }
    let moments = state.optimizer.moments.values();
    assert!(moments.clone().count() > 0);
    for moments in moments {
        assert_eq!(moments.m.dtype(), DType::F32);
        assert_eq!(moments.v.as_ref().unwrap().dtype(), DType::F32);
    }
    for average in state.ema.as_ref().unwrap().shadow.values() {
        assert_eq!(average.dtype(), DType::F32);
    }
    let expected = match compute {
        ComputeType::Bf16 => DType::BF16,
        _ => DType::F32,
    };
    assert_eq!(state.carry.as_ref().unwrap().latent.z_h.dtype(), expected);
    (losses[0], losses[4])
}

fn falls_as_in_f32(preset: &str) {
    let puzzles = Generator::new(SudokuSize::Four).puzzles(12, 1).unwrap();
    let set = Arc::new(
        PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap(),
    );
    let (start, end) = train(preset, ComputeType::F32, &set);
    let (half_start, half_end) = train(preset, ComputeType::Bf16, &set);
    eprintln!("{preset}: f32 {start:.4} to {end:.4}, bf16 {half_start:.4} to {half_end:.4}");
    assert!(end < 0.85 * start, "{start} {end}");
    assert!(half_end < 0.85 * half_start, "{half_start} {half_end}");
    // bf16 has 8 significant bits, and 50 steps of feedback spread its rounding.
    assert!(
        (half_start - start).abs() < 0.05 * start,
        "{half_start} {start}"
    );
    assert!((half_end - end).abs() < 0.1 * start, "{half_end} {end}");
}

#[test]
fn hrm_learns_in_bf16_as_in_f32() {
    falls_as_in_f32("hrm-small");
}

#[test]
fn trm_learns_in_bf16_as_in_f32() {
    falls_as_in_f32("trm-small-mlp");
}

/// A model that is handed out can be exported or trained on: its weights are whole, also where the run averages none.
#[test]
fn the_model_to_evaluate_has_whole_weights() {
    let puzzles = Generator::new(SudokuSize::Four).puzzles(4, 1).unwrap();
    let set = Arc::new(
        PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap(),
    );
    let mut config = Preset::by_name("hrm-small").unwrap().config(&set);
    config.model.hidden_size = 32;
    config.model.num_heads = 2;
    config.model.compute = ComputeType::Bf16;
    config.ema = None;
    config.batch_size = 4;
    let mut trainer = Trainer::new(config.clone(), set.clone(), &Device::flex()).unwrap();
    trainer.step().unwrap();
    let (trained, model) = (&trainer.state().model, trainer.eval_model());
    for (a, b) in trained.weights().into_iter().zip(model.weights()) {
        assert_eq!(b.value.dtype(), DType::F32, "{}", b.name);
        assert_eq!(a.value.into_data(), b.value.into_data(), "{}", b.name);
    }
    // One that was frozen to compute faster trains in f32 all the same.
    let again = Trainer::with_model(config, model.frozen(), set, &Device::flex()).unwrap();
    for weight in again.state().model.weights() {
        assert_eq!(weight.value.dtype(), DType::F32, "{}", weight.name);
    }
}
