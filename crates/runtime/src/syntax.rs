//! The written form of an intervention.

use std::fmt;
use std::str::FromStr;

use nanoscope_hooks::HookError;

use crate::intervention::{Intervention, Op, Span, Splice, Where};

/// Why a text is no intervention.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxError {
    /// There are too few or too many parts.
    #[error("`{text}` is not of the form HOOK:FEATURE:OP[:VALUE][@WHERE]")]
    Form {
        /// The text.
        text: String,
    },
    /// The hook point has no such name.
    #[error("the hook point of `{text}` is not known")]
    Hook {
        /// The text.
        text: String,
        /// What is wrong with it.
        source: HookError,
    },
    /// The feature is no number.
    #[error("`{found}` is no feature index")]
    Feature {
        /// What stands there.
        found: String,
    },
    /// The op has no such name.
    #[error("`{found}` is no operation; known are multiply, set, set_if_active, ablate, add")]
    Op {
        /// What stands there.
        found: String,
    },
    /// The op needs a number, or has one too many.
    #[error("`{op}` {}", if *.needs { "needs a finite number after it" } else { "takes no value" })]
    Value {
        /// The op.
        op: String,
        /// Whether it needs a value.
        needs: bool,
    },
    /// The positions have no such name.
    #[error(
        "`{found}` is no position rule; known are all, text, prompt, generated, last, A..B, each but the first two also with +special"
    )]
    Where {
        /// What stands there.
        found: String,
    },
}

/// Follows a stretch whose special tokens are covered too.
const SPECIAL: &str = "+special";

impl FromStr for Intervention {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let (what, at) = match text.split_once('@') {
            Some((what, at)) => (what, at.parse()?),
            None => (text, Where::default()),
        };
        let parts: Vec<&str> = what.split(':').collect();
        let [hook, feature, op, value @ ..] = parts.as_slice() else {
            return Err(SyntaxError::Form { text: text.to_owned() });
        };
        let hook =
            hook.parse().map_err(|source| SyntaxError::Hook { text: text.to_owned(), source })?;
        let feature =
            feature.parse().map_err(|_| SyntaxError::Feature { found: (*feature).to_owned() })?;
        let value = match value {
            [] => None,
            [value] => Some(*value),
            _ => return Err(SyntaxError::Form { text: text.to_owned() }),
        };
        Ok(Self { hook, feature, op: parse_op(op, value)?, at, splice: Splice::default() })
    }
}

fn parse_op(op: &str, value: Option<&str>) -> Result<Op, SyntaxError> {
    let number = || {
        value
            .and_then(|value| value.parse::<f32>().ok())
            .filter(|value| value.is_finite())
            .ok_or_else(|| SyntaxError::Value { op: op.to_owned(), needs: true })
    };
    Ok(match op {
        "multiply" => Op::Multiply(number()?),
        "set" => Op::Set(number()?),
        "set_if_active" => Op::SetIfActive(number()?),
        "add" => Op::Add(number()?),
        "ablate" if value.is_some() => {
            return Err(SyntaxError::Value { op: op.to_owned(), needs: false });
        }
        "ablate" => Op::Ablate,
        _ => return Err(SyntaxError::Op { found: op.to_owned() }),
    })
}

impl FromStr for Where {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let unknown = || SyntaxError::Where { found: text.to_owned() };
        match text {
            "all" => return Ok(Self::ALL),
            "text" => return Ok(Self::TEXT),
            _ => {}
        }
        let (name, special) = match text.strip_suffix(SPECIAL) {
            Some(name) => (name, true),
            None => (text, false),
        };
        let span = match name {
            "prompt" => Span::Prompt,
            "generated" => Span::Generated,
            "last" => Span::Last,
            range => {
                let (from, to) = range.split_once("..").ok_or_else(unknown)?;
                let from: usize = from.parse().map_err(|_| unknown())?;
                let to: usize = to.parse().map_err(|_| unknown())?;
                if from >= to {
                    return Err(unknown());
                }
                Span::Range(from..to)
            }
        };
        let at = Self::text_of(span);
        Ok(if special { at.with_special() } else { at })
    }
}

impl fmt::Display for Intervention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.hook, self.feature, self.op)?;
        if self.at == Where::default() { Ok(()) } else { write!(f, "@{}", self.at) }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Multiply(_) => "multiply",
            Self::Set(_) => "set",
            Self::SetIfActive(_) => "set_if_active",
            Self::Ablate => "ablate",
            Self::Add(_) => "add",
        };
        f.write_str(name)?;
        self.value().map_or(Ok(()), |value| write!(f, ":{value}"))
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.span() {
            Span::Whole => {
                return f.write_str(if self.covers_special() { "all" } else { "text" });
            }
            Span::Prompt => f.write_str("prompt")?,
            Span::Generated => f.write_str("generated")?,
            Span::Last => f.write_str("last")?,
            Span::Range(range) => write!(f, "{}..{}", range.start, range.end)?,
        }
        if self.covers_special() { f.write_str(SPECIAL) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_hooks::HookPoint;
    use proptest::prelude::*;

    use super::*;

    fn intervention() -> impl Strategy<Value = Intervention> {
        let hook = (0_usize..40).prop_flat_map(|layer| {
            prop::sample::select(HookPoint::all(layer + 1).collect::<Vec<_>>())
        });
        let value = || prop::num::f32::NORMAL | prop::num::f32::ZERO | prop::num::f32::SUBNORMAL;
        let op = prop_oneof![
            value().prop_map(Op::Multiply),
            value().prop_map(Op::Set),
            value().prop_map(Op::SetIfActive),
            Just(Op::Ablate),
            value().prop_map(Op::Add),
        ];
        let span = prop_oneof![
            Just(Span::Prompt),
            Just(Span::Generated),
            Just(Span::Last),
            Just(Span::Whole),
            (0_usize..1000, 1_usize..1000).prop_map(|(from, len)| Span::Range(from..from + len)),
        ];
        (hook, any::<usize>(), op, span, any::<bool>()).prop_map(
            |(hook, feature, op, span, special)| {
                let at = Where::text_of(span);
                let at = if special { at.with_special() } else { at };
                Intervention { hook, feature, op, at, splice: Splice::KeepError }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same(spec in intervention()) {
            prop_assert_eq!(spec.to_string().parse::<Intervention>(), Ok(spec));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-z0-9:.@+-]{0,40}") {
            let _ = text.parse::<Intervention>();
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let cases = [
            ("417", "`417` is not of the form HOOK:FEATURE:OP[:VALUE][@WHERE]"),
            (
                "hook_embed:1:add:1:2",
                "`hook_embed:1:add:1:2` is not of the form HOOK:FEATURE:OP[:VALUE][@WHERE]",
            ),
            ("hook_embd:1:add:1", "the hook point of `hook_embd:1:add:1` is not known"),
            ("hook_embed:-1:add:1", "`-1` is no feature index"),
            (
                "hook_embed:1:boost:1",
                "`boost` is no operation; known are multiply, set, set_if_active, ablate, add",
            ),
            ("hook_embed:1:add", "`add` needs a finite number after it"),
            ("hook_embed:1:add:inf", "`add` needs a finite number after it"),
            ("hook_embed:1:ablate:1", "`ablate` takes no value"),
            (
                "hook_embed:1:ablate@5..5",
                "`5..5` is no position rule; known are all, text, prompt, generated, last, A..B, each but the first two also with +special",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<Intervention>().unwrap_err().to_string(), message);
        }
    }
}
