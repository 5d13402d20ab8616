//! The shape of output: its lines, columns and keys, but not its numbers.

use serde_json::Value;

/// A line that stands for any number of omitted lines.
const GAP: &str = "…";

/// Compares output with the output shown in a document. Returns the first difference, if there is one.
pub(super) fn mismatch(found: &str, shown: &str) -> Option<String> {
    let found: Vec<&str> = found.lines().collect();
    let shown: Vec<&str> = shown.lines().collect();
    let parts: Vec<&[&str]> = shown.split(|line| line.trim() == GAP).collect();
    if let [all] = parts[..] {
        return compare(&found, all).or_else(|| {
            let lengths = (found.len(), all.len());
            (lengths.0 != lengths.1)
                .then(|| format!("{} lines, {} are shown", lengths.0, lengths.1))
        });
    }
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    if first.len() + last.len() > found.len() {
        return Some(format!("only {} lines", found.len()));
    }
    compare(&found, first).or_else(|| compare(&found[found.len() - last.len()..], last))
}

/// Compares the first lines of `found` with `shown`.
fn compare(found: &[&str], shown: &[&str]) -> Option<String> {
    (0..shown.len()).find_map(|at| {
        let Some(found) = found.get(at) else { return Some(format!("no line `{}`", shown[at])) };
        let (is, expected) = (shape(found), shape(shown[at]));
        (is != expected)
            .then(|| format!("`{found}` [{is}] instead of `{}` [{expected}]", shown[at]))
    })
}

/// The shape of a line: the keys of a JSON object, the fields of a CSV row that have a value, or the heading
/// at the line's start with the sequence of its bars, numbers, percent signs and feature indices, with or
/// without a name.
fn shape(line: &str) -> String {
    if let Ok(value @ Value::Object(_)) = serde_json::from_str(line) {
        return keys(&value);
    }
    if let Some(fields) = csv_row(line) {
        let marks = fields.iter().map(|field| if field.is_empty() { "-" } else { "x" });
        return format!("row {}", marks.collect::<Vec<_>>().join(","));
    }
    if line.trim().is_empty() {
        return String::new();
    }
    let mut marks = vec![heading(line).unwrap_or("text").to_owned()];
    let mut before = ' ';
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let digit = c.is_ascii_digit();
        if digit && !before.is_alphanumeric() {
            while characters.next_if(|&c| c.is_ascii_digit() || c == '.' || c == ',').is_some() {}
            let rest: String = characters.clone().collect();
            let mark = match (before, is_name(&rest)) {
                ('#', true) => "#name",
                ('#', false) => "#",
                _ => "0",
            };
            marks.push(mark.to_owned());
            before = '0';
            continue;
        }
        if is_bar(c) && !is_bar(before) {
            marks.push("█".to_owned());
        } else if c == '%' {
            marks.push("%".to_owned());
        }
        before = c;
    }
    marks.join(" ")
}

/// The fields of a row of CSV whose first field is a number.
fn csv_row(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            c => fields.last_mut().expect("there is one").push(c),
        }
    }
    let is_number = !fields[0].is_empty() && fields[0].chars().all(|c| c.is_ascii_digit());
    (is_number && fields.len() > 5).then_some(fields)
}

/// True if a name follows a feature's index, rather than a number, a bar or nothing.
fn is_name(rest: &str) -> bool {
    rest.trim_start().chars().next().is_some_and(|c| !c.is_ascii_digit() && !is_bar(c))
}

fn is_bar(c: char) -> bool {
    ('\u{2580}'..='\u{259f}').contains(&c)
}

/// The lower-case word at the start of a line, if a column of values follows.
fn heading(line: &str) -> Option<&str> {
    let (word, rest) = line.split_once("  ")?;
    let is_word = word.chars().all(|c| c.is_ascii_lowercase());
    (is_word && !word.is_empty() && !rest.trim_start().starts_with(is_bar)).then_some(word)
}

fn keys(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let each = entries.iter().map(|(key, value)| format!("{key}: {}", keys(value)));
            format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.first().map(keys).unwrap_or_default()),
        Value::String(_) => "text".to_owned(),
        Value::Number(_) => "0".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Null => "null".to_owned(),
    }
}

#[test]
fn other_numbers_are_the_same_shape_and_other_columns_are_not() {
    let row = "   #1490    33.3    11 %  Tom had a dog.";

    assert_eq!(mismatch(row, "     #7     0.2   5.6 %  The «cat» ran."), None);
    assert!(mismatch(row, "   #1490    33.3  Tom had a dog.").is_some());
    assert!(mismatch("norms  1.0", "label  1.0").is_some());
    assert_eq!(mismatch("ucky      ███  24.2 #613", "ved       ██▎   5.3 #264"), None);
    assert!(mismatch("a\nb\n", "a\n").is_some());
    assert!(mismatch("a\n", "a\nb\n").is_some());
    assert_eq!(mismatch(r#"{"a": [1, 2], "b": "x"}"#, r#"{"a": [7], "b": "y"}"#), None);
    assert!(mismatch(r#"{"a": 1}"#, r#"{"b": 1}"#).is_some());
}

#[test]
fn a_row_without_the_name_that_is_shown_has_another_shape() {
    let row = r#"0,1,433,The,true,,blocks.3,2013,21.9,"a, b; ""c""""#;

    assert_eq!(mismatch(row, "0,2,9, dog,true,,blocks.1,7,1.5,fires on ·dog"), None);
    assert!(mismatch(row, "0,1,433,The,true,,blocks.3,2013,21.9,").is_some());
    assert_eq!(mismatch("#416 fires on ·park      ███", "#7 a dog  █"), None);
    assert!(mismatch("#416 fires on ·park      ███", "#7        █").is_some());
}

#[test]
fn a_gap_stands_for_any_number_of_lines() {
    assert_eq!(mismatch("#1\n#2\n#3\n\nend\n", "#4\n…\n\nend\n"), None);
    assert!(mismatch("#1\n#2\n#3\n", "#4\n…\n\nend\n").is_some());
    assert!(mismatch("#1\n", "#4\n…\n\nend\n").is_some());
}
