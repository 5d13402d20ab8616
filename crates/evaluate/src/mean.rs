/// A running mean.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    pub(crate) sum: f64,
    pub(crate) count: u64,
}

impl Mean {
    pub(crate) fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    /// The mean; NaN if there are no values.
    pub(crate) fn get(self) -> f64 {
        self.sum / self.count as f64
    }
}
