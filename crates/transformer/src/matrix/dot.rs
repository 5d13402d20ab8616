//! Products of float32 vectors with rows of any stored type.

use burn::tensor::{bf16, f16};

/// A stored number that converts exactly to float32.
pub(super) trait Stored: Copy + Sync {
    /// The number as float32. Numbers that are not finite have no defined result.
    fn widen(self) -> f32;
}

impl Stored for f32 {
    #[expect(clippy::inline_always, reason = "compiled for the instructions that the caller chose")]
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Stored for bf16 {
    #[expect(clippy::inline_always, reason = "compiled for the instructions that the caller chose")]
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Stored for f16 {
    // Without branches, so that it is vectorised: the exponent is corrected by a product, which also
    // normalises subnormal numbers.
    #[inline(always)]
    fn widen(self) -> f32 {
        const EXPONENT: f32 = f32::from_bits((127 + 112) << 23); // 2¹¹²
        let bits = u32::from(self.to_bits());
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * EXPONENT;
        f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
    }
}

/// Number of partial sums, enough to keep the units of every common processor busy.
const LANES: usize = 32;

/// Computes the product of `x` with `w`, of the same length.
#[expect(clippy::inline_always, reason = "compiled for the instructions that the caller chose")]
#[inline(always)]
pub(super) fn dot<W: Stored>(x: &[f32], w: &[W]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (x_lanes, w_lanes) = (x.chunks_exact(LANES), w.chunks_exact(LANES));
    let rest: f32 =
        x_lanes.remainder().iter().zip(w_lanes.remainder()).map(|(x, w)| x * w.widen()).sum();
    for (x, w) in x_lanes.zip(w_lanes) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * w[lane].widen();
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_16_bit_number_widens_to_itself() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            if half.is_finite() {
                assert_eq!(half.widen().to_bits(), half.to_f32().to_bits(), "{bits:04x}");
            }
            if brain.is_finite() {
                assert_eq!(brain.widen().to_bits(), brain.to_f32().to_bits(), "{bits:04x}");
            }
        }
    }

    #[test]
    fn a_product_has_every_term_once() {
        for len in [0, 1, 31, 32, 33, 100] {
            let x: Vec<f32> = (0..len).map(|n| n as f32).collect();
            let w = vec![bf16::from_f32(2.0); len];
            assert_eq!(dot(&x, &w), (len * len.saturating_sub(1)) as f32);
        }
    }
}
