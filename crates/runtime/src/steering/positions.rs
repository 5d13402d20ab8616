use std::ops::Range;

/// The positions that an intervention covers, and in which rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    range: PositionRange,
    special: bool,
    rows: Option<Range<usize>>,
}

/// A stretch of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PositionRange {
    /// Every position.
    Whole,
    /// The prompt.
    Prompt,
    /// What was generated: the positions after the prompt.
    Generated,
    /// Positions counted from the start of the sequence, the end excluded.
    Range(Range<usize>),
    /// The prompt's last position. It stays where it is while tokens are generated, so that a
    /// cached generation and a full pass over the same sequence agree.
    Last,
}

impl Positions {
    /// Every position, special tokens too.
    pub const ALL: Self = Self { range: PositionRange::Whole, special: true, rows: None };
    /// Every position but those of special tokens.
    pub const TEXT: Self = Self { range: PositionRange::Whole, special: false, rows: None };

    /// The positions of `range` that are not special tokens.
    pub fn text_in(range: PositionRange) -> Self {
        Self { range, special: false, rows: None }
    }

    /// The same stretch, special tokens too.
    pub fn with_special(self) -> Self {
        Self { special: true, ..self }
    }

    /// The same positions in these rows of a batch only, the end excluded.
    pub fn in_rows(self, rows: Range<usize>) -> Self {
        Self { rows: Some(rows), ..self }
    }

    /// The stretch covered.
    pub fn range(&self) -> &PositionRange {
        &self.range
    }

    /// Whether special tokens in the stretch are covered.
    pub fn covers_special(&self) -> bool {
        self.special
    }

    /// The rows covered, the end excluded; none for all of them.
    pub fn rows(&self) -> Option<&Range<usize>> {
        self.rows.as_ref()
    }

    /// Whether row `row` of a batch is covered.
    pub(crate) fn covers_row(&self, row: usize) -> bool {
        self.rows.as_ref().is_none_or(|rows| rows.contains(&row))
    }

    /// Whether `position` of a covered row with a prompt of `prompt_len` tokens is covered.
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
