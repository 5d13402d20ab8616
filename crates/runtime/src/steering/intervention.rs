use std::fmt;
use std::str::FromStr;

use nanoscope_hooks::HookPoint;

use super::condition::Condition;
use super::op::Op;
use super::positions::Positions;
use super::syntax_error::SyntaxError;

/// A change to one feature, or along one vector, at one hook point.
///
/// The text form is
/// `HOOK:TARGET:OP[:VALUE[:SCALE]][@WHERE][ROWS][ when HOOK:FEATURE>T][ with reconstruct]`, for
/// example `blocks.2.hook_resid_post:417:multiply:3@generated`; [`Display`](std::fmt::Display) and
/// [`FromStr`] are inverses. Serde writes an object (`docs/steering.md`,
/// `docs/steering.schema.json`) and reads either form.
///
/// ```
/// use nanoscope_runtime::{Intervention, Op, Scale, PositionRange, Splice, Target};
///
/// let spec: Intervention = "blocks.2.hook_resid_post:417:add:8:unit@0..5".parse().unwrap();
/// assert_eq!((spec.target, spec.op), (Target::Feature(417), Op::Add(8.0, Scale::Unit)));
/// assert_eq!(spec.at.range(), &PositionRange::Range(0..5));
/// assert_eq!((spec.when, spec.splice), (None, Splice::KeepError));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Intervention {
    /// The hook point. For a feature of a transcoder it is the one that the transcoder reads; the
    /// effect lands at the one that it writes.
    pub hook: HookPoint,
    /// The feature or vector.
    pub target: Target,
    /// The operation on the target.
    pub op: Op,
    /// The positions covered.
    pub at: Positions,
    /// A condition that restricts the intervention to positions at which it holds.
    pub when: Option<Condition>,
    /// The treatment of the SAE's reconstruction error.
    pub splice: Splice,
}

/// The target of an intervention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A feature of the SAE at the hook point, by its index, starting at 0.
    Feature(usize),
    /// A steering vector of the plan ([`Plan::vector`](crate::Plan::vector)), applied to the
    /// activation at the hook point. No SAE is needed there.
    Vector(VectorName),
}

/// The name of a steering vector: an ASCII letter or `_`, then ASCII letters, digits, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VectorName(String);

impl FromStr for VectorName {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let mut chars = text.chars();
        let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(SyntaxError::VectorName { found: text.to_owned() })
        }
    }
}

impl VectorName {
    /// The name as a string slice.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VectorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The activation that replaces `x` when features `f` become `f'`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Splice {
    /// `x + decode(f') − decode(f)`: the reconstruction error is kept, so only changed features
    /// have an effect.
    #[default]
    KeepError,
    /// `decode(f')`: the reconstruction error is lost even if no feature changes, as in
    /// nanochat-SAE.
    Reconstruct,
}

impl Intervention {
    /// Creates an unconditional intervention at all positions except special tokens, with the
    /// reconstruction error kept.
    pub fn new(hook: HookPoint, target: Target, op: Op) -> Self {
        let (at, splice) = (Positions::default(), Splice::default());
        Self { hook, target, op, at, when: None, splice }
    }
}
