//! Results as HTML, for a notebook.

use nanoscope::Microscope;
use nanoscope_cli::heatmap::{HeatMapToken, as_svg};

use crate::table::Token;

/// The heat map of `tokens`, or their text if no feature is active on them.
pub(crate) fn html(scope: &Microscope, tokens: &[Token<'_>], rows: Option<usize>) -> String {
    let columns = tokens.iter().map(|token| HeatMapToken {
        row: token.row,
        token_id: token.token_id,
        is_prompt: token.is_prompt,
        features: token
            .features
            .iter()
            .map(|(&hook, features)| (hook, features.row(token.features_row).collect()))
            .collect(),
    });
    let inside = as_svg(scope, columns, rows).unwrap_or_else(|| {
        let text = |token: &Token<'_>| scope.model().token_text(token.token_id);
        format!("<pre>{}</pre>", escaped(&tokens.iter().map(text).collect::<String>()))
    });
    format!("<div style=\"overflow-x:auto\">{inside}</div>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
