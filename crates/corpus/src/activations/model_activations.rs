//! Activations computed on demand.

use std::ops::{ControlFlow, Range};

use nanoscope_hooks::{ActivationRecorder, HookPoint};
use nanoscope_transformer::{Gpt, TokenBatch};

use super::origins::Origins;
use super::source::{ActivationBatch, ActivationSource, SourceText};
use crate::CorpusError;
use crate::tokens::{Context, SpecialTokens, TokenizedCorpus};

/// A model's activations on a corpus, computed one segment at a time.
///
/// A segment is a fixed number of contexts, and the same contexts always go through the model
/// together. On one kind of device a segment is therefore bit for bit the same whenever and
/// wherever it is computed. One pass, which ends at the deepest hook point, yields the activations
/// at all of them. Heads are concatenated.
#[derive(Debug)]
pub struct ModelActivations {
    gpt: Gpt,
    tokens: TokenizedCorpus,
    points: Vec<(HookPoint, usize)>,
    deepest: HookPoint,
    special: SpecialTokens,
    contexts_per_segment: u64,
    /// Rows per segment.
    rows: Vec<usize>,
}

/// Maximum tokens in a forward pass, unless a single context is longer.
const TOKENS_PER_PASS: usize = 2048;

impl ModelActivations {
    /// Creates a source of the activations of `gpt` at `points` on `tokens`, with
    /// `contexts_per_segment` contexts in each segment.
    ///
    /// # Errors
    /// [`CorpusError::NoPoint`], [`CorpusError::NoSuchHook`], [`CorpusError::NoWidth`],
    /// [`CorpusError::HookTwice`]; [`CorpusError::NoRows`] if every token is skipped.
    ///
    /// # Panics
    /// If `contexts_per_segment` is 0.
    pub fn new(
        gpt: Gpt,
        tokens: TokenizedCorpus,
        points: &[HookPoint],
        special: SpecialTokens,
        contexts_per_segment: u64,
    ) -> Result<Self, CorpusError> {
        assert!(contexts_per_segment > 0, "a segment must have at least one context");
        let points = hook_widths(&gpt, points)?;
        let deepest = points.iter().map(|&(point, _)| point).max().ok_or(CorpusError::NoPoint)?;
        let mut rows = Vec::new();
        for context in 0..tokens.contexts() {
            if context.is_multiple_of(contexts_per_segment) {
                rows.push(0);
            }
            let specials =
                if special == SpecialTokens::Skip { tokens.specials(context)? } else { 0 };
            let last = rows.last_mut().expect("the first context begins a segment");
            *last += tokens.context_len() - specials as usize;
        }
        if rows.iter().all(|&rows| rows == 0) {
            return Err(CorpusError::NoRows);
        }
        Ok(Self { gpt, tokens, points, deepest, special, contexts_per_segment, rows })
    }

    /// The tokenized corpus.
    pub fn tokens(&self) -> &TokenizedCorpus {
        &self.tokens
    }

    /// The model.
    pub fn gpt(&self) -> &Gpt {
        &self.gpt
    }

    /// Treatment of special tokens.
    pub fn special(&self) -> SpecialTokens {
        self.special
    }

    /// Contexts per segment; the last segment may have fewer.
    pub fn contexts_per_segment(&self) -> u64 {
        self.contexts_per_segment
    }

    /// The range of contexts in segment `index`.
    pub fn contexts(&self, index: u64) -> Range<u64> {
        let from = index * self.contexts_per_segment;
        from..(from + self.contexts_per_segment).min(self.tokens.contexts())
    }

    /// Returns the token, document, context and position of each row of segment `index`.
    ///
    /// # Errors
    /// [`CorpusError::Io`].
    ///
    /// # Panics
    /// If `index` is out of range.
    pub fn origins(&self, index: u64) -> Result<Origins, CorpusError> {
        let mut origins = Origins::default();
        for context in self.contexts(index) {
            let context = self.tokens.context(context)?;
            origins.push(&context, &self.positions(&context));
        }
        Ok(origins)
    }

    /// Computes segment `index` like [`segment`](ActivationSource::segment), and calls `progress`
    /// after each forward pass with the number of tokens in it. `progress` may cancel.
    ///
    /// # Errors
    /// As [`segment`](ActivationSource::segment), and [`CorpusError::Interrupted`].
    ///
    /// # Panics
    /// If `index` is out of range.
    pub fn segment_with(
        &self,
        index: u64,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ActivationBatch, CorpusError> {
        let len = self.rows(index);
        let at = self.points.iter().map(|&(_, width)| Vec::with_capacity(len * width));
        let mut rows = ActivationBatch { len, at: at.collect() };
        let per_pass = (TOKENS_PER_PASS / self.tokens.context_len()).max(1);
        let contexts: Vec<u64> = self.contexts(index).collect();
        for chunk in contexts.chunks(per_pass) {
            let chunk: Vec<Context> =
                chunk.iter().map(|&index| self.tokens.context(index)).collect::<Result<_, _>>()?;
            self.pass(&chunk, &mut rows)?;
            let tokens = chunk.len() * self.tokens.context_len();
            if progress(tokens as u64).is_break() {
                return Err(CorpusError::Interrupted);
            }
        }
        Ok(rows)
    }

    /// Runs `contexts` and appends their rows.
    fn pass(&self, contexts: &[Context], rows: &mut ActivationBatch) -> Result<(), CorpusError> {
        let ids: Vec<Vec<u32>> = contexts.iter().map(|context| context.tokens.clone()).collect();
        let batch = TokenBatch::new(&ids).expect("contexts are equally long");
        let mut recorder = ActivationRecorder::new(self.points.iter().map(|&(point, _)| point));
        self.gpt.forward_to(&batch, self.deepest, &mut recorder)?;
        let recording = recorder.finish().expect("the pass goes as far as the deepest point");
        for (&(point, width), at) in self.points.iter().zip(&mut rows.at) {
            let values = recording.get(point).expect("the point was recorded").to_vec();
            for (row, context) in contexts.iter().enumerate() {
                for position in self.positions(context) {
                    let from = (row * context.tokens.len() + position) * width;
                    at.extend_from_slice(&values[from..from + width]);
                }
            }
        }
        Ok(())
    }

    fn positions(&self, context: &Context) -> Vec<usize> {
        self.special.positions_where(&context.tokens, |id| self.tokens.is_special(id))
    }
}

/// Number of contexts of `context_len` tokens whose float32 activations, `width` values per token,
/// fit in `bytes`; at least one.
pub fn contexts_within(bytes: u64, context_len: usize, width: usize) -> u64 {
    let context = (context_len * width * size_of::<f32>()) as u64;
    (bytes / context.max(1)).max(1)
}

/// Returns each hook point with the width of its activations.
///
/// # Errors
/// [`CorpusError::NoSuchHook`], [`CorpusError::NoWidth`], [`CorpusError::HookTwice`].
pub fn hook_widths(
    gpt: &Gpt,
    points: &[HookPoint],
) -> Result<Vec<(HookPoint, usize)>, CorpusError> {
    let config = gpt.config();
    let n_layer = config.shape.n_layer;
    let mut found: Vec<(HookPoint, usize)> = Vec::new();
    for &point in points {
        if point.layer().is_some_and(|layer| layer >= n_layer) {
            return Err(CorpusError::NoSuchHook { point, n_layer });
        }
        if let Some(reason) = config.missing(point) {
            return Err(CorpusError::AbsentHook { point, reason });
        }
        if found.iter().any(|&(other, _)| other == point) {
            return Err(CorpusError::HookTwice { point });
        }
        let width = config.hook_shape(point).width().ok_or(CorpusError::NoWidth { point })?;
        found.push((point, width));
    }
    Ok(found)
}

impl ActivationSource for ModelActivations {
    fn points(&self) -> &[(HookPoint, usize)] {
        &self.points
    }

    fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    fn rows(&self, index: u64) -> usize {
        self.rows[usize::try_from(index).expect("segments are counted in memory")]
    }

    fn segment(&mut self, index: u64) -> Result<ActivationBatch, CorpusError> {
        self.segment_with(index, &mut |_| ControlFlow::Continue(()))
    }
    fn text(&self) -> Option<SourceText> {
        Some(SourceText {
            tokens_sha256: self.tokens.sha256().to_owned(),
            tokens: self.tokens.len(),
            context_length: self.tokens.context_len(),
        })
    }

    fn text_contexts(&self, index: u64) -> Option<Range<u64>> {
        Some(self.contexts(index))
    }
}
