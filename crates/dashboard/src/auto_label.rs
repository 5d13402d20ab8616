use std::collections::BTreeMap;

use nanoscope_runtime::LogitEffect;

use crate::gather::Activity;

/// The number of tokens in each part of a label.
const MAX_FIRES_ON: usize = 3;
const MAX_PROMOTED: usize = 2;
/// The share of the strongest examples that must have a token at their peak, or just before it, for the
/// label to name the token.
const MIN_SHARE_AT_PEAK: f32 = 0.15;
const MIN_SHARE_BEFORE_PEAK: f32 = 0.5;

/// Generates a label from the tokens that a feature fires on most strongly and those that it promotes, such
/// as `fires on " mom", " dad"; promotes " said"`.
///
/// The label helps to recognise a feature; its meaning is left to a person. `fires` is the number of tokens
/// on which the feature fires, and `text` returns a token's text.
pub(crate) fn auto_label(
    fires: u64,
    activity: &Activity,
    effect: Option<&LogitEffect>,
    text: impl Fn(u32) -> String,
) -> String {
    let mut parts = Vec::new();
    if fires == 0 {
        parts.push("never fires here".to_owned());
    } else {
        let at = |peak: usize, tokens: &[u32]| Some(tokens[peak]);
        let before = |peak: usize, tokens: &[u32]| Some(tokens[peak.checked_sub(1)?]);
        let on = frequent(activity, MIN_SHARE_AT_PEAK, at);
        let after = frequent(activity, MIN_SHARE_BEFORE_PEAK, before);
        if !on.is_empty() {
            parts.push(format!("fires on {}", quoted(&on, &text)));
        } else if after.is_empty() {
            parts.push("fires on many tokens".to_owned());
        }
        if on.is_empty() && !after.is_empty() {
            parts.push(format!("fires after {}", quoted(&after, &text)));
        }
    }
    if let Some(effect) = effect {
        let promoted: Vec<u32> =
            effect.promoted.iter().take(MAX_PROMOTED).map(|&(token, _)| token).collect();
        if !promoted.is_empty() {
            parts.push(format!("promotes {}", quoted(&promoted, &text)));
        }
    }
    parts.join("; ")
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

fn quoted(tokens: &[u32], text: impl Fn(u32) -> String) -> String {
    let quoted: Vec<String> = tokens.iter().map(|&token| format!("\"{}\"", text(token))).collect();
    quoted.join(", ")
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

        assert_eq!(
            label(&windows, &[4, 5, 6]),
            "fires on \" t7\", \" t8\"; promotes \" t4\", \" t5\""
        );
    }

    #[test]
    fn a_feature_of_many_tokens_is_named_after_the_token_before() {
        let windows: Vec<[u32; 2]> = (10..20).map(|token| [3, token]).collect();
        let windows: Vec<(&[u32], u32)> = windows.iter().map(|w| (w.as_slice(), 1)).collect();

        assert_eq!(label(&windows, &[]), "fires after \" t3\"");
        let alone: Vec<(&[u32], u32)> = windows.iter().map(|(w, _)| (&w[1..], 0)).collect();
        assert_eq!(label(&alone, &[]), "fires on many tokens");
    }

    #[test]
    fn a_feature_that_never_fires_says_so() {
        assert_eq!(label(&[], &[4]), "never fires here; promotes \" t4\"");
    }

    #[test]
    fn a_feature_that_fires_and_has_no_example_is_not_called_dead() {
        assert_eq!(auto_label(3, &activity(&[]), None, |_| String::new()), "fires on many tokens");
    }
}
