//! Reads documents from a JSON file: a list, an object with a list, or values one after another.

use std::path::PathBuf;

use super::found::Found;
use super::json_reader::{Broken, JsonReader};
use super::json_text::text_of;
use crate::CorpusError;

/// The texts of a JSON file, one element in memory at a time.
pub(crate) struct JsonDocument<R> {
    reader: JsonReader<R>,
    path: PathBuf,
    column: String,
    limit: usize,
    texts: Texts,
    /// True before the first element.
    first: bool,
}

/// The place of the texts in a JSON file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Texts {
    /// Values one after another.
    Values,
    /// The elements of a list.
    List,
    /// The list or object under this key, as the bytes of a JSON string.
    Under(Vec<u8>, Container),
    /// The whole file is one text or object with a text.
    Whole,
    /// Everything was read.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    List,
    Object,
}

/// A key of the outermost object, and its value.
struct Member {
    key: Vec<u8>,
    value: Value,
}

/// A value, and for a list or object the first byte of its first value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Of(Container, Option<u8>),
    Other,
}

/// Maximum length of a key in bytes, and of keys that are remembered.
const MAX_KEY_BYTES: usize = 1000;
const MAX_KEYS: usize = 1000;

impl<R: std::io::BufRead> JsonDocument<R> {
    /// Reads the texts under `column` from the JSON that `open` returns from its start. It is called
    /// twice for an object, whose list may come after gigabytes of something else.
    ///
    /// # Errors
    /// [`CorpusError::Json`], [`CorpusError::NoList`], and the errors of `open`.
    pub(crate) fn open(
        path: PathBuf,
        column: &str,
        limit: usize,
        first: R,
        open: impl FnOnce() -> Result<R, CorpusError>,
    ) -> Result<Self, CorpusError> {
        let mut document = Self {
            reader: JsonReader::new(first),
            path,
            column: column.to_owned(),
            limit,
            texts: Texts::List,
            first: true,
        };
        match document.peek()? {
            None => document.texts = Texts::Done,
            Some(b'[') => document.check(|reader| reader.take(b'[', "expected a list"))?,
            Some(b'{') => {
                document.texts = document.find_texts()?;
                document.reader = JsonReader::new(open()?);
                document.enter()?;
            }
            Some(_) => document.texts = Texts::Values,
        }
        Ok(document)
    }

    /// Returns the next text.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, CorpusError> {
        let first = std::mem::take(&mut self.first);
        let there_is_one = match &self.texts {
            Texts::Done => false,
            Texts::Whole => {
                self.texts = Texts::Done;
                true
            }
            Texts::Values => self.peek()?.is_some(),
            Texts::List | Texts::Under(_, Container::List) => {
                self.check(|reader| reader.next_member(b']', first))?
            }
            Texts::Under(_, Container::Object) => {
                let there_is_one = self.check(|reader| reader.next_member(b'}', first))?;
                if there_is_one {
                    self.check(|reader| reader.key(MAX_KEY_BYTES))?;
                }
                there_is_one
            }
        };
        if !there_is_one {
            return self.end();
        }
        self.peek()?;
        let (position, mut bytes, limit) = (self.reader.position(), Vec::new(), self.limit);
        self.check(|reader| reader.value(&mut bytes, limit))?;
        Ok(Some(text_of(&bytes, &self.path, &self.column, position)))
    }

    /// Checks that nothing follows a list. What follows a list in an object has been read before.
    fn end(&mut self) -> Result<Option<Found>, CorpusError> {
        if self.texts == Texts::List && self.peek()?.is_some() {
            return Err(self.error(Broken::Syntax("something follows the list")));
        }
        self.texts = Texts::Done;
        Ok(None)
    }

    /// Finds the place of the texts in an object, reading it all.
    fn find_texts(&mut self) -> Result<Texts, CorpusError> {
        let members = self.members()?;
        if self.peek()?.is_some() {
            return Ok(Texts::Values);
        }
        let wanted = serde_json::to_vec(&self.column).expect("a string is JSON");
        let is_wanted = |key: &[u8]| {
            key == wanted || serde_json::from_slice::<String>(key).is_ok_and(|k| k == self.column)
        };
        if let Some(member) = members.iter().find(|member| is_wanted(&member.key)) {
            return Ok(match member.value {
                Value::Of(container, _) => Texts::Under(member.key.clone(), container),
                Value::Other => Texts::Whole,
            });
        }
        let mut lists = members
            .iter()
            .filter(|member| matches!(member.value, Value::Of(Container::List, Some(b'{'))));
        match (lists.next(), lists.next()) {
            (Some(list), None) => Ok(Texts::Under(list.key.clone(), Container::List)),
            _ => Err(CorpusError::NoList {
                path: self.path.clone(),
                column: self.column.clone(),
                found: members
                    .iter()
                    .map(|member| String::from_utf8_lossy(&member.key).trim_matches('"').to_owned())
                    .collect(),
            }),
        }
    }

    /// Reads the members of the outermost object.
    fn members(&mut self) -> Result<Vec<Member>, CorpusError> {
        let mut members: Vec<Member> = Vec::new();
        self.check(|reader| {
            reader.take(b'{', "expected an object")?;
            let mut first = true;
            while reader.next_member(b'}', first)? {
                first = false;
                let key = reader.key(MAX_KEY_BYTES)?;
                let value = survey(reader)?;
                if members.len() < MAX_KEYS && members.iter().all(|member| member.key != key) {
                    members.push(Member { key, value });
                }
            }
            Ok(())
        })?;
        Ok(members)
    }

    /// Moves to the first text of an object.
    fn enter(&mut self) -> Result<(), CorpusError> {
        let Texts::Under(wanted, container) = self.texts.clone() else { return Ok(()) };
        self.check(|reader| {
            reader.take(b'{', "expected an object")?;
            let mut first = true;
            while reader.next_member(b'}', first)? {
                first = false;
                if reader.key(MAX_KEY_BYTES)? == wanted {
                    let start = if container == Container::List { b'[' } else { b'{' };
                    return reader.take(start, "the file changed while it was read");
                }
                reader.skip_value()?;
            }
            Err(Broken::Syntax("the file changed while it was read"))
        })
    }

    fn peek(&mut self) -> Result<Option<u8>, CorpusError> {
        self.check(JsonReader::peek)
    }

    fn check<T>(
        &mut self,
        read: impl FnOnce(&mut JsonReader<R>) -> Result<T, Broken>,
    ) -> Result<T, CorpusError> {
        read(&mut self.reader).map_err(|broken| self.error(broken))
    }

    fn error(&self, broken: Broken) -> CorpusError {
        let ((line, column), path) = (self.reader.position(), self.path.clone());
        let reason = match broken {
            Broken::Io(source) => return CorpusError::io(path, source),
            Broken::TooLong => {
                return CorpusError::LineTooLong { path, line, limit: self.limit };
            }
            Broken::End => "the JSON ends here, in the middle of a value",
            Broken::Syntax(reason) => reason,
        };
        CorpusError::Json { path, line, column, reason: reason.to_owned() }
    }
}

/// Skips a value and tells what it is.
fn survey<R: std::io::BufRead>(reader: &mut JsonReader<R>) -> Result<Value, Broken> {
    let (start, container) = match reader.peek()? {
        Some(b'[') => (b'[', Container::List),
        Some(b'{') => (b'{', Container::Object),
        _ => return reader.skip_value().map(|()| Value::Other),
    };
    reader.take(start, "expected a value")?;
    let (end, mut first) = (start + 2, None);
    let mut before_first = true;
    while reader.next_member(end, before_first)? {
        if container == Container::Object {
            reader.key(MAX_KEY_BYTES)?;
        }
        if before_first {
            first = reader.peek()?;
        }
        before_first = false;
        reader.skip_value()?;
    }
    Ok(Value::Of(container, first))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::text::found;

    fn texts(json: &str, column: &str) -> Result<Vec<Result<String, String>>, String> {
        let open = || Cursor::new(json.as_bytes().to_vec());
        let document = JsonDocument::open("a.json".into(), column, 100, open(), || Ok(open()));
        let mut document = document.map_err(|error| error.to_string())?;
        found::tests::texts(|| document.next())
    }

    #[test]
    fn texts_are_read_from_lists_and_from_objects_with_a_list() {
        let two = vec![Ok("a \"b\"".to_owned()), Ok("c".to_owned())];
        for (json, column) in [
            (r#"["a \"b\"", "c"]"#, "text"),
            (r#"[{"text": "a \"b\"", "n": [1]}, {"n": NaN, "text": "c"}]"#.replace("NaN", "0").as_str(), "text"),
            (r#"{"id": [1, 2], "text": ["a \"b\"", "c"], "more": [{}]}"#, "text"),
            (r#"{"text": {"0": "a \"b\"", "1": "c"}}"#, "text"),
            (r#"{"version": 1, "data": [{"text": "a \"b\""}, {"text": "c"}]}"#, "text"),
            (r#"{"lines": ["a \"b\"", "c"], "other": ["d"]}"#, "lines"),
            ("{\"text\":\n \"a \\\"b\\\"\"}\n{\n\"text\": \"c\"}", "text"),
            (r#""a \"b\"" "c""#, "text"),
        ] {
            assert_eq!(texts(json, column), Ok(two.clone()), "{json}");
        }
        assert_eq!(texts(r#"{"text": "one"}"#, "text"), Ok(vec![Ok("one".to_owned())]));
        assert_eq!(texts("[]", "text"), Ok(vec![]));
    }

    #[test]
    fn a_list_without_texts_is_refused_with_its_reason() {
        for (json, says) in [
            (
                r#"{"a": [{"text": ""}], "b": [{"text": ""}]}"#,
                "no list of texts under `text` (found `a`, `b`)",
            ),
            (r#"{"lines": ["a"]}"#, "no list of texts under `text` (found `lines`)"),
            ("{}", "a.json is a JSON object with no list of texts under `text` (found none)"),
            ("[1, 2} ", "line 1, column 6 of a.json: expected `,` or the end"),
            ("[\"a\",\n\"b", "line 2, column 3 of a.json: the JSON ends here"),
            ("[\"a\"] [\"b\"]", "something follows the list"),
            ("Once upon", "line 1, column 1 of a.json: expected a value"),
            (
                &format!("[\"{}\"]", "a".repeat(101)),
                "the text at line 1 of a.json is longer than 100 bytes",
            ),
        ] {
            let error = texts(json, "text").unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn an_element_without_a_text_is_odd_and_named_by_its_place_in_the_file() {
        let found = texts(
            "[\n  {\"text\": null},\n  {\n    \"text\": 7}, {\"a\": 1}, {\"text\": \"b\"}]",
            "text",
        );

        let found = found.unwrap();
        let error = |at: usize| found[at].clone().unwrap_err();
        assert_eq!(error(0), "line 2 of a.json has no text: `text` is null");
        assert!(
            error(1).contains("line 4, column 13 of a.json: invalid type: integer `7`"),
            "{}",
            error(1)
        );
        assert_eq!(error(2), "line 4 of a.json has no field `text` (found `a`)");
        assert_eq!(found[3], Ok("b".to_owned()));
    }
}
