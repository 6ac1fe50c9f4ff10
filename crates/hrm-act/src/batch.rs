//! A batch of puzzles on the device.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use hrm_core::ops::IGNORED_LABEL;
use hrm_data::{IGNORED, PuzzleBatch};

/// B puzzles on a device.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[B, S]` token ids.
    pub inputs: Tensor<2, Int>,
    /// `[B, S]` token ids, or [`IGNORED_LABEL`].
    pub labels: Tensor<2, Int>,
    /// `[B]` rows of the puzzle table.
    pub puzzle_ids: Tensor<1, Int>,
    /// `[B]` exploration draws: the slot runs at least so many segments; 0 for none.
    pub min_segments: Tensor<1, Int>,
}

impl Batch {
    /// Moves a batch of the host to the device.
    pub fn from_host(batch: &PuzzleBatch, device: &Device) -> Self {
        let device = &device.clone().without_autodiff();
        let (b, s) = (batch.batch_size(), batch.seq_len);
        let inputs: Vec<i32> = batch.inputs.iter().map(|&token| i32::from(token)).collect();
        let labels: Vec<i32> = batch
            .labels
            .iter()
            .map(|&token| match token {
                IGNORED => IGNORED_LABEL as i32,
                token => i32::from(token),
            })
            .collect();
        let vector = |values: &[u32]| {
            // Ids are below 2^26 and segments below 2^31: both fit.
            let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
            Tensor::from_data(TensorData::new(values, [b]), device)
        };
        Self {
            inputs: Tensor::from_data(TensorData::new(inputs, [b, s]), device),
            labels: Tensor::from_data(TensorData::new(labels, [b, s]), device),
            puzzle_ids: vector(&batch.puzzle_ids),
            min_segments: vector(&batch.min_segments),
        }
    }

    /// Rows, B.
    pub fn batch_size(&self) -> usize {
        self.puzzle_ids.dims()[0]
    }

    /// Takes the rows of `other` where `mask` is true. The exploration draws are always those of `other`: they belong
    /// to the step and not to the puzzle.
    ///
    /// # Shapes
    /// `mask` `[B]`
    #[must_use]
    pub fn replace_rows(self, mask: &Tensor<1, Bool>, other: Self) -> Self {
        let [b, s] = self.inputs.dims();
        let cells = mask.clone().reshape([b, 1]).expand([b, s]);
        Self {
            inputs: self.inputs.mask_where(cells.clone(), other.inputs),
            labels: self.labels.mask_where(cells, other.labels),
            puzzle_ids: self.puzzle_ids.mask_where(mask.clone(), other.puzzle_ids),
            min_segments: other.min_segments,
        }
    }
}
