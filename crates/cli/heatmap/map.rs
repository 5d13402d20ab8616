//! The features of a heat map, gathered token by token.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_hooks::HookPoint;

use super::grid::{Column, FeatureRow, Grid, Group};
use super::shown::shown;
use crate::args::FeatureArg;
use crate::terminal::export::TokenEntry;
use crate::terminal::feature_name::Naming;
use crate::terminal::messages::Hint;

/// Rows per hook point, if no number was asked for.
const DEFAULT_ROWS: usize = 12;

/// The features of all tokens. The rows are chosen from them at the end.
pub(crate) struct HeatMap {
    /// The features to draw; empty for the strongest.
    chosen: Vec<(HookPoint, u32)>,
    rows: usize,
    texts: Vec<Vec<Token>>,
}

struct Token {
    text: String,
    is_prompt: bool,
    is_special: bool,
    features: BTreeMap<HookPoint, Vec<(u32, f32)>>,
}

impl HeatMap {
    /// A heat map of `features`, or of the `rows` strongest features per hook point.
    pub(crate) fn new(
        scope: &Microscope,
        features: &[FeatureArg],
        rows: Option<usize>,
    ) -> Result<Self> {
        let mut chosen = Vec::new();
        for &FeatureArg { hook, feature } in features {
            let deepest = || scope.model().saes().keys().next_back().copied();
            let Some(hook) = hook.or_else(deepest) else { continue };
            scope.model().sae(hook)?.config().check_feature(feature as usize)?;
            if !chosen.contains(&(hook, feature)) {
                chosen.push((hook, feature));
            }
        }
        Ok(Self { chosen, rows: rows.unwrap_or(DEFAULT_ROWS), texts: Vec::new() })
    }

    /// The hook points of the features to draw; none if they are chosen at the end.
    pub(crate) fn hooks(&self) -> impl Iterator<Item = HookPoint> {
        self.chosen.iter().map(|&(hook, _)| hook)
    }

    /// Adds a token to the text in `row` of the batch.
    pub(crate) fn push(
        &mut self,
        row: usize,
        (is_prompt, is_special): (bool, bool),
        entry: &TokenEntry<'_>,
    ) {
        let features = entry.features.iter();
        let features = features.map(|(&hook, features)| (hook, features.row(entry.row)));
        self.push_token(row, (is_prompt, is_special), entry.token, features);
    }

    /// Adds a token with the active `features` of each hook point to the text in `row` of the batch.
    pub(super) fn push_token(
        &mut self,
        row: usize,
        (is_prompt, is_special): (bool, bool),
        token: &str,
        features: impl Iterator<Item = (HookPoint, impl Iterator<Item = (u32, f32)>)>,
    ) {
        let is_drawn =
            |hook, feature| self.chosen.is_empty() || self.chosen.contains(&(hook, feature));
        let features = features.map(|(hook, active)| {
            (hook, active.filter(|&(feature, _)| is_drawn(hook, feature)).collect())
        });
        let token =
            Token { text: shown(token), is_prompt, is_special, features: features.collect() };
        if self.texts.len() <= row {
            self.texts.resize_with(row + 1, Vec::new);
        }
        self.texts[row].push(token);
    }

    /// The finished map.
    ///
    /// The strongest features are those with the largest activation on a token that is not special.
    /// These tokens also set the scale: `<|bos|>` often has activations many times larger.
    ///
    /// # Errors
    /// If there is nothing to draw.
    pub(crate) fn grid(self, scope: &Microscope) -> Result<Grid> {
        let only_special = self.texts.iter().flatten().all(|token| token.is_special);
        let counts = |token: &&Token| only_special || !token.is_special;
        let mut groups: Vec<Group> = Vec::new();
        for (hook, feature) in self.drawn(counts) {
            Naming::prepare(scope, hook, &[(feature, 0.0)]);
            let label = Naming::name(scope, hook, feature).map(|name| name.shown(usize::MAX));
            let row = FeatureRow { feature, label };
            match groups.iter_mut().find(|group| group.hook == hook) {
                Some(group) => group.rows.push(row),
                None => groups.push(Group { hook, largest: 0.0, rows: vec![row] }),
            }
        }
        if groups.is_empty() {
            let hint = "name the features to draw: --heatmap-feature HOOK:FEATURE";
            return Err(
                Hint::new("no feature is active on the text to draw in a heat map", hint).into()
            );
        }
        for group in &mut groups {
            let counted = self.texts.iter().flatten().filter(counts);
            let values = counted.filter_map(|token| token.features.get(&group.hook)).flatten();
            let rows = &group.rows;
            let drawn =
                values.filter(|(feature, _)| rows.iter().any(|row| row.feature == *feature));
            group.largest = drawn.fold(0.0_f32, |largest, (_, value)| largest.max(value.abs()));
        }
        let column = |token: Token| {
            let value = |group: &Group, row: &FeatureRow| {
                let features = token.features.get(&group.hook).into_iter().flatten();
                let mut of_row = features.filter(|(feature, _)| *feature == row.feature);
                of_row.next().map_or(0.0, |&(_, value)| value)
            };
            let values_of =
                |group: &Group| group.rows.iter().map(|row| value(group, row)).collect();
            let values = groups.iter().map(values_of).collect();
            Column { token: token.text, is_prompt: token.is_prompt, values }
        };
        let texts = self.texts.into_iter();
        let texts = texts.map(|text| text.into_iter().map(column).collect()).collect();
        Ok(Grid { groups, is_chosen: !self.chosen.is_empty(), texts })
    }

    /// The features to draw, by hook point.
    fn drawn(&self, counts: impl Fn(&&Token) -> bool) -> Vec<(HookPoint, u32)> {
        if !self.chosen.is_empty() {
            return self.chosen.clone();
        }
        let mut largest: BTreeMap<HookPoint, BTreeMap<u32, f32>> = BTreeMap::new();
        for token in self.texts.iter().flatten().filter(counts) {
            for (&hook, features) in &token.features {
                let of_hook = largest.entry(hook).or_default();
                for &(feature, value) in features {
                    let max = of_hook.entry(feature).or_insert(f32::NEG_INFINITY);
                    *max = max.max(value);
                }
            }
        }
        let strongest = |(hook, features): (HookPoint, BTreeMap<u32, f32>)| {
            let mut order: Vec<(u32, f32)> = features.into_iter().collect();
            // Stable: equally strong features stay in the order of their indices.
            order.sort_by(|a, b| b.1.total_cmp(&a.1));
            order.into_iter().take(self.rows).map(move |(feature, _)| (hook, feature))
        };
        let mut drawn: Vec<_> = largest.into_iter().flat_map(strongest).collect();
        // The deepest first, as the one that is tracked by default.
        drawn.sort_by_key(|&(hook, _)| Reverse(hook));
        drawn
    }
}
