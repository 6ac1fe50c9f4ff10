//! Cross-entropy of the cells and its gradient, each in one pass over the logits.

use pulp::{Arch, Simd, WithSimd};

use super::math::{exp, largest};
use super::threads::{share, share_of};
use crate::ops::{IGNORED_LABEL, LossKind};

/// The shape of the logits.
#[derive(Clone, Copy)]
pub(super) struct Cells {
    /// S.
    pub(super) len: usize,
    /// V.
    pub(super) vocab: usize,
}

/// The loss of each row.
pub(super) fn forward(kind: LossKind, logits: &[f32], labels: &[i64], cells: Cells) -> Vec<f32> {
    let Cells { len, vocab } = cells;
    let arch = Arch::new();
    let mut losses = vec![0.0; labels.len().checked_div(len).unwrap_or(0)];
    let part = share_of(losses.len(), logits.len());
    share(losses.chunks_mut(part).enumerate(), |(index, losses)| {
        for (i, loss) in losses.iter_mut().enumerate() {
            let row = index * part + i;
            *loss = arch.dispatch(RowLoss {
                kind,
                logits: &logits[row * len * vocab..(row + 1) * len * vocab],
                labels: &labels[row * len..(row + 1) * len],
                vocab,
            });
        }
    });
    losses
}

/// The gradient of the logits, given the gradient of each row's loss.
pub(super) fn backward(
    kind: LossKind,
    logits: &[f32],
    labels: &[i64],
    grad: &[f32],
    cells: Cells,
) -> Vec<f32> {
    let Cells { len, vocab } = cells;
    let arch = Arch::new();
    let mut out = vec![0.0; logits.len()];
    let stride = len * vocab;
    if stride == 0 {
        return out;
    }
    let part = share_of(out.len() / stride, logits.len());
    share(out.chunks_mut(part * stride).enumerate(), |(index, out)| {
        for (i, out) in out.chunks_exact_mut(stride).enumerate() {
            let row = index * part + i;
            arch.dispatch(RowGradient {
                loss: RowLoss {
                    kind,
                    logits: &logits[row * stride..(row + 1) * stride],
                    labels: &labels[row * len..(row + 1) * len],
                    vocab,
                },
                grad: grad[row],
                out,
            });
        }
    });
    out
}

fn valid_cells(labels: &[i64]) -> f32 {
    labels
        .iter()
        .filter(|&&label| label != IGNORED_LABEL)
        .count()
        .max(1) as f32
}

/// The class of a label that names one.
fn class(label: i64, vocab: usize) -> Option<usize> {
    usize::try_from(label).ok().filter(|&class| class < vocab)
}

#[inline(always)]
fn stablemax_mass(x: f32) -> f32 {
    let negative = if x < 0.0 { x } else { 0.0 };
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + 1.0 / (1.0 - negative)
}

/// The derivative of [`stablemax_mass`].
#[inline(always)]
fn stablemax_slope(x: f32) -> f32 {
    let negative = if x < 0.0 { x } else { 0.0 };
    let inverse = 1.0 / (1.0 - negative);
    inverse * inverse
}

struct RowLoss<'a> {
    kind: LossKind,
    logits: &'a [f32],
    labels: &'a [i64],
    vocab: usize,
}

/// The mass of the label's class and of all others together.
#[inline(always)]
fn split_mass(logits: &[f32], class: usize, mass: impl Fn(f32) -> f32) -> (f32, f32) {
    let before: f32 = logits[..class].iter().map(|&x| mass(x)).sum();
    let after: f32 = logits[class + 1..].iter().map(|&x| mass(x)).sum();
    (mass(logits[class]), before + after)
}

impl WithSimd for RowLoss<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let mut loss = 0.0;
        for (logits, &label) in self.logits.chunks_exact(self.vocab.max(1)).zip(self.labels) {
            if label == IGNORED_LABEL {
                continue;
            }
            let Some(class) = class(label, self.vocab) else {
                return f32::INFINITY;
            };
            let (own, others) = match self.kind {
                LossKind::Stablemax => split_mass(logits, class, stablemax_mass),
                LossKind::Softmax => {
                    let max = largest(simd, logits);
                    let (own, others) = split_mass(logits, class, |x| exp(x - max));
                    // Where the label's own mass underflows its logarithm is known.
                    loss += (own + others).ln() - (logits[class] - max);
                    continue;
                }
            };
            loss += (others / own).ln_1p();
        }
        loss / valid_cells(self.labels)
    }
}

struct RowGradient<'a> {
    loss: RowLoss<'a>,
    grad: f32,
    out: &'a mut [f32],
}

impl WithSimd for RowGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let RowLoss {
            kind,
            logits,
            labels,
            vocab,
        } = self.loss;
        let weight = self.grad / valid_cells(labels);
        let cells = logits
            .chunks_exact(vocab)
            .zip(self.out.chunks_exact_mut(vocab));
        for ((logits, out), &label) in cells.zip(labels) {
            let Some(class) = class(label, vocab) else {
                continue;
            };
            match kind {
                LossKind::Stablemax => {
                    // d/dx of ln(Σ s) - ln(s_label): s'/Σ s, less s'/s for the label, which is
                    // -(s'/s) (Σ others / Σ s) without cancellation.
                    let (own, others) = split_mass(logits, class, stablemax_mass);
                    let scale = weight / (own + others);
                    for (out, &x) in out.iter_mut().zip(logits) {
                        *out = scale * stablemax_slope(x);
                    }
                    out[class] = -out[class] * (others / own);
                }
                LossKind::Softmax => {
                    let max = largest(simd, logits);
                    let (own, others) = split_mass(logits, class, |x| exp(x - max));
                    let scale = weight / (own + others);
                    for (out, &x) in out.iter_mut().zip(logits) {
                        *out = scale * exp(x - max);
                    }
                    out[class] = -scale * others;
                }
            }
        }
    }
}
