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

    /// The numbers in a word of 32 bits that are converted together; 1 if they are converted one by one.
    #[doc(hidden)]
    const PER_WORD: usize = 1;

    /// The factors of inputs that make up for those of unpacked numbers, by their place in a word.
    #[doc(hidden)]
    const UNPACKED_SCALES: [f32; 4] = [1.0; 4];

    /// The words of numbers that are packed; `None` if they do not begin and end with one.
    #[doc(hidden)]
    #[inline(always)]
    fn words(_: &[Self]) -> Option<&[u32]> {
        None
    }

    /// Converts the number at place `at` of each word to float32, times a factor of which
    /// [`UNPACKED_SCALES`](Self::UNPACKED_SCALES) has the inverse.
    #[doc(hidden)]
    #[inline(always)]
    fn unpack<S: Simd>(simd: S, words: S::u32s, _at: usize) -> S::f32s {
        simd.transmute_f32s_u32s(words)
    }

    /// Converts numbers to float32, in `buffer` if they are of another type.
    #[doc(hidden)]
    #[inline(always)]
    fn widened<'b>(values: &'b [Self], buffer: &'b mut [f32]) -> &'b [f32] {
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
    fn widened<'b>(values: &'b [Self], _: &'b mut [f32]) -> &'b [f32] {
        values
    }
}

impl Stored for i8 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from(self)
    }

    const PER_WORD: usize = if cfg!(target_endian = "little") { 4 } else { 1 };
    const UNPACKED_SCALES: [f32; 4] = [1.0, 1.0 / 256.0, 1.0, 1.0 / 256.0];

    #[inline(always)]
    fn words(values: &[Self]) -> Option<&[u32]> {
        bytemuck::try_cast_slice(values).ok()
    }

    // `2²³ + n` has `n` in its lowest bits, and 256 times that one byte further, so that no number is shifted but
    // the upper two of a word.
    #[inline(always)]
    fn unpack<S: Simd>(simd: S, words: S::u32s, at: usize) -> S::f32s {
        const POWER: f32 = 8_388_608.0;
        // The offset makes numbers positive.
        let words = simd.xor_u32s(words, simd.splat_u32s(0x8080_8080));
        let words =
            if at < 2 { words } else { simd.wrapping_dyn_shr_u32s(words, simd.splat_u32s(16)) };
        let (mask, offset) = [(0xff, 128.0), (0xff00, 128.0 * 256.0)][at % 2];
        let bits = simd.and_u32s(words, simd.splat_u32s(mask));
        let bits = simd.or_u32s(bits, simd.splat_u32s(POWER.to_bits()));
        simd.sub_f32s(simd.transmute_f32s_u32s(bits), simd.splat_f32s(POWER + offset))
    }
}

impl Stored for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    const PER_WORD: usize = if cfg!(target_endian = "little") { 2 } else { 1 };

    #[inline(always)]
    fn words(values: &[Self]) -> Option<&[u32]> {
        bytemuck::try_cast_slice(values).ok()
    }

    #[inline(always)]
    fn unpack<S: Simd>(simd: S, words: S::u32s, at: usize) -> S::f32s {
        simd.transmute_f32s_u32s(if at == 0 {
            simd.wrapping_dyn_shl_u32s(words, simd.splat_u32s(16))
        } else {
            simd.and_u32s(words, simd.splat_u32s(0xffff_0000))
        })
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

    /// All values of `W`, unpacked from words that lie one after another.
    fn unpacked<W: Stored>(values: &[W]) -> Vec<f32> {
        struct Unpack<'v, W>(&'v [W]);

        impl<W: Stored> WithSimd for Unpack<'_, W> {
            type Output = Vec<f32>;

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
                let (words, rest) = S::as_simd_u32s(W::words(self.0).unwrap());
                assert!(rest.is_empty());
                let mut found = vec![0.0; self.0.len()];
                let block = S::F32_LANES * W::PER_WORD;
                for (&words, found) in words.iter().zip(found.chunks_exact_mut(block)) {
                    for at in 0..W::PER_WORD {
                        let numbers = [W::unpack(simd, words, at)];
                        let numbers: &[f32] = bytemuck::cast_slice(&numbers);
                        for (lane, number) in numbers.iter().enumerate() {
                            found[lane * W::PER_WORD + at] = number * W::UNPACKED_SCALES[at];
                        }
                    }
                }
                found
            }
        }

        run(Unpack(values))
    }

    #[test]
    fn every_packed_number_is_unpacked_to_itself() {
        // Each number at each place of a word.
        let bytes: Vec<i8> = (0..4 * 256).map(|at| (at % 256 + at / 256) as u8 as i8).collect();
        let expected: Vec<f32> = bytes.iter().map(|&n| f32::from(n)).collect();
        assert_eq!(unpacked(&bytes), expected);

        let halves: Vec<bf16> = (0..2 << 16_u32)
            .map(|at| bf16::from_bits((at + (at >> 16)) as u16))
            .map(|n| if n.to_f32().is_nan() { bf16::ZERO } else { n })
            .collect();
        let expected: Vec<f32> = halves.iter().map(|n| n.to_f32()).collect();
        assert_eq!(unpacked(&halves), expected);
    }

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
