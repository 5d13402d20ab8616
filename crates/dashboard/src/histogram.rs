/// Counts of values in [`Histogram::BARS`] bars of equal width.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The left edge of the first bar.
    pub low: f32,
    /// The right edge of the last bar.
    pub high: f32,
    /// The number of values in each bar.
    pub counts: Vec<u32>,
}

impl Histogram {
    /// The number of bars.
    pub const BARS: usize = 40;

    /// An empty histogram from `low` to `high`.
    pub(crate) fn new(low: f32, high: f32) -> Self {
        Self { low, high, counts: vec![0; Self::BARS] }
    }

    /// The histogram of all finite `values`, from the smallest to the largest.
    pub(crate) fn from_values(values: &[f32]) -> Self {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (low, high) = finite()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), value| (a.min(value), b.max(value)));
        let mut histogram = Self::new(low, high);
        for value in finite() {
            let share = f64::from(value - low) / f64::from(high - low);
            let bar = ((share * Self::BARS as f64) as usize).min(Self::BARS - 1);
            histogram.counts[bar] += 1;
        }
        histogram
    }

    /// Counts `value`, which may lie beyond `high` by a rounding error.
    pub(crate) fn add(&mut self, value: f32) {
        self.counts[interval(self.low, self.high, value, Self::BARS)] += 1;
    }

    /// The centers of the bars.
    pub(crate) fn centers(&self) -> impl Iterator<Item = f32> {
        let edge = |n| interval_start(self.low, self.high, n, Self::BARS);
        (0..Self::BARS).map(move |n| f32::midpoint(edge(n), edge(n + 1)))
    }
}

/// The lower edge of the `n`-th of `intervals` equal intervals of `low..=high`.
pub(crate) fn interval_start(low: f32, high: f32, n: usize, intervals: usize) -> f32 {
    let width = f64::from(high) - f64::from(low);
    if n == intervals {
        high
    } else {
        (f64::from(low) + width * n as f64 / intervals as f64) as f32
    }
}

/// The index of the interval that contains `value`. The upper edge belongs to an interval, the lower
/// edge does not; the first and the last interval also take everything outside `low..=high`.
pub(crate) fn interval(low: f32, high: f32, value: f32, intervals: usize) -> usize {
    (1..intervals).take_while(|&n| value > interval_start(low, high, n, intervals)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_interval_whose_edges_hold_it() {
        assert_eq!(interval(0.0, 10.0, 2.0, 5), 0);
        assert_eq!(interval(0.0, 10.0, 2.1, 5), 1);
        assert_eq!(interval(0.0, 10.0, 10.0, 5), 4);
        // A second run on another device may round upwards.
        assert_eq!(interval(0.0, 10.0, 10.001, 5), 4);
        assert_eq!(interval(-4.0, 6.0, -4.0, 5), 0);
        assert_eq!(interval(-4.0, 6.0, 0.5, 5), 2);
        assert_eq!(interval(0.0, 0.0, 0.0, 5), 0);
        for n in 0..=40 {
            let value = interval_start(0.0, 3.3, n, 40);
            let found = interval(0.0, 3.3, value, 40);
            assert!(
                interval_start(0.0, 3.3, found, 40) <= value
                    && value <= interval_start(0.0, 3.3, found + 1, 40)
            );
        }
    }

    #[test]
    fn bars_hold_every_finite_value() {
        let bars = Histogram::from_values(&[-1.0, f32::NAN, 0.0, 1.0]);

        assert_eq!((bars.low, bars.high), (-1.0, 1.0));
        assert_eq!((bars.counts[0], bars.counts[20], bars.counts[39]), (1, 1, 1));
        assert_eq!(Histogram::from_values(&[2.0, 2.0]).counts[0], 2);
    }
}
