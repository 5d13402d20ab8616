//! The features that a command line asks for.

use anyhow::Result;
use nanoscope_checkpoint::Labels;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{
    FeatureStats, FeatureWeights, Intervention, LogitEffect, LogitEffectError, mean_differences,
};
use nanoscope_sae::{Geometry, Sae};

use super::args::{By, FeaturesArgs};
use super::text::{FeatureText, read_text};
use crate::load::Scope;
use crate::terminal::messages::Hint;

/// What the model is run on if no text is given: how the demo's stories begin.
const STORY: &str = "Once upon a time, there was a little girl named Lily. She loved to play \
                     outside with her dog. One day, she saw a big, red ball in the park.";

/// Features listed, and for each the places kept at which it is strongest.
const DEFAULT_LISTED: usize = 10;
const DEFAULT_EXCERPTS: usize = 4;
/// Tokens, neighbours and places on a feature's page.
pub(crate) const DEFAULT_ON_PAGE: usize = 6;

/// The features that were asked for, with all that is known of them.
pub(crate) struct FoundFeatures<'s> {
    pub(crate) scope: &'s Scope,
    pub(crate) hook: HookPoint,
    pub(crate) sae: &'s Sae,
    pub(crate) query: Query,
    /// None if there is no tokenizer, which is no error as long as no text is needed.
    pub(crate) text: Option<FeatureText<'s>>,
    /// Whether the text is the user's.
    pub(crate) is_user_text: bool,
    pub(crate) against: Option<FeatureText<'s>>,
    pub(crate) special: bool,
    pub(crate) entries: Vec<Entry>,
    /// How many there are beside those listed, and these.
    pub(crate) all: usize,
    /// How to turn the first of them up.
    pub(crate) steer: Option<Intervention>,
}

/// What the features were found by.
pub(crate) enum Query {
    Active(By),
    Against,
    Near(usize),
    Grep(String),
    Pages(Vec<Page>),
}

/// A feature that was found.
pub(crate) struct Entry {
    pub(crate) feature: u32,
    /// The score or the cosine by which it was found.
    pub(crate) key: Option<f64>,
}

/// What a feature's weights say of it.
pub(crate) struct Page {
    pub(crate) geometry: Geometry,
    pub(crate) effect: Result<LogitEffect, LogitEffectError>,
    pub(crate) nearest: Vec<(u32, f32)>,
}

impl<'s> FoundFeatures<'s> {
    pub(crate) fn new(scope: &'s Scope, args: &FeaturesArgs) -> Result<Self> {
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
        let run = |text: &str| FeatureText::run(scope, hook, text, args.keep_special, places);
        let own = read_text(args.text.text.as_deref(), args.text.text_file.as_deref())?;
        let other =
            read_text(args.against.against.as_deref(), args.against.against_file.as_deref())?;
        let needs_text =
            lookup.near.is_none() && lookup.grep.is_none() && lookup.feature.is_empty();
        let text = if own.is_some() || needs_text || scope.model.tokenizer().is_some() {
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
        self.scope.labels.get(&self.hook)
    }

    pub(crate) fn label(&self, feature: u32) -> Option<&'s str> {
        self.labels()?.get(feature)
    }

    /// The features that fire on the text.
    fn active(&self, by: By) -> Vec<Entry> {
        let features = self.stats().ranked(|stat| match by {
            By::Max => f64::from(stat.max_activation),
            By::Mean => stat.sum,
            By::Density => stat.fires as f64,
        });
        features.into_iter().map(|feature| Entry { feature, key: None }).collect()
    }

    /// The features that are specific to the text, compared with `other`.
    fn specific(&self, other: &FeatureStats) -> Vec<Entry> {
        let differences = mean_differences(self.stats(), other).into_iter();
        differences.map(|(feature, by)| Entry { feature, key: Some(by) }).collect()
    }

    fn stats(&self) -> &FeatureStats {
        &self.text.as_ref().expect("whoever lists what is active has run a text").stats
    }

    fn near(&self, feature: usize, top: usize) -> Result<Vec<Entry>> {
        let nearest = self.sae.nearest(feature, top)?.into_iter();
        Ok(nearest.map(|(feature, c)| Entry { feature, key: Some(f64::from(c)) }).collect())
    }

    fn grep(&self, word: &str) -> Result<Vec<Entry>> {
        let labels = self.labels().filter(|labels| !labels.is_empty()).ok_or_else(|| {
            Hint::new(
                "the features of this SAE have no labels to search",
                "they are read from labels.json in the SAE's folder: {\"417\": \"adjectives\"}",
            )
        })?;
        let features = labelled(labels, self.sae.config().d_sae(), word);
        Ok(features.map(|feature| Entry { feature, key: None }).collect())
    }

    pub(crate) fn pages(&self, features: &[usize], n: usize) -> Result<Vec<Page>> {
        let weights = self.scope.model.feature_weights(self.hook, features, n)?;
        let page = |FeatureWeights { geometry, effects, nearest }: FeatureWeights| Page {
            geometry,
            effect: effects.map(|effects| LogitEffect::from_effects(&effects, n)),
            nearest,
        };
        Ok(weights.into_iter().map(page).collect())
    }

    /// The first feature added at the largest value that it reaches in the text, or that strong
    /// features reach if it does not fire so strongly there: less than that steers nothing.
    fn steer(&self) -> Option<Intervention> {
        let feature = self.entries.first()?.feature;
        let text = self.text.as_ref()?;
        let value = text.stats.get(feature).max_activation.max(text.strong);
        let spec = format!("{}:{feature}:add:{}", self.hook, two_digits(value));
        (value > 0.0).then(|| spec.parse().expect("the form of an intervention"))
    }
}

/// The features of `d_sae` with `word` in their label, in small or large letters.
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

/// The SAE at `hook`; without one the deepest.
pub(crate) fn sae_at(scope: &Scope, hook: Option<HookPoint>) -> Result<(HookPoint, &Sae)> {
    if let Some(hook) = hook {
        return Ok((hook, scope.model.sae(hook)?));
    }
    let deepest = scope.model.saes().iter().next_back().map(|(&hook, sae)| (hook, sae));
    deepest.ok_or_else(|| {
        Hint::new("there is no SAE whose features could be listed", "load one with --sae PATH")
            .into()
    })
}

/// `value`, above 0, with two digits that say something.
fn two_digits(value: f32) -> f32 {
    format!("{value:.1e}").parse().expect("a number that was just written reads back")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_to_copy_has_two_digits() {
        assert_eq!(two_digits(33.64).to_string(), "34");
        assert_eq!(two_digits(0.012_34).to_string(), "0.012");
        assert_eq!(two_digits(1234.0).to_string(), "1200");
        assert_eq!(two_digits(9.96).to_string(), "10");
    }
}
