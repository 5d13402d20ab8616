//! The text form of an intervention.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use nanoscope_hooks::HookPoint;

use super::intervention::{Intervention, Splice, Target};
use super::lex::{digits, feature_index, finite, range};
use super::op::{Op, Scale};
use super::positions::{PositionRange, Positions};
use super::share::{parse_share, percent};
use super::syntax_error::SyntaxError;

/// The suffix of a range that includes special tokens.
const SPECIAL: &str = "+special";
const RECONSTRUCT: &str = "reconstruct";

impl FromStr for Intervention {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let (rest, splice) = match clause(text, "with") {
            Some((rest, RECONSTRUCT)) => (rest, Splice::Reconstruct),
            Some((_, found)) => return Err(SyntaxError::Splice { found: found.to_owned() }),
            None => (text.trim(), Splice::KeepError),
        };
        let (rest, when) = match clause(rest, "when") {
            Some((rest, condition)) => (rest, Some(condition.parse()?)),
            None => (rest, None),
        };
        let (rest, rows) = split_rows(rest)?;
        let (what, mut at) = match rest.split_once('@') {
            Some((what, at)) => (what.trim(), at.trim().parse()?),
            None => (rest, Positions::default()),
        };
        if let Some(rows) = rows {
            at = at.in_rows(rows);
        }
        let parts: Vec<&str> = what.split(':').collect();
        let [hook, target, op, numbers @ ..] = parts.as_slice() else {
            return Err(SyntaxError::Form { text: text.to_owned() });
        };
        let hook =
            hook.parse().map_err(|error| SyntaxError::Hook { text: text.to_owned(), error })?;
        let target = parse_target(target)?;
        let (value, scale) = match numbers {
            [] => (None, None),
            [value] => (Some(*value), None),
            [value, scale] => (Some(*value), Some(*scale)),
            _ => return Err(SyntaxError::Form { text: text.to_owned() }),
        };
        let op = match value.and_then(|value| value.trim_end().strip_suffix('%')) {
            Some(share) => parse_share(op, share, scale)?,
            None => parse_op(op, value, finite, scale.map(str::parse))?,
        };
        check_target(&target, op)?;
        Ok(Self { hook, target, op, at, when, splice })
    }
}

impl Intervention {
    /// Parses the text form, whose hook point can be absent where `default` gives one: `1909:add:30%`
    /// stands for `blocks.3.hook_resid_post:1909:add:30%`.
    ///
    /// # Errors
    /// As [`FromStr`].
    pub fn parse_at(text: &str, default: Option<HookPoint>) -> Result<Self, SyntaxError> {
        match default {
            Some(hook) if lacks_hook(text) => {
                let form = |error| match error {
                    SyntaxError::Form { .. } => SyntaxError::Form { text: text.to_owned() },
                    other => other,
                };
                format!("{hook}:{}", text.trim()).parse().map_err(form)
            }
            _ => text.parse(),
        }
    }
}

/// Returns whether `text` begins with the index of a feature instead of a hook point.
fn lacks_hook(text: &str) -> bool {
    let first = text.split(':').next().unwrap_or_default().trim();
    !first.is_empty() && feature_index(first).is_some()
}

/// Splits `text` at `keyword`, if it occurs as a separate word.
fn clause<'t>(text: &'t str, keyword: &str) -> Option<(&'t str, &'t str)> {
    let (at, _) = text.match_indices(keyword).find(|(at, _)| {
        let (before, after) = (&text[..*at], &text[at + keyword.len()..]);
        before.ends_with(char::is_whitespace)
            && (after.is_empty() || after.starts_with(char::is_whitespace))
    })?;
    Some((text[..at].trim(), text[at + keyword.len()..].trim()))
}

/// Splits off the rows in square brackets at the end.
fn split_rows(text: &str) -> Result<(&str, Option<Range<usize>>), SyntaxError> {
    let Some((rest, rows)) = text.split_once('[') else { return Ok((text, None)) };
    let wrong = || SyntaxError::Rows { found: format!("[{rows}") };
    let inside = rows.strip_suffix(']').ok_or_else(wrong)?;
    let range = match digits(inside) {
        Some(row) => row.checked_add(1).map(|end| row..end),
        None => range(inside),
    };
    Ok((rest.trim(), Some(range.ok_or_else(wrong)?)))
}

fn parse_target(text: &str) -> Result<Target, SyntaxError> {
    if let Some(index) = feature_index(text) {
        return Ok(Target::Feature(index));
    }
    let name = text.parse().map_err(|_| SyntaxError::Target { found: text.to_owned() })?;
    Ok(Target::Vector(name))
}

/// Checks that `op` can act on `target`.
pub(crate) fn check_target(target: &Target, op: Op) -> Result<(), SyntaxError> {
    match target {
        Target::Vector(name) if op.reads_value() => {
            Err(SyntaxError::VectorOp { op: op.name(), vector: name.to_string() })
        }
        _ => Ok(()),
    }
}

/// Builds the operation `name` from a value, converted by `number`, and a scale.
pub(crate) fn parse_op<V>(
    name: &str,
    value: Option<V>,
    number: impl FnOnce(V) -> Option<f32>,
    scale: Option<Result<Scale, SyntaxError>>,
) -> Result<Op, SyntaxError> {
    let Some(&op) = Op::NAMES.iter().find(|known| **known == name) else {
        return Err(SyntaxError::Op { found: name.to_owned() });
    };
    if op == "ablate" {
        return match (value, scale) {
            (Some(_), _) => Err(SyntaxError::Value { op, needs: false }),
            (None, Some(_)) => Err(SyntaxError::NoScale { op }),
            (None, None) => Ok(Op::Ablate),
        };
    }
    let value = value.and_then(number).ok_or(SyntaxError::Value { op, needs: true })?;
    match (op, scale) {
        ("add", scale) => Ok(Op::Add(value, scale.transpose()?.unwrap_or_default())),
        ("orthogonal", scale) => Ok(Op::Orthogonal(value, scale.transpose()?.unwrap_or_default())),
        (op, Some(_)) => Err(SyntaxError::NoScale { op }),
        ("projection_scale", None) => Ok(Op::ProjectionScale(value)),
        ("projection_cap", None) => Ok(Op::ProjectionCap(value)),
        ("multiply", None) => Ok(Op::Multiply(value)),
        ("set", None) => Ok(Op::Set(value)),
        (_, None) => Ok(Op::SetIfActive(value)),
    }
}

impl FromStr for Scale {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let unknown = || SyntaxError::Scale { found: text.to_owned() };
        Self::ALL.into_iter().find(|scale| scale.name() == text).ok_or_else(unknown)
    }
}

impl FromStr for Positions {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let (text, rows) = split_rows(text)?;
        let at = parse_positions(text)?;
        Ok(match rows {
            Some(rows) => at.in_rows(rows),
            None => at,
        })
    }
}

/// Parses a position rule without rows.
pub(crate) fn parse_positions(text: &str) -> Result<Positions, SyntaxError> {
    let (name, special) = match text.strip_suffix(SPECIAL) {
        Some(name) => (name, true),
        None => (text, false),
    };
    let span = match name {
        "all" if !special => return Ok(Positions::ALL),
        "text" if !special => return Ok(Positions::TEXT),
        "prompt" => PositionRange::Prompt,
        "generated" => PositionRange::Generated,
        "last" => PositionRange::Last,
        name => {
            let unknown = || SyntaxError::Positions { found: text.to_owned() };
            PositionRange::Range(range(name).ok_or_else(unknown)?)
        }
    };
    let at = Positions::text_in(span);
    Ok(if special { at.with_special() } else { at })
}

impl fmt::Display for Intervention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.hook, self.target, self.op)?;
        if self.at != Positions::default() {
            write!(f, "@{}", self.at)?;
        }
        if let Some(condition) = &self.when {
            write!(f, " when {condition}")?;
        }
        match self.splice {
            Splice::KeepError => Ok(()),
            Splice::Reconstruct => write!(f, " with {RECONSTRUCT}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feature(index) => write!(f, "{index}"),
            Self::Vector(name) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let (Some(value), Some(Scale::Norm)) = (self.value(), self.scale())
            && let Some(percent) = percent(value)
        {
            return write!(f, ":{percent}%");
        }
        if let Some(value) = self.value() {
            write!(f, ":{value}")?;
        }
        match self.scale() {
            None | Some(Scale::Raw) => Ok(()),
            Some(scale) => write!(f, ":{}", scale.name()),
        }
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", WithoutRows(self))?;
        match self.rows() {
            None => Ok(()),
            Some(rows) if rows.len() == 1 => write!(f, "[{}]", rows.start),
            Some(rows) => write!(f, "[{}..{}]", rows.start, rows.end),
        }
    }
}

/// Displays a position rule without its rows.
pub(crate) struct WithoutRows<'w>(pub(crate) &'w Positions);

impl fmt::Display for WithoutRows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let special = self.0.covers_special();
        match self.0.range() {
            PositionRange::Whole => return f.write_str(if special { "all" } else { "text" }),
            PositionRange::Prompt => f.write_str("prompt")?,
            PositionRange::Generated => f.write_str("generated")?,
            PositionRange::Last => f.write_str("last")?,
            PositionRange::Range(range) => write!(f, "{}..{}", range.start, range.end)?,
        }
        if special { f.write_str(SPECIAL) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Condition;
    use crate::steering::strategies::{condition, intervention};

    proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same(spec in intervention()) {
            prop_assert_eq!(spec.to_string().parse::<Intervention>(), Ok(spec));
        }

        #[test]
        fn a_printed_condition_reads_back_as_the_same(condition in condition()) {
            prop_assert_eq!(condition.to_string().parse::<Condition>(), Ok(condition));
        }

        #[test]
        fn space_around_clauses_and_the_threshold_means_nothing(spec in intervention()) {
            let mut spaced = spec.to_string().replace(" when ", " \t when  ");
            spaced = spaced.replace('>', " > ").replace(" with ", "\n with ").replace('@', " @ ");
            spaced = format!("  {} ", spaced.replace('[', " ["));

            prop_assert_eq!(spaced.parse::<Intervention>(), Ok(spec));
        }

        #[test]
        fn what_is_read_is_printed_the_same_however_often(
            text in "hook_embed:[0-9a-c]{1,2}:(add|ablate)(:[-+]?[0-9]{1,2}(:(raw|unit))?)?\
                     (@(all|text|0?[1-3]\\.\\.0?[2-5]))?(\\[0?[0-3]\\])?( when hook_embed:0[1-3]>[0-9]e-1)?\
                     ( with reconstruct)?"
        ) {
            if let Ok(spec) = text.parse::<Intervention>() {
                let printed = spec.to_string();
                let again: Intervention = printed.parse().unwrap();
                prop_assert_eq!(again.to_string(), printed);
                prop_assert_eq!(again, spec);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-z0-9:.@+>\\[\\] -]{0,40}") {
            let _ = text.parse::<Intervention>();
            let _ = text.parse::<Condition>();
        }
    }

    #[test]
    fn each_part_is_read_and_the_rest_has_its_default() {
        let spec: Intervention =
            "hook_embed:calm:orthogonal:-2:norm@prompt+special[1..3] when hook_embed:4>0.5"
                .parse()
                .unwrap();

        assert_eq!(spec.target, Target::Vector("calm".parse().unwrap()));
        assert_eq!(spec.op, Op::Orthogonal(-2.0, Scale::Norm));
        assert_eq!(spec.at, Positions::text_in(PositionRange::Prompt).with_special().in_rows(1..3));
        assert_eq!(spec.when.map(|when| (when.feature, when.above)), Some((4, 0.5)));
        assert_eq!(spec.splice, Splice::KeepError);
        let bare: Intervention = "hook_embed:7:add:1".parse().unwrap();
        assert_eq!(bare.op, Op::Add(1.0, Scale::Raw));
        assert_eq!((bare.at, bare.when), (Positions::TEXT, None));
        let rows: Intervention = "hook_embed:7:ablate[2] with reconstruct".parse().unwrap();
        assert_eq!((rows.at, rows.splice), (Positions::TEXT.in_rows(2..3), Splice::Reconstruct));
    }

    #[test]
    fn a_percentage_is_a_share_of_the_norm() {
        let op = |text: &str| text.parse::<Intervention>().unwrap().op;
        assert_eq!(op("hook_embed:7:add:30%"), Op::Add(0.3, Scale::Norm));
        assert_eq!(op("hook_embed:7:add:-12.5 %@prompt"), Op::Add(-0.125, Scale::Norm));
        assert_eq!(op("hook_embed:calm:orthogonal:0%"), Op::Orthogonal(0.0, Scale::Norm));

        for (op, text) in [
            (Op::Add(0.3, Scale::Norm), "add:30%"),
            (Op::Add(0.07, Scale::Norm), "add:7%"),
            (Op::Orthogonal(-1.25, Scale::Norm), "orthogonal:-125%"),
            (Op::Add(0.3, Scale::Unit), "add:0.3:unit"),
            (Op::Add(1.0e-12, Scale::Norm), "add:0.000000000001:norm"),
        ] {
            assert_eq!(op.to_string(), text);
        }

        for (text, message) in [
            ("hook_embed:1:add:x%", "`x%` is not a percentage"),
            ("hook_embed:1:add:inf%", "`inf%` is not a percentage"),
            ("hook_embed:1:add:30%:raw", "`30%` is a share of the norm and takes no scale"),
            (
                "hook_embed:1:multiply:30%",
                "`multiply` takes no percentage; `add` and `orthogonal` do",
            ),
        ] {
            assert_eq!(text.parse::<Intervention>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_feature_without_a_hook_point_is_of_the_given_one() {
        let at = |text| Intervention::parse_at(text, Some(HookPoint::Embed));
        let full: Intervention = "hook_embed:7:add:30%@prompt".parse().unwrap();

        assert_eq!(at("7:add:30%@prompt"), Ok(full.clone()));
        assert_eq!(at(" 7:add:30%@prompt "), Ok(full.clone()));
        assert_eq!(at("hook_embed:7:add:30%@prompt"), Ok(full));
        assert!(at("calm:add:1").is_err() && at("").is_err() && at(":add:1").is_err());
        assert!(Intervention::parse_at("7:add:1", None).is_err());
    }

    #[test]
    fn a_vector_may_be_called_like_a_keyword_or_an_operation() {
        for name in ["when", "with", "add", "reconstruct", "_", "a-b_9"] {
            let text = format!("hook_embed:{name}:add:1 when hook_embed:3>0 with reconstruct");
            let spec: Intervention = text.parse().unwrap();
            assert_eq!(spec.target, Target::Vector(name.parse().unwrap()));
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn each_mistake_is_named() {
        const FORM: &str = "is not of the form HOOK:TARGET:OP[:VALUE[:SCALE]][@WHERE][ROWS]\
                            [ when HOOK:FEATURE>T][ with reconstruct]";
        const WHERE: &str = "is not a position rule; expected all, text, prompt, generated, last \
                             or A..B; all but the first two also take +special";
        const OPS: &str = "(expected multiply, set, set_if_active, ablate, add, orthogonal, \
                           projection_scale, projection_cap)";
        const ROWS: &str = "is not a range of batch rows; expected [A] or [A..B] with A below B";
        let cases = [
            ("417", format!("`417` {FORM}")),
            ("hook_embed:1:add:1:raw:2", format!("`hook_embed:1:add:1:raw:2` {FORM}")),
            ("hook_embd:1:add:1", "`hook_embd:1:add:1`: unknown hook point `hook_embd`; did you mean `hook_embed`?".into()),
            ("hook_embed:-1:add:1", "`-1` is not a feature index or a vector name".into()),
            ("hook_embed:+1:add:1", "`+1` is not a feature index or a vector name".into()),
            ("hook_embed:1:boost:1", format!("unknown operation `boost` {OPS}")),
            (
                "hook_embed:1:ad:1",
                format!("unknown operation `ad` {OPS}; did you mean `add`?"),
            ),
            (
                "hook_embed:1:set-if-active:1",
                format!("unknown operation `set-if-active` {OPS}; did you mean `set_if_active`?"),
            ),
            ("hook_embed:1:add", "`add` needs a finite number after it".into()),
            ("hook_embed:1:add:inf", "`add` needs a finite number after it".into()),
            ("hook_embed:1:ablate:1", "`ablate` takes no value".into()),
            ("hook_embed:1:add:1:2", "unknown scale `2` (expected raw, unit, norm)".into()),
            ("hook_embed:1:set:1:unit", "`set` takes no scale; `add` and `orthogonal` do".into()),
            (
                "hook_embed:1:projection_cap:1:unit",
                "`projection_cap` takes no scale; `add` and `orthogonal` do".into(),
            ),
            (
                "hook_embed:calm:set:1",
                "`set` changes a feature, but `calm` is a vector; vectors take add, \
                 orthogonal, projection_scale or projection_cap"
                    .into(),
            ),
            (
                "hook_embed:1:add:1:nrm",
                "unknown scale `nrm` (expected raw, unit, norm); did you mean `norm`?".into(),
            ),
            ("hook_embed:1:ablate@5..5", format!("`5..5` {WHERE}")),
            (
                "hook_embed:1:ablate@generatd",
                format!("`generatd` {WHERE}; did you mean `generated`?"),
            ),
            (
                "hook_embed:1:ablate@last+specal",
                format!("`last+specal` {WHERE}; did you mean `last+special`?"),
            ),
            ("hook_embed:1:ablate@+1..5", format!("`+1..5` {WHERE}")),
            ("hook_embed:1:ablate@all[2..2]", format!("`[2..2]` {ROWS}")),
            ("hook_embed:1:ablate@all[2", format!("`[2` {ROWS}")),
            ("hook_embed:1:ablate@all[-1]", format!("`[-1]` {ROWS}")),
            (
                "hook_embed:1:ablate when hook_embed:1",
                "`hook_embed:1` is not a condition; expected HOOK:FEATURE>T".into(),
            ),
            (
                "hook_embed:1:ablate when hook_embd:1>0",
                "`hook_embd:1>0`: unknown hook point `hook_embd`; did you mean `hook_embed`?".into(),
            ),
            ("hook_embed:1:ablate when hook_embed:x>0", "`x` is not a feature index".into()),
            (
                "hook_embed:1:ablate when hook_embed:1>nan",
                "the threshold `nan` is not a finite number".into(),
            ),
            (
                "hook_embed:1:ablate with reconstruction",
                "unknown clause `with reconstruction` (expected `with reconstruct`; without it the \
                 error is kept); did you mean `reconstruct`?"
                    .into(),
            ),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<Intervention>().unwrap_err().to_string(), message);
        }
        assert_eq!(
            "9lives".parse::<crate::VectorName>().unwrap_err().to_string(),
            "`9lives` is not a vector name; expected a letter or `_`, then letters, digits, \
             `_` and `-`"
        );
    }
}
