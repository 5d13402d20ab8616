//! The two questions to a language model.
//!
//! Their structure is that of delphi (Paulo et al. 2024, "Automatically Interpreting Millions of Features
//! in Large Language Models"): an explanation of excerpts in which the activating tokens are marked, and
//! detection, in which the explanation is held against excerpts without marks.

use serde::Serialize;

use crate::excerpt::Excerpt;

/// Changes with the questions, so that answers to earlier ones are told apart.
pub(crate) const PROMPT_VERSION: u32 = 1;

/// The mark in front of an explanation in the answer, as in delphi.
pub(crate) const EXPLANATION_MARK: &str = "[EXPLANATION]:";

const EXPLAIN: &str = "\
You find out what a feature inside a language model responds to. You are given excerpts of text in which \
the tokens that activate the feature are enclosed in << and >>. Below each excerpt those tokens are listed \
with the strength of their activation, from 1 to 10.

Describe in one short phrase what the enclosed tokens have in common: their meaning, their form, or what \
comes before or after them. If the pattern lies in the text around them, describe that. Trust the strong \
activations more than the weak ones, and pass over excerpts that do not fit. Describe the pattern only: no \
list of excerpts, no mention of the marks or of activations, no alternatives.

End your answer with one line of this form:
[EXPLANATION]: your phrase";

const DETECT: &str = "\
You are given the description of a feature of text, and numbered excerpts. Decide for each excerpt whether \
it contains what is described. Some do and some do not.

Answer with nothing but a list of one number per excerpt, in their order: 1 if the excerpt contains it, \
0 if it does not. For three excerpts, of which only the first contains it, the answer is [1, 0, 0].";

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The author: `system` or `user`.
    pub role: &'static str,
    /// The text.
    pub content: String,
}

/// Asks for an explanation of excerpts. `max` is the feature's largest activation.
pub(crate) fn explain(shown: &[Excerpt], max: f32) -> Vec<Message> {
    let excerpt = |(at, excerpt): (usize, &Excerpt)| {
        let strengths = excerpt.strengths(max).into_iter();
        let strengths: Vec<String> =
            strengths.map(|(token, strength)| format!("\"{token}\" {strength}")).collect();
        format!("Excerpt {}: {}\nActivations: {}", at + 1, excerpt.marked(), strengths.join(", "))
    };
    let excerpts: Vec<String> = shown.iter().enumerate().map(excerpt).collect();
    conversation(EXPLAIN, excerpts.join("\n\n"))
}

/// Asks which of the excerpts contain what `explanation` describes.
pub(crate) fn detect<'e>(
    explanation: &str,
    excerpts: impl IntoIterator<Item = &'e Excerpt>,
) -> Vec<Message> {
    let excerpt =
        |(at, excerpt): (usize, &Excerpt)| format!("Excerpt {}: {}", at + 1, excerpt.plain());
    let excerpts: Vec<String> = excerpts.into_iter().enumerate().map(excerpt).collect();
    conversation(DETECT, format!("Description: {explanation}\n\n{}", excerpts.join("\n")))
}

fn conversation(system: &str, user: String) -> Vec<Message> {
    vec![
        Message { role: "system", content: system.to_owned() },
        Message { role: "user", content: user },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_is_asked_for_with_marks_and_strengths() {
        let shown = [
            Excerpt::of(&[("The", 0.0), (" dog", 8.0), ("\n", 0.0)]),
            Excerpt::of(&[("A", 0.0), (" cat", 4.0)]),
        ];
        let messages = explain(&shown, 8.0);

        assert_eq!(messages[0].role, "system");
        assert!(messages[0].content.contains(EXPLANATION_MARK));
        assert_eq!(
            messages[1].content,
            "Excerpt 1: The<< dog>>\\n\nActivations: \" dog\" 10\n\n\
             Excerpt 2: A<< cat>>\nActivations: \" cat\" 5"
        );
    }

    #[test]
    fn a_detection_has_no_marks() {
        let excerpts = [Excerpt::of(&[("A", 0.0), (" dog", 8.0)]), Excerpt::of(&[("B", 0.0)])];
        let messages = detect("dogs", &excerpts);

        assert_eq!(messages[1].content, "Description: dogs\n\nExcerpt 1: A dog\nExcerpt 2: B");
    }
}
