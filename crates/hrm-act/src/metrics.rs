//! Sums over slots that stay on the device until someone asks for them.

use burn::tensor::{Bool, Tensor};
use serde::{Deserialize, Serialize};

/// Sums of one or more steps, on the device: one tensor, so that reading them is one transfer.
#[derive(Clone, Debug)]
pub struct MetricSums {
    sums: Tensor<1>,
}

/// Terms of a step that [`MetricSums`] are made of; all `[B]`.
pub(crate) struct Terms {
    pub counted: Tensor<1, Bool>,
    pub cell_accuracy: Tensor<1>,
    pub exact: Tensor<1>,
    pub q_halt_right: Tensor<1>,
    pub segments: Tensor<1>,
    pub token_loss: Tensor<1>,
    pub q_halt_loss: Tensor<1>,
    pub q_continue_loss: Option<Tensor<1>>,
}

impl MetricSums {
    pub(crate) fn new(terms: Terms) -> Self {
        let b = terms.segments.dims()[0];
        let counted = terms.counted.float();
        let of_counted = |term: Tensor<1>| (term * counted.clone()).sum();
        let zero = || Tensor::zeros([1], &counted.device());
        let sums = Tensor::cat(
            vec![
                counted.clone().sum(),
                of_counted(terms.cell_accuracy),
                of_counted(terms.exact),
                of_counted(terms.q_halt_right),
                of_counted(terms.segments),
                terms.token_loss.sum(),
                terms.q_halt_loss.sum(),
                terms.q_continue_loss.map_or_else(zero, Tensor::sum),
                Tensor::full([1], b as f64, &counted.device()),
            ],
            0,
        );
        Self { sums }
    }

    /// Adds the sums of another step.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            sums: self.sums + other.sums,
        }
    }

    /// Fetches the sums from the device; this waits for all work queued there.
    ///
    /// # Errors
    /// If the device reports an error of the work done so far.
    pub fn read(self) -> Result<Metrics, burn::tensor::TensorReadError> {
        let sums = self.sums.try_into_vec_as::<f32>()?;
        let at = |i: usize| sums.get(i).copied().map_or(0.0, f64::from);
        Ok(Metrics {
            count: at(0),
            cell_accuracy_sum: at(1),
            exact_sum: at(2),
            q_halt_right_sum: at(3),
            segments_sum: at(4),
            token_loss_sum: at(5),
            q_halt_loss_sum: at(6),
            q_continue_loss_sum: at(7),
            slots: at(8),
        })
    }

    /// The sums as a tensor, to be saved in the middle of a window.
    pub fn tensor(&self) -> Tensor<1> {
        self.sums.clone()
    }

    /// What [`MetricSums::tensor`] gave.
    pub fn from_tensor(sums: Tensor<1>) -> Self {
        Self { sums }
    }
}

/// Metrics of one or more training steps. The accuracies and segments are over the slots that halted and have a valid
/// cell; the losses over all slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Slots that halted with a valid cell.
    pub count: f64,
    /// Sum of their shares of right cells.
    pub cell_accuracy_sum: f64,
    /// Sum of those solved in every cell.
    pub exact_sum: f64,
    /// Sum of those whose q_halt tells rightly whether they are solved.
    pub q_halt_right_sum: f64,
    /// Sum of their segments.
    pub segments_sum: f64,
    /// Sum of the token losses over all slots.
    pub token_loss_sum: f64,
    /// Sum of the q_halt losses over all slots, before the factor 1/2.
    pub q_halt_loss_sum: f64,
    /// Sum of the q_continue losses over all slots, before the factor 1/2.
    pub q_continue_loss_sum: f64,
    /// Slots times steps.
    pub slots: f64,
}

impl Metrics {
    /// Share of valid cells that are right, in 0..=1; none where no slot has halted.
    pub fn cell_accuracy(&self) -> Option<f64> {
        self.of_halted(self.cell_accuracy_sum)
    }

    /// Share of puzzles solved in every cell, in 0..=1; none where no slot has halted.
    pub fn exact_accuracy(&self) -> Option<f64> {
        self.of_halted(self.exact_sum)
    }

    /// Share of puzzles of which q_halt tells rightly whether they are solved, in 0..=1; none where no slot has halted.
    pub fn q_halt_accuracy(&self) -> Option<f64> {
        self.of_halted(self.q_halt_right_sum)
    }

    /// Mean segments of a puzzle; none where no slot has halted.
    pub fn mean_segments(&self) -> Option<f64> {
        self.of_halted(self.segments_sum)
    }

    fn of_halted(&self, sum: f64) -> Option<f64> {
        (self.count > 0.0).then(|| sum / self.count)
    }

    /// Mean token loss of a slot.
    pub fn token_loss(&self) -> f64 {
        ratio(self.token_loss_sum, self.slots)
    }

    /// Mean q_halt loss of a slot, before the factor 1/2.
    pub fn q_halt_loss(&self) -> f64 {
        ratio(self.q_halt_loss_sum, self.slots)
    }

    /// Mean q_continue loss of a slot, before the factor 1/2.
    pub fn q_continue_loss(&self) -> f64 {
        ratio(self.q_continue_loss_sum, self.slots)
    }

    /// The loss that training lowers: token loss and half of each q loss, per slot.
    pub fn loss(&self) -> f64 {
        self.token_loss() + 0.5 * (self.q_halt_loss() + self.q_continue_loss())
    }
}

fn ratio(sum: f64, count: f64) -> f64 {
    if count > 0.0 { sum / count } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_slot_has_halted_there_is_no_accuracy_but_a_loss() {
        let running = Metrics {
            token_loss_sum: 6.0,
            slots: 4.0,
            ..Metrics::default()
        };
        assert_eq!(running.loss(), 1.5);
        for value in [
            running.cell_accuracy(),
            running.exact_accuracy(),
            running.q_halt_accuracy(),
            running.mean_segments(),
        ] {
            assert_eq!(value, None);
        }
        let halted = Metrics {
            count: 2.0,
            exact_sum: 1.0,
            segments_sum: 12.0,
            ..running
        };
        assert_eq!(halted.exact_accuracy(), Some(0.5));
        assert_eq!(halted.mean_segments(), Some(6.0));
        assert_eq!(halted.cell_accuracy(), Some(0.0));
    }
}
