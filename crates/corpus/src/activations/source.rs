//! Activations in segments, and those that are in memory.

use nanoscope_hooks::HookPoint;

use crate::CorpusError;

/// Activations of the same tokens at several hook points.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationBatch {
    /// How many tokens.
    pub len: usize,
    /// For each hook point, in the order of [`ActivationSource::points`], `[len, width]` row-major.
    pub at: Vec<Vec<f32>>,
}

/// Activations in numbered stretches, each of which can be had again, bit for bit.
///
/// A training that mixes rows of neighbouring segments needs nothing else to go on where it was
/// killed: it asks for the two segments it was in. What is behind it may be files or a model.
pub trait ActivationSource {
    /// The hook points and how many numbers an activation has there.
    fn points(&self) -> &[(HookPoint, usize)];

    /// How many segments there are; at least one.
    fn len(&self) -> u64;

    /// How many rows segment `index` has. Cheap: nothing is computed or read for it.
    ///
    /// # Panics
    /// If there is no such segment.
    fn rows(&self, index: u64) -> usize;

    /// The activations of segment `index`.
    ///
    /// # Errors
    /// [`CorpusError`] if they cannot be read or computed.
    ///
    /// # Panics
    /// If there is no such segment.
    fn segment(&mut self, index: u64) -> Result<ActivationBatch, CorpusError>;

    /// Whether there are none; never, of what can be trained on.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Activations at one hook point that are all in memory.
#[derive(Debug, Clone)]
pub struct InMemoryActivations {
    point: [(HookPoint, usize); 1],
    activations: Vec<f32>,
    rows_per_segment: usize,
}

impl InMemoryActivations {
    /// `activations` at `point`, cut into segments of `rows_per_segment`, the last one shorter.
    ///
    /// # Shapes
    /// - `activations`: `[rows, width]` row-major
    ///
    /// # Panics
    /// If there is no row, or the last is not whole, or segments are to have no rows.
    pub fn new(
        point: HookPoint,
        width: usize,
        activations: Vec<f32>,
        rows_per_segment: usize,
    ) -> Self {
        assert!(rows_per_segment > 0 && width > 0, "segments of something");
        assert!(
            !activations.is_empty() && activations.len().is_multiple_of(width),
            "{} numbers are not rows of {width}",
            activations.len()
        );
        Self { point: [(point, width)], activations, rows_per_segment }
    }

    fn chunk(&self, index: u64) -> &[f32] {
        let (_, width) = self.point[0];
        let index = usize::try_from(index).expect("no more segments than numbers in memory");
        self.activations
            .chunks(self.rows_per_segment * width)
            .nth(index)
            .unwrap_or_else(|| panic!("there is no segment {index}"))
    }
}

impl ActivationSource for InMemoryActivations {
    fn points(&self) -> &[(HookPoint, usize)] {
        &self.point
    }

    fn len(&self) -> u64 {
        let (_, width) = self.point[0];
        self.activations.len().div_ceil(self.rows_per_segment * width) as u64
    }

    fn rows(&self, index: u64) -> usize {
        self.chunk(index).len() / self.point[0].1
    }

    fn segment(&mut self, index: u64) -> Result<ActivationBatch, CorpusError> {
        let chunk = self.chunk(index).to_vec();
        Ok(ActivationBatch { len: chunk.len() / self.point[0].1, at: vec![chunk] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_segment_has_what_is_left() {
        let numbers: Vec<f32> = (0..10).map(|n| n as f32).collect();
        let mut segments = InMemoryActivations::new(HookPoint::ResidPost(0), 2, numbers, 3);

        assert_eq!((segments.len(), segments.rows(0), segments.rows(1)), (2, 3, 2));
        assert_eq!(segments.segment(1).unwrap().at[0], [6.0, 7.0, 8.0, 9.0]);
    }
}
