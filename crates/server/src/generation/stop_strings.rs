//! Stop strings, matched across token boundaries.

/// Searches a text that arrives in pieces for stop strings.
///
/// Text that may be the beginning of a stop string is held back until that is decided.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopStrings {
    stops: Vec<String>,
    held: String,
}

/// The text that is released after a piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) text: String,
    /// True if a stop string follows the text.
    pub(crate) stopped: bool,
}

impl StopStrings {
    /// Searches for any of `stops`.
    ///
    /// # Panics
    /// If a stop string is empty.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        assert!(
            stops.iter().all(|stop| !stop.is_empty()),
            "an empty stop string matches everywhere"
        );
        Self { stops, held: String::new() }
    }

    /// Appends a piece and returns the text that can be shown now.
    pub(crate) fn push(&mut self, piece: &str) -> Released {
        self.held.push_str(piece);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.held.truncate(at);
            return Released { text: std::mem::take(&mut self.held), stopped: true };
        }
        let rest = self.held.split_off(self.held.len() - self.partial_match());
        Released { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// Returns the text that is still held back, once no piece follows.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length in bytes of the longest suffix that may be the beginning of a stop string.
    fn partial_match(&self) -> usize {
        let prefix_len = |stop: &String| {
            let longest = self.held.len().min(stop.len() - 1);
            (1..=longest)
                .rev()
                .find(|&len| stop.is_char_boundary(len) && self.held.ends_with(&stop[..len]))
        };
        self.stops.iter().filter_map(prefix_len).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text released after each piece and at the end, and whether a stop string was found.
    fn pieces(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut strings = StopStrings::new(stops.iter().map(ToString::to_string).collect());
        let mut out = Vec::new();
        for piece in pieces {
            let Released { text, stopped } = strings.push(piece);
            out.push(text);
            if stopped {
                return (out, true);
            }
        }
        out.push(strings.finish());
        (out, false)
    }

    #[test]
    fn a_stop_string_is_found_across_pieces() {
        let (out, stopped) = pieces(&["END"], &["a", " E", "N", "D b"]);

        assert_eq!((out.concat().as_str(), stopped), ("a ", true));
        assert_eq!(out, ["a", " ", "", ""]);
    }

    #[test]
    fn text_that_turns_out_not_to_be_a_stop_string_is_released() {
        let (out, stopped) = pieces(&["END"], &["E", "NE", "x"]);

        assert_eq!(out, ["", "EN", "Ex", ""].map(str::to_owned));
        assert!(!stopped);
    }

    #[test]
    fn text_that_is_held_back_at_the_end_belongs_to_the_text() {
        assert_eq!(pieces(&["\n\n"], &["a\n"]), (vec!["a".to_owned(), "\n".to_owned()], false));
    }

    #[test]
    fn of_several_stop_strings_the_first_in_the_text_counts() {
        assert_eq!(pieces(&["cd", "b"], &["abcd"]), (vec!["a".to_owned()], true));
    }

    #[test]
    fn multi_byte_characters_are_not_split() {
        let (out, stopped) = pieces(&["éé"], &["é", "a", "éé"]);

        assert_eq!((out.concat().as_str(), stopped), ("éa", true));
    }
}
