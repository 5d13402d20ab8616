//! The limits of a pickle.

/// The limits of a pickle.
pub(crate) struct Rules<'r> {
    /// Returns whether a pickle may refer to this class or function, given as module and name.
    pub(crate) is_allowed: &'r dyn Fn(&str, &str) -> bool,
    /// True if the pickle may refer to data outside it.
    pub(crate) persistent_ids: bool,
    pub(crate) max_instructions: usize,
}
