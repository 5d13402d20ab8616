//! Reading a pickle from bytes.

use crate::pickle::error::PickleError;
use crate::pickle::machine;
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
    if bytes.len() > MAX_PICKLE_BYTES {
        return Err(PickleError::TooLarge { found: bytes.len(), max: MAX_PICKLE_BYTES });
    }
    let (values, root) = machine::run(bytes, allowed_globals)?;
    Ok(Pickle { values, root })
}
