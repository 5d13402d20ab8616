//! Exponentials without branches, which become vector instructions.
//!
//! The polynomials are those of the Cephes library (S. L. Moshier, `expf.c` and `tanhf.c`).

use crate::simd::{Simd, WithSimd, multiply_add, run};

/// Replaces each number by its exponential, within 1e-6 of the true one, relatively.
///
/// Results below the smallest normal number may be 0. NaN stays NaN.
pub fn exp(values: &mut [f32]) {
    struct Exp<'v>(&'v mut [f32]);

    impl WithSimd for Exp<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            for value in self.0 {
                *value = exp_of::<S>(*value);
            }
        }
    }

    run(Exp(values));
}

/// Replaces each number by its hyperbolic tangent, within 1e-6 of the true one, relatively. NaN stays NaN.
pub fn tanh(values: &mut [f32]) {
    struct Tanh<'v>(&'v mut [f32]);

    impl WithSimd for Tanh<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            for value in self.0 {
                *value = tanh_of::<S>(*value);
            }
        }
    }

    run(Tanh(values));
}

/// Computes `e^x`.
#[inline(always)]
pub(crate) fn exp_of<S: Simd>(x: f32) -> f32 {
    /// Adding it rounds a small float32 to a whole number, which the lowest bits of the sum then are.
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³
    /// ln 2 in two parts: products of the first with whole numbers up to 128 are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const P: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.500_000_06];
    // Comparisons with NaN are false, so that it is kept.
    let bounded = if x < -104.0 { -104.0 } else { x };
    let bounded = if bounded > 89.0 { 89.0 } else { bounded };

    let rounded = multiply_add::<S>(bounded, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = multiply_add::<S>(n, -LN_2[0], bounded);
    let r = multiply_add::<S>(n, -LN_2[1], r);
    let mut p = P[0];
    p = multiply_add::<S>(p, r, P[1]);
    p = multiply_add::<S>(p, r, P[2]);
    p = multiply_add::<S>(p, r, P[3]);
    p = multiply_add::<S>(p, r, P[4]);
    p = multiply_add::<S>(p, r, P[5]);
    let y = multiply_add::<S>(p, r * r, r) + 1.0;

    // 2ⁿ in two factors, because 2¹²⁸ is not a float32.
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    y * power(half) * power(n - half)
}

/// Computes the hyperbolic tangent of `x`.
#[inline(always)]
pub(crate) fn tanh_of<S: Simd>(x: f32) -> f32 {
    const P: [f32; 5] =
        [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 0.133_314_42, -0.333_332_8];
    let z = x * x;
    let mut p = P[0];
    p = multiply_add::<S>(p, z, P[1]);
    p = multiply_add::<S>(p, z, P[2]);
    p = multiply_add::<S>(p, z, P[3]);
    p = multiply_add::<S>(p, z, P[4]);
    let small = multiply_add::<S>(p * z, x, x);

    let magnitude = x.abs();
    let large = 1.0 - 2.0 / (exp_of::<S>(2.0 * magnitude) + 1.0);
    if magnitude < 0.625 { small } else { large.copysign(x) }
}

/// Computes `cap · tanh(x / cap)`.
#[inline(always)]
pub(crate) fn capped<S: Simd>(x: f32, cap: f32) -> f32 {
    tanh_of::<S>(x / cap) * cap
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 251st float32, and the special ones.
    fn numbers() -> impl Iterator<Item = f32> {
        let special =
            [0.0, -0.0, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 0.625, -0.625, 88.72, 88.73];
        (0..=u32::MAX).step_by(251).map(f32::from_bits).filter(|x| x.is_finite()).chain(special)
    }

    /// The largest relative error of `computed` among `numbers`.
    fn largest_error(computed: impl Fn(&mut [f32]), reference: impl Fn(f64) -> f64) -> f64 {
        let numbers: Vec<f32> = numbers().collect();
        let mut values = numbers.clone();
        computed(&mut values);
        let mut largest = 0.0_f64;
        for (&x, &found) in numbers.iter().zip(&values) {
            let expected = reference(f64::from(x));
            let error = if expected.abs() < f64::from(f32::MIN_POSITIVE) {
                // A subnormal number may become 0, or be rounded to another one.
                assert!(
                    f64::from(found).abs() <= 1.001 * f64::from(f32::MIN_POSITIVE),
                    "{x}: {found}"
                );
                0.0
            } else if expected > f64::from(f32::MAX) {
                assert_eq!(found, f32::INFINITY, "{x}");
                0.0
            } else {
                (f64::from(found) - expected).abs() / expected.abs()
            };
            assert!(error < 1e-6, "{x}: {found} instead of {expected}");
            largest = largest.max(error);
        }
        largest
    }

    #[test]
    fn exponentials_are_within_one_millionth_over_the_whole_range() {
        assert!(largest_error(exp, f64::exp) < 3e-7);
    }

    #[test]
    fn hyperbolic_tangents_are_within_one_millionth_over_the_whole_range() {
        assert!(largest_error(tanh, f64::tanh) < 3e-7);
    }

    #[test]
    fn what_is_not_finite_has_the_limit_or_stays_nan() {
        let mut values = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
        exp(&mut values);
        assert_eq!(values[..2], [0.0, f32::INFINITY]);
        assert!(values[2].is_nan());

        let mut values = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
        tanh(&mut values);
        assert_eq!(values[..2], [-1.0, 1.0]);
        assert!(values[2].is_nan());
    }

    #[test]
    fn instructions_without_a_fused_product_are_as_exact() {
        for x in [-80.0_f32, -1.5, -0.3, 0.1, 0.7, 3.0, 42.0] {
            let (exp, tanh) = (exp_of::<pulp::Scalar>(x), tanh_of::<pulp::Scalar>(x));
            assert!((f64::from(exp) / f64::from(x).exp() - 1.0).abs() < 3e-7, "{x}: {exp}");
            assert!((f64::from(tanh) / f64::from(x).tanh() - 1.0).abs() < 3e-7, "{x}: {tanh}");
        }
    }
}
