use nanoscope_corpus::{Context, CorpusError};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::InterpretableModel;
use nanoscope_transformer::TokenBatch;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use crate::LabelError;

/// The number of windows that are wanted. A feature that fires in 9 of 10 still has 40 without it.
const WANTED: usize = 400;

/// Windows of a text that do not overlap, with the features that fire in each.
#[derive(Debug, Default)]
pub struct Windows {
    windows: Vec<Window>,
}

#[derive(Debug)]
struct Window {
    tokens: Vec<u32>,
    /// In ascending order.
    firing: Vec<u32>,
}

impl Windows {
    /// Runs `model` on some of the contexts of a text, which are evenly distributed over it, and cuts them
    /// into windows of up to `window` tokens on either side of a token in the same document. `read` reads a
    /// context, `contexts` is their number. `progress` is called after each with the numbers of contexts
    /// done and of all.
    ///
    /// # Errors
    /// Those of the text and the model, and of `progress`.
    pub fn gather(
        (model, hook): (&InterpretableModel, HookPoint),
        (read, contexts): (impl Fn(u64) -> Result<Context, CorpusError>, u64),
        window: usize,
        mut progress: impl FnMut(u64, u64) -> Result<(), LabelError>,
    ) -> Result<Self, LabelError> {
        let mut found = Self::default();
        if contexts == 0 {
            return Ok(found);
        }
        let per_context = (read(0)?.tokens.len() / (2 * window + 1)).max(1);
        let wanted = (WANTED.div_ceil(per_context) as u64).min(contexts);
        for at in 0..wanted {
            let index = u128::from(at) * u128::from(contexts) / u128::from(wanted);
            let context = read(index as u64)?;
            let tokens = TokenBatch::new(std::slice::from_ref(&context.tokens))?;
            let features = model.features_at(hook, &tokens)?;
            let (starts, indices, _) = features.csr();
            let is_special =
                |id| model.tokenizer().is_some_and(|tokenizer| tokenizer.is_special(id));
            found.add(&context, window, is_special, |from, to| &indices[starts[from]..starts[to]]);
            progress(at + 1, wanted)?;
        }
        Ok(found)
    }

    /// Adds the windows of a context. `firing` returns the features that fire in a range of its tokens.
    fn add<'f>(
        &mut self,
        context: &Context,
        window: usize,
        is_special: impl Fn(u32) -> bool,
        firing: impl Fn(usize, usize) -> &'f [u32],
    ) {
        let Context { tokens, documents, .. } = context;
        let step = 2 * window + 1;
        for middle in (window.min(tokens.len() / 2)..tokens.len()).step_by(step) {
            if is_special(tokens[middle]) {
                continue;
            }
            let same = |&at: &usize| documents[at] == documents[middle];
            let from = (middle.saturating_sub(window)..middle).rev().take_while(same).last();
            let end = tokens.len().min(middle + window + 1);
            let to = (middle + 1..end).take_while(same).last();
            let (from, to) = (from.unwrap_or(middle), to.unwrap_or(middle) + 1);
            let mut firing = firing(from, to).to_vec();
            firing.sort_unstable();
            firing.dedup();
            self.windows.push(Window { tokens: tokens[from..to].to_vec(), firing });
        }
    }

    /// The tokens of up to `max` random windows in which `feature` does not fire, no two of them equal.
    pub(crate) fn without(&self, feature: u32, max: usize, random: &mut ChaCha8Rng) -> Vec<&[u32]> {
        let is_quiet = |window: &&Window| window.firing.binary_search(&feature).is_err();
        let mut quiet: Vec<&[u32]> =
            self.windows.iter().filter(is_quiet).map(|window| window.tokens.as_slice()).collect();
        quiet.sort_unstable();
        quiet.dedup();
        quiet.shuffle(random);
        quiet.truncate(max);
        quiet
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn windows_stay_in_their_document_and_do_not_overlap() {
        let context = Context {
            index: 0,
            tokens: (0..12).collect(),
            documents: [0; 4].into_iter().chain([1; 8]).collect(),
        };
        let firing: Vec<u32> = (0..12).map(|at| at % 3).collect();
        let mut windows = Windows::default();
        windows.add(&context, 2, |id| id == 7, |from, to| &firing[from..to]);

        let found: Vec<(&[u32], &[u32])> = windows
            .windows
            .iter()
            .map(|window| (window.tokens.as_slice(), window.firing.as_slice()))
            .collect();
        assert_eq!(found, [(&[0, 1, 2, 3][..], &[0, 1, 2][..])]);
        let mut windows = Windows::default();
        windows.add(&context, 2, |_| false, |from, to| &firing[from..to]);
        let tokens: Vec<&[u32]> =
            windows.windows.iter().map(|window| window.tokens.as_slice()).collect();
        assert_eq!(tokens, [&[0, 1, 2, 3][..], &[5, 6, 7, 8, 9]]);
    }

    #[test]
    fn a_window_without_a_feature_is_one_in_which_it_does_not_fire() {
        let window =
            |token, firing: &[u32]| Window { tokens: vec![token], firing: firing.to_vec() };
        let windows = Windows {
            windows: vec![window(0, &[1, 5]), window(1, &[]), window(2, &[5]), window(1, &[7])],
        };
        let mut random = ChaCha8Rng::seed_from_u64(3);

        let mut quiet = windows.without(5, 10, &mut random);
        assert_eq!(quiet, [&[1]]);
        quiet = windows.without(9, 10, &mut random);
        quiet.sort_unstable();
        assert_eq!(quiet, [&[0], &[1], &[2]]);
        assert_eq!(windows.without(9, 2, &mut random).len(), 2);
        assert!(windows.without(9, 0, &mut random).is_empty());
    }
}
