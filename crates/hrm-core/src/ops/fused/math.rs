//! Elementary functions that the compiler can vectorise: no branches, no calls.

use std::f32::consts::{FRAC_PI_2, FRAC_PI_4, LOG2_E};

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
    let poly = poly * r + 5.000_000_1e-1;
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

/// Lanes of a running sum: enough for two registers of 16.
const LANES: usize = 32;

/// `Σ f(a, b)` over two slices, in an order that depends on nothing but their length.
#[inline(always)]
pub(super) fn sum_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let mut lanes = [0.0f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for i in 0..LANES {
            lanes[i] += f(a[i], b[i]);
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += f(a, b);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest element; NaN when there is one.
#[inline(always)]
pub(super) fn largest(x: &[f32]) -> f32 {
    let pick = |a: f32, b: f32| if a < b || b.is_nan() { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for i in 0..LANES {
            lanes[i] = pick(lanes[i], block[i]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = pick(*lane, x);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, pick)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let x: Vec<f32> = (0..77).map(|i| i as f32).collect();
        let one = vec![1.0; 77];
        assert_eq!(sum_pairs(&x, &one, |a, b| a * b), 77.0 * 76.0 / 2.0);
        assert_eq!(largest(&x), 76.0);
    }
}
