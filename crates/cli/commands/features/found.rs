//! The search for features.

use anyhow::Result;
use nanoscope_checkpoint::Labels;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{
    FeatureStats, FeatureWeights, Intervention, LogitEffect, LogitEffectError, mean_differences,
};
use nanoscope_sae::{Geometry, Sae};

use super::args::{By, FeaturesArgs};
use super::text::{FeatureText, read_text};
use crate::terminal::feature_name::{FeatureName, Naming};
use crate::terminal::messages::Hint;
use nanoscope::Microscope;

/// The default text: the beginning of a story like the demo's.
const STORY: &str = "Once upon a time, there was a little girl named Lily. She loved to play \
                     outside with her dog. One day, she saw a big, red ball in the park.";

/// The default numbers of listed features, and of excerpts for each.
const DEFAULT_LISTED: usize = 10;
const DEFAULT_EXCERPTS: usize = 4;
/// The default number of next tokens, neighbours and excerpts on a feature's page.
pub(crate) const DEFAULT_ON_PAGE: usize = 6;

/// The features a query found, with the data to show about them.
pub(crate) struct FoundFeatures<'s> {
    pub(crate) scope: &'s Microscope,
    pub(crate) hook: HookPoint,
    pub(crate) sae: &'s Sae,
    pub(crate) query: Query,
    /// The text that was run; none without a tokenizer, which only queries on a text need.
    pub(crate) text: Option<FeatureText<'s>>,
    /// True if the user supplied the text.
    pub(crate) is_user_text: bool,
    /// The text to compare with.
    pub(crate) against: Option<FeatureText<'s>>,
    pub(crate) special: bool,
    pub(crate) entries: Vec<Entry>,
    /// The number of features found, including those beyond the listed ones.
    pub(crate) all: usize,
    /// An intervention that steers with the first feature.
    pub(crate) steer: Option<Intervention>,
}

/// A query for features.
pub(crate) enum Query {
    /// Those that fire on the text.
    Active(By),
    /// Those specific to the text, compared with the other one.
    Against,
    /// The nearest ones of a feature.
    Near(usize),
    /// Those with a word in their label.
    Grep(String),
    /// Given features, each with its page.
    Pages(Vec<Page>),
}

/// A feature that was found.
pub(crate) struct Entry {
    pub(crate) feature: u32,
    /// The score or the cosine by which it was found.
    pub(crate) key: Option<f64>,
}

/// The data about a feature that its weights give.
pub(crate) struct Page {
    pub(crate) geometry: Geometry,
    pub(crate) effect: Result<LogitEffect, LogitEffectError>,
    pub(crate) nearest: Vec<(u32, f32)>,
}

impl<'s> FoundFeatures<'s> {
    pub(crate) fn new(scope: &'s Microscope, args: &FeaturesArgs) -> Result<Self> {
        let (hook, sae) = sae_at(scope, args.hook)?;
        let top = args.top.map(|top| top as usize);
        let lookup = &args.lookup;
        for feature in lookup.feature.iter().chain(&lookup.near) {
            sae.config().check_feature(*feature)?;
        }

        let places = if lookup.feature.is_empty() {
            DEFAULT_EXCERPTS
        } else {
            top.unwrap_or(DEFAULT_ON_PAGE)
        };
        let run = |text: &str| {
            FeatureText::run(scope, hook, (text, args.special), args.keep_special, places)
        };
        let own = read_text(args.text.text.as_deref(), args.text.text_file.as_deref())?;
        let other =
            read_text(args.against.against.as_deref(), args.against.against_file.as_deref())?;
        let needs_text =
            lookup.near.is_none() && lookup.grep.is_none() && lookup.feature.is_empty();
        let text = if own.is_some() || needs_text || scope.model().tokenizer().is_some() {
            Some(run(own.as_deref().unwrap_or(STORY))?)
        } else {
            None
        };
        let against = other.as_deref().map(run).transpose()?;

        let mut found = Self {
            scope,
            hook,
            sae,
            query: Query::Against,
            text,
            is_user_text: own.is_some(),
            against,
            special: args.keep_special,
            entries: Vec::new(),
            all: 0,
            steer: None,
        };
        (found.query, found.entries) = if let Some(near) = lookup.near {
            (Query::Near(near), found.near(near, top.unwrap_or(DEFAULT_LISTED))?)
        } else if let Some(word) = &lookup.grep {
            (Query::Grep(word.clone()), found.grep(word)?)
        } else if !lookup.feature.is_empty() {
            let pages = found.pages(&lookup.feature, top.unwrap_or(DEFAULT_ON_PAGE))?;
            let entry = |&feature: &usize| Entry { feature: feature as u32, key: None };
            (Query::Pages(pages), lookup.feature.iter().map(entry).collect())
        } else if let Some(against) = &found.against {
            (Query::Against, found.specific(&against.stats))
        } else {
            let by = args.by.unwrap_or_default();
            (Query::Active(by), found.active(by))
        };
        found.all = match found.query {
            Query::Near(_) => sae.config().d_sae() - 1,
            _ => found.entries.len(),
        };
        match found.query {
            Query::Pages(_) => {}
            Query::Grep(_) => found.entries.truncate(top.unwrap_or(usize::MAX)),
            _ => found.entries.truncate(top.unwrap_or(DEFAULT_LISTED)),
        }
        found.steer = found.steer();
        Ok(found)
    }

    pub(crate) fn labels(&self) -> Option<&'s Labels> {
        self.scope.labels().get(&self.hook)
    }

    /// The name of a feature: a label, or an automatic name.
    pub(crate) fn name(&self, feature: u32) -> Option<FeatureName<'s>> {
        self.scope.prepare(self.hook, &[(feature, 0.0)]);
        Naming::name(self.scope, self.hook, feature)
    }

    /// The features that fire on the text, in order.
    fn active(&self, by: By) -> Vec<Entry> {
        let features = self.stats().ranked(|stat| match by {
            By::Max => f64::from(stat.max_activation),
            By::Mean => stat.sum,
            By::Density => stat.fires as f64,
        });
        features.into_iter().map(|feature| Entry { feature, key: None }).collect()
    }

    /// The features specific to the text, compared with `other`.
    fn specific(&self, other: &FeatureStats) -> Vec<Entry> {
        let differences = mean_differences(self.stats(), other).into_iter();
        differences.map(|(feature, by)| Entry { feature, key: Some(by) }).collect()
    }

    fn stats(&self) -> &FeatureStats {
        &self.text.as_ref().expect("queries on a text have run it").stats
    }

    fn near(&self, feature: usize, top: usize) -> Result<Vec<Entry>> {
        let nearest = self.sae.nearest(feature, top)?.into_iter();
        Ok(nearest.map(|(feature, c)| Entry { feature, key: Some(f64::from(c)) }).collect())
    }

    fn grep(&self, word: &str) -> Result<Vec<Entry>> {
        let labels = self.labels().filter(|labels| !labels.is_empty()).ok_or_else(|| {
            Hint::new(
                "the features of this SAE have no labels",
                "labels are read from labels.json in the SAE's folder: {\"417\": \"adjectives\"}",
            )
        })?;
        let features = labelled(labels, self.sae.config().d_sae(), word);
        Ok(features.map(|feature| Entry { feature, key: None }).collect())
    }

    pub(crate) fn pages(&self, features: &[usize], n: usize) -> Result<Vec<Page>> {
        let weights = self.scope.model().feature_weights(self.hook, features, n)?;
        let page = |FeatureWeights { geometry, effects, nearest }: FeatureWeights| Page {
            geometry,
            effect: effects.map(|effects| LogitEffect::from_effects(&effects, n)),
            nearest,
        };
        Ok(weights.into_iter().map(page).collect())
    }

    /// Turns up the first feature by the default share of the norm.
    fn steer(&self) -> Option<Intervention> {
        let feature = self.entries.first()?.feature;
        let has_direction = self
            .sae
            .geometry(&[feature as usize])
            .is_ok_and(|found| found.first().is_some_and(|geometry| geometry.decoder_norm > 0.0));
        has_direction.then(|| self.scope.names().turn_up(self.hook, feature))
    }
}

/// The features among `d_sae` with `word` in their label, ignoring case.
pub(crate) fn labelled<'l>(
    labels: &'l Labels,
    d_sae: usize,
    word: &str,
) -> impl Iterator<Item = u32> + use<'l> {
    let word = word.to_lowercase();
    let has = move |feature: &u32| {
        labels.get(*feature).is_some_and(|label| label.to_lowercase().contains(&word))
    };
    (0..d_sae as u32).filter(has)
}

/// The SAE at `hook`, or the deepest SAE.
pub(crate) fn sae_at(scope: &Microscope, hook: Option<HookPoint>) -> Result<(HookPoint, &Sae)> {
    if let Some(hook) = hook {
        return Ok((hook, scope.model().sae(hook)?));
    }
    let deepest = scope.model().saes().iter().next_back().map(|(&hook, sae)| (hook, sae));
    deepest.ok_or_else(|| Hint::new("no SAE is loaded", "load one with --sae PATH").into())
}
