//! The strengths of a sweep.

use std::str::FromStr;

use anyhow::Result;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Intervention, Op, Scale, SyntaxError, Target};

use crate::terminal::messages::Hint;

/// The strengths of `add` and `orthogonal` without a flag.
const DEFAULT: [&str; 5] = ["0%", "10%", "20%", "30%", "40%"];

/// Returns the operation with each strength, weakest first, and with the strength that changes nothing if the
/// operation has one.
///
/// # Errors
/// If the operation does not take one of the values, or they have different scales.
pub(super) fn ops(name: &OpName, strengths: &[Strength]) -> Result<Vec<Op>> {
    let mut ops = if strengths.is_empty() {
        let default = DEFAULT.map(|text| parse(&name.0, text));
        default.into_iter().collect::<Result<Vec<Op>, _>>().map_err(|_| {
            let hint = format!("name them, for example --op {} --strength 0.5,1,2", name.0);
            Hint::new(format!("`{}` has no default strengths", name.0), hint)
        })?
    } else {
        let given = strengths.iter().map(|strength| parse(&name.0, &strength.0));
        given.collect::<Result<Vec<Op>, _>>()?
    };
    // 0 is the same in every scale.
    let scaled = ops.iter().find(|op| !is_neutral(**op)).copied().or(ops.first().copied());
    let neutral = scaled.and_then(neutral);
    ops.retain(|&op| !is_neutral(op));
    if let Some(other) = ops.iter().find(|op| op.scale() != ops[0].scale()) {
        let error =
            format!("`{}` and `{}` have different scales", strength(ops[0]), strength(*other));
        return Err(Hint::new(error, "use one scale per sweep, for example percentages").into());
    }
    ops.extend(neutral);
    ops.sort_by(|a, b| value(*a).total_cmp(&value(*b)));
    ops.dedup();
    Ok(ops)
}

/// Returns whether an operation leaves every activation as it is.
pub(super) fn is_neutral(op: Op) -> bool {
    neutral(op).is_some_and(|neutral| value(neutral) == value(op))
}

/// The number of an operation that takes one.
pub(super) fn value(op: Op) -> f32 {
    op.value().unwrap_or_default()
}

/// The strength of an operation as it is written in an intervention: `30%`, or `3:unit`.
pub(super) fn strength(op: Op) -> String {
    let text = op.to_string();
    text.split_once(':').map_or_else(String::new, |(_, strength)| strength.to_owned())
}

/// The operation of the same kind and scale that changes nothing.
fn neutral(op: Op) -> Option<Op> {
    match op {
        Op::Add(_, scale) => Some(Op::Add(0.0, scale)),
        Op::Multiply(_) => Some(Op::Multiply(1.0)),
        Op::ProjectionScale(_) => Some(Op::ProjectionScale(1.0)),
        Op::Set(_)
        | Op::SetIfActive(_)
        | Op::Ablate
        | Op::Orthogonal(..)
        | Op::ProjectionCap(_) => None,
    }
}

/// The operation `name` with a value, as in an intervention.
fn parse(name: &str, value: &str) -> Result<Op, SyntaxError> {
    let text = format!("{}:0:{name}:{value}", HookPoint::Embed);
    let parsed: Intervention = text.parse()?;
    // A value has no place, condition or splice.
    if parsed == Intervention::new(HookPoint::Embed, Target::Feature(0), parsed.op) {
        Ok(parsed.op)
    } else {
        Err(SyntaxError::Form { text })
    }
}

/// The name of an operation that takes a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpName(String);

impl FromStr for OpName {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        parse(text, "1").map(|op| Self(op.name().to_owned()))
    }
}

/// A value for an operation, with its scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Strength(String);

impl FromStr for Strength {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `add` takes every value that another operation does.
        match parse("add", text) {
            Ok(op) if text.trim() == text && op.value().is_some() => Ok(Self(text.to_owned())),
            _ => Err("expected a finite number, or a percentage such as 30%".to_owned()),
        }
    }
}

/// The meaning of the numbers of a sweep's strengths, for an axis.
pub(super) fn unit(op: Op) -> &'static str {
    match op.scale() {
        Some(Scale::Norm) => "share of the activation's norm",
        Some(Scale::Unit) => "length along the feature's direction",
        Some(Scale::Raw) => "units of the feature's values",
        None if matches!(op, Op::Multiply(_) | Op::ProjectionScale(_)) => "factor",
        None if matches!(op, Op::ProjectionCap(_)) => "largest length along the direction",
        None => "value of the feature",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swept(op: &str, strengths: &str) -> Result<Vec<Op>> {
        let parsed = strengths.split(',').filter(|text| !text.is_empty());
        let parsed: Vec<Strength> = parsed.map(|text| text.parse().unwrap()).collect();
        ops(&op.parse().unwrap(), &parsed)
    }

    #[test]
    fn strengths_are_in_order_with_the_one_that_changes_nothing() {
        let add = |share| Op::Add(share, Scale::Norm);
        assert_eq!(swept("add", "30%,-10%,30%").unwrap(), [add(-0.1), add(0.0), add(0.3)]);
        assert_eq!(swept("add", "").unwrap(), [0.0, 0.1, 0.2, 0.3, 0.4].map(add));
        // 0 belongs to the scale of the others.
        assert_eq!(swept("add", "0,-0,20%").unwrap(), [add(0.0), add(0.2)]);
        let unit = |value| Op::Add(value, Scale::Unit);
        assert_eq!(swept("add", "3:unit").unwrap(), [unit(0.0), unit(3.0)]);
        assert_eq!(swept("multiply", "0,2").unwrap(), [0.0, 1.0, 2.0].map(Op::Multiply));
        // No value of `set` leaves every activation as it is.
        assert_eq!(swept("set", "0,2").unwrap(), [0.0, 2.0].map(Op::Set));
    }

    #[test]
    fn values_that_the_operation_does_not_take_are_refused() {
        let error = |op, strengths| swept(op, strengths).unwrap_err().to_string();

        assert!(error("multiply", "30%").contains("takes no percentage"));
        assert!(error("set", "3:unit").contains("takes no scale"));
        assert!(error("set", "").contains("no default strengths"));
        assert!(error("add", "3,30%").contains("`3` and `30%` have different scales"));
        for text in ["nan", "inf", "NaN%", "", " 3", "30%@last", "3 with reconstruct", "1e39", "x"]
        {
            assert!(text.parse::<Strength>().is_err(), "{text}");
        }
        assert!("boost".parse::<OpName>().unwrap_err().to_string().contains("`boost`"));
        assert!("ablate".parse::<OpName>().unwrap_err().to_string().contains("takes no value"));
        assert!("add:3@last".parse::<OpName>().is_err());
    }

    #[test]
    fn a_strength_is_written_as_in_an_intervention() {
        assert_eq!(strength(Op::Add(0.3, Scale::Norm)), "30%");
        assert_eq!(strength(Op::Add(3.0, Scale::Unit)), "3:unit");
        assert_eq!(strength(Op::Multiply(-2.5)), "-2.5");
    }
}
