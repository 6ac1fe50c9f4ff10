//! What survives a segment: B slots, each with a puzzle being thought about.

use std::ops::Range;

use burn::tensor::{Bool, Device, Int, Tensor};
use hrm_core::{Hrm, LatentState};

use crate::batch::Batch;

/// The slots between two segments (section "Adaptive computational time" of the paper). Every tensor is outside any graph.
#[derive(Clone, Debug)]
pub struct Carry {
    /// The latent states, `[B, L, D]`.
    pub latent: LatentState,
    /// `[B]` segments made on the puzzle in the slot.
    pub segment: Tensor<1, Int>,
    /// `[B]` slots that take a new puzzle before the next segment.
    pub halted: Tensor<1, Bool>,
    /// The puzzles in the slots.
    pub batch: Batch,
}

impl Carry {
    /// Slots that all take a new puzzle before the first segment; `batch` only lends its shapes.
    pub fn empty(model: &Hrm, batch: &Batch) -> Self {
        let b = batch.batch_size();
        let device: Device = batch.inputs.device();
        let LatentState { z_h, z_l } = model.initial_state();
        let [_, l, d] = z_h.dims();
        Self {
            latent: LatentState {
                z_h: z_h.expand([b, l, d]),
                z_l: z_l.expand([b, l, d]),
            },
            segment: Tensor::zeros([b], &device),
            halted: Tensor::<1, Int>::ones([b], &device).bool(),
            batch: batch.clone(),
        }
    }

    /// Halted slots start over: initial states, no segment made, the puzzle of their row in `incoming`. The others keep
    /// theirs, and their row is ignored.
    #[must_use]
    pub fn refill(self, model: &Hrm, incoming: Batch) -> Self {
        Self {
            latent: self
                .latent
                .replace_rows(&self.halted, model.initial_state()),
            segment: self.segment.mask_fill(self.halted.clone(), 0),
            batch: self.batch.replace_rows(&self.halted, incoming),
            halted: self.halted,
        }
    }

    /// Slots, B.
    pub fn batch_size(&self) -> usize {
        self.batch.batch_size()
    }

    /// The slots of a range, in order.
    ///
    /// # Panics
    /// If the range is empty or reaches beyond the slots.
    #[must_use]
    pub fn rows(&self, range: Range<usize>) -> Self {
        let (start, count) = (range.start, range.len());
        Self {
            latent: LatentState {
                z_h: self.latent.z_h.clone().narrow(0, start, count),
                z_l: self.latent.z_l.clone().narrow(0, start, count),
            },
            segment: self.segment.clone().narrow(0, start, count),
            halted: self.halted.clone().narrow(0, start, count),
            batch: self.batch.rows(range),
        }
    }

    /// The same slots on another device.
    #[must_use]
    pub fn to_device(self, device: &Device) -> Self {
        Self {
            latent: LatentState {
                z_h: self.latent.z_h.to_device(device),
                z_l: self.latent.z_l.to_device(device),
            },
            segment: self.segment.to_device(device),
            halted: self.halted.to_device(device),
            batch: self.batch.to_device(device),
        }
    }

    /// The slots of all parts, one part after the other.
    ///
    /// # Panics
    /// If there is no part, or their shapes differ beyond the slots.
    #[must_use]
    pub fn cat(parts: Vec<Self>) -> Self {
        let (mut z_h, mut z_l, mut batches) = (Vec::new(), Vec::new(), Vec::new());
        let (mut segment, mut halted) = (Vec::new(), Vec::new());
        for part in parts {
            z_h.push(part.latent.z_h);
            z_l.push(part.latent.z_l);
            segment.push(part.segment);
            halted.push(part.halted);
            batches.push(part.batch);
        }
        Self {
            latent: LatentState {
                z_h: Tensor::cat(z_h, 0),
                z_l: Tensor::cat(z_l, 0),
            },
            segment: Tensor::cat(segment, 0),
            halted: Tensor::cat(halted, 0),
            batch: Batch::cat(batches),
        }
    }
}
