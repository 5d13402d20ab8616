use std::collections::BTreeMap;
use std::ops::ControlFlow;

use nanoscope_corpus::{Context, CorpusError};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{FeatureStats, FeatureWeights, InterpretableModel, LogitEffect};
use nanoscope_sae::Geometry;

use crate::auto_label::auto_label;
use crate::gather::Pair;
use crate::gather::mix;
use crate::gather::{Activity, BARS, Gathered, gather, tell};
use crate::token_text::{token_text, visible};
use crate::{DashboardError, Options, Progress, Stage};

/// Features whose weights are compared at once.
const AT_ONCE: usize = 64;
/// Tokens that a page shows at either end of a feature's effect.
const EFFECTS: usize = 10;
/// Features that a page names beside its own.
const NEAREST: usize = 10;
const TOGETHER: usize = 10;

/// All that the pages of an SAE's features show.
#[derive(Debug, Clone)]
pub struct Dashboard {
    /// Where the SAE is.
    pub hook: HookPoint,
    /// Features of the SAE, those without a page too.
    pub d_sae: usize,
    /// Tokens that count.
    pub tokens: u64,
    /// Contexts that were read.
    pub contexts: u64,
    /// What was asked for.
    pub options: Options,
    /// A number that tells this SAE from others.
    pub fingerprint: u64,
    /// The features that have a page, in order of index.
    pub features: Vec<FeaturePage>,
    /// The labels of all features of the SAE, those without a page too. An empty one says that a
    /// label was taken away.
    pub labels: BTreeMap<u32, String>,
}

/// All that the page of one feature shows.
#[derive(Debug, Clone)]
pub struct FeaturePage {
    /// Its index.
    pub feature: u32,
    /// Tokens at which it fires.
    pub fires: u64,
    /// Its mean over all tokens that count, those at which it does not fire included.
    pub mean: f64,
    /// What it does on the text.
    pub activity: Activity,
    /// How its weights lie.
    pub geometry: Geometry,
    /// What it promotes and suppresses; none if it does not write to the residual stream.
    pub effect: Option<LogitEffect>,
    /// How its effects on all tokens are distributed.
    pub effects: Option<Bars>,
    /// The features that write most nearly in its direction, with the cosines.
    pub nearest: Vec<(u32, f32)>,
    /// The features that fire where it does, those with the largest Jaccard index first.
    pub together: Vec<Together>,
    /// What a person, or Neuronpedia, calls it.
    pub label: Option<String>,
    /// What its strongest tokens say; made by a rule, and shown as such.
    pub auto_label: String,
}

/// A histogram of [`BARS`] equal bars.
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    /// Where the first begins.
    pub low: f32,
    /// Where the last ends.
    pub high: f32,
    /// How many values are in each.
    pub counts: Vec<u32>,
}

/// A feature that fires where another one does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Together {
    /// Its index.
    pub feature: u32,
    /// Tokens at which both fire.
    pub count: u32,
    /// That, of the tokens at which either fires.
    pub jaccard: f64,
    /// That, of the tokens at which the feature of the page fires.
    pub share: f64,
    /// The correlation of their values over all tokens; 0 if one of them never changes.
    pub pearson: f64,
    /// The cosine of their values over all tokens.
    pub cosine: f64,
}

impl Dashboard {
    /// Runs `model` on the text and finds out what the features at `hook` do.
    ///
    /// `contexts` is called twice, and must give the same text both times. Only one context is in
    /// memory. What is kept grows with the features that have a page: some 200 bytes for each
    /// example, 12 for each pair with another feature (at most 200 MB in all; beyond, the 64 that it
    /// meets most often), and 100 for each feature of the SAE.
    ///
    /// `label` gives the labels that there are, an empty one where one was taken away. `progress` is told how far it is and can end it.
    ///
    /// # Errors
    /// [`DashboardError`] if there are no such features or no text, the text or the model cannot be
    /// had, or `progress` breaks.
    pub fn build<I>(
        model: &InterpretableModel,
        hook: HookPoint,
        options: &Options,
        contexts: impl FnMut() -> Result<I, CorpusError>,
        label: impl Fn(u32) -> Option<String>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Self, DashboardError>
    where
        I: Iterator<Item = Result<Context, CorpusError>>,
    {
        let d_sae = model.sae(hook)?.config().d_sae();
        options.check(d_sae)?;
        let range = options.features.clone();
        let labels: BTreeMap<u32, String> = (0..d_sae as u32)
            .filter_map(|feature| Some((feature, label(feature)?.trim().to_owned())))
            .collect();
        let mut gathered = gather((model, hook), options, contexts, progress)?;

        let mut features = Vec::with_capacity(range.len());
        let mut activities = std::mem::take(&mut gathered.features).into_iter();
        let indices: Vec<usize> = range.map(|feature| feature as usize).collect();
        for part in indices.chunks(AT_ONCE) {
            for (&feature, weights) in part.iter().zip(model.feature_weights(hook, part, NEAREST)?)
            {
                let feature = feature as u32;
                let activity = activities.next().expect("one for each feature of the range");
                let label = labels.get(&feature).filter(|label| !label.is_empty()).cloned();
                let text = |id| visible(&token_text(model.tokenizer(), id));
                features.push(gathered.page(feature, activity, weights, label, text));
            }
            tell(progress, Stage::Weights, features.len() as u64)?;
        }
        Ok(Self {
            hook,
            d_sae,
            tokens: gathered.stats.tokens(),
            contexts: gathered.contexts,
            options: options.clone(),
            fingerprint: fingerprint(model, hook)?,
            features,
            labels,
        })
    }

    /// The share of tokens at which `page`'s feature fires.
    pub fn density(&self, page: &FeaturePage) -> f64 {
        page.fires as f64 / self.tokens as f64
    }

    /// The features that never fire on the text.
    pub fn dead(&self) -> usize {
        self.features.iter().filter(|page| page.fires == 0).count()
    }
}

impl Gathered {
    fn page(
        &self,
        feature: u32,
        activity: Activity,
        weights: FeatureWeights,
        label: Option<String>,
        text: impl Fn(u32) -> String,
    ) -> FeaturePage {
        let FeatureWeights { geometry, effects, nearest } = weights;
        let effects = effects.ok();
        let effect = effects.as_ref().map(|effects| LogitEffect::from_effects(effects, EFFECTS));
        let fires = self.stats.get(feature).fires;
        let auto_label = auto_label(fires, &activity, effect.as_ref(), text);
        FeaturePage {
            feature,
            fires,
            mean: self.stats.mean(feature),
            activity,
            geometry,
            effect,
            effects: effects.as_deref().map(Bars::of),
            nearest,
            together: self.together(feature),
            label,
            auto_label,
        }
    }

    fn together(&self, feature: u32) -> Vec<Together> {
        let pairs = self.pairs.of(feature).into_iter();
        let mut together: Vec<Together> =
            pairs.map(|pair| together(&self.stats, &self.squares, feature, pair)).collect();
        together
            .sort_by(|a, b| b.jaccard.total_cmp(&a.jaccard).then(b.pearson.total_cmp(&a.pearson)));
        together.truncate(TOGETHER);
        together
    }
}

fn together(stats: &FeatureStats, squares: &[f64], feature: u32, pair: Pair) -> Together {
    let (a, b) = (stats.get(feature), stats.get(pair.other));
    let (a2, b2) = (squares[feature as usize], squares[pair.other as usize]);
    let n = stats.tokens() as f64;
    let both = f64::from(pair.count);
    let covariance = n * pair.product - a.sum * b.sum;
    let variances = (n * a2 - a.sum * a.sum) * (n * b2 - b.sum * b.sum);
    Together {
        feature: pair.other,
        count: pair.count,
        jaccard: both / (a.fires as f64 + b.fires as f64 - both),
        share: both / a.fires as f64,
        pearson: if variances > 0.0 { covariance / variances.sqrt() } else { 0.0 },
        cosine: if a2 * b2 > 0.0 { pair.product / (a2 * b2).sqrt() } else { 0.0 },
    }
}

impl Bars {
    fn of(values: &[f32]) -> Self {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (low, high) = finite()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), value| (a.min(value), b.max(value)));
        let mut counts = vec![0; BARS];
        for value in finite() {
            let share = f64::from(value - low) / f64::from(high - low);
            counts[((share * BARS as f64) as usize).min(BARS - 1)] += 1;
        }
        Self { low, high, counts }
    }
}

/// A number that tells the SAE of `model` at `hook` from others: of its hook point, its features
/// and the lengths of a few weights, so that it is the same on every backend.
///
/// # Errors
/// [`DashboardError::Runtime`] if there is no SAE.
pub fn fingerprint(model: &InterpretableModel, hook: HookPoint) -> Result<u64, DashboardError> {
    let sae = model.sae(hook)?;
    let few: Vec<usize> = (0..sae.config().d_sae().min(16)).collect();
    let mut hash = mix(sae.config().d_sae() as u64);
    hook.to_string().bytes().for_each(|byte| hash = mix(hash ^ u64::from(byte)));
    for geometry in sae.geometry(&few)? {
        for norm in [geometry.decoder_norm, geometry.encoder_norm] {
            // Another backend adds up in another order; the last digits must not count.
            hash = mix(hash ^ u64::from((norm * 1000.0).round() as i64 as u32));
        }
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use nanoscope_sae::SparseFeatures;

    use super::*;

    #[test]
    fn what_fires_together_is_measured_as_its_names_say() {
        let rows: [&[(u32, f32)]; 4] = [&[(0, 1.0), (1, 2.0)], &[(0, 3.0)], &[(1, 4.0)], &[]];
        let mut features = SparseFeatures::new(2);
        for row in rows {
            features.push_row(row.iter().copied());
        }
        let mut stats = FeatureStats::new(2, 0);
        stats.add(&features, [Some(0); 4]);

        let pair = Pair { other: 1, count: 1, product: 2.0 };
        let found = together(&stats, &[10.0, 20.0], 0, pair);

        assert_eq!((found.jaccard, found.share), (1.0 / 3.0, 0.5));
        // Columns [1, 3, 0, 0] and [2, 0, 4, 0]: covariance 4·2 − 4·6, variances 40 − 16 and 80 − 36.
        assert!((found.pearson - -16.0 / (24.0_f64 * 44.0).sqrt()).abs() < 1e-12);
        assert!((found.cosine - 2.0 / 200.0_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn bars_hold_every_finite_value() {
        let bars = Bars::of(&[-1.0, f32::NAN, 0.0, 1.0]);

        assert_eq!((bars.low, bars.high), (-1.0, 1.0));
        assert_eq!((bars.counts[0], bars.counts[20], bars.counts[39]), (1, 1, 1));
        assert_eq!(Bars::of(&[2.0, 2.0]).counts[0], 2);
    }
}
