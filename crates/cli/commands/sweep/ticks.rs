//! The ticks of an axis.

/// The ticks within an axis, at multiples of 1, 2 or 5 times a power of ten.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ticks {
    /// The range of the axis.
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) at: Vec<f64>,
    decimals: usize,
}

impl Ticks {
    /// Creates an axis from `from` to `to`, which are finite, with about `n` ticks. An empty range is widened.
    pub(super) fn new(from: f64, to: f64, n: usize) -> Self {
        let half = 0.5 * from.abs().max(1.0);
        let (from, to) = if from < to { (from, to) } else { (from - half, from + half) };
        let rough = (to - from) / n as f64;
        let power = rough.log10().floor();
        let base = 10.0_f64.powf(power);
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * base);
        let step = step.into_iter().find(|&step| step >= rough).unwrap_or(10.0 * base);
        let first = (from / step).ceil() as i64;
        let last = (to / step).floor() as i64;
        let at = (first..=last).map(|tick| tick as f64 * step).collect();
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        Self { from, to, at, decimals }
    }

    /// A tick as a number, or in percent.
    pub(super) fn label(&self, tick: f64, is_share: bool) -> String {
        // Not "-0".
        let tick = tick + 0.0;
        if is_share {
            format!("{:.*} %", self.decimals.saturating_sub(2), 100.0 * tick)
        } else {
            format!("{tick:.*}", self.decimals)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        let labels = |from, to, is_share| -> Vec<String> {
            let ticks = Ticks::new(from, to, 5);
            ticks.at.iter().map(|&at| ticks.label(at, is_share)).collect()
        };

        assert_eq!(labels(-0.02, 0.42, true), ["0 %", "10 %", "20 %", "30 %", "40 %"]);
        assert_eq!(labels(-1.3, 2.2, false), ["-1", "0", "1", "2"]);
        assert_eq!(labels(0.011, 0.034, false), ["0.015", "0.020", "0.025", "0.030"]);
        assert_eq!(labels(3.0, 3.0, false), ["2", "3", "4"]);
        assert_eq!(labels(1e20, 1e20, false).len(), 5);
        assert_eq!(labels(-250.0, 900.0, false), ["0", "500"]);
    }
}
