//! Initial weights: the truncated LeCun normal distribution with the exact standard deviation.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;

/// Standard deviation of the standard normal distribution cut at -2 and 2.
pub const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

/// Draws from a normal distribution cut at two standard deviations and rescaled so that the standard deviation **after**
/// the cut is `std` (JAX's convention; PyTorch's `trunc_normal_` leaves it 12% short).
pub fn truncated_normal(count: usize, std: f64, rng: &mut impl Rng) -> Vec<f32> {
    let scale = std / TRUNCATED_STD;
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        // Two normals a draw (polar Box-Muller), each kept when it lies within the cut.
        let (u, v) = (signed_unit(rng), signed_unit(rng));
        let s = u * u + v * v;
        if s >= 1.0 || s == 0.0 {
            continue;
        }
        let factor = (-2.0 * s.ln() / s).sqrt();
        for normal in [u * factor, v * factor] {
            if normal.abs() <= 2.0 && values.len() < count {
                values.push((normal * scale) as f32);
            }
        }
    }
    values
}

/// Uniform in (-1, 1) from 53 bits.
fn signed_unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (2.0 / (1u64 << 53) as f64) - 1.0
}

/// A trained parameter drawn by [`truncated_normal`].
pub(crate) fn normal_param<const D: usize>(
    shape: [usize; D],
    std: f64,
    rng: &mut impl Rng,
    device: &Device,
) -> Param<Tensor<D>> {
    let values = truncated_normal(shape.iter().product(), std, rng);
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
}

/// A weight matrix `[rows, fan_in]` with standard deviation `1 / sqrt(fan_in)`.
pub(crate) fn lecun_param(
    rows: usize,
    fan_in: usize,
    rng: &mut impl Rng,
    device: &Device,
) -> Param<Tensor<2>> {
    normal_param([rows, fan_in], 1.0 / (fan_in as f64).sqrt(), rng, device)
}

/// A saved tensor that is never trained by the dense optimizer.
pub(crate) fn buffer<const D: usize>(value: Tensor<D>) -> Param<Tensor<D>> {
    Param::from_tensor(value).set_require_grad(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn std_is_exact_after_the_cut_and_nothing_lies_outside() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let std = 0.25;
        let values = truncated_normal(200_000, std, &mut rng);
        let n = values.len() as f64;
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = values
            .iter()
            .map(|&x| (f64::from(x) - mean).powi(2))
            .sum::<f64>()
            / n;
        // Standard errors: mean 0.25/sqrt(2e5) = 5.6e-4; std about 0.25 * 1.2e-3.
        assert!(mean.abs() < 3e-3, "mean {mean}");
        assert!(
            (variance.sqrt() - std).abs() < 1.5e-3,
            "std {}",
            variance.sqrt()
        );
        let bound = (2.0 * std / TRUNCATED_STD) as f32;
        assert!(values.iter().all(|x| x.abs() <= bound));
        assert!(values.iter().any(|x| x.abs() > 0.97 * bound));
    }

    #[test]
    fn truncated_std_by_integration() {
        let (mut mass, mut second) = (0.0, 0.0);
        let steps = 400_000;
        for i in 0..steps {
            let x = -2.0 + 4.0 * (i as f64 + 0.5) / steps as f64;
            let density = (-0.5 * x * x).exp();
            mass += density;
            second += density * x * x;
        }
        assert!(((second / mass).sqrt() - TRUNCATED_STD).abs() < 1e-9);
    }
}
