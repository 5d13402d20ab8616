use crate::HookPoint;

/// Errors in the name or the use of a hook point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// The text is not the name of a hook point.
    #[error("unknown hook point `{name}`{}", suggestion(.nearest.as_deref()))]
    Unknown {
        /// The text as given.
        name: String,
        /// The most similar valid name, if there is a similar one.
        nearest: Option<String>,
    },
    /// The forward pass did not reach a requested point.
    #[error("the forward pass never reached {point}")]
    NeverReached {
        /// The requested point.
        point: HookPoint,
    },
    /// A replacement has another shape than the activation.
    #[error("{point} has shape {expected:?}, its replacement {found:?}")]
    ShapeMismatch {
        /// The hook point of the activation.
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
