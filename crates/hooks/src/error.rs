use crate::HookPoint;

/// Why a hook point could not be named or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// The text names no hook point.
    #[error("unknown hook point `{name}`{}", suggestion(.nearest.as_deref()))]
    Unknown {
        /// The text as given.
        name: String,
        /// The valid name nearest to it, if one is near.
        nearest: Option<String>,
    },
    /// The forward pass ended without coming by a point that was asked for.
    #[error("the forward pass never reached {point}")]
    NeverReached {
        /// The point that was asked for.
        point: HookPoint,
    },
    /// A replacement does not have the shape of the activation it should replace.
    #[error("{point} has shape {expected:?}, its replacement {found:?}")]
    ShapeMismatch {
        /// Where the replacement should have gone.
        point: HookPoint,
        /// The shape of the activation.
        expected: Vec<usize>,
        /// The shape of the replacement.
        found: Vec<usize>,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; `nanoscope hooks` lists them".to_owned(),
    }
}
