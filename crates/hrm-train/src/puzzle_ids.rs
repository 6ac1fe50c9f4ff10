//! New puzzle ids for a model at hand.

use burn::tensor::Tensor;
use hrm_core::Hrm;

use crate::error::TrainError;

/// What becomes of the puzzle table of a model that is trained on other puzzles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PuzzleIds {
    /// All rows stay.
    #[default]
    Keep,
    /// The first rows stay.
    Cut(usize),
    /// All rows stay; new ones, up to so many, begin as their mean.
    Grow(usize),
    /// So many rows of zeros, as in a fresh model.
    Reset(usize),
}

/// The model with another puzzle table.
///
/// # Errors
/// If the model has no puzzle table to change, or the number of rows doesn't fit the change.
pub fn with_puzzle_ids(model: Hrm, change: PuzzleIds) -> Result<Hrm, TrainError> {
    let bad = |expected: String| Err(TrainError::PuzzleTable { expected });
    if change == PuzzleIds::Keep {
        return Ok(model);
    }
    let Some(table) = &model.puzzle_emb else {
        return bad("no change, as the model has none".to_owned());
    };
    let table: Tensor<2> = table.val().without_autodiff();
    let [rows, dim] = table.dims();
    let zeros = |count: usize| Tensor::zeros([count, dim], (&table.device(), table.dtype()));
    let table = match change {
        PuzzleIds::Keep => table,
        PuzzleIds::Cut(count) if (1..=rows).contains(&count) => table.narrow(0, 0, count),
        PuzzleIds::Cut(count) => return bad(format!("1 to {rows} rows to cut to, found {count}")),
        PuzzleIds::Grow(count) if count == rows => table,
        PuzzleIds::Grow(count) if count > rows => {
            let mean = table.clone().mean_dim(0);
            Tensor::cat(vec![table, mean.expand([count - rows, dim])], 0)
        }
        PuzzleIds::Grow(count) => {
            return bad(format!("at least {rows} rows to grow to, found {count}"));
        }
        PuzzleIds::Reset(count) if count >= 1 => zeros(count),
        PuzzleIds::Reset(_) => return bad("at least 1 row, found 0".to_owned()),
    };
    Ok(model.with_puzzle_table(table))
}
