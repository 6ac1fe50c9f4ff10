//! The loss of the answer's cells: cross-entropy by stablemax or softmax, averaged over a row's valid cells.

use burn::tensor::{FloatDType, Int, Tensor, activation::log_softmax};
use serde::{Deserialize, Serialize};

/// Label of a cell that does not count.
pub const IGNORED_LABEL: i64 = -100;

/// How logits become probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// `s(x) / Σ s` with `s(x) = x + 1` for `x >= 0` and `1 / (1 - x)` below.
    #[default]
    Stablemax,
    /// `exp(x) / Σ exp`.
    Softmax,
}

/// Cross-entropy of each row: the sum over its valid cells, divided by `max(1, valid cells)`. A cell is valid
/// unless its label is [`IGNORED_LABEL`]; a row without a valid cell has loss and gradient 0.
///
/// Deviates: stablemax in f32, the reference uses f64. The loss of a cell is formed as
/// `log1p(Σ others / s_label)`, which keeps its relative precision over logits from -1e6 to 1e6.
///
/// # Shapes
/// `logits` `[B, S, V]`, `labels` `[B, S]` in `0..V` or [`IGNORED_LABEL`] → `[B]`, f32
///
/// # Panics
/// If `B` and `S` of the two differ.
#[must_use]
pub fn token_cross_entropy(kind: LossKind, logits: Tensor<3>, labels: Tensor<2, Int>) -> Tensor<1> {
    let [batch, len, _] = logits.dims();
    assert_eq!(
        labels.dims(),
        [batch, len],
        "token_cross_entropy: labels and logits differ in [batch, cells]"
    );
    #[cfg(feature = "flex")]
    if super::fused::available(&logits) {
        return super::fused::token_cross_entropy(kind, logits, labels);
    }
    composed(kind, logits, labels)
}

/// [`token_cross_entropy`] out of plain Burn operations.
#[must_use]
pub fn composed(kind: LossKind, logits: Tensor<3>, labels: Tensor<2, Int>) -> Tensor<1> {
    let [batch, len, vocab] = logits.dims();
    let labels = labels.without_autodiff();
    let ignored = labels.clone().equal_elem(IGNORED_LABEL);
    let valid_cells = ignored
        .clone()
        .bool_not()
        .float()
        .cast(FloatDType::F32)
        .sum_dim(1)
        .clamp_min(1.0)
        .reshape([batch]);
    let classes = Tensor::<1, Int>::arange(0..vocab as i64, (&labels.device(), labels.dtype()))
        .reshape([1, 1, vocab]);
    // Ignored cells stand in for class 0; their loss is masked below.
    let is_label = labels
        .mask_fill(ignored.clone(), 0)
        .reshape([batch, len, 1])
        .equal(classes);
    let is_other = is_label.clone().bool_not();
    let logits = logits.cast(FloatDType::F32);
    let cells = match kind {
        LossKind::Stablemax => {
            let mass = stablemax_mass(logits);
            let others = mass.clone().mask_fill(is_label, 0.0).sum_dim(2);
            let own = mass.mask_fill(is_other, 0.0).sum_dim(2);
            others.div(own).log1p()
        }
        LossKind::Softmax => log_softmax(logits, 2)
            .mask_fill(is_other, 0.0)
            .sum_dim(2)
            .neg(),
    };
    cells
        .reshape([batch, len])
        .mask_fill(ignored, 0.0)
        .sum_dim(1)
        .reshape([batch])
        .div(valid_cells)
}

/// `x + 1` for `x >= 0`, `1 / (1 - x)` below. Each branch sees 0 in place of what belongs to the other, so that
/// neither its value nor its gradient can overflow.
fn stablemax_mass(x: Tensor<3>) -> Tensor<3> {
    let below = x.clone().lower_elem(0.0);
    let positive = x.clone().mask_fill(below.clone(), 0.0);
    let negative = x.mask_fill(below.bool_not(), 0.0);
    positive.add(negative.neg().add_scalar(1.0).recip())
}
