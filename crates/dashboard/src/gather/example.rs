//! Examples of a feature, and how they are sampled.
//!
//! Each token has a random number that is derived from the seed and its position, and the smallest
//! numbers are kept. The sample does not depend on the order in which the tokens are read.

use nanoscope_corpus::Context;

/// A token on which a feature fires, with its neighbours in the document.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The index of the context in the corpus.
    pub context: u64,
    /// The token's position in the context.
    pub position: u32,
    /// The activation at the token.
    pub value: f32,
    /// The token and its neighbours.
    pub tokens: Box<[u32]>,
    /// The index of the token in `tokens`.
    pub peak: u32,
    /// Indices into `tokens` with a nonzero activation in ascending order, and the activations.
    pub values: Box<[(u32, f32)]>,
}

/// The positions at which a feature fires in a context in ascending order, with the activations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FeatureFirings<'a> {
    pub(crate) context: &'a Context,
    pub(crate) at: &'a [(u32, f32)],
}

impl Example {
    /// Creates the example at `position`, with up to `window` tokens of the same document on either side.
    pub(crate) fn new(
        firing: FeatureFirings<'_>,
        (position, value): (u32, f32),
        window: usize,
    ) -> Self {
        let FeatureFirings { context, at } = firing;
        let here = position as usize;
        let same = |&other: &usize| context.documents[other] == context.documents[here];
        let before = (here.saturating_sub(window)..here).rev().take_while(same).count();
        let end = context.tokens.len().min(here + window + 1);
        let after = (here + 1..end).take_while(same).count();
        let (from, to) = (here - before, here + 1 + after);
        let first = at.partition_point(|&(position, _)| (position as usize) < from);
        let last = at.partition_point(|&(position, _)| (position as usize) < to);
        Self {
            context: context.index,
            position,
            value,
            tokens: context.tokens[from..to].into(),
            peak: before as u32,
            values: at[first..last].iter().map(|&(at, v)| (at - from as u32, v)).collect(),
        }
    }
}

/// The top activations of a feature, the largest first.
///
/// Of two examples whose windows contain each other's token, and of two with the same tokens, only the
/// stronger is kept, so that no sentence is shown twice.
#[derive(Debug, Clone, Default)]
pub(crate) struct StrongestExamples {
    kept: Vec<Example>,
}

impl StrongestExamples {
    /// Adds the examples of a context that are among the strongest `max`. `counts` selects the positions that
    /// can be examples.
    pub(crate) fn offer(
        &mut self,
        firing: FeatureFirings<'_>,
        counts: impl Fn(u32) -> bool,
        window: usize,
        max: usize,
    ) {
        let mut peaks: Vec<(u32, f32)> =
            firing.at.iter().copied().filter(|&(position, _)| counts(position)).collect();
        peaks.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut taken: Vec<u32> = Vec::new();
        for (position, value) in peaks {
            let full = self.kept.len() >= max;
            if max == 0 || full && self.kept.last().is_some_and(|last| value <= last.value) {
                return;
            }
            if taken.iter().any(|other| other.abs_diff(position) as usize <= window) {
                continue;
            }
            taken.push(position);
            self.insert(Example::new(firing, (position, value), window), max);
        }
    }

    fn insert(&mut self, example: Example, max: usize) {
        let place = self.kept.partition_point(|kept| kept.value >= example.value);
        let same = |kept: &Example| kept.tokens == example.tokens && kept.peak == example.peak;
        match self.kept.iter().position(same) {
            Some(other) if other < place => return,
            Some(other) => drop(self.kept.remove(other)),
            None => {}
        }
        self.kept.insert(place, example);
        self.kept.truncate(max);
    }

    pub(crate) fn into_examples(self) -> Vec<Example> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn context(index: u64, tokens: &[u32], documents: &[u64]) -> Context {
        Context { index, tokens: tokens.to_vec(), documents: documents.to_vec() }
    }

    fn strongest(contexts: &[(Context, Vec<(u32, f32)>)], max: usize) -> Vec<(u64, u32)> {
        let mut strongest = StrongestExamples::default();
        for (context, at) in contexts {
            strongest.offer(FeatureFirings { context, at }, |_| true, 2, max);
        }
        strongest.into_examples().iter().map(|e| (e.context, e.position)).collect()
    }

    #[test]
    fn a_window_ends_where_its_document_does() {
        let context = context(3, &[9, 10, 11, 12, 13, 14], &[0, 0, 1, 1, 1, 2]);
        let at = [(1, 1.0), (2, 2.0), (4, 3.0), (5, 4.0)];

        let example = Example::new(FeatureFirings { context: &context, at: &at }, (4, 3.0), 8);

        assert_eq!(&*example.tokens, [11, 12, 13]);
        assert_eq!((example.context, example.position, example.peak), (3, 4, 2));
        assert_eq!(&*example.values, [(0, 2.0), (2, 3.0)]);
    }

    #[test]
    fn the_strongest_come_first_and_show_different_places() {
        let tokens: Vec<u32> = (0..9).collect();
        let at = vec![(0, 1.0), (3, 5.0), (4, 6.0), (8, 2.0)];
        let one = (context(0, &tokens, &[0; 9]), at);
        // 3 is in the window of 4.
        assert_eq!(strongest(from_ref(&one), 9), [(0, 4), (0, 8), (0, 0)]);
        assert_eq!(strongest(from_ref(&one), 2), [(0, 4), (0, 8)]);
        assert_eq!(strongest(from_ref(&one), 0), []);
    }

    #[test]
    fn of_two_examples_with_the_same_tokens_the_stronger_is_kept() {
        let with = |index, value| (context(index, &[1, 2], &[0, 0]), vec![(1, value)]);

        assert_eq!(strongest(&[with(0, 1.0), with(1, 2.0)], 5), [(1, 1)]);
        assert_eq!(strongest(&[with(0, 2.0), with(1, 2.0)], 5), [(0, 1)]);
    }
}
