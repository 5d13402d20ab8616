//! Namespaces that contain themselves.

use std::collections::BTreeSet;

use minijinja::{Error, ErrorKind};

/// Refuses a template that sets something to a whole namespace, of which families' templates set only
/// attributes. A namespace that contains itself cannot be written, and the engine would try until its
/// stack is full.
pub(super) fn check(source: &str) -> Result<(), Error> {
    let assignments: Vec<(&str, &str)> =
        source.split("{%").skip(1).filter_map(assignment).collect();
    let mut namespaces = BTreeSet::new();
    for (target, value) in &assignments {
        match target.split_once('.') {
            Some((namespace, _)) => namespaces.insert(namespace.trim()),
            None => value.starts_with("namespace") && namespaces.insert(*target),
        };
    }
    for (target, value) in &assignments {
        if let Some(found) = whole_names(value).find(|name| namespaces.contains(name)) {
            let detail = format!("`{target:.40}` is set to the namespace `{found:.40}`");
            return Err(Error::new(ErrorKind::InvalidOperation, detail));
        }
    }
    Ok(())
}

/// The target and the value of a tag that sets something, of which this is what follows its start.
fn assignment(tag: &str) -> Option<(&str, &str)> {
    let tag = tag.split("%}").next()?.trim_start_matches(['-', '+']).trim_start();
    let (target, value) = tag.strip_prefix("set")?.split_once('=')?;
    Some((target.trim(), value.trim_start()))
}

/// The names in an expression that are neither attributes nor have one taken of them. Those in strings
/// are left out.
fn whole_names(expression: &str) -> impl Iterator<Item = &str> {
    let mut rest = expression;
    let mut before = ' ';
    std::iter::from_fn(move || {
        while let Some(letter) = rest.chars().next() {
            let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
            let end = match letter {
                '"' | '\'' => string_len(rest),
                letter if is_name(letter) => {
                    rest.find(|letter: char| !is_name(letter)).unwrap_or(rest.len())
                }
                letter => letter.len_utf8(),
            };
            let (token, after) = rest.split_at(end);
            rest = after;
            let is_attribute = before == '.';
            if !letter.is_whitespace() {
                before = letter;
            }
            if is_name(letter) && !is_attribute && !after.trim_start().starts_with(['.', '[', '('])
            {
                return Some(token);
            }
        }
        None
    })
}

/// Length of the string at the start of `text`, with its quotes.
fn string_len(text: &str) -> usize {
    let mut letters = text.char_indices();
    let quote = letters.next().map(|(_, quote)| quote);
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if Some(letter) == quote {
            return at + letter.len_utf8();
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_not_set_to_a_namespace() {
        for source in [
            "{% set ns = namespace(n=0) %}{%- set ns.n = ns.n + 1 -%}{{ ns.n }}{{ f(ns) }}",
            "{% set ns = namespace(n=0) %}{% set x = 'ns' ~ ns['n'] ~ a.ns ~ \"it's ns\" %}",
            "{% set x %}ns{% endset %}{% set y = 1 %}{% set ns.a = y %}",
        ] {
            assert!(check(source).is_ok(), "{source}");
        }
        for source in [
            "{% set ns = namespace() %}{% set ns.a = ns %}",
            "{% set ns = namespace() %}{%- set ns.a = [1, ns] %}",
            "{% set ns = namespace() %}{% set x = ns %}{% set ns.a = x %}",
            "{% macro m(a) %}{% set a.b = {'c': a} %}{% endmacro %}",
        ] {
            assert!(check(source).is_err(), "{source}");
        }
    }
}
