//! Rotary positions, half-split: pair i of a head is (element i, element i + head_dim/2). Unlike
//! `burn::nn::RotaryEncoding` not interleaved, and the tables are made once.
//!
//! A head turned is `x · cos + x' · sin'`, where x' has the halves exchanged and sin' is negative in the first half.

use burn::module::Module;
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};

/// Cosines and sines of the rotary angles `p * theta^(-2i / head_dim)`, in f32, both halves of a head filled.
#[derive(Module, Debug)]
pub struct RopeTable {
    /// Cosines `[L, head_dim]`.
    pub cos: Tensor<2>,
    /// Sines `[L, head_dim]`.
    pub sin: Tensor<2>,
    /// Sines `[L, head_dim]`, those of the first half negative.
    signed_sin: Tensor<2>,
}

impl RopeTable {
    /// Tables for positions `0..len`; HRM and TRM use a `theta` of 10000.
    ///
    /// # Panics
    /// If `head_dim` is odd.
    #[must_use]
    pub fn new(len: usize, head_dim: usize, theta: f64, device: &Device) -> Self {
        assert!(
            head_dim.is_multiple_of(2),
            "rotary positions need an even head size, got {head_dim}"
        );
        let half = head_dim / 2;
        let mut cos = Vec::with_capacity(len * head_dim);
        let mut sin = Vec::with_capacity(len * head_dim);
        for position in 0..len {
            for element in 0..head_dim {
                // The angle is rounded to f32 where the reference program rounds it.
                let frequency = 1.0 / theta.powf(2.0 * (element % half) as f64 / head_dim as f64);
                let angle = f64::from(position as f32 * frequency as f32);
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        let signed_sin = sin
            .iter()
            .enumerate()
            .map(|(i, &sin): (usize, &f32)| if i % head_dim < half { -sin } else { sin })
            .collect();
        let table = |values| {
            let data = TensorData::new(values, [len, head_dim]);
            Tensor::from_data(data, (device, DType::F32)).without_autodiff()
        };
        Self {
            cos: table(cos),
            sin: table(sin),
            signed_sin: table(signed_sin),
        }
    }

    /// Turns queries or keys by their positions, in f32, back in the type of `x`.
    ///
    /// # Shapes
    /// `x` `[B, L, heads, head_dim]` → the same
    ///
    /// # Panics
    /// If the tables were made for another length or head size.
    #[must_use]
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        self.turned(x, self.signed_sin.clone())
    }

    /// Turns back what [`RopeTable::apply`] turned, which is also what its gradient does.
    ///
    /// # Shapes
    /// `x` `[B, L, heads, head_dim]` → the same
    ///
    /// # Panics
    /// If the tables were made for another length or head size.
    #[must_use]
    pub fn apply_back(&self, x: Tensor<4>) -> Tensor<4> {
        self.turned(x, self.signed_sin.clone().neg())
    }

    fn turned(&self, x: Tensor<4>, signed_sin: Tensor<2>) -> Tensor<4> {
        let [batch, len, heads, head_dim] = x.dims();
        assert_eq!(
            self.cos.dims(),
            [len, head_dim],
            "rotary tables are for another [length, head size] than the queries"
        );
        // A table that carries autodiff would turn a plain x into an autodiff tensor.
        let row = |table: Tensor<2>| table.without_autodiff().reshape([1, len, 1, head_dim]);
        let exchanged = x
            .clone()
            .reshape([batch, len, heads, 2, head_dim / 2])
            .flip([3])
            .reshape([batch, len, heads, head_dim]);
        let dtype = x.dtype();
        let x = x.cast(FloatDType::F32).mul(row(self.cos.clone()));
        let exchanged = exchanged.cast(FloatDType::F32).mul(row(signed_sin));
        x.add(exchanged).cast(dtype)
    }

    /// The same tables outside any graph.
    #[cfg(any(feature = "flex", feature = "cube"))]
    pub(super) fn plain(&self) -> Self {
        let table = |table: &Tensor<2>| table.clone().without_autodiff();
        Self {
            cos: table(&self.cos),
            sin: table(&self.sin),
            signed_sin: table(&self.signed_sin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tolerance;

    #[test]
    fn a_quarter_turn_swaps_the_halves() {
        // Head size 2 has one pair with frequency 1: position p turns (a, b) by p radians.
        let device = Device::flex();
        let rope = RopeTable::new(2, 2, 10_000.0, &device);
        let x = Tensor::<4>::from_data([[[[3.0, 4.0]], [[3.0, 4.0]]]], &device);
        let (c, s) = (1f32.cos(), 1f32.sin());
        let expected = [[[[3.0, 4.0]], [[3.0 * c - 4.0 * s, 4.0 * c + 3.0 * s]]]];
        let turned = rope.apply(x.clone());
        turned
            .clone()
            .into_data()
            .assert_approx_eq::<f32>(&TensorData::from(expected), Tolerance::absolute(1e-6));
        rope.apply_back(turned)
            .into_data()
            .assert_approx_eq::<f32>(&x.into_data(), Tolerance::absolute(1e-6));
    }
}
