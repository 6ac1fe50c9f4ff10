//! The gradients of a step, and how those of parts of a batch become those of the whole.

use std::collections::BTreeMap;

use burn::tensor::{Int, Tensor};
use hrm_act::ActStep;
use hrm_core::Hrm;

/// The gradients of some slots, outside any graph.
///
/// A loss is the sum over its slots divided by the slots of the *whole* batch
/// ([`ActConfig::step`](hrm_act::ActConfig::step) takes their number), so those of parts of a batch, computed one after the other or
/// on several devices, need no weights: [`Gradients::merge`] adds what is dense and strings together what belongs to slots.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Of the dense weights, flat, by official name. A weight that the loss doesn't depend on is left out.
    pub dense: BTreeMap<String, Tensor<1>>,
    /// Of the puzzles in the slots; none where the model has no puzzle table.
    pub puzzles: Option<PuzzleGradients>,
}

/// The gradients of the rows of the puzzle table that are in the slots, one for each slot. Slots with equal ids are summed by
/// [`sign_sgd_rows`](crate::sign_sgd_rows), when all slots are there: the sign of a sum is not the sum of signs.
#[derive(Clone, Debug)]
pub struct PuzzleGradients {
    /// `[B]`, the puzzles of the slots.
    pub ids: Tensor<1, Int>,
    /// `[B, E]`.
    pub rows: Tensor<2>,
}

impl Gradients {
    /// The backward pass of a step's loss.
    pub fn of(model: &Hrm, step: ActStep) -> Self {
        let ids = step.carry.batch.puzzle_ids;
        let mut gradients = step.loss.backward();
        Self {
            puzzles: step
                .puzzle_rows
                .and_then(|rows| rows.grad_remove(&mut gradients))
                .map(|rows| PuzzleGradients { ids, rows }),
            dense: model.take_gradients(&mut gradients),
        }
    }

    /// The gradients of the slots of both, first those of `self`.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        for (name, gradient) in other.dense {
            let sum = match self.dense.remove(&name) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            self.dense.insert(name, sum);
        }
        self.puzzles = match (self.puzzles, other.puzzles) {
            (Some(first), Some(second)) => Some(PuzzleGradients {
                ids: Tensor::cat(vec![first.ids, second.ids], 0),
                rows: Tensor::cat(vec![first.rows, second.rows], 0),
            }),
            (first, second) => first.or(second),
        };
        self
    }
}
