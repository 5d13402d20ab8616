//! Reads JSON from a stream value by value, without building it.
//!
//! A file of gigabytes may be one JSON value, of which only one element at a time fits in memory. This
//! reader finds where each element begins and ends; what an element says is parsed from its bytes. The
//! literals that Python writes (`NaN`, `Infinity`) are accepted.

use std::io::{self, BufRead};

/// A position in a stream of JSON.
pub(crate) struct JsonReader<R> {
    reader: R,
    /// Position of the next byte, from 1.
    line: u64,
    column: u64,
    /// Values that were read to their end, including nested ones.
    values: u64,
}

/// Reasons a value cannot be read.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The stream could not be read.
    Io(io::Error),
    /// The stream ends within a value.
    End,
    /// A byte is not JSON.
    Syntax(&'static str),
    /// A value is longer than the limit.
    TooLong,
}

/// Maximum depth of nested values.
const MAX_DEPTH: usize = 512;
/// Maximum length of a number or a literal in bytes.
const MAX_SCALAR_BYTES: usize = 4096;

/// The bytes of a value; none if they are only skipped.
type Sink<'a> = Option<(&'a mut Vec<u8>, usize)>;

impl<R: BufRead> JsonReader<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, line: 1, column: 1, values: 0 }
    }

    /// Line and column of the next byte, from 1.
    pub(crate) fn position(&self) -> (u64, u64) {
        (self.line, self.column)
    }

    /// Number of values read to their end, including nested ones.
    pub(crate) fn values(&self) -> u64 {
        self.values
    }

    /// Skips white space and returns the byte after it without consuming it; none at the end.
    pub(crate) fn peek(&mut self) -> Result<Option<u8>, Broken> {
        while let Some(byte) = self.byte()? {
            if !is_space(byte) {
                return Ok(Some(byte));
            }
            self.consume(byte);
        }
        Ok(None)
    }

    /// Consumes the byte after white space, which must be `expected`.
    pub(crate) fn take(&mut self, expected: u8, what: &'static str) -> Result<(), Broken> {
        match self.peek()? {
            Some(byte) if byte == expected => {
                self.consume(byte);
                Ok(())
            }
            Some(_) => Err(Broken::Syntax(what)),
            None => Err(Broken::End),
        }
    }

    /// Moves to the next member of the list or object that ends with `end`, after `first` has been
    /// taken if it is not the first. Returns false at its end, which is consumed.
    pub(crate) fn next_member(&mut self, end: u8, first: bool) -> Result<bool, Broken> {
        match self.peek()?.ok_or(Broken::End)? {
            byte if byte == end => {
                self.consume(byte);
                Ok(false)
            }
            b',' if !first => {
                self.consume(b',');
                Ok(true)
            }
            _ if first => Ok(true),
            _ => Err(Broken::Syntax("expected `,` or the end of the list or object")),
        }
    }

    /// Reads a key with its colon, as the bytes of a JSON string.
    pub(crate) fn key(&mut self, limit: usize) -> Result<Vec<u8>, Broken> {
        let mut key = Vec::new();
        self.peek()?;
        self.key_into(&mut Some((&mut key, limit)))?;
        // Without the colon and white space before it.
        key.truncate(key.iter().rposition(|&byte| byte == b'"').map_or(0, |at| at + 1));
        Ok(key)
    }

    /// Skips a value.
    pub(crate) fn skip_value(&mut self) -> Result<(), Broken> {
        self.value_into(None)
    }

    /// Reads the bytes of a value into `bytes`, at most `limit`.
    pub(crate) fn value(&mut self, bytes: &mut Vec<u8>, limit: usize) -> Result<(), Broken> {
        self.value_into(Some((bytes, limit)))
    }

    fn value_into(&mut self, mut sink: Sink<'_>) -> Result<(), Broken> {
        let mut open: Vec<u8> = Vec::new();
        self.peek()?;
        loop {
            match self.next(&mut sink)? {
                b'"' => self.string(&mut sink)?,
                start @ (b'[' | b'{') => {
                    if open.len() == MAX_DEPTH {
                        return Err(Broken::Syntax("lists and objects are nested too deeply"));
                    }
                    self.push(start, &mut sink)?;
                    // In ASCII each closing bracket is two after its opening one.
                    if self.next(&mut sink)? == start + 2 {
                        self.push(start + 2, &mut sink)?;
                    } else {
                        if start == b'{' {
                            self.key_into(&mut sink)?;
                        }
                        open.push(start);
                        continue;
                    }
                }
                _ => self.scalar(&mut sink)?,
            }
            self.values += 1;
            loop {
                let Some(&last) = open.last() else { return Ok(()) };
                match self.next(&mut sink)? {
                    b',' => {
                        self.push(b',', &mut sink)?;
                        if last == b'{' {
                            self.key_into(&mut sink)?;
                        }
                        break;
                    }
                    end if end == last + 2 => {
                        self.push(end, &mut sink)?;
                        open.pop();
                        self.values += 1;
                    }
                    _ => {
                        return Err(Broken::Syntax(
                            "expected `,` or the end of the list or object",
                        ));
                    }
                }
            }
        }
    }

    fn key_into(&mut self, sink: &mut Sink<'_>) -> Result<(), Broken> {
        if self.next(sink)? != b'"' {
            return Err(Broken::Syntax("expected a key"));
        }
        self.string(sink)?;
        if self.next(sink)? != b':' {
            return Err(Broken::Syntax("expected `:`"));
        }
        self.push(b':', sink)
    }

    /// Moves white space within a value, and returns the byte after it without consuming it. The space
    /// is kept, so that a position in the bytes of a value is one in the file.
    fn next(&mut self, sink: &mut Sink<'_>) -> Result<u8, Broken> {
        loop {
            match self.byte()?.ok_or(Broken::End)? {
                space if is_space(space) => self.push(space, sink)?,
                byte => return Ok(byte),
            }
        }
    }

    fn string(&mut self, sink: &mut Sink<'_>) -> Result<(), Broken> {
        self.push(b'"', sink)?;
        let mut escaped = false;
        loop {
            let byte = self.byte()?.ok_or(Broken::End)?;
            if byte < b' ' {
                return Err(Broken::Syntax("a control character in a string"));
            }
            self.push(byte, sink)?;
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return Ok(()),
                _ => {}
            }
        }
    }

    fn scalar(&mut self, sink: &mut Sink<'_>) -> Result<(), Broken> {
        const EXPECTED: Broken = Broken::Syntax("expected a value");

        let mut text = Vec::new();
        while let Some(byte) = self.byte()? {
            if !byte.is_ascii_alphanumeric() && !b"+-.".contains(&byte) {
                break;
            }
            // A word of a plain text ends this here.
            if text.len() == MAX_SCALAR_BYTES || (text.is_empty() && !begins_scalar(byte)) {
                return Err(EXPECTED);
            }
            text.push(byte);
            self.push(byte, sink)?;
        }
        if is_scalar(&text) { Ok(()) } else { Err(EXPECTED) }
    }

    fn push(&mut self, byte: u8, sink: &mut Sink<'_>) -> Result<(), Broken> {
        self.consume(byte);
        if let Some((bytes, limit)) = sink {
            if bytes.len() == *limit {
                return Err(Broken::TooLong);
            }
            bytes.push(byte);
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<Option<u8>, Broken> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Io(error)),
            }
        }
    }

    fn consume(&mut self, byte: u8) {
        self.reader.consume(1);
        if byte == b'\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn begins_scalar(byte: u8) -> bool {
    byte.is_ascii_digit() || b"-tfnNI".contains(&byte)
}

/// Returns whether a text is a number or a literal, as Python writes them.
fn is_scalar(text: &[u8]) -> bool {
    let literals: [&[u8]; 6] = [b"true", b"false", b"null", b"NaN", b"Infinity", b"-Infinity"];
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    literals.contains(&text)
        || digits.first().is_some_and(u8::is_ascii_digit)
            && digits.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn read(json: &str) -> Result<(String, usize), Broken> {
        let mut reader = JsonReader::new(json.as_bytes());
        let mut bytes = Vec::new();
        reader.value(&mut bytes, 1000)?;
        Ok((String::from_utf8(bytes).unwrap(), json.len() - reader.reader.len()))
    }

    #[test]
    fn a_value_ends_where_it_ends() {
        for (json, value, end) in [
            (
                r#" {"a": [1, "x ]}\"", {}], "b": -1.5e3} ,"#,
                r#"{"a": [1, "x ]}\"", {}], "b": -1.5e3}"#,
                38,
            ),
            ("[NaN, -Infinity, null]", "[NaN, -Infinity, null]", 22),
            ("\"a\\\\\" \"b\"", "\"a\\\\\"", 5),
            ("[]x", "[]", 2),
            ("12", "12", 2),
        ] {
            assert_eq!(read(json).unwrap(), (value.to_owned(), end), "{json}");
        }
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_cut_off() {
        for json in
            ["[Once upon", "[1 2]", "{a: 1}", "{\"a\" 1}", "[1,]", "nope", "[\"a\n\"]", "[1}"]
        {
            assert!(matches!(read(json), Err(Broken::Syntax(_))), "{json}");
        }
        for json in ["", "[", "{\"a\"", "{\"a\":", "[1, ", "\"a\\\""] {
            assert!(matches!(read(json), Err(Broken::End)), "{json}");
        }
        assert!(matches!(read(&"[".repeat(600)), Err(Broken::Syntax(_))));
        let long = format!("\"{}\"", "a".repeat(2000));
        assert!(matches!(read(&long), Err(Broken::TooLong)));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("\\PC{0,4}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_reads_back_as_itself_and_any_part_of_it_is_cut_off(value in json(), cut in 0.0..1.0_f64) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let (bytes, end) = read(&format!("{pretty}\n")).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&bytes).unwrap(), value.clone());
            prop_assert_eq!(end, pretty.len());

            if value.is_object() || value.is_array() {
                let part = &pretty.as_bytes()[..(pretty.len() as f64 * cut) as usize];
                prop_assert!(JsonReader::new(part).skip_value().is_err());
            }
        }
    }
}
