//! Losses on the q values, and what counts as right.

use burn::tensor::{Bool, FloatDType, Int, Tensor};
use hrm_core::ops::IGNORED_LABEL;

/// Binary cross-entropy on logits, per row, in the form that neither overflows nor cancels.
///
/// # Shapes
/// `logits` and `targets` `[B]`, targets in 0..=1 → `[B]`
pub fn binary_cross_entropy(logits: Tensor<1>, targets: Tensor<1>) -> Tensor<1> {
    // max(x, 0) - x t + ln(1 + e^-|x|), with the side of zero as a constant: relu and abs have no slope there, but this has.
    let side = logits.clone().without_autodiff().greater_equal_scalar(0.0);
    let above = side.float().cast(logits.dtype());
    let sign = above.clone().mul_scalar(2.0).sub_scalar(1.0);
    let softplus = (logits.clone() * sign).neg().exp().log1p();
    logits.clone() * above - logits * targets + softplus
}

/// Which cells and which whole puzzles a prediction has right. Everything is outside any graph.
#[derive(Clone, Debug)]
pub struct Correctness {
    /// `[B]` share of the valid cells that are right; 0 without valid cells.
    pub cell_accuracy: Tensor<1>,
    /// `[B]` all valid cells are right, so also where there are none.
    pub exact: Tensor<1, Bool>,
    /// `[B]` the puzzle has a valid cell.
    pub has_valid: Tensor<1, Bool>,
}

impl Correctness {
    /// # Shapes
    /// `logits` `[B, S, V]`, `labels` `[B, S]`
    pub fn of(logits: Tensor<3>, labels: Tensor<2, Int>) -> Self {
        let [b, s, _] = logits.dims();
        let predicted: Tensor<2, Int> = logits.without_autodiff().argmax(2).reshape([b, s]);
        Self::of_prediction(predicted, labels)
    }

    /// # Shapes
    /// `predicted` and `labels` `[B, S]`
    pub fn of_prediction(predicted: Tensor<2, Int>, labels: Tensor<2, Int>) -> Self {
        let [b, _] = labels.dims();
        let valid = labels.clone().not_equal_scalar(IGNORED_LABEL);
        let right = predicted.equal(labels).bool_and(valid.clone());
        let count = |mask: Tensor<2, Bool>| -> Tensor<1> {
            mask.int()
                .sum_dim(1)
                .reshape([b])
                .float()
                .cast(FloatDType::F32)
        };
        let (valid, right) = (count(valid), count(right));
        Self {
            cell_accuracy: right.clone() / valid.clone().clamp_min(1.0),
            exact: right.equal(valid.clone()),
            has_valid: valid.greater_scalar(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, Tolerance};

    #[test]
    fn binary_cross_entropy_by_hand() {
        let device = Device::flex();
        let logits = Tensor::<1>::from_data([0.0, 2.0, -300.0, 300.0], &device);
        let targets = Tensor::<1>::from_data([0.5, 1.0, 1.0, 1.0], &device);
        // ln 2; ln(1 + e^-2); 300; 0
        let expected = TensorData::from([std::f32::consts::LN_2, 0.126_928, 300.0, 0.0]);
        binary_cross_entropy(logits, targets)
            .into_data()
            .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
    }

    #[test]
    fn the_gradient_of_binary_cross_entropy_is_the_error() {
        let device = Device::flex().autodiff();
        // Where the usual form has a kink, too.
        let logits = Tensor::<1>::from_data([0.0, 2.0, -300.0, 300.0], &device).require_grad();
        let targets = Tensor::<1>::from_data([0.75, 1.0, 1.0, 0.0], &device);
        let grads = binary_cross_entropy(logits.clone(), targets)
            .sum()
            .backward();
        let expected = TensorData::from([-0.25, -0.119_203, -1.0, 1.0]);
        let found = logits.grad(&grads).expect("it is tracked").into_data();
        found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
    }

    #[test]
    fn ignored_cells_count_for_nothing() {
        let device = Device::flex();
        let predicted = Tensor::<2, Int>::from_data([[1, 2], [1, 2], [1, 2]], &device);
        let labels = Tensor::<2, Int>::from_data([[1, -100], [1, 3], [-100, -100]], &device);
        let correct = Correctness::of_prediction(predicted, labels);
        let exact: Vec<bool> = correct.exact.into_data().iter::<bool>().collect();
        assert_eq!(exact, [true, false, true]);
        let valid: Vec<bool> = correct.has_valid.into_data().iter::<bool>().collect();
        assert_eq!(valid, [true, true, false]);
        correct.cell_accuracy.into_data().assert_approx_eq::<f32>(
            &TensorData::from([1.0, 0.5, 0.0]),
            Tolerance::absolute(1e-6),
        );
    }
}
