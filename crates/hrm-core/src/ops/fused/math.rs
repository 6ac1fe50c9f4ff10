//! Elementary functions that the compiler can vectorise: no branches, no calls.

use std::f32::consts::{FRAC_PI_2, FRAC_PI_4, LOG2_E};

use pulp::Simd;

/// `e^x` within 2e-7 relative; saturates outside of ±87.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Comparisons that let NaN through, unlike f32::clamp's max and min.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 87.0 { 87.0 } else { x };
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, so that the product with n is exact in the first.
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let poly = 1.987_569_2e-4;
    let poly = poly * r + 1.398_199_9e-3;
    let poly = poly * r + 8.333_452e-3;
    let poly = poly * r + 4.166_579_6e-2;
    let poly = poly * r + 1.666_666_5e-1;
    let poly = poly * r + 0.5;
    let poly = poly * r * r + r + 1.0;
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    poly * scale
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The angle of the point `(x, y)` with `x >= 0`, within 3e-7 relative; `atan2(0, 0) = 0`.
#[inline(always)]
pub(super) fn atan2_right(y: f32, x: f32) -> f32 {
    const TAN_PI_8: f32 = 0.414_213_57;
    let a = y.abs();
    let (small, large) = if a > x { (x, a) } else { (a, x) };
    // atan t = π/4 + atan((t - 1) / (t + 1)) brings t below tan(π/8); one division for both cases.
    let fold = small > TAN_PI_8 * large;
    let top = if fold { small - large } else { small };
    let bottom = if fold { small + large } else { large };
    let bottom = if bottom == 0.0 { 1.0 } else { bottom };
    let t = top / bottom;
    let z = t * t;
    let poly = 8.053_744_5e-2;
    let poly = poly * z - 1.387_768_6e-1;
    let poly = poly * z + 1.997_771_1e-1;
    let poly = poly * z - 3.333_295e-1;
    let angle = poly * z * t + t + if fold { FRAC_PI_4 } else { 0.0 };
    let angle = if a > x { FRAC_PI_2 - angle } else { angle };
    angle.copysign(y)
}

/// `Σ a b` over two slices of one length.
#[inline(always)]
pub(super) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a_body, a_tail) = S::as_simd_f32s(a);
    let (b_body, b_tail) = S::as_simd_f32s(b);
    let zero = simd.splat_f32s(0.0);
    let [mut even, mut odd] = [zero; 2];
    let (a_pairs, a_last) = a_body.as_chunks::<2>();
    let (b_pairs, b_last) = b_body.as_chunks::<2>();
    for (a, b) in a_pairs.iter().zip(b_pairs) {
        even = simd.mul_add_f32s(a[0], b[0], even);
        odd = simd.mul_add_f32s(a[1], b[1], odd);
    }
    for (&a, &b) in a_last.iter().zip(b_last) {
        even = simd.mul_add_f32s(a, b, even);
    }
    if !a_tail.is_empty() {
        let (a, b) = (
            simd.partial_load_f32s(a_tail),
            simd.partial_load_f32s(b_tail),
        );
        odd = simd.mul_add_f32s(a, b, odd);
    }
    simd.reduce_sum_f32s(simd.add_f32s(even, odd))
}

/// `Σ x`.
#[inline(always)]
pub(super) fn sum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (body, tail) = S::as_simd_f32s(x);
    let mut total = simd.splat_f32s(0.0);
    for &x in body {
        total = simd.add_f32s(total, x);
    }
    total = simd.add_f32s(total, simd.partial_load_f32s(tail));
    simd.reduce_sum_f32s(total)
}

/// The largest element that is not NaN.
#[inline(always)]
pub(super) fn largest<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (body, tail) = S::as_simd_f32s(x);
    let mut most = simd.splat_f32s(f32::NEG_INFINITY);
    for &x in body {
        most = simd.max_f32s(x, most);
    }
    let most = simd.reduce_max_f32s(most);
    tail.iter().fold(most, |most, &x| most.max(x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::WithSimd;

    #[test]
    fn exp_is_within_two_units_of_1e_7() {
        for i in -8600..=8600 {
            let x = i as f32 * 0.01 + 0.003;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2e-7, "exp({x}): relative error {error:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1e9) < 2e-38 && exp(1e9).is_finite());
    }

    #[test]
    fn atan2_is_exact_to_rounding_in_the_right_half_plane() {
        for i in -200..=200 {
            for j in 0..=200 {
                let (y, x) = (i as f32 * 0.037, (j as f32 * 0.05).powi(3));
                let expected = f64::from(y).atan2(f64::from(x));
                let found = f64::from(atan2_right(y, x));
                assert!(
                    (found - expected).abs() <= 3e-7 * expected.abs(),
                    "atan2({y}, {x}): expected {expected}, got {found}"
                );
            }
        }
        assert_eq!(atan2_right(0.0, 0.0), 0.0);
        assert!(atan2_right(f32::NAN, 1.0).is_nan());
    }

    #[test]
    fn sums_and_maxima_take_every_element() {
        struct Check(usize);
        impl WithSimd for Check {
            type Output = ();
            fn with_simd<S: Simd>(self, simd: S) {
                let n = self.0 as f32;
                let x: Vec<f32> = (0..self.0).map(|i| i as f32 - n).collect();
                let expected = n * (n - 1.0) / 2.0 - n * n;
                assert_eq!(sum(simd, &x), expected);
                assert_eq!(dot(simd, &x, &vec![2.0; self.0]), 2.0 * expected);
                assert_eq!(largest(simd, &x), -1.0);
            }
        }
        for len in [1, 2, 15, 16, 17, 31, 33, 64, 77, 100] {
            pulp::Arch::new().dispatch(Check(len));
            Check(len).with_simd(pulp::Scalar);
        }
    }
}
