//! Runs by name: the published recipes (reference programs and papers) and small ones for a CPU.

use hrm_act::{ActConfig, LossKind};
use hrm_core::{
    ComputeType, GradientSpan, HaltHead, HrmConfig, Levels, MixerKind, PositionKind, Sizes,
};
use hrm_data::{PuzzleSet, Task};

use crate::config::{TrainConfig, nearest, steps_of};
use crate::error::TrainError;
use crate::freeze::Freeze;
use crate::optimizer::{OptimizerConfig, PuzzleOptimizerConfig, Rule};
use crate::run::GuardConfig;
use crate::schedule::Schedule;

/// A named recipe.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    make: fn(Sizes) -> Recipe,
}

/// A configuration whose length is given in epochs.
struct Recipe {
    config: TrainConfig,
    epochs: Option<f64>,
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "hrm-sudoku-1k",
        about: "HRM, 27M parameters, Sudoku-Extreme with 1,000 examples, batch 768",
        make: |sizes| published(HrmConfig::hrm(sizes), 20_000.0, 1.0, 1e-4),
    },
    Preset {
        name: "hrm-sudoku-1k-1gpu",
        about: "the same for one GPU: batch 384, lr 7e-5",
        make: |sizes| {
            let mut recipe = published(HrmConfig::hrm(sizes), 20_000.0, 1.0, 7e-5);
            recipe.config.batch_size = 384;
            recipe.config.optimizer.lr = 7e-5;
            recipe
        },
    },
    Preset {
        name: "hrm-maze-1k",
        about: "HRM, 30x30 mazes with 1,000 examples",
        make: |sizes| {
            let mut recipe = published(HrmConfig::hrm(sizes), 20_000.0, 1.0, 1e-4);
            // Its official data are the 1,000 mazes as they are.
            recipe.config.augment = false;
            recipe
        },
    },
    Preset {
        name: "hrm-arc-1",
        about: "HRM, ARC-AGI-1",
        make: |sizes| published(HrmConfig::hrm(sizes), 100_000.0, 0.1, 1e-2),
    },
    Preset {
        name: "hrm-arc-2",
        about: "HRM, ARC-AGI-2",
        make: |sizes| published(HrmConfig::hrm(sizes), 100_000.0, 0.1, 1e-2),
    },
    Preset {
        name: "hrm-sudoku-full",
        about: "HRM, the whole Sudoku-Extreme set: 8 fast updates a cycle, learned positions, softmax",
        make: |sizes| {
            let model = HrmConfig {
                l_cycles: 8,
                position: PositionKind::Learned,
                ..HrmConfig::hrm(sizes)
            };
            let mut recipe = published(model, 100.0, 0.1, 3e-4);
            recipe.config.act.max_segments = 8;
            recipe.config.act.loss = LossKind::Softmax;
            recipe.config.batch_size = 2304;
            recipe.config.augment = false;
            recipe.config.optimizer.lr = 3e-4;
            recipe.config.schedule.min_ratio = 0.1;
            recipe
        },
    },
    Preset {
        name: "trm-sudoku-mlp",
        about: "TRM with the MLP mixer, 5M parameters, Sudoku-Extreme with 1,000 examples",
        make: |sizes| published_trm(HrmConfig::trm_mlp(sizes), 50_000.0, 1.0, 1e-4),
    },
    Preset {
        name: "trm-sudoku",
        about: "TRM with attention, Sudoku-Extreme with 1,000 examples",
        make: |sizes| published_trm(HrmConfig::trm(sizes), 50_000.0, 1.0, 1e-4),
    },
    Preset {
        name: "trm-maze",
        about: "TRM, 30x30 mazes with 1,000 examples",
        make: |sizes| published_trm(trm_4(sizes), 50_000.0, 1.0, 1e-4),
    },
    Preset {
        name: "trm-arc-1",
        about: "TRM, ARC-AGI-1",
        make: |sizes| published_trm(trm_4(sizes), 100_000.0, 0.1, 1e-2),
    },
    Preset {
        name: "trm-arc-2",
        about: "TRM, ARC-AGI-2",
        make: |sizes| published_trm(trm_4(sizes), 100_000.0, 0.1, 1e-2),
    },
    Preset {
        name: "trm-small",
        about: "a small TRM with attention that a CPU trains in minutes",
        make: |sizes| small(small_trm(sizes)),
    },
    Preset {
        name: "trm-small-mlp",
        about: "a small TRM with the MLP mixer that a CPU trains in minutes",
        make: |sizes| {
            small(HrmConfig {
                mixer: MixerKind::Mlp,
                position: PositionKind::None,
                ..small_trm(sizes)
            })
        },
    },
    Preset {
        name: "hrm-small",
        about: "a small HRM (two levels, one-step gradient) for a CPU",
        make: |sizes| {
            small(HrmConfig {
                levels: Levels::Separate {
                    h_layers: 2,
                    l_layers: 2,
                },
                gradient: GradientSpan::LastUpdate,
                halt_head: HaltHead::QLearning,
                h_cycles: 2,
                l_cycles: 2,
                ..small_trm(sizes)
            })
        },
    },
];

impl Preset {
    /// The preset of a name.
    ///
    /// # Errors
    /// An unknown name, with the names there are.
    pub fn by_name(name: &str) -> Result<Self, TrainError> {
        PRESETS
            .iter()
            .copied()
            .find(|preset| preset.name == name)
            .ok_or_else(|| {
                let names: Vec<String> = PRESETS.iter().map(|p| p.name.to_owned()).collect();
                TrainError::UnknownPreset {
                    name: name.to_owned(),
                    known: format!("{}{}", names.join(", "), nearest(name, &names)),
                }
            })
    }

    /// Refuses data of another task than the one that the recipe was published for. Sudokus and mazes may have any size. Data
    /// that don't say their task must have the sizes of a square Sudoku, of a published maze, of ARC. The small recipes take all.
    ///
    /// # Errors
    /// The task expected, with its vocabulary, and the one found.
    pub fn check(&self, set: &PuzzleSet) -> Result<(), TrainError> {
        let info = set.info();
        let sizes = (info.vocab_size, info.seq_len);
        // What a task that isn't told must look like.
        let looks = |like: bool| info.task == Task::Other && like;
        let (fits, expected) = match self.task() {
            "sudoku" => (
                matches!(info.task, Task::Sudoku(_))
                    || looks(is_square_sudoku(info.vocab_size, info.seq_len)),
                "a Sudoku (vocab_size n + 2, seq_len n * n)",
            ),
            "maze" => (
                matches!(info.task, Task::Maze { .. }) || looks(sizes == (6, 900)),
                "a maze (vocab_size 6, published with seq_len 900)",
            ),
            "arc" => (
                info.task == Task::Arc || looks(sizes == (12, 900)),
                "ARC (vocab_size 12, seq_len 900)",
            ),
            _ => return Ok(()),
        };
        if fits {
            return Ok(());
        }
        let found = match info.task {
            Task::Sudoku(_) => "a Sudoku",
            Task::Maze { .. } => "a maze",
            Task::Arc => "ARC",
            Task::Other => "an unknown task",
        };
        Err(TrainError::WrongTask {
            preset: self.name,
            expected,
            found: format!(
                "{found} (vocab_size {}, seq_len {})",
                info.vocab_size, info.seq_len
            ),
        })
    }

    /// Refuses a model that the recipe doesn't train: HRM or TRM, mixer, kind of positions, and the vocabulary of its task.
    ///
    /// # Errors
    /// What was expected, and what was found.
    pub fn check_model(&self, model: &HrmConfig) -> Result<(), TrainError> {
        let wrong = |expected: &str, found: &str| TrainError::WrongModel {
            expected: expected.to_owned(),
            found: found.to_owned(),
        };
        let kind = |config: &HrmConfig| match (config.levels, config.mixer) {
            (Levels::Separate { .. }, _) => "HRM",
            (Levels::Shared { .. }, MixerKind::Attention) => "TRM with attention",
            (Levels::Shared { .. }, MixerKind::Mlp) => "TRM with the MLP mixer",
        };
        let positions = |config: &HrmConfig| match config.position {
            PositionKind::Learned => "learned positions",
            PositionKind::Rope | PositionKind::None => "no learned positions",
        };
        let own = (self.make)(ANY_SIZES).config.model;
        for part in [kind, positions] {
            if part(&own) != part(model) {
                return Err(wrong(part(&own), part(model)));
            }
        }
        let (tokens, cells) = (model.vocab_size, model.seq_len);
        let (fits, expected) = match self.task() {
            "sudoku" => (
                is_square_sudoku(tokens, cells),
                "a square Sudoku's n + 2 tokens and n * n cells",
            ),
            "maze" => (tokens == 6, "a maze's 6 tokens"),
            "arc" => (tokens == 12, "ARC's 12 tokens"),
            _ => (true, ""),
        };
        match fits {
            true => Ok(()),
            false => Err(wrong(
                expected,
                &format!("{tokens} tokens and {cells} cells"),
            )),
        }
    }

    /// The second word of the name: the task, or `small`.
    fn task(&self) -> &'static str {
        self.name.split('-').nth(1).unwrap_or_default()
    }

    /// Epochs that the recipe is to run for; none where it counts steps.
    pub fn epochs(&self) -> Option<f64> {
        (self.make)(ANY_SIZES).epochs
    }

    /// The recipe's configuration for a training set: its sizes, and its epochs turned into steps. Whoever changes the batch
    /// or the set afterwards turns them into steps again, by [`Preset::epochs`] and [`TrainConfig::set_epochs`].
    pub fn config(&self, set: &PuzzleSet) -> TrainConfig {
        let info = set.info();
        let Recipe { mut config, epochs } = (self.make)(Sizes {
            seq_len: info.seq_len,
            vocab_size: info.vocab_size,
            num_puzzle_ids: info.num_puzzle_ids,
        });
        if let Some(epochs) = epochs {
            config.steps = steps_of(epochs, set, config.batch_size);
        }
        config
    }

    /// The recipe's configuration for data of which only the sizes are known. A recipe that counts epochs then has one step:
    /// who trains says how many there are to be.
    pub fn config_for_sizes(&self, sizes: Sizes) -> TrainConfig {
        (self.make)(sizes).config
    }

    /// The published recipe that a model of this kind was most likely trained by: HRM or TRM, and the task by its sizes.
    pub fn of_model(config: &HrmConfig) -> Self {
        let shared = matches!(config.levels, Levels::Shared { .. });
        let name = match (shared, config.seq_len, config.vocab_size) {
            (false, 81, 11) if config.position == PositionKind::Learned => "hrm-sudoku-full",
            (false, 900, 6) => "hrm-maze-1k",
            (false, 900, 12) => "hrm-arc-1",
            (false, ..) => "hrm-sudoku-1k",
            (true, 900, 6) => "trm-maze",
            (true, 900, 12) => "trm-arc-1",
            (true, ..) if config.mixer == MixerKind::Mlp => "trm-sudoku-mlp",
            (true, ..) => "trm-sudoku",
        };
        let found = PRESETS.iter().find(|preset| preset.name == name);
        found.copied().unwrap_or(PRESETS[0])
    }
}

/// Sizes for a recipe of which only the rest is looked at.
const ANY_SIZES: Sizes = Sizes {
    seq_len: 1,
    vocab_size: 1,
    num_puzzle_ids: 1,
};

/// Whether there is a token for each digit, for a blank and for padding.
fn is_square_sudoku(vocab_size: usize, seq_len: usize) -> bool {
    let digits = vocab_size.saturating_sub(2);
    digits > 0 && digits.checked_mul(digits) == Some(seq_len)
}

fn published(model: HrmConfig, epochs: f64, weight_decay: f64, puzzle_lr: f64) -> Recipe {
    Recipe {
        config: TrainConfig {
            model: HrmConfig {
                compute: ComputeType::Bf16,
                ..model
            },
            act: ActConfig::published(),
            optimizer: OptimizerConfig {
                rule: Rule::AdamAtan2,
                lr: 1e-4,
                weight_decay,
                beta1: 0.9,
                beta2: 0.95,
            },
            puzzle_optimizer: PuzzleOptimizerConfig {
                lr: puzzle_lr,
                weight_decay,
            },
            schedule: Schedule {
                warmup_steps: 2000,
                min_ratio: 1.0,
            },
            ema: None,
            gradient_clip: None,
            batch_size: 768,
            accumulate: 1,
            freeze: Freeze::Nothing,
            steps: 1,
            seed: 0,
            augment: true,
            log_every: 50,
            checkpoint_every: 1000,
            keep_checkpoints: 2,
            eval_every: None,
            eval_puzzles: 1000,
            eval_hold_out: None,
            eval_patience: None,
            guard: GuardConfig::default(),
        },
        epochs: Some(epochs),
    }
}

fn published_trm(model: HrmConfig, epochs: f64, weight_decay: f64, puzzle_lr: f64) -> Recipe {
    let mut recipe = published(model, epochs, weight_decay, puzzle_lr);
    recipe.config.ema = Some(0.999);
    recipe
}

fn trm_4(sizes: Sizes) -> HrmConfig {
    HrmConfig {
        l_cycles: 4,
        ..HrmConfig::trm(sizes)
    }
}

fn small_trm(sizes: Sizes) -> HrmConfig {
    HrmConfig {
        hidden_size: 96,
        num_heads: 4,
        h_cycles: 1,
        l_cycles: 3,
        puzzle_embedding: Some(hrm_core::PuzzleEmbeddingConfig {
            dim: 96,
            positions: None,
        }),
        ..HrmConfig::trm(sizes)
    }
}

fn small(model: HrmConfig) -> Recipe {
    let mut recipe = published(model, 1.0, 0.1, 1e-3);
    let config = &mut recipe.config;
    config.model.compute = ComputeType::F32;
    config.act.max_segments = 6;
    config.optimizer.lr = 1e-3;
    config.schedule = Schedule {
        warmup_steps: 50,
        min_ratio: 0.1,
    };
    config.ema = Some(0.99);
    config.batch_size = 48;
    config.steps = 2000;
    config.log_every = 10;
    config.checkpoint_every = 500;
    recipe.epochs = None;
    recipe
}
