//! Whole models: a segment, training steps, adaptive inference.

use std::sync::Arc;

use burn::tensor::{Int, Tensor};
use hrm_act::{Batch, Carry, HaltRule, Puzzle, Reasoner, ReasonerConfig};
use hrm_core::{Hrm, HrmConfig, Levels, PuzzleEmbeddingConfig, WeightRole, truncated_normal};
use hrm_data::maze::{MazeGenerator, MazeRecipe};
use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{Augmentation, DataError, PuzzleBatch, PuzzleSet};
use hrm_train::{Gradients, Preset, TrainConfig, TrainError, Trainer};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::device::check_training;

use super::{ConformanceError, Measure, Quantity, Setting, SuiteSize};

type Found = Result<Vec<Quantity>, ConformanceError>;

/// The kinds of models, by the presets that train them.
const MODELS: [&str; 3] = ["hrm-sudoku-1k", "trm-sudoku", "trm-sudoku-mlp"];
/// Slots of the published recipes.
const BATCH: usize = 768;
/// Slots of mazes, whose attention goes through its scores in blocks of so few of them.
const MAZES: usize = 96;
/// Puzzles that adaptive inference answers.
const PUZZLES: usize = 64;

impl Setting {
    fn set(&self) -> Result<Arc<PuzzleSet>, ConformanceError> {
        let size = match self.size {
            SuiteSize::Small => SudokuSize::Four,
            SuiteSize::Published | SuiteSize::Batch => SudokuSize::Nine,
        };
        let clues = size.num_cells() / 2;
        let count = match self.size {
            SuiteSize::Batch => BATCH,
            SuiteSize::Small | SuiteSize::Published => PUZZLES,
        };
        let make = || {
            let generator = Generator::new(size).with_clues(clues..=clues);
            PuzzleSet::from_sudokus(&generator.puzzles(count, 1)?, size, Augmentation::Sudoku)
        };
        Ok(Arc::new(make().map_err(TrainError::from)?))
    }

    fn config(&self, name: &str, set: &PuzzleSet) -> Result<TrainConfig, ConformanceError> {
        let mut config = Preset::by_name(name)?.config(set);
        match self.size {
            SuiteSize::Small => config.model = small(config.model),
            // Longer recurrences of fresh weights are chaotic: after 3 x 6 cycles bf16 has no digit right, PyTorch's neither.
            SuiteSize::Published | SuiteSize::Batch => {
                (config.model.h_cycles, config.model.l_cycles) = (1, 2);
            }
        }
        config.model.compute = self.compute;
        config.batch_size = match self.size {
            SuiteSize::Small => 6,
            SuiteSize::Published => 8,
            SuiteSize::Batch => BATCH,
        };
        config.act.max_segments = 4;
        config.schedule.warmup_steps = 10;
        config.log_every = 1;
        config.steps = 50;
        config.seed = 5;
        Ok(config)
    }
}

/// The same kind of model with width 64.
fn small(model: HrmConfig) -> HrmConfig {
    HrmConfig {
        hidden_size: 64,
        num_heads: 4,
        levels: match model.levels {
            Levels::Separate { .. } => Levels::Separate {
                h_layers: 1,
                l_layers: 1,
            },
            Levels::Shared { .. } => Levels::Shared { layers: 1 },
        },
        l_cycles: 2,
        h_cycles: 2,
        puzzle_embedding: Some(PuzzleEmbeddingConfig {
            dim: 64,
            positions: None,
        }),
        ..model
    }
}

/// The next batch; that there is none would leave nothing to compare.
fn next(
    batches: &mut impl Iterator<Item = (PuzzleBatch, usize)>,
) -> Result<PuzzleBatch, ConformanceError> {
    let (rows, _) = batches
        .next()
        .ok_or(TrainError::from(DataError::EmptySet))?;
    Ok(rows)
}

/// Two segments of each kind of model.
pub(super) fn segment(setting: &Setting) -> Found {
    let set = setting.set()?;
    let mut found = Vec::new();
    for name in MODELS {
        let config = setting.config(name, &set)?;
        let model = Hrm::new(&config.model, 3, &setting.device).map_err(TrainError::from)?;
        let model = decisive(model).frozen();
        let rows = next(&mut set.batches(config.batch_size))?;
        let batch = Batch::from_host(&rows, &setting.device);
        let x = model.embed(batch.inputs, model.puzzle_rows(batch.puzzle_ids));
        let mut state = model.initial_state();
        // A state of one row serves the first segment; the second has a row for each slot.
        for _ in 0..2 {
            let output;
            (state, output) = model.segment(state, x.clone());
            found.push(setting.read("z_h", Measure::Largest, state.z_h.clone())?);
            found.push(setting.read("z_l", Measure::Largest, state.z_l.clone())?);
            found.push(setting.read("logits", Measure::Largest, output.logits)?);
            found.push(setting.read("q_halt", Measure::Largest, output.q_halt)?);
        }
    }
    Ok(found)
}

/// The second step of each kind of model, when the slots hold states: loss, gradients and halts; and how far two steps of the
/// trainer move the weights.
pub(super) fn step(setting: &Setting) -> Found {
    let set = setting.set()?;
    let mut found = Vec::new();
    for name in MODELS {
        let config = setting.config(name, &set)?;
        let device = setting.device.clone().autodiff();
        let model = decisive(Hrm::new(&config.model, 3, &device).map_err(TrainError::from)?);
        let mut batches = set.batches(config.batch_size);
        let (first, second) = (next(&mut batches)?, next(&mut batches)?);
        let first = Batch::from_host(&first, &setting.device);
        let second = Batch::from_host(&second, &setting.device);
        let carry = Carry::empty(&model, &first);
        let before = config.act.step(&model, carry, first, config.batch_size);
        // Every second slot takes a new puzzle, whatever rounding makes of a close decision.
        let mut carry = before.carry;
        let even: Vec<i32> = (0..config.batch_size as i32)
            .map(|slot| (slot + 1) % 2)
            .collect();
        carry.halted = Tensor::<1, Int>::from_data(even.as_slice(), &setting.device).bool();
        let step = config.act.step(&model, carry, second, config.batch_size);
        found.push(setting.read("loss", Measure::Largest, step.loss.clone())?);
        found.push(setting.read("q_halt", Measure::Largest, step.q_halt)?);
        let halted = step.carry.halted.int().float();
        found.push(setting.read("halted", Measure::Unequal, halted)?);
        let mut gradients = step.loss.backward();
        if let Some(rows) = step.puzzle_rows
            && let Some(gradient) = rows.grad_remove(&mut gradients)
        {
            found.push(setting.read("gradients", Measure::Norm, gradient)?);
        }
        for gradient in model.take_gradients(&mut gradients).into_values() {
            found.push(setting.read("gradients", Measure::Norm, gradient)?);
        }
        let mut trainer = Trainer::new(config, set.clone(), &setting.device)?;
        let start = trainer.state().model.clone();
        for _ in 0..2 {
            trainer.step()?;
        }
        let (rows, dense): (Vec<_>, Vec<_>) = (start.weights().into_iter())
            .zip(trainer.state().model.weights())
            .map(|(start, end)| (start.role, end.value - start.value))
            .partition(|(role, _)| *role == WeightRole::PuzzleTable);
        for (name, moved) in [("weights moved", dense), ("puzzle rows moved", rows)] {
            let moved = moved.into_iter().map(|(_, moved)| moved).collect();
            found.push(setting.read(name, Measure::Apart, Tensor::cat(moved, 0))?);
        }
    }
    Ok(found)
}

/// The first segment of each kind of model: loss, q values and gradients, whole, and in parts where that is expected. The products of
/// a large batch are computed by other kernels than those of a part of it.
pub(super) fn batch_in_parts(setting: &Setting) -> Found {
    let set = setting.set()?;
    let parts = match setting.size {
        SuiteSize::Small => 3,
        SuiteSize::Published => 2,
        SuiteSize::Batch => 16,
    };
    let mut found = Vec::new();
    for name in MODELS {
        let config = setting.config(name, &set)?;
        found.extend(whole_or_in_parts(setting, &config, &set, parts)?);
    }
    if setting.size == SuiteSize::Batch {
        let make = || {
            let mazes = MazeGenerator::new(MazeRecipe::new(30, 30, 110), 1)?;
            let mazes: Vec<_> = mazes.take(MAZES).collect();
            PuzzleSet::from_mazes(&mazes, Augmentation::None)
        };
        let set = make().map_err(TrainError::from)?;
        let mut config = setting.config("hrm-maze-1k", &set)?;
        config.batch_size = MAZES;
        found.extend(whole_or_in_parts(setting, &config, &set, 8)?);
    }
    Ok(found)
}

fn whole_or_in_parts(
    setting: &Setting,
    config: &TrainConfig,
    set: &PuzzleSet,
    parts: usize,
) -> Found {
    let slots = config.batch_size;
    check_training(&setting.device, config, 1).map_err(|error| setting.device_error(error))?;
    let device = setting.device.clone().autodiff();
    let model = decisive(Hrm::new(&config.model, 3, &device).map_err(TrainError::from)?);
    let rows = next(&mut set.batches(slots))?;
    let batch = Batch::from_host(&rows, &setting.device);
    let carry = Carry::empty(&model, &batch);
    let at_a_time = if setting.expected {
        slots / parts
    } else {
        slots
    };
    let (mut loss, mut q_halt) = (0.0, Vec::new());
    let mut gradients: Option<Gradients> = None;
    for first in (0..slots).step_by(at_a_time) {
        let rows = first..first + at_a_time;
        let (carry, batch) = (carry.rows(rows.clone()), batch.rows(rows));
        let step = config.act.step(&model, carry, batch, slots);
        let read = setting.read("loss", Measure::Largest, step.loss.clone())?;
        loss += read.values.iter().sum::<f32>();
        q_halt.extend(
            setting
                .read("q_halt", Measure::Largest, step.q_halt.clone())?
                .values,
        );
        let of_part = Gradients::of(&model, step);
        gradients = Some(match gradients {
            Some(sum) => sum.merge(of_part),
            None => of_part,
        });
    }
    let largest = |name, values| Quantity {
        name,
        values,
        measure: Measure::Largest,
    };
    let mut found = vec![largest("loss", vec![loss]), largest("q_halt", q_halt)];
    if let Some(Gradients { dense, puzzles }) = gradients {
        for gradient in dense.into_values() {
            found.push(setting.read("gradients", Measure::Norm, gradient)?);
        }
        if let Some(puzzles) = puzzles {
            found.push(setting.read("gradients", Measure::Norm, puzzles.rows)?);
        }
    }
    Ok(found)
}

/// Fifty steps of the trainer: the loss of each tenth of them, and the distance that the weights went. HRM's metrics are read
/// at each step, TRM's once at the end: until then nothing waits for the device, as in a training.
pub(super) fn fifty_steps(setting: &Setting) -> Found {
    let set = setting.set()?;
    let mut found = Vec::new();
    for (name, log_every) in [("hrm-sudoku-1k", 1), ("trm-sudoku-mlp", 50)] {
        let mut config = setting.config(name, &set)?;
        config.log_every = log_every;
        let mut trainer = Trainer::new(config, set.clone(), &setting.device)?;
        let start = norm(trainer.state().model.clone());
        let mut losses = Vec::new();
        for _ in 0..50 {
            let report = trainer.step()?;
            losses.extend(report.metrics.map(|metrics| metrics.loss() as f32));
        }
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
        found.push(Quantity {
            name: "loss",
            values: losses.chunks(10).map(mean).collect(),
            measure: Measure::Largest,
        });
        let end = norm(trainer.state().model.clone());
        found.push(setting.read("norms of the weights", Measure::Norm, end - start)?);
    }
    Ok(found)
}

/// The norm of each weight.
fn norm(model: Hrm) -> Tensor<1> {
    let norms = model
        .weights()
        .into_iter()
        .map(|weight| weight.value.square().sum().sqrt());
    Tensor::cat(norms.collect(), 0)
}

/// Puzzles thought about until the q head says halt: answers, and segments made.
pub(super) fn adaptive(setting: &Setting) -> Found {
    let set = setting.set()?;
    let mut found = Vec::new();
    for name in MODELS {
        let config = setting.config(name, &set)?;
        let model = Hrm::new(&config.model, 3, &setting.device).map_err(TrainError::from)?;
        let reasoner = Reasoner::new(
            &decisive(model),
            ReasonerConfig {
                slots: config.batch_size,
                max_segments: 8,
                halt: HaltRule::QHalt,
                trace: false,
            },
        )?;
        let puzzles = (0..set.num_examples().min(PUZZLES)).map(|index| Puzzle {
            inputs: set.example(index).inputs.into_owned(),
            puzzle_id: 0,
        });
        let mut answers = reasoner.solve(puzzles).collect::<Result<Vec<_>, _>>()?;
        answers.sort_by_key(|answer| answer.index);
        let unequal = |name, values| Quantity {
            name,
            values,
            measure: Measure::Unequal,
        };
        let segments = answers.iter().map(|answer| answer.segments as f32);
        found.push(unequal("segments", segments.collect()));
        let tokens = answers.iter().flat_map(|answer| &answer.tokens);
        found.push(unequal(
            "cells",
            tokens.map(|&token| f32::from(token)).collect(),
        ));
    }
    Ok(found)
}

/// A fresh q head never halts; this one does, at some puzzles sooner than at others.
fn decisive(model: Hrm) -> Hrm {
    model.map_weights(|name, _role, value| {
        let [count] = value.dims();
        let random = |std: f64| {
            let rng = &mut ChaCha8Rng::seed_from_u64(8);
            let values = truncated_normal(count, std, rng);
            Tensor::from_floats(values.as_slice(), &value.device())
        };
        match name {
            "q_head.weight" => random(1.5 / (count as f64 / 2.0).sqrt()),
            "q_head.bias" => random(0.1),
            _ => value,
        }
    })
}
