use nanoscope_hooks::HookPoint;
use nanoscope_kernels::to_host;
use nanoscope_sae::Geometry;

use crate::error::RuntimeError;
use crate::features::logit_effect::{LogitEffectError, logit_effects};
use crate::model::InterpretableModel;

/// Properties of a feature that follow from its weights, independent of any text.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureWeights {
    /// The geometry of the weights.
    pub geometry: Geometry,
    /// The effect on the logit of each token; [`LogitEffect`](crate::LogitEffect) selects the ends.
    pub effects: Result<Vec<f32>, LogitEffectError>,
    /// The features whose decoder rows have the largest cosine similarity, with the cosines.
    pub nearest: Vec<(u32, f32)>,
}

impl InterpretableModel {
    /// Computes the weights' properties for each of `features` of the SAE at `hook`, with `nearest`
    /// neighbours.
    ///
    /// The result has a number per feature and token of the vocabulary; pass a few hundred features
    /// at a time.
    ///
    /// # Errors
    /// [`RuntimeError`] if the model lacks an SAE at `hook`, or the SAE one of the features.
    pub fn feature_weights(
        &self,
        hook: HookPoint,
        features: &[usize],
        nearest: usize,
    ) -> Result<Vec<FeatureWeights>, RuntimeError> {
        let sae = self.sae(hook)?;
        let refused = |source| RuntimeError::NoSuchFeature { hook, source };
        let directions = sae.directions(features).map_err(refused)?;
        let geometry = sae.geometry(features).map_err(refused)?;
        let effects = logit_effects(self.gpt(), self.write_point(hook), directions.clone());
        let vocab = self.gpt().config().shape.vocab_size;
        let effects = effects.map(to_host);
        let mut near = match nearest {
            // Without a neighbour to find, the decoder is not read.
            0 => vec![Vec::new(); features.len()],
            _ => sae.nearest_to(directions, nearest.saturating_add(1)),
        };
        for (near, &feature) in near.iter_mut().zip(features) {
            near.retain(|&(other, _)| other as usize != feature);
            near.truncate(nearest);
        }
        let weights = |(at, (geometry, nearest))| FeatureWeights {
            geometry,
            effects: effects
                .as_ref()
                .map(|effects: &Vec<f32>| effects[at * vocab..(at + 1) * vocab].to_vec())
                .map_err(Clone::clone),
            nearest,
        };
        Ok(geometry.into_iter().zip(near).enumerate().map(weights).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_model::{gpt, sae};

    #[test]
    fn the_weights_of_several_features_are_those_of_each() {
        let sae = sae(0.1);
        let (hook, out) = (HookPoint::ResidPost(0), HookPoint::MlpPre(0));
        let model = InterpretableModel::new(gpt()).with_sae(hook, sae.clone()).unwrap();

        let weights = model.feature_weights(hook, &[3, 9], 5).unwrap();

        for (weights, feature) in weights.iter().zip([3, 9]) {
            assert_eq!(weights.geometry, sae.geometry(&[feature]).unwrap()[0]);
            assert_eq!(weights.nearest, sae.nearest(feature, 5).unwrap());
            let direction = sae.directions(&[feature]).unwrap();
            let effects = logit_effects(model.gpt(), hook, direction).unwrap();
            let effects = to_host(effects);
            let found = weights.effects.as_ref().unwrap();
            assert_eq!(found.len(), 50);
            assert!(found.iter().zip(&effects).all(|(a, b)| (a - b).abs() < 1e-6));
        }
        let without = model.feature_weights(hook, &[3, 9], 0).unwrap();
        assert!(without.iter().all(|weights| weights.nearest.is_empty()));
        assert!(model.feature_weights(hook, &[64], 5).is_err());
        assert!(model.feature_weights(out, &[0], 5).is_err());
    }
}
