//! A model to evaluate or to solve with: from a run folder or a checkpoint file.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use hrm::data::maze::VOCAB_SIZE as MAZE_TOKENS;
use hrm::device;
use hrm::prelude::*;
use hrm::train::CheckpointInfo;

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
    /// Which of its weights the model has.
    pub(crate) weights: Weights,
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
    let mut model = checkpoint.model(kind, device)?;
    let compute = model.config().compute;
    // A model trained in bf16 elsewhere is computed in the best type that there is here.
    if compute != ComputeType::F32
        && (device::is_flex(device) || device::check_compute(device, compute).is_err())
    {
        model = model.with_compute(device::best_compute(device));
    }
    let task = match info.task {
        Task::Other => guess(model.config().sizes()),
        task => task,
    };
    Ok(Loaded {
        path,
        model,
        info,
        task,
        weights,
    })
}

/// The task of a model that doesn't say it, as far as its sizes tell.
fn guess(sizes: Sizes) -> Task {
    let (vocab_size, seq_len) = (sizes.vocab_size, sizes.seq_len);
    match SudokuSize::from_num_cells(seq_len) {
        Ok(size) if size.vocab_size() == vocab_size => return Task::Sudoku(size),
        _ => {}
    }
    let side = seq_len.isqrt();
    match Task::infer(vocab_size, seq_len) {
        Task::Other if vocab_size == MAZE_TOKENS && side * side == seq_len => Task::Maze {
            height: side,
            width: side,
        },
        task => task,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_told_by_their_sizes() {
        let of = |seq_len, vocab_size| {
            guess(Sizes {
                seq_len,
                vocab_size,
                num_puzzle_ids: 1,
            })
        };
        assert_eq!(of(36, 8), Task::Sudoku(SudokuSize::Six));
        assert_eq!(of(81, 11), Task::Sudoku(SudokuSize::Nine));
        assert_eq!(
            of(100, 6),
            Task::Maze {
                height: 10,
                width: 10
            }
        );
        assert_eq!(of(900, 12), Task::Arc);
        assert_eq!(of(20, 6), Task::Other);
    }
}
