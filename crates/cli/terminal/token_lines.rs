//! Tables of tokens with their strongest features.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::SparseFeatures;
use unicode_width::UnicodeWidthStr;

use crate::terminal::display::{BAR_CELLS, DIM, TOKEN, VALUE, bar, cut, pad, visible, width};
use crate::terminal::feature_name::Naming;

/// The width of a token, in cells. A longer one takes room from the name of its first feature.
const TOKEN_CELLS: usize = 12;
/// The width of an activation, in cells.
const VALUE_CELLS: usize = 6;
/// The space between two features of a line, in cells.
const GAP_CELLS: usize = 2;
/// The smallest width of a name for which another feature is put into a line, in cells.
const NAME_CELLS: usize = 32;
/// The most features shown per token and hook point by default.
const MAX_FEATURES: usize = 3;

/// Formats tokens with their features. Bars are relative to the largest activation seen at the hook
/// point so far.
#[derive(Debug)]
pub(crate) struct TokenLines {
    /// The features of a token at a hook point, and those of them in a line.
    top: usize,
    per_line: usize,
    /// The names of the hook points. A single one is in the header only.
    hooks: BTreeMap<HookPoint, String>,
    hook_cells: usize,
    bar_cells: usize,
    index_cells: usize,
    name_cells: usize,
    width: usize,
    largest: BTreeMap<HookPoint, f32>,
}

impl TokenLines {
    /// Shows `top` features per token at each of these hook points, whose SAEs have so many features;
    /// by default as many as one line of the terminal has room for.
    pub(crate) fn new(
        top: Option<usize>,
        hooks: impl IntoIterator<Item = (HookPoint, usize)>,
    ) -> Self {
        Self::with_width(top, hooks, width())
    }

    fn with_width(
        top: Option<usize>,
        hooks: impl IntoIterator<Item = (HookPoint, usize)>,
        width: usize,
    ) -> Self {
        let hooks: BTreeMap<HookPoint, usize> = hooks.into_iter().collect();
        let digits = |n: usize| n.saturating_sub(1).to_string().len();
        let index_cells = 1 + hooks.values().map(|&d_sae| digits(d_sae)).max().unwrap_or(1);
        let hooks = hook_names(hooks.into_keys().collect());
        let hook_cells = match hooks.len() {
            0 | 1 => 0,
            _ => hooks.values().map(String::len).chain([HOOK_HEADING.len()]).max().unwrap_or(0) + 1,
        };
        let room = width.saturating_sub(TOKEN_CELLS + 1 + hook_cells);
        let numbers = |bar_cells: usize| bar_cells + VALUE_CELLS + 1 + index_cells + 1;
        // In the narrowest terminals the bar makes room for the name.
        let bar_cells = if room > numbers(BAR_CELLS) { BAR_CELLS } else { 0 };
        let numbers = numbers(bar_cells);
        let fits = ((room + GAP_CELLS) / (numbers + NAME_CELLS + GAP_CELLS)).max(1);
        let top = top.unwrap_or(fits.min(MAX_FEATURES));
        let per_line = fits.min(top).max(1);
        let name_cells = ((room + GAP_CELLS) / per_line).saturating_sub(numbers + GAP_CELLS);
        Self {
            top,
            per_line,
            hooks,
            hook_cells,
            bar_cells,
            index_cells,
            name_cells,
            width,
            largest: BTreeMap::new(),
        }
    }

    /// The names of the columns.
    pub(crate) fn header(&self) -> String {
        let number_cells = self.bar_cells + VALUE_CELLS;
        let mut out = format!("{:<TOKEN_CELLS$} ", "token");
        if self.hook_cells > 0 {
            let _ = write!(out, "{HOOK_HEADING:<0$}", self.hook_cells);
        }
        let heading = if self.bar_cells > 0 { "activation" } else { "value" };
        let _ = write!(out, "{heading:>number_cells$} ");
        let order = if self.top > 1 { ", strongest first" } else { "" };
        let features = if self.top > 1 { "features" } else { "feature" };
        let _ = match self.hooks.keys().next().filter(|_| self.hooks.len() == 1) {
            Some(hook) => write!(out, "{features} of {hook}{order}"),
            None => write!(out, "{features}{order}"),
        };
        format!("{DIM}{}{DIM:#}", cut(&out, self.width))
    }

    /// Formats one token: at least a line for each tracked hook point.
    pub(crate) fn token<'a>(
        &mut self,
        token: &str,
        names: &dyn Naming,
        tracked: impl Iterator<Item = (HookPoint, &'a SparseFeatures, usize)>,
    ) -> String {
        let token = cut(&visible(token), TOKEN_CELLS + self.name_cells);
        let mut excess = token.width().saturating_sub(TOKEN_CELLS);
        let mut out = format!("{TOKEN}{}{TOKEN:#}", pad(&token, TOKEN_CELLS));
        for (at, (hook, features, row)) in tracked.enumerate() {
            if at > 0 {
                let _ = write!(out, "\n{}", " ".repeat(TOKEN_CELLS));
            }
            if self.hook_cells > 0 {
                let name = self.hooks.get(&hook).map_or("", String::as_str);
                let _ = write!(out, " {DIM}{}{DIM:#}", pad(name, self.hook_cells - 1));
            }
            let strongest = features.strongest(row, self.top);
            names.prepare(hook, &strongest);
            let largest = self.largest.entry(hook).or_insert(f32::MIN_POSITIVE);
            let row_max = strongest.iter().fold(0.0_f32, |max, (_, value)| max.max(value.abs()));
            *largest = largest.max(row_max);
            let largest = *largest;
            for (line, features) in strongest.chunks(self.per_line).enumerate() {
                if line > 0 {
                    let _ = write!(out, "\n{}", " ".repeat(TOKEN_CELLS + self.hook_cells));
                }
                let last = features.len() - 1;
                for (at, &(index, value)) in features.iter().enumerate() {
                    let gap = if at == 0 { 1 } else { GAP_CELLS };
                    let share = value.abs() / largest;
                    let cells = self.name_cells - std::mem::take(&mut excess);
                    let name = names.name(hook, index);
                    let shown = name.as_ref().map_or(String::new(), |name| name.shown(cells));
                    let style = name.map(|name| name.style()).unwrap_or_default();
                    let numbers = self.numbers(value, share);
                    let _ = write!(out, "{:gap$}{numbers} ", "");
                    let (index, index_cells) = (format!("#{index}"), self.index_cells);
                    if at < last {
                        let shown = pad(&shown, cells);
                        let _ = write!(
                            out,
                            "{DIM}{index:<index_cells$}{DIM:#} {style}{shown}{style:#}"
                        );
                    } else if shown.is_empty() {
                        let _ = write!(out, "{DIM}{index}{DIM:#}");
                    } else {
                        let _ = write!(
                            out,
                            "{DIM}{index:<index_cells$}{DIM:#} {style}{shown}{style:#}"
                        );
                    }
                }
            }
        }
        out
    }

    /// An activation as a bar and a number.
    fn numbers(&self, value: f32, share: f32) -> String {
        let bar = if self.bar_cells > 0 { bar(share) } else { String::new() };
        let value = number(value);
        format!("{VALUE}{bar}{value:>VALUE_CELLS$}{VALUE:#}")
    }
}

const HOOK_HEADING: &str = "layer";

/// Short names for hook points: the layer, or more if two are in the same layer.
fn hook_names(hooks: BTreeSet<HookPoint>) -> BTreeMap<HookPoint, String> {
    let layers: BTreeSet<usize> = hooks.iter().filter_map(|hook| hook.layer()).collect();
    let are_layers = layers.len() == hooks.len();
    let name = |hook: HookPoint| match hook.layer().filter(|_| are_layers) {
        Some(layer) => format!("L{layer}"),
        None => hook.to_string().replace("blocks.", "").replace("hook_", ""),
    };
    hooks.into_iter().map(|hook| (hook, name(hook))).collect()
}

/// An activation in [`VALUE_CELLS`], with a decimal if there is room.
fn number(value: f32) -> String {
    let forms = [format!("{value:.1}"), format!("{value:.0}"), format!("{value:.0e}")];
    let fits = forms.iter().find(|form| form.len() <= VALUE_CELLS);
    fits.unwrap_or(&forms[2]).clone()
}

#[cfg(test)]
mod tests {
    use nanoscope_checkpoint::Labels;

    use super::*;

    const LATE: HookPoint = HookPoint::ResidPost(3);

    fn plain(styled: &str) -> String {
        anstream::adapter::strip_str(styled).to_string()
    }

    /// Rows of five features, each of which has a name of 50 characters.
    fn lines(
        top: Option<usize>,
        hooks: &[HookPoint],
        width: usize,
        token: &str,
    ) -> (String, Vec<String>) {
        let name = "a name that is exactly as long as fifty characters";
        assert_eq!(name.len(), 50);
        let dir = tempfile::tempdir().unwrap();
        let names: serde_json::Map<_, _> =
            (0..2048).map(|index| (index.to_string(), name.into())).collect();
        let text = serde_json::to_vec(&names).unwrap();
        std::fs::write(dir.path().join("labels.json"), text).unwrap();
        let labels = Labels::read(dir.path(), 2048).unwrap();
        let mut features = SparseFeatures::new(2048);
        features.push_row((0..5).map(|index| (2000 + index, 40.0 - index as f32)));
        let mut lines = TokenLines::with_width(top, hooks.iter().map(|&hook| (hook, 2048)), width);
        let labels: BTreeMap<_, _> = hooks.iter().map(|&hook| (hook, labels.clone())).collect();
        let tracked = hooks.iter().map(|&hook| (hook, &features, 0));
        let text = plain(&lines.token(token, &labels, tracked));
        (plain(&lines.header()), text.lines().map(str::to_owned).collect())
    }

    #[test]
    fn no_row_is_wider_than_the_terminal() {
        let hooks = [LATE, HookPoint::MlpOut(3)];
        for width in [30, 34, 40, 50, 80, 100, 117, 132, 170, 200] {
            for (top, hooks) in [(None, &hooks[..1]), (None, &hooks[..]), (Some(5), &hooks[..1])] {
                if hooks.len() > 1 && width < 40 {
                    continue;
                }
                for token in [" once", " antidisestablishmentarianism", "日本語日本語日本語"]
                {
                    let (header, rows) = lines(top, hooks, width, token);
                    for row in rows.iter().chain([&header]) {
                        assert!(row.width() <= width, "{width}, {top:?}: {row}");
                    }
                }
            }
        }
    }

    #[test]
    fn names_get_the_room_that_there_is() {
        for (width, features, name_cells) in
            [(40, 1, 8), (80, 1, 48), (100, 1, 50), (120, 2, 33), (132, 2, 39), (200, 3, 42)]
        {
            let (_, rows) = lines(None, &[LATE], width, " once");

            assert_eq!(rows.len(), 1);
            assert_eq!(rows[0].matches('#').count(), features, "{}", rows[0]);
            let (_, name) = rows[0].split_once("#2000 ").unwrap();
            let name = name.split("  ").next().unwrap();
            assert_eq!(name.width(), name_cells, "{width}: {name}");
        }
    }

    #[test]
    fn more_features_than_a_line_holds_are_on_several_lines() {
        let (_, rows) = lines(Some(5), &[LATE], 120, " once");

        let counts: Vec<usize> = rows.iter().map(|row| row.matches('#').count()).collect();
        assert_eq!(counts, [2, 2, 1]);
    }

    #[test]
    fn a_hook_point_is_in_the_header_alone_or_on_each_row() {
        let (header, rows) = lines(None, &[LATE], 100, " once");
        assert_eq!(header, "token          activation feature of blocks.3.hook_resid_post");
        assert!(rows[0].starts_with("·once        ██████  40.0 #2000 a name"), "{}", rows[0]);

        let (header, rows) = lines(None, &[HookPoint::ResidPost(1), LATE], 100, " once");
        assert_eq!(header, "token        layer   activation feature");
        assert!(rows[0].starts_with("·once        L1    ██████  40.0"), "{}", rows[0]);
        assert!(rows[1].starts_with("             L3    ██████  40.0"), "{}", rows[1]);

        let (_, rows) = lines(None, &[LATE, HookPoint::MlpOut(3)], 100, " once");
        assert!(rows[0].contains("3.resid_post ") && rows[1].contains("3.mlp_out "), "{rows:?}");
    }

    #[test]
    fn an_activation_has_the_same_width_whatever_its_size() {
        let numbers = [(0.04, "0.0"), (43.06, "43.1"), (-9999.9, "-10000"), (1234.5, "1234.5")];
        for (value, expected) in numbers.into_iter().chain([(12_345.6, "12346"), (2.5e12, "2e12")])
        {
            assert_eq!(number(value), expected);
        }
    }
}
