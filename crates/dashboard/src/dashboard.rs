use std::collections::BTreeMap;
use std::ops::ControlFlow;

use nanoscope_corpus::{Context, CorpusError};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{FeatureWeights, InterpretableModel, LogitEffect};
use nanoscope_sae::Geometry;

use crate::auto_label::auto_label;
use crate::co_activation::{CoActivation, co_activation};
use crate::fingerprint::fingerprint;
use crate::gather::{Activity, Gathered, gather, report_progress};
use crate::histogram::Histogram;
use crate::token_text::{token_text, visible};
use crate::{DashboardError, Options, Progress, Stage};

/// Features whose weights are compared at once.
const FEATURES_PER_BATCH: usize = 64;
/// Tokens that a page shows at either end of a feature's effect.
const MAX_EFFECT_TOKENS: usize = 10;
/// Features that a page names beside its own.
const MAX_NEAREST: usize = 10;
const MAX_CO_ACTIVATIONS: usize = 10;

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
    pub effects: Option<Histogram>,
    /// The features that write most nearly in its direction, with the cosines.
    pub nearest: Vec<(u32, f32)>,
    /// The features that fire where it does, those with the largest Jaccard index first.
    pub co_activations: Vec<CoActivation>,
    /// What a person, or Neuronpedia, calls it.
    pub label: Option<String>,
    /// What its strongest tokens say; made by a rule, and shown as such.
    pub auto_label: String,
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
        for part in indices.chunks(FEATURES_PER_BATCH) {
            for (&feature, weights) in
                part.iter().zip(model.feature_weights(hook, part, MAX_NEAREST)?)
            {
                let feature = feature as u32;
                let activity = activities.next().expect("one for each feature of the range");
                let label = labels.get(&feature).filter(|label| !label.is_empty()).cloned();
                let text = |id| visible(&token_text(model.tokenizer(), id));
                features.push(gathered.page(feature, activity, weights, label, text));
            }
            report_progress(progress, Stage::Weights, features.len() as u64)?;
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
        let effect = effects.as_ref().map(|effects| LogitEffect::from_effects(effects, MAX_EFFECT_TOKENS));
        let fires = self.stats.get(feature).fires;
        let auto_label = auto_label(fires, &activity, effect.as_ref(), text);
        FeaturePage {
            feature,
            fires,
            mean: self.stats.mean(feature),
            activity,
            geometry,
            effect,
            effects: effects.as_deref().map(Histogram::from_values),
            nearest,
            co_activations: self.co_activations(feature),
            label,
            auto_label,
        }
    }

    fn co_activations(&self, feature: u32) -> Vec<CoActivation> {
        let pairs = self.pairs.partners(feature).into_iter();
        let mut together: Vec<CoActivation> =
            pairs.map(|pair| co_activation(&self.stats, &self.squares, feature, pair)).collect();
        together
            .sort_by(|a, b| b.jaccard.total_cmp(&a.jaccard).then(b.pearson.total_cmp(&a.pearson)));
        together.truncate(MAX_CO_ACTIVATIONS);
        together
    }
}
