//! Splits a source into segments for training and held-out segments.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use nanoscope_corpus::{ActivationBatch, ActivationSource, CorpusError};
use nanoscope_hooks::HookPoint;

use super::run_error::RunError;

/// A view of a source, restricted to some hook points and a range of segments.
pub(crate) struct SourceSlice {
    source: Rc<RefCell<Box<dyn ActivationSource>>>,
    points: Vec<(HookPoint, usize)>,
    /// The index of each point in the source.
    at: Vec<usize>,
    first: u64,
    len: u64,
}

impl fmt::Debug for SourceSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, first, len, .. } = self;
        write!(f, "SourceSlice {{ points: {points:?}, first: {first}, len: {len} }}")
    }
}

/// Returns the widths of `hooks` in `source`, in the order of `hooks`.
///
/// # Errors
/// [`RunError::NoSuchHook`].
pub fn widths(source: &dyn ActivationSource, hooks: &[HookPoint]) -> Result<Vec<usize>, RunError> {
    let points = source.points();
    Ok(places(points, hooks)?.into_iter().map(|at| points[at].1).collect())
}

/// Splits the last `held_out` segments off `source`.
pub(crate) fn split(
    source: Box<dyn ActivationSource>,
    hooks: &[HookPoint],
    held_out: u64,
) -> Result<(SourceSlice, SourceSlice), RunError> {
    let segments = source.len();
    let at = places(source.points(), hooks)?;
    if held_out >= segments {
        return Err(RunError::NothingLeft { segments, held_out });
    }
    let points: Vec<_> = at.iter().map(|&at| source.points()[at]).collect();
    let source = Rc::new(RefCell::new(source));
    let slice = |first, len| SourceSlice {
        source: Rc::clone(&source),
        points: points.clone(),
        at: at.clone(),
        first,
        len,
    };
    let trained = segments - held_out;
    Ok((slice(0, trained), slice(trained, held_out)))
}

fn places(points: &[(HookPoint, usize)], hooks: &[HookPoint]) -> Result<Vec<usize>, RunError> {
    let place = |hook: &HookPoint| {
        points.iter().position(|(point, _)| point == hook).ok_or_else(|| RunError::NoSuchHook {
            hook: *hook,
            has: points.iter().map(|(point, _)| point.to_string()).collect(),
        })
    };
    hooks.iter().map(place).collect()
}

impl ActivationSource for SourceSlice {
    fn points(&self) -> &[(HookPoint, usize)] {
        &self.points
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn rows(&self, index: u64) -> usize {
        assert!(index < self.len, "segment {index} is out of range");
        self.source.borrow().rows(self.first + index)
    }

    fn segment(&mut self, index: u64) -> Result<ActivationBatch, CorpusError> {
        assert!(index < self.len, "segment {index} is out of range");
        let mut rows = self.source.borrow_mut().segment(self.first + index)?;
        let take = |&at: &usize| std::mem::take(&mut rows.at[at]);
        Ok(ActivationBatch { len: rows.len, at: self.at.iter().map(take).collect() })
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_corpus::InMemoryActivations;

    use super::*;

    fn source() -> Box<dyn ActivationSource> {
        let numbers = (0..10).map(|n| n as f32).collect();
        Box::new(InMemoryActivations::new(HookPoint::ResidPost(0), 2, numbers, 2))
    }

    #[test]
    fn the_last_segments_are_in_the_one_part_and_not_in_the_other() {
        let (mut train, mut held_out) = split(source(), &[HookPoint::ResidPost(0)], 1).unwrap();

        assert_eq!((train.len(), held_out.len(), held_out.rows(0)), (2, 1, 1));
        assert_eq!(train.segment(1).unwrap().at[0], [4.0, 5.0, 6.0, 7.0]);
        assert_eq!(held_out.segment(0).unwrap().at[0], [8.0, 9.0]);
    }

    #[test]
    fn a_source_of_too_few_segments_or_of_other_points_is_an_error() {
        let error = split(source(), &[HookPoint::ResidPost(0)], 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the source has 3 segments; holding out 3 leaves none to train on"
        );

        let error = split(source(), &[HookPoint::ResidPost(1)], 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the source has no blocks.1.hook_resid_post; it has blocks.0.hook_resid_post"
        );
    }
}
