/// Bars of a histogram.
pub const BARS: usize = 40;

/// A histogram of [`BARS`] equal bars.
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    /// Where the first begins.
    pub low: f32,
    /// Where the last ends.
    pub high: f32,
    /// How many values are in each.
    pub counts: Vec<u32>,
}

impl Bars {
    pub(crate) fn from_values(values: &[f32]) -> Self {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (low, high) = finite()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), value| (a.min(value), b.max(value)));
        let mut counts = vec![0; BARS];
        for value in finite() {
            let share = f64::from(value - low) / f64::from(high - low);
            counts[((share * BARS as f64) as usize).min(BARS - 1)] += 1;
        }
        Self { low, high, counts }
    }
}

/// Where the `n`-th of `parts` equal parts of `low..=high` begins.
pub(crate) fn edge(low: f32, high: f32, n: usize, parts: usize) -> f32 {
    let width = f64::from(high) - f64::from(low);
    if n == parts { high } else { (f64::from(low) + width * n as f64 / parts as f64) as f32 }
}

/// The part that `value` is in: the one at whose [`edge`] it is not yet over, the lowest of two.
pub(crate) fn part(low: f32, high: f32, value: f32, parts: usize) -> usize {
    (1..parts).take_while(|&n| value > edge(low, high, n, parts)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_part_whose_edges_hold_it() {
        assert_eq!(part(0.0, 10.0, 2.0, 5), 0);
        assert_eq!(part(0.0, 10.0, 2.1, 5), 1);
        assert_eq!(part(0.0, 10.0, 10.0, 5), 4);
        // A second run on another device may round upwards.
        assert_eq!(part(0.0, 10.0, 10.001, 5), 4);
        assert_eq!(part(-4.0, 6.0, -4.0, 5), 0);
        assert_eq!(part(-4.0, 6.0, 0.5, 5), 2);
        assert_eq!(part(0.0, 0.0, 0.0, 5), 0);
        for n in 0..=40 {
            let value = edge(0.0, 3.3, n, 40);
            let found = part(0.0, 3.3, value, 40);
            assert!(edge(0.0, 3.3, found, 40) <= value && value <= edge(0.0, 3.3, found + 1, 40));
        }
    }

    #[test]
    fn bars_hold_every_finite_value() {
        let bars = Bars::from_values(&[-1.0, f32::NAN, 0.0, 1.0]);

        assert_eq!((bars.low, bars.high), (-1.0, 1.0));
        assert_eq!((bars.counts[0], bars.counts[20], bars.counts[39]), (1, 1, 1));
        assert_eq!(Bars::from_values(&[2.0, 2.0]).counts[0], 2);
    }
}
