//! The length of a template's tags.

use minijinja::{Error, ErrorKind};

/// Refuses a tag of more than [`MAX_WORDS`] words. The engine calls itself for each operator of a chain
/// such as `a + b + c`, without a limit.
pub(super) fn check(source: &str) -> Result<(), Error> {
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix('#') {
            rest = comment.split_once("#}").map_or("", |(_, after)| after);
        } else if let Some(tag) = rest.strip_prefix(['{', '%']) {
            rest = after_tag(tag)?;
        }
    }
    Ok(())
}

/// The text after a tag, of which this is what follows its opening braces. As for the engine, its end
/// is not within brackets.
fn after_tag(tag: &str) -> Result<&str, Error> {
    let (mut words, mut depth, mut in_word) = (0, 0_isize, false);
    let mut letters = tag.char_indices();
    while let Some((at, letter)) = letters.next() {
        let rest = &tag[at..];
        if depth == 0 && (rest.starts_with("}}") || rest.starts_with("%}")) {
            return Ok(&rest[2..]);
        }
        let is_letter = letter.is_alphanumeric() || letter == '_';
        let goes_on = is_letter && in_word;
        if !letter.is_whitespace() && !goes_on {
            words += 1;
        }
        in_word = is_letter;
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '"' | '\'' => skip_string(&mut letters, letter),
            _ => {}
        }
        if words > MAX_WORDS {
            let detail = format!("a tag has more than {MAX_WORDS} words and operators");
            return Err(Error::new(ErrorKind::SyntaxError, detail));
        }
    }
    Ok("")
}

/// Goes past the end of a string.
fn skip_string(letters: &mut std::str::CharIndices<'_>, quote: char) {
    while let Some((_, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if letter == quote {
            return;
        }
    }
}

/// Far above the families', of which the longest tag has some 40.
const MAX_WORDS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_a_tag_is_counted() {
        let many = "a ".repeat(2000);
        for source in [
            many.clone(),
            format!("{{# {many} #}}"),
            format!("{{{{ '{many}\\' }}}}' }}}} {many}"),
            format!("{{{{ {{'a': {{}}}} }}}} {many}"),
            format!("{{% if a %}} {many} {{% endif %}}"),
            "{{ a }}".repeat(2000),
        ] {
            assert!(check(&source).is_ok(), "{source:.40}");
        }
        for source in [
            format!("{{{{ {many}"),
            format!("{{%- {many} %}}"),
            format!("{{{{ {{'a': {{}}}} {many} }}}}"),
            format!("a {{{{ {} 1 }}}}", "-".repeat(2000)),
        ] {
            assert!(check(&source).is_err(), "{source:.40}");
        }
    }
}
