//! YAML files, as far as a configuration needs them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use crate::error::CheckpointError;

/// No configuration is longer.
const MOST_BYTES: u64 = 1 << 20;
/// No configuration is nested deeper.
const DEEPEST: usize = 16;

/// Reads the YAML file at `path` as the JSON that says the same. Every scalar is a text, but for
/// nulls, truths and whole numbers; an alias is refused, for a few bytes of them can stand for more
/// than any memory holds.
pub(crate) fn read(path: &Path) -> Result<Value, CheckpointError> {
    let broken = |what| CheckpointError::Yaml { path: path.to_owned(), what };
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| CheckpointError::io(path, source))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(CheckpointError::FileTooLarge { path: path.to_owned(), max: MOST_BYTES });
    }
    let text = std::str::from_utf8(&bytes).map_err(|source| broken(source.to_string()))?;
    parse(text).map_err(broken)
}

/// A collection that is not closed yet.
enum Open {
    List(Vec<Value>),
    /// With the key whose value comes next.
    Map(Map<String, Value>, Option<String>),
}

fn parse(text: &str) -> Result<Value, String> {
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|source| source.to_string())?;
        let line = span.start.line();
        let value = match event {
            Event::Alias(_) => return Err(format!("an alias in line {line} is refused")),
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() == DEEPEST {
                    return Err(format!("more than {DEEPEST} levels in line {line}"));
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
                None => return Err(format!("an end without a start in line {line}")),
            },
            _ => continue,
        };
        match open.last_mut() {
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map(entries, key)) => match (key.take(), value) {
                (Some(key), value) => {
                    if entries.contains_key(&key) {
                        return Err(format!("a second `{key}` in line {line}"));
                    }
                    entries.insert(key, value);
                }
                (None, Value::String(text)) => *key = Some(text),
                (None, _) => return Err(format!("a key in line {line} that is no text")),
            },
            None if root.is_none() => root = Some(value),
            None => return Err(format!("a second document in line {line}")),
        }
    }
    root.ok_or_else(|| "it is empty".to_owned())
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
    fn what_no_configuration_needs_is_refused() {
        for (text, says) in [
            ("a: &x [1]\nb: *x", "alias in line 2"),
            ("", "empty"),
            ("a: 1\n---\na: 2", "second document"),
            ("a: 1\na: 2", "second `a` in line 2"),
            ("[1]: 2", "no text"),
            ("a: [", "line 2"),
            ("[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", "16 levels"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
