/// The mean of numbers that come one at a time.
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

    /// NaN of nothing.
    pub(crate) fn get(self) -> f64 {
        self.sum / self.count as f64
    }
}
