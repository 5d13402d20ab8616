use std::ops::Range;

use nanoscope_hooks::HookPoint;

/// What to do to one feature at one hook point.
///
/// Written `HOOK:FEATURE:OP[:VALUE][@WHERE]`, for example
/// `blocks.2.hook_resid_post:417:multiply:3@generated`; [`Display`](std::fmt::Display) and
/// [`FromStr`](std::str::FromStr) are inverses.
///
/// ```
/// use nanoscope_runtime::{Intervention, Op, Span, Splice};
///
/// let spec: Intervention = "blocks.2.hook_resid_post:417:add:8@0..5".parse().unwrap();
/// assert_eq!((spec.feature, spec.op), (417, Op::Add(8.0)));
/// assert_eq!(spec.at.span(), &Span::Range(0..5));
/// assert_eq!(spec.splice, Splice::KeepError);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Intervention {
    /// Where in the model.
    pub hook: HookPoint,
    /// The feature's index in the SAE at that point.
    pub feature: usize,
    /// What becomes of its value.
    pub op: Op,
    /// At which positions.
    pub at: Where,
    /// What becomes of the activation. Not part of the written form, which means
    /// [`Splice::KeepError`].
    pub splice: Splice,
}

/// What becomes of a feature's value `f`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// `a · f`: a feature that is not active stays so.
    Multiply(f32),
    /// `v`, active or not.
    Set(f32),
    /// `v` where the feature is active.
    SetIfActive(f32),
    /// 0.
    Ablate,
    /// `f + s`: adds `s` times the feature's decoder row to the activation.
    Add(f32),
}

impl Op {
    /// The feature's new value.
    pub(crate) fn apply(self, f: f32) -> f32 {
        match self {
            Self::Multiply(a) => a * f,
            Self::Set(v) => v,
            Self::SetIfActive(v) => {
                if f == 0.0 {
                    f
                } else {
                    v
                }
            }
            Self::Ablate => 0.0,
            Self::Add(s) => f + s,
        }
    }

    /// The number given with it.
    pub(crate) fn value(self) -> Option<f32> {
        match self {
            Self::Multiply(value)
            | Self::Set(value)
            | Self::SetIfActive(value)
            | Self::Add(value) => Some(value),
            Self::Ablate => None,
        }
    }

    /// Whether the new value depends on the old one.
    pub(crate) fn reads_feature(self) -> bool {
        !matches!(self, Self::Add(_))
    }
}

/// What becomes of the activation when features `f` become `f'`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Splice {
    /// `x + decode(f') − decode(f)`: what the SAE does not explain stays, and only the changed
    /// features have an effect.
    #[default]
    KeepError,
    /// `decode(f')`: what the SAE does not explain is lost, even if no feature changes. This is
    /// what nanochat-SAE does.
    Reconstruct,
}

/// The positions that an intervention covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Where {
    span: Span,
    special: bool,
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
    pub const ALL: Self = Self { span: Span::Whole, special: true };
    /// Every position but those of special tokens.
    pub const TEXT: Self = Self { span: Span::Whole, special: false };

    /// The positions of `span` that are not special tokens.
    pub fn text_of(span: Span) -> Self {
        Self { span, special: false }
    }

    /// The same stretch, special tokens too.
    pub fn with_special(self) -> Self {
        Self { special: true, ..self }
    }

    /// The stretch covered.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Whether special tokens in the stretch are covered.
    pub fn covers_special(&self) -> bool {
        self.special
    }

    /// Whether `position` of a sequence with a prompt of `prompt_len` tokens is covered.
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

/// At how many positions an intervention was applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The intervention.
    pub intervention: Intervention,
    /// Positions that it covered, in all rows together.
    pub positions: usize,
    /// Those at which the feature's value became another one. Multiplying a feature that never
    /// fires changes nothing.
    pub changed: usize,
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
    fn each_op_gives_the_new_value() {
        assert_eq!(Op::Multiply(-3.0).apply(2.0), -6.0);
        assert_eq!(Op::Set(5.0).apply(0.0), 5.0);
        assert_eq!(Op::SetIfActive(5.0).apply(0.0), 0.0);
        assert_eq!(Op::SetIfActive(5.0).apply(-1.0), 5.0);
        assert_eq!(Op::Ablate.apply(2.0), 0.0);
        assert_eq!(Op::Add(1.5).apply(2.0), 3.5);
    }
}
