use nanoscope_hooks::HookPoint;
use nanoscope_sae::Geometry;

use crate::error::RuntimeError;
use crate::features::logit_effect::{LogitEffectError, logit_effects};
use crate::model::InterpretableModel;

/// What a feature's weights say of it, whatever text there is.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureWeights {
    /// How its weights lie.
    pub geometry: Geometry,
    /// Its effect on the logit of each token; of its ends [`LogitEffect`](crate::LogitEffect).
    pub effects: Result<Vec<f32>, LogitEffectError>,
    /// The features that write most nearly in its direction, with the cosines.
    pub nearest: Vec<(u32, f32)>,
}

impl InterpretableModel {
    /// The weights of each of `features` of the SAE at `hook`, with `nearest` neighbours.
    ///
    /// A number for each token of the vocabulary is made for each feature; ask for a few hundred at
    /// once.
    ///
    /// # Errors
    /// [`RuntimeError`] if there is no SAE at `hook`, or it has no such feature.
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
        let effects = effects.map(|effects| effects.into_data().iter::<f32>().collect::<Vec<_>>());
        let mut near = sae.nearest_to(directions, nearest.saturating_add(1));
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
            let effects: Vec<f32> = effects.into_data().iter::<f32>().collect();
            let found = weights.effects.as_ref().unwrap();
            assert_eq!(found.len(), 50);
            assert!(found.iter().zip(&effects).all(|(a, b)| (a - b).abs() < 1e-6));
        }
        assert!(model.feature_weights(hook, &[64], 5).is_err());
        assert!(model.feature_weights(out, &[0], 5).is_err());
    }
}
