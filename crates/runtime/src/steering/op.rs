/// An operation on the target of an intervention.
///
/// The first four set the feature's activation `f` to `f'`, and the model's activation moves by
/// `(f' − f) · d`, where `d` is the feature's decoder row. The last four move the model's activation
/// along `d` directly, so `d` can also be a steering vector; `d̂ = d / ‖d‖`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// `f' = a · f`: an inactive feature stays inactive.
    Multiply(f32),
    /// `f' = v`, whether the feature is active or not.
    Set(f32),
    /// `f' = v` where the feature is active.
    SetIfActive(f32),
    /// `f' = 0`.
    Ablate,
    /// Adds a multiple of `d` to the activation.
    Add(f32, Scale),
    /// Removes the activation's component along `d`, then adds a multiple of `d`.
    Orthogonal(f32, Scale),
    /// Multiplies the activation's component along `d`: `x' = x + (a − 1) · (x · d̂) · d̂`. Neuronpedia's
    /// `ORTHOGONAL_DECOMP`.
    ProjectionScale(f32),
    /// Limits the activation's component along `d` from above: `x' = x + (min(x · d̂, c) − x · d̂) · d̂`.
    /// Neuronpedia's `PROJECTION_CAP`.
    ProjectionCap(f32),
}

/// The unit of the strength `s` with which a direction `d` of length `‖d‖` is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// `s · d`.
    #[default]
    Raw,
    /// `s · d / ‖d‖`.
    Unit,
    /// `s · ‖x‖ · d / ‖d‖`, where `x` is the activation that arrives at the position.
    Norm,
}

impl Op {
    /// The names of all operations, in the order in which errors list them.
    pub(crate) const NAMES: [&str; 8] = [
        "multiply",
        "set",
        "set_if_active",
        "ablate",
        "add",
        "orthogonal",
        "projection_scale",
        "projection_cap",
    ];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Multiply(_) => "multiply",
            Self::Set(_) => "set",
            Self::SetIfActive(_) => "set_if_active",
            Self::Ablate => "ablate",
            Self::Add(..) => "add",
            Self::Orthogonal(..) => "orthogonal",
            Self::ProjectionScale(_) => "projection_scale",
            Self::ProjectionCap(_) => "projection_cap",
        }
    }

    /// The operation's number; `None` for [`Ablate`](Self::Ablate).
    pub fn value(self) -> Option<f32> {
        match self {
            Self::Multiply(value)
            | Self::Set(value)
            | Self::SetIfActive(value)
            | Self::Add(value, _)
            | Self::Orthogonal(value, _)
            | Self::ProjectionScale(value)
            | Self::ProjectionCap(value) => Some(value),
            Self::Ablate => None,
        }
    }

    /// The unit of the strength; `None` for operations without one.
    pub fn scale(self) -> Option<Scale> {
        match self {
            Self::Add(_, scale) | Self::Orthogonal(_, scale) => Some(scale),
            _ => None,
        }
    }

    /// Returns whether the operation divides by the direction's length.
    pub(crate) fn needs_length(self) -> bool {
        self.projects() || matches!(self.scale(), Some(Scale::Unit | Scale::Norm))
    }

    /// Returns whether the operation needs the activation's component along the direction.
    pub(crate) fn projects(self) -> bool {
        matches!(self, Self::Orthogonal(..) | Self::ProjectionScale(_) | Self::ProjectionCap(_))
    }

    /// Returns whether the operation needs the feature's activation. Only those that do not can act on
    /// a steering vector.
    pub(crate) fn reads_value(self) -> bool {
        !self.projects() && self.scale().is_none()
    }

    /// The feature's new activation; `None` if the operation acts on the direction.
    pub(crate) fn new_value(self, f: f32) -> Option<f32> {
        match self {
            Self::Multiply(a) => Some(a * f),
            Self::Set(v) => Some(v),
            Self::SetIfActive(v) => Some(if f == 0.0 { f } else { v }),
            Self::Ablate => Some(0.0),
            Self::Add(..)
            | Self::Orthogonal(..)
            | Self::ProjectionScale(_)
            | Self::ProjectionCap(_) => None,
        }
    }
}

impl Scale {
    /// All scales.
    pub(crate) const ALL: [Self; 3] = [Self::Raw, Self::Unit, Self::Norm];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Unit => "unit",
            Self::Norm => "norm",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_op_on_a_value_gives_the_new_one() {
        assert_eq!(Op::Multiply(-3.0).new_value(2.0), Some(-6.0));
        assert_eq!(Op::Set(5.0).new_value(0.0), Some(5.0));
        assert_eq!(Op::SetIfActive(5.0).new_value(0.0), Some(0.0));
        assert_eq!(Op::SetIfActive(5.0).new_value(-1.0), Some(5.0));
        assert_eq!(Op::Ablate.new_value(2.0), Some(0.0));
        assert_eq!(Op::Add(1.5, Scale::Raw).new_value(2.0), None);
    }
}
