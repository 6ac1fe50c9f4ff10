//! A model to evaluate or to solve with: from a run folder or a checkpoint file.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::ValueEnum;
use hrm::device;
use hrm::prelude::*;
use hrm::train::CheckpointInfo;

use crate::console::Console;

/// Which weights of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Weights {
    /// The averaged ones where there are any, else the raw ones.
    #[default]
    Ema,
    /// Those that the optimizer works on.
    Raw,
}

/// A checkpoint with its model.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    pub(crate) model: Hrm,
    pub(crate) info: CheckpointInfo,
    pub(crate) task: Task,
    /// Those that think along.
    pub(crate) also: Vec<Loaded>,
}

impl Loaded {
    /// It, and those that think along.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.also)
    }

    /// Refuses an id that a puzzle table has no row for.
    pub(crate) fn check_puzzle_id(&self, id: u32) -> Result<()> {
        for loaded in self.all() {
            let rows = loaded.model.config().num_puzzle_ids;
            if !usize::try_from(id).is_ok_and(|id| id < rows) {
                bail!(
                    "--puzzle-id: expected a row below {rows} of the puzzle table of {}, found {id}",
                    loaded.path.display()
                );
            }
        }
        Ok(())
    }

    /// Says where puzzle ids may mean other puzzles to the model than to the data, of which it knows nothing; `split` is the
    /// name of the set.
    pub(crate) fn warn_of_ids(
        &self,
        (set, split): (&PuzzleSet, &str),
        data: &Path,
        console: &Console,
    ) {
        let (rows, ids) = (
            self.model.config().num_puzzle_ids,
            set.info().num_puzzle_ids,
        );
        if rows <= 1 {
            return;
        }
        let path = data.display();
        if self.info.data.is_empty() {
            let why = match rows == ids {
                true => format!("an import doesn't say whether {path} is that"),
                false => {
                    format!("{path} is not: it has {ids} ids, and the puzzle table {rows} rows")
                }
            };
            console.note(format_args!(
                "warning: puzzle ids mean something to the model only in the folder that it was trained on; {why}"
            ));
            return;
        }
        let is_other = match split {
            "train" => has_other_ids(&self.info, set),
            _ => {
                PuzzleSet::load(data, "train").is_ok_and(|train| has_other_ids(&self.info, &train))
            }
        };
        if is_other {
            console.note(format_args!(
                "warning: {path} was not built as the data that the model was trained on: its puzzle ids may mean other puzzles, of which the model knows nothing"
            ));
        }
    }
}

/// Whether puzzle ids may mean other puzzles than in the training that a checkpoint is of: its data were not this training split. Of one id there
/// is nothing to mistake.
pub(crate) fn has_other_ids(info: &CheckpointInfo, train: &PuzzleSet) -> bool {
    // A training that holds puzzles out has seen a part of its split.
    let is_known = !info.data.is_empty() && info.config.eval_hold_out.is_none();
    is_known && train.info().num_puzzle_ids > 1 && train.fingerprint() != info.data
}

/// Reads the last checkpoint of a run folder, or a checkpoint file.
pub(crate) fn load(run_or_file: &Path, weights: Weights, device: &Device) -> Result<Loaded> {
    let checkpoint = Checkpoint::open(run_or_file)?;
    let info = checkpoint.info().clone();
    let path = checkpoint.path().to_owned();
    let kind = match weights {
        Weights::Ema => WeightKind::Ema,
        Weights::Raw => WeightKind::Raw,
    };
    let model = device::fit(checkpoint.model(kind, device)?);
    let task = match info.task {
        // A training says it of its data; an import can't.
        Task::Other if info.data.is_empty() => {
            Task::guess(model.config().vocab_size, model.config().seq_len)
        }
        task => task,
    };
    Ok(Loaded {
        path,
        model,
        info,
        task,
        also: Vec::new(),
    })
}
