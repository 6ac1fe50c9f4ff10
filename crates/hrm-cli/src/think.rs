//! Options that say how a model thinks about puzzles.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::builder::RangedU64ValueParser;
use clap::{Args as Arguments, ValueEnum};
use hrm::device;
use hrm::prelude::*;

use crate::checkpoint::{Loaded, Weights, load};

/// How long to think and how often to try.
#[derive(Clone, Debug, Arguments)]
#[command(next_help_heading = "Thinking")]
pub(crate) struct Think {
    /// Most segments on a puzzle; may exceed the training's, which is the default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) segments: Option<u32>,
    /// When to stop before that: `fixed` never, `q-halt` when the model thinks it is right (q_halt > q_continue, or q_halt > 0
    /// of a model that learned no q_continue), `likely` when q_halt > 0 whatever it learned, `stable:K` when the answer hasn't
    /// changed for K segments, `verified` when the answer obeys the rules.
    #[arg(long, value_name = "RULE")]
    pub(crate) halt: Option<HaltRule>,
    /// Attempts from different initial states.
    #[arg(long, default_value_t = 1, value_name = "K")]
    pub(crate) rollouts: u32,
    /// Noise on the initial states of all attempts but the first; their own standard deviation is 1.
    #[arg(long, default_value_t = Attempts::default().noise, value_name = "X")]
    pub(crate) noise: f32,
    /// Attempts at the puzzle under different symmetries; of an ARC task to solve, puzzles that its augmentations made of it.
    #[arg(long, default_value_t = 1, value_name = "K")]
    pub(crate) views: u32,
    /// A further checkpoint that makes all attempts as well; may be given several times.
    #[arg(long, value_name = "RUN|FILE")]
    pub(crate) also: Vec<PathBuf>,
    /// Whose answer is taken of several attempts.
    #[arg(long, value_enum, default_value_t = Choose::QHalt)]
    pub(crate) choose: Choose,
    /// Withholds answers of which the model is less sure than this, 0 to 1. Of Sudokus and mazes the rules decide: one that obeys them
    /// is always given, and one that breaks them is withheld at anything above 0.
    #[arg(long, default_value_t = 0.0, value_name = "X", value_parser = confidence)]
    pub(crate) min_confidence: f32,
    /// Seed of noise and symmetries.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Puzzles thought about at a time.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_SLOTS))]
    pub(crate) batch: usize,
}

/// More than any device holds.
const MOST_SLOTS: u64 = 1 << 20;

fn confidence(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(value @ 0.0..=f32::MAX) => Ok(value),
        _ => Err("expected a number of 0 or more".to_owned()),
    }
}

/// Whose answer is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choose {
    /// The attempt that the model is surest of.
    QHalt,
    /// The grid that most attempts agree on.
    Vote,
    /// In each cell what most attempts agree on.
    CellVote,
    /// The first that obeys the rules.
    Verified,
}

impl Think {
    /// The halting rule as it is typed, q-halt where none was.
    pub(crate) fn halt_name(&self) -> String {
        self.halt.unwrap_or_default().to_string()
    }

    /// Whose answer is taken, as it is typed.
    pub(crate) fn choice_name(&self) -> String {
        let value = self.choose.to_possible_value();
        value.map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// Whether a puzzle is tried more than once.
    pub(crate) fn tries_often(&self) -> bool {
        self.rollouts > 1 || self.views > 1 || !self.also.is_empty()
    }

    /// Reads a checkpoint, and those that think along.
    ///
    /// Refuses one of another task than the first: its sizes may be the same.
    pub(crate) fn load(&self, path: &Path, weights: Weights, device: &Device) -> Result<Loaded> {
        let mut loaded = load(path, weights, device)?;
        for path in &self.also {
            let other = load(path, weights, device)?;
            if other.task != loaded.task {
                bail!(
                    "--also {}: expected a model of the task of the first, {}, found {}",
                    path.display(),
                    serde_json::to_string(&loaded.task)?,
                    serde_json::to_string(&other.task)?
                );
            }
            loaded.also.push(other);
        }
        Ok(loaded)
    }

    /// Most segments on a puzzle.
    pub(crate) fn max_segments(&self, loaded: &Loaded) -> u32 {
        self.segments.unwrap_or(loaded.info.config.act.max_segments)
    }

    /// A reasoner with the rules of the model's task; `halt` where no rule is chosen.
    pub(crate) fn reasoner(
        &self,
        loaded: &Loaded,
        halt: HaltRule,
        trace: bool,
    ) -> Result<Reasoner> {
        let config = ReasonerConfig {
            slots: self.batch,
            max_segments: self.max_segments(loaded),
            halt: self.halt.unwrap_or(halt),
            trace,
        };
        self.reasoner_of(loaded, config, self.rollouts)
    }

    /// A reasoner with the rules of the model's task, so many roll-outs, and all else as it was chosen.
    pub(crate) fn reasoner_of(
        &self,
        loaded: &Loaded,
        config: ReasonerConfig,
        rollouts: u32,
    ) -> Result<Reasoner> {
        let asks = [
            ("--halt verified", config.halt == HaltRule::Verified),
            ("--choose verified", self.choose == Choose::Verified),
        ];
        if self.views > 1 && !is_verifiable(loaded.task) {
            bail!(
                "--views: expected Sudokus or mazes, whose symmetries are known, or an ARC task to solve; found another task (the augmentations of an ARC set vote by themselves)"
            );
        }
        if let Some((option, _)) = asks
            .iter()
            .find(|(_, asked)| *asked && !is_verifiable(loaded.task))
        {
            bail!(
                "{option}: expected a task whose rules tell when an answer is right, Sudoku or mazes; the model's has none"
            );
        }
        let attempts = Attempts {
            rollouts,
            noise: self.noise,
            views: self.views,
            choice: match self.choose {
                Choose::QHalt => Choice::QHalt,
                Choose::Vote => Choice::Vote,
                Choose::CellVote => Choice::CellVote,
                Choose::Verified => Choice::Verified,
            },
            seed: self.seed,
        };
        let mut reasoner = Reasoner::new(&loaded.model, config)?.with_attempts(attempts)?;
        for other in &loaded.also {
            reasoner = reasoner
                .with_model(&other.model)
                .with_context(|| format!("--also {}", other.path.display()))?;
        }
        let models: Vec<&Hrm> = loaded.all().map(|loaded| &loaded.model).collect();
        device::check_inference(&models, config.slots).context("--batch")?;
        Ok(reasoner.with_task(loaded.task))
    }
}

/// Whether answers to the task can be verified.
pub(crate) fn is_verifiable(task: Task) -> bool {
    matches!(task, Task::Sudoku(_) | Task::Maze { .. })
}
