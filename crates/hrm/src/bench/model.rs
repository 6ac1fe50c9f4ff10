//! The models that are timed, and a call of each kind of work.

use std::sync::Arc;

use burn::tensor::{Device, FloatDType, Tensor};
use hrm_act::{Batch, HaltPolicy};
use hrm_core::{
    ComputeType, Hrm, HrmConfig, LatentState, Levels, PuzzleEmbeddingConfig, SegmentOutput,
};
use hrm_data::arc::{ArcSettings, ArcSource, ArcTask, Grid, NameStyle, Pair, TestUse, build_sets};
use hrm_data::maze::{MazeAugmentation, MazeGenerator, MazeRecipe};
use hrm_data::sudoku::{Generator, SudokuSize};
use hrm_data::{Augmentation, DataError, PuzzleSet, Sampler, SamplerConfig};
use hrm_train::{Preset, TrainConfig, TrainError, Trainer};
use serde::{Deserialize, Serialize};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A whole optimizer step of the recipe.
    Train,
    /// One segment without gradient, heads included.
    Segment,
    /// A batch thought through until every slot halts or has made M segments.
    Adaptive,
    /// Drawing and augmenting a batch, on the host.
    Data,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Train, Self::Segment, Self::Adaptive, Self::Data];

    /// Its name in a row's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Segment => "segment",
            Self::Adaptive => "adaptive",
            Self::Data => "data",
        }
    }
}

/// A model that is timed.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// Its name in a row's.
    pub name: &'static str,
    /// Slots on a CPU.
    pub cpu_batch: usize,
    /// Slots on a GPU.
    pub gpu_batch: usize,
    preset: &'static str,
    task: Puzzles,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Puzzles {
    Sudoku(SudokuSize),
    Maze,
    Arc,
}

const fn model(name: &'static str, task: Puzzles, cpu_batch: usize, gpu_batch: usize) -> Model {
    Model {
        name,
        cpu_batch,
        gpu_batch,
        preset: name,
        task,
    }
}

const NINE: Puzzles = Puzzles::Sudoku(SudokuSize::Nine);
const SIX: Puzzles = Puzzles::Sudoku(SudokuSize::Six);

/// HRM and TRM at the sizes of Sudoku, Maze and ARC, and small ones. `hrm-width-128` is the Sudoku model at width 128 with 4
/// heads, 2 + 2 blocks and a puzzle row of 128 values.
pub const MODELS: &[Model] = &[
    model("hrm-sudoku-1k", NINE, 8, 768),
    model("trm-sudoku-mlp", NINE, 8, 768),
    model("trm-sudoku", NINE, 8, 768),
    Model {
        preset: "hrm-sudoku-1k",
        ..model("hrm-width-128", NINE, 32, 768)
    },
    model("trm-small", SIX, 48, 768),
    model("trm-small-mlp", SIX, 48, 768),
    model("hrm-small", SIX, 48, 768),
    model("hrm-maze-1k", Puzzles::Maze, 1, 64),
    model("trm-maze", Puzzles::Maze, 1, 64),
    model("hrm-arc-1", Puzzles::Arc, 1, 64),
    model("trm-arc-1", Puzzles::Arc, 1, 64),
];

/// A row to be timed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) model: &'static Model,
    pub(super) what: What,
    pub(super) compute: ComputeType,
    pub(super) batch: usize,
}

impl Case {
    fn set(&self) -> Result<PuzzleSet, DataError> {
        match self.model.task {
            Puzzles::Sudoku(size) => {
                let clues = size.num_cells() / 2;
                let generator = Generator::new(size).with_clues(clues..=clues);
                PuzzleSet::from_sudokus(&generator.puzzles(64, 1)?, size, Augmentation::Sudoku)
            }
            Puzzles::Maze => {
                let mut generator = MazeGenerator::new(MazeRecipe::hard(), 1)?;
                let mazes: Vec<_> = (0..16).map(|_| generator.generate()).collect();
                PuzzleSet::from_mazes(&mazes, Augmentation::Maze(MazeAugmentation::Relabel))
            }
            Puzzles::Arc => arc_set(),
        }
    }

    pub(super) fn config(&self) -> Result<TrainConfig, TrainError> {
        // The sizes alone; the sets of a task all have them.
        self.config_for(&self.set()?)
    }

    fn config_for(&self, set: &PuzzleSet) -> Result<TrainConfig, TrainError> {
        let mut config = Preset::by_name(self.model.preset)?.config(set);
        if self.model.name == "hrm-width-128" {
            config.model = HrmConfig {
                hidden_size: 128,
                num_heads: 4,
                levels: Levels::Separate {
                    h_layers: 2,
                    l_layers: 2,
                },
                puzzle_embedding: Some(PuzzleEmbeddingConfig {
                    dim: 128,
                    positions: None,
                }),
                ..config.model
            };
        }
        config.model.compute = self.compute;
        config.batch_size = self.batch;
        config.log_every = u64::MAX;
        config.steps = u64::MAX;
        Ok(config)
    }
}

/// Tasks of random grids from 4x4 to 30x30: no time depends on what is in them.
fn arc_set() -> Result<PuzzleSet, DataError> {
    let grid = |task: usize, side: usize| {
        let cells = (0..side * side).map(|cell| ((cell * 7 + task * 3 + cell / side) % 10) as u8);
        Grid::new(side, side, cells.collect())
    };
    let pair = |task, side| -> Result<Pair, DataError> {
        Ok(Pair {
            input: grid(task, side)?,
            output: Some(grid(task + 1, side)?),
        })
    };
    let task = |index: usize| -> Result<ArcTask, DataError> {
        Ok(ArcTask {
            id: format!("task-{index}"),
            train: vec![pair(index, 4 + index)?, pair(index, 12)?, pair(index, 30)?],
            test: vec![pair(index, 20)?],
        })
    };
    let tasks = (0..16).map(task).collect::<Result<Vec<_>, _>>()?;
    let source = ArcSource {
        tasks: &tasks,
        tests: TestUse::Evaluate,
    };
    let settings = ArcSettings {
        augmentations: 50,
        seed: 1,
        style: NameStyle::Hrm,
    };
    Ok(build_sets(&[source], settings)?.train)
}

/// A case made ready to be called again and again.
pub(super) struct Work {
    kind: Kind,
    config: TrainConfig,
    /// Segments of a call of adaptive inference.
    segments: u32,
}

#[expect(clippy::large_enum_variant, reason = "one of them at a time")]
enum Kind {
    Train {
        trainer: Box<Trainer>,
        batch: Batch,
    },
    Segment {
        model: Box<Hrm>,
        state: Option<LatentState>,
        x: Tensor<3>,
        output: Option<SegmentOutput>,
    },
    Adaptive {
        model: Box<Hrm>,
        x: Tensor<3>,
    },
    Data(Box<Sampler>),
}

impl Work {
    pub(super) fn prepare(
        case: &Case,
        config: TrainConfig,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let set = Arc::new(case.set()?);
        let sampler = || {
            Sampler::new(
                set.clone(),
                SamplerConfig {
                    batch_size: case.batch,
                    seed: 1,
                    augment: true,
                    exploration: None,
                },
            )
        };
        let kind = match case.what {
            What::Train => Kind::Train {
                trainer: Box::new(Trainer::new(config.clone(), set.clone(), device)?),
                batch: Batch::from_host(&sampler()?.next_batch(), device),
            },
            What::Data => Kind::Data(Box::new(sampler()?)),
            What::Segment | What::Adaptive => {
                let model = Box::new(Hrm::new(&config.model, 1, device)?.frozen());
                let batch = Batch::from_host(&sampler()?.next_batch(), device);
                let x = model.embed(batch.inputs, model.puzzle_rows(batch.puzzle_ids));
                match case.what {
                    What::Segment => Kind::Segment {
                        state: Some(model.segment(model.initial_state(), x.clone()).0),
                        model,
                        x,
                        output: None,
                    },
                    _ => Kind::Adaptive { model, x },
                }
            }
        };
        Ok(Self {
            kind,
            config,
            segments: 0,
        })
    }

    pub(super) fn call(&mut self) -> Result<(), String> {
        match &mut self.kind {
            Kind::Train { trainer, batch } => {
                let report = trainer.step_on(batch.clone());
                report.map_err(|error| error.to_string())?;
            }
            Kind::Segment {
                model,
                state,
                x,
                output,
            } => {
                let before = state.take().unwrap_or_else(|| model.initial_state());
                let device = model.device();
                let (after, read) =
                    hrm_core::ops::on_pool(&device, || model.segment(before, x.clone()));
                (*state, *output) = (Some(after), Some(read));
            }
            Kind::Adaptive { model, x } => {
                let (act, device) = (self.config.act, model.device());
                self.segments = hrm_core::ops::on_pool(&device, || think(model, x, act))?;
            }
            Kind::Data(sampler) => {
                sampler.next_batch();
            }
        }
        Ok(())
    }

    /// Reads what the calls have come to. A device that lacked memory or a kernel has left work undone, and says so to who reads.
    pub(super) fn check(&self) -> Result<(), String> {
        match &self.kind {
            Kind::Train { trainer, .. } => {
                let snapshot = trainer.snapshot().map_err(|error| error.to_string())?;
                snapshot.not_finite().map_or(Ok(()), |name| {
                    Err(format!("`{name}` has values that are no numbers"))
                })
            }
            Kind::Segment { state, output, .. } => {
                let of_state = state.iter().flat_map(|state| [&state.z_h, &state.z_l]);
                let logits = output.iter().map(|output| &output.logits);
                let read = of_state.chain(logits).cloned();
                check_finite(read.map(|x| x.flatten::<2>(0, 1)))
            }
            // What it has read decides how long it thinks; the other needs no device.
            Kind::Adaptive { .. } | Kind::Data(_) => Ok(()),
        }
    }

    /// Counted operations of a call, where it computes.
    pub(super) fn flops(&self) -> Option<f64> {
        let flops = self.config.model.flops(self.config.act.max_segments);
        let of_one = match &self.kind {
            Kind::Train { .. } => flops.training_step as f64,
            Kind::Segment { .. } => flops.segment as f64,
            Kind::Adaptive { .. } => flops.segment as f64 * f64::from(self.segments),
            Kind::Data(_) => return None,
        };
        Some(of_one * self.config.batch_size as f64)
    }
}

/// Reads the sums of what was computed.
pub(super) fn check_finite(computed: impl IntoIterator<Item = Tensor<2>>) -> Result<(), String> {
    for x in computed {
        let sum = x.cast(FloatDType::F32).sum().try_into_vec_as::<f32>();
        let sum = sum.map_err(|error| error.to_string())?;
        if !sum.iter().all(|sum| sum.is_finite()) {
            return Err("it computed what is no number".to_owned());
        }
    }
    Ok(())
}

/// Segments until every slot halts, its mask read after each as the reasoner does; gives their number.
fn think(model: &Hrm, x: &Tensor<3>, act: hrm_act::ActConfig) -> Result<u32, String> {
    let [b, _, _] = x.dims();
    let device = model.device();
    let mut state = model.initial_state();
    let mut segment = Tensor::<1, burn::tensor::Int>::zeros([b], &device);
    let never = segment.clone();
    let mut halted = segment.clone().bool();
    let mut made = 0;
    loop {
        let output;
        (state, output) = model.segment(state, x.clone());
        segment = segment.add_scalar(1);
        made += 1;
        let q = (&output.q_halt, &output.q_continue);
        let now = act.halted(
            HaltPolicy::Learned,
            model.config().halt_head,
            &segment,
            q,
            &never,
        );
        halted = halted.bool_or(now);
        let running = halted
            .clone()
            .bool_not()
            .int()
            .sum()
            .try_into_vec_as::<i32>()
            .map_err(|error| error.to_string())?;
        if running.first().is_none_or(|&count| count == 0) || made >= act.max_segments {
            return Ok(made);
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_fails_a_row() {
        let device = Device::flex();
        let of = |value: f32| Tensor::<2>::full([2, 3], value, &device);
        check_finite([of(1.0), of(-2.0)]).unwrap();
        for value in [f32::NAN, f32::INFINITY] {
            assert!(check_finite([of(1.0), of(value)]).is_err(), "{value}");
        }
    }
}
