/// What an intervention does to its target.
///
/// The first four give the feature another value `f'`, and the activation moves by
/// `(f' − f) · d`, `d` being the feature's decoder row. The last two move the activation along `d`
/// themselves; they need no feature and also work on a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// `f' = a · f`: a feature that is not active stays so.
    Multiply(f32),
    /// `f' = v`, active or not.
    Set(f32),
    /// `f' = v` where the feature is active.
    SetIfActive(f32),
    /// `f' = 0`.
    Ablate,
    /// Adds so much of `d` to the activation.
    Add(f32, Scale),
    /// Takes the activation's part along `d` away, then adds so much of `d`.
    Orthogonal(f32, Scale),
}

/// In what unit a direction is added. `d` is the direction as it is, `‖d‖` its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// `s · d`.
    #[default]
    Raw,
    /// `s · d / ‖d‖`.
    Unit,
    /// `s · ‖x‖ · d / ‖d‖`, `x` being the activation that arrived at the position.
    Norm,
}

impl Op {
    /// The names of all operations, in the order in which people are told them.
    pub(crate) const NAMES: [&str; 6] =
        ["multiply", "set", "set_if_active", "ablate", "add", "orthogonal"];

    /// The name in the written form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Multiply(_) => "multiply",
            Self::Set(_) => "set",
            Self::SetIfActive(_) => "set_if_active",
            Self::Ablate => "ablate",
            Self::Add(..) => "add",
            Self::Orthogonal(..) => "orthogonal",
        }
    }

    /// The number given with it.
    pub fn value(self) -> Option<f32> {
        match self {
            Self::Multiply(value)
            | Self::Set(value)
            | Self::SetIfActive(value)
            | Self::Add(value, _)
            | Self::Orthogonal(value, _) => Some(value),
            Self::Ablate => None,
        }
    }

    /// The unit of a direction's strength; none for operations on a feature's value.
    pub fn scale(self) -> Option<Scale> {
        match self {
            Self::Add(_, scale) | Self::Orthogonal(_, scale) => Some(scale),
            _ => None,
        }
    }

    /// Whether it divides by the direction's length.
    pub(crate) fn needs_length(self) -> bool {
        match self {
            Self::Orthogonal(..) => true,
            op => matches!(op.scale(), Some(Scale::Unit | Scale::Norm)),
        }
    }

    /// Whether the new value depends on the old one, so that it must be known.
    pub(crate) fn reads_value(self) -> bool {
        self.scale().is_none()
    }

    /// The feature's new value; none if the operation does not go by it.
    pub(crate) fn new_value(self, f: f32) -> Option<f32> {
        match self {
            Self::Multiply(a) => Some(a * f),
            Self::Set(v) => Some(v),
            Self::SetIfActive(v) => Some(if f == 0.0 { f } else { v }),
            Self::Ablate => Some(0.0),
            Self::Add(..) | Self::Orthogonal(..) => None,
        }
    }
}

impl Scale {
    /// All scales.
    pub(crate) const ALL: [Self; 3] = [Self::Raw, Self::Unit, Self::Norm];

    /// The name in the written form.
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
