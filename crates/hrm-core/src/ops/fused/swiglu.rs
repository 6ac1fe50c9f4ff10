//! `silu(gate) * up` in one pass; the backward pass computes the sigmoid again from the saved input.

use pulp::Simd;

use super::math::sigmoid;
use super::norm::rows;
use super::raw::{Blank, RowKernel, make_rows};

struct SwiGlu<'a> {
    width: usize,
    gate_up: &'a [f32],
}

impl RowKernel for SwiGlu<'_> {
    #[inline(always)]
    fn row<'a, S: Simd>(&self, _: S, index: usize, out: Blank<'a>) -> (&'a mut [f32], f32) {
        let row = &self.gate_up[index * 2 * self.width..(index + 1) * 2 * self.width];
        let (gate, up) = row.split_at(self.width);
        let values = gate.iter().zip(up).map(|(&g, &u)| g * sigmoid(g) * u);
        (out.write(values), 0.0)
    }
}

/// `[rows, 2 width]` → `[rows, width]`.
pub(super) fn forward(gate_up: &[f32], width: usize) -> Vec<f32> {
    make_rows(
        rows(gate_up.len(), 2 * width),
        width,
        &SwiGlu { width, gate_up },
    )
    .0
}

struct SwiGluBackward<'a> {
    width: usize,
    gate_up: &'a [f32],
    grad: &'a [f32],
}

impl RowKernel for SwiGluBackward<'_> {
    #[inline(always)]
    fn row<'a, S: Simd>(&self, _: S, index: usize, out: Blank<'a>) -> (&'a mut [f32], f32) {
        let row = &self.gate_up[index * 2 * self.width..(index + 1) * 2 * self.width];
        let (gate, up) = row.split_at(self.width);
        let grad = &self.grad[index * self.width..(index + 1) * self.width];
        let values = gate.iter().zip(up).zip(grad).map(|((&g, &u), &d)| {
            let s = sigmoid(g);
            let silu = g * s;
            (d * u * (s + silu * (1.0 - s)), d * silu)
        });
        (out.write_halves(values), 0.0)
    }
}

/// The gradient of `gate_up`, `[rows, 2 width]`.
pub(super) fn backward(gate_up: &[f32], grad: &[f32], width: usize) -> Vec<f32> {
    let kernel = SwiGluBackward {
        width,
        gate_up,
        grad,
    };
    make_rows(rows(gate_up.len(), 2 * width), 2 * width, &kernel).0
}
