use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use nanoscope_hooks::HookPoint;
use nanoscope_index::{Firing, automatic_name, token_text};
use nanoscope_runtime::{InterpretableModel, LogitEffect, logit_effects};

use crate::{DashboardError, fingerprint};

/// The number of similar features of each other SAE on a page.
const MAX_SIMILAR: usize = 3;
/// The number of promoted tokens in a name.
const MAX_NAME_TOKENS: usize = 2;
/// The number of features whose effects on the logits are computed at a time.
const FEATURES_PER_BATCH: usize = 64;

/// Another SAE of the model, whose decoder rows point into the same space as those of the dashboard's SAE.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherSae {
    /// The hook point of the SAE.
    pub hook: HookPoint,
    /// The [`fingerprint`](crate::fingerprint()) of the SAE.
    pub fingerprint: u64,
    /// The names of the features that the pages mention.
    pub names: BTreeMap<u32, FeatureName>,
}

/// The names of a feature without a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureName {
    /// The label given by a person or by Neuronpedia.
    pub label: Option<String>,
    /// A name generated from the tokens that the feature promotes; `None` if it does not write to the
    /// residual stream.
    pub auto_label: Option<String>,
}

/// Features with the cosines of their decoder rows, the largest first.
type Neighbours = Vec<(u32, f32)>;

/// The SAEs of `model` whose decoder rows can be compared with those of the SAE at `hook`: the others that
/// write to the residual stream, if that one does.
pub(crate) fn comparable(
    model: &InterpretableModel,
    hook: HookPoint,
) -> Result<Vec<OtherSae>, DashboardError> {
    if !writes_to_residual(model, hook)? {
        return Ok(Vec::new());
    }
    let mut others = Vec::new();
    for &other in model.saes().keys().filter(|&&other| other != hook) {
        if writes_to_residual(model, other)? {
            let fingerprint = fingerprint(model, other)?;
            others.push(OtherSae { hook: other, fingerprint, names: BTreeMap::new() });
        }
    }
    Ok(others)
}

fn writes_to_residual(model: &InterpretableModel, hook: HookPoint) -> Result<bool, DashboardError> {
    let directions = model.sae(hook)?.directions(&[0])?;
    Ok(logit_effects(model.gpt(), model.write_point(hook), directions).is_ok())
}

/// Returns the most similar features of each of `others` for each of `features`, with the cosines of the
/// decoder rows, the largest first.
pub(crate) fn similar(
    model: &InterpretableModel,
    hook: HookPoint,
    features: &[usize],
    others: &[OtherSae],
) -> Result<Vec<Vec<Neighbours>>, DashboardError> {
    let directions = model.sae(hook)?.directions(features)?;
    let mut similar = vec![Vec::with_capacity(others.len()); features.len()];
    for other in others {
        let nearest = model.sae(other.hook)?.nearest_to(directions.clone(), MAX_SIMILAR);
        for (similar, nearest) in similar.iter_mut().zip(nearest) {
            similar.push(nearest);
        }
    }
    Ok(similar)
}

/// Names `features` of the SAE at `hook`. `batch_done` is called after every few features and can stop the
/// work.
pub(crate) fn names(
    model: &InterpretableModel,
    hook: HookPoint,
    features: &BTreeSet<u32>,
    label: impl Fn(u32) -> Option<String>,
    mut batch_done: impl FnMut() -> ControlFlow<()>,
) -> Result<BTreeMap<u32, FeatureName>, DashboardError> {
    let sae = model.sae(hook)?;
    let vocab = model.gpt().config().shape.vocab_size;
    let mut names = BTreeMap::new();
    let indices: Vec<u32> = features.iter().copied().collect();
    for part in indices.chunks(FEATURES_PER_BATCH) {
        let rows: Vec<usize> = part.iter().map(|&feature| feature as usize).collect();
        let effects = logit_effects(model.gpt(), model.write_point(hook), sae.directions(&rows)?);
        let effects: Option<Vec<f32>> =
            effects.ok().map(|effects| effects.into_data().iter::<f32>().collect());
        for (at, &feature) in part.iter().enumerate() {
            let effects = effects.as_ref().map(|all| &all[at * vocab..(at + 1) * vocab]);
            let auto_label = effects
                .and_then(|effects| promoted(effects, |id| token_text(model.tokenizer(), id)));
            let label = label(feature).map(|label| label.trim().to_owned());
            let label = label.filter(|label| !label.is_empty());
            names.insert(feature, FeatureName { label, auto_label });
        }
        if batch_done().is_break() {
            return Err(DashboardError::Interrupted);
        }
    }
    Ok(names)
}

/// Names a feature with [`automatic_name`], by the tokens that it promotes most: `promotes ·dog ·cat`.
fn promoted(effects: &[f32], text: impl Fn(u32) -> String) -> Option<String> {
    let effect = LogitEffect::from_effects(effects, MAX_NAME_TOKENS);
    let tokens: Vec<String> = effect.promoted.iter().map(|&(id, _)| text(id)).collect();
    (!tokens.is_empty()).then(|| automatic_name(Firing::Unknown, &tokens))
}

#[cfg(test)]
mod tests {
    use nanoscope_testing::{TINY_SHAPE, identity_sae, noisy_sae, test_device, tiny_gpt};

    use super::*;

    const HERE: HookPoint = HookPoint::ResidPost(0);

    fn model() -> InterpretableModel {
        let device = test_device();
        let width = TINY_SHAPE.n_embd;
        InterpretableModel::new(tiny_gpt(TINY_SHAPE, &device))
            .with_sae(HERE, identity_sae(width, 4, &device))
            .unwrap()
            .with_sae(HookPoint::ResidPost(1), noisy_sae(width, 100, 4, &device))
            .unwrap()
            .with_sae(HookPoint::MlpPre(1), identity_sae(4 * width, 4, &device))
            .unwrap()
    }

    #[test]
    fn only_saes_that_write_to_the_residual_stream_are_compared() {
        let model = model();

        let hooks = |hook| {
            let others = comparable(&model, hook).unwrap();
            others.iter().map(|other| other.hook).collect::<Vec<_>>()
        };

        assert_eq!(hooks(HERE), [HookPoint::ResidPost(1)]);
        assert_eq!(hooks(HookPoint::ResidPost(1)), [HERE]);
        assert_eq!(hooks(HookPoint::MlpPre(1)), []);
    }

    #[test]
    fn the_similar_features_of_another_sae_are_those_of_the_largest_cosine() {
        let model = model();
        let others = comparable(&model, HERE).unwrap();
        let features = [3, 0, 17];

        let similar = similar(&model, HERE, &features, &others).unwrap();

        let rows = model.sae(HookPoint::ResidPost(1)).unwrap();
        let all: Vec<usize> = (0..rows.config().d_sae()).collect();
        let rows = rows.directions(&all).unwrap().into_data().try_to_vec::<f32>().unwrap();
        let width = TINY_SHAPE.n_embd;
        for (similar, feature) in similar.iter().zip(features) {
            // A row of the identity, so that the cosine is a number of the other row over its norm.
            let cosine = |row: &[f32]| row[feature] / row.iter().map(|x| x * x).sum::<f32>().sqrt();
            let mut expected: Vec<(u32, f32)> = (0..).zip(rows.chunks(width).map(cosine)).collect();
            expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            assert_eq!(similar.len(), 1);
            assert_eq!(similar[0].len(), MAX_SIMILAR);
            for (found, expected) in similar[0].iter().zip(expected) {
                assert_eq!(found.0, expected.0, "feature {feature}");
                assert!((found.1 - expected.1).abs() < 1e-5, "feature {feature}: {found:?}");
            }
        }
    }

    #[test]
    fn a_feature_without_a_page_is_named_by_a_person_or_by_what_it_promotes() {
        let model = model();
        let features = BTreeSet::from([2, 40]);
        let label = |feature| {
            [(2, " ours "), (40, "")].iter().find(|l| l.0 == feature).map(|l| l.1.to_owned())
        };
        let go_on = || ControlFlow::Continue(());

        let names = names(&model, HERE, &features, label, go_on).unwrap();

        let effects = model.feature_weights(HERE, &[2, 40], 0).unwrap();
        for (feature, weights) in [2, 40].iter().zip(effects) {
            let promoted =
                LogitEffect::from_effects(&weights.effects.unwrap(), MAX_NAME_TOKENS).promoted;
            // Without a tokenizer, tokens are numbers.
            let tokens: Vec<String> = promoted.iter().map(|(id, _)| format!("<{id}>")).collect();
            let expected = format!("promotes {}", tokens.join(" "));
            assert_eq!(names[feature].auto_label.as_deref(), Some(expected.as_str()));
        }
        assert_eq!((names[&2].label.as_deref(), &names[&40].label), (Some("ours"), &None));
        let stop = super::names(&model, HERE, &features, |_| None, || ControlFlow::Break(()));
        assert!(matches!(stop, Err(DashboardError::Interrupted)));
    }

    #[test]
    fn a_feature_that_promotes_nothing_finite_has_no_name() {
        assert_eq!(promoted(&[f32::NAN; 4], |id| id.to_string()), None);
        assert_eq!(promoted(&[0.0, 2.0], |id| id.to_string()).unwrap(), "promotes 1 0");
    }
}
