use nanoscope_hooks::HookPoint;

use crate::config::GptConfig;

impl GptConfig {
    /// The shape of the activation at `point`.
    pub fn hook_shape(&self, point: HookPoint) -> HookShape {
        let (shape, head_dim) = (&self.shape, self.attention.head_dim);
        match point {
            HookPoint::Q(_) | HookPoint::RotQ(_) | HookPoint::Z(_) => {
                HookShape::Heads { heads: shape.n_head, head_dim }
            }
            HookPoint::K(_) | HookPoint::RotK(_) | HookPoint::V(_) => {
                HookShape::Heads { heads: shape.n_kv_head, head_dim }
            }
            HookPoint::Pattern(_) | HookPoint::AttnScores(_) => {
                HookShape::Pattern { heads: shape.n_head }
            }
            HookPoint::MlpPre(_) | HookPoint::MlpPreLinear(_) | HookPoint::MlpPost(_) => {
                HookShape::Channels(self.mlp.d_mlp)
            }
            _ => HookShape::Channels(shape.n_embd),
        }
    }
}

/// The shape of the activation at a hook point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookShape {
    /// `[batch, seq, channels]`
    Channels(usize),
    /// `[batch, seq, heads, head_dim]`
    Heads {
        /// Number of heads.
        heads: usize,
        /// Number of channels per head.
        head_dim: usize,
    },
    /// `[batch, heads, query, key]`
    Pattern {
        /// Number of heads.
        heads: usize,
    },
}

impl HookShape {
    /// The activation's width with its heads concatenated, which an SAE's `d_in` has to match. `None`
    /// for a pattern, whose last dimension grows with the sequence.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::Channels(channels) => Some(channels),
            Self::Heads { heads, head_dim } => Some(heads * head_dim),
            Self::Pattern { .. } => None,
        }
    }
}

impl std::fmt::Display for HookShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Channels(channels) => write!(f, "[batch, seq, {channels}]"),
            Self::Heads { heads, head_dim } => write!(f, "[batch, seq, {heads}, {head_dim}]"),
            Self::Pattern { heads } => write!(f, "[batch, {heads}, query, key]"),
        }
    }
}
