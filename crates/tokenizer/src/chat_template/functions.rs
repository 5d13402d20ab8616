//! The functions and filters that transformers gives its templates.

use std::fmt::{self, Write};

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};

use super::bounds;

/// The message of `raise_exception`, as the source of the error that ends the rendering.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// Ends the rendering.
pub(super) fn raise_exception(message: String) -> Result<Value, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, "the template raised an exception");
    Err(error.with_source(Raised(message.chars().take(MAX_MESSAGE).collect())))
}

/// The local time, in the format of C's `strftime`.
pub(super) fn strftime_now(format: String) -> Result<String, Error> {
    let mut text = String::new();
    // An unknown letter is an error here; `to_string` would panic.
    write!(text, "{}", chrono::Local::now().format(&format)).map_err(|_| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know {format:.40?}"))
    })?;
    Ok(text)
}

/// Writes `value` as Python's `json.dumps` does. minijinja's own filter is for pages, where it hides
/// the characters of HTML.
pub(super) fn tojson(
    value: &Value,
    indent: Option<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    // Nothing is escaped in any case, which is transformers' default.
    let _: Option<bool> = kwargs.get("ensure_ascii")?;
    if kwargs.get::<Option<bool>>("sort_keys")? == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson cannot sort keys"));
    }
    let indent = match indent {
        None => kwargs.get::<Option<Value>>("indent")?,
        indent => indent,
    };
    let spaces = indent.as_ref().and_then(|indent| usize::try_from(indent.clone()).ok());
    bounds::check(value, spaces.unwrap_or(0))?;
    let hidden = minijinja::filters::tojson(value, indent, kwargs)?;
    Ok(with_html_characters(hidden.as_str().unwrap_or_default()))
}

/// Undoes the escapes of `<`, `>`, `&` and `'`. In JSON a backslash always has a letter after it, so
/// that a backslash in a text is not taken for the start of one.
fn with_html_characters(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let escape = HIDDEN.iter().find(|(escape, _)| rest.starts_with(escape));
        let taken = match escape {
            Some((escape, letter)) => {
                text.push(*letter);
                escape.len()
            }
            None => {
                let taken = rest.chars().take(2).map(char::len_utf8).sum();
                text.push_str(&rest[..taken]);
                taken
            }
        };
        rest = &rest[taken..];
    }
    text.push_str(rest);
    text
}

/// The largest length of a message, in characters.
const MAX_MESSAGE: usize = 1000;

const HIDDEN: [(&str, char); 4] =
    [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')];
