use nanoscope_hooks::HookError;

use super::op::Op;

/// Why a text, or an object of JSON, is no intervention or condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxError {
    /// There are too few or too many parts.
    #[error(
        "`{text}` is not of the form HOOK:TARGET:OP[:VALUE[:SCALE]][@WHERE][ROWS][ when HOOK:FEATURE>T][ with reconstruct]"
    )]
    Form {
        /// The text.
        text: String,
    },
    /// The hook point has no such name.
    #[error("unknown hook point in `{text}`")]
    Hook {
        /// The text.
        text: String,
        /// What is wrong with it.
        source: HookError,
    },
    /// The target is neither a feature nor a vector.
    #[error("`{found}` is not a feature index or a vector name")]
    Target {
        /// What stands there.
        found: String,
    },
    /// An object of JSON has neither or both of `feature` and `vector`.
    #[error("an intervention has either `feature` or `vector`")]
    FeatureOrVector,
    /// A vector cannot have this name.
    #[error(
        "`{found}` is not a vector name; expected a letter or `_`, then letters, digits, `_` and `-`"
    )]
    VectorName {
        /// What stands there.
        found: String,
    },
    /// The op has no such name.
    #[error("unknown operation `{found}` (expected {})", Op::NAMES.join(", "))]
    Op {
        /// What stands there.
        found: String,
    },
    /// The op changes a feature's value, and a vector has none.
    #[error("`{op}` changes a feature, but `{vector}` is a vector; vectors take add or orthogonal")]
    VectorOp {
        /// The op.
        op: &'static str,
        /// The vector's name.
        vector: String,
    },
    /// The op needs a number, or has one too many.
    #[error("`{op}` {}", if *.needs { "needs a finite number after it" } else { "takes no value" })]
    Value {
        /// The op.
        op: &'static str,
        /// Whether it needs a value.
        needs: bool,
    },
    /// The op is not on a direction.
    #[error("`{op}` takes no scale; `add` and `orthogonal` do")]
    NoScale {
        /// The op.
        op: &'static str,
    },
    /// The scale has no such name.
    #[error("unknown scale `{found}` (expected raw, unit, norm)")]
    Scale {
        /// What stands there.
        found: String,
    },
    /// The positions have no such name.
    #[error(
        "`{found}` is not a position rule; expected all, text, prompt, generated, last or A..B; all but the first two also take +special"
    )]
    Positions {
        /// What stands there.
        found: String,
    },
    /// The rows are none.
    #[error("`{found}` is not a range of batch rows; expected [A] or [A..B] with A below B")]
    Rows {
        /// What stands there.
        found: String,
    },
    /// What follows `when` is no condition.
    #[error("`{found}` is not a condition; expected HOOK:FEATURE>T")]
    Condition {
        /// What stands there.
        found: String,
    },
    /// The feature of a condition is no number.
    #[error("`{found}` is not a feature index")]
    ConditionFeature {
        /// What stands there.
        found: String,
    },
    /// The threshold of a condition is no number.
    #[error("the threshold `{found}` is not a finite number")]
    Threshold {
        /// What stands there.
        found: String,
    },
    /// What follows `with` is no splice that is said.
    #[error(
        "unknown clause `with {found}` (expected `with reconstruct`; without it the error is kept)"
    )]
    Splice {
        /// What stands there.
        found: String,
    },
}
