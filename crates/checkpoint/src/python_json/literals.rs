//! Numbers that are not finite, as Python writes them and as marked strings.

use serde_json::Value;

/// The first character of a string that stands for a number. It is a noncharacter, which Unicode
/// reserves for use within a program.
const MARK: char = '\u{fdd0}';

/// The numbers that are not finite, as Python writes them.
const LITERALS: [(&str, f64); 3] =
    [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];

/// Returns `json` with each number that is not finite replaced by a marked string, or `None` if there
/// is none.
pub(super) fn marked(json: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => at += string_len(&json[at..]),
            b'N' | b'I' | b'-' => match literal(&json[at..]) {
                Some(literal) => {
                    out.extend_from_slice(&json[copied..at]);
                    out.extend_from_slice(format!("\"{MARK}{literal}\"").as_bytes());
                    at += literal.len();
                    copied = at;
                }
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    (copied > 0).then(|| {
        out.extend_from_slice(&json[copied..]);
        out
    })
}

/// The length of the string that `json` starts with, with its quotes.
fn string_len(json: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

/// The number that `json` starts with, if it is not finite.
fn literal(json: &[u8]) -> Option<&'static str> {
    let (text, _) = LITERALS.iter().find(|(text, _)| json.starts_with(text.as_bytes()))?;
    let ends = json.get(text.len()).is_none_or(|next| b",]} \t\r\n".contains(next));
    ends.then_some(text)
}

/// Returns the number for which a marked string stands.
pub(super) fn marked_number(text: &str) -> Option<f64> {
    let literal = text.strip_prefix(MARK)?;
    LITERALS.iter().find(|(text, _)| *text == literal).map(|(_, number)| *number)
}

/// Returns `number` as a JSON value: a marked string if it is not finite.
pub(crate) fn number(number: f64) -> Value {
    match serde_json::Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None => {
            let is_it = |other: f64| other == number || other.is_nan() && number.is_nan();
            let (text, _) = LITERALS.iter().find(|(_, other)| is_it(*other)).expect("three kinds");
            Value::String(format!("{MARK}{text}"))
        }
    }
}

/// Returns `value` for people: each marked string without its mark, as in `"Infinity"`.
pub fn unmarked(value: Value) -> Value {
    replaced(value, |text| Value::String(text.trim_start_matches(MARK).to_owned()))
}

/// Returns `value` with null for each marked string.
#[cfg(feature = "sae")]
pub(crate) fn finite(value: Value) -> Value {
    replaced(value, |_| Value::Null)
}

fn replaced(value: Value, with: fn(&str) -> Value) -> Value {
    match value {
        Value::String(text) if marked_number(&text).is_some() => with(&text),
        Value::Array(items) => items.into_iter().map(|item| replaced(item, with)).collect(),
        Value::Object(entries) => {
            entries.into_iter().map(|(key, value)| (key, replaced(value, with))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_literals_outside_strings_are_marked() {
        for (json, expected) in [
            ("NaN", Some("\"\u{fdd0}NaN\"")),
            ("[-Infinity,1]", Some("[\"\u{fdd0}-Infinity\",1]")),
            ("{\"NaN\": Infinity}", Some("{\"NaN\": \"\u{fdd0}Infinity\"}")),
            (
                "[\"a\\\"NaN\", \"\\\\\", NaN\n]",
                Some("[\"a\\\"NaN\", \"\\\\\", \"\u{fdd0}NaN\"\n]"),
            ),
            ("[\"NaN, Infinity", None),
            ("[\"\\", None),
            ("NaNs", None),
            ("Inf", None),
            ("-1", None),
            ("--", None),
        ] {
            let found = marked(json.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(found.as_deref(), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn valid_json_has_nothing_to_mark(text in ".*", number: f64) {
            let json = serde_json::json!({ text.clone(): [text, number] }).to_string();

            prop_assert_eq!(marked(json.as_bytes()), None);
        }
    }

    #[test]
    fn a_marked_number_is_read_back_and_shown_without_its_mark() {
        for (number_in, shown) in
            [(f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity"), (f64::NAN, "NaN")]
        {
            let value = number(number_in);
            let back = marked_number(value.as_str().unwrap()).unwrap();

            assert_eq!(back.to_string(), number_in.to_string());
            assert_eq!(unmarked(serde_json::json!([value])), serde_json::json!([shown]));
        }
        assert_eq!(number(1.5), Value::from(1.5));
    }
}
