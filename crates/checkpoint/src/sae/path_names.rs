//! Information from the names of a file and its folders.

use std::path::Path;

use crate::files;

/// Returns the names of the file at `path` and of the folders that contain it, the innermost first.
///
/// Links are not followed: Hugging Face's cache has links with names to files without.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let path = files::absolute(path).unwrap_or_else(|_| path.to_owned());
    let names = path.components().rev().filter_map(|part| match part {
        std::path::Component::Normal(name) => name.to_str().map(str::to_owned),
        _ => None,
    });
    names.collect()
}

/// Returns whether the file at `path` is named `name`, and its folder has a file named `beside`.
pub(crate) fn is_beside(path: &Path, name: &str, beside: &str) -> bool {
    path.file_name().is_some_and(|found| found == name)
        && files::is_file(&path.with_file_name(beside))
}

/// Returns the number after `word`: 20 in `layer_20` for `layer_`. The word must not follow a letter or
/// digit.
pub(crate) fn number_after(text: &str, word: &str) -> Option<usize> {
    text.match_indices(word).find_map(|(at, _)| {
        let is_start = !text[..at].ends_with(|before: char| before.is_ascii_alphanumeric());
        let rest = &text[at + word.len()..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        is_start.then(|| rest[..digits].parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_after_a_whole_word() {
        assert_eq!(number_after("layer_20", "layer_"), Some(20));
        assert_eq!(number_after("layer_12_width_16k", "layer_"), Some(12));
        assert_eq!(number_after("Llama-3.1-8B-SAE-l19.pth", "l"), Some(19));
        assert_eq!(number_after("model5-l7.pt", "l"), Some(7));
        for text in ["", "layer_", "layer_x", "player_3", "layer_99999999999999999999999"] {
            assert_eq!(number_after(text, "layer_"), None, "{text}");
        }
    }

    #[test]
    fn names_come_from_the_file_outwards() {
        assert_eq!(names(Path::new("/a/b/c.npz")), ["c.npz", "b", "a"]);
    }
}
