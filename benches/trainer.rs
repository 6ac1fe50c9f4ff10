//! What the trainer adds to the bare step (forward, backward, optimizers) of the published Sudoku model: sampler, augmentation,
//! transfer to the device, metrics read at every step, hooks.
//!
//! `cargo bench --bench trainer`; `HRM_DEVICE` chooses the device. Bare and whole steps take turns, so that what else the machine
//! does meets both.

use std::sync::Arc;
use std::time::Instant;

use hrm::act::{Batch, Carry};
use hrm::core::ops::on_pool;
use hrm::core::{ComputeType, Hrm};
use hrm::data::sudoku::{Generator, SudokuSize};
use hrm::data::{Augmentation, PuzzleSet, Sampler, SamplerConfig};
use hrm::train::{
    DenseOptimizer, Gradients, Preset, PuzzleGradients, TrainConfig, Trainer, sign_sgd_rows,
};

const PAIRS: usize = 24;

/// The model, its moments and its slots; nothing else.
struct Bare {
    model: Hrm,
    optimizer: DenseOptimizer,
    carry: Carry,
}

impl Bare {
    fn step(self, config: &TrainConfig, batch: Batch) -> Self {
        let Self {
            model,
            mut optimizer,
            carry,
        } = self;
        let step = config.act.step(&model, carry, batch, config.batch_size);
        let carry = step.carry.clone();
        let gradients = Gradients::of(&model, step);
        let (lr, rate) = (config.optimizer.lr, config.puzzle_optimizer);
        let mut model =
            optimizer.step(&config.optimizer, config.freeze, lr, model, gradients.dense);
        if let (Some(PuzzleGradients { ids, rows }), Some(table)) =
            (gradients.puzzles, model.puzzle_emb.take())
        {
            model.puzzle_emb = Some(table.map(|table| {
                let plain = table.without_autodiff();
                sign_sgd_rows(plain, ids, rows, rate.lr, rate.weight_decay).autodiff()
            }));
        }
        Self {
            model,
            optimizer,
            carry,
        }
    }
}

type Failure = Box<dyn std::error::Error>;
type Outcome = Result<(), Failure>;

fn main() -> Outcome {
    let device = hrm::device::from_env()?;
    let puzzles = Generator::new(SudokuSize::Nine)
        .with_clues(40..=40)
        .puzzles(64, 1)?;
    let set = Arc::new(PuzzleSet::from_sudokus(
        &puzzles,
        SudokuSize::Nine,
        Augmentation::Sudoku,
    )?);
    let mut config = Preset::by_name("hrm-sudoku-1k")?.config(&set);
    config.model.compute = ComputeType::F32;
    config.batch_size = 8;
    config.log_every = 1;

    let sampler = SamplerConfig {
        batch_size: config.batch_size,
        seed: 1,
        augment: false,
        exploration: None,
    };
    let rows = Sampler::new(set.clone(), sampler)?.next_batch();
    let batch = Batch::from_host(&rows, &device);
    let model = Hrm::new(&config.model, 1, &device.clone().autodiff())?;
    let mut bare = Some(Bare {
        carry: Carry::empty(&model, &batch),
        optimizer: DenseOptimizer::default(),
        model,
    });
    let mut trainer = Trainer::new(config.clone(), set, &device)?;
    trainer.before_step(|_, _| {});
    trainer.after_step(|_, _| {});

    let timed = |call: &mut dyn FnMut() -> Outcome| {
        let start = Instant::now();
        call()?;
        device.sync()?;
        Ok::<_, Failure>(start.elapsed().as_secs_f64())
    };
    let (mut bare_times, mut whole_times) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS + 2 {
        let mut bare_step = || {
            let (state, config, batch) = (bare.take(), &config, batch.clone());
            bare = on_pool(&device, move || {
                state.map(|state| state.step(config, batch))
            });
            Ok(())
        };
        let mut whole_step = || {
            trainer.step()?;
            Ok(())
        };
        // Either goes first as often as the other.
        let (b, w) = if pair % 2 == 0 {
            let b = timed(&mut bare_step)?;
            (b, timed(&mut whole_step)?)
        } else {
            let w = timed(&mut whole_step)?;
            (timed(&mut bare_step)?, w)
        };
        // The first two pairs warm up.
        if pair >= 2 {
            bare_times.push(b);
            whole_times.push(w);
        }
    }
    let ratios = bare_times.iter().zip(&whole_times).map(|(b, w)| w / b);
    let ratio = median(ratios.collect());
    println!(
        "device {device:?}, {} threads; {} parameters, batch {}, {PAIRS} pairs of steps",
        std::thread::available_parallelism()?,
        config.model.num_parameters(),
        config.batch_size
    );
    println!(
        "bare step           {:>9.1} ms (median)",
        1e3 * median(bare_times)
    );
    println!(
        "step of the trainer {:>9.1} ms (median)",
        1e3 * median(whole_times)
    );
    println!(
        "ratio of a pair     {ratio:>9.4}    (median): {:+.2}%",
        100.0 * (ratio - 1.0)
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2] + values[(values.len() - 1) / 2]) / 2.0
}
