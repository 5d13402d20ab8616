//! Line breaks between words, in a text that arrives piece by piece.

use std::io::IsTerminal;

use unicode_width::UnicodeWidthStr;

use crate::terminal::display::width;

/// Breaks the lines of a text between words, as far as words fit.
#[derive(Debug)]
pub(crate) struct WordWrap {
    /// The width of a line, in cells; without one nothing is broken.
    cells: Option<usize>,
    /// The cells used in the current line.
    used: usize,
    spaces: String,
    word: String,
}

impl WordWrap {
    /// Breaks lines at the width of the terminal. In a file or a pipe lines stay as they are.
    pub(crate) fn for_stdout() -> Self {
        Self::new(std::io::stdout().is_terminal().then(width))
    }

    fn new(cells: Option<usize>) -> Self {
        Self { cells, used: 0, spaces: String::new(), word: String::new() }
    }

    /// Adds a piece of the text. Returns what can be written; a word is complete only with the space
    /// after it.
    pub(crate) fn push(&mut self, text: &str) -> String {
        if self.cells.is_none() {
            return text.to_owned();
        }
        let mut out = String::new();
        for c in text.chars() {
            match c {
                '\n' => {
                    out.push_str(&self.finish());
                    out.push('\n');
                    self.used = 0;
                }
                ' ' | '\t' => {
                    self.place_word(&mut out);
                    self.spaces.push(' ');
                }
                c => self.word.push(c),
            }
        }
        out
    }

    /// Returns the rest of the text.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        self.place_word(&mut out);
        self.spaces.clear();
        out
    }

    /// `text` as a whole.
    pub(crate) fn wrap(mut self, text: &str) -> String {
        let mut out = self.push(text);
        out.push_str(&self.finish());
        out
    }

    fn place_word(&mut self, out: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let cells = self.cells.unwrap_or(usize::MAX).max(1);
        let (spaces, word) = (self.spaces.width(), width_of(&self.word));
        if self.used > 0 && self.used + spaces + word > cells {
            out.push('\n');
            self.used = word;
        } else {
            out.push_str(&self.spaces);
            self.used += spaces + word;
        }
        // The terminal itself breaks a word that is longer than a line.
        if self.used > cells {
            self.used = (self.used - 1) % cells + 1;
        }
        out.push_str(&self.word);
        self.word.clear();
        self.spaces.clear();
    }
}

/// The width of a word in cells, without its styles.
fn width_of(word: &str) -> usize {
    anstream::adapter::strip_str(word).to_string().width()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrapped(text: &str, cells: usize) -> String {
        WordWrap::new(Some(cells)).wrap(text)
    }

    #[test]
    fn a_line_is_broken_between_words() {
        let story = "Once upon a time, there was a dog.\nHis name was Spot.";

        assert_eq!(wrapped(story, 20), "Once upon a time,\nthere was a dog.\nHis name was Spot.");
        assert_eq!(wrapped("one two", 7), "one two");
        assert_eq!(wrapped("one two", 6), "one\ntwo");
        assert_eq!(wrapped("a surrounded b", 5), "a\nsurrounded\nb");
        assert_eq!(WordWrap::new(None).wrap(story), story);
    }

    proptest! {
        #[test]
        fn no_word_is_lost_broken_or_over_the_edge(
            words in prop::collection::vec("[a-zé]{1,8}", 0..30), cells in 8..40usize, cut in 1..5usize,
        ) {
            let text = words.join(" ");
            let mut wrap = WordWrap::new(Some(cells));
            let characters: Vec<char> = text.chars().collect();
            let mut out: String = characters
                .chunks(cut)
                .map(|piece| wrap.push(&piece.iter().collect::<String>()))
                .collect();
            out.push_str(&wrap.finish());

            prop_assert_eq!(out.split_whitespace().collect::<Vec<_>>(), words);
            prop_assert!(out.lines().all(|line| line.width() <= cells), "{}", out);
            prop_assert_eq!(out, wrapped(&text, cells));
        }
    }
}
