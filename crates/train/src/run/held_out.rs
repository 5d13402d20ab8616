//! Divides a source into segments for training and held-out ones, spread over the whole source.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use nanoscope_corpus::{ActivationBatch, ActivationSource, CorpusError, SourceText};
use nanoscope_hooks::HookPoint;
use serde::{Deserialize, Serialize};

use super::config::HoldOut;
use super::run_error::RunError;

/// A view of some rows of a source, at some of its hook points.
pub(crate) struct SourceView {
    shared: Rc<RefCell<Shared>>,
    points: Vec<(HookPoint, usize)>,
    /// The index of each point in the source.
    at: Vec<usize>,
    segments: Vec<Vec<Piece>>,
    /// The segments as they were read, if they are few enough to be kept.
    kept: Option<Vec<Option<ActivationBatch>>>,
}

/// A source divided in two.
#[derive(Debug)]
pub(crate) struct Division {
    pub(crate) trained: SourceView,
    pub(crate) held_out: SourceView,
    /// The held-out text, if the source knows its text.
    pub(crate) text: Option<HeldOutText>,
}

/// The contexts of a text that a training run held out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOutText {
    /// The tokens and their division into contexts.
    pub text: SourceText,
    /// Ranges of contexts, each as its first and the one after its last, ascending.
    pub contexts: Vec<[u64; 2]>,
}

impl HeldOutText {
    /// The held-out contexts, ascending.
    pub fn contexts(&self) -> impl Iterator<Item = u64> {
        self.contexts.iter().flat_map(|&[first, end]| first..end)
    }
}

/// Maximum size in bytes of a training segment made of several segments of the source, for all hook
/// points together, and of the default held-out data.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Segments of the source below which each is divided further.
const MIN_SEGMENTS: u64 = 20;
/// Pieces that a source of few segments is divided into.
const MIN_PIECES: u64 = 160;
/// Minimum training segments of a source that has at least as many: a training batch mixes two of them.
const MIN_TRAINED: usize = 19;
/// The default held-out data is one in so many segments, if that is not too much; and at least so many
/// segments, if that is at most one in ten.
const ONE_IN: u64 = 20;
const MIN_HELD_OUT: u64 = 8;

/// Returns the widths of `hooks` in `source`, in the order of `hooks`.
///
/// # Errors
/// [`RunError::NoSuchHook`].
pub fn widths(source: &dyn ActivationSource, hooks: &[HookPoint]) -> Result<Vec<usize>, RunError> {
    let points = source.points();
    Ok(places(points, hooks)?.into_iter().map(|at| points[at].1).collect())
}

/// Divides `source`. What is held out depends only on the sizes of its segments and on `hold_out`.
///
/// # Errors
/// [`RunError::NoSuchHook`], [`RunError::NothingLeft`].
pub(crate) fn divide(
    source: Box<dyn ActivationSource>,
    hooks: &[HookPoint],
    hold_out: Option<HoldOut>,
) -> Result<Division, RunError> {
    let at = places(source.points(), hooks)?;
    let points: Vec<_> = at.iter().map(|&at| source.points()[at]).collect();
    let row_bytes = points.iter().map(|&(_, width)| (width * size_of::<f32>()) as u64).sum::<u64>();
    let pieces = pieces(source.as_ref());
    let bytes = pieces.iter().map(|piece| piece.rows.len() as u64).sum::<u64>() * row_bytes;
    let segments = pieces.len() as u64;
    let piece_bytes = (bytes / segments.max(1)).max(1);
    let held_out = match hold_out {
        Some(hold_out) => hold_out.count(segments),
        None => default_count(segments, piece_bytes),
    };
    if held_out >= segments {
        return Err(RunError::NothingLeft { segments, held_out });
    }
    let (mut trained, mut chosen) = (Vec::new(), Vec::new());
    for (index, piece) in (0..).zip(pieces) {
        let part = if is_held_out(index, segments, held_out) { &mut chosen } else { &mut trained };
        part.push(piece);
    }
    let text = held_out_text(source.as_ref(), &chosen);
    let together = usize::try_from(SEGMENT_BYTES / piece_bytes).unwrap_or(usize::MAX);
    let together = together.min(trained.len() / MIN_TRAINED).max(1);
    if hold_out.is_none() {
        shorten(&mut chosen, row_bytes);
    }
    let keep = chosen.iter().map(|piece| piece.rows.len() as u64).sum::<u64>() * row_bytes
        <= SEGMENT_BYTES;
    let shared = Rc::new(RefCell::new(Shared { source, last: None }));
    let view = |segments: Vec<Vec<Piece>>, keep: bool| SourceView {
        shared: Rc::clone(&shared),
        points: points.clone(),
        at: at.clone(),
        kept: keep.then(|| vec![None; segments.len()]),
        segments,
    };
    let groups = trained.chunks(together).map(<[Piece]>::to_vec).collect();
    let held_out = view(chosen.into_iter().map(|piece| vec![piece]).collect(), keep);
    Ok(Division { trained: view(groups, false), held_out, text })
}

/// The default number of held-out segments, of `segments` that have `bytes` each.
fn default_count(segments: u64, bytes: u64) -> u64 {
    let spread = MIN_HELD_OUT.min(segments / 10);
    (segments / ONE_IN).min(SEGMENT_BYTES / bytes).max(spread).max(1)
}

/// Takes rows off the end of held-out pieces until their size is that of a training segment: more would
/// make evaluations slow. What is taken off is not trained on either.
fn shorten(pieces: &mut [Piece], row_bytes: u64) {
    let rows = pieces.iter().map(|piece| piece.rows.len() as u64).sum::<u64>();
    let most = (SEGMENT_BYTES / row_bytes.max(1)).max(1);
    for piece in pieces.iter_mut().filter(|_| rows > most) {
        let len = piece.rows.len() as u64 * most / rows;
        piece.rows.end = piece.rows.start
            + usize::try_from(len.max(1)).unwrap_or(usize::MAX).min(piece.rows.len());
        piece.whole = false;
    }
}

/// Returns whether segment `index` is one of `held_out`, which are spread evenly over `segments`.
fn is_held_out(index: u64, segments: u64, held_out: u64) -> bool {
    // Segment ⌊(2j + 1) · segments / (2 · held_out)⌋ is the j-th of them.
    let (index, segments, held_out) =
        (u128::from(index), u128::from(segments), u128::from(held_out));
    let below = |end: u128| (2 * held_out * end).saturating_sub(segments).div_ceil(2 * segments);
    below(index + 1) > below(index)
}

/// The source's segments in pieces: whole segments, or equal parts of few.
fn pieces(source: &dyn ActivationSource) -> Vec<Piece> {
    let segments = source.len();
    let parts = if segments < MIN_SEGMENTS { MIN_PIECES.div_ceil(segments.max(1)) } else { 1 };
    let mut pieces = Vec::new();
    for segment in 0..segments {
        let rows = source.rows(segment);
        let len = rows.div_ceil(parts as usize).max(1);
        let starts = (0..rows.max(1)).step_by(len);
        pieces.extend(starts.map(|from| Piece {
            segment,
            rows: from..(from + len).min(rows),
            whole: len >= rows,
        }));
    }
    pieces
}

/// The contexts of held-out pieces, if each is a whole segment of known contexts.
fn held_out_text(source: &dyn ActivationSource, pieces: &[Piece]) -> Option<HeldOutText> {
    let text = source.text()?;
    let contexts = |piece: &Piece| {
        let range = source.text_contexts(piece.segment).filter(|_| piece.whole)?;
        Some([range.start, range.end])
    };
    Some(HeldOutText { text, contexts: pieces.iter().map(contexts).collect::<Option<_>>()? })
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

/// Consecutive rows of a segment of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    segment: u64,
    rows: Range<usize>,
    /// True if these are all rows of the segment.
    whole: bool,
}

/// A source, and the last segment of it of which only a part was needed.
struct Shared {
    source: Box<dyn ActivationSource>,
    last: Option<(u64, ActivationBatch)>,
}

impl Shared {
    /// Reads the rows of a piece at all hook points of the source.
    fn read(&mut self, piece: &Piece) -> Result<ActivationBatch, CorpusError> {
        if piece.whole {
            return self.source.segment(piece.segment);
        }
        if self.last.as_ref().is_none_or(|(segment, _)| *segment != piece.segment) {
            self.last = None;
            self.last = Some((piece.segment, self.source.segment(piece.segment)?));
        }
        let (_, batch) = self.last.as_ref().expect("it was just read");
        let widths = self.source.points().iter().map(|&(_, width)| width);
        let rows = |(values, width): (&Vec<f32>, usize)| {
            values[piece.rows.start * width..piece.rows.end * width].to_vec()
        };
        Ok(ActivationBatch {
            len: piece.rows.len(),
            at: batch.at.iter().zip(widths).map(rows).collect(),
        })
    }
}

impl SourceView {
    fn read(&mut self, index: usize) -> Result<ActivationBatch, CorpusError> {
        let mut shared = self.shared.borrow_mut();
        let mut all = ActivationBatch { len: 0, at: vec![Vec::new(); self.at.len()] };
        for piece in &self.segments[index] {
            let mut rows = shared.read(piece)?;
            all.len += rows.len;
            for (into, &at) in all.at.iter_mut().zip(&self.at) {
                let values = std::mem::take(&mut rows.at[at]);
                if into.is_empty() { *into = values } else { into.extend(values) }
            }
        }
        Ok(all)
    }
}

impl ActivationSource for SourceView {
    fn points(&self) -> &[(HookPoint, usize)] {
        &self.points
    }

    fn len(&self) -> u64 {
        self.segments.len() as u64
    }

    fn rows(&self, index: u64) -> usize {
        self.segments[place(index)].iter().map(|piece| piece.rows.len()).sum()
    }

    fn segment(&mut self, index: u64) -> Result<ActivationBatch, CorpusError> {
        let index = place(index);
        if let Some(kept) = self.kept.as_ref().and_then(|kept| kept[index].as_ref()) {
            return Ok(kept.clone());
        }
        let rows = self.read(index)?;
        if let Some(kept) = &mut self.kept {
            kept[index] = Some(rows.clone());
            self.shared.borrow_mut().last = None;
        }
        Ok(rows)
    }
}

fn place(index: u64) -> usize {
    usize::try_from(index).expect("segments are counted in memory")
}

impl fmt::Debug for SourceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, segments, .. } = self;
        write!(f, "SourceView {{ points: {points:?}, segments: {} }}", segments.len())
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_corpus::InMemoryActivations;
    use proptest::prelude::*;

    use super::*;

    const HOOK: HookPoint = HookPoint::ResidPost(0);

    /// A source in which the values of row `n` are `2n` and `2n + 1`.
    fn source(rows: usize, per_segment: usize) -> Box<dyn ActivationSource> {
        let numbers = (0..rows * 2).map(|n| n as f32).collect();
        Box::new(InMemoryActivations::new(HOOK, 2, numbers, per_segment))
    }

    /// The rows of a view by their numbers.
    fn rows(view: &mut SourceView) -> Vec<usize> {
        let mut rows = Vec::new();
        for segment in 0..view.len() {
            let batch = view.segment(segment).unwrap();
            assert_eq!(batch.len, view.rows(segment));
            rows.extend(batch.at[0].chunks(2).map(|row| row[0] as usize / 2));
        }
        rows
    }

    #[test]
    fn what_is_held_out_is_spread_over_the_whole_source() {
        let mut division = divide(source(4000, 25), &[HOOK], None).unwrap();

        let held_out = rows(&mut division.held_out);
        assert_eq!(held_out.len(), 200);
        for part in 0..8 {
            let count = held_out.iter().filter(|&&row| row / 500 == part).count();
            assert_eq!(count, 25, "part {part}");
        }
        // Eight of them at a time are a training segment.
        assert_eq!((division.trained.len(), division.trained.rows(0)), (19, 200));
    }

    #[test]
    fn a_store_of_one_shard_is_divided_too() {
        let mut division = divide(source(1000, 1000), &[HOOK], None).unwrap();

        let held_out = rows(&mut division.held_out);
        assert_eq!(held_out.len(), 56, "{held_out:?}");
        assert!(held_out[0] < 150 && held_out[55] > 850, "{held_out:?}");
    }

    #[test]
    fn segments_that_are_large_are_held_out_whole_and_evaluated_in_part() {
        assert_eq!(default_count(160, 4 << 20), 8);
        assert_eq!(default_count(16_000, 4 << 20), 16);
        assert_eq!(default_count(200, 128 << 20), 8);
        assert_eq!(default_count(39, 1), 3);
        assert_eq!(default_count(5, 1), 1);
        let piece = |segment| Piece { segment, rows: 0..1 << 20, whole: true };
        let mut pieces = [piece(3), piece(7)];

        // A row of 64 bytes: 2^20 rows are as much as there may be.
        shorten(&mut pieces, 64);

        assert!(pieces.iter().all(|piece| piece.rows == (0..1 << 19) && !piece.whole));
        let before = pieces.clone();
        shorten(&mut pieces, 64);
        assert_eq!(pieces, before);
    }

    #[test]
    fn held_out_rows_are_read_once() {
        let mut division = divide(source(400, 10), &[HOOK], None).unwrap();
        let before = rows(&mut division.held_out);
        division.held_out.shared.borrow_mut().source = source(1, 1);

        assert_eq!(rows(&mut division.held_out), before);
    }

    #[test]
    fn a_source_of_too_few_rows_or_of_other_points_is_an_error() {
        let error = divide(source(1, 1), &[HOOK], None).unwrap_err();
        let says = "the source has 1 segment; holding out 1 leaves none to train on";
        assert_eq!(error.to_string(), says);
        let error = divide(source(3, 1), &[HOOK], Some(HoldOut::Segments(3))).unwrap_err();
        let says = "the source has 3 segments; holding out 3 leaves none to train on";
        assert_eq!(error.to_string(), says);

        let error = divide(source(9, 1), &[HookPoint::ResidPost(1)], None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the source has no blocks.1.hook_resid_post; it has blocks.0.hook_resid_post"
        );
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_part_and_the_chosen_ones_are_as_many_as_asked_for(
            rows_in_all in 2..600_usize, per_segment in 1..70_usize, share in 0.01..0.9_f64,
        ) {
            let hold_out = Some(HoldOut::Share(share));
            let division = divide(source(rows_in_all, per_segment), &[HOOK], hold_out);
            let Ok(mut division) = division else { return Ok(()) };

            let (mut trained, held_out) =
                (rows(&mut division.trained), rows(&mut division.held_out));
            let again = divide(source(rows_in_all, per_segment), &[HOOK], hold_out).unwrap();
            prop_assert_eq!(&rows(&mut { again.held_out }), &held_out);
            prop_assert!(!held_out.is_empty() && !trained.is_empty());
            trained.extend(held_out);
            trained.sort_unstable();
            prop_assert_eq!(trained, (0..rows_in_all).collect::<Vec<_>>());
        }

        #[test]
        fn as_many_segments_are_chosen_as_asked_for(segments in 1..2000_u64, part in 0.0..1.0_f64) {
            let held_out = ((segments as f64 * part) as u64).max(1);
            let chosen: Vec<u64> =
                (0..segments).filter(|&index| is_held_out(index, segments, held_out)).collect();
            prop_assert_eq!(chosen.len() as u64, held_out);
            for pair in chosen.windows(2) {
                prop_assert!((pair[1] - pair[0]).abs_diff(segments / held_out) <= 1);
            }
        }
    }
}
