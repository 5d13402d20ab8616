use std::ops::Range;

/// The positions that an intervention covers, and in which rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Where {
    span: Span,
    special: bool,
    rows: Option<Range<usize>>,
}

/// A stretch of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
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

impl Where {
    /// Every position, special tokens too.
    pub const ALL: Self = Self { span: Span::Whole, special: true, rows: None };
    /// Every position but those of special tokens.
    pub const TEXT: Self = Self { span: Span::Whole, special: false, rows: None };

    /// The positions of `span` that are not special tokens.
    pub fn text_of(span: Span) -> Self {
        Self { span, special: false, rows: None }
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
    pub fn span(&self) -> &Span {
        &self.span
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
        let inside = match &self.span {
            Span::Whole => true,
            Span::Prompt => position < prompt_len,
            Span::Generated => position >= prompt_len,
            Span::Range(range) => range.contains(&position),
            Span::Last => position + 1 == prompt_len,
        };
        inside && (self.special || !is_special)
    }
}

impl Default for Where {
    fn default() -> Self {
        Self::TEXT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The covered positions of `special text text | text special`, `|` being the prompt's end.
    fn covered(at: &Where) -> Vec<usize> {
        let special = [true, false, false, false, true];
        (0..5).filter(|&position| at.covers(position, 3, special[position])).collect()
    }

    #[test]
    fn each_rule_covers_its_positions_and_special_tokens_only_when_told() {
        let text = Where::text_of;
        assert_eq!(covered(&Where::ALL), [0, 1, 2, 3, 4]);
        assert_eq!(covered(&Where::TEXT), [1, 2, 3]);
        assert_eq!(covered(&text(Span::Prompt)), [1, 2]);
        assert_eq!(covered(&text(Span::Prompt).with_special()), [0, 1, 2]);
        assert_eq!(covered(&text(Span::Generated)), [3]);
        assert_eq!(covered(&text(Span::Generated).with_special()), [3, 4]);
        assert_eq!(covered(&text(Span::Range(2..5))), [2, 3]);
        assert_eq!(covered(&text(Span::Last)), [2]);
    }

    #[test]
    fn rows_are_covered_from_the_first_to_before_the_last() {
        let covered = |at: Where| (0..4).filter(|&row| at.covers_row(row)).collect::<Vec<_>>();

        assert_eq!(covered(Where::TEXT), [0, 1, 2, 3]);
        assert_eq!(covered(Where::TEXT.in_rows(1..3)), [1, 2]);
    }
}
