//! Texts that end a generation, wherever the borders of tokens are.

/// Looks for stop strings in a text that comes in pieces.
///
/// What may be the beginning of a stop string is held back until it is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopStrings {
    stops: Vec<String>,
    held: String,
}

/// What is certain after a piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Certain {
    pub(crate) text: String,
    /// A stop string came after the text.
    pub(crate) stopped: bool,
}

impl StopStrings {
    /// # Panics
    /// If a stop string is empty.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        assert!(stops.iter().all(|stop| !stop.is_empty()), "an empty stop string is everywhere");
        Self { stops, held: String::new() }
    }

    /// Takes a piece and gives the text that can be given out by now.
    pub(crate) fn push(&mut self, piece: &str) -> Certain {
        self.held.push_str(piece);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.held.truncate(at);
            return Certain { text: std::mem::take(&mut self.held), stopped: true };
        }
        let rest = self.held.split_off(self.held.len() - self.begun());
        Certain { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// What was held back, when nothing comes after it.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end that may be the beginning of a stop string.
    fn begun(&self) -> usize {
        let begins = |stop: &String| {
            let longest = self.held.len().min(stop.len() - 1);
            (1..=longest)
                .rev()
                .find(|&len| stop.is_char_boundary(len) && self.held.ends_with(&stop[..len]))
        };
        self.stops.iter().filter_map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is given out after each piece, and whether it stopped.
    fn pieces(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut strings = StopStrings::new(stops.iter().map(ToString::to_string).collect());
        let mut out = Vec::new();
        for piece in pieces {
            let Certain { text, stopped } = strings.push(piece);
            out.push(text);
            if stopped {
                return (out, true);
            }
        }
        out.push(strings.finish());
        (out, false)
    }

    #[test]
    fn a_stop_string_is_found_across_the_borders_of_pieces() {
        let (out, stopped) = pieces(&["END"], &["a", " E", "N", "D b"]);

        assert_eq!((out.concat().as_str(), stopped), ("a ", true));
        assert_eq!(out, ["a", " ", "", ""]);
    }

    #[test]
    fn what_turns_out_to_be_none_is_given_out() {
        let (out, stopped) = pieces(&["END"], &["E", "NE", "x"]);

        assert_eq!(out, ["", "EN", "Ex", ""].map(str::to_owned));
        assert!(!stopped);
    }

    #[test]
    fn what_is_held_at_the_end_belongs_to_the_text() {
        assert_eq!(pieces(&["\n\n"], &["a\n"]), (vec!["a".to_owned(), "\n".to_owned()], false));
    }

    #[test]
    fn of_several_the_one_that_comes_first_in_the_text_counts() {
        assert_eq!(pieces(&["cd", "b"], &["abcd"]), (vec!["a".to_owned()], true));
    }

    #[test]
    fn characters_of_several_bytes_are_not_cut() {
        let (out, stopped) = pieces(&["éé"], &["é", "a", "éé"]);

        assert_eq!((out.concat().as_str(), stopped), ("éa", true));
    }
}
