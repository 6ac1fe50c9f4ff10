//! Attention head by head, reading queries, keys and values where the projection left them.
//!
//! The scores of a head are made for a block of query rows at a time and never kept: the forward pass remembers
//! `ln Σ exp` of each row, from which the backward pass makes the probabilities again. Memory grows with L, not L².

use pulp::{Arch, Simd, WithSimd};

use super::math::{dot, exp, largest, sum};
use super::raw::{Matrix, MatrixMut, multiply};
use super::threads::{share, share_of};

/// Scores held at a time by one thread.
const BLOCK_SCORES: usize = 1 << 16;

/// The sizes of an attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) len: usize,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
}

impl Sizes {
    fn model(self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of the fused projection.
    fn fused(self) -> usize {
        3 * self.model()
    }

    /// Part 0, 1 or 2 (queries, keys, values) of a head in `qkv`.
    fn part<'a>(self, qkv: &'a [f32], index: usize, part: usize) -> Matrix<'a> {
        let (batch, head) = (index / self.heads, index % self.heads);
        let start = batch * self.len * self.fused() + (part * self.heads + head) * self.head_dim;
        Matrix::new(&qkv[start..], self.len, self.head_dim, self.fused())
    }

    /// A head in `[B, L, D]`.
    fn head<'a>(self, x: &'a [f32], index: usize) -> Matrix<'a> {
        let (batch, head) = (index / self.heads, index % self.heads);
        let start = batch * self.len * self.model() + head * self.head_dim;
        Matrix::new(&x[start..], self.len, self.head_dim, self.model())
    }

    fn block(self) -> usize {
        (BLOCK_SCORES / self.len.max(1)).clamp(1, self.len.max(1))
    }

    fn is_empty(self) -> bool {
        self.batch * self.len * self.model() == 0
    }

    /// The heads as the threads take them.
    fn shares<T>(self, heads: Vec<T>) -> impl Iterator<Item = Vec<T>> {
        let part = share_of(heads.len(), heads.len() * self.len * self.len);
        let mut heads = heads.into_iter();
        std::iter::from_fn(move || {
            let share: Vec<T> = heads.by_ref().take(part).collect();
            (!share.is_empty()).then_some(share)
        })
    }

    fn scale(self) -> f32 {
        (1.0 / (self.head_dim as f64).sqrt()) as f32
    }
}

/// Cosines and sines `[L, head_dim]`.
#[derive(Clone, Copy)]
pub(super) struct Rope<'a> {
    pub(super) cos: &'a [f32],
    pub(super) sin: &'a [f32],
}

/// Copies a head into neighbouring rows, turned by its positions and scaled.
struct Turn<'a> {
    from: Matrix<'a>,
    to: &'a mut [f32],
    rope: Option<Rope<'a>>,
    head_dim: usize,
    scale: f32,
}

impl WithSimd for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (dim, half) = (self.head_dim, self.head_dim / 2);
        for (position, to) in self.to.chunks_exact_mut(dim).enumerate() {
            let from = self.from.row(position);
            match self.rope {
                None => {
                    for (to, &x) in to.iter_mut().zip(from) {
                        *to = x * self.scale;
                    }
                }
                Some(rope) => {
                    let range = position * dim..(position + 1) * dim;
                    let (cos, sin) = (&rope.cos[range.clone()], &rope.sin[range]);
                    let (a, b) = from.split_at(half);
                    let (to_a, to_b) = to.split_at_mut(half);
                    let (cos_a, cos_b) = cos.split_at(half);
                    let (sin_a, sin_b) = sin.split_at(half);
                    for i in 0..half {
                        to_a[i] = (a[i] * cos_a[i] - b[i] * sin_a[i]) * self.scale;
                        to_b[i] = (b[i] * cos_b[i] + a[i] * sin_b[i]) * self.scale;
                    }
                }
            }
        }
    }
}

/// The transposed [`Turn`]: writes the gradient of the head, given that of its turned rows, which begin at `first`.
struct TurnBack<'a, 'b> {
    from: &'a [f32],
    to: MatrixMut<'b>,
    first: usize,
    rope: Option<Rope<'a>>,
    head_dim: usize,
    scale: f32,
}

impl WithSimd for TurnBack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let (dim, half) = (self.head_dim, self.head_dim / 2);
        for (row, from) in self.from.chunks_exact(dim).enumerate() {
            let to = self.to.row(row);
            match self.rope {
                None => {
                    for (to, &x) in to.iter_mut().zip(from) {
                        *to = x * self.scale;
                    }
                }
                Some(rope) => {
                    let position = self.first + row;
                    let range = position * dim..(position + 1) * dim;
                    let (cos, sin) = (&rope.cos[range.clone()], &rope.sin[range]);
                    let (a, b) = from.split_at(half);
                    let (to_a, to_b) = to.split_at_mut(half);
                    let (cos_a, cos_b) = cos.split_at(half);
                    let (sin_a, sin_b) = sin.split_at(half);
                    for i in 0..half {
                        to_a[i] = (a[i] * cos_a[i] + b[i] * sin_b[i]) * self.scale;
                        to_b[i] = (b[i] * cos_b[i] - a[i] * sin_a[i]) * self.scale;
                    }
                }
            }
        }
    }
}

/// Replaces each row of scores by `exp(score - max)`; remembers the sum and `ln Σ exp(score)`.
struct Softmax<'a> {
    scores: &'a mut [f32],
    len: usize,
    sums: &'a mut [f32],
    log_sums: &'a mut [f32],
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let marks = self.sums.iter_mut().zip(self.log_sums);
        for (row, (total, log_sum)) in self.scores.chunks_exact_mut(self.len).zip(marks) {
            let max = largest(simd, row);
            for x in row.iter_mut() {
                *x = exp(*x - max);
            }
            *total = sum(simd, row);
            *log_sum = max + total.ln();
        }
    }
}

/// Divides each row of a head by the sum of its weights.
struct Normalise<'a, 'b> {
    rows: MatrixMut<'b>,
    sums: &'a [f32],
}

impl WithSimd for Normalise<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        for (i, sum) in self.sums.iter().enumerate() {
            let inverse = 1.0 / sum;
            for x in self.rows.row(i) {
                *x *= inverse;
            }
        }
    }
}

/// Makes the probabilities from the scores, and from their gradient that of the scores:
/// `p (dp - Σ p dp)`, where the sum equals the product of the output with its gradient.
struct SoftmaxBackward<'a> {
    scores: &'a mut [f32],
    grads: &'a mut [f32],
    len: usize,
    log_sums: &'a [f32],
    out: Matrix<'a>,
    grad_out: Matrix<'a>,
}

impl WithSimd for SoftmaxBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.scores.chunks_exact_mut(self.len);
        let grads = self.grads.chunks_exact_mut(self.len);
        for (i, ((row, grads), log_sum)) in rows.zip(grads).zip(self.log_sums).enumerate() {
            let dot = dot(simd, self.out.row(i), self.grad_out.row(i));
            for (x, grad) in row.iter_mut().zip(grads) {
                *x = exp(*x - log_sum);
                *grad = *x * (*grad - dot);
            }
        }
    }
}

/// The attention `[B, L, D]`, and `ln Σ exp` of each row of scores, `[B, heads, L]`.
pub(super) fn forward(qkv: &[f32], rope: Option<Rope<'_>>, sizes: Sizes) -> (Vec<f32>, Vec<f32>) {
    let mut out = vec![0.0; sizes.batch * sizes.len * sizes.model()];
    let mut log_sums = vec![0.0; sizes.batch * sizes.heads * sizes.len];
    if sizes.is_empty() {
        return (out, log_sums);
    }
    let arch = Arch::new();
    let (len, head_dim, block) = (sizes.len, sizes.head_dim, sizes.block());
    let head =
        |scratch: &mut Scratch, index: usize, mut out: MatrixMut<'_>, log_sums: &mut [f32]| {
            let Scratch {
                q, k, scores, sums, ..
            } = scratch;
            for (part, to, scale) in [(0, &mut *q, sizes.scale()), (1, &mut *k, 1.0)] {
                arch.dispatch(Turn {
                    from: sizes.part(qkv, index, part),
                    to,
                    rope,
                    head_dim,
                    scale,
                });
            }
            let (q, k) = (
                Matrix::new(q, len, head_dim, head_dim),
                Matrix::new(k, len, head_dim, head_dim),
            );
            for start in (0..len).step_by(block) {
                let rows = start..(start + block).min(len);
                let scores = &mut scores[..rows.len() * len];
                let mut view = MatrixMut::new(scores, rows.len(), len);
                multiply(&mut view, q.rows(rows.clone()), k.t(), false);
                arch.dispatch(Softmax {
                    scores,
                    len,
                    sums,
                    log_sums: &mut log_sums[rows.clone()],
                });
                let weights = Matrix::new(scores, rows.len(), len, len);
                let mut out = out.rows(rows.clone());
                multiply(&mut out, weights, sizes.part(qkv, index, 2), false);
                arch.dispatch(Normalise {
                    rows: out,
                    sums: &sums[..rows.len()],
                });
            }
        };
    let outs = MatrixMut::bands(&mut out, len, sizes.model(), head_dim);
    let heads = outs.into_iter().zip(log_sums.chunks_exact_mut(len));
    let heads: Vec<_> = heads.enumerate().collect();
    share(sizes.shares(heads), |heads| {
        let mut scratch = Scratch::new(sizes);
        for (index, (out, log_sums)) in heads {
            head(&mut scratch, index, out, log_sums);
        }
    });
    (out, log_sums)
}

/// The gradient of `qkv`.
pub(super) fn backward(
    qkv: &[f32],
    rope: Option<Rope<'_>>,
    out: &[f32],
    log_sums: &[f32],
    grad_out: &[f32],
    sizes: Sizes,
) -> Vec<f32> {
    let mut grad = vec![0.0; qkv.len()];
    if sizes.is_empty() {
        return grad;
    }
    let arch = Arch::new();
    let (len, head_dim, block, scale) = (sizes.len, sizes.head_dim, sizes.block(), sizes.scale());
    let head = |scratch: &mut Scratch,
                index: usize,
                [mut grad_q, grad_k, mut grad_v]: [MatrixMut<'_>; 3]| {
        let Scratch {
            q,
            k,
            scores,
            grad_scores,
            turned,
            grad_turned_k,
            ..
        } = scratch;
        for (part, to, scale) in [(0, &mut *q, scale), (1, &mut *k, 1.0)] {
            arch.dispatch(Turn {
                from: sizes.part(qkv, index, part),
                to,
                rope,
                head_dim,
                scale,
            });
        }
        let (q, k) = (
            Matrix::new(q, len, head_dim, head_dim),
            Matrix::new(k, len, head_dim, head_dim),
        );
        let v = sizes.part(qkv, index, 2);
        let (out, grad_out) = (sizes.head(out, index), sizes.head(grad_out, index));
        let log_sums = &log_sums[index * len..(index + 1) * len];
        for start in (0..len).step_by(block) {
            let rows = start..(start + block).min(len);
            let accumulate = start > 0;
            let scores = &mut scores[..rows.len() * len];
            let grad_scores = &mut grad_scores[..rows.len() * len];
            let q = q.rows(rows.clone());
            let grad_rows = grad_out.rows(rows.clone());
            multiply(
                &mut MatrixMut::new(scores, rows.len(), len),
                q,
                k.t(),
                false,
            );
            multiply(
                &mut MatrixMut::new(grad_scores, rows.len(), len),
                grad_rows,
                v.t(),
                false,
            );
            arch.dispatch(SoftmaxBackward {
                scores,
                grads: grad_scores,
                len,
                log_sums: &log_sums[rows.clone()],
                out: out.rows(rows.clone()),
                grad_out: grad_rows,
            });
            let weights = Matrix::new(scores, rows.len(), len, len);
            let grad_scores = Matrix::new(grad_scores, rows.len(), len, len);
            multiply(&mut grad_v, weights.t(), grad_rows, accumulate);
            let mut grad_turned_k = MatrixMut::new(grad_turned_k, len, head_dim);
            multiply(&mut grad_turned_k, grad_scores.t(), q, accumulate);
            let turned = &mut turned[..rows.len() * head_dim];
            multiply(
                &mut MatrixMut::new(turned, rows.len(), head_dim),
                grad_scores,
                k,
                false,
            );
            arch.dispatch(TurnBack {
                from: turned,
                to: grad_q.rows(rows.clone()),
                first: start,
                rope,
                head_dim,
                scale,
            });
        }
        arch.dispatch(TurnBack {
            from: grad_turned_k,
            to: grad_k,
            first: 0,
            rope,
            head_dim,
            scale: 1.0,
        });
    };
    let heads = sizes.heads;
    let mut bands = MatrixMut::bands(&mut grad, len, sizes.fused(), head_dim).into_iter();
    let mut parts = Vec::with_capacity(sizes.batch * heads);
    for _ in 0..sizes.batch {
        let q: Vec<_> = bands.by_ref().take(heads).collect();
        let k: Vec<_> = bands.by_ref().take(heads).collect();
        let v: Vec<_> = bands.by_ref().take(heads).collect();
        parts.extend(q.into_iter().zip(k).zip(v).map(|((q, k), v)| [q, k, v]));
    }
    let heads: Vec<_> = parts.into_iter().enumerate().collect();
    share(sizes.shares(heads), |heads| {
        let mut scratch = Scratch::new(sizes);
        for (index, parts) in heads {
            head(&mut scratch, index, parts);
        }
    });
    grad
}

/// Memory of one thread for one head at a time.
struct Scratch {
    q: Vec<f32>,
    k: Vec<f32>,
    scores: Vec<f32>,
    sums: Vec<f32>,
    grad_scores: Vec<f32>,
    turned: Vec<f32>,
    grad_turned_k: Vec<f32>,
}

impl Scratch {
    fn new(sizes: Sizes) -> Self {
        let (rows, block) = (sizes.len * sizes.head_dim, sizes.block());
        Self {
            q: vec![0.0; rows],
            k: vec![0.0; rows],
            scores: vec![0.0; block * sizes.len],
            sums: vec![0.0; block],
            grad_scores: vec![0.0; block * sizes.len],
            turned: vec![0.0; block * sizes.head_dim],
            grad_turned_k: vec![0.0; rows],
        }
    }
}
