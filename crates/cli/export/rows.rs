//! The rows of a table.

use nanoscope::Microscope;
use serde::Serialize;

use crate::terminal::export::TokenEntry;
use crate::terminal::feature_name::Naming;

/// The names of the columns, in the order of [`TableRow`]'s fields.
pub(crate) const COLUMNS: [&str; 10] = [
    "row",
    "position",
    "token_id",
    "token",
    "is_prompt",
    "logprob",
    "hook",
    "feature",
    "activation",
    "label",
];

/// One active feature on one token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct TableRow<'a> {
    /// The row of the batch; 0 for a generation.
    pub(crate) row: u32,
    pub(crate) position: u32,
    pub(crate) token_id: u32,
    /// The token alone, with U+FFFD in place of bytes that are not UTF-8 without their neighbours.
    pub(crate) token: &'a str,
    pub(crate) is_prompt: bool,
    /// The log probability that the model gave the token; none for tokens of a prompt.
    pub(crate) logprob: Option<f32>,
    pub(crate) hook: &'a str,
    pub(crate) feature: u32,
    pub(crate) activation: f32,
    pub(crate) label: Option<&'a str>,
}

/// Calls `write` with the rows of one token: by hook point, and the `top` strongest features of each
/// (default: all), strongest first.
pub(crate) fn rows<E>(
    scope: &Microscope,
    (row, is_prompt): (usize, bool),
    entry: &TokenEntry<'_>,
    top: Option<usize>,
    mut write: impl FnMut(TableRow<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for (&hook, features) in entry.features {
        let hook_name = hook.to_string();
        let strongest = features.strongest(entry.row, top.unwrap_or(usize::MAX));
        Naming::prepare(scope, hook, &strongest);
        for (feature, activation) in strongest {
            let name = scope.name(hook, feature);
            write(TableRow {
                row: row as u32,
                position: entry.position as u32,
                token_id: entry.token_id,
                token: entry.token,
                is_prompt,
                logprob: entry.logprob,
                hook: &hook_name,
                feature,
                activation,
                label: name.as_ref().map(|name| &*name.text),
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Rows with everything that a format has to keep apart.
    pub(crate) fn hostile() -> Vec<TableRow<'static>> {
        let row = |position, token, label, logprob| TableRow {
            row: 0,
            position,
            token_id: u32::MAX - position,
            token,
            is_prompt: position == 0,
            logprob,
            hook: "blocks.3.hook_resid_post",
            feature: 70_000,
            activation: 0.1 + position as f32,
            label,
        };
        vec![
            row(0, "<|bos|>", None, None),
            row(1, " say \"hi\",", Some("quote, then \"comma\""), Some(-0.0)),
            row(2, "line\nbreak\r\n", Some("two\nlines"), Some(-1e-12)),
            row(3, "nul\0inside", None, Some(-12.345_679)),
            row(4, "\u{fffd}", Some("a byte of a longer character"), Some(-3.0)),
            row(5, "\u{202e}", Some(""), Some(f32::MIN_POSITIVE)),
            row(6, "null", Some("NA"), Some(-1.0)),
            row(7, "", None, Some(-1.0)),
        ]
    }

    #[test]
    fn the_columns_are_the_fields_in_their_order() {
        let value = serde_json::to_value(hostile()[0]).unwrap();

        let names: Vec<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(names, COLUMNS);
    }
}
