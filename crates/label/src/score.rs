/// The verdicts on contexts, against whether the feature fires in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Detection {
    /// The contexts with the feature that were taken for one.
    pub hits: u32,
    /// The contexts with the feature that were not.
    pub misses: u32,
    /// The contexts without the feature that were taken for one.
    pub false_alarms: u32,
    /// The contexts without the feature that were not.
    pub rejections: u32,
}

impl Detection {
    /// Counts one verdict.
    pub fn add(&mut self, fires: bool, verdict: bool) {
        let count = match (fires, verdict) {
            (true, true) => &mut self.hits,
            (true, false) => &mut self.misses,
            (false, true) => &mut self.false_alarms,
            (false, false) => &mut self.rejections,
        };
        *count += 1;
    }

    /// The balanced accuracy: the mean of the share of contexts with the feature that were found and the
    /// share of those without it that were rejected. From 0 to 1, 0.5 by chance; `None` if there is no
    /// verdict on contexts of one kind.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        let share = |right: u32, wrong: u32| {
            let all = f64::from(right) + f64::from(wrong);
            (all > 0.0).then(|| f64::from(right) / all)
        };
        let found = share(self.hits, self.misses)?;
        let rejected = share(self.rejections, self.false_alarms)?;
        Some(f64::midpoint(found, rejected))
    }

    /// The number of contexts with a verdict.
    pub fn contexts(&self) -> u32 {
        self.hits + self.misses + self.false_alarms + self.rejections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_accuracy_is_the_mean_of_both_rates() {
        for (hits, misses, false_alarms, rejections, expected) in [
            (10, 0, 0, 10, Some(1.0)),
            (0, 10, 10, 0, Some(0.0)),
            // Everything is taken for the feature.
            (10, 0, 10, 0, Some(0.5)),
            // 8 of 10 and 7 of 10.
            (8, 2, 3, 7, Some(0.75)),
            // 3 of 4 and 1 of 2: plain accuracy would be 4 of 6.
            (3, 1, 1, 1, Some(0.625)),
            (1, 0, 0, 1, Some(1.0)),
            (5, 5, 0, 0, None),
            (0, 0, 2, 3, None),
            (0, 0, 0, 0, None),
        ] {
            let detection = Detection { hits, misses, false_alarms, rejections };
            assert_eq!(detection.balanced_accuracy(), expected, "{detection:?}");
        }
    }

    #[test]
    fn verdicts_are_counted_by_kind() {
        let mut detection = Detection::default();
        for (fires, verdict) in [(true, true), (true, true), (true, false), (false, true)] {
            detection.add(fires, verdict);
        }

        assert_eq!(detection, Detection { hits: 2, misses: 1, false_alarms: 1, rejections: 0 });
        assert_eq!(detection.contexts(), 4);
    }
}
