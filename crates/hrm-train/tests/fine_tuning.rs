//! Training from weights at hand: what is frozen keeps its bits, the rest moves.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Device;
use hrm_core::{Hrm, WeightRole};
use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{Augmentation, PuzzleSet};
use hrm_train::{Freeze, Preset, TrainConfig, TrainError, Trainer};

fn puzzles() -> Arc<PuzzleSet> {
    let puzzles = Generator::new(SudokuSize::Four).puzzles(12, 1).unwrap();
    Arc::new(PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap())
}

fn config(preset: &str, set: &PuzzleSet) -> TrainConfig {
    let mut config = Preset::by_name(preset).unwrap().config(set);
    config.model.hidden_size = 32;
    config.model.num_heads = 2;
    config.batch_size = 6;
    config.steps = 4;
    config.schedule.warmup_steps = 0;
    // A rate at which decay alone changes every weight.
    config.optimizer.lr = 0.01;
    config.optimizer.weight_decay = 1.0;
    config.ema = Some(0.7);
    config
}

fn bits(model: &Hrm) -> BTreeMap<String, (WeightRole, Vec<u32>)> {
    let bits = |value: burn::tensor::Tensor<1>| {
        let values = value.try_into_vec_as::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    let weights = model.weights().into_iter();
    weights
        .map(|weight| (weight.name, (weight.role, bits(weight.value))))
        .collect()
}

#[test]
fn frozen_weights_keep_their_bits_and_the_others_move() {
    let set = puzzles();
    for (preset, freeze) in [
        ("hrm-small", Freeze::Nothing),
        ("hrm-small", Freeze::AllButPuzzles),
        ("hrm-small", Freeze::HLevel),
        ("hrm-small", Freeze::LLevel),
        ("hrm-small", Freeze::Levels),
        ("trm-small", Freeze::AllButPuzzles),
        ("trm-small", Freeze::Levels),
    ] {
        let mut config = config(preset, &set);
        config.freeze = freeze;
        config.accumulate = 2;
        let start = Hrm::new(&config.model, 5, &Device::flex()).unwrap();
        let before = bits(&start);
        let mut trainer = Trainer::with_model(config, start, set.clone(), &Device::flex()).unwrap();
        trainer.by_ref().for_each(|report| assert!(report.is_ok()));
        let raw = bits(&trainer.state().model);
        let averaged = bits(&trainer.eval_model());
        let mut frozen = 0;
        for (name, (role, before)) in &before {
            let moves = match role {
                WeightRole::Dense => freeze.trains(name, *role),
                WeightRole::PuzzleTable => true,
                WeightRole::InitialState => false,
            };
            assert_eq!(&raw[name].1 != before, moves, "{preset} {freeze:?}: {name}");
            assert_eq!(
                &averaged[name].1 != before,
                moves,
                "{preset} {freeze:?}: {name}"
            );
            frozen += usize::from(!moves);
            // No moments are kept, nor averages, of what doesn't move.
            let kept = trainer.state().optimizer.moments.contains_key(name);
            assert_eq!(kept, moves && *role == WeightRole::Dense, "{name}");
        }
        assert_eq!(frozen > 2, freeze != Freeze::Nothing, "{preset} {freeze:?}");
    }
}

#[test]
fn frozen_levels_that_a_model_does_not_have_are_refused() {
    let set = puzzles();
    let refused = |preset: &str, change: &dyn Fn(&mut TrainConfig)| {
        let mut config = config(preset, &set);
        change(&mut config);
        let error = Trainer::new(config, set.clone(), &Device::flex()).unwrap_err();
        assert!(
            matches!(
                error,
                TrainError::Field {
                    field: "freeze",
                    ..
                }
            ),
            "{error}"
        );
    };
    refused("trm-small", &|config| config.freeze = Freeze::HLevel);
    refused("trm-small", &|config| config.freeze = Freeze::LLevel);
    refused("hrm-small", &|config| {
        config.freeze = Freeze::AllButPuzzles;
        config.model.puzzle_embedding = None;
    });
}
