use std::fmt;
use std::str::FromStr;

use nanoscope_hooks::HookPoint;

use super::condition::Condition;
use super::op::Op;
use super::positions::Positions;
use super::syntax_error::SyntaxError;

/// What to do to one feature, or along one vector, at one hook point.
///
/// Written `HOOK:TARGET:OP[:VALUE[:SCALE]][@WHERE][ROWS][ when HOOK:FEATURE>T][ with reconstruct]`,
/// for example `blocks.2.hook_resid_post:417:multiply:3@generated`;
/// [`Display`](std::fmt::Display) and [`FromStr`] are inverses. There is a form in JSON too, by
/// serde (`docs/steering.md`, `docs/steering.schema.json`); what is read may be in either form.
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
    /// Where in the model. For a feature of a transcoder it is the point that the transcoder
    /// reads; the effect is at the point that it writes.
    pub hook: HookPoint,
    /// The feature or vector.
    pub target: Target,
    /// What is done to it.
    pub op: Op,
    /// At which positions.
    pub at: Positions,
    /// Only where this holds.
    pub when: Option<Condition>,
    /// What becomes of the part of the activation that the SAE does not explain.
    pub splice: Splice,
}

/// What an intervention acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A feature of the SAE at the hook point, by its index from 0.
    Feature(usize),
    /// A vector of the plan ([`Plan::vector`](crate::Plan::vector)), added to the activation at
    /// the hook point. No SAE is needed there.
    Vector(VectorName),
}

/// A vector's name: a letter or `_`, then letters, digits, `_` and `-`, all of ASCII.
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
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VectorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What becomes of the activation when features `f` become `f'`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Splice {
    /// `x + decode(f') − decode(f)`: what the SAE does not explain stays, and only what is changed
    /// has an effect.
    #[default]
    KeepError,
    /// `decode(f')`: what the SAE does not explain is lost, even if no feature changes. This is
    /// what nanochat-SAE does.
    Reconstruct,
}

impl Intervention {
    /// One at all positions of text, under no condition, with the error kept.
    pub fn new(hook: HookPoint, target: Target, op: Op) -> Self {
        let (at, splice) = (Positions::default(), Splice::default());
        Self { hook, target, op, at, when: None, splice }
    }
}
