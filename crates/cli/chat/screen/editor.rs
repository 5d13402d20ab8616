//! The line editor and its history.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::terminal::display::sanitized;

/// A line with a cursor that moves by grapheme clusters.
#[derive(Debug, Default)]
pub(crate) struct Editor {
    text: String,
    /// The byte offset of the cursor, between two grapheme clusters.
    cursor: usize,
    history: Vec<String>,
    /// The shown line of the history, and the draft typed before.
    browsing: Option<(usize, String)>,
}

impl Editor {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Inserts `text` at the cursor. Line breaks and tabs become spaces.
    pub(crate) fn insert(&mut self, text: &str) {
        let text = sanitized(text).replace(['\n', '\t'], " ");
        self.text.insert_str(self.cursor, &text);
        self.cursor += text.len();
    }

    /// Replaces the line.
    pub(crate) fn set(&mut self, text: String) {
        self.cursor = text.len();
        self.text = text;
    }

    /// Returns the line, clears it and adds it to the history.
    pub(crate) fn take(&mut self) -> String {
        let line = std::mem::take(&mut self.text);
        self.cursor = 0;
        self.browsing = None;
        if !line.trim().is_empty() && self.history.last() != Some(&line) {
            self.history.push(line.clone());
        }
        line
    }

    pub(crate) fn left(&mut self) {
        self.cursor = self.before();
    }

    pub(crate) fn right(&mut self) {
        self.cursor = self.after();
    }

    pub(crate) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(crate) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    pub(crate) fn backspace(&mut self) {
        let before = self.before();
        self.text.replace_range(before..self.cursor, "");
        self.cursor = before;
    }

    pub(crate) fn delete(&mut self) {
        self.text.replace_range(self.cursor..self.after(), "");
    }

    /// Deletes the word before the cursor.
    pub(crate) fn delete_word(&mut self) {
        let kept = self.text[..self.cursor].trim_end();
        let start = kept
            .rfind(char::is_whitespace)
            .map_or(0, |at| at + kept[at..].chars().next().map_or(0, char::len_utf8));
        self.text.replace_range(start..self.cursor, "");
        self.cursor = start;
    }

    pub(crate) fn delete_to_start(&mut self) {
        self.text.replace_range(..self.cursor, "");
        self.cursor = 0;
    }

    pub(crate) fn delete_to_end(&mut self) {
        self.text.truncate(self.cursor);
    }

    /// Shows the previous line of the history.
    pub(crate) fn up(&mut self) {
        let at = self.browsing.as_ref().map_or(self.history.len(), |(at, _)| *at);
        let Some(at) = at.checked_sub(1) else { return };
        let draft = match self.browsing.take() {
            Some((_, draft)) => draft,
            None => self.text.clone(),
        };
        self.browsing = Some((at, draft));
        self.set(self.history[at].clone());
    }

    /// Shows the next line of the history; after the last one the draft.
    pub(crate) fn down(&mut self) {
        let Some((at, draft)) = self.browsing.take() else { return };
        match self.history.get(at + 1).cloned() {
            Some(line) => {
                self.browsing = Some((at + 1, draft));
                self.set(line);
            }
            None => self.set(draft),
        }
    }

    /// The part of the line around the cursor that fits into `cells`, and the cursor's cell in it.
    pub(crate) fn window(&self, cells: usize) -> (&str, usize) {
        let mut before = &self.text[..self.cursor];
        // The cursor needs a cell of its own.
        while before.width() + 1 > cells {
            let Some(first) = before.graphemes(true).next() else { break };
            before = &before[first.len()..];
        }
        let start = self.cursor - before.len();
        let (mut end, mut used) = (start, 0);
        for grapheme in self.text[start..].graphemes(true) {
            used += grapheme.width();
            if used > cells {
                break;
            }
            end += grapheme.len();
        }
        (&self.text[start..end], before.width())
    }

    fn before(&self) -> usize {
        let last = self.text[..self.cursor].graphemes(true).next_back();
        self.cursor - last.map_or(0, str::len)
    }

    fn after(&self) -> usize {
        self.cursor + self.text[self.cursor..].graphemes(true).next().map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Editor {
        let mut editor = Editor::default();
        editor.insert(text);
        editor
    }

    #[test]
    fn a_character_of_several_code_points_is_taken_away_at_once() {
        let mut editor = typed("ae\u{301}👩\u{200d}🚀");

        editor.backspace();
        assert_eq!(editor.text(), "ae\u{301}");
        editor.left();
        editor.insert("-");
        assert_eq!(editor.text(), "a-e\u{301}");
        editor.delete();
        assert_eq!(editor.text(), "a-");
    }

    #[test]
    fn words_and_ends_of_a_line_can_be_taken_away() {
        let mut editor = typed("once upon  ");

        editor.delete_word();
        assert_eq!(editor.text(), "once ");
        editor.delete_word();
        editor.delete_word();
        assert_eq!(editor.text(), "");
        editor.insert("ab");
        editor.left();
        editor.delete_to_end();
        assert_eq!(editor.text(), "a");
        editor.delete_to_start();
        assert_eq!(editor.text(), "");
    }

    #[test]
    fn the_history_gives_lines_back_and_what_was_being_typed() {
        let mut editor = typed("first");
        editor.take();
        editor.insert("second");
        editor.take();
        editor.insert("dra");

        editor.up();
        editor.up();
        editor.up();
        assert_eq!(editor.text(), "first");
        editor.down();
        assert_eq!(editor.text(), "second");
        editor.down();
        editor.down();
        assert_eq!(editor.text(), "dra");
    }

    #[test]
    fn a_long_line_is_shown_around_the_cursor_whatever_its_characters_are_wide() {
        let mut editor = typed("日本語日本語");

        assert_eq!(editor.window(6), ("本語", 4));
        editor.home();
        assert_eq!(editor.window(5), ("日本", 0));
        assert_eq!(editor.window(0), ("", 0));
        assert_eq!(typed("abc").window(10), ("abc", 3));
    }

    #[test]
    fn what_is_pasted_is_one_line_without_control_characters() {
        assert_eq!(typed("a\nb\u{1b}[31m\tc").text(), "a b[31m c");
    }
}
