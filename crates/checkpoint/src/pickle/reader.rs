//! Reading a pickle from bytes.

use crate::pickle::error::PickleError;
use crate::pickle::machine;
use crate::pickle::rules::Rules;
use crate::pickle::value::{MAX_PICKLE_BYTES, Pickle};

/// Reads a pickle of protocol 1 to 5 that refers to no class or function except `allowed_globals`,
/// each written as `module.name`.
///
/// Opcodes are not supported if they represent values in Python's own notation (protocol 0), Python 2
/// strings, extensions, or data outside the pickle.
///
/// # Errors
///
/// [`PickleError`] at the first instruction that is invalid, unknown or not allowed, even if its result
/// is discarded later.
pub fn read_pickle<'a>(
    bytes: &'a [u8],
    allowed_globals: &[&str],
) -> Result<Pickle<'a>, PickleError> {
    let is_allowed = |module: &str, name: &str| {
        // The allowed name is split only at its last dot.
        allowed_globals.iter().any(|global| global.rsplit_once('.') == Some((module, name)))
    };
    let rules =
        Rules { is_allowed: &is_allowed, persistent_ids: false, max_instructions: usize::MAX };
    read_pickle_with(bytes, &rules)
}

/// As [`read_pickle`], with other limits.
pub(crate) fn read_pickle_with<'a>(
    bytes: &'a [u8],
    rules: &Rules<'_>,
) -> Result<Pickle<'a>, PickleError> {
    if bytes.len() > MAX_PICKLE_BYTES {
        return Err(PickleError::TooLarge { found: bytes.len(), max: MAX_PICKLE_BYTES });
    }
    let (values, root) = machine::run(bytes, rules)?;
    Ok(Pickle { values, root })
}
