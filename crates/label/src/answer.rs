//! Parsers of a language model's answers: explanations and verdicts.

use nanoscope_checkpoint::visible_label;

use crate::prompt::EXPLANATION_MARK;

/// The longest explanation, in characters. A longer one is cut.
const MAX_CHARS: usize = 200;
/// The marks around the reasoning that some models write before their answer.
const REASONING: [(&str, &str); 2] = [("<think>", "</think>"), ("<reasoning>", "</reasoning>")];

/// The explanation in an answer: the text after the last mark or, without a mark, the last line. It is one
/// visible line, as every label is; `None` if nothing of it is seen.
pub(crate) fn explanation(answer: &str) -> Option<String> {
    let answer = without_reasoning(answer);
    let marked = find_last_ignoring_case(answer, EXPLANATION_MARK)
        .map(|at| &answer[at + EXPLANATION_MARK.len()..]);
    let text = match marked {
        Some(after) => after.trim_start().lines().next().unwrap_or_default(),
        None => answer.trim_end().lines().next_back().unwrap_or_default(),
    };
    let text: Vec<&str> = text.split_whitespace().collect();
    let text = cut(unquoted(&text.join(" ")));
    Some(visible_label(&text)).filter(|text| text.chars().any(char::is_alphanumeric))
}

/// The verdicts in an answer about `n` excerpts: the last list in it with `n` entries, each 0 or 1 or, as
/// some models write them, false or true. `None` without one.
pub(crate) fn verdicts(answer: &str, n: usize) -> Option<Vec<bool>> {
    let answer = without_reasoning(answer);
    let lists = answer.rsplit('[').filter_map(|part| part.split_once(']')).map(|(list, _)| list);
    // A list without brackets is the whole answer.
    lists.chain([answer]).find_map(|list| {
        let entries = list.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
        let verdicts: Vec<bool> = entries.take(n + 1).map(verdict).collect::<Option<_>>()?;
        (verdicts.len() == n).then_some(verdicts)
    })
}

fn verdict(entry: &str) -> Option<bool> {
    match entry.trim_matches(['"', '\'']) {
        "1" | "true" | "True" => Some(true),
        "0" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// The answer after the reasoning; nothing of an answer that ends within it.
fn without_reasoning(answer: &str) -> &str {
    let ends = REASONING.iter().filter_map(|(_, end)| Some(answer.rfind(end)? + end.len()));
    let answer = &answer[ends.max().unwrap_or(0)..];
    let is_cut_off = REASONING.iter().any(|(begin, _)| answer.trim_start().starts_with(begin));
    if is_cut_off { "" } else { answer }
}

/// The position of the last `needle`, which is ASCII, in `text`.
fn find_last_ignoring_case(text: &str, needle: &str) -> Option<usize> {
    // An ASCII match begins and ends at characters.
    let mut parts = text.as_bytes().windows(needle.len());
    parts.rposition(|part| part.eq_ignore_ascii_case(needle.as_bytes()))
}

/// `text` without the marks of emphasis and quotation around all of it.
fn unquoted(text: &str) -> &str {
    let mut text = text.trim();
    for quote in ["**", "*", "\"", "'", "`"] {
        if let Some(inside) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote))
            && !inside.contains(quote)
        {
            text = inside.trim();
        }
    }
    text
}

/// The first characters of a long text, up to the end of a word.
fn cut(text: &str) -> String {
    let Some((end, _)) = text.char_indices().nth(MAX_CHARS) else { return text.to_owned() };
    let head = &text[..end];
    let word_end = head.rfind(' ').filter(|&at| at > end / 2).unwrap_or(end);
    format!("{}…", head[..word_end].trim_end())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_explanation_is_found_wherever_models_put_it() {
        for (answer, expected) in [
            ("[EXPLANATION]: dogs and other pets", Some("dogs and other pets")),
            ("The tokens are…\n\n[EXPLANATION]: dogs\n", Some("dogs")),
            ("[explanation]: first\n[Explanation]:   last ", Some("last")),
            ("[EXPLANATION]:\ndogs\nand more", Some("dogs")),
            ("[EXPLANATION]: \"dogs\"", Some("dogs")),
            ("[EXPLANATION]: **dogs**", Some("dogs")),
            ("[EXPLANATION]: \"he\" or \"she\"", Some("\"he\" or \"she\"")),
            ("Some thoughts.\nnames of animals", Some("names of animals")),
            ("<think>[EXPLANATION]: cats</think>dogs", Some("dogs")),
            ("<think>cats</think>\n[EXPLANATION]: dogs", Some("dogs")),
            ("<think>First, the tokens are\n[EXPLANATION]: cats", None),
            (" <reasoning>about cats", None),
            ("[EXPLANATION]: a\u{202e}b\tc", Some("a⟨202E⟩b c")),
            ("", None),
            ("  \n ", None),
            ("[EXPLANATION]:", None),
            ("[EXPLANATION]: …", None),
            ("[EXPLANATION]: \u{200b}\u{2800}", Some("⟨200B⟩\u{2800}")),
        ] {
            assert_eq!(explanation(answer).as_deref(), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_long_explanation_is_cut_at_a_word() {
        let long = explanation(&"word ".repeat(100)).unwrap();
        let one_word = explanation(&"é".repeat(1000)).unwrap();

        assert_eq!(long, format!("{}…", "word ".repeat(40).trim_end()));
        assert_eq!(one_word, format!("{}…", "é".repeat(MAX_CHARS)));
    }

    #[test]
    fn verdicts_are_the_last_list_of_the_right_length() {
        let (yes, no) = (true, false);
        for (answer, expected) in [
            ("[1, 0, 1]", Some([yes, no, yes])),
            ("[1,0,1]\n", Some([yes, no, yes])),
            ("Sure! [0, 0, 0] no: [1, 0, 1].", Some([yes, no, yes])),
            ("[1, 0, 1] (in all [2])", Some([yes, no, yes])),
            ("```json\n[\n  1,\n  0,\n  1\n]\n```", Some([yes, no, yes])),
            ("[true, false, true]", Some([yes, no, yes])),
            ("1, 0, 1", Some([yes, no, yes])),
            ("1\n0\n1", Some([yes, no, yes])),
            ("<think>[0, 0, 0]</think>[1, 0, 1]", Some([yes, no, yes])),
            ("[1, 0]", None),
            ("[1, 0, 1, 0]", None),
            ("[1, 0, 2]", None),
            ("[1, 0, 1", None),
            ("1 0 1", None),
            ("all of them", None),
            ("", None),
        ] {
            assert_eq!(verdicts(answer, 3), expected.map(|list| list.to_vec()), "{answer:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics_and_every_explanation_is_a_label(answer in any::<String>(), n in 0..5_usize) {
            if let Some(text) = explanation(&answer) {
                prop_assert_eq!(nanoscope_checkpoint::label_text(&text), Ok(text.as_str()));
            }
            if let Some(found) = verdicts(&answer, n) {
                prop_assert_eq!(found.len(), n);
            }
        }
    }
}
