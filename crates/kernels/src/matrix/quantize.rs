use rayon::prelude::*;

/// The largest magnitude of a number in 8 bits; -128 is not used.
const LARGEST: f32 = 127.0;

/// Rounds each row of `columns` numbers to 8 bits and a factor: `numbers · factor` is within half a factor of
/// the value.
pub(super) fn quantize(values: &[f32], columns: usize) -> (Vec<i8>, Vec<f32>) {
    let mut numbers = vec![0_i8; values.len()];
    let mut factors = vec![0.0_f32; values.len() / columns.max(1)];
    let rows = numbers.par_chunks_mut(columns.max(1)).zip(values.par_chunks(columns.max(1)));
    rows.zip(&mut factors).for_each(|((numbers, values), factor)| {
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        *factor = largest / LARGEST;
        // The factor of a row that is nearly 0 can be 0 in float32.
        if *factor > 0.0 {
            for (number, value) in numbers.iter_mut().zip(values) {
                *number = (value / *factor).round_ties_even() as i8;
            }
        }
    });
    (numbers, factors)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_off_by_at_most_half_a_factor(
            values in prop::collection::vec(-1e6_f32..1e6, 12), small in 0_usize..3,
        ) {
            let mut values = values;
            values[4 * small..4 * (small + 1)].iter_mut().for_each(|value| *value *= 1e-9);

            let (numbers, factors) = quantize(&values, 4);

            for (at, value) in values.iter().enumerate() {
                let factor = factors[at / 4];
                let rounded = f32::from(numbers[at]) * factor;
                let most = factor * 0.5 + value.abs() * 1e-6;
                prop_assert!((rounded - value).abs() <= most, "{value} became {rounded}");
            }
        }
    }

    #[test]
    fn the_largest_number_of_a_row_is_kept_and_rows_of_zeros_stay_zeros() {
        let (numbers, factors) = quantize(&[0.0, -0.0, 0.5, -2.54, 1e-45, 0.0], 2);

        assert_eq!(numbers, [0, 0, 25, -127, 0, 0]);
        assert_eq!(factors, [0.0, 0.02, 0.0]);
    }
}
