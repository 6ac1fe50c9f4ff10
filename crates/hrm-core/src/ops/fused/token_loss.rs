//! Cross-entropy of the cells and its gradient, each in one pass over the logits.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::math::{exp, largest};
use super::raw::PARALLEL_ELEMENTS;
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
    let arch = Arch::new();
    let row = |row: usize| {
        arch.dispatch(RowLoss {
            kind,
            logits: &logits[row * cells.len * cells.vocab..(row + 1) * cells.len * cells.vocab],
            labels: &labels[row * cells.len..(row + 1) * cells.len],
            vocab: cells.vocab,
        })
    };
    let rows = labels.len().checked_div(cells.len).unwrap_or(0);
    if logits.len() < PARALLEL_ELEMENTS {
        (0..rows).map(row).collect()
    } else {
        (0..rows).into_par_iter().map(row).collect()
    }
}

/// The gradient of the logits, given the gradient of each row's loss.
pub(super) fn backward(
    kind: LossKind,
    logits: &[f32],
    labels: &[i64],
    grad: &[f32],
    cells: Cells,
) -> Vec<f32> {
    let mut out = vec![0.0; logits.len()];
    let arch = Arch::new();
    let stride = cells.len * cells.vocab;
    if stride == 0 {
        return out;
    }
    let row = |row: usize, out| {
        arch.dispatch(RowGradient {
            loss: RowLoss {
                kind,
                logits: &logits[row * stride..(row + 1) * stride],
                labels: &labels[row * cells.len..(row + 1) * cells.len],
                vocab: cells.vocab,
            },
            grad: grad[row],
            out,
        });
    };
    if logits.len() < PARALLEL_ELEMENTS {
        out.chunks_exact_mut(stride)
            .enumerate()
            .for_each(|(i, out)| row(i, out));
    } else {
        out.par_chunks_exact_mut(stride)
            .enumerate()
            .for_each(|(i, out)| row(i, out));
    }
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
