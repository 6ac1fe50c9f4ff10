//! RMS norm of a sum in one pass: reads both terms, writes the normalised row, remembers `1 / rms`.
//!
//! With `o = s r` and `r = (mean(s²) + ε)^-1/2` the gradient is `r (g - o mean(g o))`: the output and `r` are all
//! that the backward pass needs.

use pulp::Simd;

use super::math::dot;
use super::raw::{Blank, RowKernel, make_rows};
use crate::ops::NORM_EPSILON;

struct Norm<'a> {
    width: usize,
    x: &'a [f32],
    y: Option<&'a [f32]>,
}

impl RowKernel for Norm<'_> {
    #[inline(always)]
    fn row<'a, S: Simd>(&self, simd: S, index: usize, out: Blank<'a>) -> (&'a mut [f32], f32) {
        let range = index * self.width..(index + 1) * self.width;
        let x = &self.x[range.clone()];
        let (inverse, out) = match self.y {
            Some(y) => {
                let y = &y[range];
                let out = out.write(x.iter().zip(y).map(|(x, y)| x + y));
                let inverse = inverse_rms(simd, out);
                for value in out.iter_mut() {
                    *value *= inverse;
                }
                (inverse, out)
            }
            None => {
                let inverse = inverse_rms(simd, x);
                (inverse, out.write(x.iter().map(|x| x * inverse)))
            }
        };
        (out, inverse)
    }
}

#[inline(always)]
fn inverse_rms<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let mean = dot(simd, x, x) / x.len() as f32;
    1.0 / (mean + NORM_EPSILON as f32).sqrt()
}

/// The normalised rows of `x`, or of `x + y`, and `1 / rms` of each row.
pub(super) fn forward(x: &[f32], y: Option<&[f32]>, width: usize) -> (Vec<f32>, Vec<f32>) {
    make_rows(rows(x.len(), width), width, &Norm { width, x, y })
}

struct NormBackward<'a> {
    width: usize,
    out: &'a [f32],
    inverse: &'a [f32],
    grad: &'a [f32],
}

impl RowKernel for NormBackward<'_> {
    #[inline(always)]
    fn row<'a, S: Simd>(&self, simd: S, index: usize, into: Blank<'a>) -> (&'a mut [f32], f32) {
        let range = index * self.width..(index + 1) * self.width;
        let (out, grad) = (&self.out[range.clone()], &self.grad[range]);
        let inverse = self.inverse[index];
        let mean = dot(simd, out, grad) / self.width as f32;
        let values = out.iter().zip(grad).map(|(o, g)| inverse * (g - o * mean));
        (into.write(values), 0.0)
    }
}

/// The gradient of both terms of the sum.
pub(super) fn backward(out: &[f32], inverse: &[f32], grad: &[f32], width: usize) -> Vec<f32> {
    let kernel = NormBackward {
        width,
        out,
        inverse,
        grad,
    };
    make_rows(rows(out.len(), width), width, &kernel).0
}

pub(super) fn rows(len: usize, width: usize) -> usize {
    len.checked_div(width).unwrap_or(0)
}
