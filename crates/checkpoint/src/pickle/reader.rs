//! Reading a pickle from bytes.

use crate::pickle::error::PickleError;
use crate::pickle::machine;
use crate::pickle::value::{MAX_PICKLE_BYTES, Pickle};

/// Reads a pickle of protocol 1 to 5, in which no class or function but `allowed_globals`, each
/// written as `module.name`, may be mentioned.
///
/// Not supported are opcodes that stand for text in Python's own notation (protocol 0), for Python
/// 2's strings, for extensions, and for what lies outside the pickle.
///
/// # Errors
///
/// [`PickleError`] at the first instruction that is broken, unknown or not allowed, even if its
/// result is thrown away later.
pub fn read_pickle<'a>(
    bytes: &'a [u8],
    allowed_globals: &[&str],
) -> Result<Pickle<'a>, PickleError> {
    if bytes.len() > MAX_PICKLE_BYTES {
        return Err(PickleError::TooLarge { found: bytes.len() });
    }
    let (values, root) = machine::run(bytes, allowed_globals)?;
    Ok(Pickle { values, root })
}
