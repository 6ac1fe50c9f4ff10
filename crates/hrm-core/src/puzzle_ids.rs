//! A model at hand for other puzzle ids.

use burn::tensor::Tensor;

use crate::error::PuzzleIdsError;
use crate::model::Hrm;

/// What becomes of the puzzle table when weights are taken over to other puzzles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PuzzleIds {
    /// All rows stay.
    #[default]
    Keep,
    /// The first rows stay, this many.
    Cut(usize),
    /// All rows stay, and the mean row comes as often as is needed for this many.
    Grow(usize),
    /// This many rows of zeros, as before any training.
    Reset(usize),
}

impl PuzzleIds {
    /// Rows that a table has afterwards, of how many it has (none: there is no table); 1 where there is no table.
    ///
    /// # Errors
    /// If there is no table to change, or its rows don't fit the change.
    pub fn count(self, rows: Option<usize>) -> Result<usize, PuzzleIdsError> {
        let Some(rows) = rows else {
            return match self {
                Self::Keep => Ok(1),
                _ => Err(PuzzleIdsError::NoTable),
            };
        };
        match self {
            Self::Keep => Ok(rows),
            Self::Cut(0) | Self::Grow(0) | Self::Reset(0) => Err(PuzzleIdsError::NoRow),
            Self::Cut(count) if count > rows => Err(PuzzleIdsError::Cut { count, rows }),
            Self::Grow(count) if count < rows => Err(PuzzleIdsError::Grow { count, rows }),
            Self::Cut(count) | Self::Grow(count) | Self::Reset(count) => Ok(count),
        }
    }
}

impl Hrm {
    /// The same model for other puzzles.
    ///
    /// # Errors
    /// As [`PuzzleIds::count`].
    pub fn with_puzzle_ids(self, change: PuzzleIds) -> Result<Self, PuzzleIdsError> {
        let table = self.puzzle_emb.as_ref();
        let table: Option<Tensor<2>> = table.map(|table| table.val().without_autodiff());
        let count = change.count(table.as_ref().map(|table| table.dims()[0]))?;
        let Some(table) = table else {
            return Ok(self);
        };
        let [rows, dim] = table.dims();
        let table = match change {
            PuzzleIds::Keep => return Ok(self),
            PuzzleIds::Reset(_) => Tensor::zeros([count, dim], (&table.device(), table.dtype())),
            _ if count > rows => {
                let mean = table.clone().mean_dim(0);
                Tensor::cat(vec![table, mean.expand([count - rows, dim])], 0)
            }
            _ => table.narrow(0, 0, count),
        };
        Ok(self.with_puzzle_table(table))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::config::{HrmConfig, PuzzleEmbeddingConfig, Sizes};

    fn model(puzzle_embedding: Option<PuzzleEmbeddingConfig>) -> Hrm {
        let sizes = Sizes {
            seq_len: 4,
            vocab_size: 6,
            num_puzzle_ids: 3,
        };
        let config = HrmConfig {
            hidden_size: 8,
            num_heads: 1,
            puzzle_embedding,
            ..HrmConfig::trm(sizes)
        };
        Hrm::new(&config, 5, &Device::flex()).unwrap()
    }

    #[test]
    fn the_puzzle_table_takes_new_ids() {
        let start = model(Some(PuzzleEmbeddingConfig {
            dim: 2,
            positions: Some(1),
        }));
        let table = TensorData::from([[1.0, 10.0], [2.0, 20.0], [6.0, 30.0]]);
        let start = start.with_puzzle_table(Tensor::from_data(table, &Device::flex()));
        let rows = |change| -> Result<Vec<f32>, PuzzleIdsError> {
            let model = start.clone().with_puzzle_ids(change)?;
            let table = model.puzzle_emb.as_ref().unwrap().val();
            assert_eq!(model.config().num_puzzle_ids, table.dims()[0]);
            Ok(table.into_data().iter::<f32>().collect())
        };
        let kept = [1.0, 10.0, 2.0, 20.0, 6.0, 30.0];
        assert_eq!(rows(PuzzleIds::Keep).unwrap(), kept);
        assert_eq!(rows(PuzzleIds::Cut(2)).unwrap(), kept[..4]);
        assert_eq!(rows(PuzzleIds::Grow(3)).unwrap(), kept);
        let grown = [&kept[..], &[3.0, 20.0, 3.0, 20.0]].concat();
        assert_eq!(rows(PuzzleIds::Grow(5)).unwrap(), grown);
        assert_eq!(rows(PuzzleIds::Reset(4)).unwrap(), [0.0; 8]);
        let said = |change| rows(change).unwrap_err().to_string();
        assert!(said(PuzzleIds::Cut(4)).ends_with("can't be cut to 4 rows, it has 3"));
        assert!(said(PuzzleIds::Grow(2)).ends_with("can't grow to 2 rows, it has 3"));
        for none in [PuzzleIds::Cut(0), PuzzleIds::Grow(0), PuzzleIds::Reset(0)] {
            assert_eq!(rows(none), Err(PuzzleIdsError::NoRow));
        }
    }

    #[test]
    fn a_model_without_a_table_has_nothing_to_change() {
        let bare = model(None);
        assert!(bare.clone().with_puzzle_ids(PuzzleIds::Keep).is_ok());
        let refused = bare.with_puzzle_ids(PuzzleIds::Reset(2));
        assert_eq!(refused.err(), Some(PuzzleIdsError::NoTable));
    }
}
