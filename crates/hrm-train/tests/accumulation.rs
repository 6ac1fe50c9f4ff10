//! Parts of a batch, computed one after the other or on several devices, make the step of the whole batch.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use hrm_act::{ActStep, Batch, Carry};
use hrm_core::Hrm;
use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{Augmentation, PuzzleSet};
use hrm_train::{Gradients, Preset, TrainConfig, TrainError, Trainer, sign_sgd_rows};

/// Slots of all tests; puzzles share ids within and across any parts of them.
const IDS: [i32; 6] = [2, 0, 2, 1, 0, 2];

fn puzzles() -> Arc<PuzzleSet> {
    let puzzles = Generator::new(SudokuSize::Four).puzzles(12, 1).unwrap();
    Arc::new(PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap())
}

fn config(preset: &str, set: &PuzzleSet) -> TrainConfig {
    let mut config = Preset::by_name(preset).unwrap().config(set);
    config.model.hidden_size = 32;
    config.model.num_heads = 2;
    config.model.num_puzzle_ids = 3;
    config.batch_size = IDS.len();
    config.steps = 8;
    config.seed = 3;
    config.act.exploration = 0.5;
    config.act.max_segments = 3;
    config.log_every = 1;
    config.schedule.warmup_steps = 3;
    config
}

/// Batches with the ids of the slots in place of the set's one.
fn batches(config: &TrainConfig, set: &Arc<PuzzleSet>, count: usize) -> Vec<Batch> {
    let device = Device::flex();
    let sampler = hrm_data::SamplerConfig {
        batch_size: config.batch_size,
        seed: 5,
        augment: true,
        exploration: Some(hrm_data::Exploration {
            probability: 0.5,
            max_segments: config.act.max_segments,
        }),
    };
    let mut sampler = hrm_data::Sampler::new(set.clone(), sampler).unwrap();
    let ids = || Tensor::from_data(TensorData::from(IDS), &device);
    (0..count)
        .map(|_| Batch {
            puzzle_ids: ids(),
            ..Batch::from_host(&sampler.next_batch(), &device)
        })
        .collect()
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn integers(tensor: Tensor<1, Int>) -> Vec<i64> {
    tensor.into_data().iter::<i64>().collect()
}

/// Norm of the difference over the norm.
fn apart(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    difference / norm(&mut expected.iter().copied()).max(1e-12)
}

/// Two devices with a part of the slots each hold the same weights; what they send each other is what `merge` takes.
fn parts_merge_into_the_whole(preset: &str) {
    let set = puzzles();
    let config = config(preset, &set);
    let mut rows = batches(&config, &set, 5);
    let last = rows.pop().unwrap();
    // Some steps first, so that the puzzle table and the q head are not zero and slots are at different segments.
    let mut trainer = Trainer::new(config.clone(), set, &Device::flex()).unwrap();
    rows.into_iter().for_each(|batch| {
        trainer.step_on(batch).unwrap();
    });
    let model: &Hrm = &trainer.state().model;
    let carry: Carry = trainer.state().carry.clone().unwrap();
    let forward = |carry: Carry, batch: Batch| -> ActStep {
        config.act.step(model, carry, batch, config.batch_size)
    };
    let whole = forward(carry.clone(), last.clone());
    let whole_carry = whole.carry.clone();
    let whole_loss = floats(whole.loss.clone())[0];
    let whole_metrics = floats(whole.metrics.tensor());
    let expected = Gradients::of(model, whole);

    for cut in [3, 1] {
        let part = |range: std::ops::Range<usize>| {
            let step = forward(carry.rows(range.clone()), last.rows(range));
            let loss = floats(step.loss.clone())[0];
            let (carry, metrics) = (step.carry.clone(), step.metrics.clone());
            (Gradients::of(model, step), carry, metrics, loss)
        };
        let (first, first_carry, first_metrics, first_loss) = part(0..cut);
        let (second, second_carry, second_metrics, second_loss) = part(cut..IDS.len());
        assert!((first_loss + second_loss - whole_loss).abs() < 1e-5 * whole_loss);
        let merged = first.merge(second);

        assert!(merged.dense.keys().eq(expected.dense.keys()));
        for (name, gradient) in &merged.dense {
            let error = apart(
                &floats(gradient.clone()),
                &floats(expected.dense[name].clone()),
            );
            // The order of the sums over the slots differs, nothing else.
            assert!(error < 1e-5, "{name}: {error}");
        }
        let (found, wanted) = (merged.puzzles.unwrap(), expected.puzzles.clone().unwrap());
        assert_eq!(integers(found.ids.clone()), integers(wanted.ids.clone()));
        assert!(apart(&floats(found.rows.clone()), &floats(wanted.rows.clone())) < 1e-5);
        // One update over all slots: equal but where a sum is as good as zero.
        let table = model.puzzle_emb.as_ref().unwrap().val().without_autodiff();
        let update = |gradient: &hrm_train::PuzzleGradients| {
            let (ids, rows) = (gradient.ids.clone(), gradient.rows.clone());
            floats(sign_sgd_rows(table.clone(), ids, rows, 0.01, 0.1))
        };
        let (found, wanted) = (update(&found), update(&wanted));
        let differ = found
            .iter()
            .zip(&wanted)
            .filter(|(a, b)| (*a - *b).abs() > 1e-7);
        assert!(differ.count() * 50 <= wanted.len());

        let carry = Carry::cat(vec![first_carry, second_carry]);
        assert_eq!(
            integers(carry.segment),
            integers(whole_carry.segment.clone())
        );
        assert_eq!(
            integers(carry.halted.int()),
            integers(whole_carry.halted.clone().int())
        );
        assert!(
            apart(
                &floats(carry.latent.z_h),
                &floats(whole_carry.latent.z_h.clone())
            ) < 1e-5
        );
        let sums = floats(first_metrics.plus(second_metrics).tensor());
        assert!(
            apart(&sums, &whole_metrics) < 1e-5,
            "{sums:?} {whole_metrics:?}"
        );
    }
}

#[test]
fn halves_of_an_hrm_batch_merge_into_the_whole() {
    parts_merge_into_the_whole("hrm-small");
}

#[test]
fn halves_of_a_trm_batch_merge_into_the_whole() {
    parts_merge_into_the_whole("trm-small");
}

/// Losses, counts and segments of each step, and the puzzle ids in the slots at the end.
fn run(config: &TrainConfig, set: &Arc<PuzzleSet>) -> (Vec<[f64; 3]>, Vec<i64>) {
    let mut trainer = Trainer::new(config.clone(), set.clone(), &Device::flex()).unwrap();
    let reports: Vec<_> = trainer
        .by_ref()
        .map(|report| report.unwrap().metrics.unwrap())
        .map(|metrics| [metrics.loss(), metrics.count, metrics.segments_sum])
        .collect();
    let carry = trainer.state().carry.clone().unwrap();
    assert_eq!(carry.batch_size(), config.batch_size);
    let [b, s] = carry.batch.inputs.dims();
    (reports, integers(carry.batch.inputs.reshape([b * s])))
}

#[test]
fn training_in_parts_is_training_on_the_whole() {
    let set = puzzles();
    for preset in ["hrm-small", "trm-small-mlp"] {
        let mut config = config(preset, &set);
        config.gradient_clip = Some(0.1);
        // AdamAtan2's first updates are near the sign of the gradient, where rounding may flip a weight.
        config.optimizer.rule = hrm_train::Rule::AdamW { epsilon: 1e-4 };
        let (whole, puzzles) = run(&config, &set);
        for accumulate in [2, 3, 6] {
            config.accumulate = accumulate;
            let (parts, same_puzzles) = run(&config, &set);
            assert_eq!(parts.len(), 8);
            for (found, expected) in parts.iter().zip(&whole) {
                assert!(
                    (found[0] - expected[0]).abs() < 1e-3 * expected[0],
                    "{found:?}"
                );
                assert_eq!(
                    found[1..],
                    expected[1..],
                    "slots that halted, their segments"
                );
            }
            // The same slots took the same puzzles.
            assert_eq!(same_puzzles, puzzles);
        }
    }
}

#[test]
fn parts_that_do_not_divide_the_batch_are_refused() {
    let set = puzzles();
    let mut config = config("trm-small", &set);
    for (accumulate, field) in [
        (0, "`accumulate`"),
        (4, "`accumulate`"),
        (7, "`accumulate`"),
    ] {
        config.accumulate = accumulate;
        let error = Trainer::new(config.clone(), set.clone(), &Device::flex()).unwrap_err();
        assert!(matches!(error, TrainError::Field { .. }), "{error}");
        assert!(error.to_string().contains(field), "{error}");
    }
}
