use std::collections::BTreeMap;

use nanoscope_index::{Firing, automatic_name};
use nanoscope_runtime::LogitEffect;

use crate::gather::Activity;

/// The number of tokens on which a feature fires in its label.
const MAX_FIRES_ON: usize = 3;
/// The share of the strongest examples that must have a token at their peak, or just before it, for the
/// label to name the token.
const MIN_SHARE_AT_PEAK: f32 = 0.15;
const MIN_SHARE_BEFORE_PEAK: f32 = 0.5;

/// Generates a feature's label with [`automatic_name`], from the tokens at the peaks of its strongest
/// examples, or before them, and those that it promotes.
///
/// `fires` is the number of tokens on which the feature fires, and `text` returns a token's text.
pub(crate) fn auto_label(
    fires: u64,
    activity: &Activity,
    effect: Option<&LogitEffect>,
    text: impl Fn(u32) -> String,
) -> String {
    let at = |peak: usize, tokens: &[u32]| Some(tokens[peak]);
    let before = |peak: usize, tokens: &[u32]| Some(tokens[peak.checked_sub(1)?]);
    let texts = |tokens: Vec<u32>| tokens.into_iter().map(&text).collect::<Vec<String>>();
    let on = texts(frequent(activity, MIN_SHARE_AT_PEAK, at));
    let after = texts(frequent(activity, MIN_SHARE_BEFORE_PEAK, before));
    let firing = match (fires, on.as_slice(), after.as_slice()) {
        (0, ..) => Firing::Never,
        (_, [], []) => Firing::Anywhere,
        (_, [], after) => Firing::After(after),
        (_, on, _) => Firing::On(on),
    };
    let promoted = effect.map_or(&[][..], |effect| &effect.promoted);
    let promoted: Vec<String> = promoted.iter().map(|&(token, _)| text(token)).collect();
    automatic_name(firing, &promoted)
}

/// Returns the tokens that `pick` selects most often from the strongest examples, if their share is at least
/// `min_share`.
fn frequent(
    activity: &Activity,
    min_share: f32,
    pick: impl Fn(usize, &[u32]) -> Option<u32>,
) -> Vec<u32> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for example in &activity.strongest {
        if let Some(token) = pick(example.peak as usize, &example.tokens) {
            *counts.entry(token).or_default() += 1;
        }
    }
    let min_count = (min_share * activity.strongest.len() as f32).ceil().max(1.0) as usize;
    let mut counts: Vec<(u32, usize)> =
        counts.into_iter().filter(|&(_, n)| n >= min_count).collect();
    // In most vocabularies the token with the lower id is the more frequent one.
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    counts.into_iter().take(MAX_FIRES_ON).map(|(token, _)| token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::Example;
    use crate::histogram::Histogram;

    fn activity(windows: &[(&[u32], u32)]) -> Activity {
        let example = |&(tokens, peak): &(&[u32], u32)| Example {
            context: 0,
            position: peak,
            value: 1.0,
            tokens: tokens.into(),
            peak,
            values: Box::new([(peak, 1.0)]),
        };
        Activity {
            histogram: Histogram { low: 0.0, high: 1.0, counts: Vec::new() },
            strongest: windows.iter().map(example).collect(),
            quantiles: Vec::new(),
        }
    }

    fn label(windows: &[(&[u32], u32)], promoted: &[u32]) -> String {
        let promoted = promoted.iter().map(|&token| (token, 1.0)).collect();
        let effect = LogitEffect { promoted, suppressed: Vec::new() };
        let fires = windows.len() as u64;
        auto_label(fires, &activity(windows), Some(&effect), |token| format!(" t{token}"))
    }

    #[test]
    fn a_label_names_the_tokens_at_the_peaks_and_those_that_are_promoted() {
        let windows: [(&[u32], u32); 4] = [(&[1, 7], 1), (&[2, 7, 3], 1), (&[8], 0), (&[7, 8], 1)];

        assert_eq!(label(&windows, &[4, 5, 6]), "fires on ·t7 ·t8 · promotes ·t4 ·t5");
    }

    #[test]
    fn a_feature_of_many_tokens_is_named_after_the_token_before() {
        let windows: Vec<[u32; 2]> = (10..20).map(|token| [3, token]).collect();
        let windows: Vec<(&[u32], u32)> = windows.iter().map(|w| (w.as_slice(), 1)).collect();

        assert_eq!(label(&windows, &[]), "fires after ·t3");
        let alone: Vec<(&[u32], u32)> = windows.iter().map(|(w, _)| (&w[1..], 0)).collect();
        assert_eq!(label(&alone, &[]), "fires on many tokens");
    }

    #[test]
    fn a_feature_that_never_fires_says_so() {
        assert_eq!(label(&[], &[4]), "never fires here · promotes ·t4");
    }

    #[test]
    fn a_feature_that_fires_and_has_no_example_is_not_called_dead() {
        assert_eq!(auto_label(3, &activity(&[]), None, |_| String::new()), "fires on many tokens");
    }
}
