//! Floating-point numbers of 8 bits.

use half::f16;

/// Converts a `float8_e4m3fn`: a sign, 4 bits of exponent with bias 7 and 3 of mantissa. It has no
/// infinities, and NaN is all ones (Micikevicius et al. 2022, "FP8 Formats for Deep Learning").
pub(super) fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (byte >> 3 & 0xf, f32::from(byte & 0x7));
    let magnitude = match exponent {
        0xf if byte & 0x7 == 0x7 => f32::NAN,
        // Without the implicit 1.
        0 => mantissa / 8.0 * 2_f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2_f32.powi(i32::from(exponent) - 7),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// Converts a `float8_e5m2`, which is the upper half of a float16.
pub(super) fn e5m2(byte: u8) -> f32 {
    f16::from_bits(u16::from(byte) << 8).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_papers_tables() {
        for (byte, expected) in [
            (0x00, 0.0),
            (0x38, 1.0),
            (0xb8, -1.0),
            (0x7e, 448.0),
            (0x08, 0.015_625),
            (0x07, 0.013_671_875),
            (0x01, 0.001_953_125),
            (0x44, 3.0),
        ] {
            assert_eq!(e4m3(byte), expected, "{byte:#x}");
        }
        assert!(e4m3(0x80).is_sign_negative());
        assert_eq!((0..=u8::MAX).filter(|&byte| e4m3(byte).is_nan()).count(), 2);
        for (byte, expected) in [
            (0x00, 0.0),
            (0x3c, 1.0),
            (0xbc, -1.0),
            (0x7b, 57_344.0),
            (0x04, 6.103_515_6e-5),
            (0x01, 1.525_878_9e-5),
            (0x7c, f32::INFINITY),
            (0xfc, f32::NEG_INFINITY),
        ] {
            assert_eq!(e5m2(byte), expected, "{byte:#x}");
        }
        assert_eq!((0..=u8::MAX).filter(|&byte| e5m2(byte).is_nan()).count(), 6);
    }
}
