use crate::token_text::shown_token;

/// The number of tokens in each part of a name.
const MAX_FIRES_ON: usize = 3;
const MAX_PROMOTED: usize = 2;

/// The tokens on which a feature fires, for its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firing<'a> {
    /// No text was read.
    Unknown,
    /// The feature fires nowhere in the text.
    Never,
    /// It fires mostly on these tokens.
    On(&'a [String]),
    /// It fires on many different tokens, mostly after these.
    After(&'a [String]),
    /// It fires on many different tokens.
    Anywhere,
}

/// Composes a feature's automatic name from the tokens on which it fires most strongly and those that it
/// promotes most: `fires on ·mom ·dad · promotes ·said`. Both lists begin with the most important token.
///
/// The name helps to recognise a feature; its meaning is left to a person.
///
/// ```
/// use nanoscope_index::{Firing, automatic_name};
///
/// let on = [" mom".to_owned(), " dad".to_owned()];
/// assert_eq!(
///     automatic_name(Firing::On(&on), &[" said".to_owned()]),
///     "fires on ·mom ·dad · promotes ·said"
/// );
/// ```
pub fn automatic_name(firing: Firing<'_>, promoted: &[String]) -> String {
    let listed = |what: &str, tokens: &[String], n: usize| {
        let shown: Vec<String> = tokens.iter().take(n).map(|token| shown_token(token)).collect();
        format!("{what} {}", shown.join(" "))
    };
    let mut parts = Vec::new();
    match firing {
        Firing::Unknown => {}
        Firing::Never => parts.push("never fires here".to_owned()),
        Firing::On(tokens) => parts.push(listed("fires on", tokens, MAX_FIRES_ON)),
        Firing::After(tokens) => parts.push(listed("fires after", tokens, MAX_FIRES_ON)),
        Firing::Anywhere => parts.push("fires on many tokens".to_owned()),
    }
    if !promoted.is_empty() {
        parts.push(listed("promotes", promoted, MAX_PROMOTED));
    }
    if parts.is_empty() { "no text was indexed".to_owned() } else { parts.join(" · ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(firing: Firing<'_>, promoted: &[&str]) -> String {
        let promoted: Vec<String> = promoted.iter().map(|&token| token.to_owned()).collect();
        automatic_name(firing, &promoted)
    }

    #[test]
    fn each_kind_of_firing_has_its_words() {
        let tokens: Vec<String> = [" a", "b", "\n", " d"].map(str::to_owned).into();
        for (firing, promoted, expected) in [
            (Firing::On(&tokens), &[" x", "y", "z"][..], "fires on ·a b ↵ · promotes ·x y"),
            (Firing::After(&tokens[..1]), &[], "fires after ·a"),
            (Firing::Never, &["x"], "never fires here · promotes x"),
            (Firing::Anywhere, &[], "fires on many tokens"),
            (Firing::Unknown, &["x"], "promotes x"),
            (Firing::Unknown, &[], "no text was indexed"),
        ] {
            assert_eq!(name(firing, promoted), expected);
        }
    }
}
