use nanoscope_transformer::TokenBatch;

use crate::error::RuntimeError;
use crate::steering::{Intervention, PositionRange};

/// The positions of a pass's tokens in their sequences.
#[derive(Debug, Clone)]
pub(crate) struct TokenPositions {
    /// The position of the first token of each row.
    pub(crate) offset: usize,
    /// The number of tokens per row.
    pub(crate) seq: usize,
    pub(crate) prompt_len: usize,
    /// True for special tokens, row by row.
    pub(crate) special: Vec<bool>,
}

impl TokenPositions {
    pub(crate) fn new(
        tokens: &TokenBatch,
        offset: usize,
        prompt_len: usize,
        is_special: impl Fn(u32) -> bool,
    ) -> Self {
        let special = tokens.rows().flatten().map(|&id| is_special(id)).collect();
        Self { offset, seq: tokens.seq(), prompt_len, special }
    }

    /// The number of tokens, which is the number of rows of an activation matrix.
    pub(crate) fn rows(&self) -> usize {
        self.special.len()
    }

    /// Returns whether `intervention` covers the token at `row` of an activation matrix.
    pub(crate) fn covers(&self, intervention: &Intervention, row: usize) -> bool {
        let at = &intervention.at;
        let position = self.offset + row % self.seq;
        at.covers_row(row / self.seq) && at.covers(position, self.prompt_len, self.special[row])
    }

    /// Checks that the batch has the rows that `intervention` names, and that it covers a position
    /// of the pass or of the `more` positions that may be generated after it. Its condition is not
    /// considered.
    pub(crate) fn check(
        &self,
        intervention: &Intervention,
        more: usize,
    ) -> Result<(), RuntimeError> {
        let batch = self.rows() / self.seq;
        let nowhere = |reason: String| {
            Err(RuntimeError::Nowhere { intervention: intervention.to_string(), reason })
        };
        if let Some(rows) = intervention.at.rows() {
            if rows.end > batch {
                let intervention = intervention.to_string();
                return Err(RuntimeError::NoSuchRow { intervention, row: rows.end - 1, batch });
            }
            if rows.is_empty() {
                return nowhere("it names no rows".to_owned());
            }
        }
        if (0..self.rows()).any(|row| self.covers(intervention, row)) {
            return Ok(());
        }
        // Generated tokens are not known yet; assume that they are not special.
        let end = self.offset + self.seq;
        let later = (end..end + more).any(|p| intervention.at.covers(p, self.prompt_len, false));
        if later {
            return Ok(());
        }
        let at = intervention.at.clone().with_special();
        let only_special = (0..end).any(|p| at.covers(p, self.prompt_len, true));
        nowhere(match intervention.at.range() {
            PositionRange::Whole if only_special => {
                "there are only special tokens; `@all` covers them".to_owned()
            }
            _ if only_special => "there are only special tokens; `+special` covers them".to_owned(),
            PositionRange::Generated => "nothing is generated".to_owned(),
            PositionRange::Prompt | PositionRange::Last => "the prompt is empty".to_owned(),
            PositionRange::Whole | PositionRange::Range(_) => {
                format!("there are {} positions", end + more)
            }
        })
    }
}
