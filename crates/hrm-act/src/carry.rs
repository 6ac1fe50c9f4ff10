//! What survives a segment: B slots, each with a puzzle being thought about.

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
}
