//! Suggestions for misspelt names.

/// The similarity from which on a known name is suggested, between 0 and 1 (Jaro-Winkler).
const MIN_SIMILARITY: f64 = 0.8;

/// Comparing takes time, and a name in a file may have megabytes.
const MAX_NAME_BYTES: usize = 200;

/// The known name most similar to `name`, if one is similar. Case, `-` and `_` do not count.
pub fn most_similar<S: AsRef<str>>(name: &str, known: impl IntoIterator<Item = S>) -> Option<S> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let name = plain(name);
    known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(&name, &plain(known.as_ref())), known))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// The end of an error about an unknown name: "; did you mean `add`?", or nothing if no known name is
/// similar.
///
/// ```
/// use nanoscope_hooks::did_you_mean;
///
/// assert_eq!(did_you_mean("ad", ["set", "add"]), "; did you mean `add`?");
/// assert_eq!(did_you_mean("boost", ["set", "add"]), "");
/// ```
pub fn did_you_mean<S: AsRef<str>>(name: &str, known: impl IntoIterator<Item = S>) -> String {
    most_similar(name, known)
        .map(|known| format!("; did you mean `{}`?", known.as_ref()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_another_word_finds_none() {
        let names = ["multiply", "set", "set_if_active", "ablate", "add", "orthogonal"];
        for (slip, name) in [
            ("ad", "add"),
            ("adds", "add"),
            ("ADD", "add"),
            ("mutliply", "multiply"),
            ("set-if-active", "set_if_active"),
            ("ablte", "ablate"),
            ("orthagonal", "orthogonal"),
        ] {
            assert_eq!(most_similar(slip, names), Some(name), "{slip}");
        }
        for other in ["", "boost", "7", &"add".repeat(100)] {
            assert_eq!(most_similar(other, names), None, "{other}");
        }
        assert_eq!(most_similar("add", [""; 0]), None);
    }
}
