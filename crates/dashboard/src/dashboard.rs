use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};

use nanoscope_corpus::{Context, CorpusError};
use nanoscope_hooks::HookPoint;
use nanoscope_index::{fingerprint, token_text};
use nanoscope_runtime::{FeatureWeights, InterpretableModel, LogitEffect};
use nanoscope_sae::Geometry;

use crate::auto_label::auto_label;
use crate::co_activation::{CoActivation, co_activation};
use crate::gather::{Activity, Gathered, gather, report_progress};
use crate::histogram::Histogram;
use crate::other_saes::{FeatureName, OtherSae, comparable, names, similar};
use crate::{DashboardError, Options, Progress, Stage};

/// The number of features whose weights are compared at a time.
const FEATURES_PER_BATCH: usize = 64;
/// The number of promoted and of suppressed tokens on a page.
const MAX_EFFECT_TOKENS: usize = 10;
/// The number of nearest features on a page.
const MAX_NEAREST: usize = 10;
/// The number of co-active features on a page.
const MAX_CO_ACTIVATIONS: usize = 10;

/// The data of a dashboard: the features of one SAE on a text.
#[derive(Debug, Clone)]
pub struct Dashboard {
    /// The hook point of the SAE.
    pub hook: HookPoint,
    /// The number of features of the SAE, including those without a page.
    pub d_sae: usize,
    /// The number of tokens that count.
    pub tokens: u64,
    /// The number of contexts that were read.
    pub contexts: u64,
    /// The options that the dashboard was built with.
    pub options: Options,
    /// The [`fingerprint`](crate::fingerprint()) of the SAE.
    pub fingerprint: u64,
    /// The features with a page, in order of index.
    pub features: Vec<FeaturePage>,
    /// The labels of all features of the SAE, including those without a page. An empty label marks one that
    /// was removed.
    pub labels: BTreeMap<u32, String>,
    /// The names of the features without a page that other pages mention.
    pub names: BTreeMap<u32, FeatureName>,
    /// The other SAEs of the model that are compared with this one, in order of their hook points.
    pub others: Vec<OtherSae>,
}

/// The data of one feature's page.
#[derive(Debug, Clone)]
pub struct FeaturePage {
    /// The feature's index.
    pub feature: u32,
    /// The number of tokens on which the feature fires.
    pub fires: u64,
    /// The mean activation over all tokens that count, including those on which the feature does not fire.
    pub mean: f64,
    /// The activations on the text.
    pub activity: Activity,
    /// Norms and cosine of its weights.
    pub geometry: Geometry,
    /// The tokens that the feature promotes and suppresses most; `None` if it does not write to the residual
    /// stream.
    pub effect: Option<LogitEffect>,
    /// The distribution of its direct effects on the logits of all tokens; `None` if it does not write to the
    /// residual stream.
    pub effects: Option<Histogram>,
    /// The features with the most similar decoder rows, and the cosine similarities.
    pub nearest: Vec<(u32, f32)>,
    /// For each of [`Dashboard::others`] the features with the most similar decoder rows, and the cosine
    /// similarities.
    pub similar: Vec<Vec<(u32, f32)>>,
    /// The features that fire on the same tokens, in descending order of the Jaccard index.
    pub co_activations: Vec<CoActivation>,
    /// The label given by a person or by Neuronpedia.
    pub label: Option<String>,
    /// A label generated from its strongest tokens, shown as automatic.
    pub auto_label: String,
}

impl Dashboard {
    /// Builds the dashboard of the SAE at `hook` by running `model` on the text.
    ///
    /// `contexts` is called twice and must return the same text both times. One context is in memory at a
    /// time. Other memory grows with the number of features: about 200 bytes for each example, 12 for each
    /// pair of a feature with a page and another feature (at most 200 MB in total; for more pairs, only the
    /// 64 most frequent partners of each feature are counted), and 100 for each feature of the SAE.
    ///
    /// `label` returns the label of a feature of the SAE at a hook point, or an empty one for a label that
    /// was removed. `progress` is called after each step and can stop the build.
    ///
    /// The decoder rows are also compared with those of the model's other SAEs, as far as both write to the
    /// residual stream.
    ///
    /// # Errors
    /// [`DashboardError::FeatureRange`], [`DashboardError::NoTokens`], [`DashboardError::Interrupted`] if
    /// `progress` breaks, and the errors of the text and the model.
    pub fn build<I>(
        model: &InterpretableModel,
        hook: HookPoint,
        options: &Options,
        contexts: impl FnMut() -> Result<I, CorpusError>,
        label: impl Fn(HookPoint, u32) -> Option<String>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Self, DashboardError>
    where
        I: Iterator<Item = Result<Context, CorpusError>>,
    {
        let d_sae = model.sae(hook)?.config().d_sae();
        options.check(d_sae)?;
        let range = options.features.clone();
        let labels: BTreeMap<u32, String> = (0..d_sae as u32)
            .filter_map(|feature| Some((feature, label(hook, feature)?.trim().to_owned())))
            .collect();
        let mut gathered = gather((model, hook), options, contexts, progress)?;

        let mut others = if options.neighbours { comparable(model, hook)? } else { Vec::new() };
        let nearest = if options.neighbours { MAX_NEAREST } else { 0 };
        let mut features: Vec<FeaturePage> = Vec::with_capacity(range.len());
        let mut activities = std::mem::take(&mut gathered.features).into_iter();
        let indices: Vec<usize> = range.map(|feature| feature as usize).collect();
        for part in indices.chunks(FEATURES_PER_BATCH) {
            let weights = model.feature_weights(hook, part, nearest)?;
            let similar = similar(model, hook, part, &others)?;
            for ((&feature, weights), similar) in part.iter().zip(weights).zip(similar) {
                let feature = feature as u32;
                let activity =
                    activities.next().expect("every feature of the range has an activity");
                let label = labels.get(&feature).filter(|label| !label.is_empty()).cloned();
                let text = |id| token_text(model.tokenizer(), id);
                let page = gathered.page(feature, activity, weights, label, text);
                features.push(FeaturePage { similar, ..page });
            }
            report_progress(progress, Stage::Weights, features.len() as u64)?;
        }
        let done = features.len() as u64;
        let mut batch_done = || progress(Progress { stage: Stage::Weights, done });
        for (at, other) in others.iter_mut().enumerate() {
            let mentioned = features.iter().flat_map(|page| &page.similar[at]).map(|&(id, _)| id);
            let label = |feature| label(other.hook, feature);
            other.names = names(model, other.hook, &mentioned.collect(), label, &mut batch_done)?;
        }
        let names = {
            let mentioned = without_page(&features, &options.features);
            names(model, hook, &mentioned, |id| labels.get(&id).cloned(), &mut batch_done)?
        };
        Ok(Self {
            hook,
            d_sae,
            tokens: gathered.stats.tokens(),
            contexts: gathered.contexts,
            options: options.clone(),
            fingerprint: fingerprint(model, hook)?,
            features,
            labels,
            names,
            others,
        })
    }

    /// The density of `page`'s feature: the share of tokens on which it fires.
    pub fn density(&self, page: &FeaturePage) -> f64 {
        page.fires as f64 / self.tokens as f64
    }

    /// The number of dead features: those with a page that never fire on the text.
    pub fn dead(&self) -> usize {
        self.features.iter().filter(|page| page.fires == 0).count()
    }
}

/// The features outside `range` that `pages` mention.
fn without_page(pages: &[FeaturePage], range: &Range<u32>) -> BTreeSet<u32> {
    let nearest = pages.iter().flat_map(|page| &page.nearest).map(|&(feature, _)| feature);
    let together = pages.iter().flat_map(|page| &page.co_activations).map(|other| other.feature);
    nearest.chain(together).filter(|feature| !range.contains(feature)).collect()
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
        let effect =
            effects.as_ref().map(|effects| LogitEffect::from_effects(effects, MAX_EFFECT_TOKENS));
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
            similar: Vec::new(),
            co_activations: self.co_activations(feature),
            label,
            auto_label,
        }
    }

    fn co_activations(&self, feature: u32) -> Vec<CoActivation> {
        let pairs = self.pairs.partners(feature).into_iter();
        let mut co_activations: Vec<CoActivation> =
            pairs.map(|pair| co_activation(&self.stats, &self.squares, feature, pair)).collect();
        co_activations
            .sort_by(|a, b| b.jaccard.total_cmp(&a.jaccard).then(b.pearson.total_cmp(&a.pearson)));
        co_activations.truncate(MAX_CO_ACTIVATIONS);
        co_activations
    }
}
