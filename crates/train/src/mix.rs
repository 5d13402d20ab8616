//! Shuffled batches from segments.

use nanoscope_corpus::{Rows, Segments};

use crate::TrainError;

/// Batches of activations, shuffled across neighbouring segments; after the last segment the first
/// comes again, in another order.
///
/// Batch `n` follows from the segments and the seed alone, so a training goes on at any step.
#[derive(Debug)]
pub struct Mixer<S> {
    segments: S,
}

impl<S: Segments> Mixer<S> {
    /// Batches of `batch` rows, the next one being number `next` (from 0).
    ///
    /// # Errors
    /// [`TrainError`] if all segments together have no row.
    pub fn new(segments: S, batch: usize, seed: u64, next: u64) -> Result<Self, TrainError> {
        let _ = (batch, seed, next);
        Ok(Self { segments })
    }

    /// Some rows from the start of the corpus, for a [`Trainer`](crate::Trainer)'s start.
    ///
    /// # Errors
    /// [`TrainError`] if they cannot be read or computed.
    pub fn first(&mut self) -> Result<Rows, TrainError> {
        Ok(self.segments.segment(0)?)
    }

    /// The next batch, for each hook point `[batch, width]` row-major.
    ///
    /// # Errors
    /// [`TrainError`] if a segment cannot be read or computed.
    pub fn next_batch(&mut self) -> Result<Vec<Vec<f32>>, TrainError> {
        todo!()
    }

    /// The segments.
    pub fn segments(&self) -> &S {
        &self.segments
    }
}
