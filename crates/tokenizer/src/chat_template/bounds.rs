//! The size of what a template writes in one go, for which the engine asks only afterwards.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

/// Refuses a value that is too long to be written with `indent` spaces for each level, that is too
/// deep, or that contains itself.
pub(super) fn check(value: &Value, indent: usize) -> Result<(), Error> {
    check_part(value, indent, 0, &mut 0)
}

fn check_part(value: &Value, indent: usize, depth: usize, done: &mut usize) -> Result<(), Error> {
    let own = value.as_str().map_or(0, str::len).saturating_add(indent.saturating_mul(depth));
    *done = done.saturating_add(own).saturating_add(BYTES_OF_ANY);
    if *done > MAX_BYTES || depth > MAX_DEPTH {
        let detail = "a value is too large or too deep to be written";
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()? {
                check_part(&item, indent, depth + 1, done)?;
            }
        }
        ValueKind::Map => {
            for key in value.try_iter()? {
                check_part(&key, indent, depth + 1, done)?;
                check_part(&value.get_item(&key)?, indent, depth + 1, done)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Refuses a format string with a width or a precision of five digits or more.
pub(super) fn check_format(format: &Value) -> Result<(), Error> {
    let is_text = |letter: char| !letter.is_ascii_digit();
    match format.as_str().and_then(|format| format.split(is_text).find(|run| run.len() > 4)) {
        Some(run) => {
            let detail = format!("a format has the number {run:.20}, which is too large");
            Err(Error::new(ErrorKind::InvalidOperation, detail))
        }
        None => Ok(()),
    }
}

const MAX_BYTES: usize = 1 << 24;

/// Counted for every part of a value, so that their number is bounded too.
const BYTES_OF_ANY: usize = 16;

const MAX_DEPTH: usize = 100;
