//! A heat map of tokens that are already computed, for a page that shows it.

use nanoscope::Microscope;
use nanoscope_hooks::HookPoint;

use super::figure::Figure;
use super::map::HeatMap;
use super::svg;

/// A column of a heat map.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMapToken {
    /// The row of the batch; 0 for a generation.
    pub row: usize,
    /// The token's id.
    pub token_id: u32,
    /// False for a generated token.
    pub is_prompt: bool,
    /// The active features of each hook point with their activations.
    pub features: Vec<(HookPoint, Vec<(u32, f32)>)>,
}

/// The `rows` strongest features per hook point (default: 12) on `tokens`, as SVG that can be a part of an HTML
/// page. `None` if no feature is active on them.
///
/// The tokens of a row come in the order of their positions.
pub fn as_svg(
    scope: &Microscope,
    tokens: impl IntoIterator<Item = HeatMapToken>,
    rows: Option<usize>,
) -> Option<String> {
    let mut map = HeatMap::new(scope, &[], rows).ok()?;
    for HeatMapToken { row, token_id, is_prompt, features } in tokens {
        let tokenizer = scope.model().tokenizer();
        let is_special = tokenizer.is_some_and(|tokenizer| tokenizer.is_special(token_id));
        let text = scope.model().token_text(token_id);
        let features = features.into_iter().map(|(hook, active)| (hook, active.into_iter()));
        map.push_token(row, (is_prompt, is_special), &text, features);
    }
    // The only error is that there is nothing to draw.
    let grid = map.grid(scope).ok()?;
    Some(svg::draw(&Figure::new(&grid)))
}
