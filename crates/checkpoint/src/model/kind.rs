use std::fmt;

use nanoscope_transformer::Era;

use crate::model::families::Family;

/// The program whose function a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelKind {
    /// nanochat, of an era.
    Nanochat(Era),
    /// A family of transformers' models.
    Family(Family),
}

impl ModelKind {
    /// nanochat's era; `None` for another family.
    pub fn era(self) -> Option<Era> {
        match self {
            Self::Nanochat(era) => Some(era),
            Self::Family(_) => None,
        }
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nanochat(era) => write!(f, "nanochat of era {era}"),
            Self::Family(family) => write!(f, "{family}"),
        }
    }
}
