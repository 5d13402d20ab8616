//! The trait of activation sources, and the source that is held in memory.

use std::ops::Range;

use nanoscope_hooks::HookPoint;
use serde::{Deserialize, Serialize};

use crate::CorpusError;

/// Activations at the same tokens, at one or several hook points.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationBatch {
    /// Number of rows, one per token.
    pub len: usize,
    /// Activations at each hook point, in the order of [`ActivationSource::points`]; `[len, width]`
    /// row-major.
    pub at: Vec<Vec<f32>>,
}

/// The model and the texts that stored activations are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFrom {
    /// Digest of the model's files, as [`files_sha256`](crate::files_sha256) computes it.
    pub model_sha256: String,
    /// The model's era, such as `E3`.
    pub model_era: String,
    /// Names of the text files, in reading order.
    pub texts: Vec<String>,
    /// Tokens per context.
    pub context_length: usize,
}

/// Activations in numbered segments, each of which can be requested again and is bit for bit the
/// same.
///
/// That is all a training run that mixes the rows of neighbouring segments needs in order to
/// resume: it requests the two segments it was reading. The source may read files or run a model.
pub trait ActivationSource {
    /// The hook points and the width of their activations.
    fn points(&self) -> &[(HookPoint, usize)];

    /// Number of segments; at least one.
    fn len(&self) -> u64;

    /// Number of rows in segment `index`. This is cheap: nothing is computed or read.
    ///
    /// # Panics
    /// If `index` is out of range.
    fn rows(&self, index: u64) -> usize;

    /// Returns the activations of segment `index`.
    ///
    /// # Errors
    /// [`CorpusError`] if they cannot be read or computed.
    ///
    /// # Panics
    /// If `index` is out of range.
    fn segment(&mut self, index: u64) -> Result<ActivationBatch, CorpusError>;

    /// The tokens the activations were computed from; `None` if they are not known.
    fn text(&self) -> Option<SourceText> {
        None
    }

    /// The contexts of [`text`](Self::text) that segment `index` was computed from, all of them and
    /// no other.
    fn text_contexts(&self, index: u64) -> Option<Range<u64>> {
        let _ = index;
        None
    }

    /// The model and the texts that stored activations are from; `None` for other sources.
    fn stored_from(&self) -> Option<StoredFrom> {
        None
    }

    /// Always false: a source has at least one segment.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tokens that activations were computed from. Equal values are the same tokens in the same
/// contexts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceText {
    /// Digest of the tokens, [`TokenizedCorpus::sha256`](crate::TokenizedCorpus::sha256).
    pub tokens_sha256: String,
    /// Number of tokens.
    pub tokens: u64,
    /// Tokens per context.
    pub context_length: usize,
}

/// Activations at one hook point, held in memory.
#[derive(Debug, Clone)]
pub struct InMemoryActivations {
    point: [(HookPoint, usize); 1],
    activations: Vec<f32>,
    rows_per_segment: usize,
}

impl InMemoryActivations {
    /// Divides `activations` at `point` into segments of `rows_per_segment` rows; the last segment
    /// may have fewer.
    ///
    /// # Shapes
    /// - `activations`: `[rows, width]` row-major
    ///
    /// # Panics
    /// If there are no rows, the last row is incomplete, or `width` or `rows_per_segment` is 0.
    pub fn new(
        point: HookPoint,
        width: usize,
        activations: Vec<f32>,
        rows_per_segment: usize,
    ) -> Self {
        assert!(rows_per_segment > 0 && width > 0, "a segment must have rows and columns");
        assert!(
            !activations.is_empty() && activations.len().is_multiple_of(width),
            "{} values do not divide into rows of {width}",
            activations.len()
        );
        Self { point: [(point, width)], activations, rows_per_segment }
    }

    fn chunk(&self, index: u64) -> &[f32] {
        let (_, width) = self.point[0];
        let index = usize::try_from(index).expect("an index of a segment in memory fits in usize");
        self.activations
            .chunks(self.rows_per_segment * width)
            .nth(index)
            .unwrap_or_else(|| panic!("segment {index} is out of range"))
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
