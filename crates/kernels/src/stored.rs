use burn::tensor::{Element, bf16, f16};
use rayon::prelude::*;

use crate::simd::{Simd, WithSimd, run};

/// The number of values that a thread takes at once.
const CHUNK: usize = 1 << 16;

/// Converts numbers to float32.
pub fn widen<W: Stored>(values: &[W]) -> Vec<f32> {
    struct Widen<'v, W>(&'v mut [f32], &'v [W]);

    impl<W: Stored> WithSimd for Widen<'_, W> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            for (out, value) in self.0.iter_mut().zip(self.1) {
                *out = value.widen();
            }
        }
    }

    let mut out = vec![0.0_f32; values.len()];
    let chunks = out.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK));
    chunks.for_each(|(out, values)| run(Widen(out, values)));
    out
}

/// A stored number that converts exactly to float32.
pub trait Stored: Element + Copy + Sync {
    /// Converts the number to float32.
    fn widen(self) -> f32;

    /// Converts up to [`BLOCK`] numbers to float32, in `buffer` if they are of another type.
    #[doc(hidden)]
    #[inline(always)]
    fn widened<'b>(values: &'b [Self], buffer: &'b mut [f32; BLOCK]) -> &'b [f32] {
        let buffer = &mut buffer[..values.len()];
        for (to, value) in buffer.iter_mut().zip(values) {
            *to = value.widen();
        }
        buffer
    }
}

/// The number of numbers that are converted before they are used.
pub(crate) const BLOCK: usize = 512;

impl Stored for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn widened<'b>(values: &'b [Self], _: &'b mut [f32; BLOCK]) -> &'b [f32] {
        values
    }
}

impl Stored for bf16 {
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
        let not_finite = u32::from(bits & 0x7c00 == 0x7c00) * 0x7f80_0000;
        f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16 | not_finite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_16_bit_number_widens_to_itself() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            for (widened, expected) in
                [(half.widen(), half.to_f32()), (brain.widen(), brain.to_f32())]
            {
                let is_same = widened.to_bits() == expected.to_bits();
                assert!(is_same || widened.is_nan() && expected.is_nan(), "{bits:04x}");
            }
        }
    }
}
