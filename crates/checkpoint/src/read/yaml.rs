//! The subset of YAML that configurations need.

use std::io::Read;
use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use crate::error::CheckpointError;
use crate::files;
use crate::python_json::without_byte_order_mark;
use crate::read::lfs;

/// Maximum length of a file in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Maximum nesting depth.
const MAX_DEPTH: usize = 16;

/// Reads the YAML file at `path` as JSON. Scalars are strings, except for nulls, booleans and integers.
/// Aliases are refused, because a few bytes of them can expand beyond any memory.
pub(crate) fn read(path: &Path) -> Result<Value, CheckpointError> {
    let broken = |what| CheckpointError::Yaml { path: path.to_owned(), what };
    let read = || {
        let mut bytes = Vec::new();
        files::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| CheckpointError::io(path, source))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(CheckpointError::FileTooLarge { path: path.to_owned(), max: MAX_BYTES });
    }
    lfs::check(path, &bytes)?;
    let text = without_byte_order_mark(&bytes);
    let text = std::str::from_utf8(text).map_err(|source| broken(source.to_string()))?;
    parse(text).map_err(broken)
}

/// A collection that is still open.
enum Open {
    List(Vec<Value>),
    /// With the key of the next value.
    Map(Map<String, Value>, Option<String>),
}

fn parse(text: &str) -> Result<Value, String> {
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|source| source.to_string())?;
        let line = span.start.line();
        let value = match event {
            Event::Alias(_) => return Err(format!("line {line} has an alias, which is refused")),
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() == MAX_DEPTH {
                    return Err(format!("line {line} is nested more than {MAX_DEPTH} levels deep"));
                }
                open.push(match event {
                    Event::SequenceStart(..) => Open::List(Vec::new()),
                    _ => Open::Map(Map::new(), None),
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Value::Array(items),
                Some(Open::Map(entries, _)) => Value::Object(entries),
                None => {
                    return Err(format!("line {line} ends a collection that was never started"));
                }
            },
            _ => continue,
        };
        match open.last_mut() {
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map(entries, key)) => match (key.take(), value) {
                (Some(key), value) => {
                    if entries.contains_key(&key) {
                        return Err(format!("line {line} has a second `{key}`"));
                    }
                    entries.insert(key, value);
                }
                (None, Value::String(text)) => *key = Some(text),
                (None, _) => return Err(format!("line {line} has a key that is not a string")),
            },
            None if root.is_none() => root = Some(value),
            None => return Err(format!("line {line} starts a second document")),
        }
    }
    root.ok_or_else(|| "the file is empty".to_owned())
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::from(text);
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::from(true),
        "false" | "False" | "FALSE" => Value::from(false),
        _ => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_is_read_as_json() {
        let text = "# of a transcoder\nname: google/gemma-2-2b\nkind: \"set\"\nlayers: 26\n\
                    scan:\nskip: true\nat:\n  - hf://a/b/layer_0.safetensors\n  - 'c: d'\n";

        assert_eq!(
            parse(text).unwrap(),
            json!({
                "name": "google/gemma-2-2b", "kind": "set", "layers": 26, "scan": null,
                "skip": true, "at": ["hf://a/b/layer_0.safetensors", "c: d"],
            })
        );
    }

    #[test]
    fn features_that_no_configuration_needs_are_refused() {
        for (text, says) in [
            ("a: &x [1]\nb: *x", "line 2 has an alias"),
            ("", "empty"),
            ("a: 1\n---\na: 2", "second document"),
            ("a: 1\na: 2", "line 2 has a second `a`"),
            ("[1]: 2", "not a string"),
            ("a: [", "line 2"),
            ("[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", "more than 16 levels"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
