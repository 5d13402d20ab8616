//! The search for numbers that are not finite.

/// Numbers that are tested together, which the compiler turns into vector instructions.
const BLOCK: usize = 1024;

/// Returns the index of the first number that is not finite.
pub(crate) fn first_not_finite(values: &[f32]) -> Option<usize> {
    first_not_below(values, f32::INFINITY)
}

/// Returns the index of the first number whose magnitude is not below `limit`. That of NaN never is.
pub(crate) fn first_not_below(values: &[f32], limit: f32) -> Option<usize> {
    let is_below = |value: &f32| value.abs() < limit;
    let is_bad = |block: &[f32]| !block.iter().fold(true, |good, value| good & is_below(value));
    let from = values.chunks(BLOCK).position(is_bad)? * BLOCK;
    let within = values[from..].iter().position(|value| !is_below(value));
    Some(from + within.expect("the block has one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_found_wherever_it_is() {
        assert_eq!(first_not_finite(&[]), None);
        for len in [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7] {
            for at in [0, len / 2, len - 1] {
                for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut values = vec![f32::MAX; len];
                    assert_eq!(first_not_finite(&values), None);

                    values[at..].fill(bad);

                    assert_eq!(first_not_finite(&values), Some(at), "{bad} at {at} of {len}");
                }
            }
        }
    }
}
