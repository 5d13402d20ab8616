//! Rules for the positions at which an intervention applies.
//!
//! `last` is the last position of the prompt, not that of the newest token. A rule that followed
//! the newest token would steer positions in a cached generation that a full pass over the same
//! tokens leaves unchanged, and the two would disagree.

use std::ops::Range;

/// The positions, and the rows of a batch, that an intervention covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    range: PositionRange,
    special: bool,
    rows: Option<Range<usize>>,
}

/// A range of positions in a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PositionRange {
    /// Every position.
    Whole,
    /// The prompt.
    Prompt,
    /// The generated tokens: the positions after the prompt.
    Generated,
    /// Positions counted from the start of the sequence; the end is excluded.
    Range(Range<usize>),
    /// The prompt's last position. It does not move while tokens are generated, so a cached
    /// generation and a full pass over the same sequence agree.
    Last,
}

impl Positions {
    /// Every position, including special tokens.
    pub const ALL: Self = Self { range: PositionRange::Whole, special: true, rows: None };
    /// Every position except those of special tokens.
    pub const TEXT: Self = Self { range: PositionRange::Whole, special: false, rows: None };

    /// Covers the positions of `range` except those of special tokens.
    pub fn text_in(range: PositionRange) -> Self {
        Self { range, special: false, rows: None }
    }

    /// Returns the same range including special tokens.
    pub fn with_special(self) -> Self {
        Self { special: true, ..self }
    }

    /// Returns the same positions restricted to `rows` of a batch; the end is excluded.
    pub fn in_rows(self, rows: Range<usize>) -> Self {
        Self { rows: Some(rows), ..self }
    }

    /// The range covered.
    pub fn range(&self) -> &PositionRange {
        &self.range
    }

    /// Returns whether special tokens in the range are covered.
    pub fn covers_special(&self) -> bool {
        self.special
    }

    /// The rows covered, with the end excluded; `None` for all rows.
    pub fn rows(&self) -> Option<&Range<usize>> {
        self.rows.as_ref()
    }

    /// Returns whether row `row` of a batch is covered.
    pub(crate) fn covers_row(&self, row: usize) -> bool {
        self.rows.as_ref().is_none_or(|rows| rows.contains(&row))
    }

    /// Returns whether `position` is covered in a covered row whose prompt has `prompt_len` tokens.
    pub(crate) fn covers(&self, position: usize, prompt_len: usize, is_special: bool) -> bool {
        let inside = match &self.range {
            PositionRange::Whole => true,
            PositionRange::Prompt => position < prompt_len,
            PositionRange::Generated => position >= prompt_len,
            PositionRange::Range(range) => range.contains(&position),
            PositionRange::Last => position + 1 == prompt_len,
        };
        inside && (self.special || !is_special)
    }
}

impl Default for Positions {
    fn default() -> Self {
        Self::TEXT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The covered positions of `special text text | text special`, `|` being the prompt's end.
    fn covered(at: &Positions) -> Vec<usize> {
        let special = [true, false, false, false, true];
        (0..5).filter(|&position| at.covers(position, 3, special[position])).collect()
    }

    #[test]
    fn each_rule_covers_its_positions_and_special_tokens_only_when_told() {
        let text = Positions::text_in;
        assert_eq!(covered(&Positions::ALL), [0, 1, 2, 3, 4]);
        assert_eq!(covered(&Positions::TEXT), [1, 2, 3]);
        assert_eq!(covered(&text(PositionRange::Prompt)), [1, 2]);
        assert_eq!(covered(&text(PositionRange::Prompt).with_special()), [0, 1, 2]);
        assert_eq!(covered(&text(PositionRange::Generated)), [3]);
        assert_eq!(covered(&text(PositionRange::Generated).with_special()), [3, 4]);
        assert_eq!(covered(&text(PositionRange::Range(2..5))), [2, 3]);
        assert_eq!(covered(&text(PositionRange::Last)), [2]);
    }

    #[test]
    fn rows_are_covered_from_the_first_to_before_the_last() {
        let covered = |at: Positions| (0..4).filter(|&row| at.covers_row(row)).collect::<Vec<_>>();

        assert_eq!(covered(Positions::TEXT), [0, 1, 2, 3]);
        assert_eq!(covered(Positions::TEXT.in_rows(1..3)), [1, 2]);
    }
}
