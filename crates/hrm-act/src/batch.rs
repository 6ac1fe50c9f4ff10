//! A batch of puzzles on the device.

use std::ops::Range;

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
    ///
    /// # Panics
    /// If its rows are not all of its `seq_len`.
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

    /// The rows of a range, in order.
    ///
    /// # Panics
    /// If the range is empty or reaches beyond the rows.
    #[must_use]
    pub fn rows(&self, range: Range<usize>) -> Self {
        let (start, count) = (range.start, range.len());
        Self {
            inputs: self.inputs.clone().narrow(0, start, count),
            labels: self.labels.clone().narrow(0, start, count),
            puzzle_ids: self.puzzle_ids.clone().narrow(0, start, count),
            min_segments: self.min_segments.clone().narrow(0, start, count),
        }
    }

    /// The same rows on another device.
    #[must_use]
    pub fn to_device(self, device: &Device) -> Self {
        Self {
            inputs: self.inputs.to_device(device),
            labels: self.labels.to_device(device),
            puzzle_ids: self.puzzle_ids.to_device(device),
            min_segments: self.min_segments.to_device(device),
        }
    }

    /// The rows of all parts, one part after the other.
    ///
    /// # Panics
    /// If there is no part, or their puzzles have different lengths.
    #[must_use]
    pub fn cat(parts: Vec<Self>) -> Self {
        let (mut inputs, mut labels) = (Vec::new(), Vec::new());
        let (mut puzzle_ids, mut min_segments) = (Vec::new(), Vec::new());
        for part in parts {
            inputs.push(part.inputs);
            labels.push(part.labels);
            puzzle_ids.push(part.puzzle_ids);
            min_segments.push(part.min_segments);
        }
        Self {
            inputs: Tensor::cat(inputs, 0),
            labels: Tensor::cat(labels, 0),
            puzzle_ids: Tensor::cat(puzzle_ids, 0),
            min_segments: Tensor::cat(min_segments, 0),
        }
    }
}
