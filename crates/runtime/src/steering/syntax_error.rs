use nanoscope_hooks::{HookError, did_you_mean};

use super::op::{Op, Scale};

/// Errors from parsing an intervention or a condition, as text or as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxError {
    /// The text has too few or too many parts.
    #[error(
        "`{text}` is not of the form HOOK:TARGET:OP[:VALUE[:SCALE]][@WHERE][ROWS][ when HOOK:FEATURE>T][ with reconstruct]"
    )]
    Form {
        /// The text.
        text: String,
    },
    /// The hook point's name is unknown.
    #[error("{}", unknown_hook(.text, .error))]
    Hook {
        /// The text.
        text: String,
        /// The reason, with the nearest valid name. Part of the text, because many show an error
        /// without its source.
        error: HookError,
    },
    /// The target is neither a feature nor a vector.
    #[error("`{found}` is not a feature index or a vector name")]
    Target {
        /// The text found.
        found: String,
    },
    /// A JSON object has neither or both of `feature` and `vector`.
    #[error("an intervention has either `feature` or `vector`")]
    FeatureOrVector,
    /// The name of a vector is malformed.
    #[error(
        "`{found}` is not a vector name; expected a letter or `_`, then letters, digits, `_` and `-`"
    )]
    VectorName {
        /// The text found.
        found: String,
    },
    /// The operation's name is unknown.
    #[error("unknown operation `{found}` (expected {}){}", Op::NAMES.join(", "), did_you_mean(.found, Op::NAMES))]
    Op {
        /// The text found.
        found: String,
    },
    /// The operation changes a feature, but the target is a vector.
    #[error(
        "`{op}` changes a feature, but `{vector}` is a vector; vectors take add, orthogonal, projection_scale or projection_cap"
    )]
    VectorOp {
        /// The operation.
        op: &'static str,
        /// The vector's name.
        vector: String,
    },
    /// The operation lacks its number, or takes none.
    #[error("`{op}` {}", if *.needs { "needs a finite number after it" } else { "takes no value" })]
    Value {
        /// The operation.
        op: &'static str,
        /// True if the operation needs a number.
        needs: bool,
    },
    /// The operation does not act on a direction, so it takes no scale.
    #[error("`{op}` takes no scale; `add` and `orthogonal` do")]
    NoScale {
        /// The operation.
        op: &'static str,
    },
    /// The text before `%` is not a finite number.
    #[error("`{found}` is not a percentage")]
    Share {
        /// The text found.
        found: String,
    },
    /// A percentage has a scale.
    #[error("`{found}` is a share of the norm and takes no scale")]
    ScaledShare {
        /// The percentage.
        found: String,
    },
    /// The operation takes no percentage.
    #[error("`{op}` takes no percentage; `add` and `orthogonal` do")]
    NoShare {
        /// The operation.
        op: String,
    },
    /// The scale's name is unknown.
    #[error("unknown scale `{found}` (expected raw, unit, norm){}", did_you_mean(.found, Scale::ALL.map(Scale::name)))]
    Scale {
        /// The text found.
        found: String,
    },
    /// The position rule is unknown or its range empty.
    #[error(
        "`{found}` is not a position rule; expected all, text, prompt, generated, last or A..B; all but the first two also take +special{}",
        did_you_mean(.found, POSITION_RULES)
    )]
    Positions {
        /// The text found.
        found: String,
    },
    /// The rows are malformed or empty.
    #[error("`{found}` is not a range of batch rows; expected [A] or [A..B] with A below B")]
    Rows {
        /// The text found.
        found: String,
    },
    /// The text after `when` is not a condition.
    #[error("`{found}` is not a condition; expected HOOK:FEATURE>T")]
    Condition {
        /// The text found.
        found: String,
    },
    /// The feature of a condition is not an index.
    #[error("`{found}` is not a feature index")]
    ConditionFeature {
        /// The text found.
        found: String,
    },
    /// The threshold of a condition is not a finite number.
    #[error("the threshold `{found}` is not a finite number")]
    Threshold {
        /// The text found.
        found: String,
    },
    /// The text after `with` is unknown.
    #[error(
        "unknown clause `with {found}` (expected `with reconstruct`; without it the error is kept){}",
        did_you_mean(.found, ["reconstruct"])
    )]
    Splice {
        /// The text found.
        found: String,
    },
}

/// The position rules that have names.
const POSITION_RULES: [&str; 8] = [
    "all",
    "text",
    "prompt",
    "generated",
    "last",
    "prompt+special",
    "generated+special",
    "last+special",
];

fn unknown_hook(text: &str, error: &HookError) -> String {
    match error {
        HookError::Unknown { name, .. } if name == text => error.to_string(),
        _ => format!("`{text}`: {error}"),
    }
}
